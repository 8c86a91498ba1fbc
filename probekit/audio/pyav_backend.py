"""PyAV backend: reads the audio of containers (mp4, webm, m4a …) on the container's time line.

Time counts from the start of the container, so that the times of a video's annotations hold: where
its audio starts later, or has a gap, there are zeros. A segment is reached by seeking where the
container stores exact times, else by decoding everything before it. It equals that of the whole
track, except for noise that decoders synthesize (AAC, and AC-3 in MP4, Matroska or AVI, at low bit
rates), and behind gaps in Matroska and WebM, which store times in milliseconds only.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from probekit.audio.contents import Contents
from probekit.audio.downmix import Downmix
from probekit.audio.segment import (
    END_TOLERANCE_S,
    accept_shortage,
    segment_to_samples,
    too_short_error,
)
from probekit.errors import AudioError

Waveform = npt.NDArray[np.float32]

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".eac3", ".flv", ".m2ts", ".m4a", ".m4b",
    ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".spx", ".tta", ".vob",
    ".webm", ".wma", ".wmv", ".wv",
})  # fmt: skip
# formats that can name other files or addresses (playlists, concat scripts) are not among these
_FORMATS = (
    "mov,matroska,asf,aac,ac3,eac3,amr,ape,aiff,au,avi,caf,flac,flv,mp3,mpeg,mpegts,ogg,tta,w64,"
    "wav,wv"
)
# formats that store exact times, or an index: a segment is found without decoding what is before
_SEEKABLE = ("mov", "matroska", "asf", "avi", "aac", "wav", "w64", "aiff", "caf", "tta")
# formats whose header says how long they are
_DECLARING = ("caf", "tta", "wv", "ape", "ogg")
# formats that anything may look like
_AMBIGUOUS = ("mp3", "aac", "amr")
_LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"caff")
_PYAV_MAGIC = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")  # mkv, asf, amr

_PREROLL = 1.0  # seconds decoded before a segment, so that the decoder has settled
_GAP = 0.05  # seconds by which time stamps may be off before it is a gap
_LONGEST_GAP = 3600.0  # seconds; a longer one is a damaged time stamp
_LENGTH_TOLERANCE = 0.25  # seconds by which declared lengths are off in intact files
_SILENCE_BLOCK = 1 << 16  # samples of silence at once
_MAX_PLANES = 8  # PyAV 18 reads beyond a list of so many planes, which crashes the process
_HEAD_FRAMES = 3  # frames decoded before anything else: what a container declares can be wrong


def is_pyav_file(path: Path, head: bytes) -> bool:
    """Tell by its first bytes and its suffix whether a file must be read with PyAV."""
    head = head[:12]
    raw_aac = head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0
    video = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if raw_aac or video or head[4:8] == b"ftyp" or head.startswith(_PYAV_MAGIC):
        return True
    return path.suffix.lower() in SUFFIXES and not head.startswith(_LIBSNDFILE_MAGIC)


def recognizes(path: Path) -> bool:
    """Tell whether PyAV knows a file's container: no format that anything may look like."""
    try:
        container, _ = _open_track(path)
    except AudioError:
        return False
    name: str = container.format.name
    container.close()
    return name not in _AMBIGUOUS


