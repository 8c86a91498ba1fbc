"""A recording on disk becomes a mono float32 waveform at a rate: decode, downmix, resample.

libsndfile decodes (wav, flac, ogg, mp3) and soxr resamples; both leave Python's lock alone while
they work, so threads decode side by side.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".opus"})
_SLACK = 0.1  # seconds by which a stated end may pass the real one: metadata rounds


@dataclass(frozen=True)
class Decoded:
    """A waveform as decoded.

    Attributes
    ----------
    wave : numpy.ndarray, shape (samples,), float32
        Mono, at the rate that was asked for.
    seconds : float
        Duration before resampling, in seconds.
    """

    wave: Waveform
    seconds: float


def load(
    path: str | Path,
    rate: int | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Decoded:
    """Decode a recording, or a stretch of it, to mono at a sample rate.

    Channels are averaged; the result is resampled with soxr's ``HQ`` setting where the rates
    differ. Samples are not scaled: full scale of integer formats is 1.0.

    Parameters
    ----------
    path : str or pathlib.Path
        A file that libsndfile reads.
    rate : int > 0, optional
        Sample rate of the result in Hz; the file's own where it is not given.
    start, end : float >= 0, optional
        The stretch to read, in seconds from the file's begin; the whole file by default.

    Returns
    -------
    Decoded
        The waveform, at least one sample long and finite, and its duration.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated, empty, holds NaN or infinite samples, or
        does not reach to ``start``; the message names the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            _refuse_truncated_wav(path, stream.read(1 << 16))
        with soundfile.SoundFile(str(path)) as sound:
            own_rate, total = sound.samplerate, sound.frames
            first, last = _span(path, own_rate, total, start, end)
            sound.seek(first) if first else None
            samples = sound.read(last - first, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not audio that can be decoded ({_plain(error)})") from error
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from error
    if len(samples) < last - first:
        raise AudioError(
            f"{path}: truncated: {len(samples)} of {last - first} samples could be read"
        )
    wave = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(wave).all():
        bad = np.flatnonzero(~np.isfinite(wave))
        raise AudioError(
            f"{path}: {len(bad)} samples are NaN or infinite, the first at "
            f"{(first + bad[0]) / own_rate:.3f} s"
        )
    seconds = len(wave) / own_rate
    if rate is not None and rate != own_rate:
        wave = soxr.resample(wave, own_rate, rate, quality="HQ")
        if not len(wave):  # shorter than one sample at the new rate
            wave = np.zeros(1, np.float32)
    return Decoded(np.ascontiguousarray(wave, dtype=np.float32), seconds)


def _span(
    path: Path, rate: int, total: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """Turn seconds into samples, and refuse what the file does not hold."""
    if total == 0:
        raise AudioError(f"{path}: holds no samples")
    first = round((start or 0.0) * rate)
    last = total if end is None else round(end * rate)
    if last > total + _SLACK * rate or first >= total:
        raise AudioError(
            f"{path}: is {total / rate:.3f} s long, the clip asks for "
            f"{first / rate:.3f} to {last / rate:.3f} s"
        )
    last = min(last, total)
    if last <= first:
        raise AudioError(f"{path}: the clip's end ({end} s) is not after its start ({start} s)")
    return first, last


def _plain(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's reason without its preamble."""
    return str(error.error_string).rstrip(".").lower()


def _refuse_truncated_wav(path: Path, head: bytes) -> None:
    """Raise where a wav's data chunk promises more bytes than the file has.

    libsndfile silently shortens such a file. Sizes of 0 and near 2**32 are what programs that
    write to a pipe leave behind: they promise nothing.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(head):
        name, size = head[at : at + 4], struct.unpack("<I", head[at + 4 : at + 8])[0]
        if name == b"data":
            there = path.stat().st_size - at - 8
            if 0 < size < 0xFFFFF000 and there < size:
                raise AudioError(
                    f"{path}: truncated: the header promises {size} bytes of samples, "
                    f"the file has {there}"
                )
            return
        at += 8 + size + size % 2
