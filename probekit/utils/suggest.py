"""Errors for unknown names, with suggestions."""

import difflib
from collections.abc import Iterable

from probekit.errors import UnknownNameError


def unknown_name_error(
    kind: str, name: str, known: Iterable[str], hint: str = ""
) -> UnknownNameError:
    """Return the error for a name that does not exist, with the closest ones that do.

    Parameters
    ----------
    kind : str
        What the name stands for, for example ``"extractor"``.
    name : str
        The unknown name.
    known : iterable of str
        The names that exist.
    hint : str
        One more sentence: where else to look.
    """
    names = sorted(known)
    text = f"unknown {kind} {name!r}.{did_you_mean(name, names)}"
    if len(names) <= 60:
        text += f" Known: {', '.join(names) or 'none'}."
    return UnknownNameError(f"{text} {hint}".strip())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question that names the closest known names; empty if none is close."""
    matches = difflib.get_close_matches(name.lower(), sorted(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
