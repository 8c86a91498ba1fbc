"""A linear probe on a weighted sum of a network's layers, whose weights are learned with it.

Each layer is standardized on the training clips; the weights are a softmax, so that they are
positive and sum to 1. Loss and penalty are those of :mod:`probekit.probes.linear` on the sum:
``½‖w‖² + C · Σ loss``. Weights and linear model are fitted together by L-BFGS in float64, from
equal weights, along a path of C in which each fit starts from the one before; then the linear model
is solved once more for the weights found, with the linear probe's certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.probes import linear, transforms
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import AddFits, Fit, Pair, choose_all
from probekit.solvers.problem import Problem, Solution, make_problem
from probekit.solvers.scaler import Scaler, fit_scaler

GRID = linear.GRID[:9]  # to 1e3: of larger values L-BFGS needs thousands of steps
_MAX_ITER = 2000
_GRADIENT = 1e-6  # largest entry of the gradient, relative to the loss of a model that knows nothing
_BLOCK = 4_000_000  # values processed at a time


@dataclass(frozen=True)
class FittedLayerWeights:
    """A fitted probe.

    Attributes
    ----------
    weights : numpy.ndarray, shape (layers,)
        Positive, of sum 1.
    layers : tuple of int or str
        Depth of each layer.
    scaler : Scaler
        Of the features of all layers, side by side.
    coef : numpy.ndarray, shape (classes, dim)
        Weights on the weighted sum of standardized layers.
    intercept : numpy.ndarray, shape (classes,)
        Minus infinity for a class without training clips.
    """

    weights: Array
    layers: tuple[int | str, ...]
    scaler: Scaler
    coef: Array
    intercept: Array
    probabilities: bool = False

    def scores(self, features: Array) -> Array:
        """Return logits or predicted numbers, shape (clips, classes), of all layers' features."""
        scores = np.empty((len(features), len(self.coef)))
        step = max(1, _BLOCK // max(1, features.shape[1]))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            total = mix_layers(self.scaler(features[rows]), self.weights)
            scores[rows] = total @ self.coef.T + self.intercept
        return scores

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return the weights of layers, and the linear model on their sum."""
        return {
            "layer_weights": self.weights,
            "layers": np.asarray(self.layers),
            "coef": self.coef,
            "intercept": self.intercept,
            "mean": self.scaler.mean,
            "scale": self.scaler.scale,
        }


@dataclass(frozen=True)
class LayerWeights:
    """The probe.

    Attributes
    ----------
    layers : tuple of int or str
        Depth of each layer.
    dim : int >= 1
        Number of features of each; they stand side by side.
    grid : tuple of float > 0
        Values of C to select from, ascending; the linear probe's own stand for those up to 1e3.
    full : bool
        Whether every C is fitted, also where :func:`probekit.probes.linear.path_ends`.
    """

    layers: tuple[int | str, ...]
    dim: int
    grid: tuple[float, ...] = linear.GRID
    full: bool = False
    name: str = "linear"
    seeded: bool = False

    @property
    def values(self) -> tuple[float, ...]:
        """Values of C to select from."""
        return GRID if self.grid == linear.GRID else self.grid

    def facts(self) -> dict[str, Any]:
        """Return the grid, the solver and the layers."""
        facts = {
            "version": 1,
            "grid": list(self.values),
            "solver": "L-BFGS",
            "layers": {"version": 1, "selected": "learned", "among": list(self.layers)},
        }
        return facts | ({"full": True} if self.full else {})

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select C and fit weights and model of every split, without its test clips."""
        if context.steps != transforms.STANDARD:
            raise ProbekitError(
                "layer=learned standardizes each layer; it cannot be used with a preset of other "
                f"transforms ({', '.join(context.steps)})"
            )
        grid: list[Settings] = [{"C": c} for c in self.values]
        return choose_all(context, grid, WeightSearch(self.layers, self.full))


@dataclass(frozen=True)
class WeightSearch:
    """Fits weights and model along a path of C.

    Attributes
    ----------
    layers : tuple of int or str
        Depth of each layer.
    full : bool
        Whether every C is fitted.
    choice, errors
        See :class:`probekit.probes.model_selection.Search`.
    """

    layers: tuple[int | str, ...]
    full: bool = False
    choice: str = "C"
    errors: tuple[type[Exception], ...] = (DataError,)

    def fit_grid(
        self,
        context: FitContext,
        grid: Sequence[Settings],
        pairs: Sequence[Pair],
        add: AddFits,
    ) -> list[list[Fit]]:
        """Fit every C on every pair, up to where the path ends."""
        values = [settings["C"] for settings in grid]
        may_end = linear.enough_held_out(pairs) and not self.full
        paths = [_Path(context, rows, self.layers) for rows, _ in pairs]
        fits: list[list[Fit]] = [[] for _ in pairs]
        with resources.single_threaded():
            for c in values:
                for path, fitted in zip(paths, fits, strict=True):
                    fitted.append(path.fit(c))
                curve = add([fitted[-1] for fitted in fits])
                if may_end and linear.path_ends(curve, values, context.metric.higher_is_better):
                    break
        return fits

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Fit the path up to the selected C, and solve the last model exactly."""
        fitted = _Path(context, rows, self.layers)
        with resources.single_threaded():
            refits = [fitted.fit(settings["C"]) for settings in path]
            return [*refits[:-1], fitted.certify(refits[-1], path[-1]["C"])]


class _Path:
    """Fits to one set of training clips for ascending values of C."""

    def __init__(self, context: FitContext, rows: Array, layers: tuple[int | str, ...]) -> None:
        self.context, self.rows, self.layers = context, rows, layers
        self.targets = context.targets[rows]
        self.classes = len(context.clips.class_names)
        self.problem = make_problem(self.targets, context.clips.target, self.classes)
        features = np.asarray(context.features[rows])
        if not np.isfinite(features).all():
            raise DataError("embeddings hold NaN or infinite values")
        self.scaler = fit_scaler(features)
        self.dim = features.shape[1] // len(layers)
        self.start: Array | None = None

    def fit(self, c: float) -> Fit:
        """Fit weights and model for one C, from the solution for the one before."""
        scaled = self.scaler(self.context.features[self.rows])
        objective = Objective(scaled, len(self.layers), self.targets, self.problem, c)
        start = np.zeros(objective.size) if self.start is None else self.start
        solution = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITER, "maxfun": 2 * _MAX_ITER, "ftol": 1e-13, "gtol": _GRADIENT},
        )
        self.start = solution.x
        weights, coef, intercept = objective.unpack(solution.x)
        fitted = self._assemble(weights, coef, intercept, c)
        return Fit(fitted, bool(solution.success), int(solution.nit))

    def certify(self, fit: Fit, c: float) -> Fit:
        """Return a fit with the exact linear model for its weights, and the bound of its gap."""
        probe = fit.probe
        assert isinstance(probe, FittedLayerWeights)
        scaled = self.scaler(self.context.features[self.rows])
        total = mix_layers(scaled, probe.weights).astype(np.float32)
        [[exact]] = linear.fit_paths(
            total,
            self.targets,
            [np.arange(len(total))],
            self.context.clips.target,
            self.classes,
            [c],
            standardize=False,
        )
        solved = replace(probe, coef=exact.coef, intercept=exact.intercept)
        return Fit(solved, fit.converged and exact.converged, fit.iterations, exact.gap)

    def _assemble(
        self, weights: Array, coef: Array, intercept: Array, c: float
    ) -> FittedLayerWeights:
        """Return the probe of all classes."""
        nan = float("nan")
        solution = Solution(coef, intercept, c, nan, 0)
        whole = self.problem.assemble([solution], self.dim)
        return FittedLayerWeights(
            weights, self.layers, self.scaler, whole.coef, whole.intercept
        )


class Objective:
    """Objective of weights of layers and a linear model, with its gradient.

    Parameters
    ----------
    scaled : numpy.ndarray, shape (clips, layers · dim), float64
        Standardized features of all layers, side by side.
    layers : int >= 1
        Number of layers.
    targets : numpy.ndarray
        Targets of the clips.
    problem : Problem
        Form of the loss, and the classes that are fitted.
    c : float > 0
        Weight of the loss.
    """

    def __init__(
        self, scaled: Array, layers: int, targets: Array, problem: Problem, c: float
    ) -> None:
        clips = len(scaled)
        self.blocks = np.ascontiguousarray(scaled.reshape(clips, layers, -1).swapaxes(0, 1))
        self.layers, self.dim, self.c, self.form = layers, self.blocks.shape[2], c, problem.form
        if problem.form == "multinomial":
            self.targets = (targets[:, None] == problem.classes).astype(float)
        elif problem.form == "binary":
            self.targets = (targets == problem.classes[1]).astype(float)[:, None]
        elif problem.form == "ovr":
            self.targets = (targets[:, problem.classes] != 0).astype(float)
        else:
            self.targets = targets.reshape(clips, -1).astype(float)
        self.outputs = self.targets.shape[1]
        self.size = layers + self.outputs * (self.dim + 1)
        self.scale = 1 / (1 + c * self._loss(np.zeros(self.targets.shape) + self._prior())[0])

    def unpack(self, values: Array) -> tuple[Array, Array, Array]:
        """Return weights of layers, coefficients and intercepts."""
        weights, coef, intercept = np.split(
            values, [self.layers, self.layers + self.outputs * self.dim]
        )
        return softmax(weights), coef.reshape(self.outputs, self.dim), intercept + self._prior()

    def __call__(self, values: Array) -> tuple[float, Array]:
        """Return the objective, relative to the loss of a model without features; and gradient."""
        weights, coef, intercept = self.unpack(values)
        total = np.tensordot(weights, self.blocks, 1)
        loss, errors = self._loss(total @ coef.T + intercept)
        by_feature = errors @ coef
        by_weight = self.c * (self.blocks.reshape(self.layers, -1) @ by_feature.ravel())
        gradient = np.concatenate(
            [
                weights * (by_weight - weights @ by_weight),
                (coef + self.c * errors.T @ total).ravel(),
                self.c * errors.sum(0),
            ]
        )
        value = 0.5 * float((coef**2).sum()) + self.c * loss
        return self.scale * value, self.scale * gradient

    def _prior(self) -> Array:
        """Return where intercepts start: numbers at their mean, logits at 0."""
        mean = self.targets.mean(0)
        return mean if self.form == "ridge" else np.zeros_like(mean)

    def _loss(self, logits: Array) -> tuple[float, Array]:
        """Return the sum of losses, and its gradient by the logits."""
        if self.form == "ridge":
            errors = logits - self.targets
            return 0.5 * float((errors**2).sum()), errors
        if self.form == "multinomial":
            loss = logsumexp(logits, axis=1).sum() - (self.targets * logits).sum()
            return float(loss), softmax(logits, axis=1) - self.targets
        loss = np.logaddexp(0, logits).sum() - (self.targets * logits).sum()
        return float(loss), expit(logits) - self.targets


def mix_layers(scaled: Array, weights: Array) -> Array:
    """Return the weighted sum, (clips, dim), of layers side by side, (clips, layers · dim)."""
    return np.einsum("cld,l->cd", scaled.reshape(len(scaled), len(weights), -1), weights)
