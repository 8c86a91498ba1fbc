"""Columns of clips: groups such as artists, and labels such as sub-genres, from a table."""

import csv
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pandas as pd

from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids

_CLIP_COLUMNS = {
    "group": "group", "artist": "group", "recording": "path", "path": "path", "fold": "fold",
    "split": "split",
}  # fmt: skip
_IDS = ("clip_id", "clip", "id")


def read_groups(clips: Manifest, column: str, table: str | Path | None = None) -> list[str]:
    """Return the group of each clip; empty where it has none.

    Parameters
    ----------
    clips : Manifest
        Clips.
    column : str
        A column of the table; or ``group`` (or ``artist``: the same), ``recording``, ``fold``,
        ``split`` or ``label``, which the clips have themselves.
    table : str or pathlib.Path, optional
        CSV with a column ``clip_id``, or ``tracks.csv`` of FMA, whose columns are named like
        ``artist.id``.

    Raises
    ------
    DataError
        If there is no such column, or no clip has a group.
    """
    in_table = table is not None and _has_column(Path(table), column)
    if not in_table and column in ("label", "labels"):
        groups = [" ".join(map(str, labels)) for labels in clips.table["labels"]]
    elif table is None or (not in_table and column in _CLIP_COLUMNS):
        if column not in _CLIP_COLUMNS:
            hint = "For a column of a table of your own, name the table with --table."
            raise unknown_name_error("group column", column, [*_CLIP_COLUMNS, "label"], hint)
        groups = list(map(str, clips.column(_CLIP_COLUMNS[column])))
    else:
        texts = _read_table_column(Path(table), column, clips)
        groups = [text.strip() for text in texts]
    if not any(groups):
        origin = table if in_table else clips.name
        raise DataError(
            f"{origin}: no group column: {column!r} is empty for all {len(clips):,} clips. Name "
            "another with --group-column, or a table with a column clip_id with --table"
        )
    return groups


def read_labels(
    clips: Manifest, column: str = "", table: str | Path | None = None
) -> list[tuple[str, ...]]:
    """Return labels of each clip: the task's own, or those of a column of a table.

    Several labels in a cell are separated by ``;``, ``|`` or commas, or written as a list.

    Raises
    ------
    DataError
        If there is no such column, or no clip has a label.
    """
    if not column:
        labels = [tuple(map(str, row)) for row in clips.table["labels"]]
        if clips.target in ("none", "regression") or not any(labels):
            raise DataError(f"{clips.name}: its clips have no labels; name a column of a table")
        return labels
    if table is None:
        raise DataError(f"--from labels:{column} needs the table with that column, --table FILE")
    texts = _read_table_column(Path(table), column, clips)
    labels = [
        tuple(piece.strip(" '\"") for piece in re.split(r"[;|,]", text.strip("[] ")) if piece)
        for text in texts
    ]
    if not any(labels):
        raise DataError(f"{table}: column {column!r} is empty for all {len(clips):,} clips")
    return labels


def _has_column(path: Path, column: str) -> bool:
    """Tell whether a table has a column; a table that cannot be read is reported later."""
    try:
        return column in _read_table(path)
    except (OSError, UnicodeDecodeError, ValueError):
        return False


def _read_table_column(path: Path, column: str, clips: Manifest) -> list[str]:
    """Return a column of a table for each clip; empty text for clips that it does not list."""
    if not path.is_file():
        raise DataError(f"{path}: no such table")
    try:
        table = _read_table(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: not a CSV table ({error})") from error
    key = next((name for name in _IDS if name in table), "")
    if not key:
        raise DataError(f"{path}: no column clip_id, only {', '.join(map(str, table.columns[:8]))}")
    if column not in table:
        raise unknown_name_error(f"column of {path}", column, [n for n in table if n != key])
    repeated = table[key][table[key].duplicated()].tolist()
    if repeated:
        raise DataError(f"{path}: clip ids that occur more than once: {summarize_ids(repeated)}")
    cells = dict(zip(table[key], table[column], strict=True))
    ids = clips.clip_ids
    if not cells.keys() & set(ids):
        raise DataError(
            f"{path}: none of its clip ids is one of {clips.name}: they look like "
            f"{summarize_ids(list(cells)[:2])}, the task's like {summarize_ids(ids[:2])}"
        )
    return [cells.get(clip_id, "") for clip_id in ids]


def _read_table(path: Path) -> pd.DataFrame:
    """Return a CSV as text; FMA's three header rows become one."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        heads: Sequence[list[str]] = list(islice(csv.reader(file), 3))
    if len(heads) == 3 and heads[2][:1] == ["track_id"]:
        names = [".".join(pair) for pair in zip(heads[0], heads[1], strict=True)]
        table = pd.read_csv(path, skiprows=3, names=["clip_id", *names[1:]], dtype=str)
        table["clip_id"] = table["clip_id"].str.zfill(6)
    else:
        table = pd.read_csv(path, dtype=str)
    return table.fillna("")
