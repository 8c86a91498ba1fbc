"""Metrics against scikit-learn, and where scikit-learn has no answer, against the definition."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from probekit.errors import UnknownNameError
from probekit.tasks import metrics


@pytest.fixture(autouse=True)
def no_warnings():
    """Undefined scores are NaN on purpose: nothing may warn of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw_single(seed=0, clips=200, classes=6, seen=None):
    """Class numbers and scores; only the classes ``seen`` occur."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes if seen is None else seen, clips)
    return targets, rng.normal(size=(clips, classes)) + 1.5 * np.eye(classes)[targets]


def draw_multi(seed=0, clips=120, classes=5, ties=False):
    rng = np.random.default_rng(seed)
    targets = (rng.random((clips, classes)) < rng.uniform(0.1, 0.6, classes)).astype(np.int8)
    scores = rng.normal(size=(clips, classes)) + targets
    return targets, np.round(scores) if ties else scores


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("seen", [None, [0, 2, 5]])
def test_accuracies_are_those_of_scikit_learn(seed, seen):
    targets, scores = draw_single(seed, seen=seen)
    predicted = scores.argmax(axis=1)
    assert metrics.get("accuracy").score(targets, scores) == pytest.approx(
        sk.accuracy_score(targets, predicted), abs=1e-15
    )
    # scikit-learn warns of predicted classes that do not occur; the number is the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sk.balanced_accuracy_score(targets, predicted)
    assert metrics.get("balanced-accuracy").score(targets, scores) == pytest.approx(
        expected, abs=1e-15
    )


@pytest.mark.parametrize("name", ["accuracy", "balanced-accuracy"])
def test_score_of_a_class_is_its_recall_and_nan_without_clips(name):
    targets, scores = draw_single(seen=[0, 2, 5])
    found = metrics.get(name).per_class(targets, scores)
    expected = sk.recall_score(
        targets, scores.argmax(axis=1), average=None, labels=[0, 2, 5], zero_division=np.nan
    )
    np.testing.assert_allclose(found[[0, 2, 5]], expected, rtol=0, atol=1e-15)
    assert np.isnan(found[[1, 3, 4]]).all()


def test_one_class_only():
    targets, scores = np.zeros(4, np.int64), np.array([[2.0, 1], [1, 2], [3, 0], [0, -1]])
    assert metrics.get("accuracy").score(targets, scores) == 0.75
    assert metrics.get("balanced-accuracy").score(targets, scores) == 0.75


def test_a_tie_goes_to_the_first_class_and_minus_infinity_never_wins():
    targets = np.array([0, 1])
    assert metrics.get("accuracy").score(targets, np.zeros((2, 3))) == 0.5
    scores = np.array([[-5.0, -np.inf, -6], [-5, -np.inf, -6]])
    found = metrics.get("accuracy").per_class(targets, scores)
    np.testing.assert_array_equal(found, [1, 0, np.nan])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("name", "reference"), [("roc-auc", sk.roc_auc_score), ("pr-auc", sk.average_precision_score)]
)
@pytest.mark.parametrize("seed", range(3))
def test_areas_are_those_of_scikit_learn(name, reference, seed, ties):
    targets, scores = draw_multi(seed, ties=ties)
    metric = metrics.get(name)
    expected = reference(targets, scores, average=None)
    np.testing.assert_allclose(metric.per_class(targets, scores), expected, rtol=0, atol=1e-15)
    assert metric.score(targets, scores) == pytest.approx(
        reference(targets, scores, average="macro"), abs=1e-15
    )


@pytest.mark.parametrize(
    ("name", "reference"), [("roc-auc", sk.roc_auc_score), ("pr-auc", sk.average_precision_score)]
)
def test_classes_without_positives_or_negatives_are_left_out_of_the_mean(name, reference):
    targets, scores = draw_multi()
    targets[:, 1], targets[:, 3] = 0, 1
    metric = metrics.get(name)
    found = metric.per_class(targets, scores)
    assert list(np.isnan(found)) == [False, True, False, True, False]
    expected = [reference(targets[:, k], scores[:, k]) for k in (0, 2, 4)]
    assert metric.score(targets, scores) == pytest.approx(np.mean(expected), abs=1e-15)


@pytest.mark.parametrize("name", ["roc-auc", "pr-auc"])
def test_no_class_defined_is_nan(name):
    targets, scores = draw_multi()
    assert np.isnan(metrics.get(name).score(np.zeros_like(targets), scores))
    assert np.isnan(metrics.get(name).score(np.ones_like(targets), scores))


@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_tag_that_no_training_clip_has_scores_as_chance(infinite):
    targets, scores = draw_multi()
    scores[:, 2] = infinite
    assert metrics.get("roc-auc").per_class(targets, scores)[2] == 0.5
    assert metrics.get("pr-auc").per_class(targets, scores)[2] == pytest.approx(
        targets[:, 2].mean(), abs=1e-15
    )


def test_infinite_scores_rank_first_and_last():
    targets, scores = np.array([[1], [0], [1], [0]]), np.array([[np.inf], [3.0], [2], [-np.inf]])
    assert metrics.get("roc-auc").score(targets, scores) == 0.75


def test_r2_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 3)) * [1, 10, 0.1] + [0, 100, 5]
    scores = targets + rng.normal(size=(50, 3)) * [0.5, 20, 0.1]
    metric = metrics.get("r2")
    expected = sk.r2_score(targets, scores, multioutput="raw_values")
    assert min(expected) < 0 < max(expected)
    np.testing.assert_allclose(metric.per_class(targets, scores), expected, rtol=1e-12)
    assert metric.score(targets, scores) == pytest.approx(sk.r2_score(targets, scores), rel=1e-12)


def test_r2_of_a_number_that_does_not_vary_is_left_out():
    targets = np.column_stack([np.full(4, 2.0), [0, 1, 2, 3]])
    scores = np.column_stack([np.full(4, 2.0), [0, 1, 2, 3]])
    np.testing.assert_array_equal(metrics.get("r2").per_class(targets, scores), [np.nan, 1])
    assert metrics.get("r2").score(targets, scores) == 1
    assert np.isnan(metrics.get("r2").score(targets[:, :1], scores[:, :1]))


def test_unknown_metric_is_answered_with_near_names():
    with pytest.raises(UnknownNameError, match=r"unknown metric 'acuracy'.*'accuracy'"):
        metrics.get("acuracy")
