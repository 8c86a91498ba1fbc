"""The sound of a task's clips at one rate: decoded once, kept in one file, read at random."""

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
from probekit.audio import recording as recording_module
from probekit.data.manifest import Manifest
from probekit.errors import AudioError, CacheError, DataError
from probekit.parallel import resources
from probekit.utils import atomic, locking, prefetch
from probekit.utils.suggest import unknown_name_error

Progress = Callable[[int, int], None]

FULL = {"int16": 32768.0, "float32": 1.0}
"""What full scale, 1.0, becomes in each type of storage."""
_SETTLE = 64 << 20  # bytes after which finished clips are noted, and are not done again
_SAMPLE = 200  # recordings whose headers tell about how much there is to decode
_SPARE = 64 << 20  # bytes of the disk that are left alone


@dataclass(frozen=True)
class AudioRow:
    """One clip to decode.

    Attributes
    ----------
    clip_id : str
        Its id.
    path : pathlib.Path
        The recording.
    start, end : float or None
        The stretch, in seconds.
    size, mtime : int
        Bytes, and time of change in nanoseconds; -1 and 0 where the recording is not there.
    """

    clip_id: str
    path: Path
    start: float | None
    end: float | None
    size: int
    mtime: int


@dataclass(frozen=True)
class AudioStoreBuilder:
    """Where one sound is kept, and how it comes there.

    The samples of all clips stand in one file, in the order of the clips; a table beside it says
    where each begins, and is written last. A journal says which samples have reached the disk: a
    build that is killed goes on behind them.

    Attributes
    ----------
    where : pathlib.Path
        The folder.
    key : str
        Of :func:`key`.
    clips : list of Clip
        Whose sound.
    rate : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        How samples are stored.
    """

    where: Path
    key: str
    clips: list[AudioRow]
    rate: int
    dtype: str

    @property
    def path(self) -> Path:
        """The samples, one clip after the other."""
        return self.where / f"sound-{self.key}.raw"

    @property
    def index(self) -> Path:
        """The clips' places; written last."""
        return self.where / f"sound-{self.key}.parquet"

    @property
    def partial_path(self) -> Path:
        """The samples as long as not all are there."""
        return self.path.with_suffix(".growing")

    @property
    def journal(self) -> Path:
        """What is known of the clips whose samples have reached the disk; one line a clip."""
        return self.path.with_suffix(".journal")

    def load_index(self) -> pd.DataFrame | None:
        """Return where each clip is, or None where the sound is not there, or not whole.

        Returns
        -------
        pandas.DataFrame or None
            One row a clip: ``clip_id``, ``begin`` (its first sample in the file), ``samples``,
            ``gain`` (what stored samples are multiplied by, beyond full scale), ``sha256`` (of
            both) and ``reason`` (why there is nothing of it).
        """
        try:
            table = pd.read_parquet(self.index)
            held = self.path.stat().st_size
        except (OSError, ValueError):
            return None
        whole = held == int(table["samples"].sum()) * np.dtype(self.dtype).itemsize
        return table if whole else None

    def run(self, threads: int, progress: Progress | None) -> pd.DataFrame:
        """Decode what is not decoded yet.

        Parameters
        ----------
        threads : int >= 1
            How many clips are decoded at once.
        progress : callable or None
            Called with how many clips are done, of how many.

        Returns
        -------
        pandas.DataFrame
            As :meth:`load_index`.

        Raises
        ------
        CacheError
            If headers tell that the disk has no room.
        OSError
            If it has none after all, or cannot be written.
        """
        rows = self._resumed()
        samples = sum(row["samples"] for row in rows)
        todo = self.clips[len(rows) :]
        self._check_room(todo)
        with (
            self.partial_path.open("ab") as data,
            self.journal.open("a", encoding="utf-8") as notes,
        ):
            data.truncate(samples * np.dtype(self.dtype).itemsize)
            fresh: list[dict[str, Any]] = []
            unsettled = 0

            def settle() -> None:
                """Note what is on the disk for sure."""
                _flush(data)
                notes.writelines(json.dumps(row) + "\n" for row in fresh)
                _flush(notes)
                rows.extend(fresh)
                fresh.clear()

            for clip, (stored, gain, sha256, reason) in prefetch.ordered_map(
                self._decoded, todo, threads
            ):
                fresh.append(
                    {
                        "clip_id": clip.clip_id,
                        "begin": samples,
                        "samples": len(stored),
                        "gain": gain,
                        "sha256": sha256,
                        "reason": reason,
                    }
                )
                samples += len(stored)
                data.write(stored.data)
                unsettled += stored.nbytes
                if unsettled >= _SETTLE:
                    settle()
                    unsettled = 0
                atomic._test_hook("clip-decoded")
                if progress:
                    progress(len(rows) + len(fresh), len(self.clips))
            settle()
        self.partial_path.replace(self.path)
        table = pd.DataFrame(rows)
        atomic.atomic_write(self.index, lambda aside: table.to_parquet(aside, index=False))
        self.journal.unlink(missing_ok=True)
        self._supersede()
        return table

    def _supersede(self) -> None:
        """Remove what was decoded of these clips before their recordings changed."""
        same = self.key.partition("-")[0]
        for path in self.where.glob(f"sound-{same}-*"):
            if path.stem != self.path.stem:
                with suppress(OSError):  # some systems keep a file that another process reads
                    path.unlink()

    def _resumed(self) -> list[dict[str, Any]]:
        """Return what an earlier build, killed or out of room, has noted."""
        if (
            self.path.exists() and not self.partial_path.exists()
        ):  # killed before the index was there
            self.path.replace(self.partial_path)
        try:
            held = self.partial_path.stat().st_size // np.dtype(self.dtype).itemsize
            lines = self.journal.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError):
            self.journal.unlink(missing_ok=True)
            return []
        rows: list[dict[str, Any]] = []
        size = 0
        for line, clip in zip(lines, self.clips, strict=False):
            row = _parse_journal_line(line)
            if row.get("clip_id") != clip.clip_id or row["begin"] + row["samples"] > held:
                break
            rows.append(row)
            size += len(line.encode())
        os.truncate(self.journal, size)
        return rows

    def _decoded(self, clip: AudioRow) -> tuple[Array, float, str, str]:
        """Return a clip as it is stored, what to multiply it by, their hash, or why not."""
        try:
            wave = recording_module.load(clip.path, self.rate, start=clip.start, end=clip.end).wave
        except AudioError as error:
            return np.zeros(0, self.dtype), 1.0, "", str(error).removeprefix(f"{clip.path}: ")
        if self.dtype == "float32":
            return wave, 1.0, _hash(wave, 1.0), ""
        full = FULL[self.dtype]
        gain = max(1.0, float(wave.max()) * full / (full - 1), -float(wave.min()))
        scaled = np.rint(wave * np.float32(full / gain)).clip(-full, full - 1)
        stored = scaled.astype(np.int16)
        return stored, gain, _hash(stored, gain), ""

    def _check_room(self, todo: list[AudioRow]) -> None:
        """Refuse to begin what the disk has no room for, as far as headers tell."""
        chosen = np.unique(np.linspace(0, len(todo) - 1, min(_SAMPLE, len(todo))).astype(int))
        known = [s for k in chosen if (s := _seconds(todo[k])) is not None]
        if not known:
            return
        about = len(todo) * sum(known) / len(known) * self.rate * np.dtype(self.dtype).itemsize
        free = shutil.disk_usage(self.where).free
        if about + _SPARE > free:
            hint = "" if self.dtype == "int16" else ", store 16-bit samples"
            raise CacheError(
                f"{self.where}: the sound of {len(todo):,} clips at {self.rate:,} Hz takes about "
                f"{about / 1e9:.1f} GB as {self.dtype}; {free / 1e9:.1f} GB are free. Make room"
                f"{hint}, or name another folder"
            )


