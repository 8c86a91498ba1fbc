"""CF estimator: the poster's shapes, its front-end against librosa, its block derived once more.

There is no original to compare with: no code and no weights are public.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional

from probekit import cards
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.networks import cf
from probekit.extractors.weights import state_dict

torch.set_num_threads(1)
SR, SAMPLES = 16000, 100_000
STREAMS = ("cf", "penultimate")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = ("block1", "block2", "block3")
KEYS = {
    *(f"bn.{name}" for name in NORM),
    *(f"{block}.{i}.{name}" for block in BLOCKS for i in (0, 3) for name in NORM),
    *(
        f"{layer}.{name}"
        for layer in (
            "conv", "dense", *(f"{b}.{i}" for b in BLOCKS for i in (2, 5)),
            *(f"{b}.6.{part}" for b in BLOCKS for part in ("squeeze", "excite")),
        )
        for name in ("weight", "bias")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    spec = load.resolve_spec("cf:width=16", weights={"cf.main": "random:0"}, streams=STREAMS)
    return load.build_extractor(spec)


def test_spectra_are_librosa_s(extractor, sounds):
    librosa = pytest.importorskip("librosa")
    for wave in sounds():
        (piece,) = extractor.split(wave)
        mel = librosa.feature.melspectrogram(
            y=piece.double().numpy(), sr=16000, n_fft=1024, hop_length=375, n_mels=96
        )
        expected = librosa.power_to_db(mel, top_db=None)[:, :1280]
        ours = extractor.frontend(piece[None])[0, 0].numpy()
        assert ours.shape == expected.shape == (96, 1280)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-5)  # dB: float32 mel product


def test_shapes_are_the_poster_s():
    network = cf.Network(width=8)
    seen = []
    for block in (network.block1, network.block2, network.block3):
        block.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[1:])))
    spectra = network.mel(torch.zeros(1, 480_000))
    assert spectra.shape == (1, 1, 96, 1280)
    embedding = network.encode_spectra(spectra)
    assert seen == [(8, 24, 256), (8, 8, 64), (8, 4, 16)]
    assert embedding.shape == (1, 8)
    assert network.decode(embedding).shape == (1, 40)


def test_network_is_what_the_card_says(extractor):
    assert set(extractor.network.state_dict()) == KEYS
    count = sum(p.numel() for p in cf.Network().parameters())
    assert count == cards.load_extractor_card("cf").parameter_count
    for block in (extractor.network.block1, extractor.network.block3):
        assert block[6].squeeze.weight.shape == (2, 16)  # r = 8


def test_block_is_the_poster_s():
    """Batch norm, ReLU, convolution, twice; then the channels are scaled by their means."""
    torch.manual_seed(0)
    block = cf.DoubleConv(16).eval().requires_grad_(False)
    state = block.state_dict()
    for i in (0, 3):
        for name in ("running_mean", "running_var", "weight", "bias"):
            state[f"{i}.{name}"].copy_(0.5 + torch.rand(16))
    maps = torch.randn(2, 16, 8, 12)
    x = maps.double()
    values = {key: value.double() for key, value in state.items()}
    for i in (0, 3):
        mean, var, gain, bias = (
            values[f"{i}.{name}"][:, None, None]
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = ((x - mean) / (var + 1e-5).sqrt() * gain + bias).clamp_min(0)
        x = functional.conv2d(x, values[f"{i + 2}.weight"], values[f"{i + 2}.bias"], padding=1)
    hidden = x.mean((2, 3)) @ values["6.squeeze.weight"].T + values["6.squeeze.bias"]
    scale = hidden.clamp_min(0) @ values["6.excite.weight"].T + values["6.excite.bias"]
    expected = x * (1 / (1 + (-scale).exp()))[:, :, None, None]
    found = block(maps)
    assert found.shape == maps.shape
    assert (found - expected).abs().max() / expected.std() < 1e-4


def test_cf_reads_penultimate(extractor, sounds):
    (found,) = extractor(sounds()[:1])
    last = extractor.network.dense
    expected = last.weight @ found["penultimate"] + last.bias
    torch.testing.assert_close(found["cf"], expected, rtol=1e-5, atol=1e-4)
    assert extractor.head() is None  # 40 factors are no classes


def test_width_decides_the_dimension(extractor):
    assert extractor.streams["penultimate"].dim == 16
    assert extractor.streams["cf"].dim == 40
    (found,) = extractor([torch.ones(1)])
    assert {name: values.shape for name, values in found.items()} == {
        "cf": (40,), "penultimate": (16,),
    }  # fmt: skip
    card = cards.load_extractor_card("cf")
    assert cf.build(card, {"width": 128}, STREAMS).streams == card.streams
    for width in (0, 4, 12, -8):
        with pytest.raises(ProbekitError, match="multiple of 8"):
            cf.build(card, {"width": width}, STREAMS)


def test_the_first_30_seconds_count(extractor):
    wave = torch.rand(500_000, generator=torch.Generator().manual_seed(0)) - 0.5
    (piece,) = extractor.split(wave)
    assert torch.equal(piece, wave[:480_000])
    (short,) = extractor.split(wave[:470_000])
    assert torch.equal(short[:470_000], wave[:470_000])
    assert not short[470_000:].any()
    cropped, shorter = extractor([wave, wave[:470_000]])
    assert not torch.allclose(cropped["cf"], shorter["cf"], rtol=1e-4)


def test_clips_do_not_depend_on_their_companions(extractor, sounds):
    waves = [*sounds(), torch.ones(1)]
    together, backwards = extractor(waves), extractor(waves[::-1])[::-1]
    for wave, *others in zip(waves, together, backwards, strict=True):
        (alone,) = extractor([wave])
        for other in others:
            for name in STREAMS:
                worst = (other[name] - alone[name]).abs().max()
                assert worst <= 1e-5 * alone[name].abs().max()


def test_it_serves_as_a_student(sounds):
    torch.manual_seed(0)
    network = cf.Network(width=16, outputs=3).train()
    waves = torch.stack(sounds(120_000)[:2])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        embedding = network.encode(waves)
        assert embedding.shape == (2, 16)
        loss = functional.cross_entropy(network.decode(embedding), torch.tensor([0, 2]))
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        optimizer.step()
    assert losses[-1] < losses[0]
    network.eval()
    torch.testing.assert_close(network(waves), network.decode(network.encode(waves)))


def test_shortest_input(extractor):
    assert cf.MIN_SAMPLES == 120_000
    assert extractor.network.encode(torch.rand(1, cf.MIN_SAMPLES)).shape == (1, 16)
    with pytest.raises(RuntimeError, match="too small"):
        extractor.network.encode(torch.rand(1, cf.MIN_SAMPLES - 1))


def test_no_weights_are_public():
    with pytest.raises(WeightsError, match=r"None are public.*convnet.*--weights cf=PATH"):
        load.resolve_spec("cf")


def test_own_weights_are_read(extractor, tmp_path):
    file = tmp_path / "own.pth"
    torch.save(state_dict.random_init(extractor.network, 5), file)
    built = load.build_extractor(load.resolve_spec("cf:width=16", weights={"cf.main": str(file)}))
    assert built([torch.ones(10)])[0]["cf"].shape == (40,)
    with pytest.raises(WeightsError, match="of another shape"):
        load.build_extractor(load.resolve_spec("cf", weights={"cf.main": str(file)}))
