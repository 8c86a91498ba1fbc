"""Interface of an analysis: file name, caption, facts and rows of its figure."""

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Protocol

from probekit.utils.text import slug

_PLAIN = re.compile(r"[a-z0-9.:=+@,/-]*")  # what selectors and names of built-in tasks consist of
_MAX_LENGTH = 120  # characters; file systems allow 255 bytes with the suffix


class Analysis(Protocol):
    """What can be saved with its figure."""

    @property
    def name(self) -> str:
        """Stem of its files: kind, subjects, and the choices that are not the default."""
        ...

    @property
    def caption(self) -> str:
        """Caption for a paper, provenance included."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return runs, fingerprints, choices and provenance for the JSON beside the figure."""
        ...

    def rows(self) -> list[dict[str, Any]]:
        """Return the numbers behind the figure, one dict a line of the CSV."""
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
        Value and default of each choice; named in the stem where they differ.

    Returns
    -------
    str
        Lower case letters, digits, dots and dashes, of at most 120 characters. Longer stems, and
        those of subjects with other letters, end in a hash.
    """
    words = [kind, *subjects]
    words += [
        name.replace("_", "-") if value is True else f"{name.replace('_', '-')}-{value}"
        for name, (value, default) in choices.items()
        if value != default
    ]
    text = "-".join(slug(word) for word in words)
    plain = all(_PLAIN.fullmatch(subject) for subject in subjects)
    if plain and len(text) <= _MAX_LENGTH:
        return text
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{text[: _MAX_LENGTH - 9]}-{digest}"


def as_sentence(notes: Iterable[str]) -> str:
    """Return notes as a sentence that can follow a caption, or an empty string.

    ``["random weights", "stand-in data"]`` becomes `` Random weights; stand-in data.``.
    """
    text = "; ".join(dict.fromkeys(notes))
    return f" {text[0].upper()}{text[1:]}." if text else ""
