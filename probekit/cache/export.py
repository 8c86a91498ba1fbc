"""Export of embeddings: vectors or frames as .npz, .parquet, .csv or .safetensors."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy_format

from probekit._typing import Array
from probekit.audio.timegrid import FrameGrid
from probekit.cache import part
from probekit.cache.embeddings import Embeddings
from probekit.cache.pack import find_manifests
from probekit.cache.safetensors_file import write_safetensors
from probekit.data.manifest import TARGET_PREFIX, UNKNOWN, Manifest, read_manifest
from probekit.errors import CacheError, DataError
from probekit.utils import atomic

SUFFIXES = (".npz", ".parquet", ".csv", ".safetensors")
_ROW_GROUP = 4096  # rows: a few MB
_GRID = ("hop", "first_center", "window")
_Block = tuple[Array, Array, Array]  # rows of clips, number of frames of each, frames


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    clips : int
        The number of clips.
    columns : tuple of str
        Columns from the clip table: labels, split, fold, group, as far as it has them.
    task : str
        Name of the clip table; empty if there was none.
    omitted : int
        Clips with embeddings that are not in the clip table, and were left out.
    """

    clips: int
    columns: tuple[str, ...]
    task: str
    omitted: int


def default_clip_table(embeddings: Embeddings) -> Manifest | None:
    """Return the clip table that goes without saying: the dataset's own, or that of its only task.

    None if no table is saved in the cache, or there are several tasks to choose from.
    """
    paths = find_manifests(embeddings)
    tables = {clips.name: clips for clips in map(read_manifest, paths)}
    if embeddings.layout.dataset in tables:
        return tables[embeddings.layout.dataset]
    return next(iter(tables.values())) if len(tables) == 1 else None


def export_vectors(
    embeddings: Embeddings,
    path: Path,
    *,
    stream: str = "",
    pool: Sequence[str] = ("mean",),
    clips: Manifest | None = None,
) -> Exported:
    """Write one vector a clip, in the order of the clip ids.

    All formats hold ``clip_id``, the embedding in float32, and ``label``, ``labels`` or
    ``target:NAME``, ``split``, ``fold`` and ``group`` as far as the clip table has them. A ``.npz``
    has arrays, ``embedding`` of shape (clips, dim), and ``about`` as JSON text; it is read without
    pickle. A ``.parquet`` has columns, the embedding as a list of fixed size, and the same JSON
    under the key ``probekit`` of its metadata. A ``.csv`` has a column for each dimension,
    ``dim_0``, ``dim_1`` and so on, with as many digits as float32 needs. A ``.safetensors`` has the
    array ``embedding``; its metadata have the JSON under ``probekit``, and each column as a JSON
    list.

    Parameters
    ----------
    embeddings : Embeddings
        What to export.
    path : pathlib.Path
        Ends in one of :data:`SUFFIXES`; an existing file is replaced.
    stream : str
        A stored stream; the extractor's default one if empty.
    pool : sequence of {"mean", "std", "max"}
        How frames are pooled; several are concatenated. Only ``("mean",)`` for streams of kind
        ``clip``, which are not pooled.
    clips : Manifest, optional
        Clip table whose labels, splits and groups are written; clips that it lacks are left out.

    Returns
    -------
    Exported
        How many clips were written, and which columns; failed clips are left out.

    Raises
    ------
    CacheError
        If the suffix is another one, there is nothing to export or to pool, or the file cannot be
        written.
    DataError
        If no clip is in the clip table.
    """
    ids, exported, columns = _prepare(embeddings, path, clips)
    stream = stream or embeddings.default_stream
    frames = embeddings.stream_info.get(stream, {}).get("kind") != "clip"
    if not frames and tuple(pool) != ("mean",):  # the default
        raise CacheError(
            f"{embeddings.layout.extractor}: stream {stream} has one vector per clip; leave out "
            "the pooling"
        )
    about = _describe(embeddings, stream, exported) | {"pool": list(pool) if frames else []}
    vectors = embeddings.vectors(ids, stream, pool)

    def write(temp: Path) -> None:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {
                **_text_arrays(columns),
                "embedding": vectors,
                "about": np.array(about_text),
            }
            with temp.open("wb") as file:
                np.savez(file, **arrays)
            return
        if path.suffix == ".safetensors":
            entry = ("float32", vectors.shape, [vectors])
            write_safetensors(temp, {"embedding": entry}, _text_metadata(columns, about_text))
            return
        starts = range(0, len(ids), _ROW_GROUP)
        rows = (np.arange(start, min(start + _ROW_GROUP, len(ids))) for start in starts)
        batches = ((_take(columns, chosen), vectors[chosen]) for chosen in rows)
        _write_table(temp, path.suffix, batches, about_text)

    about_text = json.dumps(about)
    _write_file(path, write)
    return exported


