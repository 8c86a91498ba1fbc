"""Inspection of a recording's file: what its container declares, compared with what it holds.

Decoders believe headers. These are wrong where a program wrote to a pipe, a copy was interrupted,
files were joined, or frames were copied without encoding them again; a decoder then returns too
little sound, or some of it twice, without an error. Nothing is decoded here.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, Literal

from probekit.audio.contents import Contents
from probekit.audio.flac_frames import inspect_flac
from probekit.audio.mpeg_frames import inspect_mpeg, skip_id3
from probekit.audio.ogg_pages import inspect_ogg

_HEAD_BYTES = 256
_MPEG_SUFFIXES = frozenset({".mp3", ".mp2", ".mpga"})
_MPEG_FORMATS = (0x50, 0x55)  # of a WAV: MPEG layers I and II, and III
_UNKNOWN_SIZES = (0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000)
_UNKNOWN_MARGIN = 64  # a size may include or leave out some header, or be a multiple of a block
_LARGEST_WAV = (1 << 32) - 1  # bytes of samples, unless it is an RF64
_MAX_TRAILER = 1 << 20  # bytes of chunks behind the samples
_MAX_CHUNKS = 1000  # far more than a sound file has
_MP4_BOXES = (b"mdat", b"moof", b"moov")  # that hold sound, or say where it is
_OTHER_MAGIC = (b"RIFF", b"FORM", b".snd", b"riff", b"caff", b"\x1a\x45\xdf\xa3", b"0&\xb2u")
_PLAIN = Contents()
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


def inspect(path: Path, size: int, mtime_ns: int) -> tuple[bytes, Contents]:
    """Compare what a file's container declares with what it holds; once for all its clips.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    size, mtime_ns : int
        Of the file.

    Returns
    -------
    bytes
        The first bytes of the file.
    Contents
        What it holds.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    return _inspect(path, size, mtime_ns)


@lru_cache(maxsize=4096)
def _inspect(path: Path, size: int, mtime_ns: int) -> tuple[bytes, Contents]:
    """Read the first bytes, and inspect the container that they tell."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        return head, _inspect_container(path, stream, head, size)


def _inspect_container(path: Path, stream: BinaryIO, head: bytes, size: int) -> Contents:
    name, form = head[:4], head[8:12]
    if name in (b"RIFF", b"RIFX", b"RF64", b"BW64") and form == b"WAVE":
        return _inspect_wav(stream, head, size)
    if name in (b"fLaC", b"OggS") or _is_mpeg(path, head):
        with mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            if name == b"OggS":
                return inspect_ogg(data, size)
            offset = skip_id3(data, 0)
            if data[offset : offset + 4] == b"fLaC":
                return inspect_flac(data, offset, size)
            return inspect_mpeg(data, 0, size)
    if name == b"FORM" and form in (b"AIFF", b"AIFC"):
        declared, offset = _find_chunk(_chunks(stream, 12, ">4sI"), b"SSND")
    elif name == b".snd" and len(head) >= 12:
        offset, declared = struct.unpack_from(">4xII", head)
    elif head[:16] == _W64_RIFF:
        declared, offset = _find_chunk(_w64_chunks(stream), b"data")
    elif name == b"caff":
        declared, offset = _find_chunk(_chunks(stream, 8, ">4sq", align=1), b"data")
    elif name == b"RIFF" and form == b"AVI ":
        declared, offset = _avi_end(stream, size), 0
    elif head[4:8] == b"ftyp":
        declared, offset = _mp4_end(stream, size), 0
    else:
        return _PLAIN
    return _compare_bytes(max(declared, 0), size - offset)


def _is_mpeg(path: Path, head: bytes) -> bool:
    """Tell whether a file may be MPEG audio, which has no reliable first bytes."""
    if len(head) < 4:
        return False
    synchronized = head[0] == 0xFF and head[1] & 0xE0 == 0xE0
    is_layer = synchronized and head[1] >> 1 & 3 != 0  # layer 0 is AAC
    if is_layer or head[:3] == b"ID3":
        return True
    return path.suffix.lower() in _MPEG_SUFFIXES and not (
        head[4:8] == b"ftyp" or head.startswith(_OTHER_MAGIC)
    )


# ---- sizes in bytes


def _inspect_wav(stream: BinaryIO, head: bytes, size: int) -> Contents:
    """Compare the size of a WAV's samples with the file; MPEG frames in it are counted."""
    order = ">" if head[:4] == b"RIFX" else "<"
    byteorder: Literal["big", "little"] = "big" if order == ">" else "little"
    declared, offset, tag, long_size, long_offset = 0, 0, 0, 0, 0
    for name, length, at in _chunks(stream, 12, f"{order}4sI"):
        if name == b"fmt ":
            tag = int.from_bytes(stream.read(2), byteorder)
        elif name == b"ds64":
            long_offset = at + 8
            [long_size] = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))
        elif name == b"data":
            declared, offset = length, at
            break
    if not offset:
        return _PLAIN
    rest = size - offset
    is_long = long_offset > 0 and declared == 0xFFFFFFFF
    if is_long:
        declared = long_size
    contents = _compare_bytes(declared, rest)
    if tag in _MPEG_FORMATS:
        stop = size if _is_unknown(declared) else min(offset + declared, size)
        with mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            frames = inspect_mpeg(data, offset, stop, embedded=True)
        if contents.truncated:
            frames = replace(frames, truncated=contents.truncated, share=contents.share)
        return frames
    riff_size = int.from_bytes(head[4:8], byteorder)
    if declared == 0 and rest > 0 and (is_long or abs(riff_size + 8 - size) > 1):
        length = rest  # the header was never finished: everything behind it is sound
    elif rest > _LARGEST_WAV and not is_long and _is_unknown(declared):
        length = rest
    elif rest > _LARGEST_WAV and not is_long and (rest - declared) % (1 << 32) <= _MAX_TRAILER:
        length = rest - (rest - declared) % (1 << 32)  # a size of 32 bits that overflowed
    else:
        return contents
    if is_long:
        stream.seek(0)
        start = stream.read(long_offset) + length.to_bytes(8, "little")
        return Contents(kind="wav", sources=((start, (long_offset + 8, size - long_offset - 8)),))
    if order == ">":
        return contents
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size, length, 0, 0)
    start = b"RF64\xff\xff\xff\xffWAVE" + sizes
    pieces = (start, (12, offset - 16), b"\xff\xff\xff\xff", (offset, rest))
    return Contents(kind="wav", sources=(pieces,))


