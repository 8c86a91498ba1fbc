"""One part of a cache: an HDF5 file with a fixed share of a dataset's clips.

``cache/README.md`` specifies the layout. The first 512 bytes (HDF5's user block) hold the SHA-256
of everything after them, so that any changed byte is detected.
"""

import hashlib
import io
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import CacheError, ProbekitError
from probekit.utils import atomic

FORMAT, VERSION = "probekit-embeddings", 1
USER_BLOCK = 512  # bytes before the HDF5 content
_TITLE = "probekit embedding cache, part, format 1\nsha256 of what follows: "
REPAIR_HINT = "Run 'probekit cache repair' to embed its clips again"

CLIP_FIELDS = {
    "start": "f8",
    "end": "f8",
    "duration": "f8",
    "size": "i8",
    "mtime": "i8",
    "sha256": "S64",
}
"""What is stored about each clip's recording, with its type in the file."""
NOTES, ALLOWED = "notes", "allow_truncated"
"""Attributes of a part, if any: clip id to what is odd in its recording, a list of texts; and which
share of a clip may be missing in a truncated recording."""
FAILED_FIELDS = {"start": "f8", "end": "f8", "size": "i8", "mtime": "i8"}
"""The same for clips without an embedding."""


@dataclass
class Row:
    """One clip's share of a part.

    Attributes
    ----------
    source : dict
        Values of :data:`CLIP_FIELDS`.
    streams : dict of str to dict of str to numpy.ndarray
        Stream to its arrays: ``mean``, ``std``, ``max`` or ``clip`` of shape (dim,), and
        ``frames`` of shape (time, dim) if frames are stored.
    """

    source: dict[str, Any]
    streams: dict[str, dict[str, Array]]


@dataclass
class Part:
    """The content of a part.

    Attributes
    ----------
    meta : dict
        The file's attributes: extractor, fingerprint, identity, card, dtype, provenance …
    grids : dict of str to dict
        Stream to ``kind``, ``dim``, and for frames ``hop``, ``first_center``, ``window``
        (seconds, as exact fractions in text).
    rows : dict of str to Row
        Clip id to its embeddings.
    failed : dict of str to dict
        Clip id to ``reason`` and the values of :data:`FAILED_FIELDS`.
    """

    meta: dict[str, Any]
    grids: dict[str, dict[str, Any]]
    rows: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)


def merge_notes(into: Part, source: Part, clip_ids: Collection[str]) -> None:
    """Add the notes on some clips of another part, and what was allowed there."""
    notes = {i: texts for i, texts in source.meta.get(NOTES, {}).items() if i in clip_ids}
    if notes:
        into.meta[NOTES] = {**into.meta.get(NOTES, {}), **notes}
    allowed = max(float(meta.get(ALLOWED, 0)) for meta in (into.meta, source.meta))
    if allowed:
        into.meta[ALLOWED] = str(allowed)


# ---- a part as one object


def write_part(path: Path, part: Part) -> None:
    """Write a part atomically, clips in the order of their ids; an older file is replaced.

    Raises
    ------
    OSError
        If the disk is full or not writable; an older part is then untouched.
    """

    def write(temp: Path) -> None:
        # in memory first: HDF5 ends the process with a segmentation fault if the disk is full
        image = io.BytesIO()
        with h5py.File(image, "w", userblock_size=USER_BLOCK, libver=("v110", "v110")) as file:
            _write_content(file, part)
        atomic._test_hook("before-digest")
        content = image.getbuffer()
        sha256 = hashlib.sha256(content[USER_BLOCK:]).hexdigest()
        content[:USER_BLOCK] = make_user_block(sha256)
        temp.write_bytes(content)

    atomic.atomic_write(path, write)


