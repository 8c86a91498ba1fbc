"""MPEG audio frames (MP3, MP2) of a file, counted and compared with its length header.

Decoders believe the number of frames in a Xing, Info or VBRI header, and guess it without one.
A walk from frame to frame finds the real number, without decoding: recordings that follow each
other, headers that are wrong or empty, bytes between frames.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from mmap import mmap

from probekit.audio.contents import Contents, Piece
from probekit.audio.segment import END_TOLERANCE_S

_KBPS = {  # by MPEG-1 or not, layer and index
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = (44100, 48000, 32000)
_HEADERS = (b"Xing", b"Info", b"VBRI")
_SEARCH_BYTES = 1 << 16  # in which the first frame is searched
_RESYNC_BYTES = 1 << 20  # in which the next frame is searched behind something else
_CHAIN = 4  # frames in a row that are none by chance
_JUNK_BYTES = 8192  # behind the last frame, that need no explanation
_HINT = "'ffmpeg -i IN.mp3 -c copy OUT.mp3' writes it anew without loss"

_word = struct.Struct(">I").unpack_from


@dataclass(frozen=True)
class _Run:
    """Frames in a row.

    ``kind`` is what all frames of a recording share: version, layer and sample rate; ``rates`` has
    one bit for each bit rate, but that of the first frame; ``junk`` is the number of bytes before
    it that are neither frames nor tags, and ``tagged`` tells whether a tag is before it.
    """

    kind: int
    begin: int
    end: int
    frames: int
    rates: int
    junk: int
    tagged: bool


@dataclass(frozen=True)
class _Link:
    """A recording: runs of frames, and the number of frames that its header declares, if any."""

    runs: tuple[_Run, ...]
    has_header: bool
    declared: int | None

    @property
    def frames(self) -> int:
        """Frames without the header's own."""
        return sum(run.frames for run in self.runs) - self.has_header

    @property
    def seconds(self) -> float:
        """Duration of the frames."""
        return self.frames * _samples(self.runs[0].kind) / _sample_rate(self.runs[0].kind)


def inspect_mpeg(data: mmap, begin: int, stop: int, *, embedded: bool = False) -> Contents:
    """Compare the MPEG audio frames of a range of a file with the length header.

    Parameters
    ----------
    data : mmap
        The file.
    begin, stop : int
        The range in bytes.
    embedded : bool
        Whether the range is part of another container.

    Returns
    -------
    Contents
        Where no frames were found, only decoding can tell.
    """
    runs = list(_find_runs(data, begin, stop))
    if not runs:
        sources = ((begin, stop - begin),)
        return Contents(kind="mp3", exact=False, sources=(sources,) if embedded else ())
    links = [link for group in _group(runs) for link in _split(data, group)]
    damage = _find_damage(data, links, stop)
    if damage:
        return Contents(kind="mp3", damage=damage)
    contents = Contents(kind="mp3", notes=tuple(_notes(links)))
    declared = [link.declared if link.declared is not None else link.frames for link in links]
    count, total = sum(link.frames for link in links), sum(declared)
    # some encoders count the header's frame, too
    if any(link.frames + 1 < number for link, number in zip(links, declared, strict=True)):
        contents = replace(
            contents,
            truncated=f"truncated: {count:,} of {total:,} MPEG frames are in the file",
            share=count / total,
            counts_all=True,
        )
    tags = sum(run.tagged for run in runs) > 1
    if len(links) > 1 or embedded or tags or any(_needs_header(data, link) for link in links):
        return replace(contents, sources=tuple(_pieces(data, link) for link in links))
    if not contents.truncated and links[0].declared in (None, count + 1):
        # without the encoder's delay, of at most two frames
        at_least = (count - 2) * _samples(links[0].runs[0].kind)
        return replace(contents, exact=False, at_least=max(1, at_least))
    return contents


def skip_id3(data: mmap | bytes, offset: int) -> int:
    """Return the end of all ID3v2 tags at an offset; the offset if there is none."""
    while data[offset : offset + 3] == b"ID3" and len(data) >= offset + 10:
        digits = zip(data[offset + 6 : offset + 10], (21, 14, 7, 0), strict=True)
        footer = 10 if data[offset + 5] & 0x10 else 0
        # its size is coded in 7 bits per byte
        offset += 10 + footer + sum((byte & 127) << shift for byte, shift in digits)
    return offset


# ---- recordings in a file


