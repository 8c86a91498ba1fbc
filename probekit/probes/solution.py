"""What a solver returns."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


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
    steps: int
