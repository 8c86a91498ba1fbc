"""A folder or a CSV becomes a clip table."""

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from probekit.audio.recording import PYAV_SUFFIXES, SUFFIXES
from probekit.data.manifest import VALUE, Manifest, Target, dataset_name, from_rows
from probekit.errors import DataError
from probekit.utils.text import summarize_ids

_MANGLED = re.compile(r"#(NAME|VALUE|REF|DIV/0|N/A|NUM|NULL)[?!]?|-?\d([.,]\d+)?E[+-]\d+")
_SPLITS = ("train", "valid", "test")
_COLUMNS = ("clip_id", "path", "start", "end", "split", "fold", "group", "label", "labels")


def from_folder(root: Path, name: str | None = None) -> Manifest:
    """Make a manifest from a folder of recordings.

    Sub-folders are labels; recordings may lie deeper inside them. A folder with recordings but
    no sub-folders gives clips without labels, good for extraction. The clip id is the path
    without suffix. Hidden files are left out; links to folders are followed.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    name : str, optional
        Name of the dataset; the folder's by default.

    Returns
    -------
    Manifest
        Sorted by path.

    Raises
    ------
    DataError
        If the folder is missing, holds no recordings, or holds some beside its label folders.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    files = sorted(Path(folder, name) for folder, names in walk_folders(root) for name in names)
    found = [path for path in files if path.suffix.lower() in SUFFIXES | PYAV_SUFFIXES]
    if not found:
        others = sorted({path.suffix.lower() or path.name for path in files})
        there = f", found {summarize_ids(others)}" if others else ""
        raise DataError(
            f"{root}: no recordings in it (looked for {', '.join(sorted(SUFFIXES))} at any "
            f"depth{there})"
        )
    loose = [str(path) for path in found if len(path.parts) == 1]
    if loose and len(loose) < len(found):
        raise DataError(
            f"{root}: sub-folders are labels, but {len(loose)} recordings lie beside them: "
            f"{summarize_ids(loose)}. Move them into a label's folder, or describe the clips in a CSV"
        )
    stems = [path.with_suffix("").as_posix() for path in found]
    counts = Counter(stems)
    rows: list[dict[str, Any]] = []
    for path, stem in zip(found, stems, strict=True):
        row: dict[str, Any] = {"path": path.as_posix()}
        row["clip_id"] = path.as_posix() if counts[stem] > 1 else stem
        if not loose:
            row["labels"] = (path.parts[0],)
        rows.append(row)
    return from_rows(name or dataset_name(root.resolve().name), rows, root=root)


def from_csv(
    path: Path,
    *,
    root: Path | None = None,
    name: str | None = None,
    clip_id: str = "clip_id",
    need_path: bool = True,
) -> Manifest:
    """Make a manifest from a CSV file with a header.

    Columns: ``clip_id``, ``path`` (relative to ``root``), and, where known, ``start``, ``end``
    (seconds), ``split`` (train, valid, test), ``fold``, ``group``, and ``label`` (one name; commas
    need quotes), ``labels`` (several, separated by ``;``, or a JSON list) or ``target:NAME``
    (numbers). Other columns are left alone.

    Parameters
    ----------
    path : pathlib.Path
        The CSV; UTF-8, with or without a byte order mark.
    root : pathlib.Path, optional
        What ``path`` is relative to; the CSV's own folder by default.
    name : str, optional
        Name of the dataset; the file's stem by default.
    clip_id : str
        The column of the clip ids; ``COLUMN:stem`` takes a path's file name without suffix.
    need_path : bool
        Whether the column ``path`` must be there (not when embeddings are imported).

    Returns
    -------
    Manifest
        One row a clip, in the file's order.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column or has one in capitals, has a row with more
        fields than the header, lacks or repeats an id or has one that a spreadsheet program has
        changed, lacks a path or has one that leaves the root, or has another split, or a value
        that is not a number where one belongs.
    """
    table = _read_csv(path)
    _check_capitals(path, table)
    column, _, how = clip_id.partition(":")
    needed = [column, *(["path"] if need_path else [])]
    missing = [c for c in needed if c not in table]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(repr(c) for c in missing)}. "
            f"The columns are: {', '.join(map(repr, table.columns))}"
        )
    ids = table[column]
    if how == "stem":
        ids = ids.map(lambda text: PurePosixPath(text).stem)
    elif how:
        raise DataError(f"clip id {clip_id!r}: after the colon only 'stem' is known")
    values = [c for c in table if c.startswith(VALUE)]
    kinds = [c for c in ("label", "labels") if c in table] + values[:1]
    if len(kinds) > 1:
        raise DataError(f"{path}: columns {' and '.join(map(repr, kinds))}: only one kind of label")
    for c in needed:
        lines = [k + 2 for k, text in enumerate(table[c]) if not text]
        if lines:
            raise DataError(f"{path}: row {lines[0]}, column {c!r} is empty")
    check_spreadsheet_ids(path, ids)
    if "split" in table:
        _check_other_splits(path, table["split"])
    clips: dict[str, Any] = {"clip_id": ids, "path": table.get("path", "")}
    for c in ("start", "end"):
        if c in table:
            clips[c] = _numbers(path, table, c)
    for c in ("split", "fold", "group"):
        if c in table:
            clips[c] = table[c]
    target: Target = "none"
    if "label" in table:
        target, clips["labels"] = "single", [(text,) for text in table["label"]]
        blank = [ids[k] for k, text in enumerate(table["label"]) if not text]
        if blank:
            raise DataError(f"{path}: clips without a label: {summarize_ids(blank)}")
    elif "labels" in table:
        target, clips["labels"] = (
            "multi",
            [_parse_label_list(path, text) for text in table["labels"]],
        )
    elif values:
        numbers = [_numbers(path, table, c, blank=False) for c in values]
        target, clips["labels"] = "regression", list(zip(*numbers, strict=True))
    rows = pd.DataFrame(clips).to_dict("records")
    return from_rows(
        name or dataset_name(path.stem),
        [{str(k): v for k, v in row.items()} for row in rows],
        root=root or path.parent,
        target=target,
        names=[c.removeprefix(VALUE) for c in values] if values else None,
        source=path,
    )


def check_spreadsheet_ids(path: Path, ids: Iterable[str]) -> None:
    """Refuse ids that a spreadsheet program has changed.

    Excel turns an id such as ``-0RWZT-miFs`` into ``#NAME?`` and ``12345E7`` into ``1.23E+11``.

    Parameters
    ----------
    path : pathlib.Path
        Where they come from, for the message.
    ids : iterable of str
        The ids.

    Raises
    ------
    DataError
        If one of them looks like that.
    """
    bad = sorted({text for text in ids if _MANGLED.fullmatch(text.strip())})
    if bad:
        raise DataError(
            f"{path}: ids that a spreadsheet program has changed: {summarize_ids(bad)}. Get the original "
            "file again and do not save it from a spreadsheet"
        )


def walk_folders(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below a root (relative to it, with ``/``) and the names of its files.

    Hidden files and folders are left out. Links to folders are followed; a folder that several
    links lead to is walked once.
    """
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        stat = Path(folder).stat()
        if (stat.st_dev, stat.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root).as_posix()
        yield relative, [name for name in files if not name.startswith(".")]


