"""One part of a cache: an HDF5 file with a fixed share of a dataset's clips.

The layout is written down in ``cache/README.md``. The file begins with a block of 512 bytes that
holds the SHA-256 of all that follows, so that any changed byte is found.
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

BLOCK = 512  # bytes; HDF5 calls it a user block
_TITLE = "probekit embedding cache, part, format 1\nsha256 of what follows: "


def make_user_block(digest: str) -> bytes:
    """Return the block that holds a digest.

    Parameters
    ----------
    digest : str
        64 hexadecimal digits.

    Returns
    -------
    bytes
        512 of them.
    """
    return f"{_TITLE}{digest}\n".encode().ljust(BLOCK, b"\0")


def compute_digest(path: Path) -> str:
    """Return the SHA-256 of all that follows the block.

    Parameters
    ----------
    path : pathlib.Path
        A part.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(BLOCK)
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            sha.update(chunk)
    return sha.hexdigest()


def write_digest(path: Path) -> None:
    """Write the block of a file that has room for it.

    Parameters
    ----------
    path : pathlib.Path
        A finished HDF5 file with a user block.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    content = make_user_block(compute_digest(path))
    with path.open("r+b") as stream:
        stream.write(content)


def verify_digest(path: Path) -> bool:
    """Tell whether a part's bytes are those that its block was written for.

    Parameters
    ----------
    path : pathlib.Path
        A part.

    Returns
    -------
    bool
        False if any byte differs, in the block or after it.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        found = stream.read(BLOCK)
    return found == make_user_block(compute_digest(path))


FORMAT, VERSION = "probekit-embeddings", 1

# what is kept about each clip's source, with its type in the file
CLIP_FIELDS = {
    "start": "f8",
    "end": "f8",
    "duration": "f8",
    "size": "i8",
    "mtime": "i8",
    "sha256": "S64",
}
FAILED_FIELDS = {"start": "f8", "end": "f8", "size": "i8", "mtime": "i8"}


@dataclass
class Row:
    """One clip's share of a part.

    Attributes
    ----------
    source : dict
        Values of :data:`CLIP_FIELDS`.
    streams : dict of str to dict of str to numpy.ndarray
        Stream to its arrays: ``mean``, ``std``, ``max`` or ``clip`` of shape (dim,), and
        ``frames`` of shape (time, dim) where frames are kept.
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
        Clip id to what was computed for it.
    failed : dict of str to dict
        Clip id to ``reason`` and the values of :data:`FAILED_FIELDS`.
    """

    meta: dict[str, Any]
    grids: dict[str, dict[str, Any]]
    rows: dict[str, Row] = field(default_factory=dict)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)


def write(path: Path, part: Part) -> None:
    """Write a part: whole and on the disk, or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where; an older part there is replaced.
    part : Part
        Its content; clips are written in the order of their ids.

    Raises
    ------
    OSError
        If the disk is full or not writable; an older part is then untouched.
    """

    def fill(aside: Path) -> None:
        # in memory first: HDF5 ends the process with a segmentation fault where a disk is full
        image = io.BytesIO()
        with h5py.File(image, "w", userblock_size=BLOCK, libver=("v110", "v110")) as file:
            _fill(file, part)
        atomic._test_hook("before-digest")
        content = image.getbuffer()
        sha256 = hashlib.sha256(content[BLOCK:]).hexdigest()
        content[:BLOCK] = make_user_block(sha256)
        aside.write_bytes(content)

    atomic.atomic_write(path, fill)


