"""How sure a score is: bootstrap intervals over groups or clips, within folds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from probekit._typing import Array
from probekit.metrics.metrics import F1, Metric

Rescore = Callable[[Array], Array]
_CHUNK = 1 << 24  # counts held at once


def resample_counts(rng: np.random.Generator, unit: Array, resamples: int) -> Iterator[Array]:
    """Draw units with replacement, again and again.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    unit : numpy.ndarray of int, shape (clips,)
        Number of each clip's unit, from 0 on without a gap.
    resamples : int >= 1
        How many.

    Yields
    ------
    numpy.ndarray of int32, shape (some resamples, clips)
        How often each clip was drawn.
    """
    units = int(unit.max()) + 1
    most = max(1, _CHUNK // len(unit))
    for first in range(0, resamples, most):
        rows = range(first, min(first + most, resamples))
        counts = np.stack(
            [np.bincount(rng.integers(0, units, units), minlength=units) for _ in rows]
        )
        yield counts.astype(np.int32)[:, unit]


def make_resampled_metric(metric: Metric, targets: Array, scores: Array) -> Rescore:
    """Prepare a metric for resamples.

    Parameters
    ----------
    metric : Metric
        Which one.
    targets, scores : numpy.ndarray
        Of the clips, as the metric wants them.

    Returns
    -------
    callable
        Takes counts of shape (resamples, clips) and returns the metric of each, shape
        (resamples,): what ``metric.score`` gives for clips repeated so often. NaN where it is not
        defined.
    """
    kind = metric.name.partition("@")[0]
    if kind in ("roc-auc", "pr-auc", "d-prime"):
        return _ranking_metric(kind, targets, scores)
    if kind in ("accuracy", "f1-samples", "lwlrap") or kind.startswith("top-"):
        return _ratio(*_shares(metric, kind, targets, scores))
    if kind == "log-loss" and targets.ndim == 1:
        return _ratio(clip_scores(metric, targets, scores), np.ones(len(targets)))
    if kind == "balanced-accuracy":
        hot = targets[:, None] == np.arange(scores.shape[1])
        right = scores.argmax(axis=1) == targets
        return _mean_of_ratios(hot * right[:, None], hot)
    if kind in ("mae", "log-loss"):
        own = _each_class(metric, targets, scores)
        return _mean_of_ratios(own, np.ones_like(own))
    return _one_by_one(metric.score, targets, scores)


def make_resampled_class_metric(metric: Metric, targets: Array, scores: Array) -> Rescore:
    """Prepare a metric of single classes for resamples; see :func:`make_resampled_metric`.

    The callable returns shape (resamples, classes): what ``metric.per_class`` gives.
    """
    kind = metric.name.partition("@")[0]
    classes = scores.shape[1]
    if kind in ("roc-auc", "pr-auc", "d-prime"):
        columns = [
            make_resampled_metric(metric, targets[:, [k]], scores[:, [k]]) for k in range(classes)
        ]
        return lambda counts: np.stack([rescore(counts) for rescore in columns], axis=1)
    if kind in F1:
        actual = one_hot(targets, classes)
        if targets.ndim == 1:
            predicted = one_hot(scores.argmax(axis=1), classes)
        else:
            predicted = scores > float(metric.name.partition("@")[2] or 0.5)
        return _ratio(2.0 * (actual & predicted), actual.astype(float) + predicted)
    if targets.ndim == 1:
        actual = one_hot(targets, classes)
        return _ratio(actual * clip_scores(metric, targets, scores)[:, None], actual.astype(float))
    return _one_by_one(metric.per_class, targets, scores)


def one_hot(targets: Array, classes: int) -> Array:
    """Return which clip has which class, shape (clips, classes), bool."""
    return targets > 0 if targets.ndim == 2 else targets[:, None] == np.arange(classes)


def _shares(metric: Metric, kind: str, targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return each clip's share of the metric's numerator and denominator."""
    if kind == "lwlrap":
        weight = (targets > 0).sum(axis=1).astype(float)
        own = np.zeros(len(targets))
        some = np.flatnonzero(weight)
        own[some] = clip_scores(metric, targets[some], scores[some]) * weight[some]
        return own, weight
    return clip_scores(metric, targets, scores), np.ones(len(targets))


