"""Which clip is in which part: derived from the parts, rebuilt where it is missing or stale."""

import errno
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from probekit.cache import layout, part
from probekit.errors import CacheError
from probekit.utils import atomic

NAME = "index.parquet"
COLUMNS = ("clip_id", "part", "row", "failed", "reason", *part.CLIP_FIELDS)


class Index:
    """The clips of one folder of a cache.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a clip, with :data:`COLUMNS`; ``row`` is -1 for failures. A part's clips stand
        together, in the order of its rows.
    parts : dict of str to dict
        File name to its size, modification time, the arrays that it holds, and where in the file
        each begins.
    """

    def __init__(self, table: pd.DataFrame, parts: dict[str, dict[str, Any]]) -> None:
        self.table = table
        self.parts = parts

    def arrays(self, stream: str) -> list[str]:
        """Return the arrays (``mean``, ``frames`` …) of a stream that every part holds.

        Parts of which all clips failed hold no arrays, and do not count.
        """
        held = [
            set(facts["streams"].get(stream, ()))
            for facts in self.parts.values()
            if any(facts["streams"].values())
        ]
        return sorted(set.intersection(*held)) if held else []

    def find(self, clip_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where clips stand in the table.

        Parameters
        ----------
        clip_ids : sequence of str
            Which clips; a column of a table will do.

        Returns
        -------
        numpy.ndarray, shape (clips,)
            Numbers of rows of :attr:`table`; -1 for clips that are not in it.
        """
        if not len(self.table):
            return np.full(len(clip_ids), -1, np.int64)
        if len(clip_ids) < _FEW:
            numbers = (self._numbers.get(clip_id, -1) for clip_id in clip_ids)
            return np.fromiter(numbers, np.int64, len(clip_ids))
        known, wanted = (pa.array(ids, pa.large_string()) for ids in (self._ids, clip_ids))
        found = pc.index_in(wanted, value_set=known).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.int64)

    @property
    def _ids(self) -> "pd.Series[str]":
        return self.table["clip_id"]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {clip_id: number for number, clip_id in enumerate(self._ids)}

    @cached_property
    def failed(self) -> npt.NDArray[np.bool_]:
        """Whether each clip of the table could not be embedded."""
        return self.table["failed"].to_numpy(bool)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of each clip of the table in its part."""
        return self.table["row"].to_numpy(np.int64)

    @cached_property
    def part_codes(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """The part of each clip of the table: its place in a list of names, and that list."""
        codes, names = pd.factorize(self.table["part"])
        return codes.astype(np.int64), list(names)


_FEW = 1000  # so many clips are found faster one by one


def load(where: Path, *, keep: bool = True, without: Collection[str] = ()) -> Index:
    """Return the index of a folder, brought up to date and kept.

    Parameters
    ----------
    where : pathlib.Path
        A folder with parts.
    keep : bool
        Whether to write the index down where it changed.
    without : collection of str
        File names of parts to leave out, since they are damaged; nothing is then written down.

    Returns
    -------
    Index
        Of the parts that are there now.

    Raises
    ------
    CacheError
        If a part cannot be read, or belongs to another fingerprint.
    """
    now = {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(where.glob("part-*.h5"))
        if path.name not in without
    }
    old = load_saved(where)
    known = {
        name
        for name, facts in old.parts.items()
        if now.get(name) == (facts["size"], facts["mtime"])
    }
    if known == set(now) == set(old.parts):
        return old
    settled = layout.load(where)
    tables = [old.table[old.table["part"].isin(known)]]
    parts = {name: old.parts[name] for name in known}
    for name in sorted(set(now) - known):
        table, facts = _scan(where / name, settled)
        tables.append(table)
        parts[name] = {"size": now[name][0], "mtime": now[name][1], **facts}
    tables = [table for table in tables if len(table)] or tables[:1]
    index = Index(pd.concat(tables, ignore_index=True), dict(sorted(parts.items())))
    if keep and not without:
        write(where, index)
    return index


def build_from_file(path: Path, settled: layout.Layout) -> Index:
    """Return the index of a single file.

    Parameters
    ----------
    path : pathlib.Path
        A part, or a packed file.
    settled : Layout
        What it must agree with.

    Returns
    -------
    Index
        Of this file only.

    Raises
    ------
    CacheError
        If it cannot be read, or belongs to another fingerprint.
    """
    stat = path.stat()
    table, facts = _scan(path, settled)
    return Index(table, {path.name: {"size": stat.st_size, "mtime": stat.st_mtime_ns, **facts}})


def _scan(path: Path, settled: layout.Layout) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read what one part says about its clips, and what it holds."""
    with part.open_part(path) as file:
        facts = part.meta(file)
        layout.check_fingerprint(
            path, facts["fingerprint"], facts["identity"], settled.fingerprint, settled.identity
        )
        ids = part.clip_ids(file)
        columns: dict[str, Any] = {
            "clip_id": ids,
            "row": np.arange(len(ids)),
            "failed": False,
            "reason": "",
            **{name: file[name][:] for name in part.CLIP_FIELDS},
        }
        bad = part.failures(file)
        held = {"streams": part.list_arrays(file), "places": part.array_offsets(file)}
    columns["sha256"] = [raw.decode() for raw in columns["sha256"]]
    good = pd.DataFrame(columns)
    lost = pd.DataFrame(
        [
            {"clip_id": i, "row": -1, "failed": True, "duration": 0.0, "sha256": "", **facts}
            for i, facts in bad.items()
        ],
        columns=[c for c in COLUMNS if c != "part"],
    )
    table = pd.concat([t for t in (good, lost) if len(t)] or [good], ignore_index=True)
    table["part"] = path.name
    return table[list(COLUMNS)].astype(
        {"row": "int64", "size": "int64", "mtime": "int64", "failed": bool}
    ), held


def load_saved(where: Path) -> Index:
    """Return the index of a folder as it was kept, whatever parts there are now.

    Parameters
    ----------
    where : pathlib.Path
        A folder with parts.

    Returns
    -------
    Index
        Empty where none was kept, or anything is wrong with it.
    """
    try:
        content = pq.read_table(where / NAME)
        parts = json.loads((content.schema.metadata or {})[b"probekit"])
        table = content.to_pandas()
        current = all("places" in facts for facts in parts.values())
        if current and list(table.columns) == list(COLUMNS):
            return Index(table, parts)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        pass
    return Index(pd.DataFrame(columns=list(COLUMNS)), {})


def write(where: Path, index: Index) -> None:
    """Keep an index; where the cache cannot be written, it is made anew each time.

    Parameters
    ----------
    where : pathlib.Path
        The folder of the parts.
    index : Index
        Of its parts.

    Raises
    ------
    CacheError
        If the disk is full, or something else than a lack of permission is in the way.
    """
    path = where / NAME
    table = pa.Table.from_pandas(index.table, preserve_index=False)
    table = table.replace_schema_metadata({b"probekit": json.dumps(index.parts).encode()})
    try:
        atomic.atomic_write(path, lambda aside: pq.write_table(table, aside))
    except PermissionError:
        return
    except OSError as error:
        if error.errno != errno.EROFS:
            raise CacheError(f"{path}: {error.strerror}") from error
