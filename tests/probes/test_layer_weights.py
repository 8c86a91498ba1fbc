"""Weights of layers that are learned with a linear model."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad

from probekit.probes import layer_weights, linear
from probekit.probes.layer_weights import LayerWeights, Objective
from probekit.solvers.problem import make_problem
from probekit.solvers.scaler import fit_scaler


def blocks_of(job, good, layers=4, seed=1):
    """The job's features as one of several layers; the others are noise."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=job.features.shape) for _ in range(layers)]
    blocks[good] = job.features
    return replace(job, features=np.concatenate(blocks, axis=1).astype(np.float32))


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
@pytest.mark.parametrize("classes", [2, 3])
def test_one_layer_is_the_linear_probe(make_job, target, classes):
    # certified gaps of 1e-5 of the objective leave logits this close
    job = make_job(target, protocol="folds", classes=classes)
    grid = (0.01, 1.0)
    ours = LayerWeights((7,), 4, grid).choose_all(job)
    theirs = linear.Linear(grid=grid).choose_all(job)
    for split, a, b in zip(job.splits, ours, theirs, strict=True):
        assert a.params == b.params and a.converged
        assert np.allclose(a.curve, b.curve, atol=1e-3)
        rows = job.features[split.test]
        assert np.allclose(a.probe.scores(rows), b.probe.scores(rows), rtol=0, atol=5e-3)
        assert a.probe.arrays()["layer_weights"] == [1.0]


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
def test_the_informative_layer_has_the_weight(make_job, target):
    job = blocks_of(make_job(target, clips=240, noise=0.3, protocol="split"), good=2)
    [model] = LayerWeights((0, 1, 2, 3), 4, (1.0,)).choose_all(job)
    weights = model.probe.arrays()["layer_weights"]
    assert weights.argmax() == 2 and weights[2] > 0.8
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_by_finite_differences(make_job, target, classes):
    job = blocks_of(make_job(target, clips=30, classes=classes), good=0, layers=3)
    scaled = fit_scaler(job.features)(job.features)
    problem = make_problem(job.targets, target, classes)
    objective = Objective(scaled, 3, job.targets, problem, 0.7)
    rng = np.random.default_rng(0)
    point = objective.start + 0.3 * rng.random(len(objective.start))
    error = check_grad(lambda v: objective(v)[0], lambda v: objective(v)[1], point)
    assert error < 1e-6 * np.linalg.norm(objective(point)[1]) + 1e-7


def test_the_sum_has_variance_1_and_equal_layers_change_nothing(make_job):
    """Three copies of a layer are that layer, whatever their weights."""
    job = make_job(protocol="split")
    copies = replace(job, features=np.concatenate([job.features] * 3, axis=1))
    [three] = LayerWeights((1, 2, 3), 4, (0.1,)).choose_all(copies)
    [one] = LayerWeights((1,), 4, (0.1,)).choose_all(job)
    assert three.probe.spread == pytest.approx(1)
    assert np.allclose(three.probe.scores(copies.features), one.probe.scores(job.features),
                       atol=5e-3)  # fmt: skip


def test_the_fit_is_a_minimum_over_the_weights(make_job):
    """No other weights have a smaller objective, with the linear model solved exactly for each."""
    job = make_job(clips=120)
    rng = np.random.default_rng(2)
    noisy = [job.features + s * rng.normal(size=job.features.shape) for s in (1.0, 1.5)]
    job = replace(job, features=np.concatenate(noisy, axis=1).astype(np.float32))
    rows = np.arange(len(job.features))
    path = layer_weights._Path(job, rows, (1, 2))
    fit = path.certify(path.fit(0.5), 0.5)
    scaled = path.scaler(job.features)
    objective = Objective(scaled, 2, job.targets, path.problem, 0.5)

    def value(first):
        weights = np.array([first, 1 - first])
        total = layer_weights.mix_layers(scaled, weights / objective.spread(weights))
        [[model]] = linear.fit_paths(total, job.targets, [rows], "single", 3, [0.5],
                                     standardize=False)  # fmt: skip
        point = np.concatenate([weights, model.coef.ravel(), model.intercept])
        return objective(point)[0]

    found = value(fit.probe.weights[0])
    assert 0.05 < fit.probe.weights[0] < 0.95
    assert all(found <= value(first) + 1e-5 for first in np.linspace(0, 1, 21))


def test_two_fits_are_equal(make_job):
    job = blocks_of(make_job(protocol="split"), good=1)
    first, second = (LayerWeights((0, 1, 2, 3), 4, (0.1, 1.0)).choose_all(job) for _ in range(2))
    assert np.array_equal(first[0].probe.weights, second[0].probe.weights)
