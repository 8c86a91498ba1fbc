"""Intervals against closed forms, scipy and loops, and against what they promise."""

import warnings
from functools import partial

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student
from sklearn.metrics import average_precision_score, r2_score, roc_auc_score

from benchmarks.validity import intervals as simulation
from probekit.metrics import bootstrap, intervals, metrics
from probekit.metrics.intervals import confidence_interval, percentile_interval

ACCURACY, BALANCED = metrics.get_metric("accuracy"), metrics.get_metric("balanced-accuracy")
ROC, D_PRIME = metrics.get_metric("roc-auc"), metrics.get_metric("d-prime")
NAMES = [*metrics.METRICS, "top-2", "f1-samples@0.1", "f1-macro@0.3"]
CASES = [(name, target) for name in NAMES for target in metrics.get_metric(name).targets]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def label(right, classes=2):
    """Targets and scores so that exactly the clips of ``right`` are right."""
    targets = np.arange(len(right)) % classes
    return targets, np.eye(classes)[np.where(right, targets, (targets + 1) % classes)]


def ungrouped(clips):
    return np.full(clips, "")


def accuracy_interval(right, folds=None, groups=None, **options):
    folds = np.zeros(len(right), int) if folds is None else folds
    groups = ungrouped(len(right)) if groups is None else groups
    return confidence_interval(ACCURACY, *label(right), folds, groups, **options)


def draw(target, clips=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    if target == "single":
        targets = rng.integers(0, classes, clips)
        scores = rng.random((clips, classes)) + 0.7 * np.eye(classes)[targets]
        return targets, scores / scores.sum(axis=1, keepdims=True)
    if target == "multi":
        targets = (rng.random((clips, classes)) < 0.4).astype(int)
        return targets, expit(rng.normal(size=(clips, classes)) + 2 * targets - 1)
    targets = rng.normal(size=(clips, classes))
    return targets, targets + rng.normal(size=(clips, classes))


# ---- binomial


def logit_ends(score, error):
    reach = error / (score * (1 - score))
    return expit(logit(score) - reach), expit(logit(score) + reach)


@pytest.mark.parametrize(("right", "clips"), [(1, 2), (90, 100), (99, 100), (17, 400)])
def test_accuracy_of_clips_has_the_logit_interval_of_a_binomial_share(right, clips):
    interval = accuracy_interval(np.arange(clips) < right)
    share = right / clips
    ends = logit_ends(share, norm.isf(0.025) * np.sqrt(share * (1 - share) / clips))
    assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-12)
    assert (interval.method, interval.unit) == ("binomial, logit scale", "clips")
    assert interval.units == clips


def test_folds_count_the_same_whatever_their_size():
    # 10 clips of which half are right, and 990 that are nearly all right
    right = np.array([True, False] * 5 + [True] * 980 + [False] * 10)
    interval = accuracy_interval(right, folds=np.repeat([0, 1], [10, 990]))
    score = (0.5 + 980 / 990) / 2
    pooled = score * (1 - score) * (1 / 10 + 1 / 990) / 4
    separate = (0.25 / 10 + 980 * 10 / 990**3) / 4
    assert pooled < separate  # of few clips, all right, the pooled share tells more
    ends = logit_ends(score, norm.isf(0.025) * np.sqrt(separate))
    assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-12)
    assert interval.unit == "clips within folds"


def test_balanced_accuracy_does_not_trust_a_class_of_few_clips_that_are_all_right():
    targets = np.repeat([0, 1], [3, 97])
    right = np.arange(100) != 50
    scores = np.eye(2)[np.where(right, targets, 1 - targets)]
    interval = confidence_interval(BALANCED, targets, scores, np.zeros(100, int), ungrouped(100))
    score = (1 + 96 / 97) / 2
    pooled = score * (1 - score) * (1 / 3 + 1 / 97) / 4
    ends = logit_ends(score, norm.isf(0.025) * np.sqrt(pooled))
    assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-12)
    assert interval.low < 0.95  # the 97 clips alone: 0.98


# ---- jackknife


