"""What every analysis has: a name for its files, a caption, facts and rows."""

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol

from probekit.data.manifest import dataset_name

_LONGEST = 120  # characters; file systems allow 255 bytes with the suffix


class Analysis(Protocol):
    """What can be saved with its figure."""

    @property
    def name(self) -> str:
        """Stem of its files: what it is, of what, and the choices that are not the default."""
        ...

    @property
    def caption(self) -> str:
        """What a paper's caption has to say, provenance included."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what produced it: runs, fingerprints, choices, provenance."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """Return the numbers behind the figure, a dict a line of the table."""
        ...


def filename_stem(kind: str, *subjects: str, **choices: tuple[object, object]) -> str:
    """Return the stem of an analysis's files.

    Parameters
    ----------
    kind : str
        For example ``"dendrogram"``.
    *subjects : str
        Task, embeddings.
    **choices : (object, object)
        What was chosen and what is the default; named in the stem where they differ.

    Returns
    -------
    str
        Lower case letters, digits, dots and dashes, of at most 120 characters. Two stems that
        would be cut differ by a hash.
    """
    words = [kind, *subjects]
    words += [
        name.replace("_", "-") if value is True else f"{name.replace('_', '-')}-{value}"
        for name, (value, default) in choices.items()
        if value != default
    ]
    text = "-".join(dataset_name(word) for word in words)
    if len(text) <= _LONGEST:
        return text
    mark = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{text[: _LONGEST - 9]}-{mark}"


def as_sentence(said: Iterable[str]) -> str:
    """Return what must be shown as a sentence that can follow a caption.

    Parameters
    ----------
    said : iterable of str
        Provenance, for example ``["random weights", "synthetic corpus"]``.

    Returns
    -------
    str
        `` Random weights; synthetic corpus.``, or nothing.
    """
    text = "; ".join(dict.fromkeys(said))
    return f" {text[0].upper()}{text[1:]}." if text else ""
