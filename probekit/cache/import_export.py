"""Embeddings for other programs: NumPy's .npz, or a table (Parquet)."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache import layout, part
from probekit.cache.embeddings import Embeddings
from probekit.data.manifest import Manifest, dataset_name
from probekit.errors import CacheError, DataError
from probekit.utils import atomic
from probekit.utils.hashing import sha256

Array = Any


def import_arrays(
    name: str,
    manifest: Manifest,
    arrays: Sequence[Path],
    *,
    cache: Path,
    dataset: str,
    note: str = "",
    dtype: str = "float32",
) -> Embeddings:
    """Bring in arrays whose row i is clip i of a manifest.

    Parameters
    ----------
    name : str
        What to call the embedding: lower case letters, digits, dots, dashes.
    manifest : Manifest
        The clips, in the arrays' order.
    arrays : sequence of pathlib.Path
        ``.npy`` files, or ``.npz`` with one array, of shape (clips, dim) or (clips,); several are
        put side by side.
    cache : pathlib.Path
        The cache's folder.
    dataset : str
        Whose clips these are, as tasks name it.
    note : str
        Where the arrays come from, in the user's words.
    dtype : {"float32", "float16"}
        How to store them.

    Returns
    -------
    Embeddings
        What is now in the cache.

    Raises
    ------
    DataError
        If an array cannot be read, has another number of rows, is not of numbers, or holds NaN or
        infinite values.
    CacheError
        If the name is not usable.
    """
    if dataset_name(name) != name:
        raise CacheError(
            f"name {name!r}: use lower case letters, digits, dots and dashes, for example "
            f"{dataset_name(name)!r}"
        )
    columns = [_read(path, len(manifest)) for path in arrays]
    with np.errstate(over="ignore"):
        matrix = np.concatenate(columns, axis=1).astype(dtype)
    if not np.isfinite(matrix).all():
        raise DataError(f"{name}: {dtype} cannot hold all values of {arrays[0].name}")
    sources = [{"file": path.name, "sha256": sha256(path)} for path in arrays]
    identity = {
        "extractor": name,
        "imported": sources,
        "clips": hashlib.sha256("\n".join(manifest.clip_ids).encode()).hexdigest(),
    }
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    where = layout.folder(cache, name, fingerprint, dataset)
    settled = layout.create_or_load_layout(
        where,
        layout.Layout(
            extractor=name,
            fingerprint=fingerprint,
            identity=identity,
            dataset=dataset,
            buckets=layout.choose_buckets(len(manifest), matrix[0].nbytes),
            dtype=dtype,
            provenance=["imported embeddings"],
        ),
    )
    meta = {
        "extractor": name,
        "fingerprint": fingerprint,
        "identity": identity,
        "card": {"name": name, "default_stream": "embedding", "imported": True, "note": note},
        "weights": {},
        "precision": "unknown",
        "dtype": settled.dtype,
        "provenance": {"imported": datetime.now(UTC).isoformat(timespec="seconds"), "note": note},
    }
    grids = {"embedding": {"kind": "clip", "dim": matrix.shape[1]}}
    parts: dict[int, part.Part] = {}
    columns_of = (manifest.table[name] for name in ("clip_id", "start", "end"))
    for (clip_id, start, end), vector in zip(zip(*columns_of, strict=True), matrix, strict=True):
        number = layout.bucket(clip_id, settled.buckets)
        source = {
            "start": start,
            "end": end,
            "duration": np.nan,
            "size": -1,
            "mtime": -1,
            "sha256": b"",
        }
        own = parts.setdefault(number, part.Part(meta, grids))
        own.rows[clip_id] = part.Row(source, {"embedding": {"clip": vector}})
    try:
        for number, content in parts.items():
            part.write(where / layout.part_name(number), content)
    except OSError as error:
        raise CacheError(layout.not_writable(where, error)) from error
    return Embeddings(where)


def _read(path: Path, clips: int) -> Array:
    """Read one array and check that it fits the clips."""
    try:
        with path.open("rb") as stream:  # numpy leaves a damaged archive open
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile):
                if len(content.files) != 1:
                    raise DataError(
                        f"{path}: holds {len(content.files)} arrays ({', '.join(content.files)}); "
                        "save the one that is meant in a file of its own"
                    )
                content = content[content.files[0]]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a .npy or .npz file that can be read ({error})") from error
    if not np.issubdtype(content.dtype, np.number) or np.iscomplexobj(content):
        raise DataError(f"{path}: holds {content.dtype}, not numbers")
    if content.ndim == 1:
        content = content[:, None]
    if content.ndim != 2 or len(content) != clips:
        raise DataError(
            f"{path}: has shape {content.shape}; needed is one row for each of the {clips} clips"
        )
    bad = np.flatnonzero(~np.isfinite(content).all(axis=1))
    if len(bad):
        raise DataError(f"{path}: row {bad[0]} holds NaN or infinite values ({len(bad)} rows do)")
    return content


SUFFIXES = (".npz", ".parquet")
_ROWS = 4096  # of a row group: a few MB


def export(
    embeddings: Embeddings, path: Path, *, stream: str = "", pool: Sequence[str] = ("mean",)
) -> int:
    """Write one vector a clip, in the order of the clip ids.

    Both formats hold ``clip_id`` and ``embedding`` (float32). A ``.npz`` has them as arrays of
    shapes (clips,) and (clips, dim), and ``about`` as JSON text; it is read without pickle. A
    ``.parquet`` has them as columns, the embedding as a list of fixed size, and what it is as JSON
    under the key ``probekit`` of its metadata.

    Parameters
    ----------
    embeddings : Embeddings
        What to export.
    path : pathlib.Path
        Ends in ``.npz`` or ``.parquet``; an older file is replaced.
    stream : str
        Which stream; the extractor's default one if empty.
    pool : sequence of {"mean", "std", "max"}
        How frames are pooled; several are put side by side. Of streams that are one vector a clip,
        nothing is pooled.

    Returns
    -------
    int
        How many clips were written; those that failed are not.

    Raises
    ------
    CacheError
        If the suffix is another, there is nothing to export or to pool, or the file cannot be
        written.
    """
    if path.suffix not in SUFFIXES:
        raise CacheError(f"{path}: name a file that ends in {' or '.join(SUFFIXES)}")
    ids = sorted(embeddings.clip_ids)
    if not ids:
        raise CacheError(f"{embeddings.where}: holds no embeddings")
    settled = embeddings.layout
    stream = stream or embeddings.default_stream
    frames = embeddings.stream_info.get(stream, {}).get("kind") != "clip"
    if not frames and tuple(pool) != ("mean",):  # what no word means
        raise CacheError(
            f"{settled.extractor}: its stream {stream} is one vector a clip: leave out the pooling"
        )
    about = {
        "extractor": settled.extractor,
        "fingerprint": settled.fingerprint,
        "identity": settled.identity,
        "dataset": settled.dataset,
        "stream": stream,
        "pool": list(pool) if frames else [],
        "note": settled.provenance,
        "failed": len(embeddings.failures),
    }
    vectors = embeddings.vectors(ids, stream, pool)
    write = _parquet if path.suffix == ".parquet" else _npz
    try:
        atomic.atomic_write(path, lambda aside: write(aside, ids, vectors, json.dumps(about)))
    except OSError as error:
        raise CacheError(f"{path}: cannot be written ({error.strerror or error})") from error
    return len(ids)


def _npz(path: Path, ids: list[str], vectors: npt.NDArray[Any], about: str) -> None:
    with path.open("wb") as stream:
        np.savez(stream, clip_id=np.array(ids), embedding=vectors, about=np.array(about))


def _parquet(path: Path, ids: list[str], vectors: npt.NDArray[Any], about: str) -> None:
    dim = vectors.shape[1]
    schema = pa.schema(
        {"clip_id": pa.string(), "embedding": pa.list_(pa.float32(), dim)},
        metadata={"probekit": about},
    )
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(ids), _ROWS):
            rows = vectors[begin : begin + _ROWS]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
            columns = [pa.array(ids[begin : begin + _ROWS], pa.string()), lists]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
