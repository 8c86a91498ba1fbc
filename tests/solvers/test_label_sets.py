"""Fits to many sets of labels: as exact as promised, whatever the labels."""

import numpy as np
import pytest
import torch

from probekit.analysis.correlation import REFIT_ERROR
from probekit.probes.linear import fit_paths
from probekit.solvers.label_sets import LabelSetSolver


@pytest.fixture(autouse=True)
def _single_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def features(clips, dim, seed=0):
    """Correlated features, as embeddings have: standardized, variances from 1 to 1e-4."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    x = rng.normal(size=(clips, dim)) * np.logspace(0, -2, dim) @ rotation
    return (x - x.mean(axis=0)) / x.std(axis=0)


def labels(clips, classes, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "balanced":
        return rng.permutation(np.arange(clips) % classes)
    y = np.minimum(rng.geometric(0.5, clips) - 1, classes - 1)
    y[:classes] = np.arange(classes)  # the rarest have a clip or two
    return rng.permutation(y)


def exact(x, targets, classes, c):
    kind = "multi" if targets.ndim == 2 else "single"
    rows = np.arange(len(x))
    [[probe]] = fit_paths(x, targets, [rows], kind, classes, [c], standardize=False)
    assert probe.converged
    return probe.coef


def cosines(rows, columns):
    rows = rows - rows.mean(axis=0)
    rows = rows / rows.std(axis=0)
    return columns @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T


@pytest.mark.parametrize(("clips", "dim"), [(400, 30), (90, 120)])
@pytest.mark.parametrize("kind", ["balanced", "unbalanced"])
@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 30.0])
def test_cosines_are_those_of_the_certified_solver(clips, dim, kind, c):
    """Within the error that the test of correlations allows for.

    Both columns and rows are normalized as there, so that weak dimensions count as strong ones.
    """
    x = features(clips, dim)
    sets = np.stack([labels(clips, 6, kind, seed) for seed in range(3)])
    coef, converged = LabelSetSolver(x, c).softmax(sets, 6)
    assert converged.all()
    sources = np.random.default_rng(1).normal(size=(20, dim))
    sources /= np.linalg.norm(sources, axis=1, keepdims=True)
    for rows, y in zip(coef, sets, strict=True):
        expected = cosines(exact(x, y, 6, c), sources)
        np.testing.assert_allclose(cosines(rows, sources), expected, atol=REFIT_ERROR)


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 30.0])
def test_tags(c):
    x = features(300, 20)
    shares = np.array([0.5, 0.2, 0.05, 0.01, 0.98])
    tags = (np.random.default_rng(2).random((5, 300)) < shares[:, None]).astype(np.int8)
    coef, converged = LabelSetSolver(x, c).tags(tags)
    assert converged.all()
    expected = exact(x, tags.T, 5, c)
    error = np.linalg.norm(coef - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert error.max() < 0.01  # three times the tolerance: that is of an estimate


def test_class_that_a_set_lacks_is_left_out_of_it():
    x = features(200, 10)
    some = labels(200, 4, "balanced")
    sets = np.stack([some, np.where(some == 1, 2, some), np.full(200, 2)])
    coef, converged = LabelSetSolver(x, 0.1).softmax(sets, 5)
    assert converged.all()
    assert (coef[0, 4] == 0).all() and (coef[1, [1, 4]] == 0).all() and (coef[2] == 0).all()
    for rows, y in zip(coef[:2], sets[:2], strict=True):
        expected = exact(x, y, 5, 0.1)
        assert np.linalg.norm(rows - expected) < 0.01 * np.linalg.norm(expected)


def test_tag_of_no_row_or_all_has_no_weights():
    x = features(50, 5)
    tags = np.zeros((3, 50), np.int8)
    tags[1], tags[2, :20] = 1, 1
    coef, converged = LabelSetSolver(x, 0.1).tags(tags)
    assert converged.all()
    assert (coef[:2] == 0).all() and (coef[2] != 0).all()


def test_constant_feature_has_no_weight():
    x = features(100, 6)
    x[:, 2] = 0
    coef, _ = LabelSetSolver(x, 1.0).softmax(labels(100, 3, "balanced")[None], 3)
    assert np.abs(coef[0, :, 2]).max() == 0 and (coef[0, :, [0, 1, 3, 4, 5]] != 0).all()


def test_a_fit_that_has_no_time_says_so():
    x = features(100, 20)
    sets = np.stack([labels(100, 5, "unbalanced", seed) for seed in range(2)])
    _, converged = LabelSetSolver(x, 100.0).softmax(sets, 5, max_iter=3)
    assert not converged.any()


def test_sets_do_not_depend_on_their_company():
    x = features(150, 12)
    sets = np.stack([labels(150, 4, "balanced", seed) for seed in range(4)])
    solver = LabelSetSolver(x, 0.3)
    together, _ = solver.softmax(sets, 4)
    for rows, y in zip(together, sets, strict=True):
        alone, _ = solver.softmax(y[None], 4)
        np.testing.assert_allclose(rows, alone[0], atol=1e-5)  # rounding of float32
