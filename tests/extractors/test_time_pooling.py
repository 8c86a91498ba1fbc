"""Pooling over time against closed forms in float64, and their clamps."""

import math

import numpy as np
import pytest
import torch

from probekit.errors import ProbekitError, UnknownNameError
from probekit.extractors.students import zoo
from probekit.extractors.students.time_pooling import (
    POOLINGS,
    FrameClassifier,
    pool_logits,
    pool_probabilities,
    refuse_vectors,
)

torch.set_num_threads(1)
P = np.array([0.1, 0.4, 0.9])
W = np.array([0.5, -1.0, 2.0])
EXPECTED = {
    "linear-softmax": (P**2).sum() / P.sum(),
    "attention": (P * np.exp(W)).sum() / np.exp(W).sum(),
    "max": 0.9,
    "average": P.mean(),
    "exponential": (P * np.exp(P)).sum() / np.exp(P).sum(),
}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_closed_form(pooling):
    p = torch.tensor(P, dtype=torch.float32)[None, :, None]
    w = torch.tensor(W + 7, dtype=torch.float32)[None, :, None]  # a constant changes nothing
    pooled = pool_probabilities(p, pooling, w).item()
    assert pooled == pytest.approx(EXPECTED[pooling], rel=1e-6)  # float32
    logit = pool_logits(torch.logit(p), pooling, w).item()
    expected = math.log(EXPECTED[pooling] / (1 - EXPECTED[pooling]))
    assert logit == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_clamps_keep_loss_and_gradient_finite(pooling, logit):
    logits = torch.full((2, 4, 3), logit, requires_grad=True)
    pooled = pool_logits(logits, pooling, torch.zeros(2, 4, 3))
    probability = torch.sigmoid(pooled)
    edge = 1e-7 if logit < 0 else 1 - 1e-7
    torch.testing.assert_close(probability, torch.full((2, 3), edge), rtol=1e-3, atol=1e-7)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(pooled, torch.ones(2, 3))
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_gradients_differ_as_their_authors_say():
    """Linear softmax lowers frames below half of the pooled probability, average raises all."""

    def gradient(pooling):
        p = torch.tensor([[[0.1], [0.9]]], dtype=torch.float64, requires_grad=True)
        pool_probabilities(p, pooling).sum().backward()
        return p.grad.flatten().tolist()

    low, high = gradient("linear-softmax")
    assert low < 0 < high
    # d/dp of Σp²/Σp = (2p - pooled) / Σp
    assert low == pytest.approx((0.2 - 0.82) / 1.0, rel=1e-6)
    assert gradient("average") == pytest.approx([0.5, 0.5])
    assert gradient("max") == [0.0, 1.0]


@pytest.mark.parametrize("text", ["talnet:width=2", "weanet:width=2", "short-chunk:width=2"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_any_network_with_frames(text, pooling):
    torch.manual_seed(0)
    if text.startswith("short"):
        student = zoo.build_student(text, 3)
        student.classify_frames(pooling)
    else:
        student = zoo.build_student(text, 3, pooling=pooling)
    student = student.eval()
    embedding = student.encode(torch.randn(2, 32000))
    frames = student.frame_logits(embedding)
    assert frames.shape == (2, embedding.shape[1], 3)
    logits = student.decode(embedding)
    if pooling != "attention":
        torch.testing.assert_close(logits, pool_logits(frames, pooling))
    layer = student.frame_classifier()
    hidden = layer.inputs(embedding) if layer.inputs else embedding
    torch.testing.assert_close(hidden @ layer.weight.T + layer.bias, frames)
    assert (layer.attention is None) == (pooling != "attention")
    if layer.attention is not None:
        weight, bias = layer.attention
        expected = pool_logits(frames, pooling, hidden @ weight.T + bias)
        torch.testing.assert_close(logits, expected)


def test_stored_spectra_are_those_of_waveforms():
    for text in ("talnet:width=2", "weanet:width=2"):
        student = zoo.build_student(text, 3).eval()
        waves = torch.randn(2, 20000)
        levels = student.levels(waves)
        assert levels.shape == (2, student.level_grid.frames(20000), student.level_grid.bands)
        torch.testing.assert_close(student(levels), student(waves))


def test_messages():
    with pytest.raises(UnknownNameError, match="pooling"):
        FrameClassifier(3, 2, "median")
    with pytest.raises(UnknownNameError, match="pooling"):
        zoo.build_student("talnet:pooling=mean", 3)
    with pytest.raises(ProbekitError, match="width must be >= 1, got 0"):
        zoo.build_student("weanet:width=0", 3)
    with pytest.raises(ProbekitError, match="one embedding a crop"):
        refuse_vectors("cf-net", 1)
