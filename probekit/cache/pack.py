"""All embeddings of one extractor and dataset in one HDF5 file, to be shared.

The file is laid out like a part (``cache/README.md``), so that the same five lines read both.
"""

import errno
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from probekit._typing import Array
from probekit.cache import integrity, layout, part, training_clips
from probekit.cache.embeddings import Embeddings
from probekit.cache.layout import Layout
from probekit.errors import CacheError
from probekit.utils import atomic

_SLACK = 1 << 20  # bytes for what HDF5 writes around the arrays
EXTRA = ("dataset", "note")  # attributes that parts have not: whose clips, what must be shown


@dataclass(frozen=True)
class _OutputArray:
    """One array of the file, and where its content comes from, piece by piece."""

    name: str
    shape: tuple[int, ...]
    kind: str
    pieces: Callable[[], Iterable[Array]]


def pack(
    embeddings: Embeddings, path: Path, tick: Callable[[int, int], None] | None = None
) -> Path:
    """Write embeddings to one file, whole or not at all, in constant memory.

    Clips are in no particular order; row i belongs to ``clip_id[i]``.

    Parameters
    ----------
    embeddings : Embeddings
        What to pack: all clips, and every array that all parts hold.
    path : pathlib.Path
        The file; an older one is replaced.
    tick : callable, optional
        Called with arrays written, and how many there are.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    CacheError
        If there is nothing to pack, a part is damaged, or the file cannot be written.
    """
    for name, fault in integrity.find_damaged(embeddings.where).items():
        raise CacheError(f"{embeddings.where / name}: {fault}. {part.REPAIR}")
    if not embeddings.clip_ids:
        raise CacheError(f"{embeddings.where}: holds no embeddings")
    columns = [*_clip_columns(embeddings.index.table), *_stream_columns(embeddings)]
    columns += _head_columns(embeddings)
    columns += [
        _column(name, part.as_bytes(texts))
        for name, texts in training_clips.columns(embeddings.where.parent).items()
    ]

    size = sum(np.dtype(one.kind).itemsize * math.prod(one.shape) for one in columns)

    def fill(aside: Path) -> None:
        _check_full_disk(aside, size + _SLACK)
        try:
            _allocate(aside, columns, embeddings)
        except RuntimeError as error:  # what h5py makes of some faults of a disk
            raise OSError(errno.EIO, str(error)) from error
        with h5py.File(aside, "r") as file:
            begins = [file[column.name].id.get_offset() for column in columns]
        with aside.open("r+b") as stream:
            for number, (column, begin) in enumerate(zip(columns, begins, strict=True)):
                if begin is not None:
                    stream.seek(begin)
                    for piece in column.pieces():
                        stream.write(np.ascontiguousarray(piece, column.kind).data)
                if tick:
                    tick(number + 1, len(columns))
        part.write_digest(aside)

    try:
        atomic.atomic_write(path, fill)
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def layout_of(path: Path) -> Layout:
    """Return the layout that a packed file's clips had in their cache.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`pack`.

    Returns
    -------
    Layout
        Cut into as many parts as a new extraction of so many clips.

    Raises
    ------
    CacheError
        If it is not a packed file.
    """
    with part.open_part(path) as file:
        facts = part.meta(file)
        if not set(EXTRA) <= set(facts):
            raise CacheError(f"{path}: not a packed file; probekit cache pack makes them")
        clips = max(1, len(file["clip_id"]))
        return Layout(
            extractor=facts["extractor"],
            fingerprint=facts["fingerprint"],
            identity=facts["identity"],
            dataset=facts["dataset"],
            buckets=layout.choose_buckets(clips, path.stat().st_size / clips),
            dtype=facts["dtype"],
            provenance=facts["note"],
        )


