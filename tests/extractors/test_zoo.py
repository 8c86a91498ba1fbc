"""Students: shapes, the place of their frames in time, and modules of the user's."""

import sys
import textwrap
from fractions import Fraction as F

import numpy as np
import pytest
import torch

from probekit.audio.timegrid import FrameGrid
from probekit.errors import ProbekitError, UnknownNameError
from probekit.extractors.networks import short_chunk
from probekit.extractors.students import zoo

torch.set_num_threads(1)
TEXTS = ["harmonic-cnn", "cf-net:width=8", "short-chunk:width=2"]


@pytest.mark.parametrize(
    ("text", "rate", "crop", "dim", "steps"),
    [
        ("harmonic-cnn", 16000, 5, 256, 1),
        ("cf-net", 16000, 30, 128, 1),
        ("cf-net:width=8", 16000, 30, 8, 1),
        ("short-chunk", 16000, 5, 128, 20),
        ("short-chunk:width=4", 16000, 5, 32, 20),
    ],
)
def test_facts(text, rate, crop, dim, steps):
    student = zoo.build_student(text, 7)
    assert (student.rate, student.crop, student.dim, student.classes) == (rate, crop, dim, 7)
    assert student.training
    grid, found = student.frames(int(student.crop * rate))
    assert found == steps
    assert grid.hop * steps == crop and grid.start == 0
    again = zoo.build_student(student.spec, 7)
    assert again.spec == student.spec and again.dim == dim


@pytest.mark.parametrize("text", TEXTS)
def test_halves(text):
    torch.manual_seed(0)
    student = zoo.build_student(text, 3).eval()
    waves = torch.randn(2, 125_000)
    l = student.encode(waves)  # noqa: E741
    assert l.shape == (2, student.frames(125_000)[1], student.dim)
    assert torch.equal(student.decode(l), student(waves))
    assert student(waves).shape == (2, 3)
    hidden, last = student.classifier()
    torch.testing.assert_close(last(hidden(l)), student.decode(l))
    assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize("text", TEXTS)
def test_shortest_crop(text):
    student = zoo.build_student(text, 2).eval()
    shortest = student.min_samples
    assert student.encode(torch.randn(2, shortest)).shape[1] == student.frames(shortest)[1]
    with pytest.raises(ProbekitError, match=rf"must be >= .*{shortest} samples"):
        student.frames(shortest - 1)
    with pytest.raises(RuntimeError):
        student.encode(torch.randn(2, shortest - 1))


def test_default_short_chunk_is_small():
    student = zoo.build_student("short-chunk", 50)
    count = sum(p.numel() for p in student.parameters())
    # convolutions, normalizations, two linear layers
    convolutions = sum(9 * a * b + 3 * b for a, b in [(1, 16), (16, 32), (32, 64), (64, 128)])
    assert count == 2 + convolutions + (256 * 128 + 128) + 2 * 128 + (128 * 50 + 50)
    assert count <= 300_000
    assert sum(p.numel() for p in zoo.build_student("short-chunk", 1).parameters()) == 130_915


@pytest.mark.parametrize("second", [F(0), F(1, 2), F(1111, 500), F(249, 100), F(39999, 8000)])
def test_short_chunk_frames_hear_their_window(second, monkeypatch):
    """A change of one sample reaches the frames whose window holds it, and no other."""
    torch.manual_seed(0)
    student = zoo.build_student("short-chunk:width=8", 2).eval().double()
    network = student.network
    for block in network.blocks:  # sums instead of maxima: every spectrum counts
        torch.nn.init.uniform_(block.conv.weight, 0.05, 0.1)
        torch.nn.init.constant_(block.conv.bias, 100)
    grid, steps = student.frames(80_000)
    wave = 0.1 * torch.randn(1, 80_000, dtype=torch.float64)
    sample = int(second * 16_000)
    reached = torch.zeros(steps, dtype=torch.bool)
    functional = torch.nn.functional
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    for change in (3.0, -5.0):
        other = wave.clone()
        other[0, sample] += change
        moved = (student.encode(other) - student.encode(wave))[0].abs().amax(1)
        reached |= moved > 1e-12 * student.encode(wave).abs().max()
    centers = [grid.first_center + k * grid.hop for k in range(steps)]
    at = F(sample, 16_000)
    inside = [abs(center - at) < grid.window / 2 for center in centers]
    assert [bool(r) for r in reached] == inside
    own = int((at - grid.start) // grid.hop)
    assert inside[own]


def test_short_chunk_spectra_against_librosa():
    librosa = pytest.importorskip("librosa")
    wave = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
    wave[4000:] *= 1e-3
    power = librosa.feature.melspectrogram(
        y=np.pad(wave.astype(float), 131), sr=16_000, n_fft=512, hop_length=250, center=False,
        n_mels=64, fmin=0, fmax=8000,
    )  # fmt: skip
    expected = 10 * np.log10(np.maximum(power, 1e-5))
    found = short_chunk.MelSpectrogram()(torch.from_numpy(wave)[None])
    assert found.shape == (1, 1, 64, 32)
    # decibels; float32 against float64
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("text", TEXTS)
def test_front_ends_stay_single_under_autocast(text):
    torch.manual_seed(0)
    student = zoo.build_student(text, 3).eval()
    waves = torch.randn(2, 120_000)
    heard = {}
    embed = student.embed
    for name, on in (("plain", False), ("auto", True)):

        def noted(features, name=name):
            heard[name] = features
            return embed(features)

        student.embed = noted
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=on):
            found = student.encode(waves)
    assert torch.equal(heard["plain"], heard["auto"]) and heard["auto"].dtype == torch.float32
    assert torch.isfinite(found).all()


