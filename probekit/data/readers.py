"""Manifests from a folder of recordings or a CSV file."""

import csv
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from probekit.audio.recording import PYAV_SUFFIXES, SUFFIXES
from probekit.data import columns
from probekit.data.columns import Header
from probekit.data.folder_layout import left_out_notes, read_layout
from probekit.data.manifest import (
    SPLITS,
    TAG_PREFIX,
    TARGET_PREFIX,
    UNKNOWN,
    Manifest,
    Target,
    dataset_name,
    from_rows,
    group_by_recording,
    match_spelling,
    with_text,
)
from probekit.errors import DataError
from probekit.utils.text import summarize_ids

_SPREADSHEET_ERRORS = re.compile(
    r"#(NAME|VALUE|REF|DIV/0|N/A|NUM|NULL)[?!]?|-?\d([.,]\d+)?E[+-]\d+"
)
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
TAB_SUFFIXES = (".tsv", ".txt")
_SYSTEM_FOLDERS = frozenset({"lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir"})
_Table = dict[str, tuple[str, ...]]  # column to the text of its cells
_DURATION_TOLERANCE = 0.01  # seconds between an end and start + duration, which may be rounded


def from_folder(root: Path, name: str | None = None) -> Manifest:
    """Make a manifest from a folder of recordings.

    Sub-folders are labels; recordings may lie deeper inside them. Folders named like splits or
    folds (train, test, valid, fold1 …), above the labels' folders or inside each of them, are that
    (:mod:`probekit.data.folder_layout`). A folder of recordings without sub-folders gives clips
    without labels, which can be extracted. The clip id is the path without suffix. Hidden files are
    skipped; links to folders are followed.

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
        If the folder does not exist or cannot be listed, holds no recordings, or holds some beside
        its label folders, or if only some of its folders are splits.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    files: list[PurePosixPath] = []
    recordings: list[PurePosixPath] = []
    for folder, names in walk_folders(root):
        for file in names:
            path = PurePosixPath(folder, file)
            suffixes = SUFFIXES | PYAV_SUFFIXES
            (recordings if path.suffix.lower() in suffixes else files).append(path)
    if not recordings:
        others = sorted({path.suffix.lower() or path.name for path in files})
        contents = f"; it contains {summarize_ids(others)}" if others else ""
        raise DataError(
            f"{root}: no recordings found ({', '.join(sorted(SUFFIXES))}, at any depth{contents})"
        )
    recordings.sort()
    others = [path.as_posix() for path in sorted(files)]
    ids = _name_recordings([path.as_posix() for path in recordings])
    layout = read_layout(root, recordings)
    rows = [
        {"clip_id": clip_id, "path": path.as_posix(), **facts}
        for clip_id, path, facts in zip(ids, recordings, layout, strict=True)
    ]
    clips = from_rows(name or dataset_name(root.resolve().name), rows, root=root)
    return replace(
        clips,
        source=root,
        other_files=tuple(others),
        provenance=left_out_notes(root, others),
    )


def from_csv(
    path: Path,
    *,
    root: Path | None = None,
    name: str | None = None,
    clip_id: str = "clip_id",
    need_path: bool = True,
    extra: Collection[str] | None = (),
    labels: Sequence[str] = (),
) -> Manifest:
    """Make a manifest from a CSV file with a header, or from one with tabs (``.tsv``, ``.txt``).

    Columns: ``clip_id``, ``path`` (relative to ``root``, or absolute and inside it), and optionally
    ``start``, ``end`` or ``duration`` (seconds), ``split`` (train, valid, test), ``fold``,
    ``group``, and ``label`` (one class; commas need quotes), ``labels`` (several, separated by
    ``;``, or a JSON list), ``tag:NAME`` (one label each: 1, 0, or empty where it is unknown) or
    ``target:NAME`` (numbers). Columns of DCASE, Raven and Audacity are
    understood as well (``onset``, ``Begin Time (s)`` …; :mod:`probekit.data.columns`); columns
    ``extra:NAME`` are not used, others are an error. Without ``clip_id`` clips are named after
    recording and segment. Clips that are segments of one recording have it as their group, unless
    the table has other groups.

    Parameters
    ----------
    path : pathlib.Path
        The table; UTF-8, with or without a byte order mark.
    root : pathlib.Path, optional
        The folder that ``path`` is relative to; by default the table's.
    name : str, optional
        Name of the dataset; by default the stem of the file.
    clip_id : str
        The column of the clip ids; ``COLUMN:stem`` takes a path's file name without suffix.
    need_path : bool
        Whether the column ``path`` is required (not when embeddings are imported).
    extra : collection of str or None
        Columns that are not used and no error; None allows all but those that seem misspelled.
    labels : sequence of str
        Labels that are known, where cells may hold several.

    Returns
    -------
    Manifest
        One row per clip, in the order of the file.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column or has an unknown one, has a row of another
        length than the header, lacks or repeats an id or has one that a spreadsheet program has
        changed, lacks a path or has one that leaves the root, has an unknown split, a value that
        is not a number in a column of numbers, or cells that may be one label or several.
    """
    table = _read_csv(path)
    column, _, transform = clip_id.partition(":")
    header = columns.read_header(path, list(table), extra, column)
    path_column = header.columns.get("path", "")
    if column == "clip_id":
        column = header.columns.get("clip_id", "")
    _check_required(
        path, table, clip_id if not column and not path_column else column, need_path, path_column
    )
    text = {known: table[actual] for known, actual in header.columns.items()}
    if path_column == column and not need_path:  # the names of recordings, used as ids only
        text.pop("path")
    clips: dict[str, Any] = {"path": text.get("path", "")}
    if "split" in text:
        _check_splits(path, header.columns["split"], text["split"])
    clips |= {c: text[c] for c in ("split", "fold", "group") if c in text}
    clips |= _read_segments(path, table, header)
    ids = list(table[column]) if column else _name_clips(clips)
    if transform == "stem":
        ids = [PurePosixPath(text.replace("\\", "/")).stem for text in ids]
    elif transform:
        raise DataError(f"clip id {clip_id!r}: only 'stem' may follow the colon")
    clips["clip_id"] = [unicodedata.normalize("NFC", text) for text in ids]
    check_spreadsheet_ids(path, clips["clip_id"])
    target, values, class_names = _read_targets(path, table, header, clips["clip_id"], labels)
    if target != "none":
        clips["labels"] = values
    if header.tags:
        clips[UNKNOWN] = [row[1] for row in values]
        clips["labels"] = [row[0] for row in values]
    if isinstance(clips["path"], str):  # no column of paths
        clips["path"] = [clips["path"]] * len(ids)
    folder = path.parent if root is None else root
    manifest = from_rows(
        name or dataset_name(path.stem),
        [dict(zip(clips, row, strict=True)) for row in zip(*clips.values(), strict=True)],
        root=folder,
        target=target,
        class_names=class_names,
        source=path,
    )
    paths = match_spelling(folder, manifest.columns["path"].to_pylist())
    manifest = group_by_recording(with_text(manifest, "path", paths))
    return replace(manifest, source=path)


def unused_columns(path: Path, clip_id: str = "clip_id") -> tuple[str, ...]:
    """Return the columns of a table that :func:`from_csv` does not use if all are allowed."""
    ids = clip_id.partition(":")[0]
    return columns.read_header(path, list(_read_csv(path)), None, ids).unused


def _check_required(path: Path, table: _Table, ids: str, need_path: bool, path_column: str) -> None:
    """Raise if the column of clip ids or of paths is missing, or has empty cells."""
    missing = [ids] if ids and ids not in table else []
    if need_path and not path_column:
        missing.append("path")
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(repr(c) for c in missing)}. "
            f"The columns are: {', '.join(map(repr, table))}"
        )
    for c in dict.fromkeys([ids, path_column if need_path else ""]):
        lines = [k + 2 for k, text in enumerate(table[c]) if not text] if c else []
        if lines:
            raise DataError(f"{path}: row {lines[0]}, column {c!r} is empty")


def _read_segments(path: Path, table: _Table, header: Header) -> dict[str, Any]:
    """Return start and end of the clips, as far as the table has them."""
    names = header.columns
    times = {
        c: np.array(_parse_numbers(path, table, names[c]))
        for c in ("start", "end", "duration", columns.FILE_OFFSET)
        if c in names
    }
    duration, offset = times.pop("duration", None), times.pop(columns.FILE_OFFSET, None)
    if duration is not None:
        # rounded: 0.2 + 0.1 is the 0.3 at which the next clip starts
        end = np.round(np.nan_to_num(times["start"]) + duration, 9)
        if "end" in times:
            differ = np.flatnonzero(np.abs(times["end"] - end) > _DURATION_TOLERANCE)
            if len(differ):
                k = differ[0]
                raise DataError(
                    f"{path}: row {k + 2}: {names['start']} + {names['duration']} is {end[k]:g} s, "
                    f"{names['end']} is {times['end'][k]:g} s. Call one of the columns extra:NAME"
                )
        else:
            times["end"] = np.where(np.isnan(times["start"]) & np.isnan(duration), np.nan, end)
    if offset is not None and "start" in times:
        shift = np.where(np.isnan(offset), 0.0, offset - times["start"])
        times = {c: np.round(values + shift, 9) for c, values in times.items()}
    return {c: [float(value) for value in values] for c, values in times.items()}


def _name_recordings(paths: Sequence[str]) -> list[str]:
    """Return paths without suffix, in normal form; with it where two differ in nothing else."""
    stems = {path: os.path.splitext(path)[0] for path in paths}  # noqa: PTH122
    counts = Counter(stems.values())
    names = {path: path if counts[stem] > 1 else stem for path, stem in stems.items()}
    return [unicodedata.normalize("NFC", names[path]) for path in paths]


def _name_clips(clips: dict[str, Any]) -> list[str]:
    """Return names of clips: the recording's, with the segment where the table has segments."""
    names = _name_recordings(clips["path"])
    if "start" not in clips and "end" not in clips:
        return names
    times = [clips.get(c, [np.nan] * len(names)) for c in ("start", "end")]

    def name_segment(name: str, start: float, end: float) -> str:
        if np.isnan(start) and np.isnan(end):
            return name
        first, last = (f"{t:.6f}".rstrip("0").rstrip(".") for t in (np.nan_to_num(start), end))
        return f"{name}_{first}-{'end' if np.isnan(end) else last}"

    return [name_segment(*clip) for clip in zip(names, *times, strict=True)]


