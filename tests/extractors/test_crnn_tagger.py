"""The recurrent tagger against features and tags of four songs."""

import numpy as np
import pytest
import torch

from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import crnn_tagger

torch.set_num_threads(1)
SONGS = ("cute", "actionable", "dubstep", "thejazzpiano")


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data" / "music_tagger_keras"


@pytest.fixture(scope="module")
def real(folder):
    weights = {"crnn-tagger.main": str(folder / "music_tagger_crnn_weights_tensorflow.h5")}
    return load.build_extractor(
        load.resolve_spec("crnn-tagger", weights=weights, streams=["embedding", "tags", "gru1"])
    )


def test_songs(real, reference):
    spectra = torch.from_numpy(np.stack([reference[f"{song}/melgram"] for song in SONGS]))
    found = real.apply_network(spectra)
    for stream, key in (("embedding", "feature32"), ("tags", "prob50")):
        expected = np.stack([reference[f"{song}/{key}"] for song in SONGS])
        assert np.abs(found[stream].numpy() - expected).max() <= 1e-4 * expected.std()


def test_head(real, reference):
    head = real.head()
    assert list(head.classes) == reference["tags"].tolist()
    spectra = torch.from_numpy(reference["cute/melgram"])[None]
    found = real.apply_network(spectra)
    tags = (found[head.stream] @ head.weight.T + head.bias).sigmoid()
    np.testing.assert_allclose(tags, found["tags"], rtol=0, atol=1e-6)


def test_both_files_are_the_same(folder):
    first = crnn_tagger.read_weights(folder / "music_tagger_crnn_weights_tensorflow.h5")
    second = crnn_tagger.read_weights(folder / "music_tagger_crnn.npz")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_recurrence(real):
    """A step by hand, in float64."""
    layer = real.network.gru1
    w = {name: p.double().numpy() for name, p in layer.named_parameters()}
    steps = np.random.default_rng(0).standard_normal((15, 128)) / 10
    state = np.zeros(32)
    for x in steps:
        z, r = (
            np.clip(0.2 * (x @ w[f"W_{g}"] + state @ w[f"U_{g}"] + w[f"bias_{g}"]) + 0.5, 0, 1)
            for g in "zr"
        )
        proposed = np.tanh(x @ w["W_h"] + (r * state) @ w["U_h"] + w["bias_h"])
        state = z * state + (1 - z) * proposed
    found = layer(torch.from_numpy(steps.astype(np.float32))[None])
    assert found.shape == (1, 15, 32)
    np.testing.assert_allclose(found[0, -1], state, rtol=0, atol=1e-5)


def test_frontend(real):
    """Centered frames of the waveform mirrored at its ends, with librosa's filters."""
    librosa = pytest.importorskip("librosa")
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(349_440) * 0.3) * 0.3 + 0.01 * rng.standard_normal(349_440)
    found = real.frontend(real.split(torch.from_numpy(wave.astype(np.float32))))
    padded = np.pad(wave.astype(np.float32).astype(np.float64), 256, mode="reflect")
    hann = np.sin(np.pi * np.arange(512) / 512) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::256] * hann
    mel = librosa.filters.mel(sr=12000, n_fft=512, n_mels=96) @ np.abs(np.fft.rfft(frames)).T ** 2
    levels = 10 * np.log10(np.maximum(mel**2, 1e-10))
    expected = np.maximum(levels, levels.max() - 80)
    assert found.shape == (1, 96, 1366)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-3)


def test_other_files_are_refused(folder):
    for other in (folder.parent / "choi2017" / "convnet_msd_keras2.hdf5",
                  folder.parent / "musicnn" / "MTT_musicnn.npz"):  # fmt: skip
        with pytest.raises(WeightsError, match="does not fit the network"):
            load.build_extractor(
                load.resolve_spec("crnn-tagger", weights={"crnn-tagger.main": str(other)})
            )
