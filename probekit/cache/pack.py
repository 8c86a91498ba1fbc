"""Packed files: all embeddings of one extractor and dataset in one HDF5 file, to be shared.

The file has the layout of a part (``cache/README.md``), so the same five lines read both.
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

from probekit import cards
from probekit._typing import Array
from probekit.cache import integrity, part, texts, training_clips
from probekit.cache.embeddings import Embeddings
from probekit.cache.layout import Layout, choose_buckets
from probekit.cache.manifests import restore_manifest, saved_name, saved_paths
from probekit.errors import CacheError
from probekit.utils import atomic

PACK_ATTRIBUTES = ("dataset", "note", "manifests")  # attributes that parts lack
_REQUIRED = ("dataset", "note")  # files without clip tables were written before
_MANIFESTS = "manifests"  # group of clip tables, as the bytes of their Parquet files
_TEXTS, _TEXT_VECTORS = f"{texts.PACKED_GROUP}/texts", f"{texts.PACKED_GROUP}/vectors"
_SLACK = 1 << 20  # bytes for what HDF5 writes around the arrays


@dataclass(frozen=True)
class _OutputArray:
    """One array of the file, and a function that yields its content in pieces."""

    name: str
    shape: tuple[int, ...]
    kind: str
    pieces: Callable[[], Iterable[Array]]

    @property
    def nbytes(self) -> int:
        return np.dtype(self.kind).itemsize * math.prod(self.shape)


def pack_embeddings(
    embeddings: Embeddings, path: Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write embeddings to one file, atomically and in constant memory.

    Clips are in no particular order; row i belongs to ``clip_id[i]``. The saved manifests of their
    tasks (labels, splits, groups) are in the file, too, and the vectors of texts for zero-shot
    scores.

    Parameters
    ----------
    embeddings : Embeddings
        All of their clips are packed, with every array that all parts hold.
    path : pathlib.Path
        The file; an existing one is replaced.
    progress : callable, optional
        Called with the number of arrays written, and their total.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    CacheError
        If there is nothing to pack, a part is damaged, or the file cannot be written.
    """
    integrity.check_undamaged(embeddings.folder)
    if not embeddings.clip_ids:
        raise CacheError(f"{embeddings.folder}: contains no embeddings")
    arrays = [*_clip_columns(embeddings.index.table), *_stream_arrays(embeddings)]
    arrays += _head_arrays(embeddings)
    saved_texts = texts.load_texts(embeddings.folder.parent)
    if saved_texts is not None:
        arrays.append(_in_memory(_TEXTS, part.encode_texts(list(saved_texts.texts))))
        arrays.append(_in_memory(_TEXT_VECTORS, saved_texts.vectors))
    arrays += [
        _in_memory(name, part.encode_texts(column))
        for name, column in training_clips.packed_columns(embeddings.folder.parent).items()
    ]
    tables = find_manifests(embeddings)
    arrays += [
        _in_memory(f"{_MANIFESTS}/{table.name}", np.frombuffer(table.read_bytes(), "u1"))
        for table in tables
    ]
    times = {table.name: table.stat().st_mtime_ns for table in tables}
    size = sum(array.nbytes for array in arrays)

    def write(temp: Path) -> None:
        _reserve(temp, size + _SLACK)
        try:
            _allocate(temp, arrays, embeddings, times, saved_texts)
        except RuntimeError as error:  # h5py's error for some disk faults
            raise OSError(errno.EIO, str(error)) from error
        with h5py.File(temp, "r") as file:
            offsets = [file[array.name].id.get_offset() for array in arrays]
        with temp.open("r+b") as stream:
            for number, (array, offset) in enumerate(zip(arrays, offsets, strict=True)):
                if offset is not None:
                    stream.seek(offset)
                    for piece in array.pieces():
                        stream.write(np.ascontiguousarray(piece, array.kind).data)
                if progress:
                    progress(number + 1, len(arrays))
        part.write_digest(temp)

    try:
        atomic.atomic_write(path, write)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CacheError(f"{path}: cannot be written ({reason[:1].lower()}{reason[1:]})") from error
    return path


def read_packed_layout(path: Path) -> Layout:
    """Return the layout of a packed file's clips, with as many parts as a new extraction has.

    Raises
    ------
    CacheError
        If it is not a packed file.
    """
    with part.open_part(path) as file:
        meta = part.read_meta(file)
        if not set(_REQUIRED) <= set(meta):
            raise CacheError(
                f"{path}: not a packed file; 'probekit cache pack' writes packed files"
            )
        for name in meta.get("manifests", {}):
            if Path(name).name != name or not name.endswith(".parquet"):
                raise CacheError(f"{path}: {name!r} cannot be the name of a clip table")
        clips = max(1, len(file["clip_id"]))
        return Layout(
            extractor=meta["extractor"],
            fingerprint=meta["fingerprint"],
            identity=meta["identity"],
            dataset=meta["dataset"],
            buckets=choose_buckets(clips, path.stat().st_size / clips),
            dtype=meta["dtype"],
            provenance=meta["note"],
        )