def _read_targets(
    path: Path, table: _Table, header: Header, ids: Sequence[str], labels: Sequence[str]
) -> tuple[Target, list[Any], list[str] | None]:
    """Return the kind of the targets, those of each clip, and the names of numbers."""
    kinds = [header.columns[c] for c in ("label", "labels") if c in header.columns]
    kinds += [*header.targets[:1], *header.tags[:1]]
    if len(kinds) > 1:
        raise DataError(
            f"{path}: columns {' and '.join(map(repr, kinds))}: only one of them may be used"
        )
    if not kinds:
        return "none", [], None
    if header.targets:
        numbers = [_parse_numbers(path, table, c, blank=False) for c in header.targets]
        names = [c.removeprefix(TARGET_PREFIX) for c in header.targets]
        return "regression", list(zip(*numbers, strict=True)), names
    if header.tags:
        names = [unicodedata.normalize("NFC", c.removeprefix(TAG_PREFIX)) for c in header.tags]
        wrong = [c for k, c in enumerate(header.tags) if not names[k] or names[k] in names[:k]]
        if wrong:
            raise DataError(
                f"{path}: column {wrong[0]!r}: each column of tags must have a name of its own "
                f"after {TAG_PREFIX}"
            )
        return "multi", _read_tags(path, table, header.tags, names), names
    column = "label" if "label" in header.columns else "labels"
    cells = [unicodedata.normalize("NFC", text) for text in table[kinds[0]]]
    if column == "label":
        blank = [ids[k] for k, text in enumerate(cells) if not text]
        if blank:
            raise DataError(f"{path}: clips without a label: {summarize_ids(blank)}")
    parsed = columns.parse_labels(
        path, cells, column=column, separator=header.separator, known=labels
    )
    single = column == "label" and all(len(row) == 1 for row in parsed)
    return "single" if single else "multi", parsed, None


