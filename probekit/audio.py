"""A recording on disk becomes a mono float32 waveform at a rate: decode, downmix, resample.

libsndfile decodes (wav, flac, ogg, mp3) and soxr resamples; both leave Python's lock alone while
they work, so threads decode side by side.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from probekit import mpeg
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".opus"})
FOREIGN = frozenset({".m4a", ".mp4", ".aac", ".wma", ".webm", ".mkv", ".mov", ".amr"})
"""Recordings that libsndfile does not decode: they become failures, never left out in silence."""
_BLOCK = 1 << 22  # samples to decode at once
_SLACK = 0.1  # seconds by which a stated end may pass the real one: metadata rounds


@dataclass(frozen=True)
class Decoded:
    """A waveform as decoded.

    Attributes
    ----------
    wave : numpy.ndarray, shape (samples,), float32
        Mono, at :attr:`rate`.
    rate : int
        Sample rate in Hz: the one asked for, else the file's own.
    seconds : float
        Duration before resampling, in seconds.
    """

    wave: Waveform
    rate: int
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
        The stretch to read, in seconds from the file's begin; the whole file by default. An end
        that passes the file's by less than 0.1 s means the file's end.

    Returns
    -------
    Decoded
        The waveform, at least one sample long and finite, and its duration.

    Raises
    ------
    AudioError
        If the file is missing, unreadable, truncated, empty, holds NaN or infinite samples, or
        does not hold the stretch; the message names the file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise AudioError(f"{path}: is {'a folder' if path.is_dir() else 'no ordinary file'}")
        with path.open("rb") as stream:
            _refuse_truncated(path, stream)
        with soundfile.SoundFile(str(path)) as sound:
            own_rate, total = sound.samplerate, sound.frames
            first, last = _span(path, own_rate, total, start, end)
            sound.seek(first) if first else None
            wave = _read_mono(sound, last - first)
            exact = sound.format != "MP3" or mpeg.states_length(path)
    except soundfile.LibsndfileError as error:
        if path.suffix.lower() in FOREIGN:
            raise AudioError(
                f"{path}: {path.suffix} is not decoded; convert it, for example to flac"
            ) from error
        raise AudioError(f"{path}: not audio, or damaged ({_plain(error)})") from error
    except OSError as error:
        raise AudioError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (TypeError, ValueError) as error:  # headerless formats, a NUL in the name
        raise AudioError(f"{path}: cannot be opened ({error})") from error
    except MemoryError as error:
        raise AudioError(f"{path}: does not fit into this machine's memory") from error
    missing = last - first - len(wave)
    if missing > (0 if exact else _SLACK * own_rate if end is not None else last - first - 1):
        raise AudioError(f"{path}: truncated: {len(wave)} of {last - first} samples could be read")
    if not np.isfinite(wave).all():
        bad = np.flatnonzero(~np.isfinite(wave))
        raise AudioError(
            f"{path}: {len(bad)} of {len(wave)} samples are NaN or infinite, the first at "
            f"{(first + bad[0]) / own_rate:.3f} s"
        )
    seconds = len(wave) / own_rate
    if rate is not None and rate != own_rate:
        wave = soxr.resample(wave, own_rate, rate, quality="HQ")
        if not len(wave):  # shorter than one sample at the new rate
            wave = np.zeros(1, np.float32)
    return Decoded(np.ascontiguousarray(wave, dtype=np.float32), rate or own_rate, seconds)


def _read_mono(sound: soundfile.SoundFile, count: int) -> Waveform:
    """Read samples and average channels, block by block: a damaged header may promise terabytes."""
    blocks: list[Waveform] = []
    while count > 0:
        block = sound.read(min(count, _BLOCK), dtype="float32", always_2d=True)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        blocks.append(mono)
        count = count - len(block) if len(block) else 0
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _span(
    path: Path, rate: int, total: int, start: float | None, end: float | None
) -> tuple[int, int]:
    """Turn seconds into samples, and refuse what the file does not hold."""
    if total == 0:
        raise AudioError(f"{path}: holds no samples")
    begin, stop = start or 0.0, total / rate if end is None else end
    stretch = f"the clip asks for {begin:.3f} s to {'the end' if end is None else f'{end:.3f} s'}"
    if not (math.isfinite(begin) and math.isfinite(stop)) or begin < 0:
        raise AudioError(f"{path}: {stretch}; seconds count from 0, the file's begin")
    first, last = round(begin * rate), total if end is None else round(stop * rate)
    if last > total + _SLACK * rate or first >= total:
        raise AudioError(f"{path}: is {total / rate:.3f} s long, {stretch}")
    last = min(last, total)
    if last <= first:
        raise AudioError(f"{path}: {stretch}: the end must come after the start")
    return first, last


def _plain(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's reason without its preamble."""
    return str(error.error_string).lower().removeprefix("error : ").rstrip(".")


def _refuse_truncated(path: Path, stream: BinaryIO) -> None:
    """Raise where a wav, aiff or au promises more bytes of samples than the file has.

    libsndfile silently shortens such a file. Sizes of 0 and near 2**32 are what programs that
    write to a pipe leave behind: they promise nothing.
    """
    length = path.stat().st_size
    head = stream.read(12)
    kind, form = head[:4], head[8:12]
    if (kind, form) in ((b"RIFF", b"WAVE"), (b"RIFX", b"WAVE")):
        promised, at = _chunk(stream, b"data", "<I" if kind == b"RIFF" else ">I")
    elif kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        promised, at = _chunk(stream, b"SSND", ">I")
    elif kind == b".snd" and len(head) == 12:
        at, promised = struct.unpack(">4xII", head)
    else:
        return
    if 0 < promised < 0xFFFFF000 and length - at < promised:
        raise AudioError(
            f"{path}: truncated: the header promises {promised} bytes of samples, "
            f"the file has {max(0, length - at)}"
        )


def _chunk(stream: BinaryIO, wanted: bytes, order: str) -> tuple[int, int]:
    """Return the stated size of a chunk, 0 if there is none, and where its content begins."""
    at = 12
    for _ in range(1000):  # far more chunks than a sound file has
        head = stream.read(8)
        if len(head) < 8:
            break
        size: int = struct.unpack(order, head[4:])[0]
        at += 8
        if head[:4] == wanted:
            return size, at
        at += size + size % 2
        stream.seek(at)
    return 0, at
