"""Alternating least squares against the formula, and what the gauge keeps."""

import sys

import numpy as np
import pytest
import scipy.sparse

from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.targets import als


def random_counts(users=30, items=20, density=0.3, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(3, (users, items)) * (rng.random((users, items)) < density)
    counts[0], counts[:, 3] = 0, 0  # a user and an item without counts
    return scipy.sparse.csr_matrix(counts)


def half_step(added, other, regularization):
    """Each row's system as the paper has it, one after the other."""
    dense = added.toarray()
    solved = np.zeros((len(dense), other.shape[1]))
    for row, extra in enumerate(dense):
        confidence = 1 + extra
        system = other.T @ (confidence[:, None] * other) + regularization * np.eye(other.shape[1])
        solved[row] = np.linalg.solve(system, other.T @ (confidence * (extra > 0)))
    return solved


def objective(added, users, items, regularization):
    dense = added.toarray()
    errors = (dense > 0) - users @ items.T
    size = (users**2).sum() + (items**2).sum()
    return ((1 + dense) * errors**2).sum() + regularization * size


@pytest.mark.parametrize("form", ["log", "linear"])
def test_sweeps_are_the_formula(form):
    added = als.confidence(random_counts(), form, alpha=2.0)
    start = 0.01 * np.random.default_rng(1).standard_normal((20, 5))
    found = als.factorize(added, 5, 0.7, sweeps=3, initial_items=start)
    items = start
    for _ in range(3):
        users = half_step(added, items, 0.7)
        items = half_step(added.T, users, 0.7)
    assert np.abs(found.users - users).max() < 1e-9
    assert np.abs(found.items - items).max() < 1e-9
    zero = objective(added, 0 * users, 0 * items, 0.7)
    assert found.losses[-1] == pytest.approx(objective(added, users, items, 0.7) / zero)


def test_against_implicit():
    implicit = pytest.importorskip("implicit.cpu.als")
    added = als.confidence(random_counts(60, 40), "linear", alpha=4.0)
    model = implicit.AlternatingLeastSquares(
        factors=6, regularization=0.5, alpha=1.0, dtype=np.float64, use_cg=False, iterations=4,
        num_threads=1, random_state=0,
    )  # fmt: skip
    start = 0.01 * np.random.default_rng(1).standard_normal((40, 6))
    model.item_factors, model.user_factors = start.copy(), np.zeros((60, 6))
    hu = added.copy()
    hu.data = hu.data + 1  # its confidence of a cell is what it is given
    model.fit(hu, show_progress=False)
    found = als.factorize(added, 6, 0.5, sweeps=4, initial_items=start)
    assert (
        np.abs(found.users @ found.items.T - model.user_factors @ model.item_factors.T).max() < 1e-9
    )


def test_sweeps_of_implicit_end_with_exact_ones():
    """Its items are the exact half step for its users; the objective is as low."""
    pytest.importorskip("implicit.cpu.als")
    added = als.confidence(random_counts(60, 40))
    steps = []
    found = als.factorize(
        added, 6, 5.0, sweeps=20, solver="implicit", progress=lambda *step: steps.append(step)
    )
    assert np.abs(found.items - half_step(added.T, found.users, 5.0)).max() < 1e-9
    exact = als.factorize(added, 6, 5.0, sweeps=20)
    assert found.losses[-1] < 1.01 * exact.losses[-1]  # which may end before 20
    assert steps == [(18, 20), (19, 20), (20, 20)][: len(steps)] and len(found.losses) in (1, 2)


def test_implicit_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    added = als.confidence(random_counts())
    with pytest.raises(ProbekitError, match=r"pip install 'probekit\[cf\]'"):
        als.factorize(added, 4, solver="implicit")
    with pytest.raises(UnknownNameError, match="solver"):
        als.factorize(added, 4, solver="cg")


def test_the_objective_falls_until_it_hardly_does():
    added = als.confidence(random_counts(200, 100))
    found = als.factorize(added, 8, 100.0, sweeps=40)
    assert all(np.diff(found.losses) <= 1e-12) and len(found.losses) < 40
    assert found.losses[-1] < found.losses[0] < 1


def test_rows_without_counts_are_zero_and_blocks_do_not_matter(monkeypatch):
    added = als.confidence(random_counts(50, 30, 0.4))
    whole = als.factorize(added, 4, sweeps=2)
    monkeypatch.setitem(als._BLOCK_VALUES, "cpu", 64)
    blocks = als.factorize(added, 4, sweeps=2)
    assert np.allclose(whole.users, blocks.users, atol=1e-12)
    assert not whole.users[0].any() and not whole.items[3].any()


def test_balanced_factors_predict_the_same():
    added = als.confidence(random_counts(80, 50))
    found = als.factorize(added, 6, 0.1, sweeps=4)
    balanced = als.balance(found)
    expected = found.users @ found.items.T
    assert (
        np.abs(balanced.users @ balanced.items.T - expected).max()
        < 1e-12 * np.abs(expected).max() + 1e-12
    )
    grams = [f.T @ f for f in (balanced.users, balanced.items)]
    assert np.allclose(grams[0], grams[1], atol=1e-10)
    assert np.allclose(grams[0], np.diag(np.diag(grams[0])), atol=1e-10)
    assert (np.diff(np.diag(grams[0])) <= 1e-12).all()
    largest = np.abs(balanced.items).argmax(axis=0)
    assert (balanced.items[largest, np.arange(6)] > 0).all()
    # a mixed gauge comes back to the same factors
    mix = np.random.default_rng(0).normal(size=(6, 6))
    other = als.balance(als.Factors(found.users @ np.linalg.inv(mix).T, found.items @ mix))
    assert np.allclose(other.items, balanced.items, atol=1e-8)


def test_folding_in_is_the_half_step_of_items():
    added = als.confidence(random_counts(40, 25))
    users = np.random.default_rng(2).normal(size=(40, 3))
    assert np.allclose(als.fold_in(added, users, 2.0), half_step(added.T, users, 2.0), atol=1e-10)


def test_planted_taste_is_recovered():
    """Two groups of listeners: an item of one's own group scores above the other's."""
    rng = np.random.default_rng(0)
    group = np.arange(120) % 2
    likes = np.where(group[:, None] == np.arange(60) % 2, 0.4, 0.05)
    counts = scipy.sparse.csr_matrix((rng.random((120, 60)) < likes) * rng.poisson(5, (120, 60)))
    found = als.factorize(als.confidence(counts), 2, 1.0)
    scores = found.users @ found.items.T
    own = group[:, None] == np.arange(60) % 2
    assert scores[own].mean() > scores[~own].mean() + 0.2


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"factors": 21}, DataError, r"number of users \(30\) and of items \(20\), got 21"),
        ({"factors": 0}, DataError, "must be at least 1"),
        ({"regularization": 0.0}, ProbekitError, "--regularization must be > 0, got 0"),
    ],
)
def test_impossible_numbers_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        als.factorize(als.confidence(random_counts()), **{"factors": 4, **options})


def test_unknown_confidence():
    with pytest.raises(UnknownNameError, match="unknown confidence 'logs'"):
        als.confidence(random_counts(), "logs")
    with pytest.raises(ProbekitError, match="--alpha must be > 0, got 0"):
        als.confidence(random_counts(), "linear", alpha=0.0)