def _read_tags(
    path: Path, table: _Table, tags: Sequence[str], names: Sequence[str]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the labels of each clip, and those that are unknown: the empty cells."""
    cells = np.array([table[c] for c in tags], str).T
    bad = np.argwhere(~np.isin(cells, ["", "0", "1"]))
    if len(bad):
        row, k = bad[0]
        raise DataError(
            f"{path}: row {row + 2}, column {tags[k]!r}: must be 1, 0, or empty where it is "
            f"unknown, got {str(cells[row, k])!r}"
        )
    labels = np.array(names, object)
    return [(tuple(labels[row == "1"]), tuple(labels[row == ""])) for row in cells]


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

    Hidden files and folders are skipped, and those that an operating system keeps for itself. Links
    to folders are followed; a folder that several links point to is visited once.

    Raises
    ------
    DataError
        If a folder cannot be listed.
    """
    seen: set[tuple[int, int]] = set()

    def fail(error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"{error.filename}: folder cannot be listed ({reason}), so its recordings would be "
            "missing. Make it readable, or move it"
        ) from error

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=fail):
        stat = Path(folder).stat()
        if (stat.st_dev, stat.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name not in _SYSTEM_FOLDERS
        )
        relative = Path(folder).relative_to(root).as_posix()
        yield relative, [name for name in files if not name.startswith(".")]


