"""Random access to segments of frames of many clips, for training; without HDF5."""

import os
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cache import part, reader
from probekit.cache.index import Index
from probekit.errors import CacheError

Integers = npt.NDArray[np.int64]
_MAX_OPEN = 256  # parts that are open at once


class Crops:
    """Reader of segments of frames; created by :meth:`probekit.cache.embeddings.Embeddings.crops`.

    It can be pickled, and then reopens the parts where it is used. Not thread-safe. Parts are
    closed with it.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the parts.
    index : Index
        Of that folder.
    positions : numpy.ndarray, shape (clips,)
        The clips' rows of ``index.table``.
    stream : str
        A stream with stored frames.
    grid : dict
        Its ``dim`` and ``hop``.
    seconds : float > 0
        Length of a segment.
    dtype : str
        Type of the returned numbers.

    Attributes
    ----------
    frames : int
        Frames of a segment: ``seconds`` divided by the hop, rounded, at least 1.
    hop : float
        Seconds from one frame to the next.
    counts : numpy.ndarray, shape (clips,)
        Frames of each clip.
    """

    def __init__(
        self,
        folder: Path,
        index: Index,
        positions: Integers,
        stream: str,
        grid: dict[str, Any],
        seconds: float,
        dtype: str,
    ) -> None:
        if not seconds > 0:
            raise CacheError(f"crop length must be > 0 s, got {seconds}")
        self.folder = folder
        self.stream = stream
        self.dtype = np.dtype(dtype)
        self.dim = int(grid["dim"])
        self.hop = float(Fraction(grid["hop"]))
        self.frames = max(1, round(seconds / self.hop))
        codes, self._names = index.part_codes
        self._codes = codes[positions]
        self._ids = index.table["clip_id"].to_numpy(object)[positions]
        self._facts = [index.parts[name] for name in self._names]
        self._first = np.zeros(len(positions), np.int64)  # clip's first frame among its part's
        self.counts = np.zeros(len(positions), np.int64)
        self._data: dict[int, tuple[int, str]] = {}  # part to offset of its frames, type
        self._reset_handles()
        for code, clips in reader.group_by_part(index, positions):
            self._load_offsets(code, clips, index.rows[positions[clips]])

    def __len__(self) -> int:
        return len(self.counts)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset_handles()

    def _reset_handles(self) -> None:
        """Start with no part open; those opened later are closed when this reader is collected."""
        self._open: OrderedDict[int, FileIO] = OrderedDict()
        weakref.finalize(self, _close, self._open)

    def random(
        self, clips: Sequence[int] | Integers, rng: np.random.Generator
    ) -> tuple[Array, Integers]:
        """Return one segment of each clip, from a random position in it.

        Parameters
        ----------
        clips : sequence of int
            Positions in the list of clips that the reader was created for.
        rng : numpy.random.Generator
            Draws the first frames, uniformly among those at which the segment fits.

        Returns
        -------
        frames : numpy.ndarray, shape (clips, frames, dim)
            As from :meth:`read`.
        first : numpy.ndarray, shape (clips,)
            The first frame of each; it begins ``first · hop`` seconds after the clip's first
            frame.
        """
        spare = np.maximum(self.counts[np.asarray(clips)] - self.frames, 0)
        first = rng.integers(spare + 1)
        return self.read(clips, first), first

    def read(self, clips: Sequence[int] | Integers, first: Sequence[int] | Integers) -> Array:
        """Return one segment of each clip.

        Parameters
        ----------
        clips : sequence of int
            Positions in the list of clips that the reader was created for.
        first : sequence of int
            The first frame of each.

        Returns
        -------
        numpy.ndarray, shape (clips, frames, dim)
            Padded with zeros after a clip's end; :attr:`counts` holds the clips' lengths.

        Raises
        ------
        CacheError
            If a part is damaged or missing.
        """
        batch = np.empty((len(clips), self.frames, self.dim), self.dtype)
        for out, clip, start in zip(batch, clips, first, strict=True):
            code = int(self._codes[clip])
            file = self._file(code)  # first: it may move the clip
            count = max(0, min(self.frames, int(self.counts[clip]) - int(start)))
            data, kind = self._data[code]
            out[count:] = 0
            size = np.dtype(kind).itemsize * self.dim
            offset = data + (int(self._first[clip]) + int(start)) * size
            if kind == out.dtype.str:
                reader.read_into(file, offset, out[:count])
            else:
                stored = np.empty((count, self.dim), kind)
                reader.read_into(file, offset, stored)
                out[:count] = stored
        return batch

    def _file(self, code: int) -> FileIO:
        """Return an open part; the least recently used ones are closed."""
        file = self._open.get(code)
        if file is not None:
            self._open.move_to_end(code)
            return file
        file = reader.open_raw(self.folder / self._names[code])
        if not reader.matches_file(file, self._facts[code]):
            file.close()
            self._refresh(code)
            return self._file(code)
        if hasattr(os, "posix_fadvise"):  # else the system reads megabytes around each segment
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        self._open[code] = file
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return file

    def _refresh(self, code: int) -> None:
        """Look up the clips of a rewritten part."""
        path = self.folder / self._names[code]
        clips = np.flatnonzero(self._codes == code)
        stat = path.stat()
        with part.open_part(path) as content:
            rows = np.array(part.find_rows(content, list(self._ids[clips])), np.int64)
            arrays = part.array_offsets(content)
        self._facts[code] = {"size": stat.st_size, "mtime": stat.st_mtime_ns, "places": arrays}
        self._load_offsets(code, clips, rows)

    def _load_offsets(self, code: int, clips: Integers, rows: Integers) -> None:
        """Read where the frames of a part's clips lie; ``rows`` are the clips' rows in the part."""
        arrays = self._facts[code]["places"]
        begin, kind, shape = arrays[f"{self.stream}/offset"]
        offset = np.empty(shape, kind)
        with reader.open_raw(self.folder / self._names[code]) as file:
            if not reader.matches_file(file, self._facts[code]):
                self._refresh(code)
                return
            reader.read_into(file, begin, offset)
        self._first[clips] = offset[rows]
        self.counts[clips] = offset[rows + 1] - offset[rows]
        if f"{self.stream}/frames" in arrays:  # else none of its clips has any
            begin, kind, _ = arrays[f"{self.stream}/frames"]
            self._data[code] = (begin, kind)
        else:
            self._data[code] = (0, self.dtype.str)


def _close(files: OrderedDict[int, FileIO]) -> None:
    while files:
        files.popitem()[1].close()
