"""Embeddings from other programs: import of NumPy arrays."""

import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy_format

from probekit._typing import Array
from probekit.cache import layout, part
from probekit.cache.embeddings import Embeddings
from probekit.data.manifest import Manifest, dataset_name
from probekit.errors import CacheError, DataError
from probekit.utils import atomic
from probekit.utils.hashing import sha256
from probekit.utils.text import slug

_COLUMNS_AT_ONCE = 64  # in float64 beside the array
_MAX_LOSS = 0.1  # rounding error of a column in its standard deviations
_CONSTANT = 1e-12  # spread of a column, as a share of its values, that float64 itself leaves
_HEADER_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}
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
        If an array cannot be read, has another number of rows, no columns, is not numeric, has NaN
        or infinite values, or differences that the type of storage cannot hold.
    CacheError
        If a name is not valid.
    """
    if slug(name) != name:
        raise CacheError(
            f"name must be lower case letters, digits, dots and dashes, such as {slug(name)!r}, "
            f"got {name!r}"
        )
    if dataset_name(dataset) != dataset:
        raise CacheError(
            f"dataset must be a name that a folder can have, such as {dataset_name(dataset)!r}, "
            f"got {dataset!r}"
        )
    columns = [_read_array(path, len(manifest)) for path in arrays]
    for path, column in zip(arrays, columns, strict=True):
        _check_precision(path, column, dtype)
    matrix = np.concatenate(columns, axis=1).astype(dtype)
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
        text = json.dumps(asdict(existing), indent=1, sort_keys=True)
        try:
            atomic.atomic_write_text(folder / layout.LAYOUT_FILE, text)
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


def _check_precision(path: Path, array: Array, dtype: str) -> None:
    """Raise if numbers are too large for a type, or differences between clips too small."""
    if np.can_cast(array.dtype, dtype):
        return
    worst, columns = 0.0, 0
    for first in range(0, array.shape[1], _COLUMNS_AT_ONCE):
        block = array[:, first : first + _COLUMNS_AT_ONCE].astype(np.float64)
        with np.errstate(over="ignore"):
            stored = block.astype(dtype).astype(np.float64)
        if not np.isfinite(stored).all():
            raise DataError(f"{path}: {dtype} cannot hold all of its values")
        spread, size = block.std(axis=0), np.abs(block).max(axis=0)
        error = np.sqrt(np.mean((stored - block) ** 2, axis=0))
        varies = spread > _CONSTANT * size  # other differences are those of rounding in float64
        lost = np.divide(error, spread, out=np.zeros_like(error), where=varies)
        worst, columns = max(worst, lost.max()), columns + int((lost > _MAX_LOSS).sum())
    if columns:
        raise DataError(
            f"{path}: {columns:,} of {array.shape[1]:,} columns differ between clips by less than "
            f"{dtype} can hold (rounding errors up to {min(worst, 9.99):.2g} standard deviations). "
            "Subtract each column's mean, or scale the columns, before saving them"
        )


def _check_size(stream: BinaryIO, size: int) -> None:
    """Raise if an array, as its header declares it, is larger than its file."""
    start = stream.tell()
    version = npy_format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = _HEADER_READERS[version](stream)
    needed = math.prod(shape) * dtype.itemsize
    if needed > size - (stream.tell() - start):
        raise ValueError(f"shape {shape} of {dtype} takes {needed:,} bytes, the file has {size:,}")


def _load_array(path: Path, stream: BinaryIO) -> Array:
    """Load the array of an ``.npy`` file, or the only one of an ``.npz`` file."""
    if stream.read(2) != b"PK":
        stream.seek(0)
        _check_size(stream, path.stat().st_size)
        stream.seek(0)
        return np.asarray(np.load(stream, allow_pickle=False))
    with ZipFile(stream) as archive:
        members = archive.infolist()
        if len(members) != 1:
            names = ", ".join(member.filename.removesuffix(".npy") for member in members)
            raise DataError(
                f"{path}: must contain one array, got {len(members)} ({names}); save the one to "
                "import in a file of its own"
            )
        with archive.open(members[0]) as member:
            _check_size(cast(BinaryIO, member), members[0].file_size)
        with archive.open(members[0]) as member:
            return np.asarray(npy_format.read_array(member, allow_pickle=False))


def _read_array(path: Path, clips: int) -> Array:
    """Read one array as (clips, dim), and check it."""
    try:
        with path.open("rb") as stream:
            array = _load_array(path, stream)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile, zlib.error) as error:
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
    if not array.shape[1]:
        raise DataError(f"{path}: has no columns, its shape is {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: values must be finite; {len(bad)} rows have NaN or infinite values, the "
            f"first is row {bad[0]}"
        )
    return array
