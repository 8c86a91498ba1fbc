"""Audio in the page: the first seconds of a few clips, as MP3 in data URLs."""

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
from probekit.data.manifest import Manifest, read_manifest
from probekit.errors import AudioError, DataError

SECONDS = 6.0  # of a clip
MOST_CLIPS = 240  # even within the budget: decoding takes its time
_SR = 22_050
_FADE = 0.01  # seconds, so that a cut does not click


@dataclass
class AudioClips:
    """The clips that the page can play.

    Attributes
    ----------
    budget : int >= 0
        Bytes that they may take in the page.
    data : list of str
        Data URLs.
    index : dict
        ``(task, clip_id)`` to the position in ``data``.
    used : int
        Bytes used.
    problems : dict
        ``(task, clip_id)`` to why its recording could not be read.
    """

    budget: int
    data: list[str] = field(default_factory=list)
    index: dict[tuple[str, str], int] = field(default_factory=dict)
    used: int = 0
    problems: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, task: str, clip_id: str, path: Path, start: float, end: float) -> bool:
        """Put a clip into the page; False if the budget is used up."""
        key = task, clip_id
        if key in self.index or key in self.problems:
            return True
        try:
            url = encode_audio(path, start, end)
        except AudioError as error:
            self.problems[key] = str(error)
            return True
        if self.used + len(url) > self.budget or len(self.data) == MOST_CLIPS:
            return False
        self.index[key] = len(self.data)
        self.data.append(url)
        self.used += len(url)
        return True


@dataclass(frozen=True)
class ClipTable:
    """A task's clips as its manifests have them, and the folders in which their audio may be.

    Attributes
    ----------
    rows : dict
        Clip id to relative path, start and end in seconds (NaN for the whole file).
    roots : tuple of pathlib.Path
        Folders; the first that has a file counts.
    """

    rows: dict[str, tuple[str, float, float]]
    roots: tuple[Path, ...]

    def find(self, clip_id: str) -> tuple[Path, float, float] | None:
        """Return the file of a clip, with start and end of its segment, or None if not found."""
        if clip_id not in self.rows:
            return None
        name, start, end = self.rows[clip_id]
        relative = posixpath.normpath(name) if name else ".."
        # not outside of the roots, whatever a damaged table says
        if posixpath.isabs(relative) or relative.split("/")[0] == "..":
            return None
        paths = (root / relative for root in self.roots)
        return next(((path, start, end) for path in paths if path.is_file()), None)


def load_clip_table(
    cache: str | Path | None, digests: Iterable[str], folders: Sequence[Path]
) -> ClipTable:
    """Return the clips of the manifests that runs were made with; empty if none is stored.

    Parameters
    ----------
    cache : str or pathlib.Path, optional
        Cache root.
    digests : iterable of str
        Of the manifests.
    folders : sequence of pathlib.Path
        Folders with recordings; if empty, those that the manifests name.
    """
    rows: dict[str, tuple[str, float, float]] = {}
    roots = list(folders)
    for digest in dict.fromkeys(digests):
        for manifest in _stored_manifests(layout.cache_root(cache), digest):
            columns = (manifest.table[name] for name in ("clip_id", "path", "start", "end"))
            for clip_id, path, start, end in zip(*columns, strict=True):
                rows.setdefault(clip_id, (path, start, end))
            if not folders and manifest.root is not None:
                roots.append(manifest.root)
    return ClipTable(rows, tuple(dict.fromkeys(roots)))


def _stored_manifests(cache: Path, digest: str) -> list[Manifest]:
    """Return the readable manifests of a digest; without any, the page says it has no audio."""
    manifests = []
    for path in sorted((cache / "manifests").glob(f"*-{digest[:12]}.parquet")):
        try:
            manifests.append(read_manifest(path))
        except DataError:
            continue
    return manifests


def encode_audio(path: Path, start: float, end: float) -> str:
    """Return the first seconds of a segment as a data URL.

    Parameters
    ----------
    path : pathlib.Path
        The recording.
    start, end : float
        In seconds; NaN for the start and the end of the file.

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
        _SR,
        start=None if np.isnan(start) else start,
        end=None if np.isnan(end) else end,
        crop=SECONDS,
    ).wave
    if len(wave) > SECONDS * _SR:
        wave = wave[: round(SECONDS * _SR)].copy()
        fade = round(_FADE * _SR)
        wave[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    kind, mime = ("MP3", "mpeg") if "MP3" in soundfile.available_formats() else ("WAV", "wav")
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), _SR, format=kind)
    return f"data:audio/{mime};base64,{base64.b64encode(file.getvalue()).decode()}"