class PyAVReader:
    """Reader of a segment of a container's audio.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    start, end : float >= 0 or None
        The segment in seconds; None: start and end of the track.
    contents : Contents
        What the file holds.
    allow_truncated : float from 0 to 1
        Share of the segment that may be missing.

    Raises
    ------
    AudioError
        If the file is no container or has no audio, or it declares a duration that does not hold
        the segment.
    """

    def __init__(
        self,
        path: Path,
        start: float | None,
        end: float | None,
        contents: Contents | None = None,
        allow_truncated: float = 0.0,
    ) -> None:
        self._path, self._request = path, (start, end)
        self._contents, self._allowed = contents or Contents(), allow_truncated
        self._notes: list[str] = []
        self._downmix = Downmix()
        self._av = _import_pyav(path)
        if self._contents.truncated and end is None:
            missing = 1 - (self._contents.share or 0)
            accept_shortage(path, self._contents.truncated, missing, allow_truncated)
        self._open()
        try:
            self._frames = self._decode()
            self._head = list(islice(self._frames, _HEAD_FRAMES))
            if not self._head:
                raise AudioError(f"{path}: holds no samples")
            self.sr: int = self._head[0].sample_rate
            end_time = _declared_end(self._container, self._stream)
            self._declared = None if end_time is None else end_time - self._zero
            total = None
            if self._declared is not None and not self._contents.truncated:
                total = round(self._declared * self.sr)
            self._first, last = segment_to_samples(path, self.sr, total, start, end)
            # samples beyond the declared end belong to the whole track
            self._last = None if end is None else last
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> float:
        """Start of the segment in the file, in seconds."""
        return self._first / self.sr

    @property
    def duration(self) -> float | None:
        """Duration of the segment in seconds, by the container; None if it declares none."""
        if self._last is not None:
            return (self._last - self._first) / self.sr
        return None if self._declared is None else self._declared - self.start

    @property
    def notes(self) -> list[str]:
        """What is odd in what was decoded so far, but no fault."""
        return [*self._notes, *self._downmix.notes]

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Yield the mean of the channels, about ``samples`` at a time.

        Raises
        ------
        AudioError
            If the track is damaged or truncated, or turns out to end before the segment does.
        """
        position, decoded_end = self._first, 0
        pieces: list[Waveform] = []
        length = 0
        for offset, block in self._timed_blocks():
            decoded_end = offset + len(block)
            for piece in self._trim_to_segment(position, offset, block):
                position += len(piece)
                pieces.append(piece)
                length += len(piece)
                if length >= samples:
                    yield np.concatenate(pieces)
                    pieces, length = [], 0
            if position == self._last:
                break
        if pieces:
            yield np.concatenate(pieces)
        self._check_end(position, decoded_end / self.sr)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self) -> None:
        """Open the file."""
        self._container, self._stream = _open_track(self._path)
        self._zero = max(0.0, (self._container.start_time or 0) / 1e6)

    def _decode(self, lenient: bool = False) -> Iterator[Any]:
        """Yield frames; ``lenient`` skips what cannot be decoded before the first one."""
        seconds = 0.0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except self._av.FFmpegError:
                    if not lenient:
                        raise
                    continue
                for frame in frames:
                    lenient = False
                    seconds = self._frame_time(frame) or seconds
                    yield frame
        except self._av.FFmpegError as error:
            if self._contents.truncated:
                return  # inside what is the last frame
            raise AudioError(
                f"{self._path}: damaged after {seconds:.3f} s ({_ffmpeg_reason(error)})"
            ) from error

    def _seek_with_preroll(self) -> Iterator[Any]:
        """Yield the frames from some time before the segment on."""
        target = self.start - _PREROLL
        if target <= 0 or not self._container.format.name.startswith(_SEEKABLE):
            return chain(self._head, self._frames)
        try:
            offset = int((target + self._zero) / self._stream.time_base)
            self._container.seek(offset, stream=self._stream)
            frames = self._decode(lenient=True)
            first = next(frames, None)
            if first is not None and (self._frame_time(first) or np.inf) <= self.start:
                return chain([first], frames)
        except self._av.FFmpegError:
            pass
        self.close()  # it cannot seek, or went too far: decode from the start
        self._open()
        return self._decode()

    def _timed_blocks(self) -> Iterator[tuple[int, Waveform]]:
        """Yield decoded blocks with their offsets on the time line, in samples."""
        expected: int | None = None
        resampler: tuple[int, soxr.ResampleStream] | None = None  # the rate can change midway
        shift = 0
        for frame in self._seek_with_preroll():
            wave, offset = self._downmix(_read_channels(frame), axis=0), self._frame_offset(frame)
            if expected is None:
                expected = offset or 0
            elif offset is not None and resampler is None:
                jump = offset + shift - expected
                if jump > _GAP * self.sr:
                    expected += jump
                elif jump < -_GAP * self.sr:
                    shift -= jump  # time that runs backwards is treated as continuous
            if resampler and resampler[0] != frame.sample_rate:
                rest = resampler[1].resample_chunk(np.zeros(0, np.float32), last=True)
                yield expected, rest
                expected, resampler = expected + len(rest), None
            if frame.sample_rate != self.sr:
                if resampler is None:
                    stream = soxr.ResampleStream(frame.sample_rate, self.sr, 1, "float32", "HQ")
                    resampler = frame.sample_rate, stream
                wave = resampler[1].resample_chunk(wave)
            yield expected, wave
            expected += len(wave)
        if resampler and expected is not None:
            yield expected, resampler[1].resample_chunk(np.zeros(0, np.float32), last=True)

    def _trim_to_segment(self, position: int, offset: int, block: Waveform) -> Iterator[Waveform]:
        """Yield the segment's share of a block, after silence from ``position`` to its offset."""
        if offset - position > _LONGEST_GAP * self.sr:
            times = (f"{x / self.sr:.3f} s" for x in (position, offset))
            raise AudioError(f"{self._path}: damaged: the time jumps from {' to '.join(times)}")
        last = offset + len(block) if self._last is None else self._last
        silence_end = min(offset, last)
        for first in range(position, silence_end, _SILENCE_BLOCK):
            yield np.zeros(min(_SILENCE_BLOCK, silence_end - first), np.float32)
        share = block[max(0, position - offset) : max(0, last - offset)]
        if len(share):
            yield share

    def _check_end(self, position: int, decoded: float) -> None:
        """Raise if fewer seconds were decoded than the container declares or the clip asks for."""
        if position == self._last:
            return
        reason, missing = self._contents.truncated, 1 - (self._contents.share or 0)
        if not reason and self._declared and decoded < self._declared - _LENGTH_TOLERANCE:
            reason = f"truncated: {decoded:.3f} of {self._declared:.3f} s could be read"
        if reason:
            end = self._declared if self._last is None else self._last / self.sr
            if end is not None:
                missing = (end - position / self.sr) / (end - self.start)
            allowed = self._allowed if position > self._first else -1.0
            self._notes.append(accept_shortage(self._path, reason, missing, allowed))
            return
        missing_samples = 0 if self._last is None else self._last - position
        if position == self._first or missing_samples > END_TOLERANCE_S * self.sr:
            raise too_short_error(self._path, decoded, *self._request)

    def _frame_time(self, frame: Any) -> float | None:
        """Return a frame's time in seconds."""
        return None if frame.pts is None else float(frame.pts * frame.time_base) - self._zero

    def _frame_offset(self, frame: Any) -> int | None:
        """Return a frame's offset in samples.

        Matroska and WebM store it in milliseconds only. The offsets of frames of constant length
        are multiples of it, which the first frames show.
        """
        seconds = self._frame_time(frame)
        if seconds is None:
            return None
        offset = round(seconds * self.sr)
        resolution = 1.5 * float(frame.time_base) * self.sr
        sizes = [head.samples for head in self._head[1:]]
        if resolution < 2 or len({*sizes}) != 1 or self._frame_time(self._head[0]) is None:
            return offset
        first = round((self._frame_time(self._head[0]) or 0.0) * self.sr)
        step, base = sizes[0], first + self._head[0].samples
        nearest = base + round((offset - base) / step) * step
        return nearest if abs(nearest - offset) <= resolution else offset


