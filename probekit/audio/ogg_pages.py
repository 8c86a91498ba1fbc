"""Pages of an Ogg file: checksums, lost pages, a missing end, recordings that follow each other.

Source: RFC 3533. libogg skips damaged pages silently, and libsndfile reads only the first of
several recordings.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

from probekit.audio.contents import Contents, Piece

_page_head = struct.Struct("<4sBBqIII").unpack_from  # up to the checksum
_HEAD_BYTES = 27
_FIRST, _LAST = 2, 4  # flags of a page
_OPUS_RATE = 48000
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class _Link:
    """A recording: its first byte, its streams, and what was read of its pages.

    ``sequence`` has the number of the last page of each stream, and ``open`` the streams without an
    end; ``granule`` is the last position in samples, and ``offset`` that of the first sample.
    """

    begin: int
    codecs: dict[int, bytes] = field(default_factory=dict)
    sequence: dict[int, int] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)
    granule: int = 0
    offset: int = 0
    has_samples: bool = False


def inspect_ogg(data: mmap, stop: int) -> Contents:
    """Check the pages of an Ogg file.

    Parameters
    ----------
    data : mmap
        The file.
    stop : int
        Its length.

    Returns
    -------
    Contents
        What it holds.
    """
    links: list[_Link] = []
    truncated = ""
    offset = 0
    while offset < stop:
        if data[offset : offset + 4] != b"OggS":
            if links and not links[-1].open:
                break  # something behind the end
            return Contents(kind="ogg", damage=_damage(links, "no Ogg page follows"))
        size = _page_size(data, offset, stop)
        if size is None:
            truncated = "truncated: the file ends inside an Ogg page"
            break
        page = data[offset : offset + size]
        if not _is_intact(page):
            fault = "the checksum of an Ogg page differs"
        else:
            fault = _add_page(links, page, offset)
        if fault:
            return Contents(kind="ogg", damage=_damage(links, fault))
        offset += size
    if not truncated and any(link.open for link in links):
        truncated = "truncated: its last Ogg page is not marked as the end"
    sources: tuple[tuple[Piece, ...], ...] = ()
    if len(links) > 1:
        if any(len(link.codecs) > 1 for link in links):
            return Contents(kind="ogg", damage="several recordings of several streams each")
        ends = [*(link.begin for link in links[1:]), offset]
        sources = tuple(
            ((link.begin, end - link.begin),)
            for link, end in zip(links, ends, strict=True)
            if link.has_samples
        )
    seekable = not any(link.offset > 0 for link in links)
    return Contents(kind="ogg", truncated=truncated, sources=sources, seekable=seekable)


def _page_size(data: mmap, offset: int, stop: int) -> int | None:
    """Return the size of a page; None if the file ends inside it."""
    if offset + _HEAD_BYTES > stop:
        return None
    segments = data[offset + _HEAD_BYTES - 1]
    table = data[offset + _HEAD_BYTES : offset + _HEAD_BYTES + segments]
    size = _HEAD_BYTES + segments + sum(table)
    return size if len(table) == segments and offset + size <= stop else None


def _is_intact(page: bytes) -> bool:
    """Compare a page with its checksum.

    Ogg's CRC-32 has zlib's polynomial, but takes the bits of each byte from the other end, and is
    neither initialized nor inverted.
    """
    bare = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(bare.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED) == page[22:26]


def _add_page(links: list[_Link], page: bytes, offset: int) -> str:
    """Add a page to the recordings; return what is wrong with it."""
    _, _, flags, granule, serial, number, _ = _page_head(page)
    body = page[_HEAD_BYTES + page[26] :]
    if flags & _FIRST:
        if not links or links[-1].has_samples or not links[-1].open:
            links.append(_Link(offset))
        link = links[-1]
        link.codecs[serial] = body[:8]
    elif not links or serial not in links[-1].codecs:
        return "an Ogg page belongs to no stream"
    link = links[-1]
    is_sample = not flags & _FIRST and granule not in (0, -1)
    expected = link.sequence.get(serial, number - 1) + 1
    # a stream that was joined in the middle has its header, then pages from there on
    joins = not link.has_samples and number > expected
    if number != expected and not joins:
        return f"{abs(number - expected)} Ogg pages are missing"
    if is_sample:
        if not link.has_samples and link.codecs[serial].startswith(b"OpusHead"):
            link.offset = granule - _opus_samples(page)
        link.has_samples = True
        link.granule = granule
    link.sequence[serial] = number
    if flags & _LAST:
        link.open.discard(serial)
    else:
        link.open.add(serial)
    return ""


def _opus_samples(page: bytes) -> int:
    """Return the samples of the packets that end on a page, at 48 kHz."""
    samples = 0
    for packet in _packets(page):
        config, frames = packet[0] >> 3, packet[0] & 3
        if config < 12:
            size = (480, 960, 1920, 2880)[config & 3]
        elif config < 16:
            size = (480, 960)[config & 1]
        else:
            size = (120, 240, 480, 960)[config & 3]
        count = (1, 2, 2, packet[1] & 63 if len(packet) > 1 else 0)[frames]
        samples += size * count
    return samples


def _packets(page: bytes) -> Iterator[bytes]:
    """Yield the packets that begin and end on a page."""
    offset = begin = _HEAD_BYTES + page[26]
    continued = bool(page[5] & 1)
    for size in page[_HEAD_BYTES : _HEAD_BYTES + page[26]]:
        offset += size
        if size < 255:
            if offset > begin and not continued:
                yield page[begin:offset]
            begin, continued = offset, False


def _damage(links: list[_Link], fault: str) -> str:
    """Return a message."""
    if not links or not links[-1].has_samples:
        return f"damaged: {fault}"
    return f"damaged: {fault}, behind sample {links[-1].granule:,}"