def read(path: Path, *, frames: bool = True, only: Collection[str] | None = None) -> Part:
    """Read a whole part into memory, or some of its clips.

    Parameters
    ----------
    path : pathlib.Path
        The part.
    frames : bool
        Whether to read frames too, where they are kept.
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
        part = Part(meta(file), {name: _grid(group) for name, group in file["streams"].items()})
        part.failed = {
            clip_id: facts
            for clip_id, facts in failures(file).items()
            if only is None or clip_id in only
        }
        ids = clip_ids(file)
        rows = [row for row, clip_id in enumerate(ids) if only is None or clip_id in only]
        sources = {name: file[name][:] for name in CLIP_FIELDS}
        columns = {
            (name, key): _rows(group, key, rows)
            for name, group in file["streams"].items()
            for key in group
            if key != "offset" and (frames or key != "frames")
        }
        for place, row in enumerate(rows):
            streams: dict[str, dict[str, Array]] = {name: {} for name in part.grids}
            for (name, key), held in columns.items():
                streams[name][key] = held[place]
            own = {name: values[row] for name, values in sources.items()}
            part.rows[ids[row]] = Row(own, streams)
        return part


def _rows(group: h5py.Group, key: str, rows: list[int]) -> Sequence[Array]:
    """Read an array's share of some clips; all at once where most are wanted."""
    array = group[key]
    some = 4 * len(rows) < len(array if key != "frames" else group["offset"])
    held = array if some else array[:]
    if key != "frames":
        return [held[row] for row in rows]
    offset = group["offset"][:]
    return [held[offset[row] : offset[row + 1]] for row in rows]


class open_part:  # reads as a verb: with opened(path) as file
    """Open a part for reading; damage becomes a :class:`CacheError` that names the file.

    Parameters
    ----------
    path : pathlib.Path
        The part.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> h5py.File:
        try:
            self.file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            reason = "no such file" if not self.path.exists() else str(error)
            raise CacheError(f"{self.path}: not readable as HDF5 ({reason}). {REPAIR}") from error
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
            raise CacheError(f"{self.path}: damaged ({error}). {REPAIR}") from error

    def _check_format(self) -> None:
        if self.file.attrs.get("format") != FORMAT:
            raise CacheError(f"{self.path}: not a part of a probekit cache")
        version = int(self.file.attrs["version"])
        if version > VERSION:
            raise CacheError(
                f"{self.path}: written in format version {version}; this probekit reads up to "
                f"{VERSION}. Upgrade probekit"
            )


REPAIR = "'probekit cache repair' embeds its clips anew"


def verify(path: Path) -> str | None:
    """Check a part against its digest.

    Parameters
    ----------
    path : pathlib.Path
        The part.

    Returns
    -------
    str or None
        What is wrong, or None if every byte is as it was written.
    """
    try:
        if not verify_digest(path):
            return "its bytes are not those that were written (SHA-256 differs)"
        with open_part(path):
            return None
    except (OSError, CacheError) as error:
        return str(error)


def write_meta(file: h5py.File, facts: dict[str, Any]) -> None:
    """Write a part's attributes: texts and whole numbers as they are, all else as JSON.

    Parameters
    ----------
    file : h5py.File
        Open for writing.
    facts : dict
        Attributes; format and version are added.
    """
    file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
    for name, value in sorted(facts.items()):
        if name not in ("format", "version"):
            plain = isinstance(value, (str, int))
            file.attrs[name] = value if plain else json.dumps(value, sort_keys=True)


def meta(file: h5py.File) -> dict[str, Any]:
    """Return a part's attributes as plain values."""
    found: dict[str, Any] = {}
    for name, value in file.attrs.items():
        text = value.decode() if isinstance(value, bytes) else value
        if not isinstance(text, str):
            found[name] = int(text)
        else:
            found[name] = json.loads(text) if text.startswith(("{", "[")) else text
    return found


