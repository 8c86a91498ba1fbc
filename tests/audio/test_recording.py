import os
import struct

import numpy as np
import pytest
import soundfile
import soxr

from probekit import audio
from probekit.audio import container, recording
from probekit.errors import AudioError

RATE = 44100


def noise(samples, channels=1, seed=0):
    wave = np.random.default_rng(seed).uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)
    return wave[:, 0] if channels == 1 else wave


def written(path, wave, rate=RATE, **kind):
    soundfile.write(path, wave, rate, **kind)
    return path


@pytest.mark.parametrize(
    "name, subtype",
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_16"),
        ("a.aiff", "PCM_16"),
        ("a.au", "PCM_16"),
    ],
)
def test_samples_are_those_of_soundfile(tmp_path, name, subtype):
    path = written(tmp_path / name, noise(5000), subtype=subtype)
    found = audio.load(path)
    np.testing.assert_array_equal(found.wave, soundfile.read(path, dtype="float32")[0])
    assert (found.sr, found.duration) == (RATE, 5000 / RATE)
    assert found.wave.dtype == np.float32
    assert found.wave.flags.c_contiguous


def test_16_bit_full_scale_is_1(tmp_path):
    steps = np.array([-32768, -16384, 0, 1, 16384, 32767], np.int16)
    path = written(tmp_path / "a.wav", steps, subtype="PCM_16")
    np.testing.assert_array_equal(audio.load(path).wave, steps.astype(np.float32) / 32768)


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(tmp_path, channels):
    wave = noise(3000, channels)
    path = written(tmp_path / "a.wav", wave, subtype="FLOAT")
    found = audio.load(path).wave
    np.testing.assert_allclose(found, wave.astype(np.float64).mean(axis=1), atol=1e-7)


def test_long_recordings_are_read_in_blocks(tmp_path, monkeypatch):
    wave = noise(5000, 2)
    path = written(tmp_path / "a.flac", wave)
    whole = audio.load(path).wave
    monkeypatch.setattr(recording, "_BLOCK", 999)
    np.testing.assert_array_equal(audio.load(path).wave, whole)
    np.testing.assert_array_equal(audio.load(path, start=0.01, end=0.1).wave, whole[441:4410])


def test_a_header_that_promises_terabytes_is_a_truncated_file(tmp_path):
    path = written(tmp_path / "a.mp3", noise(20000))
    content = bytearray(path.read_bytes())
    at = max(content.find(b"Xing"), content.find(b"Info"))
    content[at + 8 : at + 12] = b"\x7f\xff\xff\xff"  # frames of 1152 samples
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"truncated: \d\d of 2,147,483,647 MPEG frames"):
        audio.load(path)


LOUD_FIRST = np.concatenate([noise(5 * RATE), np.zeros(5 * RATE, np.float32)])


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 8000])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x01\x02" + bytes(130)])
def test_an_mp3_of_constant_rate_needs_no_table(tmp_path, rate, tag):
    kind = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    path = written(tmp_path / "a.mp3", LOUD_FIRST, rate, **kind)
    whole = audio.load(path).wave
    assert len(whole) == len(LOUD_FIRST)
    content = path.read_bytes()
    second = content.index(content[:2], 60)
    path.write_bytes(tag + content[second:])
    found = audio.load(path).wave
    assert abs(len(found) - len(whole)) < 3000  # an encoder's delay, and an incomplete last frame
    part = audio.load(path, start=0.1, end=0.2).wave
    np.testing.assert_allclose(part, found[round(0.1 * rate) : round(0.2 * rate)], atol=1e-6)
    with pytest.raises(AudioError, match="long, the clip asks for"):
        audio.load(path, end=len(LOUD_FIRST) / rate + 1)