def find_manifests(embeddings: Embeddings) -> list[Path]:
    """Return the newest saved manifest of each task on the dataset of some embeddings."""
    dataset = embeddings.layout.dataset
    tasks = [card.name for card in cards.load_valid_task_cards() if card.dataset == dataset]
    newest: dict[str, Path] = {}
    for path in saved_paths(embeddings.folder.parent.parent, {dataset, *tasks}):
        newest.setdefault(saved_name(path), path)
    return [newest[name] for name in sorted(newest)]


def unpack_manifests(path: Path, cache: Path) -> None:
    """Save the clip tables of a packed file in a cache, with their times: the newest counts."""
    with part.open_part(path) as file:
        times = part.read_meta(file).get("manifests", {})
        tables = {name: file[f"{_MANIFESTS}/{name}"][:].tobytes() for name in times}
    for name, content in tables.items():
        restore_manifest(cache, name, content, times[name])


def _clip_columns(table: pd.DataFrame) -> Iterator[_OutputArray]:
    """Yield the columns of embedded clips, and those of failed ones."""
    failed = table["failed"].astype(bool)
    for rows, prefix, fields in (
        (table[~failed], "", part.CLIP_FIELDS),
        (table[failed], "failed_", part.FAILED_FIELDS),
    ):
        columns = {f"{prefix}id" if prefix else "clip_id": rows["clip_id"]}
        if prefix:
            columns["failed_reason"] = rows["reason"]
        for name, column in columns.items():
            yield _in_memory(name, part.encode_texts(list(column)))
        for name, kind in fields.items():
            values = list(rows[name].str.encode("ascii")) if kind == "S64" else rows[name]
            yield _in_memory(prefix + name, np.asarray(values, kind))


def _stream_arrays(embeddings: Embeddings) -> Iterator[_OutputArray]:
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
                yield _in_memory(f"streams/{stream}/offset", offset)
            pieces = _ChunkedReader(embeddings, f"{stream}/{name}")
            yield _OutputArray(f"streams/{stream}/{name}", (rows, int(grid["dim"])), kind, pieces)


@dataclass(frozen=True)
class _ChunkedReader:
    """Reads an array of each part, in the order of the index, which is that of ``clip_id``."""

    embeddings: Embeddings
    array: str

    def __call__(self) -> Iterator[Array]:
        index = self.embeddings.index
        for name in dict.fromkeys(index.table["part"]):
            facts, path = index.parts[name], self.embeddings.folder / name
            if not any(facts["streams"].values()):
                continue  # all of its clips failed
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (facts["size"], facts["mtime"]):
                raise CacheError(f"{path}: rewritten during packing; run the same command again")
            with part.open_part(path) as file:
                yield file[f"streams/{self.array}"][:]


def _head_arrays(embeddings: Embeddings) -> Iterator[_OutputArray]:
    """Yield the network's own classifier, if it has one."""
    head = embeddings.head
    if head is not None:
        yield _in_memory("head/classes", part.encode_texts(list(head.classes)))
        for name, array in head.arrays().items():
            yield _in_memory(f"head/{name}", array)


def _in_memory(name: str, values: Array) -> _OutputArray:
    return _OutputArray(name, values.shape, values.dtype.str, lambda: [values])


def _allocate(
    path: Path,
    arrays: Sequence[_OutputArray],
    embeddings: Embeddings,
    times: dict[str, int],
    saved_texts: texts.SavedTexts | None,
) -> None:
    """Create a file with space for every array, and nothing in them.

    HDF5 ends the process if it writes to a full disk; so it writes only a few kB.
    """
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w", userblock_size=part.USER_BLOCK, libver=("v110", "v110")) as file:
        meta = {**embeddings.meta, "dataset": embeddings.layout.dataset}
        meta["note"] = embeddings.layout.provenance
        meta["manifests"] = times
        meta.pop(part.NOTES, None)
        if embeddings.index.notes:
            meta[part.NOTES] = embeddings.index.notes
        part.write_meta(file, meta)
        for stream, grid in embeddings.stream_info.items():
            file.create_group(f"streams/{stream}").attrs.update(grid)
        if embeddings.head is not None:
            file.create_group("head").attrs.update(
                {"stream": embeddings.head.stream, "pooling": embeddings.head.pooling}
            )
        if saved_texts is not None:
            file.create_group(texts.PACKED_GROUP).attrs.update(
                {"scale": saved_texts.scale, "stream": saved_texts.stream}
            )
        for array in arrays:
            group, _, name = array.name.rpartition("/")
            h5py.h5d.create(
                file.require_group(group or "/").id,
                name.encode(),
                h5py.h5t.py_create(np.dtype(array.kind), logical=True),
                h5py.h5s.create_simple(array.shape),
                early,
            )


def _reserve(path: Path, size: int) -> None:
    """Raise if there is no room for a file, before HDF5 ends the process."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free")
    with path.open("wb") as stream:
        stream.truncate(size)  # raises if a quota or file-size limit is hit
