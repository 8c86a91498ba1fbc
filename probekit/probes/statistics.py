"""How sure a score is: bootstrap intervals over groups or clips, within folds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.probes import bootstrap
from probekit.tasks.metrics import Metric

Array = npt.NDArray[Any]
RESAMPLES, LEVEL, SEED = 1000, 0.95, 0
RULES = [LEVEL, RESAMPLES, SEED, 2]  # what names an interval's method; 2: groups, fold by fold
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
    units = Units.of(folds, groups)
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
class Units:
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
    def of(cls, folds: Array, groups: Array) -> "Units":
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
                bootstrap.rescorer(metric, targets[rows], scores[rows]) for scores in several
            ]
            first = 0
            for counts in bootstrap.draws(rng, unit, RESAMPLES):
                own = np.stack([one(counts) for one in rescore], axis=1)
                means[first : first + len(counts)] += own
                first += len(counts)
        return means / len(self.folds)


def _numbered(groups: Array) -> Array:
    """Return the number of each clip's group; a clip without one is on its own."""
    names, numbers = np.unique(groups, return_inverse=True)
    return np.where(groups == "", len(names) + np.arange(len(groups)), numbers)
