"""Scores of classes on resamples are those of the metric on repeated clips."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import recall_score

from probekit.metrics import bootstrap, metrics
from probekit.metrics.per_class import FOLD_MEANS, class_values
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


def units_of(found):
    return bootstrap.ResamplingUnits.from_groups(found.fold, found.groups)


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


def test_differences_of_areas_are_over_the_folds_in_which_both_are_defined():
    fold = np.arange(120) % 2
    one = made("multi", clips=120, fold=fold)
    other = made("multi", clips=120, seed=1, fold=fold)
    one.targets[fold == 1, 3] = 0  # class 3 is in the first fold only
    other = replace(one, scores=other.scores)
    metric = metrics.get_metric("roc-auc")
    drawn = class_comparison.resampled_differences(metric, one, other)
    assert drawn.shape == (1000, 4) and np.isfinite(drawn).mean() > 0.99
    first = fold == 0
    expected = np.subtract(
        *(metric.per_class(side.targets[first], side.scores[first])[3] for side in (one, other))
    )
    # the mean of 1,000 draws, with a standard error of 0.004
    assert abs(np.nanmean(drawn[:, 3]) - expected) < 0.02


def test_differences_of_recall_are_of_all_clips():
    fold = np.repeat([0, 1, 2], [140, 40, 20])
    one = made("single", clips=200, fold=fold)
    other = replace(one, scores=made("single", clips=200, seed=1).scores)
    metric = metrics.get_metric("accuracy")
    drawn = class_comparison.resampled_differences(metric, one, other)
    recalls = [
        recall_score(one.targets, run.scores.argmax(axis=1), average=None) for run in (one, other)
    ]
    expected = np.subtract(*recalls)
    # a ratio's mean over 1,000 draws: standard error 0.002, bias of the order of 1 / clips
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.01)
    by_fold = [
        class_values(metric, one.targets, run.scores, fold, FOLD_MEANS) for run in (one, other)
    ]
    assert np.abs(np.subtract(*by_fold) - expected).max() > 0.03  # the example asks for it
    for number, rows in enumerate(class_comparison._resample_all_folds(units_of(one))):
        assert number == 0 and rows.shape == (1000, 200)
        for k in range(3):  # within folds
            assert (rows[:, fold == k].sum(axis=1) == (fold == k).sum()).all()


def test_many_clips_are_drawn_part_by_part(monkeypatch):
    found = made("single", clips=90, fold=np.arange(90) % 3)
    monkeypatch.setattr(class_comparison, "_CHUNK", 90 * 300)
    drawn = list(class_comparison._resample_all_folds(units_of(found)))
    assert [len(rows) for rows in drawn] == [300, 300, 300, 100]
    assert (np.concatenate(drawn).sum(axis=1) == 90).all()


def test_predicted_classes_count_in_both_tests():
    one = made("single", clips=200)
    right = replace(one, own_classes=one.targets)  # whatever the scores are
    metric = metrics.get_metric("accuracy")
    drawn = class_comparison.resampled_differences(metric, right, one)
    recall = recall_score(one.targets, one.scores.argmax(axis=1), average=None)
    np.testing.assert_allclose(drawn.mean(axis=0), 1 - recall, atol=0.02)
    wrong = np.bincount(one.targets[one.scores.argmax(axis=1) != one.targets], minlength=4)
    np.testing.assert_allclose(
        class_comparison.sign_test(metric, [(right, one)]), 0.5 ** (wrong - 1.0), rtol=1e-9
    )


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
