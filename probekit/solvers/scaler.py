"""Standardization of features: mean 0 and variance 1 per column, safe for constant columns."""

from dataclasses import dataclass

import numpy as np

from probekit._typing import Array

ROUNDING = 1e-9  # a column whose deviation is below this share of its largest value is constant


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of training clips.

    Attributes
    ----------
    mean, scale : numpy.ndarray, shape (dim,)
        A constant feature has scale 1.
    """

    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        """Return standardized features, float64."""
        return (features - self.mean) / self.scale


def fit_scaler(features: Array) -> Scaler:
    """Return the scaler of the training clips ``features``, shape (clips, dim)."""
    return _fit(features.astype(np.float64))[0]


def standardize(matrix: Array) -> Array:
    """Return a matrix, shape (n, dim), with standardized columns; constant columns become 0."""
    values = matrix.astype(np.float64)
    scaler, constant = _fit(values)
    return np.where(constant, 0.0, scaler(values))


def _fit(values: Array) -> tuple[Scaler, Array]:
    """Return the scaler of float64 values, and which columns are constant up to rounding."""
    std = values.std(axis=0)
    constant = std <= ROUNDING * np.abs(values).max(axis=0, initial=0.0)
    return Scaler(values.mean(axis=0), np.where(constant, 1.0, std)), constant
