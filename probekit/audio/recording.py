"""A recording on disk becomes a mono float32 waveform at a rate: decode, downmix, resample.

libsndfile decodes (wav, flac, ogg, mp3 …), PyAV what it cannot (mp4, webm, m4a …), and soxr
resamples; all leave Python's lock alone while they work, so threads decode side by side.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from probekit.audio import pyav_backend, soundfile_backend
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = soundfile_backend.SUFFIXES
FOREIGN = pyav_backend.SUFFIXES
"""Recordings that PyAV decodes; without it they become failures, never left out in silence."""
RATES = 1_000, 1_000_000
"""Sample rates in Hz that are believed; a header that states another one is damaged."""
_BLOCK = 1 << 22  # samples to decode at once
_AFTER = 1.0  # seconds decoded behind a crop: far more than a resampler looks ahead


@dataclass(frozen=True)
class DecodedAudio:
    """A waveform as decoded.

    Attributes
    ----------
    wave : numpy.ndarray, shape (samples,), float32
        Mono, at :attr:`rate`.
    rate : int
        Sample rate in Hz: the one asked for, else the file's own.
    seconds : float
        Duration of the stretch before resampling, in seconds, of which :attr:`wave` may be the
        begin only.
    """

    wave: Waveform
    rate: int
    seconds: float


class _Source(Protocol):
    """What decodes a stretch: ``sndfile.Sound`` or ``track.Track``."""

    rate: int

    @property
    def first(self) -> float: ...

    @property
    def seconds(self) -> float | None: ...

    def blocks(self, samples: int) -> Iterator[Waveform]: ...

    def close(self) -> None: ...


class Recording:
    """A stretch of a recording, opened by :func:`open_audio` to be decoded block by block, once.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    source : Sound or Track
        What decodes it.

    Attributes
    ----------
    rate : int
        Its sample rate in Hz.
    seconds : float or None
        How long the stretch is as the file states; None where it does not.
    """

    def __init__(self, path: Path, source: _Source) -> None:
        self.path = path
        self.rate = source.rate
        self.seconds = source.seconds
        self._source = source

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Decode.

        Parameters
        ----------
        samples : int >= 1
            About how many to decode at once.

        Yields
        ------
        numpy.ndarray, shape (n,), n >= 1, float32
            Channels are averaged; full scale of integer formats is 1.0.

        Raises
        ------
        AudioError
            If the file is damaged or truncated, or holds NaN or infinite samples; the message
            names the file. It comes after the last block that is right.
        """
        source = self._source.blocks(samples)
        total, bad, first_bad = 0, 0, 0
        while True:
            with _with_path(self.path):
                block = next(source, None)
            if block is None:
                break
            wrong = np.flatnonzero(~np.isfinite(block))
            if len(wrong) and not bad:
                first_bad = total + int(wrong[0])
            bad += len(wrong)
            total += len(block)
            if not bad:
                yield block
        if bad:
            raise AudioError(
                f"{self.path}: {bad} of {total} samples are NaN or infinite, the first at "
                f"{self._source.first + first_bad / self.rate:.3f} s"
            )


@contextmanager
def open_audio(
    path: str | Path, *, start: float | None = None, end: float | None = None
) -> Iterator[Recording]:
    """Open a recording, or a stretch of it.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that libsndfile or, where it is installed, PyAV reads.
    start, end : float >= 0, optional
        The stretch, in seconds from the file's begin; the whole file by default. An end that
        passes the file's by less than 0.1 s means the file's end.

    Yields
    ------
    Recording
        To be decoded.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated or empty, states a sample rate outside of
        :data:`RATES`, or does not hold the stretch; the message names the file.
    """
    path = Path(path)
    with _with_path(path):
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise AudioError(f"{path}: is {'a folder' if path.is_dir() else 'no ordinary file'}")
        kind = (
            pyav_backend.PyAVReader
            if pyav_backend.is_pyav_file(path)
            else soundfile_backend.SoundFileReader
        )
        source: _Source = kind(path, start, end)
    try:
        low, high = RATES
        if not low <= source.rate <= high:
            raise AudioError(
                f"{path}: states a sample rate of {source.rate:,} Hz; from {low:,} to {high:,} Hz "
                "are believed"
            )
        yield Recording(path, source)
    finally:
        source.close()


def load(
    path: str | Path,
    rate: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    crop: float | None = None,
) -> DecodedAudio:
    """Decode a recording, or a stretch of it, to mono at a sample rate.

    Channels are averaged; the result is resampled with soxr's ``HQ`` setting where the rates
    differ. Samples are not scaled: full scale of integer formats is 1.0.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that libsndfile or, where it is installed, PyAV reads.
    rate : int > 0, optional
        Sample rate of the result in Hz; the file's own where it is not given.
    start, end : float >= 0, optional
        The stretch to read, in seconds from the file's begin; the whole file by default. An end
        that passes the file's by less than 0.1 s means the file's end.
    crop : float > 0, optional
        Seconds of the stretch that are wanted: little more is decoded. The waveform is as long or
        longer, if the stretch is; up to there it is the same as without.

    Returns
    -------
    Decoded
        The waveform, at least one sample long and finite, and the stretch's duration.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated, empty, holds NaN or infinite samples, or
        does not hold the stretch; the message names the file.
    """
    with open_audio(path, start=start, end=end) as recording:
        return decode(recording, rate, crop=crop)


def decode(
    recording: Recording, rate: int | None = None, *, crop: float | None = None
) -> DecodedAudio:
    """Decode a recording that is open, once; see :func:`load`.

    Parameters
    ----------
    recording : Recording
        From :func:`open_audio`.
    rate : int > 0, optional
        As for :func:`load`.
    crop : float > 0, optional
        As for :func:`load`.

    Returns
    -------
    Decoded
        The waveform, and the stretch's duration.

    Raises
    ------
    AudioError
        If it is truncated or damaged, or holds NaN or infinite samples.
    """
    with _with_path(recording.path):
        wave, seconds = _read(recording, crop)
        if rate is not None and rate != recording.rate:
            wave = soxr.resample(wave, recording.rate, rate, quality="HQ")
            if not len(wave):  # shorter than one sample at the new rate
                wave = np.zeros(1, np.float32)
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    return DecodedAudio(wave, rate or recording.rate, seconds)


def _read(recording: Recording, crop: float | None) -> tuple[Waveform, float]:
    """Return the samples of a stretch, as far as they are wanted, and how long all of it is."""
    blocks: list[Waveform] = []
    wanted = float("inf") if crop is None else math.ceil((crop + _AFTER) * recording.rate)
    total = 0
    for block in recording.blocks(int(min(_BLOCK, wanted))):
        if total < wanted:  # what follows is only counted
            blocks.append(block)
        total += len(block)
        if total >= wanted and recording.seconds is not None:
            return np.concatenate(blocks), recording.seconds
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), total / recording.rate


@contextmanager
def _with_path(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file into an error that names it."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path}: not audio, or damaged ({soundfile_backend.reason(error)})"
        ) from error
    except OSError as error:
        raise AudioError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (TypeError, ValueError) as error:  # headerless formats, a NUL in the name
        raise AudioError(f"{path}: cannot be opened ({error})") from error
    except MemoryError as error:
        raise AudioError(f"{path}: does not fit into this machine's memory") from error
