"""What there is to fit on a set of training clips, and where its results belong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError


@dataclass(frozen=True)
class Solution:
    """The minimum for one C.

    Attributes
    ----------
    coef : numpy.ndarray, shape (classes, dim)
        Weights on features standardized by the fold.
    intercept : numpy.ndarray, shape (classes,)
        Free.
    c : float
        As in scikit-learn.
    gap : float
        Upper bound of (objective - minimum) / objective; NaN where none is proven, infinite where
        the solver says itself that it did not converge.
    steps : int
        Of the solver.
    """

    coef: Array
    intercept: Array
    c: float
    gap: float
    n_iter: int


@dataclass(frozen=True)
class Problem:
    """What is fitted on one division.

    Attributes
    ----------
    form : {"tags", "pair", "softmax", "numbers"}
        One regression a tag, one for two classes, one softmax, or ridge regression.
    there : numpy.ndarray of int
        Classes that can be fitted.
    others : numpy.ndarray, shape (classes,)
        Intercepts of those that cannot: minus infinity where there is no clip, infinity for a tag
        of all clips.
    """

    form: str
    classes: Array
    fixed_intercepts: Array

    def assemble(self, found: Sequence[Solution], dim: int) -> Solution:
        """Put what was fitted for one C into the rows of all classes.

        Parameters
        ----------
        found : sequence of Solution
            One a tag; one for all other forms.
        dim : int
            Number of features.

        Returns
        -------
        Solution
            Of shape (classes, dim), with the greatest gap and steps.
        """
        coef, intercept = np.zeros((len(self.fixed_intercepts), dim)), self.fixed_intercepts.copy()
        if self.form == "pair":  # two rows, whose difference is the one that was fitted
            first, second = self.classes
            coef[second], intercept[second] = found[0].coef[0] / 2, found[0].intercept[0] / 2
            coef[first], intercept[first] = -coef[second], -intercept[second]
        elif found:
            coef[self.classes] = np.concatenate([one.coef for one in found])
            intercept[self.classes] = np.concatenate([one.intercept for one in found])
        gaps = [one.gap for one in found]
        return Solution(
            coef,
            intercept,
            found[0].c if found else float("nan"),
            float(np.max(gaps)) if gaps else 0.0,
            max((one.n_iter for one in found), default=0),
        )


def make_problem(targets: Array, kind: str, classes: int) -> Problem:
    """Say what there is to fit.

    Parameters
    ----------
    targets : numpy.ndarray
        Of one division's clips.
    kind : {"single", "multi", "regression"}
        What they are.
    classes : int
        In all.

    Returns
    -------
    Plan
        For these clips.

    Raises
    ------
    DataError
        If all clips have the same label.
    """
    never = np.full(classes, -np.inf)
    if kind == "regression":
        return Problem("numbers", np.arange(classes), np.zeros(classes))
    if kind == "multi":
        hot = targets.astype(bool)
        some, all_ = hot.any(axis=0), hot.all(axis=0)
        return Problem("tags", np.flatnonzero(some & ~all_), np.where(all_, np.inf, never))
    there = np.unique(targets)
    if len(there) < 2:
        raise DataError("all training clips have the same label: there is nothing to tell apart")
    return Problem("pair" if len(there) == 2 else "softmax", there, never)
