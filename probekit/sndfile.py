"""Recordings that libsndfile decodes: wav, flac, ogg, mp3, aiff and more."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from probekit import mpeg, stretch
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf",
    ".opus", ".rf64", ".w64",
})  # fmt: skip


class Sound:
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
            _refuse_truncated(path, stream)
        self._path, self._ends = path, end is not None
        self._file = soundfile.SoundFile(str(path))
        try:
            self.rate: int = self._file.samplerate
            total: int = self._file.frames
            self._first, last = stretch.samples(path, self.rate, total, start, end)
            self._count = (total if last is None else last) - self._first
            self._exact = self._file.format != "MP3" or mpeg.states_length(path)
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
            allowed = stretch.SLACK * self.rate
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
