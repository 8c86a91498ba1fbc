"""Metrics against scikit-learn, and where scikit-learn has no answer, against the definition."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from probekit.errors import UnknownNameError
from probekit.metrics import bootstrap, metrics
from probekit.metrics.intervals import confidence_interval


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
    assert metrics.get_metric("accuracy").score(targets, scores) == pytest.approx(
        sk.accuracy_score(targets, predicted), abs=1e-15
    )
    # scikit-learn warns of predicted classes that do not occur; the number is the same
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sk.balanced_accuracy_score(targets, predicted)
    assert metrics.get_metric("balanced-accuracy").score(targets, scores) == pytest.approx(
        expected, abs=1e-15
    )


@pytest.mark.parametrize("name", ["accuracy", "balanced-accuracy"])
def test_score_of_a_class_is_its_recall_and_nan_without_clips(name):
    targets, scores = draw_single(seen=[0, 2, 5])
    found = metrics.get_metric(name).per_class(targets, scores)
    expected = sk.recall_score(
        targets, scores.argmax(axis=1), average=None, labels=[0, 2, 5], zero_division=np.nan
    )
    np.testing.assert_allclose(found[[0, 2, 5]], expected, rtol=0, atol=1e-15)
    assert np.isnan(found[[1, 3, 4]]).all()


def test_one_class_only():
    targets, scores = np.zeros(4, np.int64), np.array([[2.0, 1], [1, 2], [3, 0], [0, -1]])
    assert metrics.get_metric("accuracy").score(targets, scores) == 0.75
    assert metrics.get_metric("balanced-accuracy").score(targets, scores) == 0.75


def test_a_tie_goes_to_the_first_class_and_minus_infinity_never_wins():
    targets = np.array([0, 1])
    assert metrics.get_metric("accuracy").score(targets, np.zeros((2, 3))) == 0.5
    scores = np.array([[-5.0, -np.inf, -6], [-5, -np.inf, -6]])
    found = metrics.get_metric("accuracy").per_class(targets, scores)
    np.testing.assert_array_equal(found, [1, 0, np.nan])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("name", "reference"), [("roc-auc", sk.roc_auc_score), ("pr-auc", sk.average_precision_score)]
)
@pytest.mark.parametrize("seed", range(3))
def test_areas_are_those_of_scikit_learn(name, reference, seed, ties):
    targets, scores = draw_multi(seed, ties=ties)
    metric = metrics.get_metric(name)
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
    metric = metrics.get_metric(name)
    found = metric.per_class(targets, scores)
    assert list(np.isnan(found)) == [False, True, False, True, False]
    expected = [reference(targets[:, k], scores[:, k]) for k in (0, 2, 4)]
    assert metric.score(targets, scores) == pytest.approx(np.mean(expected), abs=1e-15)


@pytest.mark.parametrize("name", ["roc-auc", "pr-auc"])
def test_no_class_defined_is_nan(name):
    targets, scores = draw_multi()
    assert np.isnan(metrics.get_metric(name).score(np.zeros_like(targets), scores))
    assert np.isnan(metrics.get_metric(name).score(np.ones_like(targets), scores))


@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_tag_that_no_training_clip_has_scores_as_chance(infinite):
    targets, scores = draw_multi()
    scores[:, 2] = infinite
    assert metrics.get_metric("roc-auc").per_class(targets, scores)[2] == 0.5
    assert metrics.get_metric("pr-auc").per_class(targets, scores)[2] == pytest.approx(
        targets[:, 2].mean(), abs=1e-15
    )


def test_infinite_scores_rank_first_and_last():
    targets, scores = np.array([[1], [0], [1], [0]]), np.array([[np.inf], [3.0], [2], [-np.inf]])
    assert metrics.get_metric("roc-auc").score(targets, scores) == 0.75


def test_r2_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(50, 3)) * [1, 10, 0.1] + [0, 100, 5]
    scores = targets + rng.normal(size=(50, 3)) * [0.5, 20, 0.1]
    metric = metrics.get_metric("r2")
    expected = sk.r2_score(targets, scores, multioutput="raw_values")
    assert min(expected) < 0 < max(expected)
    np.testing.assert_allclose(metric.per_class(targets, scores), expected, rtol=1e-12)
    assert metric.score(targets, scores) == pytest.approx(sk.r2_score(targets, scores), rel=1e-12)


def test_r2_of_a_number_that_does_not_vary_is_left_out():
    targets = np.column_stack([np.full(4, 2.0), [0, 1, 2, 3]])
    scores = np.column_stack([np.full(4, 2.0), [0, 1, 2, 3]])
    np.testing.assert_array_equal(metrics.get_metric("r2").per_class(targets, scores), [np.nan, 1])
    assert metrics.get_metric("r2").score(targets, scores) == 1
    assert np.isnan(metrics.get_metric("r2").score(targets[:, :1], scores[:, :1]))


def test_unknown_metric_is_answered_with_near_names():
    with pytest.raises(UnknownNameError, match=r"unknown metric 'acuracy'.*'accuracy'"):
        metrics.get_metric("acuracy")


# ---- ranks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 2, 5, 6, 9])
def test_top_k_is_that_of_scikit_learn(seed, k):
    targets, scores = draw_single(seed)
    expected = sk.top_k_accuracy_score(targets, scores, k=k, labels=range(6)) if k < 6 else 1
    metric = metrics.get_metric(f"top-{k}")
    assert metric.score(targets, scores) == pytest.approx(expected, abs=1e-15)
    per_class = metric.per_class(targets, scores)
    shares = np.bincount(targets, minlength=6) / len(targets)
    assert per_class @ shares == pytest.approx(expected, abs=1e-12)


def test_top_1_is_accuracy_also_with_ties():
    targets, scores = draw_single(classes=4)
    scores = np.round(scores)
    assert metrics.get_metric("top-1").score(targets, scores) == metrics.get_metric(
        "accuracy"
    ).score(targets, scores)
    even = np.zeros((4, 4))
    assert (
        metrics.get_metric("top-2").score(np.arange(4), even) == 0.5
    )  # of equal ones the first two


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_lwlrap_is_scikit_learns_ranking_precision_weighted_by_labels(seed, ties):
    targets, scores = draw_multi(seed, ties=ties)
    targets[:5] = 0  # clips without labels do not count
    some = targets.any(axis=1)
    expected = sk.label_ranking_average_precision_score(
        targets[some], scores[some], sample_weight=targets[some].sum(axis=1)
    )
    metric = metrics.get_metric("lwlrap")
    assert metric.score(targets, scores) == pytest.approx(expected, abs=1e-12)
    # the challenge's definition: class scores weighted by how many labels are theirs
    weights = targets.sum(axis=0) / targets.sum()
    assert metric.per_class(targets, scores) @ weights == pytest.approx(expected, abs=1e-12)


def test_lwlrap_by_hand_and_where_nothing_is_labelled():
    targets, scores = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[0.2, 0.9, 0.5], [1, 2, 3]])
    metric = metrics.get_metric("lwlrap")  # ranks 3 and 2: (2/3 + 1/2) / 2
    assert metric.score(targets, scores) == pytest.approx(7 / 12, abs=1e-15)
    np.testing.assert_allclose(metric.per_class(targets, scores), [2 / 3, np.nan, 1 / 2])
    assert np.isnan(metric.score(targets * 0, scores))
    infinite = np.array([[-np.inf, -np.inf, np.inf], [0, 0, 0]])
    assert metric.score(targets, infinite) == pytest.approx((1 + 2 / 3) / 2, abs=1e-15)


def test_d_prime_is_that_of_the_macro_area():
    from statistics import NormalDist

    targets, scores = draw_multi()
    area = sk.roc_auc_score(targets, scores, average="macro")
    metric = metrics.get_metric("d-prime")
    assert metric.score(targets, scores) == pytest.approx(
        2**0.5 * NormalDist().inv_cdf(area), abs=1e-12
    )
    areas = sk.roc_auc_score(targets, scores, average=None)
    each = [2**0.5 * NormalDist().inv_cdf(area) for area in areas]
    np.testing.assert_allclose(metric.per_class(targets, scores), each, rtol=0, atol=1e-12)
    assert np.isnan(metric.score(targets, targets.astype(float)))  # an area of 1: no finite d'


def test_areas_of_many_tags():
    rng = np.random.default_rng(0)
    targets = (rng.random((1000, 50)) < 0.05).astype(np.int8)
    scores = rng.normal(size=(1000, 50)) + targets
    for name in ("pr-auc", "roc-auc"):
        metric, reference = metrics.get_metric(name), getattr(sk, _SLOW[name])
        expected = reference(targets, scores, average="macro")
        assert metric.score(targets, scores) == pytest.approx(expected, abs=1e-12)


_SLOW = {"pr-auc": "average_precision_score", "roc-auc": "roc_auc_score"}


# ---- F1


def draw_probabilities(seed=0, clips=120, classes=5):
    targets, scores = draw_multi(seed, clips, classes)
    targets[:4] = 0
    scores[:2] = -9  # nothing true, nothing predicted
    return targets, metrics.to_probabilities(scores, "multi")


@pytest.mark.parametrize("threshold", [0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_f1_of_clips_is_that_of_scikit_learn(seed, threshold):
    targets, given = draw_probabilities(seed)
    metric = metrics.get_metric(f"f1-samples@{threshold}")
    expected = sk.f1_score(targets, given > threshold, average="samples", zero_division=0)
    assert metric.score(targets, given) == pytest.approx(expected, abs=1e-12)
    each = sk.f1_score(targets, given > threshold, average=None)
    np.testing.assert_allclose(metric.per_class(targets, given), each, rtol=0, atol=1e-12)


def test_threshold_itself_is_not_above_the_threshold():
    targets, given = np.array([[1, 0]]), np.array([[0.1, 0.2]])
    assert metrics.get_metric("f1-samples@0.1").score(targets, given) == 0
    assert metrics.get_metric("f1-samples@0.09").score(targets, given) == pytest.approx(2 / 3)
    assert metrics.get_metric("f1-samples").score(targets, given) == 0


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_f1_of_classes_is_that_of_scikit_learn(average):
    metric = metrics.get_metric(f"f1-{average}")
    targets, scores = draw_single(seen=[0, 2, 5])
    scores[:, 3] = -np.inf  # class 3 is neither true nor predicted: left out
    predicted = scores.argmax(axis=1)
    expected = sk.f1_score(targets, predicted, average=average, zero_division=0)
    assert metric.score(targets, scores) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(metric.per_class(targets, scores)[3])
    targets, given = draw_probabilities()
    expected = sk.f1_score(targets, given > 0.5, average=average)
    assert metric.score(targets, given) == pytest.approx(expected, abs=1e-12)
    higher = metrics.get_metric(f"f1-{average}@0.8")
    expected = sk.f1_score(targets, given > 0.8, average=average, zero_division=0)
    assert higher.score(targets, given) == pytest.approx(expected, abs=1e-12)


def test_weighted_f1_of_unlabelled_clips_is_nan():
    assert np.isnan(
        metrics.get_metric("f1-weighted").score(np.zeros((3, 2), int), np.full((3, 2), 0.1))
    )


# ---- probabilities and numbers


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_is_that_of_scikit_learn(seed):
    targets, scores = draw_single(seed)
    given = metrics.to_probabilities(scores, "single")
    metric = metrics.get_metric("log-loss")
    assert (metric.higher_is_better, metric.needs_probabilities) == (False, True)
    assert metric.score(targets, given) == pytest.approx(
        sk.log_loss(targets, given, labels=range(6)), abs=1e-12
    )
    own = [
        -np.log(given[targets == k, k]).mean() if (targets == k).any() else np.nan for k in range(6)
    ]
    np.testing.assert_allclose(metric.per_class(targets, given), own, rtol=1e-12)
    targets, given = draw_probabilities(seed)
    each = [sk.log_loss(targets[:, k], given[:, k], labels=[0, 1]) for k in range(5)]
    np.testing.assert_allclose(metric.per_class(targets, given), each, rtol=1e-9)
    assert metric.score(targets, given) == pytest.approx(np.mean(each), rel=1e-9)


def test_log_loss_of_what_was_held_impossible_is_large_but_finite():
    given = np.array([[0.0, 1.0]])
    found = metrics.get_metric("log-loss").score(np.array([0]), given)
    assert found == pytest.approx(sk.log_loss([0], given, labels=[0, 1]), rel=1e-12)
    assert 36 < found < 37


def test_mean_absolute_error_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    targets, scores = rng.normal(size=(2, 50, 3))
    metric = metrics.get_metric("mae")
    assert not metric.higher_is_better
    expected = sk.mean_absolute_error(targets, scores, multioutput="raw_values")
    np.testing.assert_allclose(metric.per_class(targets, scores), expected, rtol=1e-12)
    assert metric.score(targets, scores) == pytest.approx(expected.mean(), rel=1e-12)


def test_probabilities_are_softmax_sigmoid_or_the_numbers():
    scores = np.array([[0.0, np.log(3), -np.inf]], np.float32)
    for target, expected in (("single", [[0.25, 0.75, 0]]), ("multi", [[0.5, 0.75, 0]])):
        found = metrics.to_probabilities(scores, target)
        np.testing.assert_allclose(found, expected, atol=1e-7)  # float32's log 3
    assert metrics.to_probabilities(scores, "regression") is scores


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([-np.inf, -np.inf], [0.5, 0.5]),
        ([np.inf, 0.0], [1, 0]),
        ([np.inf, np.inf], [0.5, 0.5]),
        ([1e5, 0.0], [1, 0]),
    ],
)
def test_softmax_of_infinite_scores(scores, expected):
    probabilities = metrics.to_probabilities(np.array([scores]), "single")
    np.testing.assert_array_equal(probabilities, [expected])


# ---- names


def test_every_metric_says_what_it_fits_and_is_found_by_its_name():
    for name in [*metrics.METRICS, "top-3", "f1-macro@0.2"]:
        metric = metrics.get_metric(name)
        assert metric.name == name
        assert metric.title
        assert set(metric.targets) <= {"single", "multi", "regression"}
        assert metric.targets


def test_metrics_travel_to_other_processes():
    import pickle

    for name in [*metrics.METRICS, "top-3", "f1-samples@0.2"]:
        assert pickle.loads(pickle.dumps(metrics.get_metric(name))).name == name  # noqa: S301


@pytest.mark.parametrize("name", ["top-0", "top-", "top-x", "f1-samples@2", "f1-macro@x", "r2@0.1"])
def test_parameters_out_of_range_are_unknown_names(name):
    with pytest.raises(UnknownNameError, match="unknown metric"):
        metrics.get_metric(name)


# ---- what a metric is given


def test_only_the_predicted_class_counts_where_it_is_known():
    targets, scores = draw_single()
    predicted = np.random.default_rng(1).integers(0, 6, len(targets))
    for name in ("accuracy", "balanced-accuracy", "f1-macro", "f1-weighted@0.9"):
        metric = metrics.get_metric(name)
        given = metrics.prepare_scores(
            metric, scores, "single", probabilities=False, predicted=predicted
        )
        np.testing.assert_array_equal(given, np.eye(6)[predicted])
    for name in ("top-2", "log-loss"):
        metric = metrics.get_metric(name)
        given, plain = (
            metrics.prepare_scores(metric, scores, "single", probabilities=False, predicted=classes)
            for classes in (predicted, None)
        )
        np.testing.assert_array_equal(given, plain)
    assert metrics.prepare_scores(metric, scores, "single", probabilities=True) is scores


@pytest.mark.parametrize(
    ("target", "rows", "expected"),
    [
        ("single", [[0.0, 1.0], [2.0, 3.0]], []),
        ("single", [[0.0, np.nan], [2.0, 3.0]], [0]),
        ("single", [[0.0, -np.inf], [2.0, -np.inf]], []),  # a class without training clips
        ("single", [[0.0, -np.inf], [2.0, 3.0]], [0]),
        ("single", [[-np.inf, -np.inf], [-np.inf, 3.0]], [0]),
        ("single", [[0.0, np.inf], [2.0, np.inf]], [0, 1]),  # never: one class for all clips
        ("multi", [[np.inf, -np.inf], [np.inf, -np.inf]], []),  # tags of all and of no clips
        ("multi", [[np.inf, 0.0], [1.0, 0.0]], [0]),
        ("multi", [[np.nan, 0.0], [np.nan, 0.0]], [0, 1]),
        ("regression", [[0.0, 1.0], [np.inf, 1.0]], [1]),
        ("regression", [[np.inf, 1.0], [np.inf, 1.0]], [0, 1]),
    ],
)
def test_scores_that_cannot_be_ranked(target, rows, expected):
    assert metrics.undefined_clips(np.array(rows), target).tolist() == expected


@pytest.mark.parametrize(
    "name", ["pr-auc", "roc-auc", "f1-macro", "f1-samples", "f1-weighted", "lwlrap", "log-loss"]
)
def test_unknown_labels_count_nowhere(name):
    """Scores of unknown cells change nothing, and resamples give what repeated clips give."""
    rng = np.random.default_rng(0)
    actual = (rng.random((80, 4)) < 0.4).astype(float)
    scores = np.clip(0.6 * rng.random((80, 4)) + 0.4 * actual * rng.random((80, 4)), 0.01, 0.99)
    unknown = rng.random((80, 4)) < 0.4
    unknown[0] = True
    targets = np.where(unknown, np.nan, actual)
    metric = metrics.get_metric(name)
    noise = np.where(unknown, rng.random((80, 4)), scores)
    for compute in (metric.score, metric.per_class):
        np.testing.assert_array_equal(compute(targets, scores), compute(targets, noise))
    references = {
        "pr-auc": sk.average_precision_score,
        "roc-auc": sk.roc_auc_score,
        "f1-macro": lambda t, s: sk.f1_score(t, s > 0.5),
        "log-loss": sk.log_loss,
    }
    if name in references:
        by_class = [
            references[name](actual[known, k], scores[known, k])
            for k, known in enumerate(~unknown.T)
        ]
        np.testing.assert_allclose(metric.per_class(targets, scores), by_class, atol=1e-12)
        assert metric.score(targets, scores) == pytest.approx(np.mean(by_class), abs=1e-12)
    rows = rng.integers(0, 80, 80)
    counts = np.bincount(rows, minlength=80)[None].astype(np.int32)
    resampled = bootstrap.make_resampled_metric(metric, targets, scores)(counts)
    assert resampled[0] == pytest.approx(metric.score(targets[rows], scores[rows]), abs=1e-12)
    groups, folds = np.full(80, ""), np.repeat([0, 1], 40)
    interval = confidence_interval(metric, targets, scores, folds, groups)
    assert interval == confidence_interval(metric, targets, noise, folds, groups)
    assert interval.low < interval.high


def test_samples_of_several_labels_are_those_that_are_known():
    """By hand: of the first clip the second label is unknown, of the last one all are."""
    targets = np.array([[1, np.nan, 0], [0, 1, 1], [np.nan] * 3])
    scores = np.array([[0.6, 0.9, 0.7], [0.6, 0.2, 0.9], [0.9, 0.9, 0.9]])
    # ranks: second of two; second label third of three (2 of 3 right), third label first
    assert metrics.get_metric("lwlrap").score(targets, scores) == pytest.approx(
        (1 / 2 + 2 / 3 + 1) / 3
    )
    # predicted above 0.5: {first, third} of {first}; {first, third} of {second, third}
    assert metrics.get_metric("f1-samples").score(targets, scores) == pytest.approx(
        (2 / 3 + 1 / 2) / 2
    )
