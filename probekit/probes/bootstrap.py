"""Score many resamples of the same predictions at once.

A resample is a count for each clip: how often it was drawn. Most metrics are made of sums over
clips, so that all resamples are one matrix product; areas under curves need one sort a class,
whatever the number of resamples.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from probekit.tasks.metrics import Metric

Array = npt.NDArray[Any]
Rescore = Callable[[Array], Array]
_CHUNK = 1 << 24  # counts held at once


def draws(rng: np.random.Generator, unit: Array, resamples: int) -> Iterator[Array]:
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


def rescorer(metric: Metric, targets: Array, scores: Array) -> Rescore:
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
        return _curves(kind, targets, scores)
    if kind in ("accuracy", "f1-samples", "lwlrap") or kind.startswith("top-"):
        return _ratio(*_shares(metric, kind, targets, scores))
    if kind == "log-loss" and targets.ndim == 1:
        return _ratio(_each(metric, targets, scores), np.ones(len(targets)))
    if kind == "balanced-accuracy":
        hot = targets[:, None] == np.arange(scores.shape[1])
        right = scores.argmax(axis=1) == targets
        return _mean_of_ratios(hot * right[:, None], hot)
    if kind in ("mae", "log-loss"):
        own = _each_class(metric, targets, scores)
        return _mean_of_ratios(own, np.ones_like(own))
    return _one_by_one(metric, targets, scores)


def _shares(metric: Metric, kind: str, targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return each clip's share of the metric's numerator and denominator."""
    if kind == "lwlrap":
        weight = (targets > 0).sum(axis=1).astype(float)
        own = np.zeros(len(targets))
        some = np.flatnonzero(weight)
        own[some] = _each(metric, targets[some], scores[some]) * weight[some]
        return own, weight
    return _each(metric, targets, scores), np.ones(len(targets))


def _each(metric: Metric, targets: Array, scores: Array) -> Array:
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


def _curves(kind: str, targets: Array, scores: Array) -> Rescore:
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


def _one_by_one(metric: Metric, targets: Array, scores: Array) -> Rescore:
    """Prepare any other metric: repeat the clips and score them."""

    def rescore(counts: Array) -> Array:
        rows = np.arange(counts.shape[1])
        drawn = [np.repeat(rows, one) for one in counts]
        return np.array([metric.score(targets[own], scores[own]) for own in drawn])

    return rescore