def slow_jackknife(score, targets, scores, folds, units):
    """Deviations of the mean over folds without each unit, one by one."""
    names = sorted(set(folds))
    members = {fold: sorted(set(units[folds == fold])) for fold in names}
    flat = [unit for fold in names for unit in members[fold]]
    apart = len(flat) == len(set(flat)) and min(map(len, members.values())) > 1

    def mean(kept, chosen):
        values = [kept & (folds == fold) for fold in chosen]
        return np.mean([score(targets[rows], scores[rows]) for rows in values if rows.any()])

    deviations = []
    for stratum in [[fold] for fold in names] if apart else [names]:
        present = sorted(set(units[np.isin(folds, stratum)]))
        values = np.array([mean(units != unit, stratum) for unit in present])
        n = len(present)
        share = len(stratum) / len(names)
        deviations += list(share * np.sqrt((n - 1) / n) * (values - values.mean()))
    strata = len(names) if apart else 1
    return np.array(deviations), len(set(flat)) - strata


def t_error(deviations, degrees):
    squares = deviations**2
    variance = squares.sum()
    of_variance = (squares**2).sum() - variance**2 / len(squares)
    degrees = max(1, min(degrees, 2 * variance**2 / of_variance))
    return student.isf(0.025, degrees) * np.sqrt(variance)


GROUPS = {
    "clips": (np.arange(60) % 1, lambda k: ""),
    "clips in folds": (np.arange(60) % 3, lambda k: ""),
    "groups in folds": (np.arange(60) % 3, lambda k: f"{k % 3}-{k // 12}"),
    "a group for each fold": (np.arange(60) % 6, lambda k: f"{k % 6}"),
    "a fold of one group": (np.arange(60) % 3, lambda k: f"{k % 3}-{k // 12 if k % 3 else 0}"),
    "groups in several folds": (np.arange(60) % 3, lambda k: f"{k // 6}"),
}


@pytest.mark.parametrize("design", GROUPS)
@pytest.mark.parametrize(
    ("name", "target", "score"),
    [
        ("pr-auc", "multi", partial(average_precision_score, average="macro")),
        ("r2", "regression", r2_score),
        ("f1-macro", "single", None),
        ("log-loss", "single", None),
        ("lwlrap", "multi", None),
    ],
)
def test_other_intervals_are_those_of_a_plain_jackknife(design, name, target, score):
    metric = metrics.get_metric(name)
    folds, group = GROUPS[design]
    groups = np.array([group(k) for k in range(60)])
    targets, scores = draw(target)
    units = np.where(groups == "", [f"clip {k:02d}" for k in range(60)], groups)
    by_fold = [(score or metric.score)(targets[folds == k], scores[folds == k]) for k in set(folds)]
    mean = np.mean(by_fold)
    error = t_error(*slow_jackknife(score or metric.score, targets, scores, folds, units))
    interval = confidence_interval(metric, targets, scores, folds, groups)
    if name == "r2":
        ends = tuple(1 - (1 - mean) * np.exp(sign * error / (1 - mean)) for sign in (1, -1))
    elif name == "log-loss":
        ends = tuple(mean * np.exp(sign * error / mean) for sign in (-1, 1))
    else:
        ends = logit_ends(mean, error)
    # sums in another order
    assert (interval.low, interval.high) == pytest.approx(ends, rel=1e-9)
    within = design in ("clips in folds", "groups in folds")
    across = " within folds" if within else "" if design == "clips" else " across folds"
    assert interval.unit == ("groups" if "group" in design else "clips") + across
    assert interval.units == len(set(units))
    assert interval.method.startswith("jackknife t, ")


def test_a_group_for_each_fold_is_students_t_over_folds():
    rng = np.random.default_rng(1)
    folds = np.repeat(np.arange(8), 25)
    groups = np.array([f"speaker {k}" for k in folds])
    targets, scores = draw("multi", 200, 2)
    scores = expit(logit(scores) + rng.normal(size=(8, 2))[folds])
    by_fold = [D_PRIME.score(targets[folds == k], scores[folds == k]) for k in range(8)]
    interval = confidence_interval(D_PRIME, targets, scores, folds, groups)
    deviations = (np.array(by_fold) - np.mean(by_fold)) / np.sqrt(8 * 7)
    assert (deviations**2).sum() == pytest.approx(np.var(by_fold, ddof=1) / 8)
    error = t_error(deviations, 7)
    assert (interval.low, interval.high) == pytest.approx(
        (np.mean(by_fold) - error, np.mean(by_fold) + error), rel=1e-9
    )


def test_a_clip_of_repeated_splits_is_one_unit():
    targets, scores = draw("multi", 40, 2)
    twice = np.tile(np.arange(40), 2)
    folds = np.repeat([0, 1], 40)
    once = confidence_interval(ROC, targets, scores, np.zeros(40, int), ungrouped(40))
    args = (ROC, targets[twice], scores[twice], folds, ungrouped(80))
    repeated = confidence_interval(*args, twice.astype(str))
    # the same 40 clips scored twice are no more than 40
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), rel=1e-9)
    assert repeated.units == 40 and repeated.unit == "clips across folds"
    independent = confidence_interval(*args)
    assert independent.high - independent.low < 0.8 * (once.high - once.low)


