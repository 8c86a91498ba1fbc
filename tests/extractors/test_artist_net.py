"""The network of kim2018: sizes by layer, its front-end against librosa, several branches."""

from fractions import Fraction as F

import numpy as np
import pytest
import torch

from probekit.errors import ProbekitError
from probekit.extractors.networks import artist_net
from probekit.extractors.students import zoo

torch.set_num_threads(1)
SAMPLES = artist_net.FRAMES * artist_net.HOP_LENGTH


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("classes", "expected"), [(16, 566_064), (40, 572_232)])
def test_parameters_of_the_authors_network(classes, expected):
    # fact sheet: Glorot weights, gamma and beta of four normalizations; no bias before these
    assert count(artist_net.Network(classes)) == expected
    assert artist_net.count_parameters(256, (classes,)) == expected


@pytest.mark.parametrize(
    ("targets", "expected"), [(2, 1_137_880), (3, 1_709_696), (4, 2_281_512), (5, 2_853_328)]
)
def test_parameters_of_several_targets_and_of_a_network_as_wide(targets, expected):
    network = artist_net.Network(16, branches=targets)
    heads = (targets - 1) * (256 * 40 + 40)  # of the artist groups; the network has that of genres
    assert count(network) + heads == expected
    assert artist_net.count_parameters(256, (16, *[40] * (targets - 1))) == expected
    width = artist_net.match_width(expected, 16)
    # derived in the fact sheet: multipliers 1.418, 1.741, 2.012, 2.252
    multiplier = {2: 1.418, 3: 1.741, 4: 2.012, 5: 2.252}[targets]
    assert width / 256 == pytest.approx(multiplier, abs=0.003)
    assert abs(count(artist_net.Network(16, width)) / expected - 1) < 0.002


def test_twice_the_width():
    assert count(artist_net.Network(16, 512)) == 2_251_344


def test_shapes_of_the_maps():
    """Borders are dropped in pooling: 43 frames become 21, 10, 5 and 2."""
    network = artist_net.Network(16).eval()
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.MaxPool2d | torch.nn.AdaptiveAvgPool2d):
            module.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[1:])))
    embedding = network.encode(torch.randn(2, SAMPLES))
    assert embedding.shape == (2, 256)
    assert seen == [
        (16, 43, 128), (32, 43, 64), (64, 21, 32), (64, 10, 16), (128, 5, 8), (256, 2, 4)
    ]  # fmt: skip
    assert network.decode(embedding).shape == (2, 16)


def test_spectra_are_librosa_s():
    librosa = pytest.importorskip("librosa")
    wave = np.random.default_rng(0).normal(0, 0.1, SAMPLES) * np.linspace(1, 0, SAMPLES) ** 8
    mel = librosa.feature.melspectrogram(y=wave, sr=44100, n_fft=2048, hop_length=1024, n_mels=128)[
        :, :43
    ]
    expected = librosa.power_to_db(mel, top_db=80.0).T
    levels = artist_net.MelSpectrogram()(torch.as_tensor(wave)[None].float())[0]
    assert levels.shape == (43, 128)
    np.testing.assert_allclose(levels, expected, rtol=0, atol=2e-4)  # dB: float32 mel product


def test_front_end_is_standardized_on_training_crops():
    torch.manual_seed(0)
    student = zoo.build_student("artist-net:width=16", 3)
    waves = [0.1 * torch.randn(3, SAMPLES), 0.3 * torch.randn(2, SAMPLES)]
    student.fit_frontend(iter(waves))
    features = student.frontend(torch.cat(waves)).flatten(0, 2).double()
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(0, unbiased=False), 1, atol=1e-4)
    assert {"network.mean", "network.scale"} <= set(student.state_dict())
    student.fit_frontend([torch.zeros(2, SAMPLES)])  # silence has no spread
    assert torch.isfinite(student.frontend(torch.zeros(2, SAMPLES))).all()


def test_student():
    student = zoo.build_student("artist-net", 7)
    assert (student.rate, student.dim, student.spec) == (44100, 256, "artist-net:width=256")
    assert student.crop == F(SAMPLES, 44100)
    grid, steps = student.frames(SAMPLES)
    assert (grid.hop, grid.window, steps) == (F(21 * 1024, 44100), student.crop, 1)  # half
    waves = torch.randn(2, SAMPLES)
    student.eval()
    hidden, last = student.classifier()
    torch.testing.assert_close(last(hidden(student.encode(waves))), student(waves))
    with pytest.raises(ProbekitError, match=r"must be >= 0\.371519 s"):
        student.frames(student.min_samples - 1)
    assert student.encode(torch.randn(1, student.min_samples)).shape == (1, 1, 256)


def test_branches_share_the_first_convolution_alone():
    torch.manual_seed(0)
    student = zoo.build_student("artist-net:width=16,branches=3", 4).eval()
    assert (student.dim, student.spec) == (48, "artist-net:branches=3,width=16")
    features = student.frontend(torch.randn(2, SAMPLES))
    parts = [student.network.encode_branch(features, k) for k in range(3)]
    torch.testing.assert_close(torch.cat(parts, 1), student.embed(features)[:, 0])
    parts[1].sum().backward()
    with_gradient = {
        name for name, parameter in student.named_parameters() if parameter.grad is not None
    }
    assert {name.split(".")[1] for name in with_gradient} == {"shared", "branches"}
    assert {name.split(".")[2] for name in with_gradient if "branches" in name} == {"1"}
    student.eval()
    embedding = student.encode(torch.randn(2, SAMPLES))
    changed = torch.cat([embedding[..., :16], torch.zeros_like(embedding[..., 16:])], 2)
    assert torch.equal(student.decode(embedding), student.decode(changed))  # reads the first


@pytest.mark.parametrize("text", ["artist-net:width=15", "artist-net:branches=0"])
def test_wrong_sizes(text):
    with pytest.raises(ProbekitError, match="must be >="):
        zoo.build_student(text, 3)
