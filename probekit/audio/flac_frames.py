"""Frames of a FLAC file: where the first one begins and the last one ends.

Source: RFC 9639. The number of samples in the header is 0 where the encoder wrote to a pipe, and
that of another file where frames were copied without encoding them again; libsndfile believes it.
"""

from mmap import mmap

from probekit.audio.contents import Contents

_TAIL_BYTES = 1 << 16  # in which the last frame is searched first
_MAX_FRAME_BYTES = 1 << 21  # of the largest frame that is searched
# shares of a file where frames are compared: where 2 to 60 recordings of one length follow each
# other, the number of one of these frames is smaller than that before, by a fifth of a recording
_PROBES = (0.27, 0.51, 0.572, 0.731, 0.776, 0.806)
_MIN_FRAMES = 40  # of a file, so that these are different ones
_TOTAL = (1 << 36) - 1  # bits of the number of samples
_MAGIC = b"fLaC"


def inspect_flac(data: mmap, begin: int, stop: int) -> Contents:
    """Compare the number of samples in the header with the first and last frame.

    Parameters
    ----------
    data : mmap
        The file.
    begin, stop : int
        Offset of its first recording, and its length.

    Returns
    -------
    Contents
        Where no frames were found, only decoding can tell.
    """
    begins = [begin]
    if not _is_increasing(data, begin, stop):
        begins += _find_others(data, begin + 1)
    ranges = [*zip(begins, [*begins[1:], stop], strict=True)]
    links = [_compare(data, *bounds) for bounds in ranges]
    if len(links) == 1:
        return links[0]
    return Contents(
        kind="flac",
        sources=tuple(
            link.sources[0] if link.sources else ((first, last - first),)
            for link, (first, last) in zip(links, ranges, strict=True)
        ),
        truncated=next((link.truncated for link in links if link.truncated), ""),
        seekable=all(link.seekable for link in links),
    )


def _is_increasing(data: mmap, begin: int, stop: int) -> bool:
    """Tell whether frames increase in number through the file: recordings begin again with 0.

    Searching all bytes for another recording would take as long as a twentieth of decoding.
    """
    start = _skip_metadata(data, begin)
    first = None if start is None else _parse_frame(data[start : start + 16], 1)
    total = int.from_bytes(data[begin + 18 : begin + 26], "big") & _TOTAL
    if start is None or first is None or total < _MIN_FRAMES * first[1]:
        return False
    sync, last = data[start : start + 2], -1
    for share in _PROBES:
        at = start + int(share * (stop - start))
        limit, frame = at + _TAIL_BYTES, None
        while frame is None and (at := data.find(sync, at, limit)) >= 0:
            frame = _parse_frame(data[at : at + 16], 1)
            at += 1
        if frame is None or frame[0] <= last:
            return False
        last = frame[0]
    return True


def _find_others(data: mmap, begin: int) -> list[int]:
    """Return where other recordings begin behind the first one."""
    begins = []
    at = len(data)
    while (at := data.rfind(_MAGIC, begin, at)) >= 0:
        if data[at + 4] & 127 == 0 and data[at + 5 : at + 8] == b"\0\0\x22":
            begins.append(at)
    return begins[::-1]


def _compare(data: mmap, begin: int, stop: int) -> Contents:
    """Compare header and frames of a single recording."""
    contents = Contents(kind="flac")
    start = _skip_metadata(data, begin)
    if start is None or data[begin + 4] & 127 or data[begin + 5 : begin + 8] != b"\0\0\x22":
        return contents
    total = int.from_bytes(data[begin + 18 : begin + 26], "big") & _TOTAL
    size = _parse_frame(data[start : start + 16], 0)
    if size is None:
        return contents
    block = size[1]
    first = _parse_frame(data[start : start + 16], block)
    assert first is not None
    sync = data[start : start + 2]
    if first[0] == 0 and total and _ends_at(data, start, stop, sync, block, total):
        return contents
    end, complete = _last_sample(data, start, stop, sync, block)
    present = end - first[0]
    if present <= 0:
        return contents
    header = bytearray(data[begin : begin + 26])
    packed = int.from_bytes(header[18:26], "big") & ~_TOTAL
    header[18:26] = (packed | present).to_bytes(8, "big")
    truncated, share, note = "", None, ""
    if 0 < total < present:
        note = f"its header declares {total:,} samples, it has {present:,}"
    elif present < total:
        truncated = f"truncated: {present:,} of {total:,} samples are in the file"
        share = present / total
        if first[0]:
            truncated += (
                f"; they begin at sample {first[0]:,} of the file that they were copied from. "
                "'ffmpeg -i IN.flac OUT.flac' writes a header that is right"
            )
    elif not complete and not total:
        truncated = "truncated: the file ends inside a FLAC frame"
    return Contents(
        kind="flac",
        sources=((bytes(header), (begin + 26, stop - begin - 26)),),
        truncated=truncated,
        share=share,
        seekable=first[0] == 0,
        notes=(note,) if note else (),
    )


