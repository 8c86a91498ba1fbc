"""TALNet against the original's numbers, and its front-end against librosa."""

import csv
import pickle

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.errors import WeightsError
from probekit.extractors import labels, load
from probekit.extractors.networks import talnet
from probekit.extractors.weights import source, state_dict

torch.set_num_threads(1)
SR, SAMPLES = 16000, 30_000
STREAMS = ("gru", "probabilities")
KEYS = {
    f"conv{i}.{name}"
    for i in range(1, 11)
    for name in (
        "conv.weight", "conv.bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
        "bn.num_batches_tracked",
    )
} | {
    f"gru.{kind}_{where}_l0{way}"
    for kind in ("weight", "bias") for where in ("ih", "hh") for way in ("", "_reverse")
} | {"fc_prob.weight", "fc_prob.bias"}  # fmt: skip


@pytest.fixture(scope="module")
def extractor():
    """The normalizer is the stand-in of the stored numbers: -40 dB and 20 dB."""
    return (
        talnet.build(cards.load_extractor_card("talnet"), {}, STREAMS).eval().requires_grad_(False)
    )


def test_network_is_the_author_s(extractor):
    assert set(extractor.network.state_dict()) == KEYS
    assert len(KEYS) == 80
    count = sum(p.numel() for p in extractor.network.parameters())
    assert count == extractor.card.parameter_count == 9_980_527


def test_original_outputs(filled, stored):
    kinds = ("noise", "speech")
    found = filled([torch.from_numpy(stored[f"{kind}.wave"]) for kind in kinds])
    expected = np.stack([stored[f"{kind}.gru"] for kind in kinds])
    ours = np.stack([clip["gru"] for clip in found])
    assert np.abs(ours - expected).max() / expected.std() < 1e-4
    frames = np.stack([clip["probabilities"] for clip in found])
    clip = (frames**2).sum(1) / frames.sum(1)  # linear softmax pooling, as the original returns it
    expected = np.stack([stored[f"{kind}.clip"] for kind in kinds])
    assert np.abs(clip - expected).max() / expected.std() < 1e-4


def test_original_spectra(extractor, stored):
    for kind in ("noise", "speech"):
        pieces = extractor.split(torch.from_numpy(stored[f"{kind}.wave"]))
        ours = extractor.frontend(pieces)[0] * 20 - 40
        # dB: rounding of the mel product, which both do in float32, and of the normalizer
        np.testing.assert_allclose(ours, stored[f"{kind}.logmel"], rtol=0, atol=5e-5)


