"""The linear probe: standardize, then an L2-regularized linear model, along a path of C.

scikit-learn defines what is fitted: multinomial logistic regression for one label a clip, one
logistic regression a class for several, ridge regression for numbers. ``C`` is scikit-learn's: the
loss is ``½‖w‖² + C · Σ loss``, the intercept is free.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from probekit.errors import DataError

Array = npt.NDArray[Any]

GRID = tuple(float(c) for c in np.logspace(-5, 6, 12))
TOLERANCE = 1e-5
ITERATIONS = 3000


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of the training clips.

    Attributes
    ----------
    mean, scale : numpy.ndarray, shape (dim,)
        A feature that does not vary keeps scale 1.
    """

    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        """Return features standardized, in float64."""
        return (features - self.mean) / self.scale


def scaler(features: Array) -> Scaler:
    """Return the standardization of training features.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Training clips only.

    Returns
    -------
    Scaler
        To be applied to any clips.
    """
    wide = features.astype(np.float64)
    spread = wide.std(axis=0)
    constant = spread <= 1e-9 * np.maximum(1.0, np.abs(wide).max(axis=0))
    return Scaler(wide.mean(axis=0), np.where(constant, 1.0, spread))


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe.

    Attributes
    ----------
    scaler : Scaler
        Applied before the weights.
    coef : numpy.ndarray, shape (classes, dim)
        Weights on standardized features; a class without training clips has zeros.
    intercept : numpy.ndarray, shape (classes,)
        Minus infinity for a class without training clips (a class never predicted).
    c : float
        Strength of the data against the regularization.
    converged : bool
        Whether the solver reached its tolerance.
    iterations : int
        The most that any of its problems took.
    """

    scaler: Scaler
    coef: Array
    intercept: Array
    c: float
    converged: bool
    iterations: int

    def scores(self, features: Array) -> Array:
        """Return the decision values.

        Parameters
        ----------
        features : numpy.ndarray, shape (clips, dim)
            Not standardized.

        Returns
        -------
        numpy.ndarray, shape (clips, classes)
            Logits, or predicted numbers for regression.
        """
        return self.scaler(features) @ self.coef.T + self.intercept


def fit_path(
    features: Array, targets: Array, kind: str, classes: int, grid: Sequence[float]
) -> list[Probe]:
    """Fit a probe for each C, from strong to weak regularization, each from the one before.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Training clips.
    targets : numpy.ndarray
        As :meth:`probekit.manifest.Manifest.targets` gives them.
    kind : {"single", "multi", "regression"}
        What the targets are.
    classes : int
        Columns of the result, also where some class has no training clip.
    grid : sequence of float > 0
        Values of C, ascending.

    Returns
    -------
    list of Probe
        One for each C.

    Raises
    ------
    DataError
        If features are not finite, or all training clips have the same label.
    """
    if not np.isfinite(features).all():
        rows = int((~np.isfinite(features).all(axis=1)).sum())
        raise DataError(f"{rows} of {len(features)} embeddings hold NaN or infinite values")
    own = scaler(features)
    wide = own(features)
    if kind == "regression":
        return [_ridge(own, wide, targets, c) for c in grid]
    if kind == "multi":
        columns = [_logistic(wide, targets[:, k], grid) for k in range(classes)]
        return [_joined(own, [column[i] for column in columns]) for i in range(len(grid))]
    present = np.unique(targets)
    if len(present) < 2:
        raise DataError("all training clips have the same label: there is nothing to tell apart")
    return [_spread(own, one, present, classes) for one in _logistic(wide, targets, grid)]


@dataclass(frozen=True)
class _One:
    """What one logistic regression came to."""

    coef: Array
    intercept: Array
    c: float
    converged: bool
    iterations: int


def _logistic(wide: Array, targets: Array, grid: Sequence[float]) -> list[_One]:
    """Fit along the grid with warm starts; a tag without both values is constant."""
    if targets.min() == targets.max():
        sure = np.full(1, -np.inf if targets[0] == 0 else np.inf)
        return [_One(np.zeros((1, wide.shape[1])), sure, c, True, 0) for c in grid]
    model = LogisticRegression(tol=TOLERANCE, max_iter=ITERATIONS, warm_start=True)
    found = []
    for c in grid:
        model.set_params(C=c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(wide, targets)
        converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
        coef, intercept = model.coef_.copy(), model.intercept_.copy()
        found.append(_One(coef, intercept, c, converged, int(model.n_iter_.max())))
    return found


def _spread(own: Scaler, one: _One, present: Array, classes: int) -> Probe:
    """Give every class its row, also those without training clips."""
    coef = np.zeros((classes, one.coef.shape[1]))
    intercept = np.full(classes, -np.inf)
    if len(present) == 2:  # scikit-learn keeps one row for two classes: the second against the first
        coef[present] = np.concatenate([-one.coef, one.coef]) / 2
        intercept[present] = np.concatenate([-one.intercept, one.intercept]) / 2
    else:
        coef[present], intercept[present] = one.coef, one.intercept
    return Probe(own, coef, intercept, one.c, one.converged, one.iterations)


def _joined(own: Scaler, columns: list[_One]) -> Probe:
    return Probe(
        own,
        np.concatenate([one.coef for one in columns]),
        np.concatenate([one.intercept for one in columns]),
        columns[0].c,
        all(one.converged for one in columns),
        max(one.iterations for one in columns),
    )


def _ridge(own: Scaler, wide: Array, targets: Array, c: float) -> Probe:
    """Fit numbers: ½‖w‖² + C · ½ Σ error², so that C means the same as for classes."""
    model = Ridge(alpha=1.0 / c).fit(wide, targets)
    return Probe(own, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), c, True, 1)