def _check_capitals(path: Path, table: pd.DataFrame) -> None:
    """Refuse a column that would be left alone only for its capitals."""
    for column in table:
        meant = column.lower()
        if column != meant and meant in _COLUMNS and meant not in table:
            raise DataError(
                f"{path}: column {column!r}: did you mean {meant!r}? Names of columns are in "
                "lower case; if it is something else, give it another name"
            )


def _check_other_splits(path: Path, column: "pd.Series[str]") -> None:
    """Refuse values that no split is called, each with the first row that has it."""
    wrong = {text: k + 2 for k, text in reversed(list(enumerate(column)))}
    wrong = {text: row for text, row in wrong.items() if text and text not in _SPLITS}
    if wrong:
        said = [
            f"row {row} has {text!r}{_suggest_column(text)}"
            for text, row in sorted(wrong.items(), key=lambda one: one[1])[:5]
        ]
        raise DataError(f"{path}: column 'split' is train, valid or test; {', '.join(said)}")


def _suggest_column(split: str) -> str:
    near = get_close_matches(split.lower(), _SPLITS, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                skipinitialspace=True,
            )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); save it as such") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path}: not a CSV file that can be read: a row has more fields than the header, or a "
            f"quote is not closed ({error})"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: empty; needed is a header, then one row a clip") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(table.columns) == 1 and any(mark in table.columns[0] for mark in ";\t|"):
        raise DataError(
            f"{path}: columns must be separated by commas; the header is {table.columns[0]!r}"
        )
    if table.empty:
        raise DataError(f"{path}: a header, but no clips")
    table.columns = table.columns.str.strip()
    return table.apply(lambda column: column.str.strip())


def _numbers(path: Path, table: pd.DataFrame, column: str, blank: bool = True) -> list[float]:
    text = table[column].replace("", "nan")
    numbers = pd.to_numeric(text, errors="coerce")
    fine = np.isfinite(numbers) | ((text == "nan") & blank)
    bad = np.flatnonzero(~fine)
    if len(bad):
        raise DataError(
            f"{path}: row {bad[0] + 2}, column {column!r}: "
            f"{table[column][bad[0]]!r} is not a number"
        )
    return [float(number) for number in numbers]


def _parse_label_list(path: Path, text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: labels {text!r}: not a JSON list") from error
        return tuple(str(label) for label in found)
    return tuple(label.strip() for label in text.split(";") if label.strip())
