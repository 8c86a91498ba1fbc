"""Audio loading: decode a recording or a segment of it, downmix to mono, resample.

libsndfile decodes wav, flac, ogg, mp3 and more; PyAV the rest (mp4, webm, m4a …), and what
libsndfile does not know; soxr resamples. All of them release the GIL, so threads decode in
parallel. What is decoded is compared with what the container declares: a recording is complete, or
an error says what is missing.
"""

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from probekit.audio import archives, pyav_backend, soundfile_backend
from probekit.audio.container import inspect
from probekit.errors import AudioError
from probekit.utils import lfs_pointer

Waveform = npt.NDArray[np.float32]

SUFFIXES = soundfile_backend.SUFFIXES
"""Suffixes of recordings that libsndfile decodes."""
PYAV_SUFFIXES = pyav_backend.SUFFIXES
"""Suffixes of recordings that PyAV decodes."""
SAMPLE_RATES = 1_000, 1_000_000
"""Valid range of sample rates in Hz; a header outside it is treated as damaged."""
_BLOCK = 1 << 22  # samples to decode at once
_CROP_MARGIN = 1.0  # seconds decoded behind a crop: far more than a resampler looks ahead


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded waveform.

    Attributes
    ----------
    wave : numpy.ndarray, shape (samples,), float32
        Mono, at :attr:`sr`.
    sr : int
        Sample rate in Hz: the requested one, or the file's own.
    duration : float
        Duration of the segment in seconds, before resampling; :attr:`wave` may be only its
        beginning.
    notes : tuple of str
        What is odd, but no fault: a truncated recording that was accepted, channels that cancel
        each other, messages of the decoder.
    """

    wave: Waveform
    sr: int
    duration: float
    notes: tuple[str, ...] = ()


class _Reader(Protocol):
    """A backend's reader of one segment: ``SoundFileReader`` or ``PyAVReader``."""

    sr: int

    @property
    def notes(self) -> list[str]: ...

    @property
    def start(self) -> float: ...

    @property
    def duration(self) -> float | None: ...

    def blocks(self, samples: int) -> Iterator[Waveform]: ...

    def close(self) -> None: ...


