"""The sound of a task's clips at one rate: decoded once, kept in one file, read at random."""

import errno
import hashlib
import mmap
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit import runtime
from probekit.cache import lock
from probekit.distill import decoding
from probekit.distill.decoding import FULL, Progress
from probekit.errors import CacheError, DataError
from probekit.manifest import Manifest
from probekit.registry import unknown

Array = npt.NDArray[Any]


class Sound:
    """Mono waveforms of many clips at one rate, in one memory-mapped file.

    Made by :meth:`open`. Any number of threads may read.

    Parameters
    ----------
    path : pathlib.Path
        The file of samples.
    table : pandas.DataFrame
        Where each clip is, as :meth:`probekit.distill.decoding.Build.table` says.
    rate : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        How samples are stored.

    Attributes
    ----------
    ids : list of str
        The clips; everywhere in :mod:`probekit.distill`, clips are named by their place in it.
    lengths : numpy.ndarray of int64, shape (clips,)
        Samples of each; 0 where there is none.
    failures : dict of str to str
        Clips that could not be decoded, with the reason.
    digest : str
        SHA-256 of the samples of all clips: the same wherever the recordings lie, and whenever
        they were decoded.
    """

    def __init__(self, path: Path, table: pd.DataFrame, rate: int, dtype: str) -> None:
        self.path, self.rate, self.dtype = path, rate, dtype
        self.ids = [str(clip_id) for clip_id in table["clip_id"]]
        self.lengths = table["samples"].to_numpy(np.int64)
        self.digest = _digest(table, rate, dtype)
        bad = table[table["reason"] != ""]
        self.failures = dict(zip(bad["clip_id"], bad["reason"], strict=True))
        self._begin = table["begin"].to_numpy(np.int64)
        self._scale = (table["gain"].to_numpy(np.float64) / FULL[dtype]).astype(np.float32)

    @classmethod
    def open(
        cls,
        clips: Manifest,
        rate: int,
        where: Path,
        *,
        dtype: str = "int16",
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> "Sound":
        """Return the sound of a manifest's clips; decode it first where that was not done yet.

        What is kept belongs to these very recordings (their sizes and times of change), stretches,
        rate and type. Where recordings changed, all are decoded again, and what was kept of them
        before is removed then. A build that was killed goes on where it was.

        Parameters
        ----------
        clips : Manifest
            Whose sound; its ``root`` says where the recordings are.
        rate : int > 0
            Sample rate in Hz.
        where : pathlib.Path
            A folder; made if it is not there. The file in it takes 2 or 4 bytes a sample: 29 s at
            16,000 Hz are 0.9 MB or 1.9 MB.
        dtype : {"int16", "float32"}
            How samples are stored. 16 bits give back 16-bit recordings of the same rate exactly,
            and others within 2**-16 of full scale; a clip that passes full scale is stored smaller.
        jobs : int >= 1, optional
            Threads that decode; by default one a processor core.
        progress : callable, optional
            Called with how many clips are done, of how many.

        Returns
        -------
        Sound
            Recordings that cannot be decoded are among its :attr:`failures`.

        Raises
        ------
        DataError
            If no clip could be decoded.
        CacheError
            If the disk has no room, or the folder cannot be written.
        """
        if dtype not in FULL:
            raise unknown("type of stored sound", dtype, FULL)
        wanted = decoding.listed(clips)
        key = decoding.key(clips.name, wanted, rate, dtype)
        build = decoding.Build(where, key, wanted, rate, dtype)
        try:
            where.mkdir(parents=True, exist_ok=True)
            table = build.table()
            if table is None:
                with lock.writing(where):
                    table = build.table()  # another process may have made it meanwhile
                    if table is None:
                        table = build.run(jobs or runtime.cpu_count(), progress)
        except OSError as error:
            again = "Run the same command again when there is room: what is decoded is kept"
            raise CacheError(
                f"{where}: the sound of {clips.name} cannot be kept there "
                f"({(error.strerror or str(error)).lower()})"
                + (f". {again}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "")
            ) from error
        sound = cls(build.path, table, rate, dtype)
        if len(sound.failures) == len(sound.ids):
            first = sound.ids[0]
            raise DataError(
                f"{clips.name}: none of the {len(sound.ids)} recordings in {clips.root} could be "
                f"decoded, for example that of {first!r}: {sound.failures[first]}"
            )
        return sound

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Duration of each clip, in seconds, shape (clips,)."""
        return self.lengths / self.rate

    @cached_property
    def _map(self) -> mmap.mmap:
        """The file, mapped into memory; not empty, since some clip is decoded."""
        with self.path.open("rb") as file:
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):  # else the system reads megabytes around each stretch
            held.madvise(mmap.MADV_RANDOM)
        return held

    def crops(
        self, clips: npt.ArrayLike, starts: npt.ArrayLike, samples: int
    ) -> npt.NDArray[np.float32]:
        """Return stretches of clips.

        Parameters
        ----------
        clips : array_like of int, shape (n,)
            Which clips, by their place in :attr:`ids`.
        starts : array_like of int >= 0, shape (n,)
            The first sample of each.
        samples : int >= 1
            Length of a stretch.

        Returns
        -------
        numpy.ndarray, shape (n, samples), float32
            Full scale is 1.0; zeros follow where a clip ends before.

        Raises
        ------
        ValueError
            If a stretch begins before its clip.
        """
        clips, starts = np.asarray(clips, np.int64), np.asarray(starts, np.int64)
        if (starts < 0).any():
            raise ValueError(f"a stretch begins {-starts.min()} samples before its clip")
        counts = np.clip(self.lengths[clips] - starts, 0, samples)
        begins = np.where(counts > 0, self._begin[clips] + starts, 0)
        self._fetch(begins, counts)
        stored = np.frombuffer(self._map, self.dtype)
        batch = np.empty((len(clips), samples), np.float32)
        for row, begin, count, scale in zip(batch, begins, counts, self._scale[clips], strict=True):
            # leaves Python's lock alone, also while it waits for the disk
            np.multiply(stored[begin : begin + count], scale, out=row[:count])
            row[count:] = 0
        return batch

    def _fetch(self, begins: Array, counts: Array) -> None:
        """Have the disk read all stretches at once, each in one piece."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        item = np.dtype(self.dtype).itemsize
        pages = begins * item // mmap.PAGESIZE * mmap.PAGESIZE
        for page, end in zip(pages.tolist(), ((begins + counts) * item).tolist(), strict=True):
            if end > page:
                self._map.madvise(mmap.MADV_WILLNEED, page, end - page)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_map"}


def _digest(table: pd.DataFrame, rate: int, dtype: str) -> str:
    """Return the SHA-256 over the clips' own."""
    sha = hashlib.sha256(f"{rate} {dtype}\n".encode())
    for clip_id, own in zip(table["clip_id"], table["sha256"], strict=True):
        sha.update(f"{clip_id}\0{own}\n".encode())
    return sha.hexdigest()
