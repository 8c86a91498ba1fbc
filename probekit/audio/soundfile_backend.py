"""libsndfile backend: reads wav, flac, ogg, mp3, aiff and more."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from probekit.audio.segment import END_TOLERANCE_S, segment_to_samples
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf",
    ".opus", ".rf64", ".w64",
})  # fmt: skip

_MP3_LENGTH_HEADERS = (b"Xing", b"Info", b"VBRI")
_MP3_KBPS = {  # of layer III, by version and index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_SAMPLE_RATES = (44100, 48000, 32000)
_MP3_SYNC_BYTES = 1 << 16  # bytes in which the first frame is searched


class SoundFileReader:
    """Reader of a segment of a recording.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    start, end : float >= 0 or None
        The segment in seconds; None: start and end of the file.

    Raises
    ------
    AudioError
        If the file is truncated or does not hold the segment.
    soundfile.LibsndfileError, OSError, TypeError, ValueError
        If libsndfile cannot read the file.
    """

    def __init__(self, path: Path, start: float | None, end: float | None) -> None:
        with path.open("rb") as stream:
            _check_not_truncated(path, stream)
        self._path, self._has_end = path, end is not None
        self._file = soundfile.SoundFile(str(path))
        try:
            self.sr: int = self._file.samplerate
            total: int = self._file.frames
            self._first, last = segment_to_samples(path, self.sr, total, start, end)
            self._count = (total if last is None else last) - self._first
            self._exact = self._file.format != "MP3" or has_length_header(path)
            if self._first:
                self._file.seek(self._first)
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> float:
        """Start of the segment in the file, in seconds."""
        return self._first / self.sr

    @property
    def duration(self) -> float:
        """Duration of the segment in seconds, by the header."""
        return self._count / self.sr

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Yield the mean of the channels, ``samples`` at a time at most.

        Memory follows what is read, not the header: a damaged one may declare terabytes.

        Raises
        ------
        AudioError
            After the last block, if there are fewer samples than the header declares.
        """
        n_read = 0
        while n_read < self._count:
            block = self._file.read(
                min(self._count - n_read, samples), dtype="float32", always_2d=True
            )
            if not len(block):
                break
            n_read += len(block)
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        allowed = 0.0 if self._exact else self._count - 1
        if not self._exact and self._has_end:
            allowed = END_TOLERANCE_S * self.sr
        if self._count - n_read > allowed:
            raise AudioError(
                f"{self._path}: truncated: {n_read} of {self._count} samples could be read"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def libsndfile_reason(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's message in lower case, without its preamble and full stop."""
    return str(error.error_string).lower().removeprefix("error : ").rstrip(".")


def has_length_header(path: Path) -> bool:
    """Tell whether an MP3 declares its length, in a Xing, Info or VBRI header.

    Without that header, the length follows from the bit rate if it is constant, to within a frame
    or so. If it varies, libsndfile cuts minutes off or declares some that do not exist.

    Returns
    -------
    bool
        False if the length is an estimate, which may be too long.

    Raises
    ------
    AudioError
        If the bit rate varies and there is no such header.
    """
    stat = path.stat()
    return _search_length_header(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _search_length_header(path: Path, size: int, mtime_ns: int) -> bool:
    """Search the file once for all clips that are cut from it."""
    if not size:
        return False
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        return _has_header(path, data)


def _has_header(path: Path, data: mmap) -> bool:
    """Search the first frame for a header; without one, compare the bit rates of all frames."""
    first: tuple[int, int, int] | None = None
    for offset, length, kbps in _mp3_frames(data):
        if first is None:
            first = offset, length, kbps
            if any(header in data[offset : offset + length] for header in _MP3_LENGTH_HEADERS):
                return True
        elif kbps != first[2]:
            raise AudioError(
                f"{path}: an MP3 of variable bit rate without a length header (Xing). "
                "'ffmpeg -i IN.mp3 -c copy OUT.mp3' adds one without loss"
            )
    return False


def _mp3_frames(data: mmap) -> Iterator[tuple[int, int, int]]:
    """Yield offset, length in bytes and bit rate of each frame."""
    offset = 0
    if data[:3] == b"ID3":  # its size is coded in 7 bits per byte
        digits = zip(data[6:10], (21, 14, 7, 0), strict=False)
        offset = 10 + sum((byte & 127) << shift for byte, shift in digits)
    for start in range(offset, min(offset + _MP3_SYNC_BYTES, len(data))):
        frame = _parse_mp3_frame(data, start)
        if frame and (start + frame[0] >= len(data) or _parse_mp3_frame(data, start + frame[0])):
            offset = start
            break
    while frame := _parse_mp3_frame(data, offset):
        yield offset, *frame
        offset += frame[0]


def _parse_mp3_frame(data: mmap, offset: int) -> tuple[int, int] | None:
    """Return length in bytes and bit rate of the layer III frame at an offset, or None."""
    if offset + 4 > len(data) or data[offset] != 0xFF or data[offset + 1] & 0xE6 != 0xE2:
        return None
    half = {3: 0, 2: 1, 0: 2}.get(data[offset + 1] >> 3 & 3)  # versions 1, 2 and 2.5
    index, rate = data[offset + 2] >> 4, data[offset + 2] >> 2 & 3
    if half is None or index in (0, 15) or rate == 3:
        return None
    kbps = _MP3_KBPS[min(half, 1) + 1][index]
    slots = (72 if half else 144) * kbps * 1000 // (_MP3_SAMPLE_RATES[rate] >> half)
    return slots + (data[offset + 2] >> 1 & 1), kbps


def _check_not_truncated(path: Path, stream: BinaryIO) -> None:
    """Raise if a wav, aiff or au declares more bytes of samples than the file has.

    libsndfile silently shortens such a file. Sizes of 0 and near 2**32 are left behind by programs
    that write to a pipe: they declare nothing.
    """
    length = path.stat().st_size
    head = stream.read(12)
    kind, form = head[:4], head[8:12]
    if (kind, form) in ((b"RIFF", b"WAVE"), (b"RIFX", b"WAVE")):
        declared, offset = _find_chunk(stream, b"data", "<I" if kind == b"RIFF" else ">I")
    elif kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        declared, offset = _find_chunk(stream, b"SSND", ">I")
    elif kind == b".snd" and len(head) == 12:
        offset, declared = struct.unpack(">4xII", head)
    else:
        return
    if 0 < declared < 0xFFFFF000 and length - offset < declared:
        raise AudioError(
            f"{path}: truncated: the header declares {declared} bytes of samples, "
            f"the file has {max(0, length - offset)}"
        )


def _find_chunk(stream: BinaryIO, name: bytes, size_format: str) -> tuple[int, int]:
    """Return the declared size of a chunk, 0 if there is none, and the offset of its content."""
    offset = 12
    for _ in range(1000):  # far more chunks than a sound file has
        head = stream.read(8)
        if len(head) < 8:
            break
        size: int = struct.unpack(size_format, head[4:])[0]
        offset += 8
        if head[:4] == name:
            return size, offset
        offset += size + size % 2
        stream.seek(offset)
    return 0, offset
