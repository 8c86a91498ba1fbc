"""Logistic regression by scikit-learn, as a baseline."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from probekit._typing import Array
from probekit.parallel import resources
from probekit.solvers.problem import Solution

_TOLERANCE = 1e-6
_MAX_ITER = 5000


def solve_sklearn(features: Array, labels: Array, grid: Sequence[float]) -> list[Solution]:
    """Minimize for each C with scikit-learn's L-BFGS and warm starts.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Standardized.
    labels : numpy.ndarray, shape (clips,)
        Class numbers; softmax, or one regression for two classes.
    grid : sequence of float > 0
        Values of C, ascending.

    Returns
    -------
    list of Solution
        One per C. The gap is NaN, or infinite if scikit-learn warns.
    """
    model = LogisticRegression(tol=_TOLERANCE, max_iter=_MAX_ITER, warm_start=True)
    solutions = []
    with resources.single_threaded():
        for c in grid:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.set_params(C=c).fit(features, labels)
            stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
            solutions.append(
                Solution(
                    coef=model.coef_.copy(),
                    intercept=np.array(model.intercept_),
                    c=c,
                    gap=float("inf") if stopped else float("nan"),
                    n_iter=int(model.n_iter_.max()),
                )
            )
    return solutions
