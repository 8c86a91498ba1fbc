"""libsndfile backend: reads wav, flac, ogg, mp3, aiff and more."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from probekit.audio.contents import Contents, PiecedFile
from probekit.audio.decoder_messages import catch_messages
from probekit.audio.downmix import Downmix
from probekit.audio.segment import END_TOLERANCE_S, accept_shortage, segment_to_samples
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf",
    ".opus", ".rf64", ".w64", ".wave", ".mp2", ".mpga",
})  # fmt: skip

_MPEG_FRAME = 1152  # samples, at most
_MAX_MESSAGES = 2  # of the decoder, that are noted
_COUNTED = "Warning: Xing stream size off"  # says nothing, as frames were counted
_SKIP_BLOCK = 1 << 20  # samples to decode at once where positions cannot be sought


class _File(soundfile.SoundFile):
    """A file that is read from front to back.

    soundfile seeks after each read of a file that it takes for seekable: in FLAC with numbers of
    another file it then reads samples again.
    """

    def seekable(self) -> bool:
        """Return False."""
        return False


class SoundFileReader:
    """Reader of a segment of a recording.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    start, end : float >= 0 or None
        The segment in seconds; None: start and end of the file.
    contents : Contents
        What the file holds.
    allow_truncated : float from 0 to 1
        Share of the segment that may be missing.

    Raises
    ------
    AudioError
        If the file is truncated or does not hold the segment.
    soundfile.LibsndfileError, OSError, TypeError, ValueError
        If libsndfile cannot read the file.
    """

    def __init__(
        self,
        path: Path,
        start: float | None,
        end: float | None,
        contents: Contents,
        allow_truncated: float = 0.0,
    ) -> None:
        self._path, self._contents, self._allowed = path, contents, allow_truncated
        self._slack = 0  # samples that may be missing, since the length is not known exactly
        self._notes = list(contents.notes)
        self._messages: list[str] = []
        self._downmix = Downmix()
        self._streams: list[PiecedFile] = []
        self._files: list[soundfile.SoundFile] = []
        try:
            self._open()
            self.sr: int = self._files[0].samplerate
            self._select(start, end)
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

    @property
    def notes(self) -> list[str]:
        """What is odd in what was decoded so far, but no fault."""
        messages = [text for text in self._messages if not text.startswith(_COUNTED)]
        messages = [f"libmpg123: {text}" for text in messages[:_MAX_MESSAGES]]
        return [*self._notes, *messages, *self._downmix.notes]

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Yield the mean of the channels, ``samples`` at a time at most.

        Memory follows what is read, not the header: a damaged one may declare terabytes.

        Raises
        ------
        AudioError
            After the last block, if there are fewer samples than the header declares.
        """
        n_read, skip = 0, self._first
        for file in self._files:
            if skip >= file.frames:
                skip -= file.frames
                continue
            if skip:
                self._seek(file, skip)
            remaining = min(file.frames - skip, self._count - n_read)
            skip = 0
            while remaining > 0:
                block = self._read(file, min(remaining, samples))
                if len(block):
                    n_read += len(block)
                    yield self._downmix(block)
                if len(block) < min(remaining, samples):
                    break  # a decoder returns less only at the end
                remaining -= len(block)
        self._check_count(n_read)

    def close(self) -> None:
        """Close the file."""
        for file in [*self._files, *self._streams]:
            file.close()

    def _open(self) -> None:
        """Open the file, or each of the recordings in it."""
        with self._catch_messages() if self._contents.kind == "mp3" else nullcontext():
            if not self._contents.sources:
                self._files.append(_File(str(self._path)))
                return
            for pieces in self._contents.sources:
                self._streams.append(PiecedFile(self._path, pieces))
                self._files.append(_File(self._streams[-1]))
        kinds = sorted({file.samplerate for file in self._files})
        if len(kinds) > 1:
            raise AudioError(
                f"{self._path}: holds recordings at {' and '.join(map(str, kinds))} Hz, one after "
                "the other. Split it into files"
            )

    def _select(self, start: float | None, end: float | None) -> None:
        """Determine first sample and number of samples, and check that they are in the file."""
        contents = self._contents
        total = sum(file.frames for file in self._files)
        if total < contents.at_least:
            raise AudioError(
                f"{self._path}: damaged: {total} of {contents.at_least} samples are found"
            )
        present, complete, declared = total, total, total
        if contents.truncated and contents.counts_all:
            present = int(total * (contents.share or 0))
            complete = present - 2 * _MPEG_FRAME  # a decoder needs some frames before it is exact
        unknown = bool(contents.truncated) and contents.share is None
        if contents.truncated and not contents.counts_all and contents.share:
            declared = round(total / contents.share)
        self._first, last = segment_to_samples(
            self._path, self.sr, None if unknown else declared, start, end
        )
        # where positions are not known, not even a segment before the end is
        if contents.truncated and (last is None or last > complete or not contents.seekable):
            missing = 1.0
            if last is not None and self._first < present:
                missing = max(0.0, last - present) / (last - self._first)
            if not contents.seekable:
                missing = max(missing, 1 - (contents.share or 0))
            allowed = self._allowed if self._first < present else -1.0
            self._notes.append(accept_shortage(self._path, contents.truncated, missing, allowed))
            self._slack = present - complete
            last = present if last is None else min(last, present)
        self._count = (present if last is None else last) - self._first
        if not contents.exact:
            required = max(1, contents.at_least - self._first)
            self._slack = self._count - min(self._count, required)
            if end is not None:
                self._slack = int(END_TOLERANCE_S * self.sr)

    def _seek(self, file: soundfile.SoundFile, position: int) -> None:
        """Move to a sample, or decode what is before it."""
        if self._contents.seekable:
            with self._catch_messages() if self._contents.kind == "mp3" else nullcontext():
                file.seek(position)
            return
        while position > 0:
            skipped = len(self._read(file, min(position, _SKIP_BLOCK)))
            if not skipped:
                break
            position -= skipped

    def _check_count(self, n_read: int) -> None:
        """Raise if fewer samples were read than there should be."""
        missing = self._count - n_read
        if missing > self._slack:
            reason = f"truncated: {n_read} of {self._count} samples could be read"
            allowed = self._allowed if n_read else -1.0
            note = accept_shortage(self._path, reason, missing / self._count, allowed)
            self._notes.append(note)

    def _read(self, file: soundfile.SoundFile, samples: int) -> Waveform:
        """Read samples of all channels, shape (samples, channels)."""
        if file.subtype == "PCM_16":  # the same numbers in a third of libsndfile's time
            integers = file.read(samples, dtype="int16", always_2d=True)
            return np.multiply(integers, np.float32(2**-15), dtype=np.float32)
        if self._contents.kind != "mp3":
            block: Waveform = file.read(samples, dtype="float32", always_2d=True)
            return block
        with self._catch_messages():
            block = file.read(samples, dtype="float32", always_2d=True)
        return block

    @contextmanager
    def _catch_messages(self) -> Iterator[None]:
        """Collect what libmpg123 prints."""
        with catch_messages() as lines:
            try:
                yield
            except soundfile.LibsndfileError as error:
                if not self._files or not lines():
                    raise
                reason = f"damaged (libmpg123: {lines()[-1]})"
                raise AudioError(f"{self._path}: {reason}") from error
            finally:
                self._messages += [line for line in lines() if line not in self._messages]


def libsndfile_reason(error: soundfile.LibsndfileError) -> str:
    """Return libsndfile's message in lower case, without its preamble and full stop."""
    reason = str(error.error_string).lower().removeprefix("error : ").rstrip(".")
    # said of anything that libmpg123 refuses
    return "no mpeg audio was found" if "possibly a pipe" in reason else reason
