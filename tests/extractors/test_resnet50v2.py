"""ResNet50V2 against Keras's outputs with deterministic weights, and its front-end."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from probekit.errors import WeightsError
from probekit.extractors.networks import resnet50v2
from probekit.extractors.networks.resnet50v2 import Network
from probekit.extractors.students import zoo
from probekit.extractors.weights.state_dict import load_strict

torch.set_num_threads(1)
VECTORS = Path(__file__).parents[3] / "shared" / "reference" / "vectors"


@pytest.fixture(scope="module")
def stored():
    path = VECTORS / "resnet50v2.npz"
    if not path.exists():
        pytest.skip("no reference vectors")
    return np.load(path)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory, stored):
    """Keras's file with the deterministic weights of the vectors."""
    path = tmp_path_factory.mktemp("keras") / "notop.h5"
    sys.path.insert(0, str(VECTORS))
    try:
        spec = importlib.util.spec_from_file_location("h5", VECTORS / "resnet50v2_h5.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.write(path)
    finally:
        sys.path.remove(str(VECTORS))
    return path


@pytest.fixture(scope="module")
def network(weights_file):
    built = Network().eval().requires_grad_(False)
    load_strict(built, resnet50v2.read_weights(weights_file), "the file")
    return built


def relative(ours, expected):
    return np.abs(ours - expected).max() / np.abs(expected).max()


def tap(maps, stored, key):
    """Return a tap as the vectors store it: every 16th channel of a map, channels last."""
    _, name = key.split(".", 1)
    if name.endswith(".mean"):
        return maps[name.removesuffix(".mean")][0].mean((1, 2)).numpy()
    if name == "pooled":
        return maps["post"][0].mean((1, 2)).numpy()
    return maps[name][0].permute(1, 2, 0)[..., ::16].numpy()


def keys(stored, case):
    names = [key for key in stored.files if key.startswith(f"{case}.")]
    return [key for key in names if "input" not in key and "after_training" not in key]


@pytest.mark.parametrize("case", ["colour", "odd", "stacked"])
def test_all_taps_are_keras_s(network, stored, case):
    image = torch.from_numpy(stored[f"{case}.input"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = network.taps(image)
    compared = keys(stored, case)
    assert len(compared) == 10
    for key in compared:  # 3e-7 to 8e-7 are the rounding of fifty layers in float32
        ours, expected = tap(maps, stored, key), stored[key]
        assert ours.shape == expected.shape
        assert relative(ours, expected) < 1e-5, key


def test_zeros_around_the_pooling_show_in_pool1(network, stored):
    image = torch.from_numpy(stored["odd.input"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        wrong = nn.functional.max_pool2d(network.conv1_conv(image), 3, 2, padding=1)
    expected = stored["odd.pool1"]
    ours = wrong[0].permute(1, 2, 0)[..., ::16].numpy()
    assert relative(ours, expected) > 1e-3


@pytest.mark.parametrize("mistake", ["stride", "shortcut", "bias", "epsilon"])
def test_each_trap_shows(weights_file, stored, mistake, monkeypatch):
    built = Network().eval().requires_grad_(False)
    load_strict(built, resnet50v2.read_weights(weights_file), "the file")
    for name, module in built.named_modules():
        if mistake == "stride" and name in ("conv2_block1", "conv2_block3"):
            module.conv2.stride = (2, 2) if name.endswith("1") else (1, 1)
            module.stride = 1
            if name.endswith("1"):
                module.projection.stride = (2, 2)
        if mistake == "shortcut" and name == "conv2_block1":
            monkeypatch.setattr(module, "forward", partial(_shortcut_of_input, module))
        if mistake == "bias" and name.endswith("conv3"):
            module.bias.zero_()
        if mistake == "epsilon" and isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    image = torch.from_numpy(stored["stacked.input"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        pooled = built.encode_spectra(image)[0].numpy()
    assert relative(pooled, stored["stacked.pooled"]) > 1e-4


def _shortcut_of_input(block, x):
    hidden = block.bn1(block.conv1(block.preact_bn(x).relu())).relu()
    hidden = block.bn2(block.conv2(hidden)).relu()
    return block.projection(x) + block.conv3(hidden)


def test_size_is_keras_s(network):
    state = network.state_dict()
    counted = [k for k in state if not k.endswith("num_batches_tracked")]
    assert sum(state[k].numel() for k in counted) == 23_564_800
    assert sum(p.numel() for p in network.parameters()) == 23_519_360
    assert len(counted) == 270


def test_statistics_after_a_step_are_tensorflow_s(network, stored):
    """The unbiased variance of the batch with a momentum of 0.99, as the fused layer keeps it."""
    trained = Network()
    trained.load_state_dict(network.state_dict())
    trained.train()
    image = torch.from_numpy(stored["colour.input"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        trained.encode_spectra(image)
    state = trained.state_dict()
    names = {"conv2_block1_preact_bn": "conv2_block1.preact_bn", "conv3_block4_2_bn":
             "conv3_block4.bn2", "post_bn": "post_bn"}  # fmt: skip
    for keras_name, name in names.items():
        for kind, key in (("mean", "running_mean"), ("variance", "running_var")):
            expected = stored[f"colour.after_training.{keras_name}.moving_{kind}"]
            assert relative(state[f"{name}.{key}"].numpy(), expected) < 1e-4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("predictions", "has the top layer 'predictions'"),
        ("extra", "not ResNet50V2 of Keras: has the layer extra"),
        ("missing", "not ResNet50V2 of Keras: lacks the layer post_bn"),
    ],
)
def test_another_file_is_refused(monkeypatch, tmp_path, change, words):
    names = [name for name, _ in resnet50v2._layer_names()]
    layers = [(name, {}) for name in names]
    layers = layers[:-1] if change == "missing" else [*layers, (change, {})]
    monkeypatch.setattr(resnet50v2.keras, "read_layers", lambda path: layers)
    with pytest.raises(WeightsError, match=words):
        resnet50v2.read_weights(tmp_path / "x.h5")


def test_front_end_against_librosa():
    librosa = pytest.importorskip("librosa")
    wave = np.random.default_rng(0).normal(0, 0.1, resnet50v2.SAMPLES).astype(np.float32)
    wave[40000:] *= np.logspace(0, -5, resnet50v2.SAMPLES - 40000, dtype=np.float32)
    mel = librosa.feature.melspectrogram(
        y=wave, sr=22050, n_fft=1024, hop_length=230, n_mels=128, fmin=50, fmax=10000
    )
    expected = 1 + librosa.power_to_db(mel, ref=np.max, amin=1e-30, top_db=80) / 40
    image = resnet50v2.MelImage()(torch.from_numpy(wave)[None])[0, 0].numpy()
    assert image.shape == (128, 480) == expected.shape
    assert (image.min(), image.max()) == (-1, 1)
    # librosa transforms in float32: quiet frames differ by some thousandths of a decibel
    assert np.abs(image - expected).max() < 2e-3


def test_the_level_does_not_matter():
    wave = torch.randn(1, 20000, generator=torch.Generator().manual_seed(0))
    loud, quiet = (resnet50v2.MelImage()(gain * wave) for gain in (1.0, 1e-4))
    assert (loud - quiet).abs().max() < 1e-5


def test_silence_is_the_floor():
    assert (resnet50v2.MelImage()(torch.zeros(1, 5000)) == -1).all()


def test_as_a_student():
    student = zoo.build_student("resnet50v2:width=2", 5)
    waves = torch.randn(3, resnet50v2.SAMPLES)
    embedding = student.encode(waves)
    assert embedding.shape == (3, 1, 64) and student.decode(embedding).shape == (3, 5)
    student.eval()
    hidden, last = student.classifier()
    assert torch.equal(last(hidden(embedding)), student.decode(embedding))
    assert student.spec == "resnet50v2:width=2"
