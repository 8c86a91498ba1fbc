"""Files whose container declares something else than it holds: all of their sound, or the reason.

They are written by libsndfile and FFmpeg, and cut, joined and patched as programs do it that write
to a pipe, copy frames, lose power or stop a download.
"""

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from probekit import audio
from probekit.audio import container, flac_frames, ogg_pages
from probekit.audio.downmix import Downmix
from probekit.errors import AudioError

RATE = 16000
SPEED = 44100


def chirp(seconds=2.0, rate=RATE, seed=0):
    """A sweep and noise: no two segments are alike, and bit rates vary."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time) + 0.02 * noise).astype(np.float32)


def written(path, wave=None, rate=RATE, **kind):
    soundfile.write(path, chirp(rate=rate) if wave is None else wave, rate, **kind)
    return path


def encoded(path, codec, wave, rate, form=None):
    """Encode with FFmpeg."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        context = stream.codec_context
        if codec in ("wavpack", "tta"):
            context.format = "s16p" if codec == "wavpack" else "s16"
        cutter = av.AudioResampler(context.format, "mono", rate, context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        for piece in [*cutter.resample(frame), *cutter.resample(None), None]:
            out.mux(stream.encode(piece))
    return path


def copied(source, path, start=0.0, end=np.inf):
    """Copy the frames of a segment as they are: ffmpeg -ss START -to END -i SOURCE -c copy."""
    with av.open(str(source)) as opened, av.open(str(path), "w") as out:
        track = opened.streams.audio[0]
        stream, shift = out.add_stream_from_template(track), None
        for packet in opened.demux(track):
            if packet.dts is None or not start <= packet.pts * packet.time_base < end:
                continue
            shift = packet.pts if shift is None else shift
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            out.mux(packet)
    return path


def ffmpeg_decodes(path):
    """What FFmpeg makes of a file, whatever its header says."""
    with av.open(str(path)) as opened:
        frames = [frame.to_ndarray() for frame in opened.decode(opened.streams.audio[0])]
    wave = np.concatenate([frame.reshape(-1) for frame in frames])
    return wave.astype(np.float32) / (32768 if wave.dtype == np.int16 else 1)


def check_segments(path, whole, rate=None):
    """Segments are those of the whole, wherever they lie."""
    rate = rate or audio.load(path).sr
    seconds = len(whole) / rate
    for start, end in ((0.1, 0.2), (0.46, 0.55), (0.8, None)):
        first, last = start * seconds, None if end is None else end * seconds
        expected = whole[round(first * rate) : None if last is None else round(last * rate)]
        segment = audio.load(path, start=first, end=last).wave
        # lossy decoders settle before a segment, but not to the last bit
        np.testing.assert_allclose(segment, expected, atol=1e-5)


# ---- FLAC


def patched_total(path, total):
    """Write another number of samples into a FLAC's header."""
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | total
    content[18:26] = packed.to_bytes(8, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("total", [0, 10_000])
def test_a_flac_whose_header_does_not_know_its_length(tmp_path, total):
    path = written(tmp_path / "a.flac")
    whole = audio.load(path).wave
    patched_total(path, total)
    decoded = audio.load(path)
    np.testing.assert_array_equal(decoded.wave, whole)
    check_segments(path, whole)
    expected = ("its header declares 10,000 samples, it has 32,000",) if total else ()
    assert decoded.notes == expected
    with audio.open_audio(path) as opened:
        assert opened.duration == 2.0


@pytest.mark.parametrize("start, end", [(0.6, np.inf), (0.0, 1.1), (0.6, 1.4)])
def test_a_flac_cut_by_copying_frames(tmp_path, start, end):
    path = copied(written(tmp_path / "a.flac"), tmp_path / "cut.flac", start, end)
    expected = ffmpeg_decodes(path)
    with pytest.raises(AudioError, match=f"truncated: {len(expected):,} of 32,000 samples"):
        audio.load(path)
    decoded = audio.load(path, allow_truncated=0.75)
    np.testing.assert_array_equal(decoded.wave, expected)
    assert [note.partition(":")[0] for note in decoded.notes] == ["truncated"]
    segment = {"start": 0.25, "end": 0.5}
    part = audio.load(path, **segment, allow_truncated=0.75).wave
    np.testing.assert_array_equal(part, expected[4000:8000])
    if start:  # no time in it is certain
        with pytest.raises(AudioError, match="they begin at sample"):
            audio.load(path, **segment)
    else:
        np.testing.assert_array_equal(audio.load(path, **segment).wave, part)


def test_half_a_flac_ends_with_its_last_intact_frame(tmp_path):
    path = written(tmp_path / "a.flac")
    whole = audio.load(path).wave
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioError, match=r"truncated: 1\d,\d{3} of 32,000 samples"):
        audio.load(path)
    decoded = audio.load(path, allow_truncated=0.6).wave
    assert len(decoded) % 4096 == 0
    np.testing.assert_array_equal(decoded, whole[: len(decoded)])
    patched_total(path, 0)
    with pytest.raises(AudioError, match="truncated: the file ends inside a FLAC frame"):
        audio.load(path)


@pytest.mark.parametrize("lengths", [(2.0, 2.0), (2.0, 0.7), (12.0, 12.0), (12.0,) * 3])
def test_flac_recordings_one_after_the_other(tmp_path, lengths):
    paths = [
        written(tmp_path / f"{k}.flac", chirp(seconds, seed=k)) for k, seconds in enumerate(lengths)
    ]
    expected = np.concatenate([audio.load(path).wave for path in paths])
    (tmp_path / "a.flac").write_bytes(b"".join(path.read_bytes() for path in paths))
    np.testing.assert_array_equal(audio.load(tmp_path / "a.flac").wave, expected)
    check_segments(tmp_path / "a.flac", expected)


def test_recordings_of_one_length_are_told_by_a_few_frames():
    """Wherever in a frame the search begins: it ends at the next one, of 40 in a recording."""
    rng = np.random.default_rng(0)
    probes = np.array(flac_frames._PROBES)
    for copies in range(2, 61):
        for _ in range(50):
            frame = np.ceil((probes * copies % 1) * 40 + rng.uniform(0, 0.5, len(probes))) % 40
            assert (np.diff(frame) <= 0).any()


def test_tags_around_a_flac_do_not_matter(tmp_path):
    path = written(tmp_path / "a.flac")
    whole, content = audio.load(path), path.read_bytes()
    path.write_bytes(b"ID3\x04\0\0\0\0\x01\x02" + bytes(130) + content + b"TAG" + bytes(125))
    decoded = audio.load(path)
    np.testing.assert_array_equal(decoded.wave, whole.wave)
    assert decoded.notes == ()


def test_the_checksums_of_flac_are_those_of_the_encoder(tmp_path):
    data = written(tmp_path / "a.flac", chirp(0.2)).read_bytes()
    start = flac_frames._skip_metadata(data, 0)
    assert flac_frames._parse_frame(data[start : start + 16], 3200) == (0, 3200)
    assert flac_frames._crc16(data[start:]) == 0  # there is one frame
    assert flac_frames._crc16(data[start:-1]) != 0


# ---- Ogg

OGG = {
    "vorbis": (RATE, {"format": "OGG", "subtype": "VORBIS"}),
    "opus": (48000, {"format": "OGG", "subtype": "OPUS"}),
}


def ogg(path, name="vorbis", seconds=2.0, seed=0):
    rate, kind = OGG[name]
    return written(path, chirp(seconds, rate, seed), rate, **kind)


def pages(content):
    """Begin and end of each page."""
    bounds, offset = [], 0
    while offset < len(content):
        count = content[offset + 26]
        end = offset + 27 + count + sum(content[offset + 27 : offset + 27 + count])
        bounds.append((offset, end))
        offset = end
    return bounds


@pytest.mark.parametrize("name", OGG)
@pytest.mark.parametrize("repeats", [(0, 0), (0, 1, 2)])
def test_ogg_recordings_one_after_the_other(tmp_path, name, repeats):
    paths = [ogg(tmp_path / f"{k}.ogg", name, 1.0 + k / 2, seed=k) for k in repeats]
    expected = np.concatenate([audio.load(path).wave for path in paths])
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(one.read_bytes() for one in paths))
    decoded = audio.load(path)
    np.testing.assert_array_equal(decoded.wave, expected)
    assert decoded.duration == sum(1.0 + k / 2 for k in repeats)
    check_segments(path, expected)


