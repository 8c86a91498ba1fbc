"""Tests of differences: their p-values, and what to do about many of them."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from probekit._typing import Array

_TAIL = 10  # changes of sign that can be counted on


def bootstrap_p(differences: Array, freedom: int) -> float:
    """Return the two-sided p-value of a bootstrap: how often the difference changes its sign.

    Where fewer than ten resamples change it, the count says too little, and after a correction for
    many comparisons nothing could be beyond chance. There p comes from the mean of the resamples
    over their spread, by Student's t distribution; it is never above the count.

    Parameters
    ----------
    differences : numpy.ndarray, shape (resamples,)
        Of two runs on the same draws.
    freedom : int >= 1
        Degrees of freedom: units that are drawn, less one for each fold.

    Returns
    -------
    float
        At most 1; a difference of 0 counts for both sides. Where all differences are the same, the
        least that can be counted: 2 / (resamples + 1).
    """
    tail = int(min((differences <= 0).sum(), (differences >= 0).sum()))
    counted = min(1.0, 2 * (tail + 1) / (len(differences) + 1))
    spread = float(np.std(differences))
    if tail >= _TAIL or spread == 0:
        return counted
    return min(counted, float(2 * student.sf(abs(np.mean(differences)) / spread, freedom)))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm, Scand. J. Statistics 6, 1979).

    Parameters
    ----------
    p : sequence of float, each from 0 to 1
        Of as many tests.

    Returns
    -------
    list of float
        In the same order; at most 1.
    """
    order = np.argsort(p)
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in found]


def corrected_t(differences: Array, test_over_train: float) -> float:
    """Return the two-sided p-value of the corrected resampled t-test.

    Parameters
    ----------
    differences : numpy.ndarray, shape (repeats,), at least two
        Of two learners, fold by fold or split by split.
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
