"""What is fitted to a set of training clips, and the solution of a fit."""

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
        Unpenalized.
    c : float
        As in scikit-learn.
    gap : float
        Upper bound of (objective - minimum) / objective; NaN if the solver proves none, infinite if
        it reports that it did not converge.
    n_iter : int
        Iterations of the solver.
    """

    coef: Array
    intercept: Array
    c: float
    gap: float
    n_iter: int


@dataclass(frozen=True)
class Problem:
    """What is fitted to one set of training clips.

    Attributes
    ----------
    form : {"ovr", "binary", "multinomial", "ridge"}
        One logistic regression per tag, one for two classes, a softmax, or ridge regression.
    classes : numpy.ndarray of int
        Classes that can be fitted.
    fixed_intercepts : numpy.ndarray, shape (classes,)
        Intercepts of all others: minus infinity for a class without clips, infinity for a tag of
        all clips.
    """

    form: str
    classes: Array
    fixed_intercepts: Array

    def assemble(self, solutions: Sequence[Solution], dim: int) -> Solution:
        """Return one solution of shape (classes, dim), with the largest gap and ``n_iter``.

        ``solutions`` are those for one C: one per tag, or a single one for all other forms.
        """
        intercept = self.fixed_intercepts.copy()
        coef = np.zeros((len(intercept), dim))
        if self.form == "binary":  # the difference of the two rows is what was fitted
            first, second = self.classes
            coef[second], intercept[second] = (
                solutions[0].coef[0] / 2,
                solutions[0].intercept[0] / 2,
            )
            coef[first], intercept[first] = -coef[second], -intercept[second]
        elif solutions:
            coef[self.classes] = np.concatenate([solution.coef for solution in solutions])
            intercept[self.classes] = np.concatenate([s.intercept for s in solutions])
        gaps = [solution.gap for solution in solutions]
        return Solution(
            coef,
            intercept,
            solutions[0].c if solutions else float("nan"),
            float(np.max(gaps)) if gaps else 0.0,
            max((solution.n_iter for solution in solutions), default=0),
        )


def make_problem(targets: Array, target: str, classes: int) -> Problem:
    """Return what is fitted to training clips.

    Parameters
    ----------
    targets : numpy.ndarray
        Targets of the training clips; NaN for a tag that is unknown.
    target : {"single", "multi", "regression"}
        Kind of targets.
    classes : int
        Number of classes of the task.

    Returns
    -------
    Problem
        For these clips.

    Raises
    ------
    DataError
        If all clips have the same label.
    """
    if target == "regression":
        return Problem("ridge", np.arange(classes), np.zeros(classes))
    never = np.full(classes, -np.inf)
    if target == "multi":
        positive, negative = targets > 0, targets == 0  # neither where a tag is unknown
        always = positive.any(axis=0) & ~negative.any(axis=0)
        fitted = np.flatnonzero(positive.any(axis=0) & negative.any(axis=0))
        return Problem("ovr", fitted, np.where(always, np.inf, never))
    present = np.unique(targets)
    if len(present) < 2:
        raise DataError("all training clips have the same label; need at least two classes")
    return Problem("binary" if len(present) == 2 else "multinomial", present, never)
