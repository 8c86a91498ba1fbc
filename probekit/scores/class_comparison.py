"""Scores of single classes on many resamples at once."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

from probekit._typing import Array
from probekit.metrics import bootstrap
from probekit.metrics.bootstrap import RESAMPLES, SEED, ResamplingUnits
from probekit.metrics.metrics import F1, Metric
from probekit.scores.predictions import Predictions

Rescore = Callable[[Array], Array]


def differences(metric: Metric, one: Predictions, other: Predictions) -> Array:
    """Return the difference of each class's score on the same draws of test clips (or groups).

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    one, other : Predictions
        Row for row the same clips, in the same folds.

    Returns
    -------
    numpy.ndarray, shape (1000, classes)
        First less second, mean over the folds in which both are defined; NaN where in none.
    """
    units = ResamplingUnits.of(one.fold, one.groups)
    rng = np.random.default_rng(SEED)
    total = np.zeros((RESAMPLES, one.scores.shape[1]))
    defined = np.zeros_like(total)
    several = [side.scores_for(metric) for side in (one, other)]
    for rows, unit in zip(units.folds, units.unit, strict=True):
        sides = [
            make_resampled_metric(metric, one.targets[rows], scores[rows]) for scores in several
        ]
        first = 0
        for counts in bootstrap.resample_counts(rng, unit, RESAMPLES):
            own = sides[0](counts) - sides[1](counts)
            there = np.isfinite(own)
            total[first : first + len(counts)] += np.where(there, own, 0)
            defined[first : first + len(counts)] += there
            first += len(counts)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / defined)


def units_per_class(found: Predictions) -> Array:
    """Return how many units of the bootstrap hold each class.

    Parameters
    ----------
    found : Predictions
        Of the test clips.

    Returns
    -------
    numpy.ndarray of int, shape (classes,)
        Clips, or groups; of numbers all of them.
    """
    units = ResamplingUnits.of(found.fold, found.groups)
    classes = found.scores.shape[1]
    counts = np.zeros(classes, np.int64)
    for rows, unit in zip(units.folds, units.unit, strict=True):
        if found.target == "regression":
            counts += unit.max() + 1
            continue
        hot = _one_hot(found.targets[rows], classes)
        for k in range(classes):
            counts[k] += len(np.unique(unit[hot[:, k]]))
    return counts


def sign_test(metric: Metric, pairs: Sequence[tuple[Predictions, Predictions]]) -> Array | None:
    """Return p-values of McNemar's exact test, for metrics that call each clip right or wrong.

    The normal approximation is too sure where few clips tell two runs apart.

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    pairs : sequence of (Predictions, Predictions)
        Row for row the same clips, one pair a seed.

    Returns
    -------
    numpy.ndarray, shape (classes,), or None
        Two-sided: of the units (clips, or groups) on which one run is right more often, whether
        too many favour the same run. None for other metrics.
    """
    hits = metric.name in ("accuracy", "balanced-accuracy") or metric.name.startswith("top-")
    if not hits:
        return None
    first = pairs[0][0]
    gained = np.sum(
        [
            _clip_by_clip(metric, a.targets, a.scores) - _clip_by_clip(metric, b.targets, b.scores)
            for a, b in pairs
        ],
        axis=0,
    )
    units = ResamplingUnits.of(first.fold, first.groups)
    favour = np.zeros((first.scores.shape[1], 2), int)
    for rows, unit in zip(units.folds, units.unit, strict=True):
        for k in np.unique(first.targets[rows]):
            own = first.targets[rows] == k
            sums = np.bincount(unit[own], weights=gained[rows][own])
            favour[k] += (sums > 0).sum(), (sums < 0).sum()
    return np.array([binomtest(int(a), int(a + b)).pvalue if a + b else 1.0 for a, b in favour])


def make_resampled_metric(metric: Metric, targets: Array, scores: Array) -> Rescore:
    """Prepare a metric of single classes for resamples.

    Parameters
    ----------
    metric : Metric
        Which one.
    targets, scores : numpy.ndarray
        Of the clips, as the metric wants them.

    Returns
    -------
    callable
        Takes counts of shape (resamples, clips) and returns shape (resamples, classes): what
        ``metric.per_class`` gives for clips repeated so often.
    """
    kind = metric.name.partition("@")[0]
    classes = scores.shape[1]
    if kind in ("roc-auc", "pr-auc", "d-prime"):
        each = [
            bootstrap.make_resampled_metric(metric, targets[:, [k]], scores[:, [k]])
            for k in range(classes)
        ]
        return lambda counts: np.stack([one(counts) for one in each], axis=1)
    if kind in F1:
        true = _one_hot(targets, classes)
        said = _predicted(metric, targets, scores)
        return _ratio(2.0 * (true & said), true.astype(float) + said)
    if targets.ndim == 1:
        own = _clip_by_clip(metric, targets, scores)
        true = _one_hot(targets, classes)
        return _ratio(true * own[:, None], true.astype(float))
    return _one_by_one(metric, targets, scores)


def _clip_by_clip(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return the metric of each clip on its own."""
    return np.array(
        [metric.score(targets[i : i + 1], scores[i : i + 1]) for i in range(len(targets))]
    )


def _one_hot(targets: Array, classes: int) -> Array:
    """Return which clip has which class."""
    return targets > 0 if targets.ndim == 2 else targets[:, None] == np.arange(classes)


def _predicted(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return which classes are predicted, as F1 counts them."""
    if targets.ndim == 1:
        return _one_hot(scores.argmax(axis=1), scores.shape[1])
    threshold = float(metric.name.partition("@")[2] or 0.5)
    return scores > threshold


def _ratio(above: Array, below: Array) -> Rescore:
    def rescore(counts: Array) -> Array:
        drawn = counts.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.asarray((drawn @ above) / (drawn @ below))

    return rescore


def _one_by_one(metric: Metric, targets: Array, scores: Array) -> Rescore:
    """Prepare any other metric: repeat the clips and score them."""

    def rescore(counts: Array) -> Array:
        rows = np.arange(counts.shape[1])
        drawn = [np.repeat(rows, one) for one in counts]
        return np.stack([metric.per_class(targets[own], scores[own]) for own in drawn])

    return rescore
