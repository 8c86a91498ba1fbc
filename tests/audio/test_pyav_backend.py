"""Videos and compressed audio, written here by PyAV and read back."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from probekit.audio import recording
from probekit.audio.downmix import Downmix
from probekit.audio.pyav_backend import PyAVReader, _read_channels
from probekit.errors import AudioError

SECONDS = 6


def chirp(rate, seconds=SECONDS):
    """A sweep to 1.3 kHz and a little noise: no two stretches are alike."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.4 * np.sin(2 * np.pi * (100 + 100 * time) * time) + 0.005 * noise).astype(np.float32)


def pictures(out, codec, seconds):
    """Add a gray video, ten pictures a second."""
    stream = out.add_stream(codec, rate=10)
    stream.width = stream.height = 32
    stream.pix_fmt = "yuv420p"
    gray = np.full((32, 32, 3), 99, np.uint8)

    def write():
        for number in range(int(10 * seconds)):
            frame = av.VideoFrame.from_ndarray(gray)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())

    return write


def sound(out, codec, wave, rate, bits=192_000, start=0.0, gap=(1e9, 0.0), default=False):
    """Add a sound track that begins at ``start`` and pauses for ``gap[1]`` s at ``gap[0]`` s."""
    channels = np.atleast_2d(wave)
    layout = {1: "mono", 2: "stereo"}[len(channels)]
    stream = out.add_stream(codec, rate=rate, layout=layout, options={"b": str(bits)})
    if default:
        stream.disposition = av.stream.Disposition.default

    def write():
        context = stream.codec_context
        cutter = av.AudioResampler(context.format, layout, rate, context.frame_size or 0)
        for at in range(0, channels.shape[1], 1024):
            block = np.ascontiguousarray(channels[:, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            late = start + (gap[1] if at >= gap[0] * rate else 0)
            frame.pts = at + round(late * rate)
            for piece in cutter.resample(frame):
                out.mux(stream.encode(piece))
        for piece in cutter.resample(None):
            out.mux(stream.encode(piece))
        out.mux(stream.encode())

    return write


def written(path, codec, wave=None, rate=44100, video=None, form=None, flags="", **kind):
    options = {"movflags": flags} if flags else {}
    with av.open(str(path), "w", format=form, options=options) as out:
        tracks = [pictures(out, video, SECONDS)] if video else []
        if codec:
            tracks.append(sound(out, codec, chirp(rate) if wave is None else wave, rate, **kind))
        for write in tracks:
            write()
    return path


def delay(found, expected, rate):
    """How many samples later than expected a waveform is, by the second from 2 s to 3 s."""
    window, known = found[rate : 4 * rate], expected[2 * rate : 3 * rate]
    size = len(window) + len(known)
    product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(known, size)), size)
    return int(product[: len(window) - len(known)].argmax()) - rate


MP4 = ("a.mp4", "aac", 44100, {"video": "mpeg4"})
KINDS = [
    MP4,
    ("a.m4a", "aac", 44100, {}),
    ("a.m4a", "alac", 44100, {"form": "ipod"}),
    ("a.m4a", "aac", 22050, {"flags": "frag_keyframe+empty_moov+default_base_moof"}),
    ("a.mov", "pcm_s16le", 48000, {"video": "mpeg4"}),
    ("a.mkv", "aac", 44100, {"video": "mpeg4", "form": "matroska"}),
    ("a.webm", "libopus", 48000, {}),
    ("a.webm", "libopus", 48000, {"video": "libvpx"}),
    ("a.aac", "aac", 44100, {"form": "adts"}),
    ("a.wma", "wmav2", 44100, {"form": "asf"}),
    ("a.avi", "libmp3lame", 44100, {"video": "mpeg4"}),
    ("a.mp3", "aac", 44100, {"form": "mp4"}),  # a wrong name
]
LATE = {  # encoders' own delay, which these formats do not state: samples
    ("a.aac", "aac"): 1024,
    ("a.m4a", "aac", "fragments"): 1024,
    ("a.wma", "wmav2"): 2048,
    ("a.avi", "libmp3lame"): 1105,
}