def _find_runs(data: mmap, begin: int, stop: int) -> Iterator[_Run]:
    """Yield the frames of a range, run by run; bytes behind the last frame are left out."""
    offset = skip_id3(data, begin)
    tagged, junk, limit = offset > begin, 0, _SEARCH_BYTES
    while True:
        start = _find_frame(data, offset, min(offset + limit, stop), stop)
        if start is None:
            return
        junk += start - offset
        kind, frames, end, rates = _walk(data, start, stop)
        yield _Run(kind, start, end, frames, rates, junk, tagged)
        offset = skip_id3(data, end)
        tagged, junk, limit = offset > end, 0, _RESYNC_BYTES
        if _is_end_tag(data, offset, stop):
            return


def _find_frame(data: mmap, offset: int, limit: int, stop: int) -> int | None:
    """Return the offset of the first frame that others, or the end, follow."""
    while (offset := data.find(b"\xff", offset, limit)) >= 0:
        if _frame_length(data, offset, stop) is not None:
            _, frames, end, _ = _walk(data, offset, stop, _CHAIN)
            at_end = end + 4 > stop or _is_end_tag(data, end, stop) or data[end : end + 3] == b"ID3"
            if frames >= _CHAIN or (frames and at_end):
                return offset
        offset += 1
    return None


def _walk(
    data: mmap, offset: int, stop: int, limit: int | None = None
) -> tuple[int, int, int, int]:
    """Return kind, number and end of the frames from an offset on, and their bit rates as bits."""
    kind = _word(data, offset)[0] >> 8 & _KIND
    lengths = _lengths(kind)
    frames, rates, last = 0, 0, stop - 4
    while offset <= last:
        head = _word(data, offset)[0] >> 8
        length = lengths.get(head)
        if length is None or frames == limit:
            break
        if offset + length > stop:
            offset = stop  # the last frame is incomplete
            break
        if frames:
            rates |= 1 << (head >> 4 & 15)
        frames += 1
        offset += length
    return kind, frames, offset, rates


def _is_end_tag(data: mmap, offset: int, stop: int) -> bool:
    """Tell whether tags follow that are only found at the end of a file."""
    return data[offset : min(stop, offset + 8)].startswith((b"TAG", b"APETAGEX", b"LYRICSBE"))


def _group(runs: list[_Run]) -> Iterator[tuple[_Run, ...]]:
    """Yield the runs of each recording: tags, or another sample rate, begin a new one."""
    group: list[_Run] = []
    for run in runs:
        if group and (run.tagged or run.kind != group[0].kind):
            yield tuple(group)
            group = []
        group.append(run)
    yield tuple(group)


def _split(data: mmap, runs: tuple[_Run, ...]) -> list[_Link]:
    """Return the recordings of runs: more if there are more frames than the header declares."""
    link = _link(data, runs)
    if len(runs) > 1 or not link.has_header or link.declared is None:
        return [link]
    if link.frames <= link.declared + 1:
        return [link]
    [run] = runs
    offsets, offset = [], run.begin
    for _ in range(run.frames):
        offsets.append(offset)
        offset += _frame_length(data, offset, run.end) or 0
    begins = [k for k, at in enumerate(offsets) if _read_header(data, at, run.end)[0]]
    links = []
    for first, last in zip(begins, [*begins[1:], len(offsets)], strict=True):
        end = offsets[last] if last < len(offsets) else run.end
        _, frames, _, rates = _walk(data, offsets[first], end)
        part = replace(run, begin=offsets[first], end=end, frames=frames, rates=rates)
        links.append(_link(data, (part,)))
    return links


def _link(data: mmap, runs: tuple[_Run, ...]) -> _Link:
    """Return a recording with what its header declares."""
    return _Link(runs, *_read_header(data, runs[0].begin, runs[0].end))


def _read_header(data: mmap, offset: int, stop: int) -> tuple[bool, int | None]:
    """Tell whether a frame is a length header, and return the number of frames that it declares."""
    length = _frame_length(data, offset, stop) or 0
    frame = data[offset : offset + min(length, 64)]
    for name in _HEADERS:
        at = frame.find(name)
        if at < 0:
            continue
        fields = data[offset + at : offset + at + 18].ljust(18, b"\0")
        if name == b"VBRI":
            count = _word(fields, 14)[0]
        else:
            count = _word(fields, 8)[0] if fields[7] & 1 else 0
        return True, count or None
    return False, None


# ---- what to do with them


