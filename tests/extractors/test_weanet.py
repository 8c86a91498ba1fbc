"""WEANet: its front-end against librosa, its layers against a second derivation.

There is no original to compare with: no code and no weights are public.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional

from probekit.errors import WeightsError
from probekit.extractors import labels, load
from probekit.extractors.networks import weanet
from probekit.extractors.weights import state_dict

torch.set_num_threads(1)
SR, SAMPLES = 16000, 16_000
STREAMS = {"b5": 2048, "b7": 1024}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LAYERS = (*(f"b{i}.{j}" for i in range(1, 5) for j in (0, 1)), "b5", "b6", "b7")
KEYS = {
    *(f"{layer}.0.weight" for layer in LAYERS),
    *(f"{norm}.{name}" for norm in ("bn", *(f"{layer}.1" for layer in LAYERS)) for name in NORM),
    *(f"{last}.{name}" for last in ("b8", "attention") for name in ("weight", "bias")),
}


@pytest.fixture(scope="module")
def extractor():
    """Random weights, and statistics of batch norm that are not those of a new network."""
    spec = load.resolve_spec("weanet", weights={"weanet.main": "random:0"}, streams=list(STREAMS))
    built = load.build_extractor(spec)
    generator = torch.Generator().manual_seed(0)
    for name, value in built.network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return built


def test_spectra_are_librosa_s(extractor, sounds):
    librosa = pytest.importorskip("librosa")
    for wave in sounds():
        mel = librosa.feature.melspectrogram(
            y=wave.double().numpy(), sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=64
        )
        expected = librosa.power_to_db(mel, top_db=None).T
        ours = extractor.frontend(wave[None])[0].numpy()
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-5)  # dB: float32 mel product


def test_network_is_what_the_card_says(extractor):
    assert set(extractor.network.state_dict()) == KEYS
    count = sum(p.numel() for p in extractor.network.parameters())
    assert count == extractor.card.parameter_count


def step_by_step(state, levels):
    """B5 and B7 once more, from the card's words, in float64."""

    def norm(x, name, axis):
        shape = [1] * 4
        shape[axis] = -1
        mean, var, gain, bias = (
            state[f"{name}.{part}"].double().reshape(shape)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    def layer(x, name, padding):
        x = functional.conv2d(x, state[f"{name}.0.weight"].double(), padding=padding)
        return norm(x, f"{name}.1", 1).clamp_min(0)

    x = norm(levels.double()[:, None], "bn", 3)
    for i in range(1, 5):
        x = layer(layer(x, f"b{i}.0", 1), f"b{i}.1", 1)
        x = x[:, :, : x.shape[2] // 2 * 2]
        x = x.unflatten(3, (-1, 2)).amax(4).unflatten(2, (-1, 2)).amax(3)
    assert x.shape[1:] == (512, levels.shape[1] // 16, 4)
    b5 = layer(x, "b5", 0)
    b7 = layer(layer(b5, "b6", 0), "b7", 0)
    return {"b5": b5.squeeze(3).transpose(1, 2), "b7": b7.squeeze(3).transpose(1, 2)}


def test_streams_are_the_blocks_of_the_outline(extractor, sounds):
    levels = extractor.frontend(torch.stack(sounds()[:4]))
    expected = step_by_step(extractor.network.state_dict(), levels)
    found = extractor.embed(levels)
    for name, dim in STREAMS.items():
        assert found[name].shape == (4, 6, dim)
        assert (found[name] - expected[name]).abs().max() / expected[name].std() < 1e-4


def test_attention_weighs_the_steps_for_each_class(extractor):
    network = extractor.network
    steps = torch.rand(2, 5, 2048, generator=torch.Generator().manual_seed(1))
    probabilities, attention = network.segments(steps)
    assert probabilities.shape == attention.shape == (2, 5, 527)
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 527))
    assert (attention.std(2) > 1e-3).all()  # another one for each class
    torch.testing.assert_close(network.decode(steps), (probabilities * attention).sum(1))
    moved = steps[:, [2, 0, 1, 4, 3]]
    torch.testing.assert_close(network.decode(moved), network.decode(steps))
    torch.testing.assert_close(network.decode(steps[:, :1]), probabilities[:, 0])


def test_it_can_be_trained():
    torch.manual_seed(0)
    network = weanet.Network(classes=3).train()
    chance = network.decode(network(torch.randn(2, 32, 64)))
    loss = functional.binary_cross_entropy(chance, torch.eye(3)[:2])
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("samples", "steps"), [(1, 1), (2399, 1), (2400, 1), (4959, 1), (4960, 2), (160000, 62)]
)
def test_lengths(extractor, samples, steps):
    (found,) = extractor([torch.ones(samples)])
    assert {name: found[name].shape for name in found} == {
        name: (steps, dim) for name, dim in STREAMS.items()
    }