def _parse_journal_line(line: str) -> dict[str, Any]:
    """Return a line of a journal; nothing where it was cut off, or is not one."""
    try:
        row = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def clips_to_decode(clips: Manifest) -> list[AudioRow]:
    """Return a manifest's clips, with what tells whether their recordings change.

    Parameters
    ----------
    clips : Manifest
        With the folder of its recordings.

    Returns
    -------
    list of Clip
        In the same order.
    """
    root = clips.root or Path()
    facts: dict[str, tuple[int, int]] = {}
    found = []
    columns = (clips.table[name].tolist() for name in ("clip_id", "path", "start", "end"))
    for clip_id, path, start, end in zip(*columns, strict=True):
        if path not in facts:
            try:
                stat = (root / path).stat()
                facts[path] = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                facts[path] = (-1, 0)
        first, last = (None if math.isnan(value) else value for value in (start, end))
        found.append(AudioRow(clip_id, root / path, first, last, *facts[path]))
    return found


def store_key(name: str, clips: list[AudioRow], rate: int, dtype: str) -> str:
    """Return the name of a sound's files: which clips these are, and as what they were found.

    Times of change tell cheaply whether to decode again; what comes of it is told by the hashes of
    the samples.

    Parameters
    ----------
    name : str
        What the clips are called together.
    clips : list of Clip
        Whose sound.
    rate : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        How samples are stored.

    Returns
    -------
    str
        Two times 16 hexadecimal digits: of name, ids, stretches, rate and type, which stay, and of
        the recordings' sizes and times of change.
    """
    same = hashlib.sha256(json.dumps(["sound", 2, name, rate, dtype]).encode())
    state = hashlib.sha256()
    for clip in clips:
        same.update(json.dumps([clip.clip_id, clip.start, clip.end]).encode())
        state.update(json.dumps([clip.size, clip.mtime]).encode())
    return f"{same.hexdigest()[:16]}-{state.hexdigest()[:16]}"


