"""Bulk reading of clips: bytes straight from the parts, at the offsets of the index.

HDF5 has one lock for the process and takes longer to open a part than to read it. Arrays are stored
contiguously, so a plain read of the file returns them, from several threads at once. A part that
was rewritten since it was indexed (another size or time) is read through HDF5.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache import part
from probekit.cache.index import Index
from probekit.errors import CacheError
from probekit.parallel import resources

_THREADS = 4  # more only wait for memory
_POSITION = Lock()  # of files that threads share, where none can read elsewhere than at it


def group_by_part(index: Index, positions: Array) -> Iterator[tuple[int, Array]]:
    """Group clips by the part that holds them.

    Parameters
    ----------
    index : Index
        Of the folder.
    positions : numpy.ndarray, shape (clips,)
        Rows of ``index.table``, from :meth:`Index.find`; none is -1.

    Yields
    ------
    code : int
        A part: the position of its name in ``index.part_codes``.
    members : numpy.ndarray of int
        Which of ``positions`` are in it, in the order of the part's rows.
    """
    if not len(positions):
        return
    codes, _ = index.part_codes
    order = _argsort(positions, len(codes))
    sorted_codes = codes[positions[order]]
    bounds = np.flatnonzero(np.diff(sorted_codes)) + 1
    for members in np.split(order, bounds):
        yield int(codes[positions[members[0]]]), members


def read_vectors(
    out: Array, folder: Path, index: Index, positions: Array, stream: str, arrays: Sequence[str]
) -> None:
    """Fill a matrix with vectors of clips.

    Parameters
    ----------
    out : numpy.ndarray, shape (clips, dim · arrays)
        Row i becomes that of clip ``positions[i]``; numbers are converted to its type.
    folder : pathlib.Path
        The folder of the parts.
    index : Index
        Of that folder.
    positions : numpy.ndarray, shape (clips,)
        Rows of ``index.table`` of clips that have embeddings.
    stream : str
        Which stream.
    arrays : sequence of str
        Which of its arrays, side by side.

    Raises
    ------
    CacheError
        If a part is damaged, or was rewritten without one of the clips.
    """
    dim = out.shape[1] // len(arrays)
    _, names = index.part_codes

    def read_group(group: tuple[int, Array]) -> None:
        code, members = group
        blocks = _read_blocks(folder / names[code], index, positions[members], stream, arrays)
        for k, block in enumerate(blocks):
            # converted first: twice as fast as during the assignment
            out[members, k * dim : (k + 1) * dim] = block.astype(out.dtype, copy=False)

    threads = min(_THREADS, resources.cpu_count())
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        for _ in pool.map(read_group, group_by_part(index, positions)):
            pass


def _argsort(positions: Array, total: int) -> Array:
    """Return ``argsort`` of positions below ``total``; faster if many and none repeats."""
    if 8 * len(positions) > total:
        inverse = np.full(total, -1, np.int64)
        inverse[positions] = np.arange(len(positions))
        order: Array = inverse[inverse >= 0]
        if len(order) == len(positions):
            return order
    return np.argsort(positions, kind="stable")


def _read_blocks(
    path: Path, index: Index, positions: Array, stream: str, arrays: Sequence[str]
) -> Iterator[Array]:
    """Yield arrays of clips of one part, in the order of ``positions``."""
    facts = index.parts[path.name]
    rows = index.rows[positions]
    first, last = int(rows.min()), int(rows.max()) + 1
    with open_raw(path) as file:
        if matches_file(file, facts):
            for name in arrays:
                offset, kind, shape = facts["places"][f"{stream}/{name}"]
                block = np.empty((last - first, *shape[1:]), kind)
                read_into(file, offset + first * block[0].nbytes, block)
                contiguous = len(rows) == len(block) and bool((np.diff(rows) == 1).all())
                yield block if contiguous else block[rows - first]
            return
    with part.open_part(path) as content:
        ids = list(index.table["clip_id"].iloc[positions])
        rows = np.array(part.find_rows(content, ids))
        for name in arrays:
            yield content["streams"][stream][name][:][rows]


def open_raw(path: Path) -> FileIO:
    """Open a part without HDF5 and without a buffer; a CacheError if it cannot be opened."""
    try:
        return FileIO(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CacheError(f"{path}: not readable ({reason}). {part.REPAIR_HINT}") from error


def matches_file(file: FileIO, facts: dict[str, Any]) -> bool:
    """Return whether an open part has the size and time of its entry in ``Index.parts``."""
    stat = os.fstat(file.fileno())
    return (stat.st_size, stat.st_mtime_ns) == (facts["size"], facts["mtime"])


def read_into(file: FileIO, offset: int, block: Array) -> None:
    """Fill a contiguous array with bytes of an unbuffered file.

    Raises
    ------
    CacheError
        If the file is too short.
    """
    rest = block.reshape(-1).view(np.uint8).data
    while len(rest):
        if hasattr(os, "preadv"):  # has no file position that other threads could move
            count = os.preadv(file.fileno(), [rest], offset)
        else:
            with _POSITION:
                file.seek(offset)
                count = file.readinto(rest) or 0
        if not count:
            raise CacheError(f"{file.name!s}: shorter than when it was opened. {part.REPAIR_HINT}")
        offset, rest = offset + count, rest[count:]
