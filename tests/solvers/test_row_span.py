import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probekit.solvers import multi_fold
from probekit.solvers.problem import make_problem
from probekit.solvers.row_blocks import StandardizedRows
from probekit.solvers.row_span import RowSpan

GRID = (1e-4, 1e-2, 1.0, 1e2, 1e4)
RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((40, 120))
ROWS = {
    "of full rank": NORMAL,
    "copies of features": np.repeat(NORMAL[:, :30], 4, axis=1),
    "copies of rows": np.repeat(NORMAL[:20], 2, axis=0),
    "variances of 16 decades": NORMAL * np.logspace(0, -8, 120),
    "constant features": np.concatenate([NORMAL[:, :60], np.full((40, 60), 3.3)], axis=1),
    "a mean far from zero": 1e4 + NORMAL,
    "three directions": NORMAL[:, :3] @ NORMAL[:3],
}
LABELS = RNG.integers(0, 3, 40)


def solve(x, y, target="single", classes=3, standardize=True, start=None):
    return multi_fold.solve_folds(
        x,
        y,
        np.ones((1, len(x)), bool),
        [make_problem(y, target, classes)],
        GRID,
        standardize=standardize,
        device="cpu",
        start=start,
    )[0]


@pytest.mark.parametrize("name", ROWS)
def test_weights_are_certified_on_the_features_themselves(name):
    # computed here once more in float64: the gradient at the minimum is w = -C Xᵀ (p - y)
    mean, scale, path = solve(ROWS[name], LABELS)
    x = (ROWS[name] - mean) / scale
    for c, [solution] in zip(GRID, path, strict=True):
        assert solution.gap <= 1e-6
        scores = x @ solution.coef.T + solution.intercept
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        residual = p - np.eye(3)[LABELS]
        loss = -np.log(p[np.arange(40), LABELS]).sum()
        value = 0.5 * (solution.coef**2).sum() + c * loss
        distance = 0.5 * ((solution.coef + c * residual.T @ x) ** 2).sum()
        assert distance <= 1.2e-6 * value  # ½‖gradient‖² bounds the distance from the minimum


@pytest.mark.parametrize("standardize", [True, False])
def test_same_as_scikit_learn(standardize):
    mean, scale, path = solve(NORMAL, LABELS, standardize=standardize)
    x = (NORMAL - mean) / scale
    for c, [solution] in zip(GRID[:3], path, strict=False):
        reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, LABELS)
        # a gap of 1e-6 allows 1e-3 of the weights' length
        np.testing.assert_allclose(solution.coef, reference.coef_, atol=2e-3)


def test_start_is_projected_onto_the_span():
    _, _, path = solve(NORMAL, LABELS)
    [solution] = path[3]
    weights = solution.coef + 0.1  # partly outside of the span, where no step would lead back
    *_, again = solve(NORMAL, LABELS, start=(weights, solution.intercept))
    for [first], [second] in zip(path, again, strict=True):
        np.testing.assert_allclose(first.coef, second.coef, atol=2e-3 * np.abs(first.coef).max())


def test_tags_of_a_span():
    y = np.stack([LABELS == 0, LABELS != 1], axis=1).astype(np.int8)
    mean, scale, path = solve(NORMAL, y, "multi", 2)
    for tag in range(2):
        reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
        reference.fit((NORMAL - mean) / scale, y[:, tag])
        np.testing.assert_allclose(path[2][tag].coef, reference.coef_, atol=2e-3)


def test_coordinates_keep_lengths():
    rows = StandardizedRows(NORMAL, np.ones((1, 40), bool))
    span = RowSpan(rows)
    assert span.coordinates.dim <= 39
    coef = torch.as_tensor(RNG.standard_normal((2, span.coordinates.dim)))
    weights = span.to_weights(coef)
    torch.testing.assert_close(weights.norm(dim=1), coef.norm(dim=1))
    torch.testing.assert_close(span.to_coordinates(weights), coef)
