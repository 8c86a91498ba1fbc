"""Intervals against a plain re-implementation with loops, and against what they promise."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from probekit.metrics import bootstrap, metrics

ACCURACY = metrics.get_metric("accuracy")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def scored(right):
    """Targets and scores of two classes so that exactly the clips of ``right`` are right."""
    targets = np.arange(len(right)) % 2
    return targets, np.eye(2)[np.where(right, targets, 1 - targets)]


def none(clips):
    return np.full(clips, "")


def interval_of(right, folds=None, groups=None):
    folds = np.zeros(len(right), int) if folds is None else folds
    groups = none(len(right)) if groups is None else groups
    return bootstrap.confidence_interval(ACCURACY, *scored(right), folds, groups)


def slow_interval(score, targets, scores, folds, units, draws):
    """What the docstring says, a draw and a clip at a time."""
    rng = np.random.default_rng(0)
    totals = [0.0] * draws
    for fold in sorted(set(folds)):
        members = {}
        for clip in range(len(folds)):
            if folds[clip] == fold:
                members.setdefault(units[clip], []).append(clip)
        names = sorted(members)
        for k in range(draws):
            clips = []
            for number in rng.integers(0, len(names), len(names)):
                clips += members[names[number]]
            totals[k] += score(targets[clips], scores[clips])
    means = sorted(total / len(set(folds)) for total in totals)

    def percentile(q):
        place = q / 100 * (draws - 1)
        low = int(place)
        return means[low] + (place - low) * (means[low + 1] - means[low])

    return percentile(2.5), percentile(97.5)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("accuracy", lambda t, s: np.mean([a == b for a, b in zip(s.argmax(1), t, strict=True)])),
        ("pr-auc", lambda t, s: average_precision_score(t, s, average="macro")),
        ("roc-auc", lambda t, s: roc_auc_score(t, s, average="macro")),
        ("r2", r2_score),
    ],
)
def test_interval_is_that_of_a_plain_loop(name, score, grouped, monkeypatch):
    assert (bootstrap.RESAMPLES, bootstrap.LEVEL, bootstrap.SEED) == (1000, 0.95, 0)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 150)  # a loop over scikit-learn is slow
    rng = np.random.default_rng(3)
    clips = 48
    if name == "accuracy":
        targets = rng.integers(0, 3, clips)
        scores = rng.normal(size=(clips, 3)) + np.eye(3)[targets]
    else:
        targets = np.tile([[0, 1], [1, 0], [1, 1], [0, 0]], (12, 1)).astype(float)
        scores = targets + rng.normal(size=(clips, 2))
    folds = np.sort(np.arange(clips) % 2)  # with groups of another size in each
    groups = np.array([f"g{k // (3 if folds[k] else 4):02d}" for k in range(clips)])
    units = groups if grouped else np.array([f"clip {k:02d}" for k in range(clips)])
    found = bootstrap.confidence_interval(
        metrics.get_metric(name), targets, scores, folds, groups if grouped else none(clips)
    )
    assert (found.low, found.high) == pytest.approx(
        slow_interval(score, targets, scores, folds, units, draws=150), abs=1e-12
    )
    assert found.unit == ("groups within folds" if grouped else "clips within folds")
    assert found.method == "bootstrap"


def test_shortcut_for_accuracy_draws_as_the_general_way_does():
    rng = np.random.default_rng(0)
    targets, scores = scored(rng.random(80) < 0.7)
    folds, groups = np.arange(80) % 3, np.array([f"g{k}" for k in rng.integers(0, 25, 80)])
    short = bootstrap.confidence_interval(ACCURACY, targets, scores, folds, groups)
    general = replace(ACCURACY, name="another name")
    assert bootstrap.confidence_interval(general, targets, scores, folds, groups) == short


def test_every_fold_counts_the_same_whatever_its_size():
    # 10 clips of which half are right, and 990 that are all right: 0.75, not 0.995
    right = np.array([True, False] * 5 + [True] * 990)
    found = interval_of(right, folds=np.repeat([0, 1], [10, 990]))
    assert found.low < 0.75 < found.high
    assert found.high < 0.95


def test_order_of_the_clips_does_not_move_the_interval_much():
    rng = np.random.default_rng(0)
    right, order = rng.random(400) < 0.8, rng.permutation(400)
    folds = np.arange(400) % 4
    one, other = interval_of(right, folds), interval_of(right[order], folds[order])
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.01)
    assert interval_of(right, folds) == one  # and the same again is the same


# ---- coverage


@pytest.fixture
def fewer_draws(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 300)


def coverage(draw, truth, rounds=300):
    """The share of simulated experiments whose interval holds the truth."""
    found = [draw(np.random.default_rng(seed)) for seed in range(rounds)]
    return np.mean([one.low <= truth <= one.high for one in found])


def test_intervals_over_clips_hold_the_truth_as_often_as_they_say(fewer_draws):
    share = coverage(lambda rng: interval_of(rng.random(150) < 0.7, np.arange(150) % 3), 0.7)
    assert 0.90 < share < 0.98  # 95 %, less what the bootstrap lacks; 1.3 % standard error


def test_intervals_over_groups_hold_the_truth_where_clips_of_a_group_agree(fewer_draws):
    folds, groups = np.repeat([0, 1], 120), np.array([f"g{k // 6:02d}" for k in range(240)])

    def draw(rng, grouped):
        easy = np.repeat(rng.beta(1.4, 0.6, 40), 6)  # 0.7 in the mean
        return interval_of(rng.random(240) < easy, folds, groups if grouped else None)

    assert 0.89 < coverage(lambda rng: draw(rng, True), 0.7) < 0.98
    assert coverage(lambda rng: draw(rng, False), 0.7) < 0.85  # clips would claim too much


def test_groups_are_wider_than_clips_where_clips_of_a_group_agree():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(40) < 0.7, 5)
    groups = np.array([f"g{k // 5}" for k in range(200)])
    by_group, by_clip = interval_of(right, groups=groups), interval_of(right)
    ratio = (by_group.high - by_group.low) / (by_clip.high - by_clip.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)  # 40 units instead of 200


# ---- which unit


def test_clips_without_a_group_are_drawn_on_their_own():
    right = np.arange(60) % 3 > 0
    groups = np.array([f"g{k // 2}" if k < 30 else "" for k in range(60)])
    alone = np.array([f"g{k // 2:03d}" if k < 30 else f"h{k:03d}" for k in range(60)])
    found, expected = interval_of(right, groups=groups), interval_of(right, groups=alone)
    assert found.unit == "groups within folds"
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.1)


def test_fold_of_a_single_group_draws_its_clips_and_says_so():
    """And the other folds still draw groups: fewer groups must not make a run look surer."""
    right, folds = np.arange(60) % 30 < 15, np.repeat([0, 1], 30)
    groups = np.array([f"g{k // 5}" if k < 30 else "alone" for k in range(60)])
    mixed, clips = interval_of(right, folds, groups), interval_of(right, folds)
    assert mixed.high - mixed.low > 1.2 * (clips.high - clips.low)
    assert mixed.unit == (
        "groups within folds; 1 of 2 folds hold one group each, of which clips were drawn"
    )
    assert mixed.units == 6
    alone = interval_of(right, folds, np.repeat(["a", "b"], 30))
    assert (alone.low, alone.high) == (clips.low, clips.high)
    assert alone.unit.startswith("clips within folds; 2 of 2 folds hold one group each")
    assert clips.unit == "clips within folds"


def test_folds_of_single_clips_are_drawn_among_each_other():
    right = np.arange(40) % 4 > 0
    found = interval_of(right, folds=np.arange(40))
    pooled = interval_of(right)
    assert (found.low, found.high) == (pooled.low, pooled.high)
    assert found.low < 0.75 < found.high  # and not 0.75 to 0.75
    assert found.unit == "clips"


# ---- all right, all wrong


@pytest.mark.parametrize(("clips", "low"), [(1, 0.025), (10, 0.6915), (50, 0.9289)])
def test_all_right_is_not_certainty(clips, low):
    """Ends as in tables of the exact binomial interval (Clopper and Pearson, 1934)."""
    found = interval_of(np.ones(clips, bool))
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), 1.0)
    assert found.method == "exact binomial"
    wrong = interval_of(np.zeros(clips, bool))
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - low, abs=5e-5))


def test_all_right_counts_groups_where_there_are_some():
    groups = np.array([f"g{k // 10}" for k in range(100)])
    found = interval_of(np.ones(100, bool), groups=groups, folds=np.repeat([0, 1], 50))
    assert found.low == pytest.approx(0.6915, abs=5e-5)  # as for 10 clips
    assert found.unit == "groups within folds"


def test_one_clip_wrong_is_no_longer_exact():
    found = interval_of(np.arange(50) > 0)
    assert found.method == "bootstrap"
    assert found.low < 0.98 < found.high == 1.0


def test_draws_in_which_nothing_is_defined_are_left_out(monkeypatch):
    # one positive among six clips: a third of the draws has none
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    targets = np.array([[1], [0], [0], [0], [0], [0]])
    scores = np.array([[0.5], [0.9], [0.1], [0.2], [0.3], [0.4]])
    found = bootstrap.confidence_interval(
        metrics.get_metric("roc-auc"), targets, scores, np.zeros(6, int), none(6)
    )
    assert 0 <= found.low < 0.8 < found.high <= 1
