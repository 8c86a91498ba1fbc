"""The linear probe: standardize, then an L2-regularized linear model, along a path of C.

scikit-learn defines what is fitted: multinomial logistic regression for one label a clip, one
logistic regression a class for several, ridge regression for numbers. ``C`` is scikit-learn's: the
loss is ``½‖w‖² + C · Σ loss``, the intercept is free. What fits it is probekit's own solver, or
scikit-learn's, as asked.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from probekit.errors import DataError
from probekit.probes.solver import Solution, solve_path

Array = npt.NDArray[Any]

GRID = tuple(float(c) for c in np.logspace(-5, 6, 12))
SOLVERS = ("probekit", "scikit-learn")
CERTIFIED = 1e-5  # relative gap up to which a fit counts as converged


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
    constant = spread <= 1e-9 * np.abs(wide).max(axis=0)  # but for rounding
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
        Steps of the solver.
    gap : float
        Upper bound of (objective - minimum) / objective; NaN where the solver proves none.
    """

    scaler: Scaler
    coef: Array
    intercept: Array
    c: float
    converged: bool
    iterations: int
    gap: float

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities: they are logits, or numbers."""
        return False

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

    def arrays(self) -> dict[str, Array]:
        """Return weights and scaler.

        Returns
        -------
        dict of str to numpy.ndarray
            ``coef`` and ``intercept``, on features less ``mean`` over ``scale``.
        """
        return {
            "coef": self.coef,
            "intercept": self.intercept,
            "mean": self.scaler.mean,
            "scale": self.scaler.scale,
        }


def fit_path(
    features: Array,
    targets: Array,
    kind: str,
    classes: int,
    grid: Sequence[float],
    solver: str = "probekit",
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
    solver : {"probekit", "scikit-learn"}
        What minimizes.

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
    fit = _certified if solver == "probekit" else _by_scikit_learn
    if kind == "multi":
        hot = targets.astype(bool)
        there = np.flatnonzero(hot.any(axis=0) & ~hot.all(axis=0))
        always = np.where(hot.all(axis=0), np.inf, -np.inf)  # a tag of all clips, or of none
        found = fit(wide, hot[:, there], grid, True) if len(there) else _constant(grid)
        return [_placed(own, one, there, always) for one in found]
    there, place = np.unique(targets, return_inverse=True)
    if len(there) < 2:
        raise DataError("all training clips have the same label: there is nothing to tell apart")
    if len(there) == 2:  # as scikit-learn: one regression, of the second class against the first
        found = [_mirrored(one) for one in fit(wide, (place == 1)[:, None], grid, True)]
    else:
        found = fit(wide, place[:, None] == np.arange(len(there)), grid, False)
    return [_placed(own, one, there, np.full(classes, -np.inf)) for one in found]


def _certified(wide: Array, hot: Array, grid: Sequence[float], independent: bool) -> list[Solution]:
    """Fit with probekit's solver, which says how close it came."""
    return solve_path(wide, hot, grid, independent=independent)


def _by_scikit_learn(
    wide: Array, hot: Array, grid: Sequence[float], independent: bool
) -> list[Solution]:
    """Fit with scikit-learn's L-BFGS and warm starts.

    The gap is not known (NaN), or infinite where it says itself that it did not converge.
    """
    found = []
    columns = [hot[:, k] for k in range(hot.shape[1])] if independent else [hot.argmax(axis=1)]
    models = [LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True) for _ in columns]
    for c in grid:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            for model, column in zip(models, columns, strict=True):
                model.set_params(C=c).fit(wide, column)
        stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
        found.append(
            Solution(
                coef=np.concatenate([model.coef_ for model in models]),
                intercept=np.concatenate([model.intercept_ for model in models]),
                c=c,
                gap=float("inf") if stopped else float("nan"),
                steps=max(int(model.n_iter_.max()) for model in models),
            )
        )
    return found


def _constant(grid: Sequence[float]) -> list[Solution]:
    """Return solutions for no classes at all."""
    return [Solution(np.zeros((0, 0)), np.zeros(0), c, 0.0, 0) for c in grid]


def _mirrored(one: Solution) -> Solution:
    """Return two rows for two classes, whose difference is the one that was fitted."""
    return replace(
        one,
        coef=np.concatenate([-one.coef, one.coef]) / 2,
        intercept=np.concatenate([-one.intercept, one.intercept]) / 2,
    )


def _placed(own: Scaler, one: Solution, there: Array, absent: Array) -> Probe:
    """Give every class its row, also those that could not be fitted."""
    coef = np.zeros((len(absent), len(own.mean)))
    intercept = absent.copy()
    if len(there):
        coef[there], intercept[there] = one.coef, one.intercept
    converged = not one.gap > CERTIFIED
    return Probe(own, coef, intercept, one.c, converged, one.steps, one.gap)


def _ridge(own: Scaler, wide: Array, targets: Array, c: float) -> Probe:
    """Fit numbers: ½‖w‖² + C · ½ Σ error², so that C means the same as for classes."""
    model = Ridge(alpha=1.0 / c).fit(wide, targets)
    coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    return Probe(own, coef, intercept, c, True, 1, 0.0)
