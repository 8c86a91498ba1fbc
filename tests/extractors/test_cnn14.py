"""CNN14 against the original's numbers, and its front-end against librosa."""

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import cnn14
from probekit.extractors.weights import source, state_dict

torch.set_num_threads(1)
SR, SAMPLES = 32000, 33_333
STREAMS = ("embedding", "frames")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
KEYS = {
    "spectrogram_extractor.stft.conv_real.weight", "spectrogram_extractor.stft.conv_imag.weight",
    "logmel_extractor.melW", "fc1.weight", "fc1.bias", "fc_audioset.weight", "fc_audioset.bias",
    *(f"bn0.{name}" for name in NORM),
    *(f"conv_block{i}.conv{j}.weight" for i in range(1, 7) for j in (1, 2)),
    *(f"conv_block{i}.bn{j}.{name}" for i in range(1, 7) for j in (1, 2) for name in NORM),
}  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    return cnn14.build(cards.load_extractor_card("cnn14"), {}, STREAMS).eval().requires_grad_(False)


def test_network_is_the_original(extractor):
    state = extractor.network.state_dict()
    assert set(state) == KEYS
    assert len(KEYS) == 84
    count = sum(p.numel() for p in extractor.network.parameters())
    assert count == extractor.card.parameter_count == 80_753_615
    kernels = [k for k in KEYS if k.startswith(("spectrogram", "logmel"))]
    assert count + sum(state[k].numel() for k in kernels) == 81_837_071


def test_original_outputs(filled, stored):
    kinds = ("noise", "speech")
    outputs = filled([torch.from_numpy(stored[f"{kind}.wave"]) for kind in kinds])
    embedding = torch.stack([clip["embedding"] for clip in outputs])
    original = torch.from_numpy(np.stack([stored[f"{kind}.embedding"] for kind in kinds]))
    assert (embedding - original).abs().max() / original.std() < 2e-5
    # logits reach 668 here, where the last digit of float32 is 6e-5: the head reads the original's
    # embedding, so that its rounding is not added to that of the twelve convolutions
    head = filled.head()
    clipwise = torch.sigmoid(original @ head.weight.T + head.bias).numpy()
    expected = np.stack([stored[f"{kind}.clipwise"] for kind in kinds])
    assert np.abs(clipwise - expected).max() / expected.std() < 1e-4


def test_frames_are_what_the_embedding_pools(filled, sounds):
    found = filled(sounds()[:1])[0]
    frames = found["frames"]
    assert frames.shape == (3, 2048)
    layer = filled.network.fc1
    pooled = frames.amax(0) + frames.mean(0)
    ours = (layer.weight @ pooled + layer.bias).relu()
    torch.testing.assert_close(found["embedding"], ours, rtol=1e-4, atol=1e-5)


def test_original_spectra(extractor, stored):
    for kind in ("noise", "speech"):
        ours = extractor.frontend(extractor.split(torch.from_numpy(stored[f"{kind}.wave"])))[0]
        # dB; the original's transform is float32: quiet bands hold 1e-7 of the loudest bin
        np.testing.assert_allclose(ours, stored[f"{kind}.logmel"], rtol=0, atol=1e-2)


def test_spectra_are_librosa_s(extractor, sounds):
    librosa = pytest.importorskip("librosa")
    for wave in sounds():
        mel = librosa.feature.melspectrogram(
            y=wave.double().numpy(), sr=32000, n_fft=1024, hop_length=320, n_mels=64, fmin=50,
            fmax=14000, pad_mode="reflect",
        )  # fmt: skip
        expected = librosa.power_to_db(mel, top_db=None).T
        ours = extractor.frontend(wave[None])[0].numpy()
        assert ours.shape == expected.shape
        # dB: librosa rounds spectra to float32 before it squares them
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-5)


