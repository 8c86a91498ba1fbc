"""Short texts: lists of names for messages, and names that files and folders can have."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

_FORBIDDEN = frozenset('/\\:*?"<>|[]')  # in names of files somewhere, or in patterns of them
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(1, 10))]
)  # names that Windows keeps for itself
_TASK_FILES = (".csv", ".tsv", ".txt", ".yaml", ".yml")  # what ends like these is read as a file
_MAX_BYTES = 120  # of a dataset's name; files named after it are somewhat longer


def dataset_name(text: str) -> str:
    """Return text as the name of a dataset: what no folder can be called is replaced.

    Letters of all scripts, capitals and spaces stay, in normal form C. The name of a name is
    itself; ``"clips"`` if nothing is left.
    """
    text = unicodedata.normalize("NFC", text)
    safe = "".join("-" if c in _FORBIDDEN or not c.isprintable() else c for c in text)
    safe = safe.strip(" .-")
    if safe.lower().partition(".")[0] in _DEVICES:
        safe = f"data-{safe}"
    if safe.lower().endswith(_TASK_FILES):
        safe = "-".join(safe.rsplit(".", 1))
    if len(safe.encode()) > _MAX_BYTES:
        digest = hashlib.sha256(safe.encode()).hexdigest()[:8]
        start = safe.encode()[: _MAX_BYTES - 9].decode(errors="ignore").rstrip(" .-")
        safe = f"{start}-{digest}"
    return safe or "clips"


def slug(text: str) -> str:
    """Return text as part of a file name: lower case ASCII letters, digits, dots and dashes."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in text.lower())
    return safe.strip("-.") or "clips"


def join_names(names: Sequence[str], limit: int) -> str:
    """Return the first ``limit`` names with commas between them, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def summarize_ids(ids: Sequence[str], limit: int = 5) -> str:
    """Return the first ``limit`` ids in quotation marks, and how many more there are."""
    return join_names([repr(str(clip_id)) for clip_id in ids], limit)


def count_of(number: int, noun: str) -> str:
    """Return a number with a noun, in the plural unless it is one.

    >>> count_of(1, "group"), count_of(1200, "clip")
    ('1 group', '1,200 clips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def format_date(text: str) -> str:
    """Return an ISO date and time as local time to the minute; other text as it is.

    >>> len(format_date("2026-11-30T04:12:33+00:00"))
    16
    """
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def forbids_commerce(licence: str) -> bool:
    """Tell whether a licence, or a note on one, forbids commercial use."""
    pattern = r"(?<![a-z])nc(?![a-z])|non-?commercial"
    return re.search(pattern, licence.lower()) is not None
