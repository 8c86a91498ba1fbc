"""Decoded audio of a task's clips in one memory-mapped file, for random access."""

import errno
import hashlib
import json
import math
import mmap
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit._typing import Array
from probekit.audio import archives, recording
from probekit.audio.duration import mean_duration
from probekit.data.manifest import Manifest
from probekit.errors import AudioError, CacheError, DataError
from probekit.parallel import resources
from probekit.utils import atomic, locking, prefetch
from probekit.utils.suggest import unknown_name_error

Progress = Callable[[int, int], None]

FULL_SCALE = {"int16": 32768.0, "float32": 1.0}
"""Stored value of an amplitude of 1.0, for each storage type."""
_COMMIT_BYTES = 64 << 20  # decoded bytes after which the journal is written
_RESERVED_BYTES = 64 << 20  # disk space that is left free


@dataclass(frozen=True)
class ClipFile:
    """A clip's segment of a recording, and what tells whether the recording changed.

    ``start`` and ``end`` are seconds, or None; ``size`` is in bytes and ``mtime`` in nanoseconds,
    -1 and 0 if the recording is missing.
    """

    clip_id: str
    path: Path
    start: float | None
    end: float | None
    size: int
    mtime: int


def list_clip_files(clips: Manifest) -> list[ClipFile]:
    """Return the clips of a manifest with its ``root``, in the same order."""
    root = clips.root or Path()
    stats: dict[str, tuple[int, int]] = {}
    files = []
    columns = (clips.table[name].tolist() for name in ("clip_id", "path", "start", "end"))
    for clip_id, path, start, end in zip(*columns, strict=True):
        if path not in stats:
            try:
                stat = archives.stat(root / path)
                stats[path] = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                stats[path] = (-1, 0)
        start, end = (None if math.isnan(seconds) else seconds for seconds in (start, end))
        files.append(ClipFile(clip_id, root / path, start, end, *stats[path]))
    return files


def store_key(name: str, clips: list[ClipFile], sr: int, dtype: str) -> str:
    """Return the name of a store's files, two times 16 hexadecimal digits.

    The first half hashes the dataset's name, ids, segments, sample rate and type; the second half
    the recordings' sizes and modification times, so that changed recordings are decoded again.
    """
    content = hashlib.sha256(json.dumps(["sound", 2, name, sr, dtype]).encode())
    state = hashlib.sha256()
    for clip in clips:
        content.update(json.dumps([clip.clip_id, clip.start, clip.end]).encode())
        state.update(json.dumps([clip.size, clip.mtime]).encode())
    return f"{content.hexdigest()[:16]}-{state.hexdigest()[:16]}"


