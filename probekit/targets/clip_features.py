"""Frames of clips that artist groups are made of: MFCC, their differences, cached streams."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from probekit._typing import Array
from probekit.audio import recording
from probekit.cache.embeddings import Embeddings
from probekit.data.manifest import Manifest
from probekit.errors import AudioError, DataError
from probekit.extractors import frontends
from probekit.parallel import resources
from probekit.utils import prefetch

_SR, _N_FFT, _HOP_LENGTH, _N_MELS, _N_MFCC = 22050, 2048, 1024, 128, 25
_ESSENTIA_SR = 44100
_ESSENTIA_MISSING = (
    "--from essentia needs the package essentia, which is not installed: pip install essentia. It "
    "is licensed under AGPL-3.0, whose terms hold for programs that include it; probekit neither "
    "contains nor needs it"
)


class FrameSource(Protocol):
    """Frames of clips, one clip at a time.

    Attributes
    ----------
    failures : dict of str to str
        Clips that have no frames, with the reason.
    """

    failures: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """Return plain values of what decides the frames."""

    def stream(self, rows: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield row and frames, shape (frames, dim), of clips in order; failed ones are left out.

        Parameters
        ----------
        rows : sequence of int
            Rows of the manifest.
        """


@dataclass
class Mfcc:
    """MFCC of recordings: 25 of 128 mel bands, windows of 93 ms every 46 ms at 22,050 Hz.

    Attributes
    ----------
    clips : Manifest
        With the folder of its recordings.
    differences : bool
        Whether differences of neighboring frames are used instead.
    """

    clips: Manifest
    differences: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.clips.root is None:
            raise DataError(
                f"{self.clips.name}: the folder of its recordings is not known. Give the folder "
                "with --root, or --from EXTRACTOR for frames in the cache"
            )
        self._log_mel = frontends.LogMel(
            sr=_SR, n_fft=_N_FFT, hop_length=_HOP_LENGTH, n_mels=_N_MELS
        )
        self._cosines = frontends.dct_matrix(_N_MELS, _N_MFCC, torch.float64)

    def describe(self) -> dict[str, Any]:
        """Return plain values of what decides the frames."""
        return {
            "from": "d" if self.differences else "mfcc",
            "sr": _SR,
            "n_fft": _N_FFT,
            "hop_length": _HOP_LENGTH,
            "n_mels": _N_MELS,
            "n_mfcc": _N_MFCC,
        }

    def stream(self, rows: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield row and frames of clips; see :class:`FrameSource`."""
        yield from _stream_recordings(self.clips, rows, self._read, self.failures)

    def frames(self, wave: Array) -> Array:
        """Return the frames of a waveform at 22,050 Hz, shape (frames, 25)."""
        levels = frontends.clip_top_db(self._log_mel(torch.from_numpy(wave)[None]), 80.0)
        mfcc: Array = (levels[0].double() @ self._cosines).float().numpy()
        return np.diff(mfcc, axis=0) if self.differences else mfcc

    def _read(self, path: Path, start: float | None, end: float | None) -> Array:
        frames = self.frames(recording.load(path, _SR, start=start, end=end).wave)
        if not len(frames):
            raise AudioError("too short for a difference of two frames")
        return frames


@dataclass
class Essentia:
    """Statistics of Essentia's ``MusicExtractor``, a vector a clip, by the rules of kim2018's code.

    Covariances, beats and metadata are dropped, keys and scales are numbers of 0 and 1. Every
    number is mapped to a normal distribution by its quantiles in the clips that are fitted on.
    """

    clips: Manifest
    fitted_rows: Sequence[int]
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self._essentia = import_module("essentia.standard")
        except ImportError as error:
            raise DataError(_ESSENTIA_MISSING) from error
        if self.clips.root is None:
            raise DataError(f"{self.clips.name}: give the folder of its recordings with --root")

    def describe(self) -> dict[str, Any]:
        """Return plain values of what decides the vectors."""
        return {"from": "essentia", "essentia": version("essentia"), "sr": _ESSENTIA_SR}

    def stream(self, rows: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield row and vector of clips, shape (1, dim); see :class:`FrameSource`."""
        scaler, vectors = self._scaled
        for row in rows:
            if row in vectors:
                yield row, scaler.transform(vectors[row][None]).astype(np.float32)

    @cached_property
    def _scaled(self) -> tuple[Any, dict[int, Array]]:
        """Return the scaler of the fitted clips, and the vectors of all clips."""
        from sklearn.preprocessing import QuantileTransformer

        everything = range(len(self.clips))
        read = _stream_recordings(self.clips, everything, self._read, self.failures, threads=1)
        vectors = dict(read)
        fitted = [vectors[row] for row in self.fitted_rows if row in vectors]
        if not fitted:
            raise all_failed_error(self.clips.name, self.failures)
        scaler = QuantileTransformer(
            n_quantiles=min(1000, len(fitted)), output_distribution="normal", random_state=0
        )
        return scaler.fit(np.stack(fitted)), vectors

    def _read(self, path: Path, start: float | None, end: float | None) -> Array:
        if start is not None or end is not None:
            raise AudioError("Essentia reads whole files, not segments of recordings")
        pool = self._essentia.MusicExtractor(analysisSampleRate=_ESSENTIA_SR)(str(path))[0]
        return pool_vector({name: pool[name] for name in pool.descriptorNames()})


KEYS = ("A", "A#", "B", "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#")
_FLATS = {"Bb": "A#", "Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#"}


def pool_vector(pool: dict[str, Any]) -> Array:
    """Return the numbers of Essentia's pool, by name, as one vector.

    Parameters
    ----------
    pool : dict of str to object
        Numbers, arrays of numbers and texts by name.
    """
    parts: list[Array] = []
    for name in sorted(pool):
        last = name.rpartition(".")[2]
        if name == "rhythm.beats_position" or name.startswith("metadata.") or "cov" in last:
            continue
        value = pool[name]
        if not isinstance(value, str):
            parts.append(np.ravel(np.asarray(value, np.float32)))
        elif last in ("key", "scale") or name.endswith(("_key", "_scale")):
            names = ("major", "minor") if "scale" in last else KEYS
            parts.append(np.array([_FLATS.get(value, value) == each for each in names], np.float32))
    return np.concatenate(parts)


@dataclass
class CachedFrames:
    """Frames of a stream in the cache, or its one vector a clip."""

    clips: Manifest
    embeddings: Embeddings
    stream_name: str
    failures: dict[str, str] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return plain values of what decides the frames."""
        layout = self.embeddings.layout
        return {
            "from": layout.extractor,
            "stream": self.stream_name or self.embeddings.default_stream,
            "fingerprint": layout.fingerprint,
        }

    def stream(self, rows: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Yield row and frames of clips; see :class:`FrameSource`."""
        stream = self.stream_name or self.embeddings.default_stream
        cached, reasons = set(self.embeddings.clip_ids), self.embeddings.failures
        is_vector = self.embeddings.stream_info.get(stream, {}).get("kind") == "clip"
        ids = self.clips.clip_ids
        for row in rows:
            clip_id = ids[row]
            if clip_id not in cached:
                self.failures[clip_id] = reasons.get(clip_id, "not extracted")
            elif is_vector:
                yield row, self.embeddings.vectors([clip_id], stream)
            else:
                yield row, self.embeddings.frames(clip_id, stream)


def _stream_recordings(
    clips: Manifest,
    rows: Sequence[int],
    read: Any,
    failures: dict[str, str],
    threads: int | None = None,
) -> Iterator[tuple[int, Array]]:
    """Yield row and what ``read(path, start, end)`` returns, in threads; failures are collected."""
    table, root = clips.table, clips.root or Path()

    def compute(row: int) -> Array | str:
        path = root / str(table["path"].iloc[row])
        start, end = (
            None if math.isnan(seconds) else seconds
            for seconds in (float(table[name].iloc[row]) for name in ("start", "end"))
        )
        try:
            frames = read(path, start, end)
        except (AudioError, RuntimeError) as error:  # Essentia raises RuntimeError
            return str(error).removeprefix(f"{path}: ")
        if not np.isfinite(frames).all():
            return "features are not finite"
        return np.asarray(frames)

    for row, result in prefetch.ordered_map(compute, rows, threads or resources.cpu_count()):
        if isinstance(result, str):
            failures[str(table["clip_id"].iloc[row])] = result
        else:
            yield row, result


def all_failed_error(name: str, failures: dict[str, str]) -> DataError:
    """Return the error that no clip has frames, with the reason of the first."""
    clip_id, reason = next(iter(failures.items()))
    return DataError(
        f"{name}: none of {len(failures):,} clips has features ({clip_id!r}: {reason})"
    )
