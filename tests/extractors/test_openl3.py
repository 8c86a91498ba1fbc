"""OpenL3 against the original's numbers, librosa, and front-ends derived anew."""

import re
import sys
from fractions import Fraction

import h5py
import numpy as np
import pytest
import torch

from probekit import cards
from probekit.audio.resample import RESAMPY_0_2, RESAMPY_0_4, resample
from probekit.errors import ProbekitError, WeightsError
from probekit.extractors import load
from probekit.extractors.networks import openl3
from probekit.extractors.weights import source, state_dict

torch.set_num_threads(1)
INPUTS = ("linear", "mel128", "mel256")
DEFAULTS = {
    "content": "music",
    "input": "mel256",
    "size": 6144,
    "hop": 0.1,
    "frontend": "A",
    "center": True,
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
KEYS = {
    *(f"conv2d_{i}.{kind}" for i in range(1, 8) for kind in ("weight", "bias")),
    *(f"batch_normalization_{i}.{kind}" for i in range(1, 9) for kind in NORM),
    "audio_embedding_layer.weight",
    "audio_embedding_layer.bias",
}


def build(**params):
    given = {**DEFAULTS, **params}
    return openl3.build(cards.load_extractor_card("openl3"), given, ["embedding"]).eval()


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def original(shared, tmp_path, monkeypatch, kept):
    """The vectors, their weights, and where the weights file is."""
    if not kept:
        folder = shared / "reference" / "vectors"
        monkeypatch.syspath_prepend(str(folder))
        import openl3_h5

        path = tmp_path / "weights.h5.gz"
        openl3_h5.write(str(path))
        for name in ("openl3_h5", "fill"):
            sys.modules.pop(name)
        with np.load(folder / "openl3.npz") as stored:
            kept.update(state=openl3.read_weights(path), path=path, vectors=dict(stored))
    return kept


def filled(original, **params):
    extractor = build(**params)
    extractor.load_weights({"main": original["state"]})
    return extractor.requires_grad_(False)


@pytest.fixture
def random():
    """A network with random weights and windows side by side."""
    extractor = build(input="mel128", size=512, hop=1.0)
    extractor.load_weights({"main": state_dict.random_init(extractor.network, 0)})
    return extractor.requires_grad_(False)


# --- the network ----------------------------------------------------------------------------


@pytest.mark.parametrize("representation", INPUTS)
def test_keys_and_parameters(representation):
    network = build(input=representation).network
    assert set(network.state_dict()) == KEYS
    trained = sum(p.numel() for p in network.parameters())
    assert trained == cards.load_extractor_card("openl3").parameter_count
    running = sum(b.numel() for n, b in network.named_buffers() if "running" in n)
    assert trained + running == 4_689_860


def errors(original, kind, wave, representation, frontend):
    """Largest error of two windows for each size, in standard deviations of the reference."""
    stored = original["vectors"]
    extractor = filled(original, input=representation, frontend=frontend, hop=0.5)
    pieces = extractor.split(torch.from_numpy(stored[f"{wave}.wave"]))[[0, 2]]
    maps = extractor.network.maps(extractor.frontend(pieces))
    found = []
    for size in (512, 6144):
        key = f"{kind}.{representation}.{size}"
        if f"{wave}.{key}" not in stored:
            continue
        spread = np.concatenate([stored[f"{w}.{key}"] for w in ("noise", "speech")]).std()
        ours = build(input=representation, size=size).network.flatten(maps).numpy()
        found.append(np.abs(ours - stored[f"{wave}.{key}"][[0, 2]]).max() / spread)
    assert found
    return found


@pytest.mark.parametrize("representation", INPUTS)
def test_original_a(original, representation):
    assert max(errors(original, "kapre", "noise", representation, "A")) < 1e-4


@pytest.mark.parametrize("representation", INPUTS)
@pytest.mark.parametrize("wave", ["noise", "speech"])
def test_original_b(original, representation, wave):
    assert max(errors(original, "librosa", wave, representation, "B")) < 1e-4


def test_original_a_of_recordings_with_empty_bands(original):
    """There the original shows the rounding of its float32 transform, and cannot be met exactly.

    It differs as much from the original's B, which for linear spectra is the same algorithm.
    """
    stored = original["vectors"]
    a, b = (stored[f"speech.{kind}.linear.512"] for kind in ("kapre", "librosa"))
    own = np.abs(a - b).max() / a.std()
    assert 0.01 < own < 0.05
    assert max(errors(original, "kapre", "speech", "linear", "A")) < 1.5 * own
    assert max(errors(original, "kapre", "speech", "mel128", "A")) < 1.5 * own


def test_original_of_whole_clips(original):
    stored = original["vectors"]
    extractor = filled(original, input="mel128", size=512, hop=0.5)
    (clip,) = extractor([torch.from_numpy(stored["noise.wave"])])
    expected = stored["noise.kapre.mel128.512"]
    assert clip["embedding"].shape == expected.shape
    assert np.abs(clip["embedding"].numpy() - expected).max() / expected.std() < 1e-4


# --- resamplers ------------------------------------------------------------------------------

RANDOM = {"openl3.main": "random:0"}


def test_the_resampler_is_a_parameter_and_its_default_changes_nothing():
    spec = load.resolve_spec("openl3", weights=RANDOM)
    same = load.resolve_spec("openl3:resampler=kaiser_best", weights=RANDOM)
    other = load.resolve_spec("openl3:resampler=kaiser_best_0.4", weights=RANDOM)
    assert spec.identity == same.identity and spec.fingerprint == same.fingerprint
    assert spec.identity["params"] == DEFAULTS and spec.card.resampler == "kaiser_best"
    assert other.fingerprint != spec.fingerprint
    assert other.card.resampler == other.identity["resampler"] == "kaiser_best_0.4"
    assert other.identity["params"] == {**DEFAULTS, "resampler": "kaiser_best_0.4"}
    with pytest.raises(ProbekitError, match=r"must be one of kaiser_best, kaiser_best_0\.4, got"):
        load.resolve_spec("openl3:resampler=soxr_hq", weights=RANDOM)


def windows_of(extractor, wave):
    return extractor([torch.as_tensor(wave)])[0]["embedding"].numpy()


@pytest.mark.parametrize(
    ("sr", "bound"),
    # Half of 96 kHz leaves no band empty, and only the network's rounding: 3e-7. Above 22.05 kHz
    # the bands of the other hold the rounding of the waveform, down to 80 dB of a magnitude under
    # the loudest: resampy adds up in another order than a product of matrices, 0.011 here.
    [(96000, 1e-5), (44100, 0.03)],
)
def test_each_filter_gives_the_embedding_of_its_release(original, sr, bound):
    resampy = pytest.importorskip("resampy", minversion="0.4.3")
    extractor = filled(original, input="mel128", size=512, hop=1.0, center=False)
    stored = [original["vectors"][f"{wave}.kapre.mel128.512"] for wave in ("noise", "speech")]
    spread = np.concatenate(stored).std()
    wave = np.random.default_rng(0).uniform(-1, 1, sr).astype(np.float32)
    old = {"filter": "sinc_window", "num_zeros": 64, "precision": 9, "rolloff": 0.9475937167399596}
    old["window"] = lambda n: np.kaiser(n, 14.769656459379492)
    theirs = {
        RESAMPY_0_2: windows_of(extractor, resampy.resample(wave, sr, 48000, **old)),
        RESAMPY_0_4: windows_of(extractor, resampy.resample(wave, sr, 48000)),
    }
    own = {
        kaiser: windows_of(extractor, resample(torch.from_numpy(wave), sr, 48000, kaiser))
        for kaiser in theirs
    }
    for kaiser, expected in theirs.items():
        assert np.abs(own[kaiser] - expected).max() < bound * spread
    first, second = own.values()
    assert np.abs(first - second).max() > 0.1 * spread  # measured: 0.11 and 0.25


def test_rounding_of_the_wave_alone(original):
    """The last bit of every sample, up or down: what no implementation can be nearer than.

    Measured for mel spectra: 2.4e-3 to 7.6e-3 for speech at 8 kHz, whose upper bands are empty and
    hold that rounding, 2e-6 for noise.
    """
    stored = original["vectors"]
    extractor = filled(original, input="mel128", size=512, hop=0.5)
    spread = np.concatenate([stored[f"{w}.kapre.mel128.512"] for w in ("noise", "speech")]).std()
    rng = np.random.default_rng(0)
    moved = {}
    for name in ("noise", "speech"):
        wave = stored[f"{name}.wave"]
        ends = rng.choice(np.array([-np.inf, np.inf], np.float32), wave.shape)
        changed = np.nextafter(wave, ends)
        pieces = [extractor.split(torch.from_numpy(x))[[0, 2]] for x in (wave, changed)]
        a, b = (extractor.network(extractor.frontend(piece)).numpy() for piece in pieces)
        moved[name] = np.abs(a - b).max() / spread
    assert moved["noise"] < 1e-5
    assert 1e-3 < moved["speech"] < 1e-2


# --- front-ends ------------------------------------------------------------------------------


def sounds():
    """Noise, a tone, silence, clicks, and noise below 4 kHz."""
    rng = np.random.default_rng(0)
    n = np.arange(48000)
    clicks = np.zeros(48000)
    clicks[5000::9001] = 1
    spectrum = np.fft.rfft(rng.standard_normal(48000))
    spectrum[4000:] = 0
    rows = [
        rng.uniform(-1, 1, 48000),
        np.sin(2 * np.pi * 440 * n / 48000),
        np.zeros(48000),
        clicks,
        np.fft.irfft(spectrum),
    ]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def decibels(spectra):
    """Shape (windows, frequency, time): 10 log10 below the maximum, floored at -80."""
    levels = 10 * np.log10(np.maximum(spectra, 1e-10))
    return np.maximum(levels - levels.max((1, 2), keepdims=True), -80)


def spectra(x, n_fft, before=0, after=0):
    x = np.pad(x.numpy().astype(np.float64), ((0, 0), (before, after)))
    frames = np.lib.stride_tricks.sliding_window_view(x, n_fft, axis=1)[:, ::242]
    window = np.sin(np.pi * np.arange(n_fft) / n_fft) ** 2
    return np.abs(np.fft.rfft(frames * window)).transpose(0, 2, 1)


# float64 on both sides; the filterbanks are float32, and so are the results of up to 80
TOLERANCE = 2e-5


def check(extractor, expected):
    found = extractor.frontend(sounds())
    assert found.dtype == torch.float32
    assert found.shape == (len(sounds()), 1, *expected.shape[1:])
    np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("frontend", ["A", "B", "C"])
def test_linear_spectra_are_all_alike(frontend):
    expected = decibels(spectra(sounds(), 512))
    assert expected.shape[1:] == (257, 197)
    check(build(input="linear", frontend=frontend), expected)


@pytest.mark.parametrize("bands", [128, 256])
def test_frontend_a(bands):
    librosa = pytest.importorskip("librosa")
    bank = librosa.filters.mel(sr=48000, n_fft=2048, n_mels=bands, fmin=0, fmax=24000)
    ends = 198 * 242 + 2048 - 48000
    check(build(input=f"mel{bands}"), decibels(bank @ spectra(sounds(), 2048, after=ends)))


@pytest.mark.parametrize("bands", [128, 256])
def test_frontend_b(bands):
    librosa = pytest.importorskip("librosa")
    x = sounds().numpy().astype(np.float64)
    magnitudes = np.abs(librosa.stft(x, n_fft=2048, hop_length=242, pad_mode="constant"))
    bank = librosa.filters.mel(sr=48000, n_fft=2048, n_mels=bands)
    check(build(input=f"mel{bands}", frontend="B"), decibels(bank @ magnitudes))


def htk_filters(bands):
    """HTK's mel triangles of unit area in Hz, from their definition."""
    top = 2595 * np.log10(1 + 24000 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.arange(1025) * 48000 / 2048
    bank = np.zeros((bands, 1025))
    for i in range(bands):
        left, middle, right = edges[i : i + 3]
        triangle = np.interp(bins, [left, middle, right], [0, 1, 0], left=0, right=0)
        bank[i] = triangle * 2 / (right - left)
    return bank


@pytest.mark.parametrize("bands", [128, 256])
def test_frontend_c(bands):
    power = htk_filters(bands) @ spectra(sounds(), 2048, 982, 982) ** 2
    check(build(input=f"mel{bands}", frontend="C"), decibels(np.sqrt(power)))
    if bands == 256:
        assert (htk_filters(bands).sum(1) == 0).sum() == 2  # as the original's: two catch no bin


def test_frontends_differ():
    """By as much as was measured with kapre 0.3.7, librosa, and kapre 0.1.4's formulas."""
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 48000))).float()
    maps = {kind: build(frontend=kind).frontend(noise) for kind in "ABC"}
    # each window's maximum is a matter of chance, and shifts all of it
    assert (maps["A"] - maps["B"]).abs().mean() == pytest.approx(2.09, abs=0.1)
    assert (maps["A"] - maps["C"]).abs().mean() == pytest.approx(2.83, abs=0.2)