def test_recordings_of_several_rates_are_no_recording(tmp_path):
    one, two = ogg(tmp_path / "1.ogg"), written(tmp_path / "2.ogg", chirp(1, 8000), 8000)
    (tmp_path / "a.ogg").write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(AudioError, match="holds recordings at 8000 and 16000 Hz"):
        audio.load(tmp_path / "a.ogg")


@pytest.mark.parametrize("name", OGG)
@pytest.mark.parametrize("end", ["inside a page", "behind a page", "without the last page"])
def test_an_ogg_without_its_end(tmp_path, name, end):
    path = ogg(tmp_path / "a.ogg", name, seconds=4)
    whole, content = audio.load(path).wave, path.read_bytes()
    bounds = pages(content)
    size = {
        "inside a page": bounds[-2][0] + 100,
        "behind a page": bounds[-3][1],
        "without the last page": bounds[-1][0],
    }[end]
    path.write_bytes(content[:size])
    reason = "ends inside an Ogg page" if end == "inside a page" else "is not marked as the end"
    with pytest.raises(AudioError, match=f"truncated: .*{reason}"):
        audio.load(path)
    with pytest.raises(AudioError, match="truncated"):  # how much is missing is unknown
        audio.load(path, allow_truncated=0.9)
    decoded = audio.load(path, allow_truncated=1)
    assert 0.2 < decoded.duration < 4
    part = audio.load(path, start=0.05, end=0.15).wave
    rate = OGG[name][0]
    np.testing.assert_allclose(part, whole[rate // 20 : rate * 3 // 20], atol=1e-5)


@pytest.mark.parametrize("name", OGG)
@pytest.mark.parametrize("number", [-1, -2])
def test_an_ogg_with_a_damaged_page(tmp_path, name, number):
    path = ogg(tmp_path / "a.ogg", name)
    content = bytearray(path.read_bytes())
    begin, end = pages(content)[number]
    content[(begin + end) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"damaged: the checksum of an Ogg page differs"):
        audio.load(path)


def test_an_ogg_that_lost_a_page(tmp_path):
    path = ogg(tmp_path / "a.ogg", seconds=4)
    content = path.read_bytes()
    begin, end = pages(content)[-2]
    path.write_bytes(content[:begin] + content[end:])
    with pytest.raises(AudioError, match=r"damaged: 1 Ogg pages are missing, behind sample \d+"):
        audio.load(path)


@pytest.mark.parametrize("codec, rate", [("libopus", 48000), ("vorbis", RATE)])
def test_an_ogg_cut_by_copying_packets(tmp_path, codec, rate):
    source = tmp_path / "a.ogg"
    if codec == "vorbis":
        ogg(source, seconds=4)
    else:
        encoded(source, codec, chirp(4, rate), rate)
    path = copied(source, tmp_path / "cut.ogg", 1.0, 3.0)
    whole = audio.load(path).wave
    assert len(whole) == len(ffmpeg_decodes(path))
    check_segments(path, whole)


def test_a_stream_that_was_joined_in_the_middle(tmp_path):
    """Radio: the headers, then the pages from there on, which count from the station's start."""
    path = ogg(tmp_path / "a.ogg", "opus", seconds=4)
    content = path.read_bytes()
    bounds = pages(content)
    path.write_bytes(content[: bounds[1][1]] + content[bounds[3][0] :])
    whole = audio.load(path).wave
    assert len(whole) == len(ffmpeg_decodes(path))
    check_segments(path, whole)


def test_the_checksum_of_pages_is_that_of_the_encoder(tmp_path):
    content = ogg(tmp_path / "a.ogg").read_bytes()
    for begin, end in pages(content):
        page = content[begin:end]
        assert ogg_pages._is_intact(page)
        assert not ogg_pages._is_intact(page[:-1] + bytes([page[-1] ^ 1]))


def speex_page(payloads, granule, number, flags):
    """One page of a stream, with its checksum computed bit by bit."""
    sizes = bytes(map(len, payloads))
    head = struct.pack("<4sBBqIII", b"OggS", 0, flags, granule, 7, number, 0)
    page = head + bytes([len(sizes)]) + sizes + b"".join(payloads)
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", crc) + page[26:]


def speex(path):
    """One second of silence: 50 packets of 20 ms."""
    fields = (1, 80, 8000, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    head = b"Speex   " + b"1.2".ljust(20, b"\0") + struct.pack("<13i", *fields)
    path.write_bytes(
        speex_page([head], 0, 0, 2)
        + speex_page([bytes(8)], 0, 1, 0)
        + speex_page([b"\x05"] * 50, 8000, 2, 4)
    )
    return path


# ---- MP3

CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
VARIABLE = {"bitrate_mode": "VARIABLE"}
LOUD_FIRST = np.concatenate([chirp(2, SPEED), np.zeros(SPEED, np.float32)])


def mp3(path, wave=LOUD_FIRST, kind=VARIABLE):
    return written(path, wave, SPEED, **kind)


def header_of(content):
    """Where the header with the number of frames begins: Xing, or Info for constant rates."""
    return max(content.find(b"Xing"), content.find(b"Info"))


def without_header(content):
    """Leave out the frame that holds it."""
    begin = content.index(b"\xff\xfb")
    return content[content.index(content[begin : begin + 2], begin + 60) :]


def with_empty_header(content):
    at = header_of(content)
    return content[: at + 4] + bytes(112) + content[at + 116 :]


def without_count(content):
    at = header_of(content)
    return content[: at + 8] + bytes(4) + content[at + 12 :]


def tag(size):
    """An ID3v2 tag."""
    digits = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + digits + np.random.default_rng(0).bytes(size)


@pytest.mark.parametrize("kind", [CONSTANT, VARIABLE], ids=["constant", "variable"])
@pytest.mark.parametrize("wave", [LOUD_FIRST, LOUD_FIRST[::-1].copy()], ids=["falling", "rising"])
@pytest.mark.parametrize("change", [without_header, with_empty_header, without_count])
def test_an_mp3_whose_header_does_not_tell_its_length(tmp_path, kind, wave, change):
    path = mp3(tmp_path / "a.mp3", wave, kind)
    whole = audio.load(path).wave
    path.write_bytes(tag(3000) + tag(100_000) + change(path.read_bytes()))
    decoded = audio.load(path)
    assert decoded.notes == ()
    # the header also tells the encoder's delay: up to two frames of silence are added without it
    assert 0 <= len(decoded.wave) - len(whole) <= 2 * 1152 + 529
    shift = np.argmax(np.correlate(decoded.wave[40_000:50_000], whole[41_000:47_000])) - 1000
    late = decoded.wave[40_000 + shift + 1000 :][: len(whole) - 42_000]
    if wave is LOUD_FIRST:
        np.testing.assert_allclose(late, whole[41_000:][: len(late)], atol=1e-4)
    check_segments(path, decoded.wave)


@pytest.mark.parametrize("kind", [CONSTANT, VARIABLE], ids=["constant", "variable"])
@pytest.mark.parametrize("between", [b"", tag(3000)], ids=["plain", "tagged"])
def test_mp3_recordings_one_after_the_other(tmp_path, kind, between):
    one = mp3(tmp_path / "1.mp3", kind=kind)
    two = mp3(tmp_path / "2.mp3", chirp(1, SPEED, seed=1), kind)
    expected = np.concatenate([audio.load(path).wave for path in (one, two)])
    path = tmp_path / "a.mp3"
    path.write_bytes(tag(2000) + one.read_bytes() + between + two.read_bytes())
    decoded = audio.load(path)
    assert (decoded.duration, decoded.notes) == (4.0, ())
    np.testing.assert_array_equal(decoded.wave, expected)
    check_segments(path, expected)


@pytest.mark.parametrize("kind", [CONSTANT, VARIABLE], ids=["constant", "variable"])
@pytest.mark.parametrize(
    "change",
    [
        lambda content: tag(200_000) + content,
        lambda content: tag(3000) + tag(200_000) + content,
        lambda content: content + b"TAG" + bytes(125),
        lambda content: content + b"APETAGEX" + bytes(200),
        lambda content: content + np.random.default_rng(1).bytes(5000),
    ],
    ids=["a large tag", "two tags", "ID3v1", "APE", "something behind it"],
)
def test_tags_around_an_mp3_do_not_matter(tmp_path, kind, change, capfd):
    path = mp3(tmp_path / "a.mp3", kind=kind)
    whole = audio.load(path).wave
    path.write_bytes(change(path.read_bytes()))
    decoded = audio.load(path)
    np.testing.assert_array_equal(decoded.wave, whole)
    assert decoded.notes == ()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [CONSTANT, VARIABLE], ids=["constant", "variable"])
def test_half_an_mp3(tmp_path, kind):
    path = mp3(tmp_path / "a.mp3", kind=kind)
    whole, content = audio.load(path).wave, path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"truncated: \d\d of 116 MPEG frames are in the file"):
        audio.load(path)
    decoded = audio.load(path, allow_truncated=0.7)
    assert 0.9 < decoded.duration < 2
    # the last frames before the end need what comes behind them
    intact = len(decoded.wave) - 2 * 1152
    np.testing.assert_allclose(decoded.wave[:intact], whole[:intact], atol=1e-5)
    part = audio.load(path, start=0.1, end=0.5).wave
    np.testing.assert_allclose(part, whole[4410:22050], atol=1e-5)


@pytest.mark.parametrize("change", [without_header, lambda content: content])
@pytest.mark.parametrize("fill", [bytes(3000), b""], ids=["overwritten", "cut out"])
def test_an_mp3_with_a_hole(tmp_path, change, fill, capfd):
    path = mp3(tmp_path / "a.mp3", kind=CONSTANT)
    content = change(path.read_bytes())
    middle = len(content) // 2 + 100
    path.write_bytes(content[:middle] + fill + content[middle + 3000 :])
    if fill or b"Info" in content:
        with pytest.raises(AudioError, match=r"damaged: [\d,]+ bytes at 1\.\d{3} s are not MPEG"):
            audio.load(path)
    else:  # less than a tenth of a second, which no header declares
        [note] = [n for n in audio.load(path).notes if not n.startswith("libmpg123")]
        assert note.endswith("bytes between its MPEG frames were skipped")
    assert capfd.readouterr() == ("", "")


def test_an_mp3_that_ends_in_something_else(tmp_path):
    path = mp3(tmp_path / "a.mp3", kind=CONSTANT)
    content = without_header(path.read_bytes())
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    with pytest.raises(AudioError, match=r"bytes behind 1\.\d{3} s are not MPEG frames"):
        audio.load(path)


def test_an_mp3_whose_header_declares_too_little(tmp_path):
    path = mp3(tmp_path / "a.mp3")
    content = bytearray(path.read_bytes())
    at = header_of(content)
    content[at + 8 : at + 12] = struct.pack(">I", 40)
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"declares 40 MPEG frames, it has 116\. 'ffmpeg"):
        audio.load(path)


