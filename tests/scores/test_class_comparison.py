"""Scores of classes on resamples are those of the metric on repeated clips."""

import numpy as np
import pytest

from probekit.metrics import bootstrap, metrics
from probekit.scores import class_comparison
from probekit.scores.predictions import Predictions

CASES = [
    ("accuracy", "single"),
    ("balanced-accuracy", "single"),
    ("top-2", "single"),
    ("log-loss", "single"),
    ("f1-macro", "single"),
    ("f1-weighted", "multi"),
    ("f1-samples@0.3", "multi"),
    ("roc-auc", "multi"),
    ("pr-auc", "multi"),
    ("d-prime", "multi"),
    ("lwlrap", "multi"),
    ("log-loss", "multi"),
    ("r2", "regression"),
    ("mae", "regression"),
]


def made(target, clips=60, classes=4, seed=0, fold=None, groups=None):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(clips, classes)).round(1)  # with ties
    if target == "single":
        targets = rng.integers(0, classes, clips)
    elif target == "multi":
        targets = (rng.uniform(size=(clips, classes)) < 0.3).astype(np.int8)
    else:
        targets = rng.normal(size=(clips, classes))
    fold = np.zeros(clips, int) if fold is None else fold
    ids = np.array([f"c{k}" for k in range(clips)])
    folds = tuple(str(k) for k in range(fold.max() + 1))
    groups = np.full(clips, "") if groups is None else groups
    return Predictions(ids, fold, folds, targets, scores, groups, target, False)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_as_the_metric_scores_repeated_clips(name, target):
    found, metric = made(target), metrics.get_metric(name)
    scores = found.scores_for(metric)
    counts = np.random.default_rng(1).integers(0, 3, (7, 60))
    counts[0] = 1
    counts[1, found.targets == 2 if target == "single" else found.targets[:, 2] > 0] = 0
    own = bootstrap.make_resampled_class_metric(metric, found.targets, scores)(counts)
    for row, one in zip(own, counts, strict=True):
        rows = np.repeat(np.arange(60), one)
        expected = metric.per_class(found.targets[rows], scores[rows])
        # sums in another order
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-12)


def test_differences_are_over_the_folds_in_which_both_are_defined():
    fold = np.arange(60) % 2
    one = made("single", fold=fold)
    other = made("single", seed=1, fold=fold)
    one.targets[fold == 1] = np.where(one.targets[fold == 1] == 3, 0, one.targets[fold == 1])
    other = Predictions(**{**vars(one), "scores": other.scores})
    metric = metrics.get_metric("accuracy")
    drawn = class_comparison.resampled_differences(metric, one, other)
    assert drawn.shape == (1000, 4) and np.isfinite(drawn).mean() > 0.99
    first = fold == 0  # class 3 is in the first fold only
    expected = np.subtract(
        *(metric.per_class(side.targets[first], side.scores[first])[3] for side in (one, other))
    )
    # the mean of 1,000 draws, with a standard error of 0.006
    assert abs(np.nanmean(drawn[:, 3]) - expected) < 0.03


def test_units_are_clips_or_groups():
    found = made("single")
    assert (
        class_comparison.units_per_class(found).tolist()
        == np.bincount(found.targets, minlength=4).tolist()
    )
    grouped = made("single", groups=np.array([f"g{k // 10}" for k in range(60)]))
    own = [len({k // 10 for k in np.flatnonzero(grouped.targets == c)}) for c in range(4)]
    assert class_comparison.units_per_class(grouped).tolist() == own
    assert class_comparison.units_per_class(made("regression")).tolist() == [60] * 4
    tags = made("multi")
    assert class_comparison.units_per_class(tags).tolist() == tags.targets.sum(axis=0).tolist()
