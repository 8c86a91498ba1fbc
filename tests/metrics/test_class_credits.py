"""Keys, pitches and counts: against published rules, HEAR's definition and scikit-learn.

``tests/parity`` compares keys with mir_eval.
"""

import numpy as np
import pytest
from sklearn import metrics as sk

from probekit.errors import DataError
from probekit.metrics import bootstrap, intervals, metrics
from probekit.metrics.class_credits import KEYS, check_keys, check_numbers, key_credit

# the published table, for C major and A minor as true keys; every other pair of keys gets 0
PUBLISHED = {
    ("C major", "C major"): 1.0,
    ("C major", "G major"): 0.5,
    ("C major", "A minor"): 0.3,
    ("C major", "C minor"): 0.2,
    ("A minor", "A minor"): 1.0,
    ("A minor", "E minor"): 0.5,
    ("A minor", "C major"): 0.3,
    ("A minor", "A major"): 0.2,
}


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


def credit(true, predicted):
    return float(key_credit(KEYS.index(true), KEYS.index(predicted)))


@pytest.mark.parametrize("true", ["C major", "A minor"])
def test_keys_get_the_published_weights(true):
    for predicted in KEYS:
        assert credit(true, predicted) == PUBLISHED.get((true, predicted), 0.0), predicted


@pytest.mark.parametrize("semitones", range(1, 12))
def test_transposing_both_keys_changes_nothing(semitones):
    moved = [12 * (k // 12) + (k + semitones) % 12 for k in range(24)]
    table = key_credit(np.arange(24)[:, None], np.arange(24))
    np.testing.assert_array_equal(table[np.ix_(moved, moved)], table)


def draw(classes, clips=300, seed=0):
    rng = np.random.default_rng(seed)
    targets = rng.integers(classes, size=clips)
    predicted = np.where(rng.random(clips) < 0.4, targets, rng.integers(classes, size=clips))
    return targets, predicted


def test_chroma_is_the_pitch_in_any_octave():
    targets, predicted = draw(88)
    pitches, others = targets + 21, predicted + 21  # MIDI, as HEAR: argmax modulo 12
    score = metrics.get_metric("chroma-accuracy").score(targets, one_hot(predicted, 88))
    assert score == sk.accuracy_score(pitches % 12, others % 12)


def test_error_of_a_count_is_that_of_scikit_learn():
    targets, predicted = draw(11)
    metric = metrics.get_metric("class-mae")
    assert metric.score(targets, one_hot(predicted, 11)) == pytest.approx(
        sk.mean_absolute_error(targets, predicted), abs=1e-12
    )
    assert not metric.higher_is_better


@pytest.mark.parametrize(
    ("name", "classes"), [("key-score", 24), ("chroma-accuracy", 88), ("class-mae", 11)]
)
def test_clips_classes_and_resamples_agree_with_the_score(name, classes):
    targets, predicted = draw(classes, clips=400)
    scores, metric = one_hot(predicted, classes), metrics.get_metric(name)
    values = metrics.clip_scores(metric, targets, scores)
    assert values.mean() == pytest.approx(metric.score(targets, scores), abs=1e-12)
    by_class = metric.per_class(targets, scores)
    np.testing.assert_allclose(
        by_class, [values[targets == k].mean() for k in range(classes)], atol=1e-12
    )
    counts = np.random.default_rng(1).multinomial(400, np.full(400, 1 / 400), size=5)
    rescored = bootstrap.make_resampled_metric(metric, targets, scores)(counts)
    rows = [np.repeat(np.arange(400), row) for row in counts]
    expected = [metric.score(targets[row], scores[row]) for row in rows]
    np.testing.assert_allclose(rescored, expected, atol=1e-12)


@pytest.mark.parametrize("step", [1, 4])
def test_interval_of_the_error_of_a_class_is_that_of_the_error_of_a_number(step):
    targets, predicted = draw(11, clips=200)
    predicted = targets + (predicted - targets) // step  # mean errors above and below 1
    design = np.zeros(200, np.int64), np.full(200, "")
    of_class, of_number = (
        intervals.confidence_interval(metrics.get_metric(name), *values, *design)
        for name, values in {
            "class-mae": (targets, one_hot(predicted, 11)),
            "mae": (targets[:, None].astype(float), predicted[:, None].astype(float)),
        }.items()
    )
    error = np.abs(predicted - targets).mean()
    assert of_class.low < error < of_class.high
    assert of_class.method == of_number.method == "jackknife t, log scale"
    assert of_class.low == pytest.approx(of_number.low, abs=1e-12)
    assert of_class.high == pytest.approx(of_number.high, abs=1e-12)


def test_runs_differ_on_the_clips_whose_credit_differs():
    targets, scores = np.array([0, 0, 0]), one_hot(np.array([7, 1, 0]), 24)
    metric = metrics.get_metric("key-score")
    # a fifth, a key without credit, and the key itself; of two without credit neither is better
    np.testing.assert_array_equal(metrics.clip_outcomes(metric, targets, scores), [0.5, 0, 1])


def test_a_mean_error_of_one_class_is_no_share():
    targets = np.arange(200) % 10
    interval = intervals.confidence_interval(
        metrics.get_metric("class-mae"),
        targets,
        one_hot(targets + 1, 11),
        np.zeros(200, np.int64),
        np.full(200, ""),
    )
    assert interval.method == "no variation"


def test_classes_must_be_the_keys_in_their_order():
    check_keys(KEYS)
    with pytest.raises(DataError, match=r"24 keys C major, .*; got 'H major' in place 12"):
        check_keys([*KEYS[:11], "H major", *KEYS[12:]])
    with pytest.raises(DataError, match="got 24 classes in another order"):
        check_keys(sorted(KEYS))


def test_classes_must_be_numbers_one_apart():
    check_numbers([str(k) for k in range(21, 109)])
    with pytest.raises(DataError, match=r"got '23' in place 2 instead of 22"):
        check_numbers(["21", "23"])
    with pytest.raises(DataError, match=r"got 'A4' in place 1 instead of a number"):
        check_numbers(["A4", "B4"])
