"""The convnet tagger against an independent derivation from its own, real weights file."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import convnet
from probekit.extractors.weights import state_dict
from probekit.extractors.weights.keras import read_layers

torch.set_num_threads(1)
STREAMS = ("layers", "max5", "frames")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
KEYS = {
    *(f"melgram.{name}" for name in ("real_kernels", "imag_kernels", "Variable")),
    *(f"conv2d_{i}.{kind}" for i in range(1, 6) for kind in ("weight", "bias")),
    *(f"batch_normalization_{i}.{kind}" for i in range(1, 6) for kind in NORM),
    "dense_1.weight",
    "dense_1.bias",
}
SAMPLES = 348_000


@pytest.fixture
def file(shared):
    return shared / "data" / "choi2017" / "convnet_msd_keras2.hdf5"


def build(wanted=STREAMS):
    return convnet.build(cards.load_extractor_card("convnet"), {}, wanted).eval()


@pytest.fixture
def real(file):
    extractor = build()
    extractor.load_weights({"main": convnet.read_weights(file)})
    return extractor.requires_grad_(False)


@pytest.fixture(scope="module")
def random():
    extractor = build()
    extractor.load_weights({"main": state_dict.random_init(extractor.network, 0)})
    return extractor.requires_grad_(False)


def sounds():
    """Noise, a tone, clicks, low noise: 10 s, 30 s, 29 s and 4 s."""
    rng = np.random.default_rng(0)
    clicks = np.zeros(SAMPLES)
    clicks[5000::30_001] = 1
    spectrum = np.fft.rfft(rng.standard_normal(48_000))
    spectrum[4000:] = 0
    waves = [
        rng.uniform(-1, 1, 120_000),
        np.sin(2 * np.pi * 440 * np.arange(360_000) / 12_000),
        clicks,
        np.fft.irfft(spectrum),
    ]
    return [torch.from_numpy(wave.astype(np.float32)) for wave in waves]


# --- an independent derivation, in float64 -----------------------------------------------------


def spectra_of(wave):
    """The network's input by a fast Fourier transform and librosa's filters."""
    librosa = pytest.importorskip("librosa")
    x = np.zeros(SAMPLES + 416)
    x[208 : 208 + min(len(wave), SAMPLES)] = wave[:SAMPLES].double().numpy()
    window = np.sin(np.pi * np.arange(512) / 512) ** 2
    frames = np.lib.stride_tricks.sliding_window_view(x, 512)[::256] * window
    bank = librosa.filters.mel(sr=12_000, n_fft=512, n_mels=96, fmin=0, fmax=6000)
    levels = 10 * np.log10(np.maximum(bank @ (np.abs(np.fft.rfft(frames)) ** 2).T, 1e-10))
    levels = np.maximum(levels - levels.max(), -80)
    return (levels - levels.mean()) / (levels.std() + 1e-10)


def run(layers, x):
    """Run the blocks on (96, 1360); return the maps before pooling, and the last pooled ones."""
    x = x[:, :, None]
    maps = []
    for i, (high, long) in enumerate([(2, 4), (3, 4), (2, 5), (2, 4), (4, 4)], start=1):
        conv, norm = layers[f"conv2d_{i}"], layers[f"batch_normalization_{i}"]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        y = conv["bias"].astype(np.float64)
        for a in range(3):
            for b in range(3):
                part = padded[a : a + x.shape[0], b : b + x.shape[1]]
                y = y + part @ conv["kernel"][a, b].astype(np.float64)
        y = (y - norm["moving_mean"]) / np.sqrt(norm["moving_variance"] + 1e-3)
        y = y * norm["gamma"] + norm["beta"]
        y = np.where(y > 0, y, np.expm1(np.minimum(y, 0)))
        maps.append(y)
        rows, steps = y.shape[0] // high, y.shape[1] // long
        y = y[: rows * high, : steps * long].reshape(rows, high, steps, long, 32)
        x = y.max((1, 3))
    return maps, x


def test_all_streams_and_tags(real, file):
    layers = dict(read_layers(file))
    expected = {name: [] for name in (*STREAMS, "tags")}
    for wave in sounds():
        maps, last = run(layers, spectra_of(wave))
        assert [m.shape[1] for m in maps] == [1360, 340, 85, 17, 4]
        expected["layers"].append(np.concatenate([m.mean((0, 1)) for m in maps]))
        expected["max5"].append(last.max((0, 1)))
        over_time = [m.mean(0) for m in maps]
        steps = [m.reshape(17, -1, 32).mean(1) for m in over_time[:4]]
        steps.append(over_time[4][[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]])
        expected["frames"].append(np.concatenate(steps, axis=1))
        dense = layers["dense_1"]
        expected["tags"].append(last.max((0, 1)) @ dense["kernel"] + dense["bias"])
    found = real(sounds())
    for name in STREAMS:
        ours = np.stack([clip[name].numpy() for clip in found])
        theirs = np.stack(expected[name])
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() / theirs.std() < 1e-4
    head = real.head()
    tags = np.stack([(head.weight @ clip[head.stream] + head.bias).numpy() for clip in found])
    assert np.abs(tags - expected["tags"]).max() / np.std(expected["tags"]) < 1e-4


def test_frontend(random):
    waves = sounds()
    found = random.frontend(torch.cat([random.split(wave) for wave in waves]))
    assert found.shape == (len(waves), 1, 96, 1360)
    expected = np.stack([spectra_of(wave) for wave in waves])
    # a sum of 512 products in float32 is off by 1e-7 of the loudest; 80 dB below it (1e-4 in
    # magnitude) that is 1e-3 of a band, or 1e-2 dB; one unit is 5 dB or more
    near = np.abs(found[:, 0].numpy() - expected)
    assert near.max() < 2e-3
    assert near.mean() < 1e-5


def test_silence_is_all_zero(random):
    features = random.frontend(random.split(torch.zeros(5000)))
    assert not features.any()
    (clip,) = random([torch.zeros(5000)])
    assert all(torch.isfinite(stream).all() for stream in clip.values())


# --- the network -------------------------------------------------------------------------------


def test_keys_and_parameters(random):
    assert set(random.network.state_dict()) == KEYS
    count = sum(p.numel() for p in random.network.parameters())
    assert count == cards.load_extractor_card("convnet").parameter_count == 39_282


def test_own_constants_are_the_files(file):
    """Both are float32 roundings of numbers up to 1, and of numbers up to 0.035."""
    own, theirs = convnet.Melgram(), dict(read_layers(file))["melgram"]
    for name, bound in (("real_kernels", 1.2e-7), ("imag_kernels", 1.2e-7), ("Variable", 4e-8)):
        np.testing.assert_allclose(getattr(own, name), theirs[name], rtol=0, atol=bound)


def test_head_names_fifty_tags(random):
    head = random.head()
    assert len(head.classes) == len(set(head.classes)) == 50
    assert head.classes[0] == "rock"
    assert head.classes[-1] == "happy"
    assert head.classes[32] == "guitar"
    assert head.weight.shape == (50, random.streams[head.stream].dim)
    assert head.bias.shape == (50,)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("melgram.Variable"),
        lambda state: state.update(extra=torch.zeros(1)),
        lambda state: state.update({"conv2d_1.weight": torch.zeros(32, 1, 3, 4)}),
    ],
)
def test_loading_is_strict(change):
    extractor = build()
    state = state_dict.random_init(extractor.network, 0)
    change(state)
    with pytest.raises(WeightsError, match=r"melgram\.Variable|extra|conv2d_1\.weight"):
        extractor.load_weights({"main": state})


def test_random_weights_keep_the_transform(random):
    np.testing.assert_array_equal(random.network.melgram.Variable, convnet.Melgram().Variable)


def test_only_what_is_wanted():
    spec = load.resolve_spec("convnet", weights={"convnet.main": "random:1"})
    (clip,) = load.build_extractor(spec)([torch.rand(100)])
    assert {name: value.shape for name, value in clip.items()} == {"layers": (160,)}


# --- clips and time ----------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 12_000, SAMPLES - 1, SAMPLES, SAMPLES + 1, 400_000])
def test_first_29_seconds(random, samples):
    wave = torch.rand(samples) + 1
    pieces = random.split(wave)
    assert pieces.shape == (1, SAMPLES)
    kept = min(samples, SAMPLES)
    assert torch.equal(pieces[0, :kept], wave[:kept])
    assert not pieces[0, kept:].any()


def test_companions_do_not_matter(random):
    clips = [*sounds()[::-1], torch.ones(1)]
    together = random(clips)
    backwards = random(clips[::-1])[::-1]
    for clip, one, other in zip(clips, together, backwards, strict=True):
        (alone,) = random([clip])
        for name in STREAMS:
            scale = alone[name].abs().max()
            assert (one[name] - alone[name]).abs().max() <= 1e-5 * scale
            assert (other[name] - alone[name]).abs().max() <= 1e-5 * scale


def test_frames_are_layers_over_time(random):
    for clip in random(sounds()[:2]):
        assert clip["frames"].shape == (17, 160)
        mean = clip["frames"].mean(0)
        np.testing.assert_allclose(mean[:128], clip["layers"][:128], rtol=0, atol=1e-5)
        fifth = clip["frames"][:, 128:]
        assert torch.equal(fifth[0], fifth[3]) and torch.equal(fifth[12], fifth[16])
        assert not torch.equal(fifth[3], fifth[4])


def clicked(extractor, places):
    """Steps of ``frames`` whose spectra see a click, for clicks at several places in turn."""
    seen = []
    for place in places:
        wave = torch.zeros(SAMPLES)
        wave[int(place)] = 1
        loud = extractor.frontend(wave[None])[0, 0].amax(0)
        seen.append((loud > loud.min() + 1).reshape(17, 80).any(1))
    return torch.stack(seen)


@pytest.mark.parametrize("step", [1, 8, 16])
def test_grid(random, step):
    stream = random.streams["frames"]
    center = 12_000 * (stream.first_center + step * stream.hop)
    half = 6_000 * stream.window
    assert (center.denominator, half.denominator) == (1, 1)
    begin, end = int(center - half), int(center + half)
    assert clicked(random, [center])[0].tolist() == [k == step for k in range(17)]
    # Hann's first and last samples are too faint to be seen: they lie under the floor
    last = min(end, SAMPLES)
    outside, inside = [begin - 1, end], [begin + 60, last - 60]
    assert not clicked(random, [p for p in outside if p < SAMPLES])[:, step].any()
    assert clicked(random, inside)[:, step].all()


def test_grid_of_the_first_block(random):
    """A click changes the first block's numbers of its own step only."""
    stream = random.streams["frames"]
    place = int(12_000 * (stream.first_center + 5 * stream.hop))
    wave = torch.zeros(SAMPLES)
    wave[place] = 1
    frames = random([wave])[0]["frames"][:, :32]
    background = frames[8]
    changed = ((frames - background).abs().amax(1) > 1e-4).tolist()
    assert [k for k in range(1, 16) if changed[k]] == [5]  # the ends differ by their zero padding


def test_card_says_what_the_steps_are():
    stream = cards.load_extractor_card("convnet").streams["frames"]
    assert stream.hop == Fraction(80 * 256, 12_000)
    assert stream.window == Fraction(79 * 256 + 512, 12_000)
    assert stream.first_center == Fraction(-208, 12_000) + stream.window / 2
