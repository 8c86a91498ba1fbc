"""The batched solver against scikit-learn, and its bound against the true distance."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp
from sklearn.linear_model import LogisticRegression

from probekit.probes import linear
from probekit.solvers import logistic
from probekit.solvers import newton as newton_module
from probekit.solvers.objective import Objective
from probekit.solvers.row_blocks import StandardizedRows

GRID = (1e-5, 1e-2, 1.0, 100.0, 1e4)


def draw(clips=200, dim=12, classes=4, apart=0.6, seed=0, decay=2.0):
    """Ill-conditioned features with offsets, and class numbers."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    wide = rng.normal(size=(classes, dim))[labels] * apart + rng.normal(size=(clips, dim))
    mixing = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.logspace(0, -decay, dim)[:, None]
    return (2 + wide @ mixing).astype(np.float32), labels


def masks_of(clips, folds):
    return np.stack([np.arange(clips) // 4 % folds != k for k in range(folds)])


def standardized(x):
    wide = x.astype(np.float64)
    return (wide - wide.mean(axis=0)) / wide.std(axis=0)


def softmax_value(coef, intercept, wide, labels, c):
    scores = wide @ coef.T + intercept
    own = scores[np.arange(len(labels)), labels]
    return 0.5 * (coef**2).sum() + c * (logsumexp(scores, axis=1) - own).sum()


def tag_value(coef, intercept, wide, hot, c):
    toward = np.where(hot, 1, -1) * (wide @ coef + intercept)
    return 0.5 * (coef**2).sum() + c * np.logaddexp(0, -toward).sum()


def reference(wide, labels, c):
    return LogisticRegression(C=c, tol=1e-11, max_iter=200_000).fit(wide, labels)


def cosine(one, other):
    return (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)


def test_folds_of_one_matrix_are_each_fitted_on_their_own_rows():
    x, y = draw()
    masks = masks_of(len(x), 3)
    rows = StandardizedRows(x, masks)
    found = logistic.solve_logistic(rows, y, GRID, range(3), classes=4)
    for fold, mask in enumerate(masks):
        wide = standardized(x[mask])
        np.testing.assert_allclose(rows.mean[fold], x[mask].astype(float).mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(rows.scale[fold], x[mask].astype(float).std(axis=0), rtol=1e-9)
        for one, c in zip(found[fold], GRID, strict=True):
            model = reference(wide, y[mask], c)
            assert one.gap <= logistic.TOLERANCE
            # scikit-learn's own distance from the minimum is in this, too
            assert cosine(one.coef, model.coef_) > 1 - 1e-6
            mine = softmax_value(one.coef, one.intercept, wide, y[mask], c)
            least = softmax_value(model.coef_, model.intercept_, wide, y[mask], c)
            assert (mine - least) / mine <= one.gap + 1e-12


def test_tags_of_all_folds_go_together():
    x, _ = draw(240, 10)
    rng = np.random.default_rng(1)
    hot = standardized(x) @ rng.normal(size=(10, 5)) + rng.normal(size=(240, 5)) > 1
    masks = masks_of(240, 2)
    owners, tags = [0] * 5 + [1] * 5, list(range(5)) * 2
    found = logistic.solve_logistic(StandardizedRows(x, masks), hot, GRID, owners, tags=tags)
    for owner, tag, path in zip(owners, tags, found, strict=True):
        wide = standardized(x[masks[owner]])
        own = hot[masks[owner], tag]
        for one, c in zip(path, GRID, strict=True):
            model = reference(wide, own, c)
            assert one.gap <= logistic.TOLERANCE
            assert cosine(one.coef, model.coef_) > 1 - 1e-6
            mine = tag_value(one.coef[0], one.intercept[0], wide, own, c)
            least = tag_value(model.coef_[0], model.intercept_[0], wide, own, c)
            assert (mine - least) / mine <= one.gap + 1e-12


@pytest.mark.parametrize("softmax", [True, False])
def test_bound_holds_anywhere_also_where_intercepts_are_off(softmax):
    """The bound is proven for any weights: here for random ones, near the minimum and far."""
    x, y = draw(150, 8, 3)
    rng = np.random.default_rng(2)
    wide = standardized(x)
    rows = StandardizedRows(x, np.ones((1, len(x)), bool))
    target, tags = (y, None) if softmax else ((y == 1)[:, None], [0])
    objective = Objective(rows, target, [0], tags, 3)
    value = softmax_value if softmax else tag_value
    for c in GRID:
        model = reference(wide, y if softmax else y == 1, c)
        coef, intercept = model.coef_, model.intercept_
        at = (coef, intercept) if softmax else (coef[0], intercept[0])
        least = value(*at, wide, y if softmax else y == 1, c)
        tight = []
        for away in (0.0, 1e-6, 1e-3, 0.1, 3.0):
            moved = coef + away * rng.normal(size=coef.shape)
            leant = intercept + away * rng.normal(size=intercept.shape)
            some = torch.zeros(1, dtype=torch.int64)
            w, b = torch.as_tensor(moved)[None], torch.as_tensor(leant)[None]
            sums = objective.sums(some, w, b, torch.float64)
            here, bound = objective.duality_gap(
                some, w, b, sums, torch.tensor([c], dtype=torch.float64)
            )
            at = (moved, leant) if softmax else (moved[0], leant[0])
            mine = value(*at, wide, y if softmax else y == 1, c)
            np.testing.assert_allclose(float(here), mine, rtol=1e-10)  # sums in another order
            assert float(bound) >= mine - least - 1e-9 * mine
            tight.append(float(bound) / mine)
        assert tight[0] < 1e-4  # and it is of use: small at the minimum, large away from it
        assert tight[-1] > 100 * tight[0]


def test_class_that_a_fold_lacks_is_left_out_of_it():
    x, y = draw(160, 6, 4)
    masks = np.stack([np.ones(160, bool), y != 2])
    full, lacking = logistic.solve_logistic(StandardizedRows(x, masks), y, GRID, [0, 1], classes=4)
    model = reference(standardized(x[y != 2]), y[y != 2], 1.0)
    one = lacking[2]
    assert not one.coef[2].any()
    assert cosine(one.coef[[0, 1, 3]], model.coef_) > 1 - 1e-6
    assert np.abs(full[2].coef[2]).max() > 0.01


@pytest.mark.parametrize("c", [1e4, 1e6])
def test_separable_classes_at_large_c(c):
    x, y = draw(150, 10, 3, apart=6.0, decay=3.0)
    grid = [v for v in linear.GRID if v <= c]
    one = logistic.solve_logistic(
        StandardizedRows(x, np.ones((1, 150), bool)), y, grid, [0], classes=3
    )[0][-1]
    assert one.gap <= logistic.TOLERANCE
    wide = standardized(x)
    assert ((wide @ one.coef.T + one.intercept).argmax(axis=1) == y).all()


def test_class_of_one_clip():
    x, y = draw(90, 6, 3)
    y[:] = np.arange(90) % 2
    y[17] = 2
    (path,) = logistic.solve_logistic(
        StandardizedRows(x, np.ones((1, 90), bool)), y, GRID, [0], classes=3
    )
    for one, c in zip(path, GRID, strict=True):
        assert one.gap <= logistic.TOLERANCE
        assert cosine(one.coef, reference(standardized(x), y, c).coef_) > 1 - 1e-5


def test_sample_of_rows_for_the_hessian_changes_the_way_not_the_end(monkeypatch):
    """What does not fit in memory is sampled, more of it where classes are rare."""
    rng = np.random.default_rng(3)
    x, _ = draw(6000, 16)
    chance = expit(standardized(x) @ rng.normal(size=(16, 3)) - np.array([0, 3, 6]))
    hot = rng.random(chance.shape) < chance
    rows = StandardizedRows(x, np.ones((1, 6000), bool))
    grid = (1e-3, 0.1, 10.0)
    whole = logistic.solve_logistic(rows, hot, grid, [0] * 3, tags=range(3))
    monkeypatch.setattr(logistic, "_MEMORY", 4.0 * 1500 * (16 + 18))
    kept = []
    newton = newton_module.Newton

    def spy(*given):
        made = newton(*given)
        kept.append((len(made.basis.rows), made.basis.sample_weight))
        return made

    monkeypatch.setattr(logistic, "Newton", spy)
    sampled = logistic.solve_logistic(rows, hot, grid, [0] * 3, tags=range(3))
    ((count, share),) = kept
    assert 1000 < count < 2000
    assert float(share.sum()) == pytest.approx(6000, rel=0.1)
    for one, other in zip(whole, sampled, strict=True):
        for a, b in zip(one, other, strict=True):
            assert b.gap <= logistic.TOLERANCE
            assert cosine(a.coef, b.coef) > 1 - 1e-5


def test_float32_leads_float64_ends(monkeypatch):
    monkeypatch.setattr(logistic, "_FLOAT32_FLOPS", 0.0)
    x, y = draw(400, 20, 5)
    seen = []
    sums = Objective.sums

    def spy(self, groups, weights, intercepts, dtype):
        seen.append(dtype)
        return sums(self, groups, weights, intercepts, dtype)

    monkeypatch.setattr(Objective, "sums", spy)
    (path,) = logistic.solve_logistic(
        StandardizedRows(x, np.ones((1, 400), bool)), y, GRID, [0], classes=5
    )
    assert torch.float32 in seen and seen[-1] == torch.float64
    for one, c in zip(path, GRID, strict=True):
        assert one.gap <= logistic.TOLERANCE
        assert cosine(one.coef, reference(standardized(x), y, c).coef_) > 1 - 1e-6


def test_batches_of_groups_are_as_all_at_once(monkeypatch):
    x, _ = draw(300, 8)
    hot = np.random.default_rng(4).random((300, 6)) < 0.3
    rows = StandardizedRows(x, np.ones((1, 300), bool))
    seen = []
    at_once = logistic.solve_logistic(
        rows, hot, GRID, [0] * 6, tags=range(6), progress=lambda *at: seen.append(at)
    )
    assert seen[-1] == (30, 30)
    for together, chunk in ((2, 2), (6, 4)):
        monkeypatch.setattr(logistic, "_sizes", lambda *_: (together, chunk, 300))  # noqa: B023
        parts = logistic.solve_logistic(rows, hot, GRID, [0] * 6, tags=range(6))
        for path, others in zip(at_once, parts, strict=True):
            for a, b in zip(path, others, strict=True):
                assert cosine(a.coef, b.coef) > 1 - 1e-6


def test_float32_sums_are_not_compared_with_those_in_float64(monkeypatch):
    """Where the float64 sum was the larger, the step was halved thirty times in vain."""
    monkeypatch.setattr(logistic, "_FLOAT32_FLOPS", 0.0)
    x, _ = draw(2000, 8)
    hot = np.random.default_rng(4).random((2000, 12)) < 0.3
    rows = StandardizedRows(x, np.ones((1, 2000), bool))
    evaluations = []
    real = Objective.sums
    monkeypatch.setattr(Objective, "sums", lambda *a: evaluations.append(1) or real(*a))
    solved = logistic.solve_logistic(rows, hot, [1e-3], [0] * 12, tags=range(12))
    assert all(path[0].gap <= logistic.TOLERANCE for path in solved)
    assert len(evaluations) < 12


def test_more_features_than_clips_in_several_folds():
    x, y = draw(60, 90, 3)
    divisions = [np.flatnonzero(mask) for mask in masks_of(60, 2)]
    found = linear.fit_paths(x, y, divisions, "single", 3, GRID)
    for rows, path in zip(divisions, found, strict=True):
        for probe, c in zip(path, GRID, strict=True):
            assert probe.gap <= logistic.TOLERANCE
            assert cosine(probe.coef, reference(standardized(x[rows]), y[rows], c).coef_) > 0.99999


def test_folds_of_unlike_scales_are_fitted_apart():
    """An outlier outside a fold does not spoil what the fold shares with others."""
    x, y = draw(120, 6, 3)
    x[5, 2] = 1e8
    divisions = [np.arange(120), np.delete(np.arange(120), 5)]
    found = linear.fit_paths(x, y, divisions, "single", 3, GRID)[1]
    own = x[divisions[1]]
    for probe, c in zip(found, GRID, strict=True):
        expected = reference(standardized(own), y[divisions[1]], c)
        assert cosine(probe.coef, expected.coef_) > 1 - 1e-5


def test_feature_that_is_constant_in_one_fold_only():
    x, y = draw(120, 6, 3)
    first = np.arange(120) < 60
    x[first, 4] = 7.0
    divisions = [np.flatnonzero(first), np.arange(120)]
    one, other = linear.fit_paths(x, y, divisions, "single", 3, GRID)
    assert all(not probe.coef[:, 4].any() and probe.scaler.scale[4] == 1 for probe in one)
    assert np.abs(other[2].coef[:, 4]).max() > 1e-3
    expected = reference(standardized(np.delete(x[first], 4, 1)), y[first], 1.0)
    assert cosine(np.delete(one[2].coef, 4, 1), expected.coef_) > 1 - 1e-6


@pytest.mark.parametrize("form", ["softmax", "tags", "more features than rows", "sample of rows"])
def test_every_tensor_is_made_on_the_device_of_the_rows(form, monkeypatch):
    """As on CUDA: what is made without a device lands elsewhere, and cannot be used with the rows.

    torch's device ``meta`` is the default here; tensors on it have no numbers.
    """
    clips, dim = (60, 90) if form == "more features than rows" else (240, 12)
    x, y = draw(clips, dim)
    masks = masks_of(clips, 2 if form == "softmax" else 1) | (form != "softmax")
    if form == "sample of rows":
        monkeypatch.setattr(logistic, "_sizes", lambda rows, *_: (64, 64, 120))
    tags = {"tags": range(4)} if form == "tags" else {}
    targets = np.eye(4, dtype=bool)[y] if form == "tags" else y
    folds = [0] * 4 if form == "tags" else range(len(masks))

    def solve():
        rows = StandardizedRows(x, masks, device="cpu")
        return logistic.solve_logistic(rows, targets, GRID[:3], folds, classes=4, **tags)

    expected = solve()
    with torch.device("meta"):
        solved = solve()
    for path, others in zip(solved, expected, strict=True):
        for solution, other in zip(path, others, strict=True):
            np.testing.assert_array_equal(solution.coef, other.coef)