def _skip_metadata(data: mmap, begin: int) -> int | None:
    """Return the offset of the first frame, behind all blocks of metadata."""
    offset, last = begin + 4, False
    while not last:
        head = data[offset : offset + 4]
        if len(head) < 4:
            return None
        last = bool(head[0] & 128)
        offset += 4 + int.from_bytes(head[1:], "big")
    return offset


def _ends_at(data: mmap, start: int, stop: int, sync: bytes, block: int, total: int) -> bool:
    """Tell whether one of the last frames ends at the declared number of samples."""
    at, begin = stop, max(start, stop - _TAIL_BYTES)
    while (at := data.rfind(sync, begin, at)) >= 0:
        frame = _parse_frame(data[at : at + 16], block)
        if frame is not None and sum(frame) == total:
            return True
    return False


def _last_sample(data: mmap, start: int, stop: int, sync: bytes, block: int) -> tuple[int, bool]:
    """Return the end of the last complete frame in samples, and whether another one follows it."""
    if data[stop - 128 : stop - 125] == b"TAG":
        stop -= 128
    at, begin = stop, max(start, stop - _MAX_FRAME_BYTES)
    tail = data[begin:stop]
    end = stop
    at = len(tail)
    while (at := tail.rfind(sync, 0, at)) >= 0:
        frame = _parse_frame(tail[at : at + 16], block)
        if frame is None:
            continue
        if _crc16(tail[at : end - begin]) == 0:
            return sum(frame), end == stop
        # the file ends inside this frame, or what looks like its beginning is part of another one
        before = _frame_before(tail, at, sync, block)
        if before is not None:
            return before, False
    return 0, False


def _frame_before(tail: bytes, end: int, sync: bytes, block: int) -> int | None:
    """Return the end in samples of the intact frame before a position; None if there is none."""
    at = end
    while (at := tail.rfind(sync, 0, at)) >= 0:
        frame = _parse_frame(tail[at : at + 16], block)
        if frame is not None and _crc16(tail[at:end]) == 0:
            return sum(frame)
        if end - at > _TAIL_BYTES:
            return None
    return None


def _parse_frame(head: bytes, block: int) -> tuple[int, int] | None:
    """Return first sample and number of samples of the frame that 16 bytes begin, or None."""
    if len(head) < 16 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15 or head[3] >> 4 > 10:
        return None
    # a number of one to seven bytes, coded like a character of UTF-8
    lead = head[4]
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    if lead >= 0x80 and not 1 <= extra <= 6:
        return None
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in head[5 : 5 + extra]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    offset = 5 + extra
    if size_code in (6, 7):
        width = size_code - 5
        size = int.from_bytes(head[offset : offset + width], "big") + 1
        offset += width
    elif size_code == 1:
        size = 192
    else:
        size = 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8)
    offset += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if offset >= len(head) or _crc8(head[:offset]) != head[offset]:
        return None
    return (number if head[1] & 1 else number * block), size


def _crc8(data: bytes) -> int:
    """Return the checksum of a frame's header: x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    """Return the checksum of a frame, 0 if it is its last two bytes: x^16 + x^15 + x^2 + 1."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


def _crc_table(polynomial: int, bits: int) -> list[int]:
    """Return the checksums of all bytes."""
    table = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1) ^ (polynomial if crc >> (bits - 1) else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC8 = _crc_table(0x07, 8)
_CRC16 = _crc_table(0x8005, 16)
