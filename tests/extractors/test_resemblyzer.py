"""The speaker encoder against outputs of the original code."""

import numpy as np
import pytest
import torch

from probekit.extractors import load
from probekit.extractors.networks import resemblyzer
from probekit.extractors.weights import npz

torch.set_num_threads(1)
SOUNDS = ("noise", "tones", "speech")


@pytest.fixture(scope="module")
def file(shared):
    return shared / "data" / "resemblyzer" / "resemblyzer.npz"


@pytest.fixture(scope="module")
def reference(file):
    with np.load(file.parent / "reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def waves(shared):
    with np.load(shared / "data" / "musicnn" / "reference.npz") as arrays:
        return {name: arrays[f"{name}/wave_16k"] for name in SOUNDS}


def build(file):
    spec = load.resolve_spec(
        "resemblyzer",
        weights={"resemblyzer.main": str(file)},
        streams=["embedding", "partials", "lstm1", "lstm3"],
    )
    return load.build_extractor(spec)


@pytest.fixture(scope="module")
def real(file):
    return build(file)


def test_whole(real, reference, waves):
    found = [real([waves[name]])[0] for name in SOUNDS]
    for stream, key in (("partials", "partials"), ("embedding", "embedding")):
        ours = np.stack([clip[stream].numpy() for clip in found])
        theirs = np.stack([reference[f"{name}/{key}"] for name in SOUNDS])
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-4 * theirs.std(0).mean()


def test_frontend(real, reference, waves):
    for name in SOUNDS:
        found = real.frontend(real.split(torch.from_numpy(waves[name])))
        expected = reference[f"{name}/mel_first160"]
        assert np.abs(found[0, 0].numpy() - expected).max() <= 1e-5 * expected.std()


def test_volume(real, waves):
    """Quiet clips are amplified to -30 dB, loud ones stay."""
    wave = torch.from_numpy(waves["speech"])
    root = float(wave.square().mean().sqrt())
    quiet = wave * (1e-4 / root)
    least = wave * (10 ** (-30 / 20) / root)
    loud = wave * (0.2 / root)
    a, b, c = (real([w])[0]["embedding"] for w in (quiet, least, loud))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    assert float((b - c).abs().max()) > 1e-3


def slices(samples):
    """Number of partial utterances by the rule of the package, step by step."""
    frames = int(np.ceil((samples + 1) / 160))
    starts = list(range(0, max(1, frames - 160 + 77 + 1), 77))
    covered = (samples - starts[-1] * 160) / (160 * 160)
    return len(starts) - (covered < 0.75 and len(starts) > 1)


@pytest.mark.parametrize("samples", [1, 159, 160, 25_600, 31_519, 31_520, 37_919, 99_200, 200_000])
def test_partials(real, samples):
    assert resemblyzer.count_partials(samples) == slices(samples)
    found = real.frontend(torch.rand(1, samples) - 0.5)
    assert found.shape == (1, slices(samples), 160, 40)


def test_the_package_s_checkpoint(tmp_path, file, real):
    """It has the loss's two numbers beside the network, and other entries around both."""
    state = npz.to_tensors(npz.read_npz(file))
    more = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    torch.save({"step": 3, "model_state": {**more, **state}}, tmp_path / "pretrained.pt")
    again = build(tmp_path / "pretrained.pt").network.state_dict()
    assert all(torch.equal(again[key], value) for key, value in real.network.state_dict().items())


def test_lengths_are_one(real, waves):
    (found,) = real([waves["speech"]])
    assert float(found["embedding"].norm()) == pytest.approx(1, abs=1e-5)
    assert np.allclose(found["partials"].norm(dim=1), 1, atol=1e-5)
    assert found["lstm1"].shape == found["lstm3"].shape == (7, 256)
