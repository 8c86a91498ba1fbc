"""The sound of a container, decoded by PyAV, on the container's time line.

Time counts from the begin of the container, so that the times of a video's annotations hold: where
its sound begins later, or has a gap, there are zeros. A stretch is found by seeking; it equals that
of the whole track, but for noise that decoders make up (AAC and AC-3 of few bits), and behind gaps
in Matroska and WebM, which state times in milliseconds only.
"""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from probekit.audio import segment
from probekit.errors import AudioError

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".amr", ".avi", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".webm", ".wma", ".wmv",
})  # fmt: skip
# formats that can name other files or addresses (playlists, concat scripts) are not among these
_FORMATS = "mov,matroska,asf,aac,ac3,eac3,amr,avi,mpeg,mpegts,flac,mp3,ogg,wav"
_NATIVE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"caff")
_MAGIC = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")  # mkv, asf, amr


def is_pyav_file(path: Path) -> bool:
    """Tell by a file's first bytes and its suffix whether it is a matter for PyAV.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    bool
        False for what libsndfile should try.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        head = stream.read(12)
    raw_aac = head[:1] == b"\xff" and head[1:2] and head[1] & 0xF6 == 0xF0
    video = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if raw_aac or video or head[4:8] == b"ftyp" or head.startswith(_MAGIC):
        return True
    return path.suffix.lower() in SUFFIXES and not head.startswith(_NATIVE)


def require_pyav(path: Path) -> ModuleType:
    """Return PyAV.

    Parameters
    ----------
    path : pathlib.Path
        The file that needs it.

    Returns
    -------
    module
        ``av``.

    Raises
    ------
    AudioError
        If it is not installed; the message says how to get it.
    """
    try:
        import av
    except ImportError as error:
        raise AudioError(
            f'{path}: videos and compressed audio need PyAV: pip install "probekit[video]"'
        ) from error
    return av


def open_track(path: Path) -> tuple[Any, Any]:
    """Open a container, and choose the default one of its sound tracks, or the first.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    av.container.InputContainer
        To be closed; nothing but the track will be read of it.
    av.AudioStream
        The track.

    Raises
    ------
    AudioError
        If it is no container, or has no sound that can be decoded.
    """
    av = require_pyav(path)
    # "file:" and the two lists: nothing in the file can lead to another one, or to the network
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    try:
        container = av.open(f"file:{path}", container_options=options)
    except av.FFmpegError as error:
        raise AudioError(f"{path}: not audio, or damaged ({reason(error)})") from error
    tracks = [*container.streams.audio]
    fault = ""
    if not tracks:
        kinds = sorted({stream.type for stream in container.streams})
        fault = f"holds no audio stream, only {' and '.join(kinds) or 'nothing that can be read'}"
    elif all(track.codec_context is None for track in tracks):
        fault = "FFmpeg has no decoder for its sound"
    if fault:
        container.close()
        raise AudioError(f"{path}: {fault}")
    tracks = [track for track in tracks if track.codec_context is not None]
    default = av.stream.Disposition.default
    chosen = next((track for track in tracks if track.disposition & default), tracks[0])
    for other in container.streams:
        if other is not chosen:  # pictures need not be read
            other.discard = av.stream.Discard.all
    return container, chosen


def declared_duration(container: Any, track: Any) -> float | None:
    """Return where a track ends, if the container says that reliably.

    Parameters
    ----------
    container : av.container.InputContainer
        From :func:`open_track`.
    track : av.AudioStream
        Likewise.

    Returns
    -------
    float or None
        Seconds on the container's own clock.
    """
    name = container.format.name
    if name.startswith("mov") and track.duration:
        return float(((track.start_time or 0) + track.duration) * track.time_base)
    if name.startswith("matroska") and "DURATION" in track.metadata:
        hours, minutes, seconds = track.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    alone = len(container.streams) == 1
    if alone and container.duration and name.startswith(("matroska", "asf")):
        return float(((container.start_time or 0) + container.duration) / 1e6)
    return None


def reason(error: Exception) -> str:
    """Return FFmpeg's reason.

    Parameters
    ----------
    error : av.FFmpegError
        What PyAV raised.

    Returns
    -------
    str
        In lower case.
    """
    return str(getattr(error, "strerror", None) or error).lower()


Waveform = npt.NDArray[np.float32]

_MARGIN = 1.0  # seconds decoded before a stretch: decoders need a run-up
_GAP = 0.05  # seconds by which time stamps may be off before that is a gap
_LONGEST_GAP = 3600.0  # seconds; beyond that a time stamp is damaged
_MISSING = 0.25  # seconds by which stated lengths are off in sound files
_ZEROS = 1 << 16  # samples of silence at once
_MANY = 8  # planes; PyAV 18 reads beyond a list of so many, which ends the process
_HEAD = 3  # frames decoded before anything else: what a container states can be wrong


class PyAVReader:
    """A stretch of a container's sound, opened.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    start, end : float >= 0 or None
        The stretch in seconds; the whole track where they are None.

    Raises
    ------
    AudioError
        If PyAV is not installed, the file is no container or has no sound, or it states that it
        does not hold the stretch.
    """

    def __init__(self, path: Path, start: float | None, end: float | None) -> None:
        self._path, self._start, self._end = path, start, end
        self._av = require_pyav(path)
        self._open()
        try:
            self._frames = self._decoded()
            self._head = list(islice(self._frames, _HEAD))
            if not self._head:
                raise AudioError(f"{path}: holds no samples")
            self.rate: int = self._head[0].sample_rate
            stated = declared_duration(self._container, self._stream)
            self._stated = None if stated is None else stated - self._zero
            total = None if self._stated is None else round(self._stated * self.rate)
            self._first, last = segment.segment_to_samples(path, self.rate, total, start, end)
            # what is there beyond the stated end belongs to the whole track
            self._last = None if end is None else last
        except BaseException:
            self.close()
            raise

    @property
    def first(self) -> float:
        """Where the stretch begins in the file, in seconds."""
        return self._first / self.rate

    @property
    def seconds(self) -> float | None:
        """How long the stretch is as the container states, or None where it does not."""
        if self._last is not None:
            return (self._last - self._first) / self.rate
        return None if self._stated is None else self._stated - self.first

    def blocks(self, samples: int) -> Iterator[Waveform]:
        """Decode, block by block.

        Parameters
        ----------
        samples : int >= 1
            About how many to return at once.

        Yields
        ------
        numpy.ndarray, shape (n,), n >= 1, float32
            The mean of the channels.

        Raises
        ------
        AudioError
            If the track is damaged or truncated, or turns out not to reach the stretch's end.
        """
        at, reached, kept, length = self._first, 0, [], 0
        for place, run in self._timed_blocks():
            reached = place + len(run)
            for piece in self._trim_to_segment(at, place, run):
                at += len(piece)
                kept.append(piece)
                length += len(piece)
                if length >= samples:
                    yield np.concatenate(kept)
                    kept, length = [], 0
            if at == self._last:
                break
        if kept:
            yield np.concatenate(kept)
        self._check_end(at, reached / self.rate)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self) -> None:
        """Open the file."""
        self._container, self._stream = open_track(self._path)
        self._zero = max(0.0, (self._container.start_time or 0) / 1e6)

    def _decoded(self, lenient: bool = False) -> Iterator[Any]:
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
                    seconds = self._seconds(frame) or seconds
                    yield frame
        except self._av.FFmpegError as error:
            raise AudioError(
                f"{self._path}: damaged behind {seconds:.3f} s ({reason(error)})"
            ) from error

    def _seek_with_preroll(self) -> Iterator[Any]:
        """Yield the frames from some time before the stretch on."""
        target = self.first - _MARGIN
        if target <= 0:
            return chain(self._head, self._frames)
        try:
            offset = int((target + self._zero) / self._stream.time_base)
            self._container.seek(offset, stream=self._stream)
            frames = self._decoded(lenient=True)
            begin = next(frames, None)
            if begin is not None and (self._seconds(begin) or np.inf) <= self.first:
                return chain([begin], frames)
        except self._av.FFmpegError:
            pass
        self.close()  # it cannot seek, or came out too late: all from the begin
        self._open()
        return self._decoded()

    def _timed_blocks(self) -> Iterator[tuple[int, Waveform]]:
        """Yield what is decoded, with its place on the time line in samples."""
        expected: int | None = None
        other: tuple[int, soxr.ResampleStream] | None = None  # the rate can change on the way
        shift = 0
        for frame in self._seek_with_preroll():
            wave, place = _mono(frame), self._place(frame)
            if expected is None:
                expected = place or 0
            elif place is not None and other is None:
                ahead = place + shift - expected
                if ahead > _GAP * self.rate:
                    expected += ahead
                elif ahead < -_GAP * self.rate:
                    shift -= ahead  # time that runs backwards is taken to go on
            if other and other[0] != frame.sample_rate:
                rest = other[1].resample_chunk(np.zeros(0, np.float32), last=True)
                yield expected, rest
                expected, other = expected + len(rest), None
            if frame.sample_rate != self.rate:
                if other is None:
                    stream = soxr.ResampleStream(frame.sample_rate, self.rate, 1, "float32", "HQ")
                    other = frame.sample_rate, stream
                wave = other[1].resample_chunk(wave)
            yield expected, wave
            expected += len(wave)
        if other and expected is not None:
            yield expected, other[1].resample_chunk(np.zeros(0, np.float32), last=True)

    def _trim_to_segment(self, at: int, place: int, run: Waveform) -> Iterator[Waveform]:
        """Yield the share of a run that the stretch wants; silence leads to it from ``at`` on."""
        if place - at > _LONGEST_GAP * self.rate:
            times = (f"{x / self.rate:.3f} s" for x in (at, place))
            raise AudioError(f"{self._path}: damaged: the time jumps from {' to '.join(times)}")
        last = place + len(run) if self._last is None else self._last
        until = min(place, last)
        for begin in range(at, until, _ZEROS):
            yield np.zeros(min(_ZEROS, until - begin), np.float32)
        own = run[max(0, at - place) : max(0, last - place)]
        if len(own):
            yield own

    def _check_end(self, at: int, reached: float) -> None:
        """Raise where less was decoded than the container states or the clip asks for."""
        if at == self._last:
            return
        if self._stated is not None and reached < self._stated - _MISSING:
            raise AudioError(
                f"{self._path}: truncated: {reached:.3f} of {self._stated:.3f} s could be read"
            )
        missing = 0 if self._last is None else self._last - at
        if at == self._first or missing > segment.END_TOLERANCE_S * self.rate:
            raise segment.too_short(self._path, reached, self._start, self._end)

    def _seconds(self, frame: Any) -> float | None:
        """Return a frame's place on the time line in seconds."""
        return None if frame.pts is None else float(frame.pts * frame.time_base) - self._zero

    def _place(self, frame: Any) -> int | None:
        """Return a frame's place in samples.

        Matroska and WebM state it in milliseconds only. Frames of constant length have their places
        on a grid that the first ones show.
        """
        seconds = self._seconds(frame)
        if seconds is None:
            return None
        place = round(seconds * self.rate)
        coarse = 1.5 * float(frame.time_base) * self.rate
        sizes = [one.samples for one in self._head[1:]]
        if coarse < 2 or len({*sizes}) != 1 or self._seconds(self._head[0]) is None:
            return place
        begin = round((self._seconds(self._head[0]) or 0.0) * self.rate)
        step, base = sizes[0], begin + self._head[0].samples
        near = base + round((place - base) / step) * step
        return near if abs(near - place) <= coarse else place


def _mono(frame: Any) -> Waveform:
    """Return a frame's mean over channels; full scale of integer formats is 1."""
    channels = frame.layout.nb_channels
    if frame.format.is_planar and channels >= _MANY:
        frame = _interleaved(frame)
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 128 - 1
    elif array.dtype.kind == "i":
        array = array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    mono: Waveform = array[0] if len(array) == 1 else array.mean(axis=0, dtype=np.float32)
    return mono.astype(np.float32, copy=False)


def _interleaved(frame: Any) -> Any:
    """Return a frame with its channels in one plane."""
    import av

    converter = av.AudioResampler("flt", frame.layout, frame.sample_rate)
    return next(iter(converter.resample(frame)))
