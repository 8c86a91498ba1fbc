"""One way to give things names, and to help when a name is misspelt."""

import difflib
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

from probekit.errors import UnknownNameError

T = TypeVar("T")


def unknown_name_error(
    kind: str, name: str, known: Iterable[str], hint: str = ""
) -> UnknownNameError:
    """Return the error for a name that is not known, with the nearest ones that are.

    Parameters
    ----------
    kind : str
        What the name should name, for example ``"extractor"``.
    name : str
        The name that was asked for.
    known : iterable of str
        The names that exist.
    hint : str
        One more sentence: where else to look.

    Returns
    -------
    UnknownNameError
        To be raised by the caller.
    """
    names = sorted(known)
    text = f"unknown {kind} {name!r}.{did_you_mean(name, names)}"
    if len(names) <= 40:
        text += f" Known: {', '.join(names) or 'none'}."
    return UnknownNameError(f"{text} {hint}".strip())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question that names the nearest of the known names; empty if none is near."""
    near = difflib.get_close_matches(name.lower(), sorted(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


class Registry(Generic[T]):
    """Names for objects that are imported only when they are asked for.

    Parameters
    ----------
    kind : str
        What is registered, in the singular, for messages.
    entries : dict of str to str
        Name to place, written ``"module:attribute"``.
    """

    def __init__(self, kind: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> T:
        """Return the object of that name.

        Parameters
        ----------
        name : str
            A registered name.

        Returns
        -------
        object
            What the entry points at, imported now.

        Raises
        ------
        UnknownNameError
            If nothing has that name; the message suggests near ones.
        """
        if name not in self._entries:
            raise unknown_name_error(self.kind, name, self._entries)
        module, _, attribute = self._entries[name].partition(":")
        found: Any = getattr(import_module(module), attribute)
        return found
