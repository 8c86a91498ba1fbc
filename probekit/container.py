"""Which files PyAV decodes (mp4, webm, m4a …: the extra ``video``), and opening one of them."""

from pathlib import Path
from types import ModuleType
from typing import Any

from probekit.errors import AudioError

SUFFIXES = frozenset({
    ".3gp", ".aac", ".ac3", ".amr", ".avi", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".webm", ".wma", ".wmv",
})  # fmt: skip
# formats that can name other files or addresses (playlists, concat scripts) are not among these
_FORMATS = "mov,matroska,asf,aac,ac3,eac3,amr,avi,mpeg,mpegts,flac,mp3,ogg,wav"
_NATIVE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"fLaC", b"OggS", b"caff")
_MAGIC = (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"#!AMR")  # mkv, asf, amr


def takes(path: Path) -> bool:
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


def library(path: Path) -> ModuleType:
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
    av = library(path)
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


def stated_end(container: Any, track: Any) -> float | None:
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
