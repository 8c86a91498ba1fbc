"""Which clip is in which part: derived from the parts, rebuilt where it is missing or stale."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache import commit, layout, part
from probekit.errors import CacheError

NAME = "index.parquet"
COLUMNS = ("clip_id", "part", "row", "failed", "reason", *part.CLIP_FIELDS)


class Index:
    """The clips of one folder of a cache.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a clip, with :data:`COLUMNS`; ``row`` is -1 for failures.
    parts : dict of str to dict
        File name to its size, modification time and the arrays that it holds.
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


def load(where: Path, *, keep: bool = True) -> Index:
    """Return the index of a folder, brought up to date and kept.

    Parameters
    ----------
    where : pathlib.Path
        A folder with parts.
    keep : bool
        Whether to write the index down where it changed.

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
    }
    old = _read(where / NAME)
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
        table, streams = _scan(where / name, settled)
        tables.append(table)
        parts[name] = {"size": now[name][0], "mtime": now[name][1], "streams": streams}
    tables = [table for table in tables if len(table)] or tables[:1]
    index = Index(pd.concat(tables, ignore_index=True), dict(sorted(parts.items())))
    if keep:
        _write(where / NAME, index)
    return index


def _scan(path: Path, settled: layout.Layout) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Read what one part says about its clips."""
    with part.opened(path) as file:
        facts = part.meta(file)
        layout.refuse_mixture(
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
        streams = part.contents(file)
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
    ), streams


def _read(path: Path) -> Index:
    """Read an index file; anything wrong with it makes an empty one, which is then rebuilt."""
    try:
        content = pq.read_table(path)
        parts = json.loads((content.schema.metadata or {})[b"probekit"])
        table = content.to_pandas()
        if list(table.columns) == list(COLUMNS):
            return Index(table, parts)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        pass
    return Index(pd.DataFrame(columns=list(COLUMNS)), {})


def _write(path: Path, index: Index) -> None:
    """Keep an index; where the cache cannot be written, it is made anew each time."""
    table = pa.Table.from_pandas(index.table, preserve_index=False)
    table = table.replace_schema_metadata({b"probekit": json.dumps(index.parts).encode()})
    try:
        commit.commit(path, lambda aside: pq.write_table(table, aside))
    except PermissionError:
        return
    except OSError as error:
        if error.errno != errno.EROFS:
            raise CacheError(f"{path}: {error.strerror}") from error
