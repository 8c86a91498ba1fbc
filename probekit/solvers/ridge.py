"""Ridge regression for every C from one eigendecomposition."""

from collections.abc import Sequence

import numpy as np

from probekit._typing import Array
from probekit.solvers.problem import Solution


def solve_ridge(features: Array, targets: Array, grid: Sequence[float]) -> list[Solution]:
    """Minimize ``½‖w‖² + C · ½ Σ error²`` with a free intercept; C as for logistic regression.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Centered.
    targets : numpy.ndarray, shape (clips, numbers)
        Numbers to predict.
    grid : sequence of float > 0
        Values of C.

    Returns
    -------
    list of Solution
        One per C, exact up to rounding.
    """
    targets = np.asarray(targets, np.float64).reshape(len(features), -1)
    mean = targets.mean(axis=0)
    centered = targets - mean
    dual = len(features) < features.shape[1]
    # of XᵀX or of XXᵀ, whichever is smaller: w = (XᵀX + 1/C)⁻¹ Xᵀy = Xᵀ (XXᵀ + 1/C)⁻¹ y
    eigenvalues, vectors = np.linalg.eigh(features @ features.T if dual else features.T @ features)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    projected = vectors.T @ (centered if dual else features.T @ centered)
    solutions = []
    for c in grid:
        weights = vectors @ (projected / (eigenvalues + 1 / c)[:, None])
        coef = (features.T @ weights if dual else weights).T
        solutions.append(Solution(coef, mean.copy(), float(c), 0.0, 1))
    return solutions
