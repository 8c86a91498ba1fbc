"""Log-mel spectra of a task's clips in parts of float16, made once, for random access.

Where several epochs read millions of clips, decoding and spectra would cost more than the network.
A part is one file of spectra and a table beside it with their places and a digest, which is written
last: an interrupted build goes on with the parts that are missing.
"""

import errno
import hashlib
import json
import mmap
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.audio import recording
from probekit.audio.duration import mean_duration
from probekit.data.manifest import Manifest
from probekit.errors import AudioError, CacheError, DataError
from probekit.extractors.students.base import LevelGrid, Student
from probekit.parallel import resources
from probekit.training.audio_store import ClipFile, Progress, list_clip_files
from probekit.utils import atomic, locking, prefetch

Rows = npt.NDArray[np.int64]

STORE = "store.json"
CLIPS_PER_PART = 512
SILENCE = -100.0
"""Level in dB of what follows a clip."""
_VERSION = 1
_RESERVED_BYTES = 64 << 20  # disk space that is left free
_VERIFIED_BYTES = 1 << 30  # stores up to this size are verified whenever they are opened


@dataclass(frozen=True)
class _Part:
    """What the table beside a part says.

    Attributes
    ----------
    clip_ids : list of str
        Clips in the order of their spectra.
    samples, frames : list of int
        Length of each clip's sound, and of its spectra; 0 for a recording that cannot be decoded.
    states : list of [int, int]
        Size and modification time of its recording.
    reasons : dict of str to str
        Why clips have no spectra.
    sha256 : str
        Of the file of spectra.
    """

    clip_ids: list[str]
    samples: list[int]
    frames: list[int]
    states: list[list[int]]
    reasons: dict[str, str]
    sha256: str


