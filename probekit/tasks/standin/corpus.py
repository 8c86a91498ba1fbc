"""A labeled corpus of synthetic sounds, written without any download.

With any change to the sounds or to the layout, raise ``VERSION``.
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.random import Generator
from scipy.io import wavfile

from probekit.tasks.standin.sounds import CLASSES, synthesize
from probekit.utils.atomic import atomic_write

VERSION = 1
COLUMNS = ("clip_id", "path", "start", "end", "label", "group", "fold", "rate", "channels")
FOLDS = 5
_SAMPLE_RATES = {8000: 0.1, 16000: 0.3, 22050: 0.3, 32000: 0.1, 44100: 0.1, 48000: 0.1}
_FORMATS = {"wav-pcm16": 0.4, "wav-float": 0.2, "flac": 0.4}
_SLICES = (1, 1, 2, 1, 1, 3)  # clips taken from each recording of a class, over and over
_README = """\
Synthetic sounds made by probekit (`probekit demo`). They are computed from simple models of
bells, engines, rain and so on; they are not recordings of anything.

clips.csv lists the clips. Rows with the same path are slices of one file: start and end are
in seconds, and empty where the clip is the whole file. All clips of a group share a fold.
"""


@dataclass(frozen=True)
class _Recording:
    """One file to write, and the clips taken from it (no slice: the whole file)."""

    name: str
    label: str
    fold: int
    slices: tuple[tuple[float, float], ...]
    seconds: float
    seed: int
    sr: int
    channels: int
    format: str

    @property
    def path(self) -> str:
        return f"audio/{self.name}.{self.format.partition('-')[0]}"

    def rows(self) -> list[tuple[str | int, ...]]:
        """Return rows of the table, in the order of ``COLUMNS``."""
        tail = (self.label, self.name, self.fold, self.sr, self.channels)
        if not self.slices:
            return [(self.name, self.path, "", "", *tail)]
        return [
            (f"{self.name}-s{k}", self.path, f"{start:.3f}", f"{end:.3f}", *tail)
            for k, (start, end) in enumerate(self.slices, 1)
        ]

    def encode(self) -> bytes:
        """Return the file's bytes, which depend on nothing but the fields."""
        audio = synthesize(self.label, seed=self.seed, seconds=self.seconds, sr=self.sr)
        if self.channels == 2:  # the far channel is later and softer
            rng = np.random.default_rng([self.seed, 2])
            late = int(rng.uniform(0, 0.0007) * self.sr)
            far = np.float32(rng.uniform(0.6, 0.95)) * np.pad(audio, (late, 0))[: audio.size]
            audio = np.stack([audio, far] if rng.uniform() < 0.5 else [far, audio], axis=1)
        buffer = io.BytesIO()
        if self.format == "wav-float":  # libsndfile would write the time of day into the file
            wavfile.write(buffer, self.sr, audio)
        else:
            container = "FLAC" if self.format == "flac" else "WAV"
            soundfile.write(buffer, audio, self.sr, "PCM_16", format=container)
        return buffer.getvalue()


def _cut(rng: Generator, seconds: float, count: int) -> tuple[tuple[float, float], ...]:
    """Draw ``count`` slices that do not overlap, in seconds rounded to 3 decimals."""
    room = seconds / count - 0.01
    lengths = rng.uniform(1.5, min(room, 4.0), count)
    starts = np.arange(count) * seconds / count + rng.uniform(0, room - lengths)
    return tuple(
        (round(float(start), 3), round(float(start + length), 3))
        for start, length in zip(starts, lengths, strict=True)
    )


def _plan_class(label: str, clips: int, seed: int, first_fold: int) -> list[_Recording]:
    """Draw the recordings of one class that give exactly ``clips`` clips."""
    rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
    sizes: list[int] = []
    while (missing := clips - sum(sizes)) > 0:
        sizes.append(min(_SLICES[len(sizes) % len(_SLICES)], missing))
    sizes = [int(size) for size in rng.permutation(sizes)]
    filled, folds = [0] * FOLDS, [0] * len(sizes)
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):  # the longest first
        folds[i] = min(range(FOLDS), key=lambda k: (filled[k], (k - first_fold) % FOLDS))
        filled[folds[i]] += sizes[i]
    recordings = []
    for i, size in enumerate(sizes):
        seconds = round(rng.uniform(1, 4) if size == 1 else rng.uniform(6, 9), 3)
        recording = _Recording(
            name=f"{label}-{i + 1:03d}",
            label=label,
            fold=folds[i] + 1,
            slices=() if size == 1 else _cut(rng, seconds, size),
            seconds=seconds,
            seed=int(rng.integers(2**31)),
            sr=int(rng.choice(list(_SAMPLE_RATES), p=list(_SAMPLE_RATES.values()))),
            channels=1 if rng.uniform() < 0.7 else 2,
            format=str(rng.choice(list(_FORMATS), p=list(_FORMATS.values()))),
        )
        recordings.append(recording)
    return recordings


def _plan(clips: int, seed: int) -> list[_Recording]:
    """Draw the recordings of a corpus, class by class."""
    share, rest = divmod(clips, len(CLASSES))
    plans = (_plan_class(c, share + (i < rest), seed, i) for i, c in enumerate(CLASSES))
    return [recording for plan in plans for recording in plan]


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda temporary: temporary.write_bytes(content), sync=False)


def write_corpus(root: str | Path, *, clips: int = 360, seed: int = 0) -> Path:
    """Write a labeled corpus: ``audio/``, ``clips.csv``, ``corpus.json`` and ``README.txt``.

    About one recording in three lasts 6-9 s and gives two or three slices; the others last
    1-4 s and give one clip. Sample rates, channels and formats are mixed. The clips are
    balanced over ``CLASSES`` (difference at most 1) and, in each class, over the folds 1-5;
    those of one recording share a group, hence a fold. ``clips.csv`` is written last: a corpus
    that has it is complete. An interrupted run is completed by calling again.

    Parameters
    ----------
    root : str or pathlib.Path
        Folder to write into; made if it does not exist. A complete corpus of the same clips
        and seed is left as it is.
    clips : int
        Number of rows of ``clips.csv``, at least 12 (one a class).
    seed : int
        At least 0. The same arguments give the same bytes.

    Returns
    -------
    pathlib.Path
        The path of ``clips.csv``.

    Raises
    ------
    ValueError
        If ``clips`` or ``seed`` is out of its range, or if the folder holds another corpus.

    Examples
    --------
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> table = write_corpus("sounds", clips=12)
    >>> len(table.read_text().splitlines())
    13
    """
    if clips < len(CLASSES):
        raise ValueError(f"clips must be >= {len(CLASSES)} (one per class), got {clips}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    root = Path(root)
    table, settings_file = root / "clips.csv", root / "corpus.json"
    settings = {"version": VERSION, "clips": int(clips), "seed": int(seed)}
    if settings_file.exists() or table.exists():
        existing = None
        if settings_file.exists():
            existing = json.loads(settings_file.read_text(encoding="utf-8"))
        if existing != settings:
            raise ValueError(
                f"{root} contains another corpus: expected {settings}, got "
                f"{existing or 'no corpus.json'}"
            )
        if table.exists():
            return table
    (root / "audio").mkdir(parents=True, exist_ok=True)
    _write(settings_file, (json.dumps(settings) + "\n").encode())
    _write(root / "README.txt", _README.encode())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for recording in _plan(clips, seed):
        _write(root / recording.path, recording.encode())
        writer.writerows(recording.rows())
    _write(table, text.getvalue().encode())
    return table