def _compare_bytes(declared: int, present: int) -> Contents:
    """Compare sizes in bytes.

    Sizes of 0 and near 2**31 and 2**32 are left behind by programs that write to a pipe (SoX,
    arecord, espeak-ng, ffmpeg): they declare nothing.
    """
    if declared <= present or _is_unknown(declared):
        return _PLAIN
    present = max(0, present)
    return Contents(
        truncated=(
            f"truncated: the header declares {declared} bytes of samples, the file has {present}"
        ),
        share=present / declared,
    )


def _is_unknown(declared: int) -> bool:
    """Tell whether a declared size is none."""
    near = any(abs(declared - size) <= _UNKNOWN_MARGIN for size in _UNKNOWN_SIZES)
    return declared == 0 or near or 0xFFFFF000 <= declared <= 0xFFFFFFFF


def _chunks(
    stream: BinaryIO, offset: int, head_format: str, align: int = 2
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, declared size and offset of the content of each chunk."""
    head = struct.Struct(head_format)
    for _ in range(_MAX_CHUNKS):
        stream.seek(offset)
        fields = stream.read(head.size)
        if len(fields) < head.size:
            return
        name, size = head.unpack(fields)
        offset += head.size
        yield name, size, offset
        if size < 0:
            return
        offset += size + -size % align


def _w64_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield the chunks of Wave64: their size includes 24 bytes before their content."""
    offset = 40
    for _ in range(_MAX_CHUNKS):
        stream.seek(offset)
        fields = stream.read(24)
        if len(fields) < 24:
            return
        size = int.from_bytes(fields[16:], "little")
        yield fields[:4], size - 24, offset + 24
        offset += max(24, size + -size % 8)


def _find_chunk(chunks: Iterator[tuple[bytes, int, int]], name: bytes) -> tuple[int, int]:
    """Return declared size and offset of the content of a chunk; 0 and 0 if there is none."""
    return next(((size, offset) for chunk, size, offset in chunks if chunk == name), (0, 0))


def _avi_end(stream: BinaryIO, size: int) -> int:
    """Return where an AVI ends by its headers; long ones have several."""
    end = 0
    for name, length, offset in _chunks(stream, 0, "<4sI"):
        if name != b"RIFF" or _is_unknown(length):
            break
        end = offset + length
    return end if end > size + 1 else 0


def _mp4_end(stream: BinaryIO, size: int) -> int:
    """Return where the outermost boxes of an MP4 end by their headers."""
    offset = 0
    for _ in range(_MAX_CHUNKS):
        stream.seek(offset)
        head = stream.read(16)
        if len(head) < 8:
            break
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end
            return 0
        offset += length
        if offset > size:
            return offset if name in _MP4_BOXES else 0
    return 0