def test_spectra_are_librosa_s(extractor, sounds):
    librosa = pytest.importorskip("librosa")
    for wave in sounds():
        spectrum = librosa.stft(
            wave.double().numpy(), n_fft=4096, hop_length=400, win_length=1024, pad_mode="constant"
        )
        mel = librosa.feature.melspectrogram(S=np.abs(spectrum), sr=16000, n_mels=64, fmax=8000)
        expected = librosa.power_to_db(mel[:, : len(wave) // 400]).T
        ours = extractor.frontend(wave[None])[0] * 20 - 40
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("samples", "steps"), [(1, 1), (1599, 1), (1600, 1), (3199, 1), (3200, 2), (160000, 100)]
)
def test_lengths(extractor, samples, steps):
    found = extractor([torch.ones(samples)])[0]
    assert found["gru"].shape == (steps, 1024)
    assert found["probabilities"].shape == (steps, 527)


def test_clips_do_not_depend_on_their_companions(filled, sounds):
    waves = sounds()
    alone = filled(waves[:1])[0]
    for order in ([0, 1, 2, 3, 4], [3, 1, 2, 4, 0]):
        together = filled([waves[i] for i in order])[order.index(0)]
        for stream in STREAMS:
            scale = alone[stream].abs().max()
            assert (together[stream] - alone[stream]).abs().max() < 1e-5 * scale


def test_frames_lie_where_the_card_says(filled):
    """What a click changes is centered on the click, in a network that is symmetric in time.

    The GRU carries on what it has heard: compare what goes into it.
    """
    stream = filled.streams["gru"]
    network = talnet.Network().eval().requires_grad_(False)
    network.load_state_dict(filled.network.state_dict())
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.copy_((module.weight + module.weight.flip(2)) / 2)
    convolved = []
    network.gru.register_forward_pre_hook(lambda _, inputs: convolved.append(inputs[0][0]))
    noise = 1e-3 * torch.from_numpy(np.random.default_rng(1).standard_normal(40000)).float()
    network(filled.frontend(noise[None]))
    for step in (9, 9.5, 12, 14.25):
        wave = noise.clone()
        wave[round((float(stream.first_center) + step * float(stream.hop)) * 16000)] += 1
        network(filled.frontend(wave[None]))
        moved = (convolved[-1] - convolved[0]).double().square().sum(1)
        center = (moved * torch.arange(25)).sum() / moved.sum()
        assert float(center) == pytest.approx(step, abs=0.04)


def test_head_reads_the_stream(filled, sounds):
    head = filled.head()
    assert head.stream == "gru"
    assert head.weight.shape == (527, 1024)
    assert len(head.classes) == 527
    found = filled(sounds()[:1])[0]
    ours = torch.sigmoid(found["gru"] @ head.weight.T + head.bias)
    torch.testing.assert_close(ours, found["probabilities"], rtol=1e-5, atol=1e-6)


def test_classes_are_audioset_s(shared):
    with (shared / "data" / "meta" / "audioset_class_labels_indices.csv").open() as stream:
        expected = [row["display_name"] for row in csv.DictReader(stream)]
    assert list(labels.load_labels("audioset.csv")) == expected
    assert expected[0] == "Speech"
    assert len(set(expected)) == 527


def test_checkpoint_of_the_author_s_kind_is_read(filled, tmp_path):
    """Under ``model``, without counted batches, in torch's old format, beside an optimizer."""
    model = {
        key: value
        for key, value in filled.network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert len(model) == 70
    file = tmp_path / "TALNet.pt"
    content = {"model": model, "optimizer": {"param_groups": [{"lr": 1e-3}]}}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    main = state_dict.load_state_dict(source.WeightsSource(path=file), "main", None)
    fresh = talnet.build(filled.card, {}, STREAMS).eval()
    fresh.load_weights({"main": main, "normalizer": fresh.normalizer.state_dict()})
    for key, value in model.items():
        assert torch.equal(fresh.network.state_dict()[key], value)


def normalizer_of_python_2(pair):
    """Two arrays as cPickle wrote them: protocol 0, the old module's name, strings for bytes."""
    arrays = []
    for values in pair:
        raw = repr(np.asarray(values, "<f8").tobytes())[1:]
        arrays.append(
            "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I64\ntcnumpy\n"
            f"dtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS{raw}\ntb"
        )
    return ("(" + "".join(arrays) + "t.").encode("ascii")


def test_normalizer_of_the_author_s_kind_is_read(filled, tmp_path, sounds):
    rng = np.random.default_rng(3)
    pair = [-10 - rng.random(64), 12 + rng.random(64)]
    file = tmp_path / "normalizer.pkl"
    for content in (
        normalizer_of_python_2(pair), pickle.dumps(tuple(pair)), pickle.dumps(pair, protocol=2)
    ):  # fmt: skip
        file.write_bytes(content)
        state = state_dict.load_state_dict(source.WeightsSource(path=file), "normalizer", None)
        fresh = talnet.build(filled.card, {}, STREAMS).eval()
        fresh.load_weights({"main": filled.network.state_dict(), "normalizer": state})
        np.testing.assert_allclose(fresh.normalizer.mu, pair[0], rtol=1e-7)
        np.testing.assert_allclose(fresh.normalizer.sigma, pair[1], rtol=1e-7)
        features = fresh.frontend(sounds()[0][None])
        plain = filled.frontend(sounds()[0][None]).numpy() * 20 - 40
        np.testing.assert_allclose(features, (plain - pair[0]) / pair[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("sigma", [torch.zeros(64), torch.full((64,), -1.0), torch.ones(63)])
def test_bad_normalizer_is_refused(extractor, sigma):
    state = {"mu": torch.zeros(64), "sigma": sigma}
    with pytest.raises(WeightsError, match="normalizer weights"):
        talnet.build(extractor.card, {}, STREAMS).load_weights(
            {"main": extractor.network.state_dict(), "normalizer": state}
        )


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_loading_is_strict(extractor, change):
    state = extractor.network.state_dict()
    if change == "missing":
        del state["conv3.conv.bias"]
    elif change == "extra":
        state["fc_att.bias"] = torch.zeros(527)
    else:
        state["conv3.conv.bias"] = torch.zeros(1)
    both = {"main": {"model": state}, "normalizer": extractor.normalizer.state_dict()}
    with pytest.raises(WeightsError, match=r"(?s)talnet: main weights.*(conv3\.conv|fc_att)\.bias"):
        extractor.load_weights(both)


def test_nothing_is_silently_missing(extractor, monkeypatch, tmp_path):
    with pytest.raises(WeightsError, match="needs normalizer weights"):
        extractor.load_weights({"main": extractor.network.state_dict()})
    monkeypatch.setenv("PROBEKIT_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="403 or 404 since June 2021"):
        load.resolve_spec("talnet")


def test_random_weights_by_name(sounds):
    names = {"talnet.main": "random:1", "talnet.normalizer": "random:1"}
    spec = load.resolve_spec("talnet", weights=names)
    assert spec.provenance == [
        "the public TALNet, not the one retrained for kumar2021",
        "random weights (seed 1)",
    ]
    extractor = load.build_extractor(spec)
    found = extractor(sounds()[:1])[0]
    assert found["gru"].shape == (18, 1024)
    assert found["gru"].std() > 0.01
    assert extractor.normalizer.mu.unique().tolist() == [-40]
