"""Tests of the difference between two runs, and the correction for many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while

from probekit._typing import Array

LEVEL, POWER = 0.05, 0.8
TESTS = ("components", "corrected-t", "units")
MIN_TRAINING = 0.2  # variation from training sets that is always assumed, of the units' variation


@dataclass(frozen=True)
class DifferenceTest:
    """A difference with its standard error, to be judged by Student's t distribution.

    Attributes
    ----------
    difference : float
        First less second.
    standard_error : float
        Of the difference; 0 where nothing varies.
    degrees_of_freedom : float
        Of the standard error, at least 1.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def p(self) -> float:
        """Two-sided p-value; 1 for no difference, and for a standard error that is not finite."""
        if self.difference == 0 or not np.isfinite(self.standard_error):
            return 1.0
        if self.standard_error == 0:  # no less than the exact flip of the signs of all units
            return float(min(1.0, 2.0**-self.degrees_of_freedom))
        statistic = abs(self.difference) / self.standard_error
        return float(2 * scipy.special.stdtr(self.degrees_of_freedom, -statistic))

    def interval(self, level: float = 1 - LEVEL, bound: float = np.inf) -> tuple[float, float]:
        """Return the interval of the difference; without 0 exactly where p < 1 - level.

        It ends at ``bound``, the greatest difference that the metric allows: with one degree of
        freedom it would often pass it.
        """
        quantile = -scipy.special.stdtrit(self.degrees_of_freedom, (1 - level) / 2)
        reach = quantile * self.standard_error
        low, high = np.clip([self.difference - reach, self.difference + reach], -bound, bound)
        return float(low), float(high)

    def detectable(self, level: float = LEVEL, power: float = POWER) -> float:
        """Return the smallest true difference that is significant with this power.

        Parameters
        ----------
        level : float
            Level of the two-sided test; a fraction of 0.05 where several runs are compared.
        power : float
            Share of repetitions of the study in which it would be significant.

        Returns
        -------
        float
            In units of the metric, for as much noise as was measured here.
        """
        quantiles = -scipy.special.stdtrit(self.degrees_of_freedom, [level / 2, 1 - power])
        return float(quantiles.sum() * self.standard_error)

    def posterior(self, rope: float) -> tuple[float, float, float]:
        """Return the probabilities that the first is better, both are equivalent, the second is.

        The Bayesian correlated t-test (Corani and Benavoli, Machine Learning 100, 2015): with a
        flat prior the difference has a t distribution, with this standard error.

        Parameters
        ----------
        rope : float >= 0
            Differences up to here are of no practical interest.

        Returns
        -------
        tuple of float
            That the difference is above, within and below ±rope; they sum to 1.
        """
        df, scale = self.degrees_of_freedom, self.standard_error
        if scale == 0 or not np.isfinite(scale):
            if not np.isfinite(scale):
                return 0.5, 0.0, 0.5
            above, below = float(self.difference > rope), float(self.difference < -rope)
            return above, 1 - above - below, below
        above = float(scipy.special.stdtr(df, (self.difference - rope) / scale))
        below = float(scipy.special.stdtr(df, (-rope - self.difference) / scale))
        return above, 1 - above - below, below


def unit_test(variance: float, differences: Array, units: int) -> DifferenceTest:
    """Test a difference by the variation between test clips (or groups) alone.

    Parameters
    ----------
    variance : float
        Of the mean over folds, when units are drawn within folds.
    differences : numpy.ndarray, shape (folds,)
        Of each fold.
    units : int
        Units on which the two runs differ, less one for each fold.

    Returns
    -------
    DifferenceTest
        For probes as they were trained: another training set is not considered.
    """
    return DifferenceTest(float(np.mean(differences)), float(np.sqrt(variance)), max(1, units))


def add_variance(test: DifferenceTest, variance: float, degrees: float) -> DifferenceTest:
    """Return a test whose difference has a further, independent source of variation.

    Degrees of freedom are those of Satterthwaite (Biometrics Bulletin 2, 1946).
    """
    parts = np.array([test.standard_error**2, variance])
    total = float(parts.sum())
    if total == 0:
        return test
    df = total**2 / (parts**2 / [test.degrees_of_freedom, degrees]).sum()
    return DifferenceTest(test.difference, float(np.sqrt(total)), max(1.0, float(df)))


def corrected_t(differences: Array, test_over_train: float) -> DifferenceTest:
    """Return the corrected resampled t-test (Nadeau and Bengio, 2003).

    Parameters
    ----------
    differences : numpy.ndarray, shape (repeats,), at least two
        Between two learners, fold by fold or split by split.
    test_over_train : float >= 0
        Test clips for each training clip; 0 for the plain t-test.

    Returns
    -------
    DifferenceTest
        With one degree of freedom less than there are repeats.
    """
    repeats = len(differences)
    variance = (1 / repeats + test_over_train) * float(np.var(differences, ddof=1))
    return DifferenceTest(float(np.mean(differences)), float(np.sqrt(variance)), repeats - 1)


def variance_components(
    differences: Array, unit_variances: Array, units: float, test_over_train: float
) -> DifferenceTest:
    """Test a difference over folds by its two sources of variation.

    Test clips differ from fold to fold, and their variation averages out over folds: of that,
    ``unit_variances`` tell. What folds differ by beyond it comes from the training sets, which
    overlap: that part alone gets the correction of Nadeau and Bengio (2003). It is taken to be no
    less than a fifth of the clips' variation, since so few folds cannot show that it is less; with
    that, and not without, unstable probes keep the level too (``make validity``).

    Parameters
    ----------
    differences : numpy.ndarray, shape (folds,)
        Of each fold.
    unit_variances : numpy.ndarray, shape (folds,)
        Variance of each fold's difference when its clips (or groups) are drawn again.
    units : float
        Units on which the two runs differ, less one for each fold.
    test_over_train : float >= 0
        Test clips for each training clip.

    Returns
    -------
    DifferenceTest
        With the degrees of freedom of Satterthwaite (1946). With one fold, of the units alone.
    """
    folds, units = len(differences), max(1.0, units)
    mean, within = float(np.mean(differences)), float(np.mean(unit_variances))
    if folds == 1:
        return DifferenceTest(mean, float(np.sqrt(within)), units)
    between, overlap = float(np.var(differences, ddof=1)), 1 / folds + test_over_train
    if between <= (1 + MIN_TRAINING) * within:
        variance = within / folds + overlap * MIN_TRAINING * within
        return DifferenceTest(mean, float(np.sqrt(variance)), units)
    parts = np.array([overlap * between, -test_over_train * within])
    variance = parts.sum()
    df = variance**2 / (parts**2 / [folds - 1, units]).sum()
    return DifferenceTest(mean, float(np.sqrt(variance)), max(1.0, float(df)))


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