def test_fourier_kernels_are_the_transform_that_is_used(extractor, sounds):
    wave = sounds()[0][:1024]
    stft = extractor.network.spectrogram_extractor.stft
    parts = [kernel.weight[:, 0] @ wave for kernel in (stft.conv_real, stft.conv_imag)]
    expected = np.fft.rfft(wave.double().numpy() * np.hanning(1025)[:-1])
    np.testing.assert_allclose(parts[0] + 1j * parts[1], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "steps"), [(1, 1), (9919, 1), (9920, 1), (20159, 1), (20160, 2)]
)
def test_lengths(extractor, samples, steps):
    found = extractor([torch.ones(samples)])[0]
    assert found["frames"].shape == (steps, 2048)
    assert found["embedding"].shape == (2048,)


def test_clips_do_not_depend_on_their_companions(filled, sounds):
    waves = sounds(12000)
    alone = filled(waves[:1])[0]
    for order in ([0, 1, 2, 3, 4], [3, 1, 2, 4, 0]):
        together = filled([waves[i] for i in order])[order.index(0)]
        for stream in STREAMS:
            scale = alone[stream].abs().max()
            assert (together[stream] - alone[stream]).abs().max() < 1e-5 * scale


def test_frames_lie_where_the_card_says(filled):
    """What a click changes is centered on the click, in a network that is symmetric in time."""
    stream = filled.streams["frames"]
    convolutions = [m for m in filled.network.modules() if isinstance(m, torch.nn.Conv2d)]
    before = [m.weight.clone() for m in convolutions]
    for module in convolutions:
        module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
    noise = 1e-2 * torch.from_numpy(np.random.default_rng(1).standard_normal(9 * 10240)).float()
    quiet = filled([noise])[0]["frames"]
    for step in (3, 3.5, 5, 5.25):
        wave = noise.clone()
        wave[round((float(stream.first_center) + step * float(stream.hop)) * 32000)] += 1
        moved = (filled([wave])[0]["frames"] - quiet).double().square().sum(1)
        center = (moved * torch.arange(9)).sum() / moved.sum()
        assert float(center) == pytest.approx(step, abs=0.02)
    for module, weight in zip(convolutions, before, strict=True):
        module.weight.copy_(weight)


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "kernel"])
def test_loading_is_strict(extractor, change):
    state = extractor.network.state_dict()
    key = "fc_audioset.bias"
    if change == "missing":
        del state[key]
    elif change == "extra":
        key = "fc_audioset.bias2"
        state[key] = torch.zeros(527)
    elif change == "shape":
        state[key] = torch.zeros(526)
    else:
        key = "spectrogram_extractor.stft.conv_imag"
        state[f"{key}.weight"] = 1.01 * state[f"{key}.weight"]
    fresh = cnn14.CNN14.__new__(cnn14.CNN14)  # shares the network, which a fault must not change
    fresh.__dict__.update(extractor.__dict__)
    with pytest.raises(WeightsError, match=f"(?s)cnn14: main weights.*{key}"):
        fresh.load_weights({"main": {"model": state}})
    if change == "kernel":
        good = cnn14.Transform().state_dict()
        extractor.network.spectrogram_extractor.stft.load_state_dict(good)


def test_published_kind_of_file_is_read(tmp_path):
    """Under ``model``, beside NumPy arrays that the sampler of the training left there."""
    file = tmp_path / "cnn14.pth"
    sampler = {"indexes": np.arange(5), "queue": [np.arange(3), np.float64(2)], "pointer": 3}
    torch.save({"iteration": 1, "model": {"a": torch.ones(2)}, "sampler": sampler}, file)
    assert (
        state_dict.load_state_dict(source.WeightsSource(path=file), "main", None)["model"][
            "a"
        ].sum()
        == 2
    )


@pytest.mark.slow
def test_random_weights_by_name(sounds):
    spec = load.resolve_spec("cnn14", weights={"cnn14.main": "random:1"})
    assert spec.provenance == ["random weights (seed 1)"]
    found = load.build_extractor(spec)(sounds(10000)[:1])[0]
    assert found["embedding"].shape == (2048,)
    assert found["embedding"].std() > 0