def test_many_clips_are_left_out_in_sets(monkeypatch):
    targets, scores = draw("multi", 400, 4)
    args = (metrics.get_metric("pr-auc"), targets, scores, np.zeros(400, int), ungrouped(400))
    whole = confidence_interval(*args)
    monkeypatch.setattr(intervals, "MAX_SETS", 100)
    pooled = confidence_interval(*args)
    assert pooled.units == 400
    # a standard error from 100 squares: sqrt(1 / 200) = 7 %
    assert pooled.high - pooled.low == pytest.approx(whole.high - whole.low, rel=0.2)
    assert confidence_interval(*args) == pooled  # and the same again is the same
    monkeypatch.setattr(intervals, "_CHUNK", 4000)
    assert confidence_interval(*args) == pooled  # however many counts are held at once


def test_area_of_one_label_varies_as_delong_says():
    """DeLong, DeLong and Clarke-Pearson (1988), from the placements of positives and negatives."""
    rng = np.random.default_rng(0)
    targets = (np.arange(300) < 90).astype(int)[:, None]
    scores = rng.normal(size=(300, 1)) + targets
    positive, negative = scores[:90, 0], scores[90:, 0]
    above = positive[:, None] > negative
    variance = above.mean(axis=1).var(ddof=1) / 90 + above.mean(axis=0).var(ddof=1) / 210
    interval = confidence_interval(ROC, targets, scores, np.zeros(300, int), ungrouped(300))
    area = above.mean()
    reach = logit(interval.high) - logit(area)
    # the jackknife's variance is larger by 1 / 90, and t by 1 / 200
    assert reach * area * (1 - area) == pytest.approx(1.96 * np.sqrt(variance), rel=0.03)


@pytest.mark.parametrize(("name", "target"), CASES)
@pytest.mark.parametrize("design", GROUPS)
def test_the_score_is_inside_of_its_interval(name, target, design):
    metric = metrics.get_metric(name)
    folds, group = GROUPS[design]
    groups = np.array([group(k) for k in range(60)])
    targets, scores = draw(target, seed=2)
    interval = confidence_interval(metric, targets, scores, folds, groups)
    score = np.mean([metric.score(targets[folds == k], scores[folds == k]) for k in set(folds)])
    perfect = interval.method.startswith("exact")
    assert interval.low < score < interval.high or (perfect and score == interval.high)
    unbounded = name in ("mae", "r2", "r2-weighted", "log-loss", "d-prime")
    least, most = (-np.inf, np.inf) if unbounded else (0, 1)
    assert least < interval.low and (interval.high < most or perfect)
    if name in ("mae", "log-loss"):
        assert interval.low > 0
    if name in ("r2", "r2-weighted"):
        assert interval.high < 1


# ---- no interval


def is_missing(interval, reason):
    return np.isnan([interval.low, interval.high]).all() and interval.method == reason


@pytest.mark.parametrize(("count", "folds"), [(4, 1), (6, 3)])
def test_few_groups_get_no_interval(count, folds):
    groups = np.array([f"g{k * count // 60}" for k in range(60)])
    fold = np.arange(60) * folds // 60
    interval = accuracy_interval(np.arange(60) % 4 > 0, fold, groups)
    assert is_missing(interval, "too few groups") and interval.units == count
    more = np.array([f"g{k * (count + 2 * folds) // 60}" for k in range(60)])
    assert np.isfinite(accuracy_interval(np.arange(60) % 4 > 1, fold, more).low)


def test_few_clips_get_no_interval_of_a_mean():
    targets, scores = draw("regression", 4)
    args = (metrics.get_metric("mae"), targets, scores, np.zeros(4, int), ungrouped(4))
    assert is_missing(confidence_interval(*args), "too few clips")


@pytest.mark.parametrize("name", ["roc-auc", "pr-auc", "d-prime"])
def test_few_positives_or_negatives_get_no_interval_of_areas(name):
    metric = metrics.get_metric(name)
    for positives in (7, 33):
        targets = (np.arange(40) < positives).astype(int)[:, None]
        scores = np.random.default_rng(0).normal(size=(40, 1)) + targets
        args = (metric, targets, scores, np.zeros(40, int), ungrouped(40))
        assert is_missing(confidence_interval(*args), "too few positives")
    targets[:] = np.arange(40)[:, None] < 8
    assert np.isfinite(confidence_interval(*args).low)
    # eight positives of four groups
    groups = np.array([f"g{k // 2}" for k in range(40)])
    args = (metric, targets, scores, np.zeros(40, int), groups)
    assert is_missing(confidence_interval(*args), "too few positives")


