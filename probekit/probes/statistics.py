"""How sure a score is: bootstrap intervals over groups or clips, within folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.tasks.metrics import Metric

Array = npt.NDArray[Any]
RESAMPLES, LEVEL, SEED = 1000, 0.95, 0


@dataclass(frozen=True)
class Interval:
    """A percentile bootstrap interval.

    Attributes
    ----------
    low, high : float
        Its ends.
    unit : str
        What was resampled: ``groups`` or ``clips``, within folds.
    method : str
        ``bootstrap``, or ``exact binomial`` where every clip is right (or wrong) and resampling
        would claim certainty.
    """

    low: float
    high: float
    unit: str
    method: str = "bootstrap"


def interval(
    metric: Metric, targets: Array, scores: Array, folds: Array, groups: Array
) -> Interval:
    """Return the 95 % interval of the mean over folds.

    Groups (clips where there are none) are drawn with replacement within each fold, the metric is
    computed in each fold and averaged; the interval runs from the 2.5th to the 97.5th percentile of
    1,000 such draws (seed 0). Where a fold has a single group, clips are drawn in all folds; where
    every fold is a single clip, they are drawn from all of them.

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
    rng = np.random.default_rng(SEED)
    places = [np.flatnonzero(folds == k) for k in np.unique(folds)]
    one_by_one = all(len(rows) == 1 for rows in places)
    if one_by_one:
        places = [np.arange(len(folds))]
    numbers = _numbered(groups)
    grouped = bool((groups != "").any()) and all(len(set(numbers[p])) > 1 for p in places)
    means = np.zeros(RESAMPLES)
    units = 0
    for rows in places:
        _, unit = np.unique(numbers[rows] if grouped else rows, return_inverse=True)
        if metric.name == "accuracy":
            right = scores[rows].argmax(axis=1) == targets[rows]
            means += _resampled_shares(rng, right, unit)
        else:
            means += _resampled(rng, metric, targets[rows], scores[rows], unit)
        units += int(unit.max()) + 1
    low, high = np.nanpercentile(means / len(places), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    what = ("groups" if grouped else "clips") + ("" if one_by_one else " within folds")
    if metric.name == "accuracy" and low == high and low in (0.0, 1.0):
        # Clopper and Pearson (1934) for as many units, all right or all wrong
        reach = ((1 - LEVEL) / 2) ** (1 / units)
        low, high = (reach, 1.0) if low == 1.0 else (0.0, 1.0 - reach)
        return Interval(low, high, what, "exact binomial")
    return Interval(float(low), float(high), what)


def _numbered(groups: Array) -> Array:
    """Return the number of each clip's group; a clip without one is on its own."""
    names, numbers = np.unique(groups, return_inverse=True)
    return np.where(groups == "", len(names) + np.arange(len(groups)), numbers)


def _resampled_shares(rng: np.random.Generator, right: Array, unit: Array) -> Array:
    """Draw units and return the share of right clips of each draw."""
    sizes, hits = np.bincount(unit), np.bincount(unit, weights=right)
    found = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn = rng.integers(0, len(sizes), len(sizes))
        found[k] = hits[drawn].sum() / sizes[drawn].sum()
    return found


def _resampled(
    rng: np.random.Generator, metric: Metric, targets: Array, scores: Array, unit: Array
) -> Array:
    """Draw units and score their clips, draw after draw."""
    order = np.argsort(unit, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(unit[order])) + 1)
    found = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[u] for u in drawn])
        found[k] = metric.score(targets[rows], scores[rows])
    return found
