"""Stretches of frames of many clips, for training: random access without HDF5."""

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

Places = npt.NDArray[np.int64]
_OPEN = 256  # parts that are held open at once


class Crops:
    """A reader of stretches of frames; made by :meth:`Embeddings.crops`.

    It can be pickled, and then opens the parts again where it is used. One thread at a time may
    use it. Parts are closed with it.

    Parameters
    ----------
    where : pathlib.Path
        The folder of the parts.
    index : Index
        Of that folder.
    found : numpy.ndarray, shape (clips,)
        Where the clips stand in the index.
    stream : str
        A stream of which frames are kept.
    grid : dict
        Its ``dim`` and ``hop``.
    seconds : float > 0
        Length of a stretch.
    dtype : str
        Type of the numbers.

    Attributes
    ----------
    frames : int
        Frames of a stretch: ``seconds`` divided by the hop, rounded, at least 1.
    hop : float
        Seconds from one frame to the next.
    counts : numpy.ndarray, shape (clips,)
        Frames of each whole clip.
    """

    def __init__(
        self,
        where: Path,
        index: Index,
        found: Places,
        stream: str,
        grid: dict[str, Any],
        seconds: float,
        dtype: str,
    ) -> None:
        if not seconds > 0:
            raise CacheError(f"crops of {seconds} s: longer than nothing is needed")
        self.where = where
        self.stream = stream
        self.dtype = np.dtype(dtype)
        self.dim = int(grid["dim"])
        self.hop = float(Fraction(grid["hop"]))
        self.frames = max(1, round(seconds / self.hop))
        codes, self._names = index.part_codes
        self._home = codes[found]
        self._ids = index.table["clip_id"].to_numpy(object)[found]
        self._facts = [index.parts[name] for name in self._names]
        self._begin = np.zeros(len(found), np.int64)  # of a clip's first frame among its part's
        self.counts = np.zeros(len(found), np.int64)
        self._data: dict[int, tuple[int, str]] = {}  # part to the first byte of its frames, type
        self._open_parts()
        for code, places in reader.by_part(index, found):
            self._load_offsets(code, places, index.rows[found[places]])

    def __len__(self) -> int:
        return len(self.counts)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_open"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open_parts()

    def _open_parts(self) -> None:
        """Begin with no part open; those that will be are closed when this reader goes."""
        self._open: OrderedDict[int, FileIO] = OrderedDict()
        weakref.finalize(self, _close, self._open)

    def random(
        self, places: Sequence[int] | Places, rng: np.random.Generator
    ) -> tuple[Array, Places]:
        """Return one stretch of each clip, from a random place in it.

        Parameters
        ----------
        places : sequence of int
            Which clips, by their place in the list that the reader was made for.
        rng : numpy.random.Generator
            Draws the places; every one at which the stretch fits is as likely.

        Returns
        -------
        frames : numpy.ndarray, shape (clips, frames, dim)
            As :meth:`read` gives them.
        first : numpy.ndarray, shape (clips,)
            The first frame of each; it begins ``first · hop`` seconds later than the clip's own
            first frame.
        """
        spare = np.maximum(self.counts[np.asarray(places)] - self.frames, 0)
        first = rng.integers(spare + 1)
        return self.read(places, first), first

    def read(self, places: Sequence[int] | Places, first: Sequence[int] | Places) -> Array:
        """Return one stretch of each clip.

        Parameters
        ----------
        places : sequence of int
            Which clips, by their place in the list that the reader was made for.
        first : sequence of int
            The first frame of each.

        Returns
        -------
        numpy.ndarray, shape (clips, frames, dim)
            Zeros follow where a clip ends before; :attr:`counts` says how long it is.

        Raises
        ------
        CacheError
            If a part is damaged or gone.
        """
        batch = np.empty((len(places), self.frames, self.dim), self.dtype)
        for into, place, start in zip(batch, places, first, strict=True):
            file = self._file(int(self._home[place]))  # first: it may move the clip
            count = max(0, min(self.frames, int(self.counts[place]) - int(start)))
            data, kind = self._data[int(self._home[place])]
            into[count:] = 0
            size = np.dtype(kind).itemsize * self.dim
            begin = data + (int(self._begin[place]) + int(start)) * size
            if kind == into.dtype.str:
                reader.read_into(file, begin, into[:count])
            else:
                stored = np.empty((count, self.dim), kind)
                reader.read_into(file, begin, stored)
                into[:count] = stored
        return batch

    def _file(self, code: int) -> FileIO:
        """Return a part, open; the ones used least lately are closed."""
        file = self._open.get(code)
        if file is not None:
            self._open.move_to_end(code)
            return file
        file = reader.open_raw(self.where / self._names[code])
        if not reader.matches_file(file, self._facts[code]):
            file.close()
            self._refresh(code)
            return self._file(code)
        if hasattr(os, "posix_fadvise"):  # else the system reads megabytes around each stretch
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        self._open[code] = file
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)[1].close()
        return file

    def _refresh(self, code: int) -> None:
        """Find the clips of a part again that was written anew."""
        path = self.where / self._names[code]
        places = np.flatnonzero(self._home == code)
        stat = path.stat()
        with part.open_part(path) as content:
            rows = np.array(part.rows_of(content, list(self._ids[places])), np.int64)
            held = part.array_offsets(content)
        self._facts[code] = {"size": stat.st_size, "mtime": stat.st_mtime_ns, "places": held}
        self._load_offsets(code, places, rows)

    def _load_offsets(self, code: int, places: Places, rows: Places) -> None:
        """Note where the frames of a part's clips lie; ``rows`` are theirs in the part."""
        held = self._facts[code]["places"]
        begin, kind, shape = held[f"{self.stream}/offset"]
        offset = np.empty(shape, kind)
        with reader.open_raw(self.where / self._names[code]) as file:
            if not reader.matches_file(file, self._facts[code]):
                self._refresh(code)
                return
            reader.read_into(file, begin, offset)
        self._begin[places] = offset[rows]
        self.counts[places] = offset[rows + 1] - offset[rows]
        if f"{self.stream}/frames" in held:  # else none of its clips has any
            begin, kind, _ = held[f"{self.stream}/frames"]
            self._data[code] = (begin, kind)
        else:
            self._data[code] = (0, self.dtype.str)


def _close(files: OrderedDict[int, FileIO]) -> None:
    while files:
        files.popitem()[1].close()
