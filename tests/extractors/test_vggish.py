"""VGGish against the original's numbers and against the package torchvggish."""

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import load
from probekit.extractors.networks import vggish
from probekit.extractors.weights import source, state_dict

torch.set_num_threads(1)
STREAMS = ("relu", "prerelu", "pca", "pca8")
KEYS = {
    f"features.{i}.{kind}" for i in (0, 3, 6, 8, 11, 13) for kind in ("weight", "bias")
} | {f"embeddings.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}  # fmt: skip


def pca_state():
    """A PCA whose output covers [-2, 2] and leaves it."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((128, 128)).astype(np.float32) * 0.1
    return {"pca_eigen_vectors": vectors, "pca_means": rng.random((128, 1)).astype(np.float32)}


@pytest.fixture(scope="module")
def extractor():
    return vggish.build(cards.load_extractor_card("vggish"), {"quantize": "round"}, STREAMS).eval()


@pytest.fixture
def filled(extractor, fill):
    if not getattr(extractor, "was_filled", False):
        fill(extractor.network)
        pca = {key: torch.from_numpy(value) for key, value in pca_state().items()}
        extractor.load_weights({"pca": pca, "main": extractor.network.state_dict()})
        extractor.requires_grad_(False).was_filled = True
    return extractor


def test_network_is_torchvggish_s(extractor):
    assert set(extractor.network.state_dict()) == KEYS
    count = sum(p.numel() for p in extractor.network.parameters())
    assert count == extractor.card.parameter_count == 72_141_184


def error(found, expected):
    """Largest error, in standard deviations of the reference over clips and dimensions."""
    return float((torch.as_tensor(found) - torch.as_tensor(expected)).abs().max()) / float(
        torch.as_tensor(expected).std()
    )


def check_logmel(found, expected):
    """Compare with a front-end in float64: only the mel product and the logarithm are float32."""
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_original_outputs(filled, shared):
    with np.load(shared / "reference" / "vectors" / "vggish.npz") as stored:
        kinds = ("noise", "speech")
        found = filled([torch.from_numpy(stored[f"{kind}.wave"]) for kind in kinds])
        for stream in ("relu", "prerelu"):
            ours = torch.cat([clip[stream] for clip in found])
            assert error(ours, np.concatenate([stored[f"{k}.{stream}"] for k in kinds])) < 1e-4
        for kind in kinds:
            pieces = filled.split(torch.from_numpy(stored[f"{kind}.wave"]))
            check_logmel(filled.frontend(pieces), stored[f"{kind}.logmel"])


def sounds(samples=36000):
    """Noise, a tone, silence, clicks, and a clip that is not a whole number of windows."""
    rng = np.random.default_rng(0)
    clicks = np.zeros(samples)
    clicks[::5000] = 1
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / 16000)
    noise = rng.uniform(-1, 1, samples)
    waves = [noise, tone, np.zeros(samples), clicks, noise[:20001]]
    return [torch.from_numpy(wave.astype(np.float32)) for wave in waves]


def test_package_torchvggish(filled, monkeypatch):
    package = pytest.importorskip("torchvggish.torchvggish")
    inputs = pytest.importorskip("torchvggish.vggish_input")
    files = {
        package.VGGISH_WEIGHTS: filled.network.state_dict(),
        package.PCA_PARAMS: pca_state(),
    }
    monkeypatch.setattr(package.hub, "load_state_dict_from_url", lambda url, **_: files[url])
    upstream = package.vggish(postprocess=True).eval()
    waves = sounds()
    examples = [inputs.waveform_to_examples(wave.double().numpy(), 16000) for wave in waves]
    with torch.no_grad():
        pca8 = torch.cat([upstream(clip).reshape(-1, 128) for clip in examples])
        upstream.postprocess = False
        relu = torch.cat([upstream(clip) for clip in examples])
    found = filled(waves)
    ours = {stream: torch.cat([clip[stream] for clip in found]) for stream in STREAMS}
    for wave, clip in zip(waves, examples, strict=True):
        check_logmel(filled.frontend(filled.split(wave)), clip.detach().numpy())
    assert error(ours["relu"], relu) < 1e-4
    state = pca_state()
    pca = (relu.numpy() - state["pca_means"].T) @ state["pca_eigen_vectors"].T
    assert error(ours["pca"], pca) < 1e-4
    # whole numbers: where the two sides of a step are within rounding, one may be off by one
    difference = (ours["pca8"] - pca8).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-2
    assert ours["pca8"].unique().numel() > 100


def test_quantization_rounds_or_truncates(filled, monkeypatch):
    pca = torch.tensor([-9.0, -2.0, 0.0, 0.0047, 1.9999, 2.0, 9.0])  # 127.5, 127.8, 254.99
    assert filled._quantized(pca).tolist() == [0, 0, 128, 128, 255, 255, 255]
    monkeypatch.setitem(filled.params, "quantize", "truncate")
    assert filled._quantized(pca).tolist() == [0, 0, 127, 127, 254, 255, 255]


def test_clips_do_not_depend_on_their_companions(filled):
    waves = sounds()
    alone = filled(waves[:1])[0]
    for order in ([0, 1, 2, 3, 4], [3, 1, 2, 4, 0]):
        together = filled([waves[i] for i in order])[order.index(0)]
        for stream in ("relu", "prerelu", "pca"):
            scale = alone[stream].abs().max()
            assert (together[stream] - alone[stream]).abs().max() < 1e-5 * scale


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 1), (15599, 1), (15600, 1), (30959, 1), (30960, 2)]
)
def test_lengths(extractor, samples, frames):
    pieces = extractor.split(torch.ones(samples))
    assert pieces.shape == (frames, 15600)
    assert pieces[0].sum() == min(samples, 15600)


def test_frames_lie_where_the_card_says(filled):
    """A click in one window's part of the clip moves that window's frame and no other."""
    stream = filled.streams["relu"]
    silence = torch.zeros(3 * 15360 + 240)
    quiet = filled([silence])[0]["prerelu"]
    for k in range(3):
        first = stream.first_center + k * stream.hop - stream.window / 2
        last = first + stream.window
        places = {  # samples; neighboring windows share 240
            round((first + stream.window / 2) * 16000): {k},
            round(first * 16000) + 250: {k},
            round(last * 16000) - 250: {k},
            round(last * 16000) - 100: {k, min(k + 1, 2)},
        }
        for place, expected in places.items():
            wave = silence.clone()
            wave[place] = 1
            moved = (filled([wave])[0]["prerelu"] - quiet).abs().amax(1) > 1e-6 * quiet.abs().max()
            assert set(moved.nonzero()[:, 0].tolist()) == expected, (k, place)


def test_pca_file_is_checked(filled):
    main = filled.network.state_dict()
    with pytest.raises(WeightsError, match="need the weights file pca"):
        filled.load_weights({"main": main})
    bad = {"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(64)}
    with pytest.raises(WeightsError, match=r"must be \(128,\), got \(64,\)"):
        filled.load_weights({"main": main, "pca": bad})


def test_pca_file_of_numpy_arrays_is_read(tmp_path):
    torch.save(pca_state(), tmp_path / "pca.pth")
    content = state_dict.load_state_dict(
        source.WeightsSource(path=tmp_path / "pca.pth"), "pca", None
    )
    for key, value in pca_state().items():
        np.testing.assert_array_equal(content[key], value)


def test_random_weights_by_name():
    names = {"vggish.main": "random:1", "vggish.pca": "random:1"}
    spec = load.resolve_spec("vggish", weights=names, streams=["relu", "pca8"])
    assert set(spec.sources) == {"main", "pca"}
    assert spec.provenance == ["random weights (seed 1)"]
    assert set(load.resolve_spec("vggish", weights=names).sources) == {"main"}


@pytest.mark.slow
def test_random_weights_give_embeddings():
    names = {"vggish.main": "random:1", "vggish.pca": "random:1"}
    spec = load.resolve_spec("vggish", weights=names, streams=["relu", "pca8"])
    found = load.build_extractor(spec)([torch.rand(16000) - 0.5])[0]
    assert {name: tuple(out.shape) for name, out in found.items()} == {
        "relu": (1, 128), "pca8": (1, 128)
    }  # fmt: skip
    assert found["relu"].std() > 0