def test_a_metric_that_is_not_defined_without_some_clip_gets_none():
    folds = np.repeat(np.arange(10), 6)
    targets = (np.arange(60) % 6 == 0).astype(int)[:, None]  # one positive in each fold
    scores = np.random.default_rng(0).normal(size=(60, 1))
    args = (metrics.get_metric("pr-auc"), targets, scores, folds, ungrouped(60))
    assert is_missing(confidence_interval(*args), "too few positives")


def test_scores_that_do_not_vary_get_none():
    groups = np.array([f"g{k // 10}" for k in range(100)])
    right = np.arange(100) % 10 > 2
    assert is_missing(accuracy_interval(right, groups=groups), "no variation")


def test_a_score_that_is_not_defined_gets_none():
    targets, scores = np.array([[1], [1], [0], [0]]), np.array([[3.0], [2], [1], [0]])
    args = (D_PRIME, targets, scores, np.zeros(4, int), ungrouped(4))
    assert is_missing(confidence_interval(*args), "not defined")


# ---- scores of 1 and 0


@pytest.mark.parametrize("clips", [1, 10, 50])
def test_all_right_is_not_certainty(clips):
    interval = accuracy_interval(np.ones(clips, bool))
    exact = binomtest(clips, clips).proportion_ci(method="exact")
    assert (interval.low, interval.high) == (pytest.approx(exact.low, rel=1e-9), 1.0)
    assert interval.method == "exact binomial"
    wrong = accuracy_interval(np.zeros(clips, bool))
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - exact.low, rel=1e-9))


def test_all_right_counts_groups_where_there_are_some():
    groups = np.array([f"g{k // 10}" for k in range(100)])
    interval = accuracy_interval(np.ones(100, bool), groups=groups, folds=np.repeat([0, 1], 50))
    exact = binomtest(10, 10).proportion_ci(method="exact")
    assert interval.low == pytest.approx(exact.low, rel=1e-9)
    assert interval.unit == "groups within folds"
    torn = accuracy_interval(np.ones(100, bool), groups=groups, folds=np.arange(100) % 2)
    assert torn.low == pytest.approx(exact.low, rel=1e-9)  # ten groups, not twenty


