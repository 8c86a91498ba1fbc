"""Clips become one file of samples at one rate, in threads, and through kills."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit import audio
from probekit.cache import commit
from probekit.distill import ahead
from probekit.errors import AudioError, CacheError
from probekit.manifest import Manifest

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]

FULL = {"int16": 32768.0, "float32": 1.0}
"""What full scale, 1.0, becomes in each type of storage."""
_SETTLE = 64 << 20  # bytes after which finished clips are noted, and are not done again
_SAMPLE = 200  # recordings whose headers tell about how much there is to decode
_SPARE = 64 << 20  # bytes of the disk that are left alone


@dataclass(frozen=True)
class Clip:
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
class Build:
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
    clips: list[Clip]
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
    def growing(self) -> Path:
        """The samples as long as not all are there."""
        return self.path.with_suffix(".growing")

    @property
    def journal(self) -> Path:
        """What is known of the clips whose samples have reached the disk; one line a clip."""
        return self.path.with_suffix(".journal")

    def table(self) -> pd.DataFrame | None:
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
            As :meth:`table`.

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
        with self.growing.open("ab") as data, self.journal.open("a", encoding="utf-8") as notes:
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

            for clip, (stored, gain, sha256, reason) in ahead.mapped(self._decoded, todo, threads):
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
                commit.reached("clip-decoded")
                if progress:
                    progress(len(rows) + len(fresh), len(self.clips))
            settle()
        self.growing.replace(self.path)
        table = pd.DataFrame(rows)
        commit.commit(self.index, lambda aside: table.to_parquet(aside, index=False))
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
        if self.path.exists() and not self.growing.exists():  # killed before the index was there
            self.path.replace(self.growing)
        try:
            held = self.growing.stat().st_size // np.dtype(self.dtype).itemsize
            lines = self.journal.read_text(encoding="utf-8").splitlines(keepends=True)
        except (OSError, UnicodeDecodeError):
            self.journal.unlink(missing_ok=True)
            return []
        rows: list[dict[str, Any]] = []
        size = 0
        for line, clip in zip(lines, self.clips, strict=False):
            row = _noted(line)
            if row.get("clip_id") != clip.clip_id or row["begin"] + row["samples"] > held:
                break
            rows.append(row)
            size += len(line.encode())
        os.truncate(self.journal, size)
        return rows

    def _decoded(self, clip: Clip) -> tuple[Array, float, str, str]:
        """Return a clip as it is stored, what to multiply it by, their hash, or why not."""
        try:
            wave = audio.load(clip.path, self.rate, start=clip.start, end=clip.end).wave
        except AudioError as error:
            return np.zeros(0, self.dtype), 1.0, "", str(error).removeprefix(f"{clip.path}: ")
        if self.dtype == "float32":
            return wave, 1.0, _hash(wave, 1.0), ""
        full = FULL[self.dtype]
        gain = max(1.0, float(wave.max()) * full / (full - 1), -float(wave.min()))
        scaled = np.rint(wave * np.float32(full / gain)).clip(-full, full - 1)
        stored = scaled.astype(np.int16)
        return stored, gain, _hash(stored, gain), ""

    def _check_room(self, todo: list[Clip]) -> None:
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


def _noted(line: str) -> dict[str, Any]:
    """Return a line of a journal; nothing where it was cut off, or is not one."""
    try:
        row = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def listed(clips: Manifest) -> list[Clip]:
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
        found.append(Clip(clip_id, root / path, first, last, *facts[path]))
    return found


def key(name: str, clips: list[Clip], rate: int, dtype: str) -> str:
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


def _seconds(clip: Clip) -> float | None:
    """Return a clip's duration as the manifest or the recording's header has it."""
    if clip.end is not None:
        return clip.end - (clip.start or 0.0)
    try:
        with audio.opened(clip.path, start=clip.start) as recording:
            return recording.seconds
    except AudioError:
        return 0.0


def _flush(file: Any) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())
