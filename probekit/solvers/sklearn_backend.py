"""The same fits by scikit-learn, to compare with."""

import warnings
from collections.abc import Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from probekit._typing import Array
from probekit.parallel import resources
from probekit.solvers.problem import Solution

_TOLERANCE = 1e-6
_STEPS = 5000


def solve_sklearn(features: Array, labels: Array, grid: Sequence[float]) -> list[Solution]:
    """Minimize for each C with scikit-learn's L-BFGS and warm starts.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Standardized.
    labels : numpy.ndarray, shape (clips,)
        Class numbers: a softmax over them, or one regression where there are two.
    grid : sequence of float > 0
        Values of C, ascending.

    Returns
    -------
    list of Solution
        One for each C. The gap is NaN, or infinite where scikit-learn warns.
    """
    model = LogisticRegression(tol=_TOLERANCE, max_iter=_STEPS, warm_start=True)
    found = []
    with resources.single_threaded():
        for c in grid:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ConvergenceWarning)
                model.set_params(C=c).fit(features, labels)
            stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
            found.append(
                Solution(
                    coef=model.coef_.copy(),
                    intercept=np.array(model.intercept_),
                    c=c,
                    gap=float("inf") if stopped else float("nan"),
                    n_iter=int(model.n_iter_.max()),
                )
            )
    return found