def _check_splits(path: Path, name: str, column: Sequence[str]) -> None:
    """Raise if there are unknown splits; name the first row of each."""
    unknown = {text: k + 2 for k, text in reversed(list(enumerate(column)))}
    unknown = {text: row for text, row in unknown.items() if text and text not in SPLITS}
    if unknown:
        messages = [
            f"row {row} has {text!r}{_suggest_split(text)}"
            for text, row in sorted(unknown.items(), key=lambda item: item[1])[:5]
        ]
        raise DataError(
            f"{path}: column {name!r} must be train, valid or test; {', '.join(messages)}"
        )


def _suggest_split(split: str) -> str:
    """Return a question that names the closest split; empty if none is close."""
    matches = get_close_matches(split.lower(), SPLITS, n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _read_csv(path: Path) -> _Table:
    """Read a table of text, stripped of spaces; separated by tabs if it is no CSV."""
    delimiter = "\t" if path.suffix.lower() in TAB_SUFFIXES else ","
    header: list[str] = []
    rows: list[list[str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
            for cells in reader:
                row = [cell.strip() for cell in cells]
                if not header:
                    header = row
                elif len(row) == len(header):
                    rows.append(row)
                elif any(row):
                    more = "more" if len(row) > len(header) else "fewer"
                    raise DataError(
                        f"{path}: line {reader.line_num}: {more} fields than the header, "
                        f"{len(row)} instead of {len(header)}"
                    )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path}: line {reader.line_num}: not valid, a quote is not closed or not doubled "
            f"({error})"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if not any(header):
        raise DataError(f"{path}: empty; expected a header, then one row per clip")
    marks = {",": "commas", "\t": "tabs"}
    if len(header) == 1 and any(mark in header[0] for mark in ",;\t|"):
        hint = "; or name the file .tsv" if "\t" in header[0] else ""
        raise DataError(
            f"{path}: columns must be separated by {marks[delimiter]}{hint}; the header is "
            f"{header[0]!r}"
        )
    if not rows:
        raise DataError(f"{path}: a header, but no clips")
    if len(set(header)) < len(header):
        columns.read_header(path, header)  # raises
    return dict(zip(header, zip(*rows, strict=True), strict=True))


def _parse_numbers(path: Path, table: _Table, column: str, blank: bool = True) -> list[float]:
    """Return a column of numbers; ``blank`` allows empty cells, as NaN."""
    numbers = []
    for row, text in enumerate(table[column], 2):
        number = np.nan
        if text.isascii() and "_" not in text:  # which Python would read
            with suppress(ValueError):
                number = float(text)
        if not np.isfinite(number) and not (blank and text in ("", "nan")):
            raise DataError(f"{path}: row {row}, column {column!r}: {text!r} is not a number")
        numbers.append(number)
    return numbers
