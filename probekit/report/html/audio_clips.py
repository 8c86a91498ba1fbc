"""Short recordings inside of the page: the first seconds of a few clips, as MP3 in base64."""

import base64
import io
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from probekit.audio import recording
from probekit.cache import layout
from probekit.data.manifest import Manifest, read
from probekit.errors import AudioError, DataError

SECONDS = 6.0  # of a clip
MOST = 240  # clips in the page, unless the budget ends before: decoding takes its time
_RATE = 22_050
_FADE = 0.01  # seconds, so that a cut does not click


@dataclass
class Sounds:
    """What the page can play.

    Attributes
    ----------
    budget : int >= 0
        Bytes that all of it may take in the page.
    data : list of str
        Data addresses.
    places : dict
        ``(task, clip)`` to the number in ``data``.
    used : int
        Bytes taken.
    problems : dict
        ``(task, clip)`` to why its recording could not be read.
    """

    budget: int
    data: list[str] = field(default_factory=list)
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    used: int = 0
    problems: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, task: str, clip: str, path: Path, start: float, end: float) -> bool:
        """Put a clip into the page; False where no more are allowed."""
        if (task, clip) in self.places or (task, clip) in self.problems:
            return True
        try:
            sound = encoded(path, start, end)
        except AudioError as error:
            self.problems[task, clip] = str(error)
            return True
        if self.used + len(sound) > self.budget or len(self.data) == MOST:
            return False
        self.places[task, clip] = len(self.data)
        self.data.append(sound)
        self.used += len(sound)
        return True


@dataclass(frozen=True)
class Clips:
    """A task's clip table, as extraction kept it, and the folders in which its audio may be.

    Attributes
    ----------
    table : dict
        Clip id to path (relative), start and end in seconds (NaN for the whole file).
    roots : tuple of pathlib.Path
        Folders, the first in which a file is found counts.
    """

    table: dict[str, tuple[str, float, float]]
    roots: tuple[Path, ...]

    def find(self, clip: str) -> tuple[Path, float, float] | None:
        """Return a clip's file and stretch, or None where it is not at hand."""
        if clip not in self.table:
            return None
        name, start, end = self.table[clip]
        inside = posixpath.normpath(name) if name else ".."
        if posixpath.isabs(inside) or inside.split("/")[0] == "..":  # nor of a damaged table
            return None
        there = (root / inside for root in self.roots)
        return next(((path, start, end) for path in there if path.is_file()), None)


def clips_of(cache: str | Path | None, digests: Iterable[str], folders: Sequence[Path]) -> Clips:
    """Return the clip table that runs were made with.

    Parameters
    ----------
    cache : str or pathlib.Path, optional
        The cache's folder; see :func:`probekit.cache.layout.root`.
    digests : iterable of str
        Of the runs' clip tables.
    folders : sequence of pathlib.Path
        Where audio is; where the table says if there are none.

    Returns
    -------
    Clips
        Empty where no table was kept.
    """
    table: dict[str, tuple[str, float, float]] = {}
    roots = list(folders)
    for digest in dict.fromkeys(digests):
        for found in _kept(layout.root(cache), digest):
            columns = (found.table[name] for name in ("clip_id", "path", "start", "end"))
            for clip, path, start, end in zip(*columns, strict=True):
                table.setdefault(clip, (path, start, end))
            if not folders and found.root is not None:
                roots.append(found.root)
    return Clips(table, tuple(dict.fromkeys(roots)))


def _kept(cache: Path, digest: str) -> list[Manifest]:
    """Return the kept clip tables of a digest that can be read."""
    found = []
    for path in sorted((cache / "manifests").glob(f"*-{digest[:12]}.parquet")):
        try:
            found.append(read(path))
        except DataError:
            continue  # the page says then that there is no audio
    return found


def encoded(path: Path, start: float, end: float) -> str:
    """Return the first seconds of a stretch as a data address.

    Parameters
    ----------
    path : pathlib.Path
        The recording.
    start, end : float
        In seconds; NaN for the begin and the end of the file.

    Returns
    -------
    str
        Mono, MP3 where libsndfile can write it (otherwise WAV).

    Raises
    ------
    AudioError
        If it cannot be read.
    """
    wave = recording.load(
        path,
        _RATE,
        start=None if np.isnan(start) else start,
        end=None if np.isnan(end) else end,
        crop=SECONDS,
    ).wave
    if len(wave) > SECONDS * _RATE:
        wave = wave[: round(SECONDS * _RATE)].copy()
        fade = round(_FADE * _RATE)
        wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    kind, mime = ("MP3", "mpeg") if "MP3" in soundfile.available_formats() else ("WAV", "wav")
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), _RATE, format=kind)
    return f"data:audio/{mime};base64,{base64.b64encode(file.getvalue()).decode()}"