@pytest.mark.parametrize("seed", range(5))
def test_the_least_mean_of_shares_is_that_of_a_general_optimizer(seed):
    rng = np.random.default_rng(seed)
    counts, weights = rng.integers(1, 30, 4).astype(float), rng.dirichlet(np.ones(4))
    worst = minimize(
        lambda logs: weights @ np.exp(logs),
        np.log(0.025) * np.ones(4) / counts.sum(),
        bounds=[(None, 0)] * 4,
        constraints={"type": "ineq", "fun": lambda logs: counts @ logs - np.log(0.025)},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert intervals._least_mean(counts, weights) == pytest.approx(worst.fun, rel=1e-5)


def perfect(name, targets, folds=None, groups=None):
    clips = len(targets)
    scores = np.eye(targets.max() + 1)[targets] if targets.ndim == 1 else targets.astype(float)
    return confidence_interval(
        metrics.get_metric(name),
        targets,
        scores,
        np.zeros(clips, int) if folds is None else folds,
        ungrouped(clips) if groups is None else groups,
    )


def test_perfect_balanced_accuracy_is_as_sure_as_its_rarest_class():
    even = perfect("balanced-accuracy", np.repeat([0, 1, 2, 3], 25))
    assert even.low == pytest.approx(0.025 ** (1 / 100))
    single = perfect("balanced-accuracy", np.repeat([0, 1], [1, 9999]))
    assert single.low == pytest.approx((1 + 0.025) / 2, abs=1e-3)  # of one clip, nothing is known


def test_perfect_top_k_lwlrap_and_f1_of_clips_count_clips():
    targets = np.arange(80) % 4
    tags = np.eye(4, dtype=int)[targets]
    bound = pytest.approx(0.025 ** (1 / 80))
    assert perfect("top-2", targets).low == bound
    assert perfect("f1-samples", tags).low == bound
    assert perfect("lwlrap", tags).low == bound
    tags[:30] = 0  # clips without a label tell nothing of a ranking
    assert perfect("lwlrap", tags).low == pytest.approx(0.025 ** (1 / 50))


@pytest.mark.parametrize("kind", ["f1-macro", "f1-weighted"])
def test_an_error_costs_f1_no_more_than_its_bound_says(kind):
    rng = np.random.default_rng(0)
    metric = metrics.get_metric(kind)
    for _ in range(300):
        classes = rng.integers(2, 5)
        # expected counts of clips as whole numbers
        confusion = np.round(rng.dirichlet(np.full(classes, 0.3), classes) * 40).astype(int)
        confusion += np.eye(classes, dtype=int) * rng.integers(0, 60, classes)[:, None]
        if (confusion.sum(axis=1) == 0).any():
            continue
        true, predicted = np.indices((classes, classes))
        targets = np.repeat(true.ravel(), confusion.ravel())
        guessed = np.repeat(predicted.ravel(), confusion.ravel())
        sizes = confusion.sum(axis=1)
        recalls = np.diag(confusion) / sizes
        weights = sizes / sizes.sum() if kind == "f1-weighted" else np.full(classes, 1 / classes)
        most = 1.5 if kind == "f1-weighted" else 1 + sizes / (2 * sizes.min())
        bound = 1 - (weights * most * (1 - recalls)).sum()
        assert metric.score(targets, np.eye(classes)[guessed]) >= bound - 1e-12


def test_perfect_f1():
    targets = np.repeat([0, 1, 2], [50, 100, 150])
    error = 1 - 0.025 ** (1 / 300)
    weighted = perfect("f1-weighted", targets)
    assert (weighted.low, weighted.high) == (pytest.approx(1 - 1.5 * error), 1)
    macro = perfect("f1-macro", targets)
    assert weighted.method == macro.method == "exact bound"
    assert macro.low < weighted.low
    # a third class that no clip has: predicted once, it would have an F1 of 0
    scores = np.eye(3)[np.arange(40) % 2]
    args = (np.arange(40) % 2, scores, np.zeros(40, int), ungrouped(40))
    absent = confidence_interval(metrics.get_metric("f1-macro"), *args)
    assert is_missing(absent, "no bound for a score of 1")
    tags = np.eye(3, dtype=int)[targets]
    assert is_missing(perfect("f1-macro", tags), "no bound for a score of 1")


def test_perfect_areas_count_pairs():
    tags = (np.arange(100) < 20).astype(int)[:, None]
    area = perfect("roc-auc", tags)
    assert (area.low, area.high) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    more = (np.arange(100)[:, None] < [20, 5]).astype(int)
    mean = (0.025 ** (1 / 20) + 0.025 ** (1 / 5)) / 2
    assert perfect("roc-auc", more).low == pytest.approx(mean)
    folds = np.arange(100) % 4  # five pairs in each
    assert perfect("roc-auc", tags, folds).low == pytest.approx(0.025 ** (1 / 20))
    # ten groups, each with positives and negatives: five pairs of two groups
    groups = np.array([f"g{k % 10}" for k in range(100)])
    assert perfect("roc-auc", tags, groups=groups).low == pytest.approx(0.025 ** (1 / 5))
    torn = np.array([f"g{k // 10}" for k in range(100)])
    assert is_missing(perfect("roc-auc", tags, folds, torn), "no bound for a score of 1")
    reverse = confidence_interval(ROC, tags, -tags, np.zeros(100, int), ungrouped(100))
    assert (reverse.low, reverse.high) == (0.0, pytest.approx(1 - area.low))


def test_perfect_precision_is_bounded_by_what_may_be_missed():
    """Where as many positives as the tail allows are below all negatives, and vice versa."""
    tags = (np.arange(1000) < 40).astype(int)[:, None]
    interval = perfect("pr-auc", tags)
    recall, false = 0.0125 ** (1 / 40), 1 - 0.0125 ** (1 / 960)
    found = np.linspace(0, recall, 200_001)[1:]
    precision = found / (found + false * 960 / 40)
    # the integral by steps
    assert interval.low == pytest.approx(precision.mean() * recall, rel=1e-4)
    assert interval.high == 1.0


@pytest.mark.parametrize(("positives", "distance"), [(10, 3.0), (20, 4.0), (40, 5.0)])
def test_bounds_of_perfect_areas_are_below_the_true_ones(positives, distance):
    """In draws that are perfect at all, as often as in 97.5 % of all draws."""
    clips, draws = 200, 400
    targets = (np.arange(clips) < positives).astype(int)[:, None]
    rng = np.random.default_rng(0)
    population = rng.normal(size=200_000) + distance * (np.arange(200_000) < positives * 1000)
    labels = (np.arange(200_000) < positives * 1000).astype(int)
    truth = {
        "roc-auc": roc_auc_score(labels, population),
        "pr-auc": average_precision_score(labels, population),
    }
    lows = {name: perfect(name, targets).low for name in truth}
    missed = 0
    for _ in range(draws):
        scores = rng.normal(size=(clips, 1)) + distance * targets
        missed += scores[:positives].min() > scores[positives:].max()
    for name, low in lows.items():
        assert low < truth[name] or missed / draws <= 0.025 + 3 * np.sqrt(0.025 / draws)


# ---- intervals of results of earlier versions


def slow_percentiles(score, targets, scores, folds, units, draws):
    """A draw and a clip at a time."""
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
        position = q / 100 * (draws - 1)
        low = int(position)
        return means[low] + (position - low) * (means[low + 1] - means[low])

    return percentile(2.5), percentile(97.5)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("accuracy", lambda t, s: np.mean([a == b for a, b in zip(s.argmax(1), t, strict=True)])),
        ("pr-auc", lambda t, s: average_precision_score(t, s, average="macro")),
        ("r2", r2_score),
    ],
)
def test_percentile_interval_is_that_of_a_plain_loop(name, score, grouped, monkeypatch):
    assert (bootstrap.RESAMPLES, bootstrap.LEVEL, bootstrap.SEED) == (1000, 0.95, 0)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)  # a loop over scikit-learn is slow
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
    interval = percentile_interval(
        metrics.get_metric(name), targets, scores, folds, groups if grouped else ungrouped(clips)
    )
    assert (interval.low, interval.high) == pytest.approx(
        slow_percentiles(score, targets, scores, folds, units, draws=100), abs=1e-12
    )
    assert interval.unit == ("groups within folds" if grouped else "clips within folds")
    assert interval.method == "bootstrap"


