"""Columns of a user's table: what other programs call them, and labels in one cell."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from probekit.data.manifest import TAG_PREFIX, TARGET_PREFIX
from probekit.errors import DataError
from probekit.utils.text import join_names

EXTRA_PREFIX = "extra:"  # columns that are not used are called extra:NAME
NAMES = ("clip_id", "path", "start", "end", "duration", "split", "fold", "group", "label", "labels")
FILE_OFFSET = "file offset"  # Raven: where a selection starts in its file, not in the whole series

_ALIASES = {
    "start": ("onset", "begin", "begin time", "start time", "onset time", "tmin"),
    "end": ("offset", "stop", "end time", "stop time", "offset time", "tmax"),
    "duration": ("dur", "event duration"),
    "path": (
        "file", "filename", "file name", "filepath", "file path", "audio path", "audio file",
        "audio filepath", "begin path", "begin file",
    ),
    "label": ("event label", "annotation", "species"),
    FILE_OFFSET: (),
}  # fmt: skip
_NAME_OF = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}
# of selection tables; Raven's name of the start tells that a table is one
_SELECTION_TABLE = ("begin time", "start time")
_SELECTION_COLUMNS = frozenset(
    {
        "selection", "view", "channel", "track", "low freq", "high freq", "low frequency",
        "high frequency", "begin path", "delta time", "delta freq", "begin clock time",
        "end clock time",
    }
)  # fmt: skip
_UNIT = re.compile(r"(?:\s*[(\[](?:s|sec|secs|seconds|hz)[)\]]|[\s_](?:s|sec|secs|seconds))$")
_MISSPELLED = 0.8  # likeness of a name that is misspelled, where other columns are allowed
_SEPARATORS = {";": "semicolon", "|": "bar", ",": "comma"}
_LABELS = re.compile(r"labels?:(?P<separator>[;|,]|semicolon|bar|comma)")


@dataclass(frozen=True)
class Header:
    """Columns of a table.

    Attributes
    ----------
    columns : dict of str to str
        probekit's name of a column to the table's.
    targets : tuple of str
        Columns ``target:NAME``, in their order.
    tags : tuple of str
        Columns ``tag:NAME``, in their order.
    separator : str
        Of the labels in a cell, where the header declares it; else empty.
    unused : tuple of str
        Columns that are not known.
    """

    columns: dict[str, str]
    targets: tuple[str, ...] = ()
    separator: str = ""
    unused: tuple[str, ...] = field(default=())
    tags: tuple[str, ...] = ()


def read_header(
    path: Path, names: Sequence[str], extra: Collection[str] | None = (), ids: str = "clip_id"
) -> Header:
    """Find out which column is which.

    Capitals, underscores and units in names do not matter: ``Start (s)``, ``onset``,
    ``begin_time`` all are starts.

    Parameters
    ----------
    path : pathlib.Path
        The table, for messages.
    names : sequence of str
        Its header.
    extra : collection of str or None
        Columns that may be there without being used; None allows all but those that seem
        misspelled.
    ids : str
        The table's column of clip ids.

    Returns
    -------
    Header
        What each column is.

    Raises
    ------
    DataError
        If a name occurs twice, two columns mean the same, or one is neither known nor declared.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}: the header names {join_names([repr(name) for name in repeated], 5)} more "
            "than once"
        )
    declared = frozenset(extra or ())
    ignored = frozenset[str]()
    if any(_simplify(name) in _SELECTION_TABLE for name in names):
        ignored = _SELECTION_COLUMNS
    columns: dict[str, str] = {}
    targets, tags, unused, separator = [], [], [], ""
    # a column under probekit's own name goes first; a second one for the same is not known then
    for name in sorted(names, key=lambda name: (name not in NAMES, _simplify(name))):
        labels = _LABELS.fullmatch(name.lower())
        if name in declared or name.lower().startswith(EXTRA_PREFIX):
            continue
        if name.startswith(TARGET_PREFIX):
            targets.append(name)
            continue
        if name.startswith(TAG_PREFIX):
            tags.append(name)
            continue
        if labels:
            marks = {word: mark for mark, word in _SEPARATORS.items()}
            separator = marks.get(labels["separator"], labels["separator"])
        meaning = "labels" if labels else _meaning(name)
        if meaning and meaning not in columns:
            columns[meaning] = name
        elif name != ids and _simplify(name) not in ignored:
            unused.append(name)
    if extra is None:  # a table of metadata: its times may be the recordings'
        misspelled = [name for name in unused if _closest(name, NAMES, _MISSPELLED)]
        if "start" not in columns:
            unused += [columns.pop(c) for c in ("end", "duration") if c in columns]
    else:
        misspelled = unused
        _check_times(path, columns)
    if misspelled:
        raise _unknown_columns(path, [name for name in names if name in misspelled], columns)
    ordered, of_tags, left = (
        tuple(name for name in names if name in kind) for kind in (targets, tags, unused)
    )
    return Header(columns, ordered, separator, left, of_tags)