def export_frames(
    embeddings: Embeddings, path: Path, *, stream: str = "", clips: Manifest | None = None
) -> Exported:
    """Write embeddings over time, in constant memory.

    A ``.npz`` has ``frames`` of shape (ΣT, dim), ``time`` (ΣT,) in seconds from the start of the
    clip to the center of each frame, and ``offset`` (clips + 1,): clip i of ``clip_id`` has frames
    ``offset[i]`` to ``offset[i + 1]``; a ``.safetensors`` has the same arrays. A ``.parquet`` or
    ``.csv`` has a row for each frame, with ``clip_id`` and ``time``. Clips are in the order of the
    cache. Else as :func:`export_vectors`.

    Parameters
    ----------
    embeddings : Embeddings
        What to export; frames must have been stored.
    path : pathlib.Path
        As for :func:`export_vectors`.
    stream : str
        A stored stream; the extractor's default one if empty.
    clips : Manifest, optional
        As for :func:`export_vectors`.

    Returns
    -------
    Exported
        How many clips were written, and which columns.

    Raises
    ------
    CacheError
        If frames were not stored, or as :func:`export_vectors`.
    DataError
        If no clip is in the clip table.
    """
    ids, exported, columns = _prepare(embeddings, path, clips)
    stream = stream or embeddings.default_stream
    if embeddings.stream_info.get(stream, {}).get("kind") == "clip":
        raise CacheError(
            f"{embeddings.layout.extractor}: stream {stream} has one vector per clip, not frames"
        )
    embeddings.frames(ids[0], stream)  # an error if there are none
    grid = {key: str(embeddings.stream_info[stream][key]) for key in _GRID}
    about = json.dumps(_describe(embeddings, stream, exported) | grid)
    reader = _FrameReader(embeddings, stream, {clip_id: k for k, clip_id in enumerate(ids)})

    def write(temp: Path) -> None:
        if path.suffix == ".npz":
            _write_frames_npz(temp, reader, columns, about)
        elif path.suffix == ".safetensors":
            _write_frames_safetensors(temp, reader, columns, about)
        else:
            _write_table(temp, path.suffix, _frame_batches(reader, columns), about)

    _write_file(path, write)
    return exported


