"""Whether an MP3 says how long it is: where it does not, libsndfile guesses."""

from collections.abc import Iterator
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from probekit.errors import AudioError

_TABLES = (b"Xing", b"Info", b"VBRI")
_KBPS = {  # of layer III, by version and index
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = (44100, 48000, 32000)
_SEARCH = 1 << 16  # bytes in which the first frame is looked for


def states_length(path: Path) -> bool:
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
