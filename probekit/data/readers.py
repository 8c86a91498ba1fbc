"""Manifests from a folder of recordings or a CSV file."""

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
from probekit.data.manifest import (
    SPLITS,
    TARGET_PREFIX,
    Manifest,
    Target,
    dataset_name,
    from_rows,
)
from probekit.errors import DataError
from probekit.utils.text import summarize_ids

_SPREADSHEET_ERRORS = re.compile(
    r"#(NAME|VALUE|REF|DIV/0|N/A|NUM|NULL)[?!]?|-?\d([.,]\d+)?E[+-]\d+"
)
_COLUMNS = ("clip_id", "path", "start", "end", "split", "fold", "group", "label", "labels")


def from_folder(root: Path, name: str | None = None) -> Manifest:
    """Make a manifest from a folder of recordings.

    Sub-folders are labels; recordings may lie deeper inside them. A folder of recordings without
    sub-folders gives clips without labels, which can be extracted. The clip id is the path without
    suffix. Hidden files are skipped; links to folders are followed.

    Parameters
    ----------
    root : pathlib.Path
        Folder of the recordings.
    name : str, optional
        Name of the dataset; by default the folder's.

    Returns
    -------
    Manifest
        Sorted by path.

    Raises
    ------
    DataError
        If the folder does not exist, holds no recordings, or holds some beside its label folders.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    files = sorted(Path(folder, name) for folder, names in walk_folders(root) for name in names)
    recordings = [path for path in files if path.suffix.lower() in SUFFIXES | PYAV_SUFFIXES]
    if not recordings:
        others = sorted({path.suffix.lower() or path.name for path in files})
        contents = f"; it contains {summarize_ids(others)}" if others else ""
        raise DataError(
            f"{root}: no recordings found ({', '.join(sorted(SUFFIXES))}, at any depth{contents})"
        )
    loose = [str(path) for path in recordings if len(path.parts) == 1]
    if loose and len(loose) < len(recordings):
        raise DataError(
            f"{root}: sub-folders are labels, but {len(loose)} recordings are in none of them: "
            f"{summarize_ids(loose)}. Move them into a label's folder, or list the clips in a CSV"
        )
    stems = [path.with_suffix("").as_posix() for path in recordings]
    counts = Counter(stems)
    rows: list[dict[str, Any]] = []
    for path, stem in zip(recordings, stems, strict=True):
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

    Columns: ``clip_id``, ``path`` (relative to ``root``), and optionally ``start``, ``end``
    (seconds), ``split`` (train, valid, test), ``fold``, ``group``, and ``label`` (one class; commas
    need quotes), ``labels`` (several, separated by ``;``, or a JSON list) or ``target:NAME``
    (numbers). Other columns are ignored.

    Parameters
    ----------
    path : pathlib.Path
        The CSV; UTF-8, with or without a byte order mark.
    root : pathlib.Path, optional
        The folder that ``path`` is relative to; by default the CSV's.
    name : str, optional
        Name of the dataset; by default the stem of the file.
    clip_id : str
        The column of the clip ids; ``COLUMN:stem`` takes a path's file name without suffix.
    need_path : bool
        Whether the column ``path`` is required (not when embeddings are imported).

    Returns
    -------
    Manifest
        One row per clip, in the order of the file.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column or has one in capitals, has a row with more
        fields than the header, lacks or repeats an id or has one that a spreadsheet program has
        changed, lacks a path or has one that leaves the root, or has an unknown split, or a value
        that is not a number in a column of numbers.
    """
    table = _read_csv(path)
    _check_capitals(path, table)
    column, _, transform = clip_id.partition(":")
    required = [column, *(["path"] if need_path else [])]
    missing = [c for c in required if c not in table]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(repr(c) for c in missing)}. "
            f"The columns are: {', '.join(map(repr, table.columns))}"
        )
    ids = table[column]
    if transform == "stem":
        ids = ids.map(lambda text: PurePosixPath(text).stem)
    elif transform:
        raise DataError(f"clip id {clip_id!r}: only 'stem' may follow the colon")
    target_columns = [c for c in table if c.startswith(TARGET_PREFIX)]
    kinds = [c for c in ("label", "labels") if c in table] + target_columns[:1]
    if len(kinds) > 1:
        raise DataError(
            f"{path}: columns {' and '.join(map(repr, kinds))}: only one of them may be used"
        )
    for c in required:
        lines = [k + 2 for k, text in enumerate(table[c]) if not text]
        if lines:
            raise DataError(f"{path}: row {lines[0]}, column {c!r} is empty")
    check_spreadsheet_ids(path, ids)
    if "split" in table:
        _check_splits(path, table["split"])
    clips: dict[str, Any] = {"clip_id": ids, "path": table.get("path", "")}
    for c in ("start", "end"):
        if c in table:
            clips[c] = _parse_numbers(path, table, c)
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
    elif target_columns:
        numbers = [_parse_numbers(path, table, c, blank=False) for c in target_columns]
        target, clips["labels"] = "regression", list(zip(*numbers, strict=True))
    rows = pd.DataFrame(clips).to_dict("records")
    return from_rows(
        name or dataset_name(path.stem),
        [{str(k): v for k, v in row.items()} for row in rows],
        root=root or path.parent,
        target=target,
        class_names=[c.removeprefix(TARGET_PREFIX) for c in target_columns]
        if target_columns
        else None,
        source=path,
    )