def read_part(path: Path, *, frames: bool = True, only: Collection[str] | None = None) -> Part:
    """Read a part into memory.

    Parameters
    ----------
    path : pathlib.Path
        File of the part.
    frames : bool
        Whether to read frames too, if they are stored.
    only : collection of str, optional
        Ids of the clips to read; all by default.

    Returns
    -------
    Part
        Its content.

    Raises
    ------
    CacheError
        If the file is not a part that this version of probekit reads.
    """
    with open_part(path) as file:
        grids = {name: _read_grid(group) for name, group in file["streams"].items()}
        part = Part(read_meta(file), grids)
        part.failed = {
            clip_id: facts
            for clip_id, facts in read_failures(file).items()
            if only is None or clip_id in only
        }
        ids = read_clip_ids(file)
        rows = [row for row, clip_id in enumerate(ids) if only is None or clip_id in only]
        sources = {name: file[name][:] for name in CLIP_FIELDS}
        columns = {
            (name, key): _read_rows(group, key, rows)
            for name, group in file["streams"].items()
            for key in group
            if key != "offset" and (frames or key != "frames")
        }
        for position, row in enumerate(rows):
            streams: dict[str, dict[str, Array]] = {name: {} for name in part.grids}
            for (name, key), column in columns.items():
                streams[name][key] = column[position]
            source = {name: values[row] for name, values in sources.items()}
            part.rows[ids[row]] = Row(source, streams)
        return part


def _write_content(file: h5py.File, part: Part) -> None:
    write_meta(file, part.meta)
    ids = sorted(part.rows)
    file["clip_id"] = encode_texts(ids)
    for name, kind in CLIP_FIELDS.items():
        file[name] = np.array([part.rows[i].source[name] for i in ids], dtype=kind)
    failed = sorted(part.failed)
    file["failed_id"] = encode_texts(failed)
    file["failed_reason"] = encode_texts([part.failed[i]["reason"] for i in failed])
    for name, kind in FAILED_FIELDS.items():
        file[f"failed_{name}"] = np.array([part.failed[i][name] for i in failed], dtype=kind)
    streams = file.create_group("streams")
    for name, grid in sorted(part.grids.items()):
        group = streams.create_group(name)
        group.attrs.update(dict(sorted(grid.items())))  # sorted: the same bytes from every writer
        for key, array in _stream_columns(name, part, ids):
            group[key] = array


def _stream_columns(stream: str, part: Part, ids: list[str]) -> Iterator[tuple[str, Array]]:
    """Yield a stream's arrays over all clips."""
    dim, dtype = part.grids[stream]["dim"], part.meta["dtype"]
    keys = list(part.rows[ids[0]].streams[stream]) if ids else []
    for key in sorted(keys):
        arrays = [part.rows[i].streams[stream][key] for i in ids]
        if key == "frames":
            yield "offset", np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype("i8")
            yield "frames", np.concatenate(arrays).astype(dtype)
        else:
            yield key, np.stack(arrays).reshape(len(ids), dim).astype(dtype)


def _read_rows(group: h5py.Group, key: str, rows: list[int]) -> Sequence[Array]:
    """Read an array's rows of some clips; the array at once if most are requested."""
    dataset = group[key]
    sparse = 4 * len(rows) < len(dataset if key != "frames" else group["offset"])
    values = dataset if sparse else dataset[:]
    if key != "frames":
        return [values[row] for row in rows]
    offset = group["offset"][:]
    return [values[offset[row] : offset[row + 1]] for row in rows]


def _read_grid(group: h5py.Group) -> dict[str, Any]:
    return {k: (v if isinstance(v, str) else int(v)) for k, v in group.attrs.items()}


# ---- an open part


class open_part:  # reads as a verb: with open_part(path) as file
    """Context manager: open a part for reading; damage raises a CacheError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> h5py.File:
        try:
            self.file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            reason = "no such file" if not self.path.exists() else str(error)
            raise CacheError(
                f"{self.path}: not readable as HDF5 ({reason}). {REPAIR_HINT}"
            ) from error
        try:
            self._check_format()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self.file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.close()
        # damaged files make h5py raise almost anything
        if isinstance(error, Exception) and not isinstance(error, (ProbekitError, MemoryError)):
            raise CacheError(f"{self.path}: damaged ({error}). {REPAIR_HINT}") from error

    def _check_format(self) -> None:
        if self.file.attrs.get("format") != FORMAT:
            raise CacheError(f"{self.path}: not a part of a probekit cache")
        version = int(self.file.attrs["version"])
        if version > VERSION:
            raise CacheError(
                f"{self.path}: written in format version {version}; this probekit reads up to "
                f"{VERSION}. Upgrade probekit"
            )


def write_meta(file: h5py.File, facts: dict[str, Any]) -> None:
    """Write a part's attributes: texts and integers as they are, all else as JSON."""
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    for name, value in sorted(facts.items()):
        if name not in ("format", "version"):
            plain = isinstance(value, (str, int))
            file.attrs[name] = value if plain else json.dumps(value, sort_keys=True)


