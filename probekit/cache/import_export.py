"""Embeddings from and for other programs: import of NumPy arrays, export to .npz or Parquet."""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from probekit._typing import Array
from probekit.cache import layout, part
from probekit.cache.embeddings import Embeddings
from probekit.data.manifest import Manifest, dataset_name
from probekit.errors import CacheError, DataError
from probekit.utils import atomic
from probekit.utils.hashing import sha256

SUFFIXES = (".npz", ".parquet")
_ROW_GROUP = 4096  # rows: a few MB
_PROVENANCE = "imported embeddings"


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
    """Import arrays whose row i is clip i of a manifest.

    Parameters
    ----------
    name : str
        Name of the embedding: lower case letters, digits, dots, dashes.
    manifest : Manifest
        The clips, in the arrays' order.
    arrays : sequence of pathlib.Path
        ``.npy`` files, or ``.npz`` with one array, of shape (clips, dim) or (clips,); several are
        concatenated.
    cache : pathlib.Path
        The cache root.
    dataset : str
        Name of the clips' dataset, as in task cards.
    note : str
        Source of the arrays, in the user's words; shown with every score.
    dtype : {"float32", "float16"}
        How to store them.

    Returns
    -------
    Embeddings
        The imported embeddings.

    Raises
    ------
    DataError
        If an array cannot be read, has another number of rows, is not numeric, or has NaN or
        infinite values.
    CacheError
        If the name is not valid.
    """
    if dataset_name(name) != name:
        raise CacheError(
            f"name must be lower case letters, digits, dots and dashes, such as "
            f"{dataset_name(name)!r}, got {name!r}"
        )
    columns = [_read_array(path, len(manifest)) for path in arrays]
    with np.errstate(over="ignore"):
        matrix = np.concatenate(columns, axis=1).astype(dtype)
    if not np.isfinite(matrix).all():
        raise DataError(f"{name}: {dtype} cannot hold all values of {arrays[0].name}")
    identity = {
        "extractor": name,
        "imported": [{"file": path.name, "sha256": sha256(path)} for path in arrays],
        "clips": hashlib.sha256("\n".join(manifest.clip_ids).encode()).hexdigest(),
    }
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = layout.dataset_folder(cache, name, fingerprint, dataset)
    provenance = f"{_PROVENANCE}: {note}" if note else _PROVENANCE
    existing = layout.create_or_load_layout(
        folder,
        layout.Layout(
            extractor=name,
            fingerprint=fingerprint,
            identity=identity,
            dataset=dataset,
            buckets=layout.choose_buckets(len(manifest), matrix[0].nbytes),
            dtype=dtype,
            provenance=[provenance],
        ),
    )
    if note and existing.provenance != [provenance]:  # imported again: the last note counts
        existing = replace(existing, provenance=[provenance])
        content = json.dumps(asdict(existing), indent=1, sort_keys=True)
        try:
            atomic.atomic_write_text(folder / layout.LAYOUT_FILE, content)
        except OSError as error:
            raise CacheError(layout.not_writable_message(folder, error)) from error
    meta = {
        "extractor": name,
        "fingerprint": fingerprint,
        "identity": identity,
        "card": {"name": name, "default_stream": "embedding", "imported": True, "note": note},
        "weights": {},
        "precision": "unknown",
        "dtype": existing.dtype,
        "provenance": {"imported": datetime.now(UTC).isoformat(timespec="seconds"), "note": note},
    }
    grids = {"embedding": {"kind": "clip", "dim": matrix.shape[1]}}
    parts: dict[int, part.Part] = {}
    clips = zip(*(manifest.table[name] for name in ("clip_id", "start", "end")), strict=True)
    for (clip_id, start, end), vector in zip(clips, matrix, strict=True):
        number = layout.assign_bucket(clip_id, existing.buckets)
        source = {
            "start": start,
            "end": end,
            "duration": np.nan,
            "size": -1,
            "mtime": -1,
            "sha256": b"",
        }
        content = parts.setdefault(number, part.Part(meta, grids))
        content.rows[clip_id] = part.Row(source, {"embedding": {"clip": vector}})
    try:
        for number, content in parts.items():
            part.write_part(folder / layout.part_name(number), content)
    except OSError as error:
        raise CacheError(layout.not_writable_message(folder, error)) from error
    return Embeddings(folder)


