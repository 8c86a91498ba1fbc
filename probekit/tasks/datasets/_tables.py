"""Metadata files of datasets: strict reading, labels that the card knows, and the manifest."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from probekit.cards import TaskCard
from probekit.data.manifest import Manifest, Target, from_rows
from probekit.errors import CardError, DataError
from probekit.utils import lfs_pointer
from probekit.utils.suggest import unknown_name_error

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "spaces"}


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool = True,
    skip: int = 0,
    skipinitialspace: bool = False,
) -> list[dict[str, str]]:
    """Read a table of text, UTF-8 with or without a byte order mark.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    columns : sequence of str
        With a header, the columns that must be in it, in any order; others are read, too. Without
        one, the names of all columns in their order.
    delimiter : str
        The one character between fields.
    header : bool
        Whether the first line (after ``skip``) names the columns.
    skip : int >= 0
        Lines to leave out at the beginning.
    skipinitialspace : bool
        Whether spaces after a delimiter are left out.

    Returns
    -------
    list of dict of str to str
        One a row, column name to text, in the file's order; empty lines are left out.

    Raises
    ------
    DataError
        If the file is missing, empty or not UTF-8, has another separator, lacks a column, or has a
        row of another length; names the file, the line and what was expected.
    """
    lines = list(io.StringIO(read_text(path), newline=""))[skip:]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skipinitialspace, strict=True)
    names: list[str] = [] if header else list(columns)
    rows: list[dict[str, str]] = []
    try:
        for cells in reader:
            if names and len(cells) == len(names):
                rows.append(dict(zip(names, cells, strict=True)))
            elif names and cells:
                hint = _other_separator(lines[reader.line_num - 1], len(names), delimiter)
                raise DataError(
                    f"{path}, line {skip + reader.line_num}: expected {len(names)} fields "
                    f"({', '.join(names[:8])}{' …' if len(names) > 8 else ''}), got "
                    f"{len(cells)}{hint}"
                )
            elif any(cell.strip() for cell in cells):
                names = [cell.strip() for cell in cells]
                _check_header(path, names, columns, delimiter, lines[: reader.line_num])
    except csv.Error as error:
        raise DataError(f"{path}, line {skip + reader.line_num}: {error}") from error
    if not names:
        raise DataError(f"{path}: empty; expected a header with {', '.join(columns)}")
    if not rows:
        raise DataError(f"{path}: {'a header, but no rows' if header else 'empty'}")
    return rows


def check_label(card: TaskCard, label: str, table: Path, clip: str = "") -> str:
    """Return a label if the card lists it; ``table`` and ``clip`` are for the error message.

    Raises
    ------
    UnknownNameError
        If the card does not list it; suggests the nearest label.
    """
    if card.labels is not None and label not in card.labels:
        source = f"{table}, clip {clip!r}" if clip else str(table)
        raise unknown_name_error(f"label of {card.name} in {source}:", label, card.labels)
    return label


def to_manifest(
    card: TaskCard,
    rows: Sequence[dict[str, Any]],
    root: Path | None,
    source: Path | None = None,
    *,
    target: Target = "single",
    class_names: Sequence[str] | None = None,
    expected: int | None = None,
    absent: tuple[str, ...] | None = None,
    provenance: Sequence[str] = (),
) -> Manifest:
    """Return the manifest of a task's clips.

    Parameters
    ----------
    card : TaskCard
        Card of the task: dataset, labels and counts.
    rows : sequence of dict
        One a clip; see :func:`probekit.data.manifest.from_rows`.
    root : pathlib.Path or None
        The dataset's folder.
    source : pathlib.Path, optional
        The table that the rows are from, for error messages.
    target : {"single", "multi", "regression"}
        What the labels are.
    class_names : sequence of str, optional
        Classes in their order; the card's by default.
    expected : int, optional
        The number of clips that the dataset should have; the card's by default.
    absent : tuple of str, optional
        Names of recordings that are not in the folder, whose clips are expected but not in
        ``rows``.
    provenance : sequence of str
        Notes for every result on these clips.

    Returns
    -------
    Manifest
        Named after the card's dataset.
    """
    if absent is not None:
        expected = len(rows) + len(absent)
    manifest = from_rows(
        card.dataset,
        rows,
        root=root,
        target=target,
        class_names=card.labels if class_names is None else class_names,
        provenance=provenance,
        expected=card.counts.get("clips") if expected is None else expected,
        source=source,
    )
    return replace(manifest, absent=absent or ())


def check_options(card: TaskCard, texts: Sequence[str], mappings: Sequence[str]) -> None:
    """Raise a CardError where a card's option is of another type than its module takes.

    Parameters
    ----------
    card : TaskCard
        The card.
    texts, mappings : sequence of str
        Names of those that must be a text, and a mapping, if it has them.
    """
    for names, kind, what in ((texts, str, "a text"), (mappings, dict, "a mapping")):
        for name in names:
            if name in card.options and not isinstance(card.options[name], kind):
                value = card.options[name]
                raise CardError(f"{card.name}: option {name}: must be {what}, got {value!r}")


def to_texts(value: Any) -> list[str]:
    """Return a value of a card, or a list of values, as a list of texts."""
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def read_text(path: Path) -> str:
    """Return a text file's content, UTF-8; a DataError names file and line where it is not."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    if lfs_pointer.is_pointer(content):
        raise DataError(f"{path}: is a Git LFS pointer, not the table; {lfs_pointer.ADVICE}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not text in UTF-8 ({error.reason}); save it as UTF-8, or get "
            "the original file again"
        ) from error


def _check_header(
    path: Path, names: list[str], columns: Sequence[str], delimiter: str, lines: list[str]
) -> None:
    """Refuse a header that lacks a column or names one twice."""
    missing = [name for name in columns if name not in names]
    if missing:
        hint = ""
        for mark, word in _SEPARATORS.items():
            cells = [cell.strip() for row in csv.reader(lines, delimiter=mark) for cell in row]
            if mark != delimiter and set(columns) <= set(cells):
                hint = _separator_hint(word, delimiter)
        raise DataError(
            f"{path}: no column {', '.join(missing)}; the header is {', '.join(names)}{hint}"
        )
    repeated = [name for name in columns if names.count(name) > 1]
    if repeated:
        raise DataError(f"{path}: the header names {', '.join(repeated)} more than once")


def _other_separator(line: str, count: int, delimiter: str) -> str:
    """Return a hint at the separator that would give a line the expected number of fields."""
    for mark, word in _SEPARATORS.items():
        cells = next(csv.reader(io.StringIO(line), delimiter=mark), [])
        if mark != delimiter and len(cells) == count > 1:
            return _separator_hint(word, delimiter)
    return ""


def _separator_hint(separator: str, delimiter: str) -> str:
    return (
        f". Its fields are separated by {separator}, expected are "
        f"{_SEPARATORS.get(delimiter, repr(delimiter))}: get the original file again"
    )