def check_spreadsheet_ids(path: Path, ids: Iterable[str]) -> None:
    """Raise if ids of a file look changed by a spreadsheet program.

    Excel turns an id such as ``-0RWZT-miFs`` into ``#NAME?`` and ``12345E7`` into ``1.23E+11``.
    """
    bad = sorted({text for text in ids if _SPREADSHEET_ERRORS.fullmatch(text.strip())})
    if bad:
        raise DataError(
            f"{path}: ids that a spreadsheet program has changed: {summarize_ids(bad)}. Get the "
            "original file again and do not save it from a spreadsheet"
        )


def walk_folders(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below a root (relative to it, with ``/``) and the names of its files.

    Hidden files and folders are skipped. Links to folders are followed; a folder that several
    links point to is visited once.
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
    """Raise if a column would be ignored only because of its capitals."""
    for column in table:
        lower = column.lower()
        if column != lower and lower in _COLUMNS and lower not in table:
            raise DataError(
                f"{path}: column {column!r}: did you mean {lower!r}? Column names are in "
                "lower case; rename the column if it contains something else"
            )


def _check_splits(path: Path, column: "pd.Series[str]") -> None:
    """Raise if there are unknown splits; name the first row of each."""
    unknown = {text: k + 2 for k, text in reversed(list(enumerate(column)))}
    unknown = {text: row for text, row in unknown.items() if text and text not in SPLITS}
    if unknown:
        messages = [
            f"row {row} has {text!r}{_suggest_split(text)}"
            for text, row in sorted(unknown.items(), key=lambda item: item[1])[:5]
        ]
        raise DataError(
            f"{path}: column 'split' must be train, valid or test; {', '.join(messages)}"
        )


def _suggest_split(split: str) -> str:
    """Return a question that names the closest split; empty if none is close."""
    matches = get_close_matches(split.lower(), SPLITS, n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file as text, stripped of spaces."""
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
        raise DataError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path}: not a valid CSV file: a row has more fields than the header, or a quote is "
            f"not closed ({error})"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: empty; expected a header, then one row per clip") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(table.columns) == 1 and any(separator in table.columns[0] for separator in ";\t|"):
        raise DataError(
            f"{path}: columns must be separated by commas; the header is {table.columns[0]!r}"
        )
    if table.empty:
        raise DataError(f"{path}: a header, but no clips")
    table.columns = table.columns.str.strip()
    return table.apply(lambda column: column.str.strip())


def _parse_numbers(path: Path, table: pd.DataFrame, column: str, blank: bool = True) -> list[float]:
    """Return a column of numbers; ``blank`` allows empty cells, as NaN."""
    text = table[column].replace("", "nan")
    numbers = pd.to_numeric(text, errors="coerce")
    valid = np.isfinite(numbers) | ((text == "nan") & blank)
    bad = np.flatnonzero(~valid)
    if len(bad):
        raise DataError(
            f"{path}: row {bad[0] + 2}, column {column!r}: "
            f"{table[column][bad[0]]!r} is not a number"
        )
    return [float(number) for number in numbers]


def _parse_label_list(path: Path, text: str) -> tuple[str, ...]:
    """Return the labels of a cell: a JSON list, or text separated by ``;``."""
    if text.startswith("["):
        try:
            labels = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: labels {text!r}: not a JSON list") from error
        return tuple(str(label) for label in labels)
    return tuple(label.strip() for label in text.split(";") if label.strip())