def _import_pyav(path: Path) -> ModuleType:
    """Return ``av``, or raise an error that names the file: an installation may be damaged."""
    try:
        import av
    except ImportError as error:
        raise AudioError(
            f"{path}: PyAV, which reads it, cannot be imported ({error}). Run 'pip install av'"
        ) from error
    return av


def _open_track(path: Path) -> tuple[Any, Any]:
    """Open a container, and return it with its default audio track, or its first.

    Raises
    ------
    AudioError
        If it is no container, or has no audio that can be decoded.
    """
    av = _import_pyav(path)
    # "file:" and the two lists: nothing in the file can lead to another one, or to the network
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = av.open(f"file:{path}", container_options=options)
    except av.FFmpegError as error:
        raise AudioError(f"{path}: not audio, or damaged ({_ffmpeg_reason(error)})") from error
    tracks = [*container.streams.audio]
    message = ""
    if not tracks:
        kinds = sorted({stream.type for stream in container.streams})
        message = f"holds no audio stream, only {' and '.join(kinds) or 'unreadable streams'}"
    elif all(track.codec_context is None for track in tracks):
        message = "FFmpeg has no decoder for its audio"
    if message:
        container.close()
        raise AudioError(f"{path}: {message}")
    tracks = [track for track in tracks if track.codec_context is not None]
    default = av.stream.Disposition.default
    track = next((track for track in tracks if track.disposition & default), tracks[0])
    for stream in container.streams:
        if stream is not track:  # pictures need not be read
            stream.discard = av.stream.Discard.all
    return container, track


def _declared_end(container: Any, track: Any) -> float | None:
    """Return the end of a track in seconds on the container's clock; None if not reliable."""
    name = container.format.name
    if name.startswith("mov") and track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base)
    if name.startswith("matroska") and "DURATION" in track.metadata:
        hours, minutes, seconds = track.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    only_track = len(container.streams) == 1
    declares = name.startswith(("matroska", "asf", *_DECLARING))
    if only_track and container.duration and declares:
        return float(((container.start_time or 0) + container.duration) / 1e6)
    return None


def _ffmpeg_reason(error: Exception) -> str:
    """Return FFmpeg's message in lower case."""
    return str(getattr(error, "strerror", None) or error).lower()


def _read_channels(frame: Any) -> Waveform:
    """Return a frame's samples, shape (channels, samples); full scale of integer formats is 1."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= _MAX_PLANES:
        frame = _interleave(frame)
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 128 - 1
    elif array.dtype.kind == "i":
        array = array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    samples: Waveform = array.astype(np.float32, copy=False)
    return samples


def _interleave(frame: Any) -> Any:
    """Return a frame with its channels in one plane."""
    import av

    converter = av.AudioResampler("flt", frame.layout, frame.sample_rate)
    return next(iter(converter.resample(frame)))
