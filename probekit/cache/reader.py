"""Read many clips at once: bytes straight from the parts, as the index says where they lie.

HDF5 has one lock for the process and takes longer to open a part than to read it. Arrays lie in one
piece, so that a plain read of the file gives them; several threads do it at once. A part that was
written anew since it was indexed is noticed by its size and time, and read through HDF5.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache import part
from probekit.cache.index import Index
from probekit.errors import CacheError
from probekit.parallel import resources

_THREADS = 4  # more only wait for memory


def by_part(index: Index, found: Array) -> Iterator[tuple[int, Array]]:
    """Group clips by the part that holds them.

    Parameters
    ----------
    index : Index
        Of the folder.
    found : numpy.ndarray, shape (clips,)
        From :meth:`Index.find`; all of them in the index.

    Yields
    ------
    code : int
        A part: the place of its name in ``index.homes``.
    places : numpy.ndarray of int
        Which of ``found`` are in it, in the order of the part's rows.
    """
    if not len(found):
        return
    codes, _ = index.part_codes
    order = _sorted_places(found, len(codes))
    own = codes[found[order]]
    bounds = np.flatnonzero(np.diff(own)) + 1
    for places in np.split(order, bounds):
        yield int(codes[found[places[0]]]), places


def read_vectors(
    into: Array, where: Path, index: Index, found: Array, stream: str, arrays: Sequence[str]
) -> None:
    """Fill a matrix with vectors of clips.

    Parameters
    ----------
    into : numpy.ndarray, shape (clips, dim · arrays)
        Row i becomes that of clip ``found[i]``; numbers are converted to its type.
    where : pathlib.Path
        The folder of the parts.
    index : Index
        Of that folder.
    found : numpy.ndarray, shape (clips,)
        From :meth:`Index.find`; clips that have embeddings.
    stream : str
        Which stream.
    arrays : sequence of str
        Which of its arrays, side by side.

    Raises
    ------
    CacheError
        If a part is damaged, or was written anew without one of the clips.
    """
    dim = into.shape[1] // len(arrays)
    _, names = index.part_codes

    def one(group: tuple[int, Array]) -> None:
        code, places = group
        blocks = _blocks(where / names[code], index, found[places], stream, arrays)
        for k, block in enumerate(blocks):
            # converted first: twice as fast as while it is put in its places
            into[places, k * dim : (k + 1) * dim] = block.astype(into.dtype, copy=False)

    threads = min(_THREADS, resources.cpu_count())
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:
        for _ in pool.map(one, by_part(index, found)):
            pass


def _sorted_places(found: Array, total: int) -> Array:
    """Return what ``argsort`` would; faster where nothing repeats and much is asked for."""
    if 8 * len(found) > total:
        inverse = np.full(total, -1, np.int64)
        inverse[found] = np.arange(len(found))
        order: Array = inverse[inverse >= 0]
        if len(order) == len(found):
            return order
    return np.argsort(found, kind="stable")


def matches_file(file: FileIO, facts: dict[str, Any]) -> bool:
    """Tell whether an open part is the one that was indexed.

    Parameters
    ----------
    file : io.FileIO
        The part.
    facts : dict
        Its entry in ``Index.parts``.

    Returns
    -------
    bool
        False where another one has its name now.
    """
    stat = os.fstat(file.fileno())
    return (stat.st_size, stat.st_mtime_ns) == (facts["size"], facts["mtime"])


def read_into(file: FileIO, begin: int, block: Array) -> None:
    """Fill a block with bytes of a file.

    Parameters
    ----------
    file : io.FileIO
        Opened without a buffer.
    begin : int
        The first byte.
    block : numpy.ndarray
        In one piece.

    Raises
    ------
    CacheError
        If the file ends before.
    """
    left = block.reshape(-1).view(np.uint8).data
    while len(left):
        if hasattr(os, "preadv"):  # has no position that others could move
            count = os.preadv(file.fileno(), [left], begin)
        else:
            file.seek(begin)
            count = file.readinto(left) or 0
        if not count:
            raise CacheError(f"{file.name!s}: shorter than when it was opened. {part.REPAIR}")
        begin, left = begin + count, left[count:]


def open_raw(path: Path) -> FileIO:
    """Open a part without HDF5.

    Parameters
    ----------
    path : pathlib.Path
        The part.

    Returns
    -------
    io.FileIO
        Without a buffer.

    Raises
    ------
    CacheError
        If it is not there.
    """
    try:
        return FileIO(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CacheError(f"{path}: not readable ({reason}). {part.REPAIR}") from error


def _blocks(
    path: Path, index: Index, found: Array, stream: str, arrays: Sequence[str]
) -> Iterator[Array]:
    """Yield arrays of clips of one part, in the order asked for."""
    facts = index.parts[path.name]
    rows = index.rows[found]
    first, last = int(rows.min()), int(rows.max()) + 1
    with open_raw(path) as file:
        if matches_file(file, facts):
            for name in arrays:
                begin, kind, shape = facts["places"][f"{stream}/{name}"]
                block = np.empty((last - first, *shape[1:]), kind)
                read_into(file, begin + first * block[0].nbytes, block)
                whole = len(rows) == len(block) and bool((np.diff(rows) == 1).all())
                yield block if whole else block[rows - first]
            return
    with part.open_part(path) as content:
        rows = np.array(part.rows_of(content, list(index.table["clip_id"].iloc[found])))
        for name in arrays:
            yield content["streams"][stream][name][:][rows]