@pytest.mark.parametrize("own, wanted", [(44100, 22050), (8000, 16000), (192000, 22050)])
def test_other_rates_go_through_soxr_after_the_downmix(tmp_path, own, wanted):
    wave = noise(own // 10, 2)
    path = written(tmp_path / "a.wav", wave, own, subtype="FLOAT")
    found = audio.load(path, wanted)
    expected = soxr.resample(wave.mean(axis=1, dtype=np.float32), own, wanted, quality="HQ")
    np.testing.assert_array_equal(found.wave, expected)
    assert (found.sr, found.duration) == (wanted, 0.1)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("start, end", [(0, 0.1), (0.05, None), (0.0124, 0.0787), (None, 0.02)])
def test_stretches_are_exact_to_the_sample(tmp_path, name, start, end):
    path = written(tmp_path / name, noise(6000), subtype="PCM_16")
    whole = audio.load(path).wave
    first, last = round((start or 0) * RATE), None if end is None else round(end * RATE)
    found = audio.load(path, start=start, end=end)
    np.testing.assert_array_equal(found.wave, whole[first:last])
    assert found.duration == len(whole[first:last]) / RATE


def test_an_end_that_was_rounded_up_means_the_end(tmp_path):
    path = written(tmp_path / "a.wav", noise(RATE))
    assert len(audio.load(path, start=0.5, end=1.05).wave) == RATE // 2
    with pytest.raises(AudioError, match=r"1\.000 s long, the clip asks for 0\.500 s to 1\.200 s"):
        audio.load(path, start=0.5, end=1.2)


@pytest.mark.parametrize(
    "start, end, reason",
    [
        (0.5, 0.2, "the end must be after the start"),
        (0.2, 0.2, "the end must be after the start"),
        (None, -0.1, "the end must be after the start"),
        (2.0, None, "1.000 s long, the clip asks for 2.000 s to the end"),
        (-0.1, None, "start and end must be finite and >= 0 s"),
        (float("nan"), None, "start and end must be finite and >= 0 s"),
        (None, float("inf"), "start and end must be finite and >= 0 s"),
    ],
)
def test_impossible_stretches_are_named(tmp_path, start, end, reason):
    path = written(tmp_path / "a.wav", noise(RATE))
    with pytest.raises(AudioError) as caught:
        audio.load(path, start=start, end=end)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("own", [22050, 192000])
def test_one_sample_is_a_clip(tmp_path, own):
    path = written(tmp_path / "a.wav", noise(1), own)
    found = audio.load(path, 22050)
    assert found.wave.shape == (1,)
    assert np.isfinite(found.wave).all()
    assert found.duration == 1 / own


def text(folder):
    (folder / "a.wav").write_text("not audio at all")


def empty(folder):
    (folder / "a.wav").touch()


def no_samples(folder):
    written(folder / "a.wav", noise(0))


def not_a_number(folder):
    wave = noise(2000)
    wave[[500, 600]] = np.nan
    written(folder / "a.wav", wave, 1000, subtype="FLOAT")


def infinite(folder):
    wave = noise(2000)
    wave[1500] = np.inf
    written(folder / "a.wav", wave, 1000, subtype="FLOAT")


def missing(folder):
    pass


def dangling(folder):
    (folder / "a.wav").symlink_to(folder / "gone.wav")


def a_folder(folder):
    (folder / "a.wav").mkdir()


def a_pipe(folder):
    os.mkfifo(folder / "a.wav")


@pytest.mark.parametrize(
    "make, reason",
    [
        (text, "not audio, or damaged"),
        (empty, "not audio, or damaged"),
        (no_samples, "holds no samples"),
        (not_a_number, "2 of 2000 samples are NaN or infinite, the first at 0.500 s"),
        (infinite, "1 of 2000 samples are NaN or infinite, the first at 1.500 s"),
        (missing, "no such file"),
        (dangling, "no such file"),
        (a_folder, "is a directory"),
        (a_pipe, "is not a regular file"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, make, reason):
    make(tmp_path)
    with pytest.raises(AudioError) as caught:
        audio.load(tmp_path / "a.wav", 22050)
    assert str(caught.value).startswith(f"{tmp_path / 'a.wav'}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.au", "a.mp3", "a.ogg"])
def test_half_a_file_is_refused(tmp_path, name):
    path = written(tmp_path / name, noise(20000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(AudioError, match=r"truncated|damaged|no samples"):
        audio.load(path)


def wav(chunks, promised):
    body = b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks[:-1])
    name, data = chunks[-1]
    body += name + struct.pack("<I", promised) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


FORMAT = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
SAMPLES = np.arange(500, dtype="<i2").tobytes()


def test_a_truncated_wav_is_found_behind_large_chunks(tmp_path):
    path = tmp_path / "a.wav"
    chunks = [FORMAT, (b"LIST", bytes(100_000)), (b"data", SAMPLES)]
    path.write_bytes(wav(chunks, 2000))
    with pytest.raises(AudioError, match="declares 2000 bytes of samples, the file has 1000"):
        audio.load(path)
    path.write_bytes(wav(chunks, 1000))
    assert len(audio.load(path).wave) == 500


def test_a_wav_that_was_written_to_a_pipe_is_read(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav([FORMAT, (b"data", SAMPLES)], 0xFFFFFFFF))
    np.testing.assert_array_equal(audio.load(path).wave * 32768, np.arange(500))


def test_headerless_formats_are_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(SAMPLES)
    with pytest.raises(AudioError, match=r"a\.raw: cannot be opened"):
        audio.load(tmp_path / "a.raw")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    path = written(tmp_path / "a.wav", noise(100))
    path.chmod(0)
    with pytest.raises(AudioError, match=r"a\.wav: permission denied"):
        audio.load(path)


def test_a_refused_open_is_named(tmp_path, monkeypatch):
    path = written(tmp_path / "a.wav", noise(100))

    def refuse(self, *arguments, **keywords):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(AudioError, match=r"a\.wav: permission denied"):
        audio.load(path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_damage_anywhere_gives_a_waveform_or_an_audio_error(tmp_path, name):
    path = written(tmp_path / name, noise(2000))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(80):
        damaged = bytearray(content)
        damaged[int(rng.integers(min(200, len(content))))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            assert np.isfinite(audio.load(path).wave).all()
        except AudioError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("rate", [1, 999, 1_000_001])
@pytest.mark.parametrize("wanted", [None, 16000])
def test_a_sample_rate_that_nobody_uses_is_refused(tmp_path, rate, wanted):
    path = written(tmp_path / "a.wav", noise(2000), rate)
    with pytest.raises(
        AudioError, match=rf"sample rate must be from 1,000 to 1,000,000 Hz, got {rate:,}"
    ):
        audio.load(path, wanted)


@pytest.mark.parametrize("rate", [1000, 1_000_000])
def test_sample_rates_that_somebody_uses_are_fine(tmp_path, rate):
    path = written(tmp_path / "a.wav", noise(2000), rate)
    assert len(audio.load(path, 16000).wave) == pytest.approx(2000 * 16000 / rate, abs=1)


@pytest.mark.parametrize("suffix", sorted(recording.SUFFIXES))
def test_every_suffix_is_decoded(tmp_path, suffix):
    kinds = {
        ".aif": "AIFF", ".aifc": "AIFF", ".oga": "OGG", ".opus": "OGG", ".snd": "AU",
        ".wave": "WAV", ".mp2": "MP3", ".mpga": "MP3",
    }  # fmt: skip
    kind = kinds.get(suffix, suffix[1:].upper())
    subtype = "OPUS" if suffix == ".opus" else None
    path = tmp_path / f"a{suffix}"
    written(path, noise(48000), 48000, format=kind, subtype=subtype)
    assert audio.load(path).duration == 1


def test_a_crop_is_the_begin_of_the_whole(tmp_path):
    path = written(tmp_path / "a.wav", noise(5 * RATE))
    whole, cropped = (
        audio.load(path, 16000),
        audio.load(path, 16000, crop=1.5),
    )
    assert 24000 <= len(cropped.wave) < 48000
    assert cropped.duration == whole.duration == 5
    np.testing.assert_allclose(cropped.wave[:24000], whole.wave[:24000], atol=1e-6)
    stretch = audio.load(path, 16000, start=1, end=4.5, crop=1.5)
    assert stretch.duration == 3.5
    np.testing.assert_allclose(stretch.wave[100:23900], whole.wave[16100:39900], atol=1e-3)
    assert len(audio.load(path, 16000, crop=9).wave) == len(whole.wave)


def test_a_file_is_inspected_once_for_all_its_clips(tmp_path, monkeypatch):
    path = written(tmp_path / "a.mp3", noise(3 * RATE))
    inspected = []
    inspect = container.inspect_mpeg
    monkeypatch.setattr(container, "inspect_mpeg", lambda *a: inspected.append(1) or inspect(*a))
    for start in range(3):
        audio.load(path, start=start, end=start + 0.5)
    assert len(inspected) == 1
    written(path, noise(2 * RATE))
    os.utime(path, ns=(1, 1))
    audio.load(path)
    assert len(inspected) == 2


def test_blocks_are_those_of_the_whole(tmp_path):
    path = written(tmp_path / "a.flac", noise(5000, 2))
    with audio.open_audio(path, start=0.01) as opened:
        assert opened.duration == (5000 - 441) / RATE
        blocks = [*opened.blocks(1000)]
    assert {len(block) for block in blocks} == {1000, 559}
    np.testing.assert_array_equal(np.concatenate(blocks), audio.load(path, start=0.01).wave)


def test_blocks_with_nan_are_not_handed_out(tmp_path):
    wave = noise(5000)
    wave[[2500, 4500]] = np.nan
    path = written(tmp_path / "a.wav", wave, 1000, subtype="FLOAT")
    with audio.open_audio(path) as opened:
        blocks = opened.blocks(1000)
        assert len(next(blocks)) + len(next(blocks)) == 2000
        with pytest.raises(AudioError, match=r"2 of 5000 samples .* the first at 2\.500 s"):
            next(blocks)