def test_an_mp3_whose_header_counts_itself(tmp_path):
    path = mp3(tmp_path / "a.mp3")
    whole, content = audio.load(path).wave, bytearray(path.read_bytes())
    at = header_of(content)
    for more in (1, 2):
        content[at + 8 : at + 12] = struct.pack(">I", 116 + more)
        path.write_bytes(content)
        container._inspect.cache_clear()  # the size is the same
        if more == 1:
            decoded = audio.load(path).wave
            assert 0 <= len(decoded) - len(whole) <= 1152
            np.testing.assert_array_equal(decoded[: len(whole)], whole)
        else:
            with pytest.raises(AudioError, match="truncated: 116 of 118 MPEG frames"):
                audio.load(path)


def mp3_in_wav(content):
    """A WAV of format 0x55: the frames of an MP3 as they are."""
    fields = (0x55, 1, SPEED, 16000, 1, 0, 12, 1, 2, 417, 1, 1393)
    chunk = b"fmt " + struct.pack("<IHHIIHHHHIHHH", 30, *fields)
    return riff(content, chunk=chunk)


def test_an_mp3_in_a_wav(tmp_path):
    path = mp3(tmp_path / "a.mp3", kind=CONSTANT)
    whole, content = audio.load(path).wave, path.read_bytes()
    wav = tmp_path / "a.wav"
    wav.write_bytes(mp3_in_wav(content))
    np.testing.assert_array_equal(audio.load(wav).wave, whole)
    wav.write_bytes(mp3_in_wav(without_header(content)))
    assert audio.load(wav).duration == pytest.approx(3.0, abs=0.06)
    wav.write_bytes(wav.read_bytes()[: len(content) // 2])
    with pytest.raises(AudioError, match=r"truncated: the header declares \d+ bytes of samples"):
        audio.load(wav)


# ---- sizes in bytes

PCM = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
STEPS = np.arange(8000, dtype="<i2")


def riff(data, size=None, riff_size=None, chunk=PCM, behind=b"", name=b"RIFF"):
    size = len(data) if size is None else size
    body = b"WAVE" + chunk + b"data" + struct.pack("<I", size) + data + behind
    riff_size = len(body) if riff_size is None else riff_size
    return name + struct.pack("<I", riff_size) + body


SIZES = {
    0x7FFFF000: "SoX, espeak-ng",
    0x80000000: "arecord",
    0x7FFFFFDB: "programs that count up to the largest signed number",
    0x7F000007: "others",
    0xFFFFFFFF: "ffmpeg",
    0xFFFFFFDB: "the same, less the header",
    0: "recorders that lost power",
}


@pytest.mark.parametrize("size", SIZES, ids=hex)
def test_a_wav_of_unknown_size(tmp_path, size):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(STEPS.tobytes(), size, min(size + 36, 0xFFFFFFFF) if size else 0))
    whole = audio.load(path).wave
    np.testing.assert_array_equal(whole * 32768, STEPS)
    check_segments(path, whole)


def test_a_header_that_was_written_once_only(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(STEPS.tobytes(), 0, 36))
    assert audio.load(path).duration == 1.0
    path.write_bytes(riff(b"", behind=b"LIST\4\0\0\0INFO"))  # that is what it says
    with pytest.raises(AudioError, match="holds no samples"):
        audio.load(path)


@pytest.mark.parametrize("size", [0x7FFF0008, 0, 0x80000000, 0xFFFFFFFF, 0x7F000008], ids=hex)
def test_an_aiff_of_unknown_size(tmp_path, size):
    path = written(tmp_path / "a.aiff", STEPS.astype("<i2"), 8000)
    content = bytearray(path.read_bytes())
    at = content.index(b"SSND")
    content[at + 4 : at + 8] = struct.pack(">I", size)
    path.write_bytes(content)
    if size == 0x7FFF0008:
        with pytest.raises(AudioError, match="truncated"):
            audio.load(path)
    else:
        np.testing.assert_array_equal(audio.load(path).wave * 32768, STEPS)


def rf64(data, name, size=None):
    """A file of 64-bit sizes, as BWF recorders write it."""
    size = len(data) if size is None else size
    chunk = b"ds64" + struct.pack("<IQQQI", 28, size + 72, size, size // 2, 0) + PCM
    return riff(data, 0xFFFFFFFF, 0xFFFFFFFF, chunk, name=name)


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_64_bit_sizes(tmp_path, name):
    path = tmp_path / "a.wav"
    content = rf64(STEPS.tobytes(), name)
    path.write_bytes(content)
    whole = audio.load(path).wave
    np.testing.assert_array_equal(whole * 32768, STEPS)
    check_segments(path, whole)
    path.write_bytes(content[:9000])
    with pytest.raises(AudioError, match="truncated: the header declares 16000 bytes"):
        audio.load(path)
    decoded = audio.load(path, allow_truncated=0.5).wave
    np.testing.assert_array_equal(decoded * 32768, STEPS[: len(decoded)])
    assert len(decoded) == (9000 - len(content) + 16000) // 2


def test_64_bit_sizes_that_were_never_written(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(rf64(STEPS.tobytes(), b"RF64", 0))
    np.testing.assert_array_equal(audio.load(path).wave * 32768, STEPS)


@pytest.mark.parametrize("name", ["a.rf64", "a.w64", "a.caf", "a.wav", "a.aiff", "a.au"])
def test_half_a_file_is_read_as_far_as_it_goes_if_that_is_allowed(tmp_path, name):
    path = written(tmp_path / name, STEPS.astype("<i2"), 8000, format=name[2:].upper())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioError, match="truncated: the header declares"):
        audio.load(path)
    with pytest.raises(AudioError, match="truncated"):
        audio.load(path, allow_truncated=0.3)
    decoded = audio.load(path, allow_truncated=0.55)
    np.testing.assert_array_equal(decoded.wave * 32768, STEPS[: len(decoded.wave)])
    assert decoded.duration == len(decoded.wave) / 8000
    assert [note[:9] for note in decoded.notes] == ["truncated"]
    # what a segment lacks counts, not what the file lacks
    assert audio.load(path, start=0.1, end=0.2).notes == ()
    end = decoded.duration + 0.1
    with pytest.raises(AudioError, match="truncated"):
        audio.load(path, start=0.2, end=end)
    share = 0.1 / (end - 0.2)
    assert audio.load(path, start=0.2, end=end, allow_truncated=share + 0.01).notes
    with pytest.raises(AudioError, match="truncated"):  # nothing of it is there
        audio.load(path, start=decoded.duration + 0.05, end=0.95, allow_truncated=1)


@pytest.mark.parametrize("size", [32000, 0xFFFFFFFF, 0], ids=["overflowed", "unknown", "never"])
def test_a_wav_beyond_4_gb(tmp_path, size):
    path = tmp_path / "a.wav"
    count = (1 << 32) + 32000
    with path.open("wb") as stream:  # a hole in the file takes no room
        stream.write(riff(b"", size, (size + 36) % (1 << 32) if size else 0))
        stream.seek(44 + count - len(STEPS.tobytes()))
        stream.write(STEPS.tobytes())
    with audio.open_audio(path) as opened:
        assert opened.duration == count / 16000
    last = audio.load(path, start=count / 16000 - 1).wave
    np.testing.assert_array_equal(last * 32768, STEPS)


# ---- what libsndfile does not know


@pytest.mark.parametrize(
    "name, codec, form, lossless",
    [
        ("a.oga", "flac", "ogg", True),
        ("a.caf", "alac", "caf", True),
        ("a.wv", "wavpack", "wv", True),
        ("a.tta", "tta", "tta", True),
        ("a.eac3", "eac3", "eac3", False),
        ("a.ts", "aac", "mpegts", False),
        ("a.vob", "ac3", "vob", False),
        ("a.wav", "wavpack", "wv", True),  # a wrong name
    ],
)
def test_what_libsndfile_does_not_know_is_read_with_pyav(tmp_path, name, codec, form, lossless):
    wave = np.round(chirp(2, 48000) * 32767).astype(np.float32) / 32768
    path = encoded(tmp_path / name, codec, wave, 48000, form)
    whole = audio.load(path).wave
    if lossless:
        np.testing.assert_allclose(whole, wave, atol=1e-4)
    assert 2.0 <= len(whole) / 48000 < 2.1
    check_segments(path, whole, 48000)


def test_speex_is_read_with_pyav(tmp_path):
    path = speex(tmp_path / "a.spx")
    decoded = audio.load(path)
    assert (decoded.sr, decoded.duration) == (8000, 1.0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AudioError, match="truncated"):
        audio.load(path)


def test_half_an_ogg_flac_is_truncated(tmp_path):
    path = encoded(tmp_path / "a.oga", "flac", chirp(6), RATE, "ogg")
    whole, content = audio.load(path).wave, path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="truncated: the file ends inside an Ogg page"):
        audio.load(path)
    decoded = audio.load(path, allow_truncated=1).wave
    np.testing.assert_array_equal(decoded, whole[: len(decoded)])


@pytest.mark.parametrize("codec", ["mp2", "ac3"])
@pytest.mark.parametrize("form", ["raw", "mpeg"])
def test_segments_of_streams_without_an_index(tmp_path, codec, form):
    """Of MPEG program streams and AC-3: time stamps there are not those of samples."""
    form = {"raw": codec, "mpeg": "vob"}[form]
    path = encoded(tmp_path / f"a.{form}", codec, chirp(6, 48000), 48000, form)
    whole = audio.load(path).wave
    for start, end in ((1.3, 2.1), (3.217, 4.1), (5.0, None)):
        expected = whole[round(start * 48000) : None if end is None else round(end * 48000)]
        segment = audio.load(path, start=start, end=end).wave
        np.testing.assert_allclose(segment, expected, atol=1e-6)


# ---- no audio, or nothing in it


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>404</html>",
        b"\n <html lang='en'>",
        b"\xef\xbb\xbf<!doctype HTML>" + bytes(99),
    ],
)
@pytest.mark.parametrize("suffix", ["mp3", "wav", "flac"])
def test_a_web_page_is_named(tmp_path, content, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"is a web page \(HTML\), not audio"):
        audio.load(path)


