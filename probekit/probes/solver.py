"""L2-regularized logistic regression along a path of C, with a proof of how close it came.

The problem is scikit-learn's: minimize ``½‖w‖² + C · Σ loss`` over the weights, with a free
intercept; the loss is softmax cross-entropy, or one logistic loss a class.

Embeddings are ill-conditioned, and plain L-BFGS takes thousands of steps on them. Here L-BFGS runs
in better coordinates: first the eigenbasis of the features with each coordinate scaled; where that
does not do, the Hessian of each class, or the whole Hessian, at the place reached so far.
It may be rough (float32) where C is small: it only shapes the coordinates, the objective is exact.

For the best intercept the objective is strongly convex with modulus 1 in ``w``, so ``½‖gradient‖²``
there bounds the distance to the minimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from probekit.probes.precondition import Blocks, Coordinates, Diagonal, Whole

Array = npt.NDArray[Any]

TOLERANCE = 1e-6  # of the certified gap, relative to the objective
_MEMORY = 20
_STEPS = 80  # of L-BFGS between two changes of coordinates
_ROUNDS = 12  # changes of coordinates for one C, at most
_WHOLE = 4000  # parameters up to which the whole Hessian is worth it
_BLOCKS = 1e11  # operations up to which the Hessians of the classes are


@dataclass(frozen=True)
class Solution:
    """The minimum for one C.

    Attributes
    ----------
    coef : numpy.ndarray, shape (classes, dim)
        Weights.
    intercept : numpy.ndarray, shape (classes,)
        Free, and optimal for the weights.
    c : float
        As in scikit-learn.
    gap : float
        Upper bound of (objective - minimum) / objective.
    steps : int
        Of L-BFGS.
    """

    coef: Array
    intercept: Array
    c: float
    gap: float
    steps: int


def solve_path(
    features: Array,
    targets: Array,
    grid: Sequence[float],
    *,
    independent: bool,
    tolerance: float = TOLERANCE,
) -> list[Solution]:
    """Minimize for each C, starting from the solution of the one before.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Centred.
    targets : numpy.ndarray, shape (clips, classes)
        0 and 1. Every class has both; each row has exactly one 1 unless ``independent``.
    grid : sequence of float > 0
        Values of C, ascending.
    independent : bool
        One logistic regression a class, instead of one softmax over classes.
    tolerance : float > 0
        The certified relative gap at which to stop.

    Returns
    -------
    list of Solution
        One for each C. Where ``gap`` is above the tolerance the solver gave up.
    """
    rotation, variances = _eigenbasis(features)
    problem = _Problem(features @ rotation, targets.astype(np.float64), independent)
    weights = np.column_stack([np.zeros((targets.shape[1], len(variances))), problem.prior()])
    level = 0
    found = []
    for c in grid:
        weights, gap, steps, level = _minimize(problem, variances, c, weights, tolerance, level)
        found.append(Solution(weights[:, :-1] @ rotation.T, weights[:, -1].copy(), c, gap, steps))
    return found


class _Problem:
    """Losses and gradients of all clips and classes together."""

    def __init__(self, features: Array, targets: Array, independent: bool) -> None:
        self.features = np.column_stack([features, np.ones(len(features))])
        self.targets = targets
        self.independent = independent

    def loss(self, scores: Array) -> tuple[float, Array]:
        """Return the summed loss, and its derivative by the scores."""
        if self.independent:
            value = -log_expit(np.where(self.targets > 0, scores, -scores)).sum()
            return float(value), expit(scores) - self.targets
        scores = scores - scores.max(axis=1, keepdims=True)
        chance = np.exp(scores)
        total = chance.sum(axis=1, keepdims=True)
        value = np.log(total).sum() - (scores * self.targets).sum()
        return float(value), chance / total - self.targets

    def chance(self, weights: Array) -> Array:
        """Return predicted probabilities."""
        return self.loss(self.features @ weights.T)[1] + self.targets

    def prior(self) -> Array:
        """Return the intercepts that are optimal without weights, to start from."""
        shares = self.targets.mean(axis=0)
        if self.independent:
            return np.asarray(np.log(shares / (1 - shares)))
        return np.asarray(np.log(shares) - np.log(shares).mean())

    def centred(self, weights: Array) -> Array:
        """Return the weights with the best intercepts for them (Newton's method)."""
        weights = weights.copy()
        fixed = self.features[:, :-1] @ weights[:, :-1].T
        for _ in range(30):
            _, slope = self.loss(fixed + weights[:, -1])
            gradient = slope.sum(axis=0)
            if np.abs(gradient).max() < 1e-10 * len(fixed):
                break
            chance = slope + self.targets
            if self.independent:
                step = gradient / np.maximum((chance * (1 - chance)).sum(axis=0), 1e-12)
            else:
                hessian = np.diag(chance.sum(axis=0)) - chance.T @ chance
                step = np.linalg.pinv(hessian, rcond=1e-12, hermitian=True) @ gradient
            weights[:, -1] -= np.clip(step, -3, 3)
        return weights


def _eigenbasis(features: Array) -> tuple[Array, Array]:
    """Return the directions in which features vary, and the sum of squares along each.

    With fewer clips than features the weights lie in the span of the clips: the problem shrinks.
    """
    if len(features) < features.shape[1]:
        _, singular, transposed = np.linalg.svd(features, full_matrices=False)
        keep = singular > 1e-12 * max(float(singular.max()), 1e-300)
        return transposed[keep].T, singular[keep] ** 2
    variances, vectors = np.linalg.eigh(features.T @ features)
    return vectors, np.maximum(variances, 0.0)


def _minimize(
    problem: _Problem, variances: Array, c: float, weights: Array, tolerance: float, level: int
) -> tuple[Array, float, int, int]:
    """Run L-BFGS in ever better coordinates until the certified gap is small.

    Returns the weights, the gap, the number of steps, and the level of coordinates reached, where
    the next C begins.
    """
    latest: dict[str, Any] = {}
    classes = problem.targets.shape[1]

    def look(own: Array) -> tuple[float, Array]:
        """Return objective and gradient by the weights, and note how far it may be."""
        loss, slope = problem.loss(problem.features @ own.T)
        value = 0.5 * float((own[:, :-1] ** 2).sum()) + c * loss
        gradient = c * (slope.T @ problem.features)
        gradient[:, :-1] += own[:, :-1]
        latest["gap"] = 0.5 * float((gradient[:, :-1] ** 2).sum()) / value
        # the bound holds where the intercept is optimal: ask what that would still gain
        chance = slope + problem.targets
        curvature = c * (chance * (1 - chance)).sum(axis=0) + 1e-300
        gain = float((gradient[:, -1] ** 2 / curvature).sum()) / value
        latest["near"] = latest["gap"] < tolerance / 2 and gain < tolerance / 10
        return value, gradient

    def stop(intermediate_result: Any) -> None:
        if latest["near"]:
            raise StopIteration

    steps, turns = 0, _Turns(problem, variances, c, level)
    for _ in range(_ROUNDS):
        place = turns.coordinates(weights)

        def objective(point: Array, place: Coordinates = place) -> tuple[float, Array]:
            value, gradient = look(place.weights(point))
            return value, place.gradient(gradient)

        result = minimize(
            objective,
            place.point(weights),
            jac=True,
            method="L-BFGS-B",
            callback=stop,
            options={
                "maxiter": _STEPS,
                "maxfun": 3 * _STEPS,
                "maxcor": _MEMORY,
                "ftol": 0.0,
                "gtol": 0.0,
            },
        )
        steps += int(result.nit)
        weights = problem.centred(place.weights(result.x).reshape(classes, -1))
        look(weights)
        if latest["gap"] <= tolerance:
            break
        turns.better()
    return weights, latest["gap"], steps, turns.level


class _Turns:
    """Coordinates from cheap to good: scaled, then each class's Hessian, then the whole.

    Parameters
    ----------
    problem : _Problem
        What is minimized.
    variances : numpy.ndarray, shape (dim,)
        Of the features along their eigenvectors.
    c : float
        Strength of the loss.
    level : {0, 1, 2}
        Where to begin.
    """

    def __init__(self, problem: _Problem, variances: Array, c: float, level: int) -> None:
        clips, classes = problem.targets.shape
        dim = len(variances) + 1
        cheap = 2.0 * clips * dim * dim * classes < _BLOCKS
        coupled = not problem.independent and classes * dim <= _WHOLE
        self.best = (2 if coupled else 1) if cheap else 0
        self.level = min(level, self.best)
        self.problem, self.variances, self.c = problem, variances, c
        self.used = 0

    def coordinates(self, weights: Array) -> Coordinates:
        """Return coordinates that suit the place reached."""
        clips, classes = self.problem.targets.shape
        if self.level > 0:
            kind = Blocks if self.level == 1 else Whole
            # rounding must stay small beside the penalty's curvature, which is one
            rough = self.c * float(self.variances.max()) < 1e6
            features = self.problem.features.astype(np.float32 if rough else np.float64)
            try:
                return kind(features, self.problem.chance(weights), self.c)
            except LinAlgError:  # not positive definite by rounding: the scaled ones must do
                self.best = self.level = 0
        return Diagonal(self.variances, self.c, clips, classes)

    def better(self) -> None:
        """Go one level up; the Hessian of each class gets two turns."""
        self.used += 1
        if self.level == 0 or self.used >= 2:
            self.level, self.used = min(self.level + 1, self.best), 0