def failures(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Return a part's failures: clip id to reason and source."""
    columns = {name: file[f"failed_{name}"][:] for name in FAILED_FIELDS}
    reasons = _text(file["failed_reason"])
    return {
        clip_id: {"reason": reasons[i], **{name: values[i] for name, values in columns.items()}}
        for i, clip_id in enumerate(_text(file["failed_id"]))
    }


def list_arrays(file: h5py.File) -> dict[str, list[str]]:
    """Return which arrays a part holds for each stream."""
    return {
        name: sorted(key for key in group if key != "offset")
        for name, group in file["streams"].items()
    }


def array_offsets(file: h5py.File) -> dict[str, tuple[int, str, list[int]]]:
    """Return where the arrays of the streams lie in a part, for readers that need no HDF5.

    Parameters
    ----------
    file : h5py.File
        From :class:`open_part`.

    Returns
    -------
    dict of str to tuple
        ``STREAM/ARRAY`` to its first byte in the file, type and shape. Arrays without elements
        take no place, and are not in it.
    """
    return {
        f"{name}/{key}": (held.id.get_offset(), held.dtype.str, list(held.shape))
        for name, group in file["streams"].items()
        for key, held in group.items()
        if held.chunks is None and held.id.get_offset() is not None
    }


def clip_ids(file: h5py.File) -> list[str]:
    """Return the ids of the clips that a part holds, in the order of its rows."""
    return _text(file["clip_id"])


def rows_of(file: h5py.File, wanted: Sequence[str]) -> list[int]:
    """Return the rows of some clips in a part, in the order asked for.

    They are looked up in the part itself: another process may have written it anew since it was
    indexed, with other clips between these.
    """
    rows = {clip_id: row for row, clip_id in enumerate(clip_ids(file))}
    gone = [clip_id for clip_id in wanted if clip_id not in rows]
    if gone:
        raise CacheError(
            f"{file.filename}: written anew without {gone[0]!r} while it was in use; open the "
            "cache again"
        )
    return [rows[clip_id] for clip_id in wanted]


def _fill(file: h5py.File, part: Part) -> None:
    write_meta(file, part.meta)
    ids = sorted(part.rows)
    file["clip_id"] = as_bytes(ids)
    for name, kind in CLIP_FIELDS.items():
        file[name] = np.array([part.rows[i].source[name] for i in ids], dtype=kind)
    bad = sorted(part.failed)
    file["failed_id"] = as_bytes(bad)
    file["failed_reason"] = as_bytes([part.failed[i]["reason"] for i in bad])
    for name, kind in FAILED_FIELDS.items():
        file[f"failed_{name}"] = np.array([part.failed[i][name] for i in bad], dtype=kind)
    streams = file.create_group("streams")
    for name, grid in sorted(part.grids.items()):
        group = streams.create_group(name)
        group.attrs.update(dict(sorted(grid.items())))  # the same bytes whoever writes
        for key, array in _columns(name, part, ids, part.meta["dtype"]):
            group[key] = array


def _columns(stream: str, part: Part, ids: list[str], dtype: str) -> Iterator[tuple[str, Array]]:
    """Yield a stream's arrays over all clips."""
    dim = part.grids[stream]["dim"]
    keys = list(part.rows[ids[0]].streams[stream]) if ids else []
    for key in sorted(keys):
        own = [part.rows[i].streams[stream][key] for i in ids]
        if key == "frames":
            yield "offset", np.concatenate([[0], np.cumsum([len(a) for a in own])]).astype("i8")
            yield "frames", np.concatenate(own).astype(dtype)
        else:
            yield key, np.stack(own).reshape(len(ids), dim).astype(dtype)


def _grid(group: h5py.Group) -> dict[str, Any]:
    return {k: (v if isinstance(v, str) else int(v)) for k, v in group.attrs.items()}


def as_bytes(texts: list[str]) -> Array:
    """Return texts as UTF-8 of fixed width; an empty list keeps a width of one.

    Parameters
    ----------
    texts : list of str
        Any texts without trailing NULs.

    Returns
    -------
    numpy.ndarray, shape (texts,)
        Of a type such as ``S11``.
    """
    raw = [text.encode() for text in texts]
    return np.array(raw, dtype=f"S{max([1, *map(len, raw)])}")


def _text(dataset: h5py.Dataset) -> list[str]:
    return [raw.decode() for raw in dataset[:]]