@pytest.mark.parametrize("suffix", ["mp3", "wav", "mp4"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 83086\n")
    with pytest.raises(AudioError, match=r"is a Git LFS pointer, not audio; run git lfs pull"):
        audio.load(path)


@pytest.mark.parametrize("content", [b"hello", b"{}" + bytes(5000), b"\xff\xfe" + bytes(900)])
def test_text_is_no_pipe(tmp_path, content, capfd):
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"not audio, or damaged \(no mpeg audio was found\)"):
        audio.load(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name, kind", [("a.wav", {}), ("a.flac", {}), ("a.mp3", {})])
@pytest.mark.parametrize("factor, note", [(-1.0, True), (-0.98, True), (-0.5, False), (0, False)])
def test_channels_that_cancel_each_other_are_noted(tmp_path, name, kind, factor, note):
    wave = chirp(1, SPEED)
    path = written(tmp_path / name, np.stack([wave, factor * wave], 1), SPEED, **kind)
    notes = audio.load(path).notes
    assert [n.partition(":")[0] for n in notes] == ["its channels cancel each other"] * note


@pytest.mark.parametrize("channels", [2, 8])
def test_unrelated_channels_do_not_cancel_each_other(tmp_path, channels):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, channels))
    assert audio.load(written(tmp_path / "a.wav", wave)).notes == ()


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_mean_of_channels_is_that_of_numpy_to_the_last_bit(channels, axis):
    block = np.random.default_rng(0).standard_normal((9000, channels)).astype(np.float32)
    block[:4] = [[-0.0], [1e-45], [3e38], [-0.0]]
    block[3, 0] = 0
    block = block if axis else np.ascontiguousarray(block.T)
    with np.errstate(over="ignore"):
        mean = Downmix()(block, axis=axis)
        expected = block.mean(axis=axis, dtype=np.float32)
    if channels > 1:
        assert mean.tobytes() == expected.tobytes()
    np.testing.assert_array_equal(mean, expected)


