"""Objectives: the contrastive loss against numbers by hand, and what each step reads."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from probekit.errors import DataError
from probekit.extractors.students import zoo
from probekit.training import losses
from probekit.training.dataloader import Batch
from probekit.training.objectives import LABELED, UNLABELED, Contrastive


def pairs():
    """The vectors of the fact sheet."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((4, 8))
    second = first + 0.5 * rng.standard_normal((4, 8))
    return [torch.as_tensor(v / np.linalg.norm(v, axis=1, keepdims=True)) for v in (first, second)]


@pytest.mark.parametrize(
    ("temperature", "cross", "expected"),
    [
        (1.0, False, 1.255524 + 1.235467),
        (1.0, True, 0.810084 + 0.808350),
        (0.1, False, 0.008989 + 0.004098),
        (0.1, True, 0.003416 + 0.003296),
    ],
)
def test_nt_xent_of_known_vectors(temperature, cross, expected):
    loss = losses.nt_xent(*pairs(), temperature, cross=cross)
    assert float(loss) == pytest.approx(expected, abs=2e-6)


def test_nt_xent_of_equal_vectors_is_chance():
    same = functional.normalize(torch.ones(20, 4), dim=1)
    assert float(losses.nt_xent(same, same, 0.01)) == pytest.approx(2 * np.log(39), rel=1e-5)


def test_nt_xent_ignores_autocast():
    first, second = (vectors.float() for vectors in pairs())
    expected = losses.nt_xent(first, second, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(losses.nt_xent(first, second, 0.01), expected)


def make_objective(**options):
    torch.manual_seed(0)
    return Contrastive(zoo.build_student("short-chunk:width=2", 3), "single", **options)


def batch(count):
    targets = torch.arange(count) % 3
    return Batch(torch.randn(count, 8000), torch.arange(count), targets)


def test_terms_of_a_step():
    objective = make_objective()
    terms = objective({LABELED: batch(4), UNLABELED: batch(8)})
    assert list(terms) == ["loss", "contrastive"]
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    for module in (objective.projection, objective.student.network.blocks):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_warm_up_reads_labeled_clips_alone():
    objective, labeled = make_objective(), batch(4)
    objective.eval()
    terms = objective({LABELED: labeled})
    expected = functional.cross_entropy(objective.predict(labeled), labeled.targets)
    assert list(terms) == ["loss"]
    assert float(terms["loss"]) == pytest.approx(float(expected))


def test_separate_passes_have_their_own_statistics():
    """The task's loss does not depend on unlabeled clips, as it does in one pass."""
    labeled = batch(4)

    def loss(scale, separate):
        objective = make_objective(separate=separate)
        objective.student.network.decoder.dropout.p = 0.0
        unlabeled = batch(8)
        torch.manual_seed(1)
        return float(objective({LABELED: labeled, UNLABELED: Batch(scale * unlabeled.waves.sign(),
                     unlabeled.clips)})["loss"])  # fmt: skip

    assert loss(1.0, True) == loss(5.0, True)
    assert loss(1.0, False) != loss(5.0, False)


def test_too_few_clips_are_refused():
    with pytest.raises(DataError, match="at least 4 clips for two halves with negatives, got 3"):
        make_objective()({LABELED: batch(2), UNLABELED: batch(1)})