class LevelStore:
    """Spectra of many clips in place of an :class:`~probekit.training.audio_store.AudioStore`.

    Use :meth:`open`. Lengths and starts are in samples of the waveforms, so that whoever reads
    crops need not know which of the two it is.

    Attributes
    ----------
    clip_ids : list of str
        The clips; a clip's *row* is its position in this list.
    lengths : numpy.ndarray of int64, shape (clips,)
        Number of samples; 0 for clips that could not be decoded.
    places : numpy.ndarray of int64, shape (clips,)
        Where each clip is stored; neighbors are read together.
    failures : dict of str to str
        Clips that could not be decoded, with the reason.
    digest : str
        SHA-256 over the digests of all parts.
    """

    def __init__(
        self, folder: Path, parts: Sequence[_Part], grid: LevelGrid, sr: int, ids: Sequence[str]
    ) -> None:
        self.folder, self.grid, self.sr = folder, grid, sr
        self.clip_ids = list(ids)
        rows = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        count = len(self.clip_ids)
        self.lengths, self.places = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._parts, self._offsets = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self._frames = np.zeros(count, np.int64)
        self.failures: dict[str, str] = {}
        sha, place = hashlib.sha256(json.dumps([grid.frontend, sr]).encode()), 0
        for number, part in enumerate(parts):
            indices = np.array([rows[clip_id] for clip_id in part.clip_ids], np.int64)
            self.lengths[indices], self._frames[indices] = part.samples, part.frames
            self._offsets[indices] = np.cumsum(part.frames) - part.frames
            self._parts[indices] = number
            self.places[indices] = place + np.arange(len(indices))
            place += len(indices)
            self.failures |= part.reasons
            sha.update(f"{json.dumps(part.clip_ids)}{part.sha256}\n".encode())
        self.digest = sha.hexdigest()
        self._maps: dict[int, Array] = {}

    @classmethod
    def open(
        cls,
        clips: Manifest,
        student: Student,
        folder: Path,
        *,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> "LevelStore":
        """Return the spectra of a manifest's clips; make the parts that are missing.

        A part belongs to its recordings (sizes and modification times), as far as they exist:
        parts are of use where the recordings are not.

        Parameters
        ----------
        clips : Manifest
            Clips, with the ``root`` of their recordings.
        student : Student
            A network with a :attr:`~probekit.extractors.students.base.Student.level_grid`.
        folder : pathlib.Path
            Folder of the parts, created if missing.
        jobs : int >= 1, optional
            Threads that decode and make spectra; by default one per CPU core.
        progress : callable, optional
            Called with the number of clips with spectra and of all clips.

        Raises
        ------
        DataError
            If the folder has parts of another front-end or of other clips, a part was changed, or
            no clip can be decoded.
        CacheError
            If the disk has no room, or the folder cannot be written.
        """
        builder = _Builder(clips, student, folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            builder.check_store()
            parts = builder.load()
            if any(part is None for part in parts):
                with locking.write_lock(folder):
                    parts = builder.build(jobs or resources.cpu_count(), progress)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = ". Run the same command again when there is room: whole parts are kept"
            raise CacheError(
                f"{folder}: spectra of {clips.name} cannot be stored "
                f"({(error.strerror or str(error)).lower()}){hint * full}"
            ) from error
        store = cls(folder, [p for p in parts if p], builder.grid, student.rate, clips.clip_ids)
        if len(store.failures) == len(store.clip_ids):
            first = store.clip_ids[0]
            raise DataError(
                f"{clips.name}: none of the {len(store.clip_ids)} recordings in {clips.root} can "
                f"be decoded, for example that of {first!r}: {store.failures[first]}"
            )
        if store.nbytes <= _VERIFIED_BYTES:
            builder.verify([p for p in parts if p])
        return store

    @property
    def nbytes(self) -> int:
        """Bytes of all spectra."""
        return int(self._frames.sum()) * self.grid.bands * 2

    @property
    def durations(self) -> npt.NDArray[np.float64]:
        """Duration of each clip in s, shape (clips,)."""
        return self.lengths / self.sr

    @property
    def hashes(self) -> npt.NDArray[np.str_]:
        """SHA-256 of each clip's spectra, shape (clips,); empty where there are none."""
        texts = []
        for part, begin, count in zip(self._parts, self._offsets, self._frames, strict=True):
            spectra = self._map(int(part))[begin : begin + count] if count else None
            texts.append("" if spectra is None else hashlib.sha256(spectra.tobytes()).hexdigest())
        return np.array(texts, np.str_)

    def subset(self, rows: npt.ArrayLike) -> "LevelStore":
        """Return the store of some of the clips, by rows; it reads the same files."""
        rows = np.asarray(rows)
        other = object.__new__(LevelStore)
        other.__dict__.update(self.__dict__)
        other.clip_ids = [self.clip_ids[row] for row in rows]
        for name in ("lengths", "places", "_parts", "_offsets", "_frames"):
            setattr(other, name, getattr(self, name)[rows])
        kept = set(other.clip_ids)
        other.failures = {key: text for key, text in self.failures.items() if key in kept}
        other.digest = hashlib.sha256(
            f"{self.digest}\n{json.dumps(other.clip_ids)}".encode()
        ).hexdigest()
        return other

    def crops(
        self, rows: npt.ArrayLike, starts: npt.ArrayLike, length: int
    ) -> npt.NDArray[np.float32]:
        """Return spectra of crops.

        Parameters
        ----------
        rows : array_like of int, shape (n,)
            Rows of the clips.
        starts : array_like of int >= 0, shape (n,)
            First sample of each crop in its clip; rounded down to a whole hop.
        length : int >= 1
            Samples per crop.

        Returns
        -------
        numpy.ndarray, shape (n, frames, bands), float32
            In dB; :data:`SILENCE` after the end of a clip.
        """
        rows, starts = np.asarray(rows, np.int64), np.asarray(starts, np.int64)
        frames = self.grid.frames(length)
        crops = np.empty((len(rows), frames, self.grid.bands), np.float32)
        first = starts // self.grid.hop
        counts = np.clip(self._frames[rows] - first, 0, frames)
        for crop, row, begin, count in zip(
            crops, rows.tolist(), first.tolist(), counts.tolist(), strict=True
        ):
            if count:
                offset = int(self._offsets[row]) + begin
                crop[:count] = self._map(int(self._parts[row]))[offset : offset + count]
            crop[count:] = SILENCE
        return crops

    def _map(self, number: int) -> Array:
        """Return the spectra of a part, mapped into memory."""
        if number not in self._maps:
            with (self.folder / _name(number)).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            flat = np.frombuffer(mapped, np.float16)
            self._maps[number] = flat.reshape(-1, self.grid.bands)
        return self._maps[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def open_levels(
    name: str,
    clips: Manifest,
    student: Student,
    cache: Path,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LevelStore:
    """Return the spectra of clips, in a folder or the cache; make those that are missing."""
    if clips.root is None and folder is None:
        raise DataError(
            f"{name}: the folder of its recordings is not known, and a network needs audio. "
            "Give the folder with --root, or that of its parts with --parts"
        )
    assert student.level_grid is not None
    if folder is None:
        state = [name, clips.name, student.level_grid.frontend, clips.clip_ids]
        key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        folder = cache / "levels" / key
    return LevelStore.open(clips, student, folder, progress=progress)


class _Builder:
    """Makes the parts of a store, and reads their tables."""

    def __init__(self, clips: Manifest, student: Student, folder: Path) -> None:
        assert student.level_grid is not None
        self.clips, self.student, self.folder = clips, student, folder
        self.grid = student.level_grid
        files = list_clip_files(clips)
        order = _storage_order(clips)
        self.parts = [
            [files[row] for row in order[start : start + CLIPS_PER_PART]]
            for start in range(0, len(order), CLIPS_PER_PART)
        ]

    def check_store(self) -> None:
        """Write what the folder holds, or refuse a folder of something else."""
        facts = {
            "format": "probekit log-mel parts",
            "version": _VERSION,
            "frontend": self.grid.frontend,
            "bands": self.grid.bands,
            "sample_rate": self.student.rate,
            "dtype": "float16",
            "clips": hashlib.sha256("\0".join(sorted(self.clips.clip_ids)).encode()).hexdigest(),
            "dataset": self.clips.name,
            "n_clips": len(self.clips),
        }
        path = self.folder / STORE
        if not path.exists():
            if list(self.folder.glob("part-*.f16")):
                raise DataError(f"{self.folder}: has parts of spectra, but no {STORE}; delete them")
            atomic.atomic_write_text(path, json.dumps(facts, indent=1) + "\n")
            return
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            old, version = stored["frontend"], stored["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: damaged; delete the folder to make its parts again"
            ) from error
        if (old, version) != (self.grid.frontend, _VERSION):
            raise DataError(
                f"{self.folder}: parts of another front-end: {old!r} (format {version}), but "
                f"{self.student.spec} reads {self.grid.frontend!r} (format {_VERSION}). Choose "
                "another folder with --parts"
            )
        if stored["clips"] != facts["clips"]:
            raise DataError(
                f"{self.folder}: parts of {stored['n_clips']:,} clips of {stored['dataset']}, not "
                f"of the {len(self.clips):,} clips of {self.clips.name}. Choose another folder "
                "with --parts, or delete it"
            )

    def load(self) -> list[_Part | None]:
        """Return the tables of the parts; None for one that is missing or out of date."""
        return [self._load(number, files) for number, files in enumerate(self.parts)]

    def _load(self, number: int, files: list[ClipFile]) -> _Part | None:
        path = self.folder / _name(number)
        try:
            part = _Part(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
            size = path.stat().st_size
        except (OSError, ValueError, TypeError):
            return None
        if part.clip_ids != [file.clip_id for file in files]:
            return None
        if size != sum(part.frames) * self.grid.bands * 2:
            return None
        for state, file in zip(part.states, files, strict=True):
            if file.size >= 0 and state != [file.size, file.mtime]:
                return None
        return part

    def build(self, threads: int, progress: Progress | None) -> list[_Part | None]:
        """Make the parts that are missing, one after the other, and return the tables of all."""
        parts = self.load()
        missing = [number for number, part in enumerate(parts) if part is None]
        self._check_room([file for number in missing for file in self.parts[number]])
        done = sum(len(part.clip_ids) for part in parts if part)
        clips = (file for number in missing for file in self.parts[number])
        spectra = prefetch.ordered_map(self._make, clips, threads)
        for number in missing:
            made = []
            for _ in self.parts[number]:
                made.append(next(spectra)[1])
                done += 1
                if progress:
                    progress(done, len(self.clips))
            parts[number] = self._write(number, made)
        return parts

    def _make(self, file: ClipFile) -> tuple[Array, int, str]:
        """Return the spectra of a clip and the number of its samples, or why there are none."""
        try:
            levels, samples = make_levels(self.student, file)
        except AudioError as error:
            reason = str(error).removeprefix(f"{file.path}: ")
            return np.zeros((0, self.grid.bands), np.float16), 0, reason
        return levels, samples, ""

    def _write(self, number: int, made: list[tuple[Array, int, str]]) -> _Part:
        """Write a part, then its table."""
        files, path = self.parts[number], self.folder / _name(number)
        content = b"".join(np.ascontiguousarray(levels).tobytes() for levels, _, _ in made)
        part = _Part(
            clip_ids=[file.clip_id for file in files],
            samples=[samples for _, samples, _ in made],
            frames=[len(levels) for levels, _, _ in made],
            states=[[file.size, file.mtime] for file in files],
            reasons={f.clip_id: m[2] for f, m in zip(files, made, strict=True) if m[2]},
            sha256=hashlib.sha256(content).hexdigest(),
        )
        path.with_suffix(".json").unlink(missing_ok=True)
        atomic.atomic_write(path, lambda temporary: temporary.write_bytes(content))
        atomic._test_hook("levels-written")
        atomic.atomic_write_text(path.with_suffix(".json"), json.dumps(vars(part)))
        return part

    def verify(self, parts: Sequence[_Part]) -> None:
        """Raise a DataError if the spectra of a part are not those that were written."""
        for number, part in enumerate(parts):
            path = self.folder / _name(number)
            if hashlib.sha256(path.read_bytes()).hexdigest() != part.sha256:
                raise DataError(
                    f"{path}: was changed since it was written (its SHA-256 is not that of its "
                    "table); delete it, and it is made again"
                )

    def _check_room(self, files: list[ClipFile]) -> None:
        """Raise if the disk has no room for the spectra of clips, as far as headers tell."""
        present = [file for file in files if file.size >= 0]
        duration = mean_duration([(f.path, f.start, f.end) for f in present], unreadable=0.0)
        if not present or duration is None:
            return
        frames = self.grid.frames(int(duration * self.student.rate))
        size = len(present) * frames * self.grid.bands * 2
        free = shutil.disk_usage(self.folder).free
        if size + _RESERVED_BYTES > free:
            raise CacheError(
                f"{self.folder}: spectra of {len(present):,} clips take about {size / 1e9:.1f} GB, "
                f"but only {free / 1e9:.1f} GB are free. Free some space, or choose another folder "
                "with --parts"
            )


def make_levels(student: Student, file: ClipFile) -> tuple[Array, int]:
    """Return the spectra of a clip, float16, and the number of its samples.

    Raises AudioError if the recording cannot be decoded.
    """
    wave = recording.load(file.path, student.rate, start=file.start, end=file.end).wave
    samples = len(wave)
    if samples < student.min_samples:
        wave = np.pad(wave, (0, student.min_samples - samples))
    with torch.inference_mode():
        levels: Tensor = student.levels(torch.from_numpy(wave)[None])[0]
    return levels.numpy().astype(np.float16), samples


def _name(number: int) -> str:
    return f"part-{number:05d}.f16"


def _storage_order(clips: Manifest) -> Rows:
    """Return rows in the order in which clips are stored: by the rarest of their labels.

    Clips of a class are then near each other, and rounds over the classes read in few places.
    """
    if clips.target != "multi":
        return np.arange(len(clips))
    targets = clips.targets() > 0.5
    counts = targets.sum(0)
    rarest = np.where(targets, counts, len(clips) + 1).argmin(1)
    return np.lexsort((np.arange(len(clips)), rarest))


def spectra_bytes(grid: LevelGrid, clips: int, seconds: float, rate: int) -> int:
    """Return the bytes of the spectra of clips of a duration."""
    return clips * grid.frames(int(seconds * rate)) * grid.bands * 2
