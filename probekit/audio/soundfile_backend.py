"""Recordings that libsndfile decodes: wav, flac, ogg, mp3, aiff and more."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from probekit.audio import segment
from probekit.errors import AudioError

_TABLES = (b"Xing", b"Info", b"VBRI")
_KBPS = {  # of layer III, by version and index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44100, 48000, 32000)
_SEARCH = 1 << 16  # bytes in which the first frame is looked for


def has_length_header(path: Path) -> bool:
    """Tell whether an MP3 says how long it is, in a table in its first frame.

    Without that table the length follows from the bit rate if that is constant, within a frame or
    so. If it varies, libsndfile cuts minutes off or promises some that are not there.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    bool
        False if the length is an estimate, which may be too long.

    Raises
    ------
    AudioError
        If the bit rate varies and there is no table.
    """
    stat = path.stat()
    return _states_length(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _states_length(path: Path, size: int, mtime: int) -> bool:
    """Look into the file, once for all clips that are cut from it."""
    if not size:
        return False
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
        return _has_table(path, data)


def _has_table(path: Path, data: mmap) -> bool:
    """Look for a table in the first frame; where there is none, compare all frames' bit rates."""
    first: tuple[int, int, int] | None = None
    for at, length, kbps in _frames(data):
        if first is None:
            first = at, length, kbps
            if any(table in data[at : at + length] for table in _TABLES):
                return True
        elif kbps != first[2]:
            raise AudioError(
                f"{path}: an MP3 of variable bit rate that does not say how long it is (no Xing "
                "table). 'ffmpeg -i IN.mp3 -c copy OUT.mp3' adds one without loss"
            )
    return False


def _frames(data: mmap) -> Iterator[tuple[int, int, int]]:
    """Yield each frame's place, its length in bytes and its bit rate."""
    at = 0
    if data[:3] == b"ID3":  # 7 bits a byte
        digits = zip(data[6:10], (21, 14, 7, 0), strict=False)
        at = 10 + sum((byte & 127) << shift for byte, shift in digits)
    for start in range(at, min(at + _SEARCH, len(data))):
        found = _header(data, start)
        if found and (start + found[0] >= len(data) or _header(data, start + found[0])):
            at = start
            break
    while found := _header(data, at):
        yield at, *found
        at += found[0]


def _header(data: mmap, at: int) -> tuple[int, int] | None:
    """Return length in bytes and bit rate of the layer III frame at a place, if there is one."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    half = {3: 0, 2: 1, 0: 2}.get(data[at + 1] >> 3 & 3)  # versions 1, 2 and 2.5
    index, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if half is None or index in (0, 15) or rate == 3:
        return None
    kbps = _KBPS[min(half, 1) + 1][index]
    slots = (72 if half else 144) * kbps * 1000 // (_HZ[rate] >> half)
    return slots + (data[at + 2] >> 1 & 1), kbps


Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf",
    ".opus", ".rf64", ".w64",
})  # fmt: skip


class SoundFileReader:
    """A stretch of a recording, opened.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    start, end : float >= 0 or None
        The stretch in seconds; the whole file where they are None.

    Raises
    ------
    AudioError
        If the file is truncated or does not hold the stretch.
    soundfile.LibsndfileError, OSError, TypeError, ValueError
        If it is no file that libsndfile reads.
    """

    def __init__(self, path: Path, start: float | None, end: float | None) -> None:
        with path.open("rb") as stream:
            _check_not_truncated(path, stream)
        self._path, self._ends = path, end is not None
        self._file = soundfile.SoundFile(str(path))
        try:
            self.rate: int = self._file.samplerate
            total: int = self._file.frames
            self._first, last = segment.segment_to_samples(path, self.rate, total, start, end)
            self._count = (total if last is None else last) - self._first
            self._exact = self._file.format != "MP3" or has_length_header(path)
            if self._first:
                self._file.seek(self._first)
        except BaseException:
            self.close()
            raise

    @property
    def first(self) -> float:
        """Where the stretch begins in the file, in seconds."""
        return self._first / self.rate

    @property
    def seconds(self) -> float:
        """How long the stretch is, as the header says."""
        return self._count / self.rate

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Decode, block by block: a damaged header may promise terabytes.

        Parameters
        ----------
        samples : int >= 1
            How many to decode at once.

        Yields
        ------
        numpy.ndarray, shape (<= samples,), float32
            The mean of the channels.

        Raises
        ------
        AudioError
            After the last block, if there are fewer samples than the header promises.
        """
        got = 0
        while got < self._count:
            block = self._file.read(
                min(self._count - got, samples), dtype="float32", always_2d=True
            )
            if not len(block):
                break
            got += len(block)
            yield block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        allowed = 0.0 if self._exact else self._count - 1
        if not self._exact and self._ends:
            allowed = segment.END_TOLERANCE_S * self.rate
        if self._count - got > allowed:
            raise AudioError(
                f"{self._path}: truncated: {got} of {self._count} samples could be read"
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def reason(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's reason without its preamble.

    Parameters
    ----------
    error : soundfile.LibsndfileError
        What it raised.

    Returns
    -------
    str
        In lower case, without a full stop.
    """
    return str(error.error_string).lower().removeprefix("error : ").rstrip(".")


def _check_not_truncated(path: Path, stream: BinaryIO) -> None:
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