def test_wrong_texts():
    with pytest.raises(UnknownNameError, match="Did you mean 'short-chunk'"):
        zoo.build_student("short-chunks", 2)
    with pytest.raises(UnknownNameError, match="parameter of student cf-net 'wdith'"):
        zoo.build_student("cf-net:wdith=8", 2)
    with pytest.raises(ProbekitError, match="multiple of 8"):
        zoo.build_student("cf-net", 2, width=12)
    with pytest.raises(ProbekitError, match="must be an integer, got"):
        zoo.build_student("short-chunk:width=big", 2)
    with pytest.raises(ProbekitError, match="width must be >= 1, got 0"):
        zoo.build_student("short-chunk:width=0", 2)
    with pytest.raises(ProbekitError, match="key=value"):
        zoo.build_student("short-chunk:width=", 2)
    with pytest.raises(ProbekitError, match="classes must be >= 1, got 0"):
        zoo.build_student("short-chunk", 0)


# --- modules of the user's ------------------------------------------------------------------------

MODULE = """
    import torch
    from torch import nn

    class Net(nn.Module):
        rate = 8000
        crop = 1.5

        def __init__(self, classes, dim=6, flat=False):
            super().__init__()
            self.flat = flat
            self.inner = nn.Linear(800, dim)
            self.outer = nn.Linear(dim, classes)

        def encode(self, waves):
            frames = self.inner(waves.unfold(1, 800, 800))
            return frames.mean(1) if self.flat else frames

        def decode(self, embedding):
            return self.outer(embedding if self.flat else embedding.mean(1))

    class Rich(Net):
        def frames(self, samples):
            return 0.1, "0", 0.3, samples // 800

        def decoder(self, features):
            from probekit.extractors.students.zoo import PooledLinear
            return PooledLinear(features, self.outer.out_features)

    class Wrong(Rich):
        def frames(self, samples):
            return 0.1, 0, 0.3, 99

    class Silent(Net):
        encode = None

    class Scalar(Net):
        def encode(self, waves):
            return waves.sum()

    class Half(nn.Module):
        rate = 8000
        crop = 1

    class Odd(Net):
        rate = "fast"

    class NoNet:
        pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "minestudents.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(tmp_path)
    yield "minestudents"
    sys.modules.pop("minestudents", None)


@pytest.mark.parametrize(("flat", "steps"), [("false", 15), ("true", 1)])
def test_a_module_of_the_user_s(mine, flat, steps):
    student = zoo.build_student(f"{mine}:Net:dim=4,flat={flat}", 3)
    assert (student.rate, student.crop, student.dim) == (8000, F(3, 2), 4)
    hop = F(3, 2) / steps
    assert student.frames(12_000) == (FrameGrid(hop, hop / 2, hop), steps)
    waves = torch.randn(2, 12_000)
    assert student.encode(waves).shape == (2, steps, 4)
    assert student(waves).shape == (2, 3)
    assert zoo.build_student(student.spec, 3).dim == 4
    with pytest.raises(ProbekitError, match=r"no method decoder\(features\)"):
        student.decoder(9)


def test_a_module_that_says_more(mine):
    student = zoo.build_student(f"{mine}:Rich", 3, dim=4)
    assert student.frames(8000) == (FrameGrid(F(1, 10), F(0), F(3, 10)), 10)
    student.replace_classifier(student.decoder(4 + 9))
    assert student.decode(torch.randn(2, 15, 13)).shape == (2, 3)
    used = {key for key, p in student.named_parameters() if p.requires_grad}
    layers = ("network.inner", "head.dense")
    assert used == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Wrong", "must return 15 frames as encode does, got 99"),
        ("Silent", "has no encode"),
        ("Scalar", r"encode must return \(crops, dim\) .* got \(\) for 2 crops"),
        ("Half", "cannot be built with classes=3"),
        ("Odd", "rate must be in Hz and crop in seconds"),
        ("NoNet", "must be a subclass of torch.nn.Module"),
        ("Absent", "cannot be imported"),
        ("Net:depth=3", "cannot be built with classes=3, depth=3"),
    ],
)
def test_modules_that_do_not_fit(mine, name, message):
    with pytest.raises(ProbekitError, match=message):
        zoo.build_student(f"{mine}:{name}", 3).frames(12_000)


def test_a_module_that_does_not_exist():
    with pytest.raises(ProbekitError, match="cannot be imported"):
        zoo.build_student("no.such.module:Net", 3)