@pytest.mark.parametrize("name, codec, rate, kind", KINDS)
def test_what_was_encoded_is_what_is_read(tmp_path, name, codec, rate, kind):
    path = written(tmp_path / name, codec, rate=rate, **kind)
    wave = chirp(rate)
    found = recording.load(path)
    assert found.sr == rate
    assert found.wave.dtype == np.float32
    assert found.duration == len(found.wave) / rate
    # lossy codecs fill a last frame
    assert -0.01 < found.duration - SECONDS < 0.1
    late = LATE.get((name, codec, *(["fragments"] if "flags" in kind else [])), 0)
    off = delay(found.wave, wave, rate)
    assert abs(off - late) <= (44 if codec == "wmav2" else 0)  # whose time stamps are in ms
    same = found.wave[rate + off : 5 * rate + off]
    assert np.corrcoef(same, wave[rate : 5 * rate])[0, 1] > 0.999
    assert same.std() == pytest.approx(wave[rate : 5 * rate].std(), rel=0.05)


@pytest.mark.parametrize("name, codec, rate, kind", KINDS)
@pytest.mark.parametrize("start, end", [(0.3, 1.1), (1.5, 2.5), (3.217, 4.1), (5.0, None)])
def test_a_stretch_is_that_of_the_whole(tmp_path, name, codec, rate, kind, start, end):
    path = written(tmp_path / name, codec, rate=rate, **kind)
    whole = recording.load(path).wave
    found = recording.load(path, start=start, end=end)
    expected = whole[round(start * rate) : None if end is None else round(end * rate)]
    # decoding from a second before on leaves nothing of what was before that; rounding apart
    np.testing.assert_allclose(found.wave, expected, atol=1e-6)
    assert found.duration == len(expected) / rate


def test_noise_that_a_decoder_makes_up_differs_but_little(tmp_path):
    path = written(tmp_path / "a.m4a", "aac", bits=32_000)  # AAC then states noise by its level
    whole = recording.load(path).wave
    found = recording.load(path, start=3, end=4).wave
    assert np.abs(found - whole[3 * 44100 : 4 * 44100]).max() > 1e-4
    assert np.corrcoef(found, whole[3 * 44100 : 4 * 44100])[0, 1] > 0.99


@pytest.mark.parametrize(
    "suffix, codec", [("flac", "flac"), ("mp3", "libmp3lame"), ("opus", "libopus")]
)
def test_both_decoders_agree(tmp_path, suffix, codec):
    path = written(tmp_path / f"a.{suffix}", codec, rate=48000)
    with_soundfile = soundfile.read(path, dtype="float32")[0]
    track = PyAVReader(path, None, None)
    found = np.concatenate([*track.blocks(10_000)])
    track.close()
    assert len(found) == len(with_soundfile)
    # both decode MP3 and Opus in float32, each in its own order
    np.testing.assert_allclose(found, with_soundfile, atol=1e-4 if codec != "flac" else 0)


