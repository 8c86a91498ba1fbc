"""The linear probe against scikit-learn converged tightly, a closed form, and its edge cases."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import log_expit, logsumexp
from sklearn.linear_model import LogisticRegression

from probekit.errors import DataError
from probekit.parallel import resources
from probekit.probes import linear
from probekit.solvers import logistic, multi_fold
from probekit.solvers.scaler import fit_scaler

SOME = (1e-4, 1e-2, 1.0, 100.0, 1e4)
# probekit's solver stops at a certified relative gap g of 1e-6. The objective is strongly convex,
# so |w - w*|² <= 2 g · objective; on these data that is at most 0.4 % of |w*|
CLOSE = 4e-3


@pytest.fixture(autouse=True)
def one_thread():
    with resources.single_threaded():
        yield


def draw(clips=120, dim=8, classes=4, apart=0.5, seed=0):
    """Features with offsets and unlike scales, as embeddings have, and class numbers."""
    rng = np.random.default_rng(seed)
    targets = np.arange(clips) % classes
    features = rng.normal(size=(classes, dim))[targets] * apart + rng.normal(size=(clips, dim))
    return (3 + features * np.logspace(-2, 2, dim)).astype(np.float32), targets


def standardized(features):
    wide = features.astype(np.float64)
    return (wide - wide.mean(axis=0)) / wide.std(axis=0)


def reference(wide, targets, c):
    return LogisticRegression(C=c, tol=1e-10, max_iter=200_000).fit(wide, targets)


def softmax_objective(coef, intercept, wide, targets, c):
    scores = wide @ coef.T + intercept
    own = scores[np.arange(len(targets)), targets]
    return 0.5 * (coef**2).sum() + c * (logsumexp(scores, axis=1) - own).sum()


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def fit_path(features, targets, target, classes, grid, solver="probekit"):
    """Fit all rows."""
    rows = np.arange(len(features))
    return linear.fit_paths(features, targets, [rows], target, classes, grid, solver)[0]


# ---- one label a clip


@pytest.mark.parametrize("solver", linear.SOLVERS)
@pytest.mark.parametrize(
    ("clips", "dim", "classes", "apart"),
    [(120, 8, 4, 0.5), (50, 90, 3, 0.3), (90, 6, 3, 10.0)],
    ids=["overlapping", "more features than clips", "perfectly separable"],
)
def test_weights_are_those_of_scikit_learn(clips, dim, classes, apart, solver):
    features, targets = draw(clips, dim, classes, apart)
    # scikit-learn's own stop is looser where classes can be separated and C is large
    grid, close = (SOME, CLOSE) if solver == "probekit" else (SOME[:3], 1e-2)
    path = fit_path(features, targets, "single", classes, grid, solver)
    wide = standardized(features)
    for probe, c in zip(path, grid, strict=True):
        expected = reference(wide, targets, c)
        assert probe.c == c
        assert probe.converged
        assert distance(probe.coef, expected.coef_) < close
        assert (probe.scores(features).argmax(axis=1) == expected.predict(wide)).mean() > 0.99
        chance = np.exp(probe.scores(features))
        np.testing.assert_allclose(
            chance / chance.sum(axis=1, keepdims=True), expected.predict_proba(wide), atol=close
        )


@pytest.mark.parametrize("apart", [0.3, 10.0])
def test_certified_gap_bounds_the_true_one(apart):
    features, targets = draw(100, 20, 4, apart)
    wide = standardized(features)
    for probe in fit_path(features, targets, "single", 4, SOME):
        best = reference(wide, targets, probe.c)
        found, least = (
            softmax_objective(one[0], one[1], wide, targets, probe.c)
            for one in ((probe.coef, probe.intercept), (best.coef_, best.intercept_))
        )
        assert 0 <= probe.gap <= linear.CERTIFIED
        assert (found - least) / found <= probe.gap + 1e-9


def test_each_point_of_a_path_is_the_minimum_wherever_it_began():
    features, targets = draw()
    along = fit_path(features, targets, "single", 4, (1e-5, 1e-3, 1e-1, 10.0))[-1]
    (alone,) = fit_path(features, targets, "single", 4, (10.0,))
    assert distance(along.coef, alone.coef) < CLOSE


@pytest.mark.parametrize("solver", linear.SOLVERS)
@pytest.mark.parametrize("labels", [(0, 1), (2, 0)])
def test_two_classes_are_one_regression_of_the_second_against_the_first(labels, solver):
    features, targets = draw(80, 6, 2, 0.7)
    named = np.array(labels)[targets]
    first, second = sorted(labels)
    (probe,) = fit_path(features, named, "single", 3, (0.5,), solver)
    expected = reference(standardized(features), named, 0.5)
    assert distance(probe.coef[second] - probe.coef[first], expected.coef_[0]) < CLOSE
    np.testing.assert_array_equal(probe.coef[first], -probe.coef[second])
    margin = expected.decision_function(standardized(features))
    scores = probe.scores(features)
    np.testing.assert_allclose(scores[:, second] - scores[:, first], margin, atol=1e-2)


@pytest.mark.parametrize("solver", linear.SOLVERS)
@pytest.mark.parametrize("left", [2, 3])
def test_class_without_training_clips_never_wins(left, solver):
    features, targets = draw(120, 8, 5)
    keep = targets < left
    path = fit_path(features[keep], targets[keep], "single", 5, SOME, solver)
    for probe in path:
        assert probe.coef.shape == (5, 8)
        assert not probe.coef[left:].any()
        assert (probe.intercept[left:] == -np.inf).all()
        assert probe.scores(features).argmax(axis=1).max() < left
        assert np.isfinite(probe.scores(features)[:, :left]).all()


def test_all_clips_of_one_class_are_refused():
    features, _ = draw()
    with pytest.raises(DataError, match="all training clips have the same label"):
        fit_path(features, np.full(len(features), 2), "single", 4, SOME)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_nan_and_infinity_are_counted_and_refused(bad, kind):
    features, targets = draw()
    features[3, 1] = features[3, 2] = features[77, 0] = bad
    targets = {
        "single": targets,
        "multi": np.eye(4, dtype=np.int8)[targets],
        "regression": targets[:, None].astype(float),
    }[kind]
    with pytest.raises(DataError, match="2 of 120 embeddings hold NaN or infinite values"):
        fit_path(features, targets, kind, 4, SOME)


# ---- standardization


def test_standardization_is_by_the_clips_given_and_no_others():
    features, _ = draw()
    own = fit_scaler(features[:40])
    np.testing.assert_allclose(own(features[:40]), standardized(features[:40]), atol=1e-12)
    assert abs(own(features[40:]).mean()) > 1e-3


@pytest.mark.parametrize("value", [0.0, 0.1, -1e20, 1e-20])
@pytest.mark.parametrize("solver", linear.SOLVERS)
def test_feature_that_does_not_vary_has_no_say(value, solver):
    features, targets = draw()
    features[:, 3] = value
    assert fit_scaler(features).scale[3] == 1
    (probe,) = fit_path(features, targets, "single", 4, (1.0,), solver)
    assert np.abs(probe.coef[:, 3]).max() < 1e-9
    (without,) = fit_path(np.delete(features, 3, 1), targets, "single", 4, (1.0,), solver)
    assert distance(np.delete(probe.coef, 3, 1), without.coef) < CLOSE


@pytest.mark.parametrize("dim", [4, 90])  # fewer features than clips, and more
def test_all_features_constant_leave_the_shares_of_the_classes(dim):
    targets = np.array([0] * 30 + [1] * 20 + [2] * 10)
    (probe,) = fit_path(np.ones((60, dim), np.float32), targets, "single", 3, (1.0,))
    chance = np.exp(probe.scores(np.ones((1, dim)))[0])
    np.testing.assert_allclose(chance / chance.sum(), [1 / 2, 1 / 3, 1 / 6], atol=1e-3)


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_scale_of_an_embedding_does_not_matter(factor):
    features, targets = draw()
    (plain,) = fit_path(features, targets, "single", 4, (1.0,))
    scaled = (features.astype(np.float64) * factor).astype(np.float32)
    (probe,) = fit_path(scaled, targets, "single", 4, (1.0,))
    assert distance(probe.coef, plain.coef) < 1e-4  # float32 rounding of the features


# ---- several labels a clip


def draw_tags(clips=150, dim=10, tags=4, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(clips, dim)).astype(np.float32)
    chance = features @ rng.normal(size=(dim, tags)) + rng.normal(size=(clips, tags))
    return features, (chance > 0.5).astype(np.int8)


@pytest.mark.parametrize("solver", linear.SOLVERS)
def test_each_tag_is_a_regression_of_its_own(solver):
    features, targets = draw_tags()
    wide = standardized(features)
    for probe in fit_path(features, targets, "multi", 4, (1e-3, 1.0, 10.0), solver):
        for k in range(4):
            expected = reference(wide, targets[:, k], probe.c)
            assert distance(probe.coef[k], expected.coef_[0]) < 2e-2
            margin = np.where(targets[:, k] > 0, 1, -1)

            def objective(coef, intercept, margin=margin, c=probe.c):
                return (
                    0.5 * (coef**2).sum() - c * log_expit(margin * (wide @ coef + intercept)).sum()
                )

            least = objective(expected.coef_[0], expected.intercept_[0])
            assert objective(probe.coef[k], probe.intercept[k]) / least - 1 < 1e-5


@pytest.mark.parametrize("solver", linear.SOLVERS)
def test_tag_of_no_clip_and_tag_of_all_clips_are_constant(solver):
    features, targets = draw_tags()
    targets[:, 1], targets[:, 2] = 0, 1
    for probe in fit_path(features, targets, "multi", 4, SOME[:3], solver):
        scores = probe.scores(features)
        assert (scores[:, 1] == -np.inf).all()
        assert (scores[:, 2] == np.inf).all()
        assert np.isfinite(scores[:, [0, 3]]).all()
        assert scores[:, [0, 3]].std(axis=0).min() > 0


def test_tags_that_are_all_constant_can_still_be_fitted():
    features, targets = draw_tags()
    targets[:] = [0, 1, 0, 1]
    (probe,) = fit_path(features, targets, "multi", 4, (1.0,))
    np.testing.assert_array_equal(probe.scores(features)[0], [-np.inf, np.inf, -np.inf, np.inf])


# ---- numbers


@pytest.mark.parametrize("dim", [6, 90])
def test_numbers_are_fitted_by_the_closed_form(dim):
    features, _ = draw(60, dim)
    rng = np.random.default_rng(1)
    targets = np.column_stack([features[:, 0] + rng.normal(size=60), 50 + rng.normal(size=60)])
    wide = standardized(features)
    middle = targets.mean(axis=0)
    for probe in fit_path(features, targets, "regression", 2, SOME):
        # ½‖w‖² + C · ½ Σ error²: w = (XᵀX + I / C)⁻¹ Xᵀ (y - ȳ)
        normal = wide.T @ wide + np.eye(dim) / probe.c
        expected = np.linalg.solve(normal, wide.T @ (targets - middle)).T
        np.testing.assert_allclose(probe.coef, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(probe.intercept, middle, rtol=1e-9)
        np.testing.assert_allclose(
            probe.scores(features), wide @ expected.T + middle, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize(
    "curve, ends",
    [
        ([0.1, 0.2, 0.3, 0.9, 0.8, 0.7], False),  # C = 1
        ([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.6], True),  # C = 10: three decades after the best
        ([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.75], False),  # rising
        ([0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.75, 0.7], True),  # four decades
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.9], False),
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.9, 0.9, 0.9], True),  # of equal values the first is selected
        ([0.5] * 6 + [0.6] * 3, False),
        ([], False),
    ],
)
def test_a_path_ends_decades_after_the_best(curve, ends):
    assert linear.path_ends(curve_of(curve), linear.GRID) is ends
    assert linear.path_ends(curve_of([-v for v in curve], higher=False), linear.GRID) is ends


def curve_of(means, behind=False, clips=200, higher=True):
    """A curve of some means, with or without a last point behind the best beyond chance."""
    best = int(np.argmax(means if higher else np.negative(means))) if len(means) else 0
    metric = SimpleNamespace(higher_is_better=higher)
    return FakeCurve(list(means), best, clips, SimpleNamespace(metric=metric), behind)


@dataclass
class FakeCurve:
    means: list
    best: int
    clips: int
    context: SimpleNamespace
    behind: bool

    def __len__(self):
        return len(self.means)

    def is_behind(self):
        return self.behind


@pytest.mark.parametrize(
    "means, behind, clips, ends",
    [
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7], True, 200, True),  # C = 10: two decades
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7], False, 200, False),  # by chance
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7], True, 199, False),  # few clips
        ([0.1, 0.2, 0.3, 0.4, 0.9, 0.7, 0.8], True, 200, False),  # rising
        ([0.1, 0.2, 0.3, 0.4, 0.8, 0.9, 0.7], True, 200, False),  # one decade
        ([0.1, 0.9, 0.8, 0.7], True, 200, True),  # C = 0.01
        ([0.1, 0.9, 0.8, 0.8], True, 200, False),  # not falling any more
        ([0.9, 0.9, 0.9, 0.9, 0.9], True, 200, False),  # perhaps always the same class
    ],
)
def test_a_path_ends_where_the_score_is_behind_beyond_chance(means, behind, clips, ends):
    assert linear.path_ends(curve_of(means, behind, clips), linear.GRID) is ends


def test_a_path_that_ended_selects_the_c_of_the_whole_grid(make_job):
    job = make_job(clips=900, dim=20, noise=4.0)
    [ended] = linear.Linear().choose_all(job)
    [whole] = linear.Linear(full=True).choose_all(job)
    assert len(ended.curve) < len(whole.curve) == len(linear.GRID)
    assert ended.params == whole.params
    np.testing.assert_allclose(
        ended.curve, whole.curve[: len(ended.curve)], atol=0.005
    )  # a clip of 225
    np.testing.assert_allclose(ended.probe.coef, whole.probe.coef, rtol=1e-3, atol=1e-6)


def test_folds_beyond_memory_are_solved_once_and_to_their_ends(monkeypatch):
    features, targets = draw(clips=60, dim=90)  # fewer clips than features: no common basis
    row_sets, grid = [np.arange(60)[:40], np.arange(60)[20:]], (1e-2, 1.0, 100.0)
    expected = linear.fit_paths(features, targets, row_sets, "single", 4, grid)
    counts = []
    run = logistic._Path.run
    monkeypatch.setattr(logistic._Path, "run", lambda path, n: counts.append(n) or run(path, n))
    monkeypatch.setattr(multi_fold, "_MEMORY", 0)
    paths = linear.fit_paths(
        features, targets, row_sets, "single", 4, grid, go_on=lambda probes: False
    )
    assert counts == [3, 3]
    for path, others in zip(paths, expected, strict=True):
        assert [probe.c for probe in path] == list(grid)
        for probe, other in zip(path, others, strict=True):
            np.testing.assert_allclose(probe.coef, other.coef, rtol=1e-12)