# --- windows and grid -------------------------------------------------------------------------


@pytest.mark.parametrize(("center", "first"), [(True, 0), (False, Fraction(1, 2))])
def test_grid_of_the_parameters(center, first):
    extractor = build(center=center, hop=0.25, size=512)
    stream = extractor.streams["embedding"]
    assert (stream.dim, stream.kind, stream.hop) == (512, "frames", Fraction(1, 4))
    assert (stream.first_center, stream.window) == (first, 1)


def test_default_grid_is_the_cards():
    assert build().streams["embedding"] == cards.load_extractor_card("openl3").streams["embedding"]


def test_hop_is_whole_samples():
    extractor = build(hop=0.29)  # 0.29 × 48000 is 13919.999… in floating point; openl3 cuts it off
    assert extractor.hop == int(0.29 * 48000) == 13919
    assert extractor.streams["embedding"].hop == Fraction(13919, 48000)


@pytest.mark.parametrize("hop", [0.0, -0.1, 1e-6, float("nan"), float("inf")])
def test_impossible_hops(hop):
    with pytest.raises(ProbekitError, match="hop"):
        build(hop=hop)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("samples", [1, 2, 23999, 24000, 24001, 47999, 48000, 48001, 100_000])
def test_windows_take_in_every_sample(samples, center):
    extractor = build(hop=0.1, center=center)
    wave = torch.rand(samples) + 1
    pieces = extractor.split(wave)
    lead = 24000 if center else 0
    count = 1 + max(0, -(-(samples + lead - 48000) // 4800))
    assert pieces.shape == (count, 48000)
    row = torch.cat([pieces[0], *(piece[-4800:] for piece in pieces[1:])])
    assert torch.equal(row[lead : lead + samples], wave)
    assert not row[:lead].any() and not row[lead + samples :].any()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("place", [0, 4799, 40_000, 99_999])
def test_windows_lie_where_the_grid_says(center, place):
    extractor = build(hop=0.1, center=center)
    stream = extractor.streams["embedding"]
    wave = torch.zeros(100_000)
    wave[place] = 1
    holds = extractor.split(wave).any(1)
    for k, there in enumerate(holds.tolist()):
        begin = stream.first_center + k * stream.hop - stream.window / 2
        assert there == (begin <= Fraction(place, 48000) < begin + stream.window)


def test_companions_do_not_matter(random):
    rng = np.random.default_rng(1)
    clips = [torch.from_numpy(rng.uniform(-1, 1, n).astype(np.float32)) for n in (1, 9000, 60_000)]
    clips.append(sounds()[4])
    together = random(clips)
    backwards = random(clips[::-1])[::-1]
    for clip, one, other in zip(clips, together, backwards, strict=True):
        (alone,) = random([clip])
        assert alone["embedding"].shape == (1 + (len(clip) > 24000), 512)
        scale = alone["embedding"].abs().max()
        assert (one["embedding"] - alone["embedding"]).abs().max() < 1e-5 * scale
        assert (other["embedding"] - alone["embedding"]).abs().max() < 1e-5 * scale


def test_a_later_click_moves_along_the_frames():
    extractor = build(input="mel128", size=512, hop=0.5)
    extractor.load_weights({"main": state_dict.random_init(extractor.network, 0)})
    silent = extractor([torch.zeros(72_000)])[0]["embedding"]
    for second in (0.25, 1.25):
        wave = torch.zeros(72_000)
        wave[int(second * 48000)] = 1
        moved = (extractor([wave])[0]["embedding"] - silent).abs().amax(1) > 1e-3
        centers = 0.5 * np.arange(len(moved))
        np.testing.assert_array_equal(moved, np.abs(centers - second) < 0.5)


# --- weights ----------------------------------------------------------------------------------


def test_layers_are_read_in_order(original):
    state = original["state"]
    assert set(state) == KEYS
    assert state["conv2d_3.weight"].shape == (128, 64, 3, 3)


def tree(path, layers):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name, _ in layers])
        for name, arrays in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{w}".encode() for w in arrays])
            for weight, array in arrays.items():
                group[f"{name}/{weight}"] = array
    return path