@pytest.mark.parametrize("form", ["s16", "s32", "u8", "dbl", "fltp", "s16p"])
@pytest.mark.parametrize("layout", ["mono", "stereo", "7.1", "hexadecagonal"])
def test_every_sample_format_has_full_scale_1(form, layout):
    channels = {"mono": 1, "stereo": 2, "7.1": 8, "hexadecagonal": 16}[layout]
    wave = np.linspace(-1, 0.9, 240, dtype=np.float32).reshape(channels, -1)
    frame = av.AudioFrame.from_ndarray(wave.T.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate = 8000
    [other] = av.AudioResampler(form, layout, 8000).resample(frame)
    found = Downmix()(_read_channels(other), axis=0)
    assert found.dtype == np.float32
    step = {"u8": 2**-7, "s16": 2**-15, "s16p": 2**-15}.get(form, 1e-6)
    np.testing.assert_allclose(found, wave.mean(axis=0), atol=1.01 * step)


def test_channels_are_averaged(tmp_path):
    left = chirp(44100)
    path = written(tmp_path / "a.m4a", "alac", np.stack([left, -0.5 * left]), form="ipod")
    np.testing.assert_allclose(recording.load(path).wave, 0.25 * left, atol=1e-4)


def test_other_rates_are_resampled(tmp_path):
    path = written(tmp_path / "a.mov", "pcm_s16le")
    assert len(recording.load(path, 16000).wave) == SECONDS * 16000
    assert recording.load(path, 16000, start=1, end=2).sr == 16000


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_gap_is_silence_so_that_times_stay_right(tmp_path, name):
    path = written(tmp_path / name, "aac", video="mpeg4", gap=(2.5, 1.5))
    rate = 44100
    found = recording.load(path).wave
    wave = chirp(rate)
    assert np.abs(found[int(2.6 * rate) : int(3.9 * rate)]).max() == 0
    for begin, off in ((1, 0), (3, int(1.5 * rate))):
        same = found[begin * rate + off : (begin + 1) * rate + off]
        best = max(
            np.corrcoef(same[100:-100], wave[begin * rate + 100 + k :][: len(same) - 200])[0, 1]
            for k in range(-44, 45)  # time stamps of Matroska are in ms
        )
        assert best > 0.99
    inside = recording.load(path, start=3, end=3.5)
    assert (len(inside.wave), np.abs(inside.wave).max()) == (rate // 2, 0)


def test_a_track_that_begins_late_is_silent_before(tmp_path):
    path = written(tmp_path / "a.mp4", "pcm_s16le", video="mpeg4", start=0.5, form="mov")
    found, wave = recording.load(path).wave, chirp(44100)
    assert np.abs(found[:22000]).max() == 0
    assert abs(delay(found, wave, 44100) - 22050) <= 44  # edit lists may count in ms
    early = recording.load(path, start=0.1, end=0.3).wave
    assert (len(early), np.abs(early).max()) == (8820, 0)


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_tracks_the_default_one_is_taken(tmp_path, default):
    rate, path = 44100, tmp_path / "a.mkv"
    waves = [chirp(rate), chirp(rate)[::-1]]
    with av.open(str(path), "w") as out:
        tracks = [
            sound(out, "flac", wave, rate, default=number == default)
            for number, wave in enumerate(waves)
        ]
        for write in tracks:
            write()
    found = recording.load(path).wave
    np.testing.assert_allclose(found[:rate], waves[default][:rate], atol=1e-3)


def test_a_rate_that_changes_on_the_way_is_kept(tmp_path):
    one = written(tmp_path / "1.aac", "aac", rate=44100, form="adts").read_bytes()
    two = written(tmp_path / "2.aac", "aac", rate=22050, form="adts").read_bytes()
    path = tmp_path / "a.aac"
    path.write_bytes(one + two)
    found = recording.load(path)
    assert found.sr == 44100
    parts = [recording.load(tmp_path / name) for name in ("1.aac", "2.aac")]
    expected = np.concatenate([parts[0].wave, recording.load(tmp_path / "2.aac", 44100).wave])
    assert abs(len(found.wave) - len(expected)) <= 2
    later = slice(len(parts[0].wave) + 44100, len(expected) - 44100)
    assert np.corrcoef(found.wave[later], expected[later])[0, 1] > 0.999


def no_sound(folder):
    return written(folder / "a.mp4", None, video="mpeg4")


def text(folder):
    (folder / "a.mp4").write_text("not a video")
    return folder / "a.mp4"


def empty(folder):
    (folder / "a.webm").touch()
    return folder / "a.webm"


def playlist(folder):
    """A script that names another file must not be followed."""
    written(folder / "b.m4a", "aac")
    (folder / "a.mp4").write_text(f"ffconcat version 1.0\nfile '{folder / 'b.m4a'}'\n")
    return folder / "a.mp4"


def half(name, codec, **kind):
    def make(folder):
        path = written(folder / name, codec, rate=48000, **kind)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
        return path

    return make


def scratched(folder):
    path = written(folder / "a.m4a", "aac")
    content = bytearray(path.read_bytes())
    middle = slice(len(content) * 5 // 10, len(content) * 6 // 10)
    content[middle] = np.random.default_rng(0).bytes(middle.stop - middle.start)
    path.write_bytes(content)
    return path


BAD = {
    no_sound: "holds no audio stream, only video",
    text: "not audio, or damaged",
    empty: "not audio, or damaged",
    playlist: "not audio, or damaged",
    half("a.m4a", "aac"): "truncated: the header declares",  # its table of contents is at the end
    half("a.mp4", "aac", flags="faststart"): "truncated: the header declares",
    half("a.webm", "libopus"): r"truncated: 3\.\d{3} of 6\.\d{3} s could be read",
    half("a.mkv", "aac", video="mpeg4"): r"truncated: \d\.\d{3} of 6\.\d{3} s could be read",
    scratched: r"damaged after \d\.\d{3} s",
}


@pytest.mark.parametrize("make, reason", BAD.items())
def test_what_cannot_be_decoded_is_named(tmp_path, make, reason):
    path = make(tmp_path)
    with pytest.raises(AudioError, match=reason) as caught:
        recording.load(path, 16000)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "make",
    [half("a.webm", "libopus"), half("a.mp4", "aac", flags="faststart"), scratched],
)
def test_what_lies_before_the_damage_can_be_read(tmp_path, make):
    path = make(tmp_path)
    assert len(recording.load(path, 16000, start=1.2, end=2).wave) == 12800


@pytest.mark.parametrize(
    "start, end, reason",
    [
        (7.0, None, r"is 6\.\d{3} s long, the clip asks for 7.000 s to the end"),
        (5.0, 9.0, r"is 6\.\d{3} s long, the clip asks for 5.000 s to 9.000 s"),
        (2.0, 1.0, "the end must be after the start"),
    ],
)
@pytest.mark.parametrize("name", ["a.m4a", "a.aac"])  # the second does not say how long it is
def test_impossible_stretches_are_named(tmp_path, name, start, end, reason):
    path = written(tmp_path / name, "aac", form="adts" if name == "a.aac" else None)
    with pytest.raises(AudioError, match=reason):
        recording.load(path, start=start, end=end)
    assert len(recording.load(path, start=5.5, end=6.05).wave) >= 22050  # metadata rounds


def test_a_crop_decodes_little_and_knows_the_duration(tmp_path):
    path = written(tmp_path / "a.m4a", "aac")
    whole = recording.load(path)
    found = recording.load(path, 16000, crop=2.0)
    assert 2 * 16000 <= len(found.wave) < 4 * 16000
    assert found.duration == pytest.approx(SECONDS, abs=0.01)
    expected = recording.load(path, 16000).wave[:32000]
    np.testing.assert_allclose(found.wave[:32000], expected, atol=1e-6)
    unsaid = recording.load(written(tmp_path / "a.aac", "aac", form="adts"), crop=2.0)
    assert unsaid.duration == pytest.approx(whole.duration, abs=0.05)


def test_a_pyav_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "a.m4a", "aac")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"a\.m4a: PyAV, which reads it, .*pip install av"):
        recording.load(path)


def test_a_wav_with_another_name_needs_no_pyav(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", chirp(8000), 8000)
    (tmp_path / "a.wav").rename(tmp_path / "a.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(recording.load(tmp_path / "a.m4a").wave) == SECONDS * 8000


def test_pyav_is_loaded_only_for_what_needs_it(cli, tmp_path):
    soundfile.write(tmp_path / "a.wav", chirp(8000), 8000)
    load = "import sys; from probekit import audio; audio.load(sys.argv[1])"
    code = f"{load}; assert 'av' not in sys.modules"
    done = cli(tmp_path / "a.wav", code=code)
    assert done.returncode == 0, done.stderr