def _read_array(path: Path, clips: int) -> Array:
    """Read one array as (clips, dim), and check it."""
    try:
        with path.open("rb") as stream:  # numpy leaves a damaged archive open
            array = np.load(stream, allow_pickle=False)
            if isinstance(array, np.lib.npyio.NpzFile):
                if len(array.files) != 1:
                    raise DataError(
                        f"{path}: must contain one array, got {len(array.files)} "
                        f"({', '.join(array.files)}); save the one to import in a file of its own"
                    )
                array = array[array.files[0]]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        reason = "" if "pickle" in str(error) else f" ({error})"
        raise DataError(
            f"{path}: must be an .npy or .npz file of numbers, and cannot be read as one{reason}"
        ) from error
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise DataError(f"{path}: must contain real numbers, got {array.dtype}")
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or len(array) != clips:
        raise DataError(
            f"{path}: must have one row for each of the {clips} clips, got shape {array.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: values must be finite; {len(bad)} rows have NaN or infinite values, the "
            f"first is row {bad[0]}"
        )
    return array


def export_vectors(
    embeddings: Embeddings, path: Path, *, stream: str = "", pool: Sequence[str] = ("mean",)
) -> int:
    """Write one vector a clip, in the order of the clip ids.

    Both formats hold ``clip_id`` and ``embedding`` (float32). A ``.npz`` has arrays of shapes
    (clips,) and (clips, dim), and ``about`` as JSON text; it is read without pickle. A ``.parquet``
    has columns, the embedding as a list of fixed size, and the same JSON under the key ``probekit``
    of its metadata.

    Parameters
    ----------
    embeddings : Embeddings
        What to export.
    path : pathlib.Path
        Ends in ``.npz`` or ``.parquet``; an existing file is replaced.
    stream : str
        A stored stream; the extractor's default one if empty.
    pool : sequence of {"mean", "std", "max"}
        How frames are pooled; several are concatenated. Only ``("mean",)`` for streams of kind
        ``clip``, which are not pooled.

    Returns
    -------
    int
        The number of clips written; failed ones are left out.

    Raises
    ------
    CacheError
        If the suffix is another one, there is nothing to export or to pool, or the file cannot be
        written.
    """
    if path.suffix not in SUFFIXES:
        raise CacheError(f"{path}: file name must end in {' or '.join(SUFFIXES)}")
    ids = sorted(embeddings.clip_ids)
    if not ids:
        raise CacheError(f"{embeddings.folder}: contains no embeddings")
    info = embeddings.layout
    stream = stream or embeddings.default_stream
    frames = embeddings.stream_info.get(stream, {}).get("kind") != "clip"
    if not frames and tuple(pool) != ("mean",):  # the default
        raise CacheError(
            f"{info.extractor}: stream {stream} has one vector per clip; leave out the pooling"
        )
    about = {
        "extractor": info.extractor,
        "fingerprint": info.fingerprint,
        "identity": info.identity,
        "dataset": info.dataset,
        "stream": stream,
        "pool": list(pool) if frames else [],
        "note": info.provenance,
        "failed": len(embeddings.failures),
    }
    vectors = embeddings.vectors(ids, stream, pool)
    write = _write_parquet if path.suffix == ".parquet" else _write_npz
    try:
        atomic.atomic_write(path, lambda temp: write(temp, ids, vectors, json.dumps(about)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CacheError(f"{path}: cannot be written ({reason[:1].lower()}{reason[1:]})") from error
    return len(ids)


def _write_npz(path: Path, ids: list[str], vectors: Array, about: str) -> None:
    with path.open("wb") as stream:
        np.savez(stream, clip_id=np.array(ids), embedding=vectors, about=np.array(about))


def _write_parquet(path: Path, ids: list[str], vectors: Array, about: str) -> None:
    dim = vectors.shape[1]
    schema = pa.schema(
        {"clip_id": pa.string(), "embedding": pa.list_(pa.float32(), dim)},
        metadata={"probekit": about},
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(ids), _ROW_GROUP):
            rows = vectors[start : start + _ROW_GROUP]
            lists = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), dim)
            columns = [pa.array(ids[start : start + _ROW_GROUP], pa.string()), lists]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