def _clip_columns(table: pd.DataFrame) -> Iterator[_OutputArray]:
    """Yield what is known of each clip, those that failed apart."""
    failed = table["failed"].astype(bool)
    for own, prefix, fields in (
        (table[~failed], "", part.CLIP_FIELDS),
        (table[failed], "failed_", part.FAILED_FIELDS),
    ):
        texts = {f"{prefix}id" if prefix else "clip_id": own["clip_id"]}
        if prefix:
            texts["failed_reason"] = own["reason"]
        for name, column in texts.items():
            yield _column(name, part.as_bytes(list(column)))
        for name, kind in fields.items():
            values = list(own[name].str.encode("ascii")) if kind == "S64" else own[name]
            yield _column(prefix + name, np.asarray(values, kind))


def _stream_columns(embeddings: Embeddings) -> Iterator[_OutputArray]:
    """Yield the streams' arrays, read part by part."""
    index = embeddings.index
    clips = int((~index.failed).sum())
    kind = np.dtype(embeddings.layout.dtype).str
    for stream, grid in embeddings.stream_info.items():
        for name in index.arrays(stream):
            rows = clips
            if name == "frames":
                offsets = _ChunkedReader(embeddings, f"{stream}/offset")()
                counts = np.concatenate([np.diff(offset) for offset in offsets])
                offset = np.concatenate([[0], np.cumsum(counts)]).astype("i8")
                rows = int(offset[-1])
                yield _column(f"streams/{stream}/offset", offset)
            read = _ChunkedReader(embeddings, f"{stream}/{name}")
            yield _OutputArray(f"streams/{stream}/{name}", (rows, int(grid["dim"])), kind, read)


@dataclass(frozen=True)
class _ChunkedReader:
    """Reads an array of each part, in the order of the index, which is that of ``clip_id``."""

    embeddings: Embeddings
    array: str

    def __call__(self) -> Iterator[Array]:
        index = self.embeddings.index
        for name in dict.fromkeys(index.table["part"]):
            facts, path = index.parts[name], self.embeddings.where / name
            if not any(facts["streams"].values()):
                continue  # all of its clips failed
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (facts["size"], facts["mtime"]):
                raise CacheError(f"{path}: written anew meanwhile; run the same command again")
            with part.open_part(path) as file:
                yield file[f"streams/{self.array}"][:]


def _head_columns(embeddings: Embeddings) -> Iterator[_OutputArray]:
    """Yield the network's own classifier, where it has one."""
    head = embeddings.head
    if head is not None:
        yield _column("head/classes", part.as_bytes(list(head.classes)))
        yield _column("head/weight", head.weight)
        yield _column("head/bias", head.bias)


def _column(name: str, values: Array) -> _OutputArray:
    """Return a column that is in memory."""
    return _OutputArray(name, values.shape, values.dtype.str, lambda: [values])


def _allocate(path: Path, columns: Sequence[_OutputArray], embeddings: Embeddings) -> None:
    """Make a file in which every array has its place, and nothing is written yet.

    HDF5 ends the process where it writes to a disk that is full; so it writes a few kB only.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w", userblock_size=part.BLOCK, libver=("v110", "v110")) as file:
        meta = {**embeddings.meta, "dataset": embeddings.layout.dataset}
        meta["note"] = embeddings.layout.provenance
        part.write_meta(file, meta)
        for stream, grid in embeddings.stream_info.items():
            file.create_group(f"streams/{stream}").attrs.update(grid)
        if embeddings.head is not None:
            file.create_group("head").attrs.update(
                {"stream": embeddings.head.stream, "pooling": embeddings.head.pooling}
            )
        for column in columns:
            group, _, name = column.name.rpartition("/")
            h5py.h5d.create(
                file.require_group(group or "/").id,
                name.encode(),
                h5py.h5t.py_create(np.dtype(column.kind), logical=True),
                h5py.h5s.create_simple(column.shape),
                early,
            )


def _check_full_disk(path: Path, size: int) -> None:
    """Raise where a file has no room, before HDF5 finds out."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free")
    with path.open("wb") as stream:
        stream.truncate(size)  # quotas and limits of file systems speak here
