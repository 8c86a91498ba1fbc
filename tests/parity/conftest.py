"""Recordings as users have them, our embeddings of them, and how far two embeddings are apart."""

import numpy as np
import pytest
import soundfile

import probekit

RATE = 44100


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Stereo wav files at 44.1 kHz in 16 bits: noise, a rising tone, clicks, and a quiet tone."""
    rng = np.random.default_rng(0)
    time = np.arange(round(3.3 * RATE)) / RATE
    left = {
        "noise": rng.uniform(-0.8, 0.8, len(time)),
        "sweep": 0.6 * np.sin(2 * np.pi * (100 + 1000 * time) * time),
        "clicks": 0.9 * (np.arange(len(time)) % 5000 == 0),
        "quiet": 0.005 * np.sin(2 * np.pi * 440 * time),
    }
    folder = tmp_path_factory.mktemp("recordings")
    for name, wave in left.items():
        right = 0.5 * wave[::-1] + rng.uniform(-1e-3, 1e-3, len(time))
        soundfile.write(folder / f"{name}.wav", np.stack([wave, right], 1), RATE, "PCM_16")
    return folder


@pytest.fixture
def embed(recordings, tmp_path):
    """Embed the recordings with :func:`probekit.extract`: frames by the recording's name."""

    def run(extractor, weights):
        (done,) = probekit.extract(
            extractor,
            audio=recordings,
            cache=tmp_path,
            weights=[weights],
            frames=True,
            device="cpu",
        )
        assert done.failed == {}
        found = probekit.open_cache(done.extractor, recordings.name, cache=tmp_path)
        return {name: found.frames(name) for name in found.clip_ids}

    return run


@pytest.fixture
def compare(capsys):
    """Return the largest error of all clips in standard deviations of the original, and say it."""

    def run(label, ours, original):
        assert set(ours) == set(original)
        for name in original:
            assert ours[name].shape == original[name].shape
        spread = np.concatenate(list(original.values())).std()
        errors = {name: np.abs(ours[name] - original[name]).max() / spread for name in original}
        with capsys.disabled():
            listed = ", ".join(f"{name} {value:.1e}" for name, value in errors.items())
            print(f"\n{label}: largest error / standard deviation: {listed}")  # noqa: T201
        return max(errors.values())

    return run