@dataclass(frozen=True)
class AudioStoreBuilder:
    """Decodes clips into the files of an :class:`AudioStore`; an interrupted build is resumed.

    One file holds the samples of all clips in order; a table beside it, written last, holds their
    offsets. While the file grows, a journal lists the clips whose samples have reached the disk.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the files.
    key : str
        From :func:`store_key`.
    clips : list of ClipFile
        Clips to decode.
    sr : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        Storage type.
    """

    folder: Path
    key: str
    clips: list[ClipFile]
    sr: int
    dtype: str

    @property
    def samples_path(self) -> Path:
        """Samples of all clips, one clip after the other."""
        return self.folder / f"sound-{self.key}.raw"

    @property
    def index_path(self) -> Path:
        """Table of the clips, written last."""
        return self.folder / f"sound-{self.key}.parquet"

    @property
    def partial_path(self) -> Path:
        """Samples of an unfinished build."""
        return self.samples_path.with_suffix(".growing")

    @property
    def journal_path(self) -> Path:
        """Rows of the table whose samples have reached the disk, as JSON lines."""
        return self.samples_path.with_suffix(".journal")

    def load_index(self) -> pd.DataFrame | None:
        """Return the table of a finished build, or None.

        Its columns: ``clip_id``, ``begin`` (first sample in the file), ``samples`` (number of
        samples), ``gain`` (stored samples are multiplied by it, beyond full scale), ``sha256`` (of
        samples and gain) and ``reason`` (why there are no samples).
        """
        try:
            table = pd.read_parquet(self.index_path)
            size = self.samples_path.stat().st_size
        except (OSError, ValueError):
            return None
        complete = size == int(table["samples"].sum()) * np.dtype(self.dtype).itemsize
        return table if complete else None

    def build(self, threads: int, progress: Progress | None) -> pd.DataFrame:
        """Decode the clips that are not decoded yet, and return the table of all.

        Raises
        ------
        CacheError
            If the disk has no room, as far as headers of the recordings tell.
        OSError
            If the disk is full or not writable.
        """
        rows = self._resume()
        offset = sum(row["samples"] for row in rows)
        remaining = self.clips[len(rows) :]
        self._check_room(remaining)
        with (
            self.partial_path.open("ab") as data,
            self.journal_path.open("a", encoding="utf-8") as journal,
        ):
            data.truncate(offset * np.dtype(self.dtype).itemsize)
            pending: list[dict[str, Any]] = []
            pending_bytes = 0

            def commit() -> None:
                """Flush the samples, then list their clips in the journal."""
                _flush(data)
                journal.writelines(json.dumps(row) + "\n" for row in pending)
                _flush(journal)
                rows.extend(pending)
                pending.clear()

            for clip, (samples, gain, sha256, reason) in prefetch.ordered_map(
                self._decode, remaining, threads
            ):
                pending.append(
                    {
                        "clip_id": clip.clip_id,
                        "begin": offset,
                        "samples": len(samples),
                        "gain": gain,
                        "sha256": sha256,
                        "reason": reason,
                    }
                )
                offset += len(samples)
                data.write(samples.data)
                pending_bytes += samples.nbytes
                if pending_bytes >= _COMMIT_BYTES:
                    commit()
                    pending_bytes = 0
                atomic._test_hook("clip-decoded")
                if progress:
                    progress(len(rows) + len(pending), len(self.clips))
            commit()
        self.partial_path.replace(self.samples_path)
        table = pd.DataFrame(rows)
        atomic.atomic_write(self.index_path, lambda path: table.to_parquet(path, index=False))
        self.journal_path.unlink(missing_ok=True)
        self._remove_outdated()
        return table

    def _remove_outdated(self) -> None:
        """Remove the files of the same clips from before their recordings changed."""
        content = self.key.partition("-")[0]
        for path in self.folder.glob(f"sound-{content}-*"):
            if path.stem != self.samples_path.stem:
                with suppress(OSError):  # some systems keep a file that another process reads
                    path.unlink()

    def _resume(self) -> list[dict[str, Any]]:
        """Return the rows that an interrupted build has in its journal."""
        if self.samples_path.exists() and not self.partial_path.exists():
            self.samples_path.replace(self.partial_path)  # killed before the table was written
        try:
            stored = self.partial_path.stat().st_size // np.dtype(self.dtype).itemsize
            lines = self.journal_path.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError):
            self.journal_path.unlink(missing_ok=True)
            return []
        rows: list[dict[str, Any]] = []
        size = 0
        for line, clip in zip(lines, self.clips, strict=False):
            row = _parse_journal_line(line)
            if row.get("clip_id") != clip.clip_id or row["begin"] + row["samples"] > stored:
                break
            rows.append(row)
            size += len(line.encode())
        os.truncate(self.journal_path, size)
        return rows

    def _decode(self, clip: ClipFile) -> tuple[Array, float, str, str]:
        """Return a clip's stored samples, their gain and hash, or the reason of a failure."""
        try:
            wave = recording.load(clip.path, self.sr, start=clip.start, end=clip.end).wave
        except AudioError as error:
            return np.zeros(0, self.dtype), 1.0, "", str(error).removeprefix(f"{clip.path}: ")
        if self.dtype == "float32":
            return wave, 1.0, _hash_samples(wave, 1.0), ""
        full = FULL_SCALE[self.dtype]
        gain = max(1.0, float(wave.max()) * full / (full - 1), -float(wave.min()))
        scaled = np.rint(wave * np.float32(full / gain)).clip(-full, full - 1)
        samples = scaled.astype(np.int16)
        return samples, gain, _hash_samples(samples, gain), ""

    def _check_room(self, clips: list[ClipFile]) -> None:
        """Raise if the disk has no room for some clips, as far as headers tell."""
        segments = [(clip.path, clip.start, clip.end) for clip in clips]
        duration = mean_duration(segments, unreadable=0.0)
        if duration is None:
            return
        size = len(clips) * duration * self.sr * np.dtype(self.dtype).itemsize
        free = shutil.disk_usage(self.folder).free
        if size + _RESERVED_BYTES > free:
            hint = "" if self.dtype == "int16" else ", store 16-bit samples"
            raise CacheError(
                f"{self.folder}: the audio of {len(clips):,} clips at {self.sr:,} Hz takes about "
                f"{size / 1e9:.1f} GB as {self.dtype}, but only {free / 1e9:.1f} GB are free. Free "
                f"some space{hint}, or choose another folder with --cache"
            )


