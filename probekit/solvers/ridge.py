"""Ridge regression for every C from one decomposition."""

from collections.abc import Sequence

import numpy as np

from probekit._typing import Array
from probekit.solvers.problem import Solution


def solve(features: Array, targets: Array, grid: Sequence[float]) -> list[Solution]:
    """Minimize ``½‖w‖² + C · ½ Σ error²`` with a free intercept: C means what it does for classes.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Centred.
    targets : numpy.ndarray, shape (clips, numbers)
        What is predicted.
    grid : sequence of float > 0
        Values of C.

    Returns
    -------
    list of Solution
        One for each C, exact but for rounding.
    """
    targets = np.asarray(targets, np.float64).reshape(len(features), -1)
    mean = targets.mean(axis=0)
    away = targets - mean
    few = len(features) < features.shape[1]
    # of XᵀX or of XXᵀ, whichever is smaller: w = (XᵀX + 1/C)⁻¹ Xᵀy = Xᵀ (XXᵀ + 1/C)⁻¹ y
    values, vectors = np.linalg.eigh(features @ features.T if few else features.T @ features)
    values = np.maximum(values, 0.0)
    along = vectors.T @ (away if few else features.T @ away)
    found = []
    for c in grid:
        weights = vectors @ (along / (values + 1 / c)[:, None])
        coef = (features.T @ weights if few else weights).T
        found.append(Solution(coef, mean.copy(), float(c), 0.0, 1))
    return found
