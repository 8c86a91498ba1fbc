"""Resamples are scored as if their clips had been repeated, for every metric there is."""

import numpy as np
import pytest

from probekit.metrics import bootstrap, metrics

NAMES = [*metrics.METRICS, "top-2", "f1-samples@0.1", "f1-macro@0.3"]
CASES = [(name, target) for name in NAMES for target in metrics.get_metric(name).targets]


def draw(target, clips=40, classes=4, seed=0):
    """Targets and scores with many ties; the last class is rare."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (clips, classes)) / 4
    if target == "single":
        targets = rng.choice(classes, clips, p=[0.5, 0.3, 0.15, 0.05])
        return targets, scores / np.maximum(scores.sum(axis=1, keepdims=True), 1)
    if target == "multi":
        targets = (rng.random((clips, classes)) < [0.6, 0.4, 0.2, 0.05]).astype(np.int8)
        return targets, scores
    return rng.integers(0, 3, (clips, classes)).astype(float), scores


def repeated(metric, targets, scores, counts):
    """The slow way."""
    found = []
    for one in counts:
        rows = np.repeat(np.arange(len(one)), one)
        found.append(metric.score(targets[rows], scores[rows]))
    return np.array(found)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_resamples_score_as_repeated_clips_do(name, target):
    metric = metrics.get_metric(name)
    targets, scores = draw(target)
    units = np.arange(len(targets)) // 4  # drawn by fours: many draws lack the rare class
    (counts,) = bootstrap.resample_counts(np.random.default_rng(1), units, 60)
    found = bootstrap.make_resampled_metric(metric, targets, scores)(counts)
    expected = repeated(metric, targets, scores, counts)
    assert np.isfinite(expected).sum() > 40
    # sums in another order: a few units in the last place of float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", ["roc-auc", "pr-auc", "d-prime", "lwlrap"])
def test_draws_that_cannot_be_scored_are_nan(name):
    metric = metrics.get_metric(name)
    targets = np.array([[1, 0], [0, 0], [0, 0], [0, 0]])
    scores = np.array([[0.6, 0.1], [0.7, 0.2], [0.1, 0.2], [0.2, 0.2]])
    counts = np.array([[0, 2, 1, 1], [4, 0, 0, 0], [1, 1, 1, 1]])
    found = bootstrap.make_resampled_metric(metric, targets, scores)(counts)
    expected = repeated(metric, targets, scores, counts)
    assert np.isnan(expected[0]) and np.isfinite(expected[2])
    np.testing.assert_allclose(found, expected, atol=1e-12, equal_nan=True)


def test_a_perfect_d_prime_is_as_undefined_as_the_metric_says():
    metric = metrics.get_metric("d-prime")
    targets, scores = np.array([[1], [1], [0], [0]]), np.array([[3.0], [2], [1], [0]])
    assert np.isnan(metric.score(targets, scores))
    assert np.isnan(bootstrap.make_resampled_metric(metric, targets, scores)(np.ones((1, 4), int)))


def test_draws_are_whole_units_as_many_as_there_are():
    unit = np.array([0, 0, 1, 2, 2, 2])
    (counts,) = bootstrap.resample_counts(np.random.default_rng(0), unit, 4000)
    own = counts[:, [0, 2, 3]]
    assert np.array_equal(counts, own[:, unit])
    assert (own.sum(axis=1) == 3).all()
    # each unit once in the mean; standard error sqrt(2/3/4000) = 0.013
    np.testing.assert_allclose(own.mean(axis=0), 1, atol=0.05)


def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch):
    unit = np.arange(10)
    (whole,) = bootstrap.resample_counts(np.random.default_rng(0), unit, 25)
    monkeypatch.setattr(bootstrap, "_CHUNK", 70)
    pieces = list(bootstrap.resample_counts(np.random.default_rng(0), unit, 25))
    assert [len(piece) for piece in pieces] == [7, 7, 7, 4]
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_runs_that_share_the_draws_have_the_numbers_of_each_alone(monkeypatch, name, target):
    metric = metrics.get_metric(name)
    targets, scores = draw(target, clips=90)
    others = draw(target, clips=90, seed=1)[1]
    groups = np.array([f"g{k // 3}" for k in range(90)])
    units = bootstrap.ResamplingUnits.from_groups(np.arange(90) // 30, groups)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 40)
    for most, block in ((40, 1 << 20), (7, 50)):  # at once, and by parts
        monkeypatch.setattr(bootstrap, "_CHUNK", 30 * most)
        monkeypatch.setattr(bootstrap, "_BLOCK", block)
        together = units.resample_folds(metric, targets, [scores, others])
        rng = np.random.default_rng(bootstrap.SEED)
        for k, (rows, numbers) in enumerate(zip(units.fold_rows, units.unit_numbers, strict=True)):
            single = [np.bincount(rng.integers(0, 10, 10), minlength=10) for _ in range(40)]
            counts = np.stack(single)[:, numbers]
            for run, values in zip((scores, others), together, strict=True):
                rescore = bootstrap.make_resampled_metric(metric, targets[rows], run[rows])
                parts = np.split(counts, range(most, 40, most))  # BLAS rounds by their length
                expected = np.concatenate([rescore(part) for part in parts])
                np.testing.assert_array_equal(values[:, k], expected)


def test_units_with_a_selected_clip_are_counted_once():
    folds, groups = np.array([1, 0, 0, 1, 1, 0]), np.array(["a", "b", "c", "d", "d", "b"])
    units = bootstrap.ResamplingUnits.from_groups(folds, groups)
    assert (units.counts, units.count(np.ones(6, bool)), units.count(np.zeros(6, bool))) == (
        [2, 2],
        4,
        0,
    )
    assert units.count(np.array([False, True, False, True, True, True])) == 2  # b and d