def test_silence_cancels_nothing(tmp_path):
    assert audio.load(written(tmp_path / "a.wav", np.zeros((RATE, 2)))).notes == ()


# ---- damage of any kind


MAKERS = {
    "a.flac": lambda path: written(path, chirp(0.5)),
    "a.ogg": lambda path: ogg(path, seconds=0.5),
    "a.mp3": lambda path: mp3(path, chirp(0.5, SPEED)),
    "a.wav": lambda path: written(path, chirp(0.2)),
    "a.w64": lambda path: written(path, chirp(0.2), format="W64"),
    "a.m4a": lambda path: encoded(path, "aac", chirp(0.5), RATE),
}


@pytest.mark.parametrize("name", MAKERS)
def test_damage_anywhere_is_a_waveform_or_an_audio_error(tmp_path, name):
    path = MAKERS[name](tmp_path / name)
    content = path.read_bytes()
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for k in range(60):
        damaged = bytearray(content)
        span = len(content) if k % 2 else min(200, len(content))
        damaged[int(rng.integers(span))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged[: int(rng.integers(1, len(content)))] if k % 3 == 0 else damaged)
        container._inspect.cache_clear()  # written within the resolution of file times
        for options in ({}, {"allow_truncated": 1.0}, {"start": 0.05, "end": 0.1}):
            try:
                assert np.isfinite(audio.load(path, **options).wave).all()
            except AudioError as error:
                assert str(error).startswith(f"{path}: ")