def plain_layers():
    """A small stand-in for each of the 16 layers."""
    norm = dict.fromkeys(["gamma", "beta", "moving_mean", "moving_variance"], np.ones(1))
    conv = {"kernel": np.ones((3, 3, 1, 1)), "bias": np.ones(1)}
    layers = [("bn", norm)]
    for i in range(7):
        layers += [(f"c{i}", conv), (f"b{i}", norm)]
    return [*layers, ("audio_embedding_layer", conv)]


def test_constants_of_old_files_are_left_out(tmp_path):
    kernels = {"real_kernels": np.ones((2, 1, 1, 2)), "imag_kernels": np.ones((2, 1, 1, 2))}
    path = tree(tmp_path / "old.h5", [("melspectrogram_1", kernels), *plain_layers()])
    assert set(openl3.read_weights(path)) == KEYS


def test_another_number_of_layers_is_refused(tmp_path):
    path = tree(tmp_path / "w.h5", plain_layers()[:-1])
    with pytest.raises(
        WeightsError, match="must have 16 layers with weights for this network, got 15"
    ):
        openl3.read_weights(path)


def test_every_choice_has_its_file():
    card = cards.load_extractor_card("openl3")
    files = set()
    for content in ("music", "env"):
        for representation in INPUTS:
            params = {**DEFAULTS, "content": content, "input": representation}
            found = source.required_weights(card, params, ("embedding",))
            assert list(found) == ["main"]
            facts = found["main"]
            assert facts.file == f"openl3_audio_{representation}_{content}-v0_4_0.h5.gz"
            assert facts.url.endswith(facts.file)
            assert re.fullmatch("[0-9a-f]{40}", facts.git_blob)
            files.add(facts.git_blob)
    assert len(files) == 6


def test_what_a_user_writes():
    spec = load.resolve_spec(
        "openl3:content=env,input=mel128,size=512,hop=0.5,center=false",
        weights={"openl3.main": "random:0"},
    )
    extractor = load.build_extractor(spec)
    stream = extractor.streams["embedding"]
    assert (stream.dim, stream.hop, stream.first_center) == (512, Fraction(1, 2), Fraction(1, 2))
    (clip,) = extractor([torch.zeros(50_000)])
    assert clip["embedding"].shape == (2, 512)
    assert torch.isfinite(clip["embedding"]).all()