def clip_scores(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return the metric of each clip on its own."""
    return np.array(
        [metric.score(targets[i : i + 1], scores[i : i + 1]) for i in range(len(targets))]
    )


def _each_class(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return the metric of each clip and class on its own, shape (clips, classes)."""
    return np.stack(
        [metric.per_class(targets[i : i + 1], scores[i : i + 1]) for i in range(len(targets))]
    )


def _drawn(counts: Array, values: Array) -> Array:
    """Return the sums of what was drawn: endless values count where they were drawn, only."""
    endless = np.isinf(values)
    if not endless.any():
        return np.asarray(counts @ values)
    sums = np.asarray(counts @ np.where(endless, 0, values))
    return np.where(counts @ endless > 0, np.inf, sums)


def _ratio(above: Array, below: Array) -> Rescore:
    def rescore(counts: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(_drawn(counts, above) / _drawn(counts, below))

    return rescore


def _mean_of_ratios(above: Array, below: Array) -> Rescore:
    """Return the mean over classes of a ratio of sums, without the classes that were not drawn."""
    both = np.concatenate([above, below], axis=1).astype(np.float64)

    def rescore(counts: Array) -> Array:
        sums = _drawn(counts, both)
        top, bottom = np.split(sums, 2, axis=1)
        there = bottom > 0
        values = np.where(there, top / np.where(there, bottom, 1), 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(values.sum(axis=1) / there.sum(axis=1))

    return rescore


def _ranking_metric(kind: str, targets: Array, scores: Array) -> Rescore:
    """Prepare areas under curves, by one sort a class."""
    ready = []
    for k in range(scores.shape[1]):
        order = np.argsort(scores[:, k], kind="stable")
        column = scores[order, k]
        positives = np.flatnonzero(targets[order, k] > 0)
        own = column[positives]
        ends = [np.searchsorted(column, own, side) for side in ("left", "right")]
        among = np.searchsorted(own, own, "left")
        ready.append((order, positives, ends, among))
    one = _precision if kind == "pr-auc" else _area

    def rescore(counts: Array) -> Array:
        found = np.full((len(counts), len(ready)), np.nan)
        total = counts.sum(axis=1, dtype=np.int64)
        for k, (order, positives, ends, among) in enumerate(ready):
            if len(positives):
                found[:, k] = one(counts[:, order], positives, ends, among, total)
        there = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            mean = np.where(there, found, 0).sum(axis=1) / there.sum(axis=1)
            if kind == "d-prime":  # infinite for an area of 0 or 1: not defined, as in the metric
                mean = np.sqrt(2) * ndtri(np.where((mean > 0) & (mean < 1), mean, np.nan))
            return np.asarray(mean)

    return rescore


def _before(counts: Array) -> Array:
    """Return cumulative sums with a zero in front."""
    found = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=found[:, 1:])
    return found


def _precision(
    counts: Array, positives: Array, ends: list[Array], among: Array, total: Array
) -> Array:
    """Return the mean over positives of the precision among those that score as high."""
    own = counts[:, positives]
    above = total[:, None] - _before(counts)[:, ends[0]]
    number = own.sum(axis=1)
    right = number[:, None] - _before(own)[:, among]
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(own > 0, right / above, 0)
        defined = (number > 0) & (number < total)
        return np.where(defined, (own * each).sum(axis=1) / number, np.nan)


def _area(counts: Array, positives: Array, ends: list[Array], among: Array, total: Array) -> Array:
    """Return how often a positive scores above a negative; ties count half."""
    own = counts[:, positives].astype(np.int64)
    passed = _before(counts)
    below = (own * (passed[:, ends[0]] + passed[:, ends[1]])).sum(axis=1)
    number = own.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((below - number**2) / (2 * number * (total - number)))


def _one_by_one(
    score: Callable[[Array, Array], float | Array], targets: Array, scores: Array
) -> Rescore:
    """Prepare any other metric: repeat the clips and score them."""

    def rescore(counts: Array) -> Array:
        rows = np.arange(counts.shape[1])
        repeated = [np.repeat(rows, count) for count in counts]
        return np.array([score(targets[clips], scores[clips]) for clips in repeated])

    return rescore


RESAMPLES, LEVEL, SEED = 1000, 0.95, 0
CI_METHOD = [LEVEL, RESAMPLES, SEED, 2]  # what names an interval's method; 2: groups, fold by fold
LONE = "hold one group each, of which clips were drawn"
FEW = 10  # units a fold below which a percentile interval is known to be too narrow


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval.

    Attributes
    ----------
    low, high : float
        Its ends.
    unit : str
        What was resampled: ``groups`` or ``clips``, within folds; and in how many folds clips were,
        for want of a second group.
    units : int
        How many of them there are in the fold that has fewest. With fewer than ten a percentile
        interval is too narrow.
    method : str
        ``bootstrap``, or ``exact binomial`` where every clip is right (or wrong) and resampling
        would claim certainty.
    """

    low: float
    high: float
    unit: str
    units: int
    method: str = "bootstrap"


def interval(
    metric: Metric, targets: Array, scores: Array, folds: Array, groups: Array
) -> Interval:
    """Return the 95 % interval of the mean over folds.

    Groups (clips where there are none) are drawn with replacement within each fold, the metric is
    computed in each fold and averaged; the interval runs from the 2.5th to the 97.5th percentile of
    1,000 such draws (seed 0). A fold that is a single group has no other to draw: there clips are
    drawn, and ``unit`` says so, since that tells nothing about other groups. Where every fold is a
    single clip, they are drawn from all of them.

    Parameters
    ----------
    metric : Metric
        The metric.
    targets, scores : numpy.ndarray
        Of all scored clips.
    folds : numpy.ndarray of int, shape (clips,)
        Which fold each clip was scored in.
    groups : numpy.ndarray of str, shape (clips,)
        Group of each clip, empty where there is none.

    Returns
    -------
    Interval
        It says how sure the score is for clips (or groups) like these; not what another training
        set would change.
    """
    units = ResamplingUnits.of(folds, groups)
    means = units.resampled(metric, targets, [scores])[:, 0]
    with np.errstate(invalid="ignore"):  # between two infinite d′
        low, high = np.nanpercentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    if metric.name == "accuracy" and low == high and low in (0.0, 1.0):
        # Clopper and Pearson (1934) for as many units, all right or all wrong
        reach = ((1 - LEVEL) / 2) ** (1 / sum(units.counts))
        low, high = (reach, 1.0) if low == 1.0 else (0.0, 1.0 - reach)
        return Interval(low, high, units.name, min(units.counts), "exact binomial")
    return Interval(float(low), float(high), units.name, min(units.counts))


@dataclass(frozen=True)
class ResamplingUnits:
    """What is drawn in a bootstrap.

    Attributes
    ----------
    folds : list of numpy.ndarray
        Rows of each fold.
    unit : list of numpy.ndarray
        For each fold, the number of each row's unit.
    name : str
        In words.
    """

    folds: list[Array]
    unit: list[Array]
    name: str

    @property
    def counts(self) -> list[int]:
        """The number of units of each fold."""
        return [int(own.max()) + 1 for own in self.unit]

    @property
    def freedom(self) -> int:
        """Degrees of freedom: units less one for each fold, at least 1."""
        return max(1, sum(count - 1 for count in self.counts))

    @classmethod
    def of(cls, folds: Array, groups: Array) -> "ResamplingUnits":
        """Return what to draw: groups, or clips, within folds; see :func:`interval`."""
        places = [np.flatnonzero(folds == k) for k in np.unique(folds)]
        one_by_one = all(len(rows) == 1 for rows in places)
        if one_by_one:
            places = [np.arange(len(folds))]
        numbers = _numbered(groups)
        several = [len(np.unique(numbers[rows])) > 1 for rows in places]
        each = [
            np.unique(numbers[rows] if drawn else rows, return_inverse=True)[1]
            for rows, drawn in zip(places, several, strict=True)
        ]
        grouped = bool((groups != "").any())
        what = "groups" if grouped and any(several) else "clips"
        if not one_by_one:
            what += " within folds"
        lone = several.count(False)
        if grouped and lone:
            what += f"; {lone} of {len(places)} folds {LONE}"
        return cls(places, each, what)

    def resampled(self, metric: Metric, targets: Array, several: list[Array]) -> Array:
        """Return the mean over folds of each resample, for several scores of the same clips.

        Parameters
        ----------
        metric : Metric
            The metric.
        targets : numpy.ndarray
            Of all clips.
        several : list of numpy.ndarray
            Scores of as many runs, row for row the same clips: the same draws for each.

        Returns
        -------
        numpy.ndarray, shape (1000, runs)
            NaN where the metric is not defined on a draw.
        """
        rng = np.random.default_rng(SEED)
        means = np.zeros((RESAMPLES, len(several)))
        for rows, unit in zip(self.folds, self.unit, strict=True):
            rescore = [
                make_resampled_metric(metric, targets[rows], scores[rows]) for scores in several
            ]
            first = 0
            for counts in resample_counts(rng, unit, RESAMPLES):
                own = np.stack([one(counts) for one in rescore], axis=1)
                means[first : first + len(counts)] += own
                first += len(counts)
        return means / len(self.folds)


def _numbered(groups: Array) -> Array:
    """Return the number of each clip's group; a clip without one is on its own."""
    names, numbers = np.unique(groups, return_inverse=True)
    return np.where(groups == "", len(names) + np.arange(len(groups)), numbers)