class Recording:
    """An open segment of a recording, to be decoded once, block by block.

    Made by :func:`open_audio`.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    reader : SoundFileReader or PyAVReader
        Decodes the segment.

    Attributes
    ----------
    sr : int
        Sample rate in Hz.
    duration : float or None
        Duration of the segment in seconds as the file declares it; None if it does not.
    """

    def __init__(self, path: Path, reader: _Reader) -> None:
        self.path = path
        self.sr = reader.sr
        self.duration = reader.duration
        self._reader = reader

    @property
    def notes(self) -> tuple[str, ...]:
        """What is odd in what was decoded so far, but no fault; see :class:`DecodedAudio`."""
        return tuple(dict.fromkeys(self._reader.notes))

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Decode block by block.

        Parameters
        ----------
        samples : int >= 1
            About how many to decode at once.

        Yields
        ------
        numpy.ndarray, shape (n,), n >= 1, float32
            The mean of the channels; full scale of integer formats is 1.0.

        Raises
        ------
        AudioError
            If the file is damaged or truncated, or holds NaN or infinite samples; the message
            names the file. Raised after the last valid block.
        """
        blocks = self._reader.blocks(samples)
        total, invalid, first_invalid = 0, 0, 0
        while True:
            with _translate_errors(self.path):
                block = next(blocks, None)
            if block is None:
                break
            finite = np.isfinite(block)
            if not finite.all():
                if not invalid:
                    first_invalid = total + int(finite.argmin())
                invalid += int((~finite).sum())
            total += len(block)
            if not invalid:
                yield block
        if invalid:
            raise AudioError(
                f"{self.path}: {invalid} of {total} samples are NaN or infinite, the first at "
                f"{self._reader.start + first_invalid / self.sr:.3f} s"
            )


@contextmanager
def open_audio(
    path: str | Path,
    *,
    start: float | None = None,
    end: float | None = None,
    allow_truncated: float = 0.0,
) -> Iterator[Recording]:
    """Open a recording, or a segment of it, for decoding block by block.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that libsndfile or PyAV reads; or ``FILE::NAME``, a recording inside of a larger file
        (:mod:`probekit.audio.archives`).
    start, end : float >= 0, optional
        The segment, in seconds from the start of the file; the whole file by default. An ``end``
        less than 0.1 s beyond the end of the file means the end of the file.
    allow_truncated : float from 0 to 1
        Share of the segment that may be missing at the end of a truncated file. Where the file does
        not tell how much is missing, only 1 accepts it.

    Yields
    ------
    Recording
        Sample rate, duration and blocks of samples.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated or empty, its sample rate is outside
        :data:`SAMPLE_RATES`, or it does not hold the segment; the message names the file.

    See Also
    --------
    load : Decode all of it at once.
    """
    path = Path(path)
    if archives.split(path):
        with (
            archives.on_disk(path) as real,
            _rename(real, path),
            open_audio(real, start=start, end=end, allow_truncated=allow_truncated) as member,
        ):
            yield member
        return
    with _translate_errors(path):
        reader = _open_reader(path, start, end, allow_truncated)
    try:
        low, high = SAMPLE_RATES
        if not low <= reader.sr <= high:
            raise AudioError(
                f"{path}: sample rate must be from {low:,} to {high:,} Hz, got {reader.sr:,}"
            )
        yield Recording(path, reader)
    finally:
        reader.close()


def load(
    path: str | Path,
    sr: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    crop: float | None = None,
    allow_truncated: float = 0.0,
) -> DecodedAudio:
    """Load a recording, or a segment of it, as a mono waveform.

    Channels are averaged; where the sample rates differ, soxr resamples with quality ``HQ``.
    Samples are not scaled: full scale of integer formats is 1.0.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that libsndfile or PyAV reads.
    sr : int > 0, optional
        Sample rate of the result in Hz; by default the file's own.
    start, end : float >= 0, optional
        The segment, in seconds from the start of the file; the whole file by default. An ``end``
        less than 0.1 s beyond the end of the file means the end of the file.
    crop : float > 0, optional
        How many seconds of the segment are needed. Little more is decoded; the waveform is at
        least that long if the segment is, and up to there the same as without ``crop``.
    allow_truncated : float from 0 to 1
        Share of the segment that may be missing at the end of a truncated file. Where the file does
        not tell how much is missing, only 1 accepts it.

    Returns
    -------
    DecodedAudio
        The waveform, at least one sample long and finite, and the duration of the segment.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated or empty, holds NaN or infinite samples, or
        does not hold the segment; the message names the file.

    See Also
    --------
    open_audio : Decode block by block, in constant memory.

    Examples
    --------
    >>> import numpy as np
    >>> import soundfile
    >>> from probekit import audio
    >>> soundfile.write("tone.wav", np.sin(2 * np.pi * 440 / 44100 * np.arange(44100)), 44100)
    >>> tone = audio.load("tone.wav", sr=16000)
    >>> tone.wave.shape, tone.sr, tone.duration
    ((16000,), 16000, 1.0)

    A segment, at the file's own sample rate:

    >>> audio.load("tone.wav", start=0.25, end=0.75).wave.shape
    (22050,)
    """
    with open_audio(path, start=start, end=end, allow_truncated=allow_truncated) as recording:
        return decode(recording, sr, crop=crop)


def decode(
    recording: Recording, sr: int | None = None, *, crop: float | None = None
) -> DecodedAudio:
    """Decode an open recording to its end; parameters and errors are those of :func:`load`."""
    with _translate_errors(recording.path):
        wave, duration = _read(recording, crop)
        if sr is not None and sr != recording.sr:
            wave = soxr.resample(wave, recording.sr, sr, quality="HQ")
            if not len(wave):  # shorter than one sample at the new rate
                wave = np.zeros(1, np.float32)
    wave = np.ascontiguousarray(wave, dtype=np.float32)
    return DecodedAudio(wave, sr or recording.sr, duration, recording.notes)


def _open_reader(
    path: Path, start: float | None, end: float | None, allow_truncated: float
) -> _Reader:
    """Open a file with libsndfile, or with PyAV what libsndfile does not know."""
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would block
        kind = "is a directory" if stat.S_ISDIR(facts.st_mode) else "is not a regular file"
        raise AudioError(f"{path}: {kind}")
    head, contents = inspect(path, facts.st_size, facts.st_mtime_ns)
    if lfs_pointer.is_pointer(head):
        raise AudioError(f"{path}: is a Git LFS pointer, not audio; {lfs_pointer.ADVICE}")
    if contents.damage:
        raise AudioError(f"{path}: {contents.damage}")
    arguments = path, start, end, contents, allow_truncated
    if pyav_backend.is_pyav_file(path, head):
        return pyav_backend.PyAVReader(*arguments)
    try:
        return soundfile_backend.SoundFileReader(*arguments)
    except soundfile.LibsndfileError as error:
        if _is_web_page(head):
            raise AudioError(f"{path}: is a web page (HTML), not audio") from error
        if contents.kind in ("mp3", "flac") or len(contents.sources) > 1:
            raise
        if not pyav_backend.recognizes(path):
            if contents.truncated:
                raise AudioError(f"{path}: {contents.truncated}") from error
            raise
    return pyav_backend.PyAVReader(*arguments)


@contextmanager
def _rename(temporary: Path, path: Path) -> Iterator[None]:
    """Name a recording by its own path in messages about a temporary file."""
    try:
        yield
    except AudioError as error:
        raise AudioError(str(error).replace(str(temporary), str(path))) from error


def _is_web_page(head: bytes) -> bool:
    """Tell whether a file begins like HTML: a download that was refused."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return begin.startswith((b"<!doctype html", b"<html", b"<head", b"<!--"))


def _read(recording: Recording, crop: float | None) -> tuple[Waveform, float]:
    """Return the samples of a segment up to a crop, and the duration of the segment."""
    blocks: list[Waveform] = []
    limit = float("inf") if crop is None else math.ceil((crop + _CROP_MARGIN) * recording.sr)
    total = 0
    for block in recording.blocks(int(min(_BLOCK, limit))):
        if total < limit:  # later samples are only counted
            blocks.append(block)
        total += len(block)
        if total >= limit and recording.duration is not None:
            return np.concatenate(blocks), recording.duration
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), total / recording.sr


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn errors of the backends and of the operating system into one that names the file."""
    try:
        yield
    except soundfile.LibsndfileError as error:
        reason = soundfile_backend.libsndfile_reason(error)
        raise AudioError(f"{path}: not audio, or damaged ({reason})") from error
    except OSError as error:
        raise AudioError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (TypeError, ValueError) as error:  # headerless formats, a NUL in the name
        raise AudioError(f"{path}: cannot be opened ({error})") from error
    except MemoryError as error:
        raise AudioError(f"{path}: does not fit into this machine's memory") from error