def _find_damage(data: mmap, links: list[_Link], stop: int) -> str:
    """Return what is wrong with the frames, beyond a missing end; empty if nothing is."""
    before = 0.0
    for link in links:
        seconds = before + link.runs[0].frames * link.seconds / max(1, link.frames)
        for run in link.runs[1:]:
            lost = _seconds_of(link, run.junk)
            complete = link.declared is not None and link.frames >= link.declared
            if not complete and (lost > END_TOLERANCE_S or link.declared is not None):
                return f"damaged: {run.junk:,} bytes at {seconds:.3f} s are not MPEG frames"
            seconds += run.frames * link.seconds / max(1, link.frames)
        if link.declared is not None and link.frames > link.declared + 1:
            return (
                f"its header declares {link.declared:,} MPEG frames, it has {link.frames:,}. "
                f"{_HINT}"
            )
        before += link.seconds
    last = links[-1]
    end = last.runs[-1].end
    rest = stop - skip_id3(data, end)
    if last.declared is not None or rest <= _JUNK_BYTES or _is_end_tag(data, end, stop):
        return ""
    if _seconds_of(last, rest) < 1:
        return ""
    return f"damaged: the {rest:,} bytes behind {before:.3f} s are not MPEG frames"


def _notes(links: list[_Link]) -> Iterator[str]:
    """Yield what is odd, but no fault."""
    for link in links:
        for run in link.runs[1:]:
            yield f"{run.junk:,} bytes between its MPEG frames were skipped"


def _seconds_of(link: _Link, size: int) -> float:
    """Return how long so many bytes of a recording are."""
    total = sum(run.end - run.begin for run in link.runs)
    return size * link.seconds / max(1, total)


def _needs_header(data: mmap, link: _Link) -> bool:
    """Tell whether the decoder would guess a length, wrongly: the bit rate varies."""
    rates = 0 if link.has_header else 1 << (data[link.runs[0].begin + 2] >> 4)
    for run in link.runs:
        rates |= run.rates
    is_layer_3 = link.runs[0].kind >> 9 & 3 == 1
    return link.declared is None and is_layer_3 and rates & (rates - 1) != 0


def _pieces(data: mmap, link: _Link) -> tuple[Piece, ...]:
    """Return the pieces of a recording, with a header that declares its length."""
    begin, end = link.runs[0].begin, link.runs[-1].end
    if link.declared is not None or link.runs[0].kind >> 9 & 3 != 1:
        return ((begin, end - begin),)
    if link.has_header:
        begin += _frame_length(data, begin, end) or 0
    return (_make_header(_word(data, begin)[0], link.frames), (begin, end - begin))


def _make_header(word: int, count: int) -> bytes:
    """Return a frame with a Xing header, for frames of layer III with some header."""
    head = word | 1 << 16  # without a checksum
    for index in range(1, 15):
        frame_head = head & ~(15 << 12 | 1 << 9) | index << 12
        length = _lengths(head >> 8 & _KIND)[frame_head >> 8]
        if length >= 64:
            break
    mono, mpeg1 = head >> 6 & 3 == 3, head >> 19 & 3 == 3
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[mpeg1, mono]
    fields = struct.pack(">4sII", b"Xing", 1, count)
    return (struct.pack(">I", frame_head) + bytes(side) + fields).ljust(length, b"\0")


# ---- frames

_KIND = 0xFFFE0C  # of a frame's first three bytes: version, layer and sample rate


def _frame_length(data: mmap, offset: int, stop: int) -> int | None:
    """Return the length in bytes of the frame at an offset; None if there is none."""
    if offset + 4 > stop:
        return None
    head = _word(data, offset)[0] >> 8
    return _lengths(head & _KIND).get(head)


@lru_cache(maxsize=64)
def _lengths(kind: int) -> dict[int, int]:
    """Return the length of each possible frame of a kind, by its first three bytes."""
    version, layer = kind >> 11 & 3, 4 - (kind >> 9 & 3)
    index = kind >> 2 & 3
    if kind >> 13 != 0x7FF or version == 1 or layer == 4 or index == 3:
        return {}
    rate, kbps = _sample_rate(kind), _KBPS[version == 3, layer]
    lengths = {}
    for number in range(1, 15):
        for padding in (0, 1):
            if layer == 1:
                length = (12 * kbps[number] * 1000 // rate + padding) * 4
            else:
                length = _samples(kind) // 8 * kbps[number] * 1000 // rate + padding
            for checksum in (0, 1):
                for private in (0, 1):
                    head = kind | checksum << 8 | number << 4 | padding << 1 | private
                    lengths[head] = length
    return lengths


def _samples(kind: int) -> int:
    """Return the samples of a frame."""
    version, layer = kind >> 11 & 3, 4 - (kind >> 9 & 3)
    if layer == 1:
        return 384
    return 1152 if layer == 2 or version == 3 else 576


def _sample_rate(kind: int) -> int:
    """Return the sample rate in Hz."""
    return _SAMPLE_RATES[kind >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[kind >> 11 & 3]