def _hash(stored: Array, gain: float) -> str:
    """Return the SHA-256 of a clip's samples."""
    sha = hashlib.sha256(stored.data)
    sha.update(repr(gain).encode())
    return sha.hexdigest()


def _seconds(clip: AudioRow) -> float | None:
    """Return a clip's duration as the manifest or the recording's header has it."""
    if clip.end is not None:
        return clip.end - (clip.start or 0.0)
    try:
        with recording_module.open_audio(clip.path, start=clip.start) as recording:
            return recording.seconds
    except AudioError:
        return 0.0


def _flush(file: Any) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


class AudioStore:
    """Mono waveforms of many clips at one rate, in one memory-mapped file.

    Made by :meth:`open`. Any number of threads may read.

    Parameters
    ----------
    path : pathlib.Path
        The file of samples.
    table : pandas.DataFrame
        Where each clip is, as :meth:`probekit.training.audio_store.AudioStoreBuilder.table` says.
    rate : int > 0
        Sample rate in Hz.
    dtype : {"int16", "float32"}
        How samples are stored.

    Attributes
    ----------
    ids : list of str
        The clips; everywhere in :mod:`probekit.distillation`, clips are named by their place in it.
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
    ) -> "AudioStore":
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
            raise unknown_name_error("type of stored sound", dtype, FULL)
        wanted = clips_to_decode(clips)
        key = store_key(clips.name, wanted, rate, dtype)
        build = AudioStoreBuilder(where, key, wanted, rate, dtype)
        try:
            where.mkdir(parents=True, exist_ok=True)
            table = build.load_index()
            if table is None:
                with locking.write_lock(where):
                    table = build.load_index()  # another process may have made it meanwhile
                    if table is None:
                        table = build.run(jobs or resources.cpu_count(), progress)
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
    def _memmap(self) -> mmap.mmap:
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
        stored = np.frombuffer(self._memmap, self.dtype)
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
                self._memmap.madvise(mmap.MADV_WILLNEED, page, end - page)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_map"}


def _digest(table: pd.DataFrame, rate: int, dtype: str) -> str:
    """Return the SHA-256 over the clips' own."""
    sha = hashlib.sha256(f"{rate} {dtype}\n".encode())
    for clip_id, own in zip(table["clip_id"], table["sha256"], strict=True):
        sha.update(f"{clip_id}\0{own}\n".encode())
    return sha.hexdigest()
