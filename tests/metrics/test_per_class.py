"""Scores of single classes over several folds, against scikit-learn on the same clips."""

import numpy as np
import pytest
from sklearn import metrics as sk

from probekit.data.manifest import from_rows
from probekit.metrics import metrics, per_class

NAMES = ["a", "b", "c"]
fold = np.repeat([0, 1, 2], [50, 30, 10])  # of unequal size


def draw(target, seed=0):
    """Targets and scores; the probes of later folds have a larger scale and offset."""
    rng = np.random.default_rng(seed)
    if target == "single":
        targets = rng.integers(0, 3, len(fold))
        return targets, rng.normal(size=(len(fold), 3)) + np.eye(3)[targets]
    if target == "multi":
        targets = (rng.random((len(fold), 3)) < 0.4).astype(np.int8)
    else:
        targets = rng.normal(size=(len(fold), 3))
    scores = rng.normal(size=(len(fold), 3)) + targets
    return targets, (scores + 3 * fold[:, None] if target == "multi" else scores)


def values(metric, target, **others):
    targets, scores = draw(target)
    found = per_class.class_scores(
        metrics.get_metric(metric), NAMES, target, targets, scores, fold, **others
    )
    assert list(found) == NAMES
    return targets, scores, [row["score"] for row in found.values()]


def test_recall_is_that_of_all_test_clips_the_diagonal_of_the_confusion_matrix():
    targets, scores, found = values("accuracy", "single")
    predicted = scores.argmax(axis=1)
    np.testing.assert_allclose(found, sk.recall_score(targets, predicted, average=None), atol=1e-15)
    matrix = sk.confusion_matrix(targets, predicted, normalize="true")
    np.testing.assert_allclose(found, np.diag(matrix), atol=1e-15)
    by_fold = [
        sk.recall_score(targets[fold == k], predicted[fold == k], average=None) for k in range(3)
    ]
    assert np.abs(np.mean(by_fold, axis=0) - found).max() > 0.02  # the example asks for it
    *_, means = values("accuracy", "single", rule=per_class.FOLD_MEANS)
    np.testing.assert_allclose(means, np.mean(by_fold, axis=0), atol=1e-15)


def test_f1_is_that_of_all_counts():
    targets, scores, found = values("f1-macro", "single")
    expected = sk.f1_score(targets, scores.argmax(axis=1), average=None)
    np.testing.assert_allclose(found, expected, atol=1e-15)


@pytest.mark.parametrize(
    ("metric", "reference"),
    [("roc-auc", sk.roc_auc_score), ("pr-auc", sk.average_precision_score)],
)
def test_areas_are_means_over_folds_since_scores_of_different_probes_are_not_comparable(
    metric, reference
):
    targets, scores, found = values(metric, "multi")
    expected = np.mean(
        [
            [reference(targets[fold == k, c], scores[fold == k, c]) for c in range(3)]
            for k in range(3)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    pooled = [reference(targets[:, c], scores[:, c]) for c in range(3)]
    assert np.abs(np.subtract(pooled, expected)).max() > 0.05  # an offset of a fold counts there


def test_numbers():
    targets, scores, found = values("r2", "regression")
    expected = np.mean(
        [
            sk.r2_score(targets[fold == k], scores[fold == k], multioutput="raw_values")
            for k in range(3)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)
    targets, scores, found = values("mae", "regression")
    expected = sk.mean_absolute_error(targets, scores, multioutput="raw_values")
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_a_class_of_some_folds_only_and_one_of_none():
    targets, scores = draw("single")
    targets = np.where(fold == 1, targets, 0)  # classes b and c are in fold 1 only
    targets[targets == 2] = 1
    metric = metrics.get_metric("accuracy")
    found = per_class.class_scores(metric, NAMES, "single", targets, scores, fold)
    only = (fold == 1) & (targets == 1)
    assert found["b"] == {
        "score": pytest.approx((scores.argmax(axis=1) == 1)[only].mean()),
        "clips": int(only.sum()),
    }
    assert found["c"] == {"score": None, "clips": 0}


@pytest.mark.parametrize(
    ("metric", "folds", "title"),
    [
        ("accuracy", 5, "recall, all test clips"),
        ("balanced-accuracy", 1, "recall"),
        ("f1-samples@0.1", 2, "F1, all test clips"),
        ("top-5", 2, "top-5 accuracy, all test clips"),
        ("roc-auc", 2, "ROC-AUC, mean over folds"),
        ("pr-auc", 1, "PR-AUC"),
        ("r2", 2, "R², mean over folds"),
    ],
)
def test_the_definition_is_part_of_the_title(metric, folds, title):
    assert per_class.class_score_title(metrics.get_metric(metric), folds) == title


def test_tags_that_no_test_clip_has_are_named_and_left_out_of_the_mean():
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 4)) < 0.5).astype(np.int8)
    targets[20:, 1] = 0  # never in test
    targets[30:, 2] = 0  # in one of two folds
    rows = [{"clip_id": str(k), "path": "", "labels": ()} for k in range(40)]
    clips = from_rows("m", rows, target="multi", class_names=["a", "b", "c", "d"])
    tests = [np.arange(20, 30), np.arange(30, 40)]
    assert per_class.untested_class_notes(clips, targets, tests) == [
        "never in test, and not scored there: 1 of 4 tags (b)",
        "never in test in some folds, and not scored there: 1 of 4 tags (c)",
    ]
    assert per_class.untested_class_notes(clips, targets, [np.arange(20)]) == []
    scores = rng.random((20, 4))
    of_others = sk.average_precision_score(targets[20:][:, [0, 2, 3]], scores[:, [0, 2, 3]])
    metric = metrics.get_metric("pr-auc")
    assert metric.score(targets[20:], scores) == pytest.approx(of_others, abs=1e-12)