def _check_times(path: Path, columns: dict[str, str]) -> None:
    """Raise if a column of times means something only beside another one."""
    start, end = (columns.get(c, "") for c in ("start", "end"))
    if _simplify(end) == "offset" and _simplify(start) != "onset":
        raise DataError(
            f"{path}: column {end!r} is an end only beside a column 'onset'. Call it 'end' or "
            "'start', or 'extra:offset' if it is not to be used"
        )
    if "duration" in columns and not start:
        duration = columns["duration"]
        raise DataError(
            f"{path}: column {duration!r} is the length of a segment only beside a column 'start'. "
            f"Call it 'extra:{duration}' if it is the recording's"
        )


def _meaning(name: str) -> str:
    """Return probekit's name of a column; empty if it is not known."""
    simple = _simplify(name)
    names = {known.replace("_", " "): known for known in NAMES}
    return names.get(simple) or _NAME_OF.get(simple, "")


def _simplify(name: str) -> str:
    """Return a column's name in lower case, without its unit, with single spaces between words."""
    return re.sub(r"[\s_-]+", " ", _UNIT.sub("", name.strip().lower())).strip()


def _unknown_columns(path: Path, names: Sequence[str], columns: dict[str, str]) -> DataError:
    """Return the error on columns that are neither known nor declared."""
    messages = []
    for name in names:
        same = columns.get(_meaning(name), "")
        close = _closest(name, [*NAMES, *_NAME_OF], 0.7)
        hint = ""
        if same:
            hint = f" (means the same as {same!r})"
        elif close:
            hint = f" (did you mean {_NAME_OF.get(close, close)!r}?)"
        messages.append(f"{name!r}{hint}")
    word = "column" if len(names) == 1 else "columns"
    return DataError(
        f"{path}: unknown {word} {join_names(messages, 8)}. Known: {', '.join(NAMES)}, "
        f"{TARGET_PREFIX}NAME, {TAG_PREFIX}NAME. Put {EXTRA_PREFIX!r} before the name of each "
        f"column that is not to be used, such as '{EXTRA_PREFIX}{names[0]}'"
    )


def _closest(name: str, known: Collection[str], cutoff: float) -> str:
    """Return the known name that is closest to a column's; empty if none is close."""
    return next(iter(get_close_matches(_simplify(name), known, n=1, cutoff=cutoff)), "")


def parse_labels(
    path: Path,
    cells: Sequence[str],
    *,
    column: str,
    separator: str = "",
    known: Iterable[str] = (),
) -> list[tuple[str, ...]]:
    """Return the labels of each cell of a column.

    A cell is a JSON list, or labels with a separator between them. Where the header does not
    declare the separator, it is ``;`` in a column ``labels``; any other mark, and any in a column
    ``label``, separates only where every part of every cell is a known label.

    Parameters
    ----------
    path : pathlib.Path
        The table, for messages.
    cells : sequence of str
        The column.
    column : {"label", "labels"}
        Whether a clip has one label or several.
    separator : str
        As declared; empty if it is not.
    known : iterable of str
        Labels that are known besides those that the column has alone in a cell.

    Returns
    -------
    list of tuple of str
        One a cell; all of length 1 for a column of single labels.

    Raises
    ------
    DataError
        If a cell is not a JSON list, or it cannot be told whether it is one label or several.
    """
    distinct = dict.fromkeys(cells)
    parsed = {cell: _parse_json(path, cell, column) for cell in distinct if cell.startswith("[")}
    texts = [cell for cell in distinct if cell not in parsed]
    if not separator:
        separator = _infer_separator(path, texts, column, frozenset(known))
    for cell in texts:
        parsed[cell] = _split(cell, separator) if separator else (cell,)
    return [parsed[cell] for cell in cells]


def _infer_separator(path: Path, texts: Sequence[str], column: str, known: frozenset[str]) -> str:
    """Return the mark between labels; empty if each cell is one label."""
    if column == "labels" and any(";" in text for text in texts):
        return ";"
    for mark, word in _SEPARATORS.items():
        several = [text for text in texts if mark in text]
        if not several:
            continue
        if _parts_are_known(texts, mark, known):
            return mark
        if column == "label" and mark == ",":  # quoted: a name with a comma
            continue
        parts = _split(several[0], mark)
        raise DataError(
            f"{path}: column {column!r}: is {several[0]!r} one label, or are these "
            f"{len(parts)}? Call the column 'labels:{word}' if {mark!r} separates labels, and "
            f"write one label with a {mark!r} in it as a JSON list, "
            f"{json.dumps([several[0]], ensure_ascii=False)}"
        )
    return ";" if column == "labels" else ""


def _parts_are_known(texts: Sequence[str], mark: str, known: frozenset[str]) -> bool:
    """Return whether every part of every cell is a label of its own.

    One is that is known, alone in a cell, or in at least two cells whose other parts are.
    """
    cells = [_split(text, mark) for text in texts]
    known = known | {parts[0] for parts in cells if len(parts) == 1}
    companions: dict[str, set[tuple[str, ...]]] = {}
    for parts in cells:
        for part in parts:
            others = tuple(sorted(set(parts) - {part}))
            if others and known.issuperset(others):
                companions.setdefault(part, set()).add(others)
    known = known | {part for part, others in companions.items() if len(others) > 1}
    return all(part in known for parts in cells for part in parts)


def _split(text: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(mark) if part.strip())


def _parse_json(path: Path, text: str, column: str) -> tuple[str, ...]:
    try:
        labels = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: {column} {text!r}: not a JSON list") from error
    return tuple(str(label) for label in labels)