def _prepare(
    embeddings: Embeddings, path: Path, clips: Manifest | None
) -> tuple[list[str], Exported, dict[str, pa.Array]]:
    """Return ids of the clips to write, a summary, and the columns beside the embedding."""
    if path.suffix not in SUFFIXES:
        raise CacheError(
            f"{path}: file name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    ids = sorted(embeddings.clip_ids)
    if not ids:
        raise CacheError(f"{embeddings.folder}: contains no embeddings")
    columns = {"clip_id": pa.array(ids, pa.string())}
    if clips is None:
        return ids, Exported(len(ids), (), "", 0), columns
    table = clips.table.set_index("clip_id")
    listed = [clip_id for clip_id in ids if clip_id in table.index]
    if not listed:
        raise DataError(f"{clips.name}: none of its clips is in {embeddings.folder}")
    columns = {"clip_id": pa.array(listed, pa.string()), **_table_columns(clips, table.loc[listed])}
    facts = tuple(name for name in columns if name != "clip_id")
    return listed, Exported(len(listed), facts, clips.name, len(ids) - len(listed)), columns


def _table_columns(clips: Manifest, table: pd.DataFrame) -> dict[str, pa.Array]:
    """Return labels, split, fold and group, those that are known of any clip."""
    labels = list(table["labels"])
    columns: dict[str, pa.Array] = {}
    if clips.target == "single":
        columns["label"] = pa.array([row[0] for row in labels], pa.string())
    elif clips.target == "multi":
        columns["labels"] = pa.array([list(row) for row in labels], pa.list_(pa.string()))
        if clips.has_unknown_labels:
            unknown = [list(row) for row in table[UNKNOWN]]
            columns[UNKNOWN] = pa.array(unknown, pa.list_(pa.string()))
    elif clips.target == "regression":
        for k, name in enumerate(clips.class_names):
            values = [row[k] for row in labels]
            columns[TARGET_PREFIX + name] = pa.array(values, pa.float64(), from_pandas=True)
    for name in ("split", "fold", "group"):
        texts = [text or None for text in table[name]]
        if any(texts):
            columns[name] = pa.array(texts, pa.string())
    return columns


def _describe(embeddings: Embeddings, stream: str, exported: Exported) -> dict[str, Any]:
    """Return what a file says about itself."""
    info = embeddings.layout
    return {
        "extractor": info.extractor,
        "fingerprint": info.fingerprint,
        "identity": info.identity,
        "dataset": info.dataset,
        "stream": stream,
        "note": info.provenance,
        "failed": len(embeddings.failures),
        "task": exported.task,
    }


def _write_file(path: Path, write: Callable[[Path], None]) -> None:
    try:
        atomic.atomic_write(path, write)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CacheError(f"{path}: cannot be written ({reason[:1].lower()}{reason[1:]})") from error


# ---- frames


@dataclass(frozen=True)
class _FrameReader:
    """Reads the frames of clips part by part."""

    embeddings: Embeddings
    stream: str
    rows: dict[str, int]  # clip id to its row among the clips that are written

    @property
    def dim(self) -> int:
        return int(self.embeddings.stream_info[self.stream]["dim"])

    def counts(self) -> tuple[Array, Array]:
        """Return the rows of clips in the order in which they are read, and their frames."""
        rows, counts = zip(*((rows, counts) for rows, counts, _ in self._blocks(0)), strict=True)
        return np.concatenate(rows), np.concatenate(counts)

    def blocks(self) -> Iterator[_Block]:
        """Yield rows of clips, their numbers of frames, and the frames of all of them."""
        return self._blocks(None)

    def _blocks(self, limit: int | None) -> Iterator[_Block]:
        for name in self.embeddings.index.parts:
            with part.open_part(self.embeddings.folder / name) as file:
                rows = [self.rows.get(clip_id) for clip_id in part.read_clip_ids(file)]
                listed = np.array([row is not None for row in rows], bool)
                if not listed.any():
                    continue
                group = file["streams"][self.stream]
                counts = np.diff(group["offset"][:])
                frames = np.asarray(group["frames"][:limit], np.float32)
            chosen = np.array([row for row in rows if row is not None])
            if limit is None and not listed.all():
                frames = frames[np.repeat(listed, counts)]
            yield chosen, counts[listed], frames

    def times(self, counts: Array) -> Array:
        """Return the centers of the frames of clips in seconds, from the start of each."""
        facts = self.embeddings.stream_info[self.stream]
        grid = FrameGrid.parse(*(facts[key] for key in _GRID))
        longest = int(counts.max(initial=0))
        centers = np.array([float(grid.first_center + k * grid.hop) for k in range(longest)])
        return np.concatenate([centers[:count] for count in counts])


def _frame_batches(
    reader: _FrameReader, columns: dict[str, pa.Array]
) -> Iterator[tuple[dict[str, pa.Array], Array]]:
    """Yield columns and frames, a row for each frame."""
    for rows, counts, frames in reader.blocks():
        table = _take(columns, np.repeat(rows, counts))
        yield (
            {"clip_id": table.pop("clip_id"), "time": pa.array(reader.times(counts)), **table},
            frames,
        )


def _write_frames_npz(
    path: Path, reader: _FrameReader, columns: dict[str, pa.Array], about: str
) -> None:
    """Write an archive of arrays, the frames one part after the other."""
    rows, counts = reader.counts()
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    arrays = {
        **_text_arrays(_take(columns, rows)),
        "offset": offset,
        "time": reader.times(counts),
        "about": np.array(about),
    }
    shape, written = (int(offset[-1]), reader.dim), 0
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy_format.write_array(file, array, allow_pickle=False)
        with archive.open("frames.npy", "w", force_zip64=True) as file:
            npy_format.write_array_header_1_0(file, header)
            for _, _, frames in reader.blocks():
                file.write(np.ascontiguousarray(frames, "<f4").data)
                written += len(frames)
    if written != shape[0]:
        raise _rewritten(reader)


def _write_frames_safetensors(
    path: Path, reader: _FrameReader, columns: dict[str, pa.Array], about: str
) -> None:
    """Write arrays, the frames one part after the other."""
    rows, counts = reader.counts()
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times = reader.times(counts)
    frames = (block for _, _, block in reader.blocks())
    arrays = {
        "frames": ("float32", (int(offset[-1]), reader.dim), frames),
        "time": ("float64", times.shape, [times]),
        "offset": ("int64", offset.shape, [offset]),
    }
    try:
        write_safetensors(path, arrays, _text_metadata(_take(columns, rows), about))
    except ValueError as error:
        raise _rewritten(reader) from error


def _rewritten(reader: _FrameReader) -> CacheError:
    return CacheError(
        f"{reader.embeddings.folder}: rewritten during export; run the same command again"
    )


# ---- formats


def _take(columns: dict[str, pa.Array], rows: Array) -> dict[str, pa.Array]:
    return {name: values.take(pa.array(rows)) for name, values in columns.items()}


def _text_arrays(columns: dict[str, pa.Array]) -> dict[str, Array]:
    """Return columns as arrays of text or numbers; several labels as JSON, nothing as ""."""
    arrays: dict[str, Array] = {}
    for name, values in columns.items():
        if pa.types.is_floating(values.type):
            arrays[name] = values.to_numpy(zero_copy_only=False)
        else:
            arrays[name] = np.array([_to_text(value) for value in values.to_pylist()], str)
    return arrays


def _text_metadata(columns: dict[str, pa.Array], about: str) -> dict[str, str]:
    """Return columns as JSON lists, and what the file says about itself."""
    texts = {
        name: json.dumps(values.to_pylist(), ensure_ascii=False) for name, values in columns.items()
    }
    return {**texts, "probekit": about}


def _to_text(value: str | list[str] | None) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value or ""


def _write_table(
    path: Path,
    suffix: str,
    batches: Iterable[tuple[dict[str, pa.Array], Array]],
    about: str,
) -> None:
    """Write columns and embeddings, batch by batch, as Parquet or CSV."""
    writer = None
    try:
        for columns, matrix in batches:
            table = (_parquet_table if suffix == ".parquet" else _csv_table)(columns, matrix)
            if writer is None:
                schema = table.schema.with_metadata({"probekit": about})
                is_parquet = suffix == ".parquet"
                writer = (pq.ParquetWriter if is_parquet else pc.CSVWriter)(path, schema)
            writer.write_table(table.cast(schema))
    finally:
        if writer is not None:
            writer.close()


def _parquet_table(columns: dict[str, pa.Array], matrix: Array) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1), pa.float32())
    lists = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
    return pa.table({**columns, "embedding": lists})


def _csv_table(columns: dict[str, pa.Array], matrix: Array) -> pa.Table:
    texts = {
        name: pa.array([_to_text(value) for value in values.to_pylist()], pa.string())
        if pa.types.is_list(values.type)
        else values
        for name, values in columns.items()
    }
    dims = {f"dim_{k}": pa.array(np.ascontiguousarray(column)) for k, column in enumerate(matrix.T)}
    return pa.table({**texts, **dims})