def read_meta(file: h5py.File) -> dict[str, Any]:
    """Return a part's attributes as plain values."""
    facts: dict[str, Any] = {}
    for name, value in file.attrs.items():
        text = value.decode() if isinstance(value, bytes) else value
        if not isinstance(text, str):
            facts[name] = int(text)
        else:
            facts[name] = json.loads(text) if text.startswith(("{", "[")) else text
    return facts


def read_clip_ids(file: h5py.File) -> list[str]:
    """Return the ids of the clips that a part holds, in the order of its rows."""
    return _decode_texts(file["clip_id"])


def read_failures(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Return a part's failures: clip id to reason and source."""
    columns = {name: file[f"failed_{name}"][:] for name in FAILED_FIELDS}
    reasons = _decode_texts(file["failed_reason"])
    return {
        clip_id: {"reason": reasons[i], **{name: values[i] for name, values in columns.items()}}
        for i, clip_id in enumerate(_decode_texts(file["failed_id"]))
    }


def find_rows(file: h5py.File, clip_ids: Sequence[str]) -> list[int]:
    """Return the rows of some clips in a part, in the order of ``clip_ids``.

    They are looked up in the part itself: another process may have rewritten it since it was
    indexed, with other clips between these.
    """
    rows = {clip_id: row for row, clip_id in enumerate(read_clip_ids(file))}
    missing = [clip_id for clip_id in clip_ids if clip_id not in rows]
    if missing:
        raise CacheError(
            f"{file.filename}: rewritten without {missing[0]!r} while it was in use; open the "
            "cache again"
        )
    return [rows[clip_id] for clip_id in clip_ids]


def list_arrays(file: h5py.File) -> dict[str, list[str]]:
    """Return which arrays a part holds for each stream."""
    return {
        name: sorted(key for key in group if key != "offset")
        for name, group in file["streams"].items()
    }


def array_offsets(file: h5py.File) -> dict[str, tuple[int, str, list[int]]]:
    """Return ``STREAM/ARRAY`` to first byte, type and shape, for readers that need no HDF5.

    Arrays without elements occupy no bytes and are left out.
    """
    return {
        f"{name}/{key}": (array.id.get_offset(), array.dtype.str, list(array.shape))
        for name, group in file["streams"].items()
        for key, array in group.items()
        if array.chunks is None and array.id.get_offset() is not None
    }


def encode_texts(texts: list[str]) -> Array:
    """Return texts (without trailing NULs) as UTF-8 of fixed width, such as ``S11``, at least 1."""
    raw = [text.encode() for text in texts]
    return np.array(raw, dtype=f"S{max([1, *map(len, raw)])}")


def _decode_texts(dataset: h5py.Dataset) -> list[str]:
    return [raw.decode() for raw in dataset[:]]


# ---- the digest


def verify_part(path: Path) -> str | None:
    """Check a part against its digest; return what is wrong, None if every byte is as written."""
    try:
        if not verify_digest(path):
            return "its bytes are not those that were written (SHA-256 differs)"
        with open_part(path):
            return None
    except (OSError, CacheError) as error:
        return str(error)


def make_user_block(digest: str) -> bytes:
    """Return the 512 bytes that hold a digest of 64 hexadecimal digits."""
    return f"{_TITLE}{digest}\n".encode().ljust(USER_BLOCK, b"\0")


def compute_digest(path: Path) -> str:
    """Return the SHA-256 of everything after the user block, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        stream.seek(USER_BLOCK)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_digest(path: Path) -> None:
    """Write the user block of a finished HDF5 file that reserves one."""
    block = make_user_block(compute_digest(path))
    with path.open("r+b") as stream:
        stream.write(block)


def verify_digest(path: Path) -> bool:
    """Return whether a part's bytes are those that its user block was written for."""
    with path.open("rb") as stream:
        block = stream.read(USER_BLOCK)
    return block == make_user_block(compute_digest(path))
