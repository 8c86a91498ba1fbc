import numpy as np
import pytest
import soundfile

from probekit.audio import duration
from probekit.audio.duration import header_duration, mean_duration
from probekit.errors import AudioError


@pytest.fixture
def tones(tmp_path):
    """Recordings of 1, 2, 3 … seconds."""
    paths = [tmp_path / f"{k}.wav" for k in range(1, 6)]
    for k, path in enumerate(paths, start=1):
        soundfile.write(path, np.zeros(8000 * k), 8000)
    return paths


def test_headers_and_segments(tones):
    assert header_duration(tones[2]) == 3.0
    assert header_duration(tones[2], start=1.0) == 2.0
    assert header_duration(tones[2].with_name("gone.wav"), 0.5, 2.0) == 1.5  # not opened
    with pytest.raises(AudioError, match="gone"):
        header_duration(tones[2].with_name("gone.wav"))


def test_an_mp3_without_a_length_header_is_estimated(tmp_path):
    path = tmp_path / "a.mp3"
    kind = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(path, np.zeros(44100 * 2), 44100, **kind)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 60) :])  # without the frame of the header
    assert header_duration(path) == pytest.approx(2.0, abs=0.1)


def test_a_sample_is_averaged_and_the_unreadable_left_out_or_counted(tones, tmp_path, monkeypatch):
    segments = [(path, None, None) for path in tones]
    assert mean_duration(segments) == 3.0
    broken = [*segments, (tmp_path / "gone.wav", None, None)]
    assert mean_duration(broken) == 3.0
    assert mean_duration(broken, unreadable=0.0) == 2.5
    assert mean_duration(broken[-1:]) is None
    monkeypatch.setattr(duration, "_SAMPLE", 3)
    assert mean_duration(segments[:4]) == pytest.approx((1 + 3 + 4) / 3)
