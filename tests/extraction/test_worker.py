import numpy as np
import pytest
import soundfile

from probekit.errors import ProbekitError
from probekit.extraction.extract import extract
from probekit.extractors.networks.melstats import MelStats


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for k, seconds in enumerate((0.5, 0.7, 0.9)):
        wave = 0.1 * rng.standard_normal(int(8000 * seconds))
        soundfile.write(tmp_path / f"{k}.wav", wave, 8000)
    return tmp_path


def embed_unless(monkeypatch, broken):
    whole = MelStats.frontend

    def frontend(self, pieces):
        if broken(pieces):
            raise RuntimeError("out of luck")
        return whole(self, pieces)

    monkeypatch.setattr(MelStats, "frontend", frontend)


def test_a_clip_that_the_network_cannot_take_fails_alone(folder, monkeypatch, tmp_path):
    embed_unless(monkeypatch, lambda pieces: 15000 < pieces.shape[1] < 16000)  # 0.7 s at 22,050 Hz
    (summary,) = extract("melstats", audio=folder, cache=tmp_path / "cache")
    assert summary.done == 2
    assert summary.failed == {"1": "melstats failed (out of luck)"}


def test_a_network_that_takes_nothing_is_an_error(folder, monkeypatch, tmp_path):
    embed_unless(monkeypatch, lambda pieces: True)
    with pytest.raises(ProbekitError, match="melstats: cannot embed \\(out of luck\\)"):
        extract("melstats", audio=folder, cache=tmp_path / "cache")