def _parse_journal_line(line: str) -> dict[str, Any]:
    """Return the row of a journal's line; empty if the line is cut off or damaged."""
    try:
        row = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _hash_samples(samples: Array, gain: float) -> str:
    """Return the SHA-256 of a clip's stored samples and gain."""
    sha = hashlib.sha256(samples.data)
    sha.update(repr(gain).encode())
    return sha.hexdigest()


def _flush(file: Any) -> None:
    """Flush a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


class AudioStore:
    """Mono waveforms of many clips at one sample rate, in one memory-mapped file.

    Use :meth:`open`. Any number of threads may read.

    Parameters
    ----------
    path : pathlib.Path
        File of samples.
    table : pandas.DataFrame
        From :meth:`AudioStoreBuilder.load_index`.
    sr : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        Storage type.

    Attributes
    ----------
    clip_ids : list of str
        The clips. In :mod:`probekit.training` a clip's *row* is its position in this list.
    lengths : numpy.ndarray of int64, shape (clips,)
        Number of samples; 0 for clips that could not be decoded.
    failures : dict of str to str
        Clips that could not be decoded, with the reason.
    digest : str
        SHA-256 over the samples of all clips; independent of where the recordings are.
    """

    def __init__(self, path: Path, table: pd.DataFrame, sr: int, dtype: str) -> None:
        self.path = path
        self.sr = sr
        self.dtype = dtype
        self._table = table
        self.clip_ids = [str(clip_id) for clip_id in table["clip_id"]]
        self.lengths = table["samples"].to_numpy(np.int64)
        self.digest = _digest(table, sr, dtype)
        failed = table[table["reason"] != ""]
        self.failures = dict(zip(failed["clip_id"], failed["reason"], strict=True))
        self._offsets = table["begin"].to_numpy(np.int64)
        self._scale = (table["gain"].to_numpy(np.float64) / FULL_SCALE[dtype]).astype(np.float32)

    @classmethod
    def open(
        cls,
        clips: Manifest,
        sr: int,
        folder: Path,
        *,
        dtype: str = "int16",
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> "AudioStore":
        """Return the store of a manifest's clips; decode them first if necessary.

        Stored audio belongs to these recordings (sizes and modification times), segments, sample
        rate and type. If a recording changed, all are decoded again and the old files are removed.
        An interrupted build is resumed.

        Parameters
        ----------
        clips : Manifest
            Clips, with the ``root`` of their recordings.
        sr : int > 0
            Sample rate in Hz.
        folder : pathlib.Path
            Folder of the store, created if missing. A sample takes 2 or 4 bytes: 29 s at 16,000 Hz
            are 0.9 MB or 1.9 MB.
        dtype : {"int16", "float32"}
            Storage type. int16 is exact for 16-bit recordings of the same sample rate, and within
            2**-16 of full scale for others; clips that exceed full scale are scaled down.
        jobs : int >= 1, optional
            Decoding threads; by default one per CPU core.
        progress : callable, optional
            Called with the number of decoded clips and of all clips.

        Returns
        -------
        AudioStore
            Recordings that cannot be decoded are in its :attr:`failures`.

        Raises
        ------
        DataError
            If no clip can be decoded.
        CacheError
            If the disk has no room, or the folder cannot be written.
        """
        if dtype not in FULL_SCALE:
            raise unknown_name_error("type of stored sound", dtype, FULL_SCALE)
        files = list_clip_files(clips)
        builder = AudioStoreBuilder(
            folder, store_key(clips.name, files, sr, dtype), files, sr, dtype
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table = builder.load_index()
            if table is None:
                with locking.write_lock(folder):
                    table = builder.load_index()  # another process may have built it meanwhile
                    if table is None:
                        table = builder.build(jobs or resources.cpu_count(), progress)
        except OSError as error:
            hint = ". Run the same command again when there is room: decoded clips are saved"
            raise CacheError(
                f"{folder}: the decoded audio of {clips.name} cannot be stored "
                f"({(error.strerror or str(error)).lower()})"
                + (hint if error.errno in (errno.ENOSPC, errno.EDQUOT) else "")
            ) from error
        store = cls(builder.samples_path, table, sr, dtype)
        if len(store.failures) == len(store.clip_ids):
            first = store.clip_ids[0]
            raise DataError(
                f"{clips.name}: none of the {len(store.clip_ids)} recordings in {clips.root} can "
                f"be decoded, for example that of {first!r}: {store.failures[first]}"
            )
        return store

    def subset(self, rows: npt.ArrayLike) -> "AudioStore":
        """Return the store of some of the clips, by rows; it reads the same file."""
        table = self._table.iloc[np.asarray(rows)].reset_index(drop=True)
        return AudioStore(self.path, table, self.sr, self.dtype)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Where each clip is stored; neighbors are read together, shape (clips,)."""
        return self._offsets

    @property
    def hashes(self) -> npt.NDArray[np.str_]:
        """SHA-256 of each clip's samples, shape (clips,); empty where there are none."""
        return np.where(self.lengths > 0, self._table["sha256"].to_numpy(np.str_), "")

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        """Duration of each clip in s, shape (clips,)."""
        return self.lengths / self.sr

    @cached_property
    def _memmap(self) -> mmap.mmap:
        """File of samples mapped into memory; not empty, since a clip was decoded."""
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):  # else the system reads megabytes around each crop
            mapped.madvise(mmap.MADV_RANDOM)
        return mapped

    def crops(
        self, rows: npt.ArrayLike, starts: npt.ArrayLike, length: int
    ) -> npt.NDArray[np.float32]:
        """Return crops of clips.

        Parameters
        ----------
        rows : array_like of int, shape (n,)
            Rows of the clips.
        starts : array_like of int >= 0, shape (n,)
            First sample of each crop in its clip.
        length : int >= 1
            Samples per crop.

        Returns
        -------
        numpy.ndarray, shape (n, length), float32
            Full scale is 1.0; zeros after the end of a clip.

        Raises
        ------
        ValueError
            If a start is negative.
        """
        rows, starts = np.asarray(rows, np.int64), np.asarray(starts, np.int64)
        if (starts < 0).any():
            raise ValueError(f"starts must be >= 0, got {starts.min()}")
        counts = np.clip(self.lengths[rows] - starts, 0, length)
        offsets = np.where(counts > 0, self._offsets[rows] + starts, 0)
        self._prefetch_pages(offsets, counts)
        samples = np.frombuffer(self._memmap, self.dtype)
        crops = np.empty((len(rows), length), np.float32)
        for crop, offset, count, scale in zip(
            crops, offsets, counts, self._scale[rows], strict=True
        ):
            # releases Python's lock, also while it waits for the disk
            np.multiply(samples[offset : offset + count], scale, out=crop[:count])
            crop[count:] = 0
        return crops

    def _prefetch_pages(self, offsets: Array, counts: Array) -> None:
        """Have the disk read all segments at once, each in one piece."""
        if not hasattr(mmap, "MADV_WILLNEED"):
            return
        itemsize = np.dtype(self.dtype).itemsize
        pages = offsets * itemsize // mmap.PAGESIZE * mmap.PAGESIZE
        ends = (offsets + counts) * itemsize
        for page, end in zip(pages.tolist(), ends.tolist(), strict=True):
            if end > page:
                self._memmap.madvise(mmap.MADV_WILLNEED, page, end - page)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_memmap"}


def _digest(table: pd.DataFrame, sr: int, dtype: str) -> str:
    """Return the SHA-256 over the hashes of all clips."""
    sha = hashlib.sha256(f"{sr} {dtype}\n".encode())
    for clip_id, clip_hash in zip(table["clip_id"], table["sha256"], strict=True):
        sha.update(f"{clip_id}\0{clip_hash}\n".encode())
    return sha.hexdigest()