def test_percentile_interval_of_a_fold_of_one_group_draws_its_clips_and_says_so():
    right, folds = np.arange(60) % 30 < 15, np.repeat([0, 1], 30)
    groups = np.array([f"g{k // 5}" if k < 30 else "alone" for k in range(60)])
    mixed = percentile_interval(ACCURACY, *label(right), folds, groups)
    assert mixed.unit == (
        "groups within folds; 1 of 2 folds hold one group each, of which clips were drawn"
    )
    assert mixed.units == 6
    every = percentile_interval(ACCURACY, *label(np.ones(10, bool)), np.arange(10), ungrouped(10))
    assert every.method == "exact binomial" and every.low == pytest.approx(0.6915, abs=5e-5)


# ---- coverage; benchmarks/validity/intervals.py has more designs and draws


COVERED = {
    "ten groups": (partial(simulation.draw_groups, clips=200, groups=10), "accuracy", 120),
    "ten folds of two groups": (
        partial(simulation.draw_groups, clips=200, groups=20, folds=10),
        "accuracy",
        120,
    ),
    "ten folds of one group": (
        partial(simulation.draw_groups, clips=200, groups=10, folds=10),
        "accuracy",
        120,
    ),
    "classes of five": (
        partial(simulation.draw_fives, classes=10, distance=4),
        "balanced-accuracy",
        120,
    ),
    "rare tags": (
        partial(simulation.draw_tags, clips=150, tags=20, prevalence=0.04),
        "pr-auc",
        60,
    ),
    "R² in folds": (partial(simulation.draw_numbers, clips=100, folds=5), "r2", 40),
}


@pytest.mark.parametrize(
    "design",
    [
        pytest.param(design, marks=pytest.mark.slow) if design.startswith("ten folds") else design
        for design in COVERED
    ],
)
def test_intervals_cover_what_percentiles_did_not(design, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)
    drawn, name, draws = COVERED[design]
    metric = metrics.get_metric(name)
    repeats = [drawn(np.random.default_rng(k)) for k in range(5 * draws)]
    expected = np.mean([simulation.expected_score(metric, clips) for clips in repeats])
    covered = []
    for rule in (percentile_interval, confidence_interval):
        drawn_intervals = [rule(metric, *clips) for clips in repeats[:draws]]
        covered.append(np.mean([i.low <= expected <= i.high for i in drawn_intervals]))
    # 95 %, and three standard errors of so few draws
    assert covered[0] < covered[1] > 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws)