def test_clips_do_not_depend_on_their_companions(extractor, sounds):
    waves = [*sounds(12000), torch.ones(1)]
    together, backwards = extractor(waves), extractor(waves[::-1])[::-1]
    for wave, *others in zip(waves, together, backwards, strict=True):
        (alone,) = extractor([wave])
        for other in others:
            for name in STREAMS:
                worst = (other[name] - alone[name]).abs().max()
                assert worst <= 1e-5 * alone[name].abs().max()


@pytest.mark.parametrize("name", STREAMS)
def test_frames_lie_where_the_card_says(extractor, name):
    """What a click changes is centered on the click, in a network that is symmetric in time."""
    stream = extractor.streams[name]
    convolutions = [m for m in extractor.network.modules() if isinstance(m, torch.nn.Conv2d)]
    before = [m.weight.clone() for m in convolutions]
    for module in convolutions:
        module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
    noise = 1e-2 * torch.from_numpy(np.random.default_rng(1).standard_normal(9 * 2560)).float()
    quiet = extractor([noise])[0][name]
    for step in (3, 3.5, 5, 5.25):
        wave = noise.clone()
        wave[round((float(stream.first_center) + step * float(stream.hop)) * 16000)] += 1
        moved = (extractor([wave])[0][name] - quiet).double().square().sum(1)
        center = (moved * torch.arange(9)).sum() / moved.sum()
        assert float(center) == pytest.approx(step, abs=0.05)
    for module, weight in zip(convolutions, before, strict=True):
        module.weight.copy_(weight)


def test_no_weights_are_public():
    with pytest.raises(WeightsError, match=r"None are public.*cnn14.*--weights weanet=PATH"):
        load.resolve_spec("weanet")
    assert load.resolve_spec("weanet", weights={"weanet.main": "random:1"}).provenance == [
        "rebuilt from kumar2021's outline, not the authors' network",
        "random weights (seed 1)",
    ]


def test_own_weights_are_read(extractor, tmp_path):
    file = tmp_path / "own.pth"
    state = state_dict.random_init(extractor.network, 5)
    torch.save(state, file)
    built = load.build_extractor(load.resolve_spec("weanet", weights={"weanet.main": str(file)}))
    assert torch.equal(built.network.b8.weight, state["b8.weight"])


def test_only_what_is_wanted():
    spec = load.resolve_spec("weanet", weights={"weanet.main": "random:0"}, streams=["b7"])
    (found,) = load.build_extractor(spec)([torch.zeros(100)])
    assert {name: found[name].shape for name in found} == {"b7": (1, 1024)}


def test_head_gives_the_classes_at_each_step(extractor, sounds):
    head = extractor.head()
    assert head.stream == "b7" and head.pooling == "attention"
    assert head.weight.shape == (527, 1024) and head.bias.shape == (527,)
    assert head.classes == labels.load_labels(extractor.card.classes_file)
    assert (head.classes[0], head.classes[-1]) == ("Speech", "Field recording")
    extractor.network.b8.bias[:3] = torch.tensor([1.0, -2.0, 3.0])  # random ones are 0
    weight, bias = head.attention
    for found in extractor(sounds()[:2]):
        expected, weights = extractor.network.segments(found["b5"][None])
        ours = (found["b7"] @ head.weight.T + head.bias).sigmoid()
        torch.testing.assert_close(ours, expected[0], rtol=1e-4, atol=1e-6)
        attention = (found["b7"] @ weight.T + bias).softmax(0)
        torch.testing.assert_close(attention, weights[0], rtol=1e-3, atol=1e-5)
        assert attention.std(0).max() > 0.1  # it is no plain average
        clip = (ours * attention).sum(0)
        decoded = extractor.network.decode(found["b5"][None])[0]
        torch.testing.assert_close(clip, decoded, rtol=1e-3, atol=1e-6)  # as the attention
