"""Coordinates in which logistic regression is round, so that few steps lead to its minimum.

Each kind knows how to go from its coordinates to weights and back. Weights carry the intercept in
their last column; all is in the eigenbasis of the features.
"""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

Array = npt.NDArray[Any]


class Coordinates(Protocol):
    """A linear change of variables."""

    def weights(self, point: Array) -> Array:
        """Return weights of shape (classes, dim + 1) for a point."""

    def point(self, weights: Array) -> Array:
        """Return the point of weights."""

    def gradient(self, by_weights: Array) -> Array:
        """Return the gradient by the point, from that by the weights."""


class Diagonal:
    """Each coordinate scaled by the curvature that it has at most.

    Parameters
    ----------
    variances : numpy.ndarray, shape (dim,)
        Sum of squares of the features along each eigenvector.
    c : float
        Strength of the loss.
    clips, classes : int
        Size of the problem.
    """

    def __init__(self, variances: Array, c: float, clips: int, classes: int) -> None:
        # the intercept has no penalty: its curvature is the loss's alone
        self.scale = 1 / np.sqrt(np.append(c * variances / 4 + 1, c * clips / 4))
        self.shape = (classes, len(variances) + 1)

    def weights(self, point: Array) -> Array:
        """Return weights of shape (classes, dim + 1) for a point."""
        return point.reshape(self.shape) * self.scale

    def point(self, weights: Array) -> Array:
        """Return the point of weights."""
        return (weights / self.scale).ravel()

    def gradient(self, by_weights: Array) -> Array:
        """Return the gradient by the point, from that by the weights."""
        return (by_weights * self.scale).ravel()


class Blocks:
    """The Hessian of each class at a given place, by Cholesky; what couples classes is left out.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim + 1), float32 or float64
        With a last column of ones; its type is that of the products.
    chance : numpy.ndarray, shape (clips, classes)
        Predicted probabilities at that place.
    c : float
        Strength of the loss.
    """

    def __init__(self, features: Array, chance: Array, c: float) -> None:
        factors = []
        for column in chance.T:
            hessian = _weighted(features, column * (1 - column), c)
            factors.append(_factor(_regular(hessian, c, len(features))))
        dim = features.shape[1]
        self.inverse = np.stack(
            [solve_triangular(one, np.eye(dim), lower=True, check_finite=False) for one in factors]
        )
        self.factors = np.stack(factors)

    def weights(self, point: Array) -> Array:
        """Return weights of shape (classes, dim + 1) for a point."""
        own = point.reshape(len(self.factors), 1, -1)
        return (own @ self.inverse)[:, 0]

    def point(self, weights: Array) -> Array:
        """Return the point of weights."""
        return (weights[:, None] @ self.factors)[:, 0].ravel()

    def gradient(self, by_weights: Array) -> Array:
        """Return the gradient by the point, from that by the weights."""
        return (self.inverse @ by_weights[:, :, None])[:, :, 0].ravel()


class Whole:
    """The whole Hessian of softmax regression at a given place, by Cholesky.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim + 1), float32 or float64
        With a last column of ones; its type is that of the products.
    chance : numpy.ndarray, shape (clips, classes)
        Predicted probabilities at that place.
    c : float
        Strength of the loss.
    """

    def __init__(self, features: Array, chance: Array, c: float) -> None:
        dim, classes = features.shape[1], chance.shape[1]
        hessian = np.empty((classes, dim, classes, dim))
        for k in range(classes):
            for m in range(k + 1):
                shared = chance[:, k] * ((k == m) - chance[:, m])
                block = _weighted(features, shared, c)
                if k == m:
                    block = _regular(block, c, len(features))
                hessian[k, :, m] = block
                hessian[m, :, k] = block.T
        self.factor = _factor(hessian.reshape(classes * dim, -1))
        self.shape = (classes, dim)

    def weights(self, point: Array) -> Array:
        """Return weights of shape (classes, dim + 1) for a point."""
        found = solve_triangular(self.factor, point, lower=True, trans=1, check_finite=False)
        return found.reshape(self.shape)

    def point(self, weights: Array) -> Array:
        """Return the point of weights."""
        return self.factor.T @ weights.ravel()

    def gradient(self, by_weights: Array) -> Array:
        """Return the gradient by the point, from that by the weights."""
        return solve_triangular(self.factor, by_weights.ravel(), lower=True, check_finite=False)


def _weighted(features: Array, each: Array, c: float) -> Array:
    """Return c · Σ each · x xᵀ."""
    weighted = features * (c * each).astype(features.dtype)[:, None]
    return np.asarray(weighted.T @ features, np.float64)


def _regular(hessian: Array, c: float, clips: int) -> Array:
    """Add the penalty's curvature, and what rounding needs to stay positive definite."""
    diagonal = np.einsum("ii->i", hessian)
    diagonal *= 1 + 1e-12
    diagonal[:-1] += 1
    diagonal[-1] += 1e-8 * c * clips  # softmax does not change if all intercepts do
    return hessian


def _factor(hessian: Array) -> Array:
    return cholesky(hessian, lower=True, overwrite_a=True, check_finite=False)
