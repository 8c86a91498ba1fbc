"""Significance tests of differences, and the correction for many of them."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from probekit._typing import Array

_MIN_CROSSINGS = 10  # changes of sign below which their count is too coarse


def bootstrap_p(differences: Array, degrees_of_freedom: int) -> float:
    """Return the two-sided p-value of a bootstrap: how often the difference changes its sign.

    Where fewer than ten resamples change it, the count is too coarse, and after a correction for
    many comparisons nothing could be significant. There p comes from the mean of the resamples
    over their standard deviation, by Student's t distribution; it is never above the count.

    Parameters
    ----------
    differences : numpy.ndarray, shape (resamples,)
        Between two runs on the same draws.
    degrees_of_freedom : int >= 1
        Units that are drawn, less one for each fold.

    Returns
    -------
    float
        At most 1; a difference of 0 counts for both sides. Where all differences are the same, the
        least that can be counted: 2 / (resamples + 1).
    """
    crossings = int(min((differences <= 0).sum(), (differences >= 0).sum()))
    counted = min(1.0, 2 * (crossings + 1) / (len(differences) + 1))
    spread = float(np.std(differences))
    if crossings >= _MIN_CROSSINGS or spread == 0:
        return counted
    statistic = abs(np.mean(differences)) / spread
    return min(counted, float(2 * student.sf(statistic, degrees_of_freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for several tests (Holm, Scand. J. Statistics 6, 1979).

    Parameters
    ----------
    p_values : sequence of float, each from 0 to 1
        One a test.

    Returns
    -------
    list of float
        In the same order; at most 1.

    Examples
    --------
    >>> from probekit.metrics.significance import holm
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in adjusted]


def corrected_t_test(differences: Array, test_over_train: float) -> float:
    """Return the two-sided p-value of the corrected resampled t-test (Nadeau and Bengio, 2003).

    Parameters
    ----------
    differences : numpy.ndarray, shape (repeats,), at least two
        Between two learners, fold by fold or split by split.
    test_over_train : float >= 0
        Test clips for each training clip; 0 for the plain t-test.

    Returns
    -------
    float
        1 where all differences are 0, 0 where they are all the same and not 0.
    """
    repeats = len(differences)
    mean, variance = float(np.mean(differences)), float(np.var(differences, ddof=1))
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    statistic = mean / np.sqrt((1 / repeats + test_over_train) * variance)
    return float(2 * student.sf(abs(statistic), repeats - 1))
