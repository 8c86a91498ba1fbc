"""Sounds in the page: short, few, and only of files that the clip table names inside its root."""

import base64
import io

import numpy as np
import pytest
import soundfile

from probekit.errors import AudioError
from probekit.report.html import audio_clips
from probekit.report.html.audio_clips import AudioClips, ClipTable

NAN = float("nan")


@pytest.fixture
def recording(tmp_path):
    """Ten seconds: a tone of 440 Hz, and from 8 s on one of 880 Hz."""
    time = np.arange(10 * 44_100) / 44_100
    wave = 0.4 * np.sin(2 * np.pi * np.where(time < 8, 440, 880) * time)
    path = tmp_path / "tone.wav"
    soundfile.write(path, np.stack([wave, wave], axis=1), 44_100)
    return path


def heard(address):
    kind, _, data = address.partition(";base64,")
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    return kind, wave, rate


def pitch(wave, rate):
    return np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * rate / len(wave)


def test_first_seconds_as_mono_mp3(recording):
    kind, wave, rate = heard(audio_clips.encode_audio(recording, NAN, NAN))
    assert kind == "data:audio/mpeg" and wave.ndim == 1
    assert len(wave) / rate == pytest.approx(audio_clips.SECONDS, abs=0.1)  # MP3 pads to its frames
    assert pitch(wave, rate) == pytest.approx(440, abs=2)
    assert len(audio_clips.encode_audio(recording, NAN, NAN)) < 60_000


def test_stretch_of_a_recording(recording):
    _, wave, rate = heard(audio_clips.encode_audio(recording, 8.5, 9.5))
    assert len(wave) / rate == pytest.approx(1.0, abs=0.1)
    assert pitch(wave, rate) == pytest.approx(880, abs=2)


def test_wav_where_there_is_no_mp3(recording, monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV"})
    kind, wave, rate = heard(audio_clips.encode_audio(recording, NAN, NAN))
    assert kind == "data:audio/wav" and len(wave) == audio_clips.SECONDS * rate


def test_what_is_no_audio_is_an_error_and_in_the_page_a_problem(tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("no audio")
    with pytest.raises(AudioError, match=r"text\.wav"):
        audio_clips.encode_audio(path, NAN, NAN)
    found = AudioClips(10**6)
    assert found.add("t", "c", path, NAN, NAN)  # it goes on
    assert not found.data and "text.wav" in found.problems["t", "c"]


def test_budget_ends_it(recording):
    one = len(audio_clips.encode_audio(recording, NAN, NAN))
    found = AudioClips(2 * one + 10)
    took = [found.add("t", f"c{k}", recording, NAN, NAN) for k in range(3)]
    assert took == [True, True, False]
    assert found.used == sum(map(len, found.data)) == 2 * one
    assert found.add("t", "c0", recording, NAN, NAN) and len(found.data) == 2  # is there already


@pytest.mark.parametrize("name", ["../tone.wav", "a/../../tone.wav", "/etc/passwd", ""])
def test_path_that_leaves_its_root_is_not_followed(tmp_path, recording, name):
    root = tmp_path / "root"
    root.mkdir()
    assert ClipTable({"c": (name, NAN, NAN)}, (root,)).find("c") is None
    assert ClipTable({"c": ("tone.wav", NAN, NAN)}, (root, tmp_path)).find("c") is not None


def test_table_is_that_of_the_runs(small, tmp_path):
    digest = small.tables["birds"].digest()
    found = audio_clips.load_clip_table(small.cache, [digest], [tmp_path])
    assert found.rows["birds-003"][0] == "003.wav" and found.roots == (tmp_path,)
    assert audio_clips.load_clip_table(small.cache, ["0" * 64], [tmp_path]).rows == {}
    (path,) = (small.cache / "manifests").iterdir()
    path.write_bytes(b"damaged")
    assert audio_clips.load_clip_table(small.cache, [digest], [tmp_path]).rows == {}


def test_page_has_the_surest_mistakes_of_every_run(small, tmp_path, monkeypatch):
    monkeypatch.setattr(audio_clips, "MOST_CLIPS", 12)
    rate = 8000
    for k in range(40):
        soundfile.write(tmp_path / f"{k:03d}.wav", np.sin(np.arange(rate // 5) / (3 + k)), rate)
    made = small.write(audio=[tmp_path])
    data = small.data(made.path)["boards"][0]
    for run in data["runs"]:
        assert len(run["items"]) >= 10
        for item in run["items"][:5]:  # of two runs in turn, some clips in both
            assert str(item[0]) in data["sounds"]
    assert made.sounds == len(data["sounds"]) == 12 and not made.problems
    assert "to keep it small" in data["silence"]
    assert small.write(audio=[tmp_path], budget=0).sounds == 0


def test_missing_folder_is_an_error_and_missing_files_are_not(small, tmp_path):
    with pytest.raises(Exception, match=r"--audio .*nowhere: no such folder"):
        small.write(audio=[tmp_path / "nowhere"])
    made = small.write(audio=[tmp_path])
    assert made.sounds == 0
    assert "--audio DIR" in small.data(made.path)["boards"][0]["silence"]
