"""A linear probe on a weighted sum of a network's layers, whose weights are learned with it.

Each layer is standardized on the training clips. Weights are at least 0 and sum to 1; the sum is
divided by its root mean square over training clips and features, so that it has variance 1 on
average, as a single layer has. (Otherwise a sum of layers that differ would be small, the penalty
of large coefficients would favor single layers, and weights would end at 0 and 1.) Loss and penalty
are those of :mod:`probekit.probes.linear` on that sum: ``½‖w‖² + C · Σ loss``. For each C, weights
and linear model are fitted together by L-BFGS-B in float64, from equal weights; then the selected
linear model is solved once more for the weights found, with the linear probe's certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.metrics.metrics import is_known
from probekit.parallel import resources
from probekit.probes import linear, transforms
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Curve, Fit, Pair, choose_all
from probekit.solvers.problem import Problem, Solution, make_problem
from probekit.solvers.scaler import Scaler, fit_scaler

_MAX_ITER = 3000
_MEMORY = 40  # pairs of vectors of L-BFGS-B; with scipy's 10 it takes four times as many steps
_CHANGE, _GRADIENT = 1e-10, 1e-7  # where it stops, relative to the loss of a model without features
_BLOCK = 4_000_000  # values processed at a time


@dataclass(frozen=True)
class FittedLayerWeights:
    """A fitted probe.

    Attributes
    ----------
    weights : numpy.ndarray, shape (layers,)
        At least 0, of sum 1.
    spread : float
        Root mean square of the weighted sum of standardized layers, by which it is divided.
    layers : tuple of int or str
        Depth of each layer.
    scaler : Scaler
        Of the features of all layers, side by side.
    coef : numpy.ndarray, shape (classes, dim)
        Weights on the divided sum.
    intercept : numpy.ndarray, shape (classes,)
        Minus infinity for a class without training clips.
    """

    weights: Array
    spread: float
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
            total = mix_layers(self.scaler(features[rows]), self.weights / self.spread)
            scores[rows] = total @ self.coef.T + self.intercept
        return scores

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return the weights of layers, and the linear model on their sum."""
        return {
            "layer_weights": self.weights,
            "spread": np.asarray(self.spread),
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
        Values of C to select from, ascending.
    full : bool
        Whether every C is fitted, also where :func:`probekit.probes.linear.path_ends`.
    """

    layers: tuple[int | str, ...]
    dim: int
    grid: tuple[float, ...] = linear.GRID
    full: bool = False
    name: str = "linear"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the grid, the solver and the layers."""
        facts = {
            "version": 1,
            "grid": list(self.grid),
            "solver": "L-BFGS-B",
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
        grid: list[Settings] = [{"C": c} for c in self.grid]
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
        curve: Curve,
    ) -> list[list[Fit]]:
        """Fit every C on every pair, up to where the path ends."""
        values = [settings["C"] for settings in grid]
        paths = [_Path(context, rows, self.layers) for rows, _ in pairs]
        fits: list[list[Fit]] = [[] for _ in pairs]
        with resources.single_threaded():
            for c in values:
                for path, fitted in zip(paths, fits, strict=True):
                    fitted.append(path.fit(c))
                curve.add([fitted[-1] for fitted in fits])
                if not self.full and linear.path_ends(curve, values):
                    break
        return fits

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Fit the selected C, and solve the linear model exactly for the weights found."""
        fitted, c = _Path(context, rows, self.layers), path[-1]["C"]
        with resources.single_threaded():
            return [fitted.certify(fitted.fit(c), c)]


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

    def fit(self, c: float) -> Fit:
        """Fit weights and model for one C, from equal weights."""
        scaled = self.scaler(self.context.features[self.rows])
        objective = Objective(scaled, len(self.layers), self.targets, self.problem, c)
        solution = minimize(
            objective,
            objective.start,
            jac=True,
            method="L-BFGS-B",
            bounds=objective.bounds,
            options={
                "maxiter": _MAX_ITER,
                "maxfun": 2 * _MAX_ITER,
                "maxcor": _MEMORY,
                "ftol": _CHANGE,
                "gtol": _GRADIENT,
            },
        )
        weights, coef, intercept = objective.unpack(solution.x)
        assembled = self.problem.assemble([Solution(coef, intercept, c, 0.0, 0)], self.dim)
        probe = FittedLayerWeights(
            weights / weights.sum(),
            objective.spread(weights / weights.sum()),
            self.layers,
            self.scaler,
            assembled.coef,
            assembled.intercept,
        )
        return Fit(probe, bool(solution.success), int(solution.nit))

    def certify(self, fit: Fit, c: float) -> Fit:
        """Return a fit with the exact linear model for its weights, and the bound of its gap."""
        probe = fit.probe
        assert isinstance(probe, FittedLayerWeights)
        scaled = self.scaler(self.context.features[self.rows])
        total = mix_layers(scaled, probe.weights / probe.spread).astype(np.float32)
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
            self.targets = (targets[:, problem.classes] > 0).astype(float)
            self.known = is_known(targets[:, problem.classes])
        else:
            self.targets = targets.reshape(clips, -1).astype(float)
        self.outputs = self.targets.shape[1]
        # mean product of two layers' features: 1 for a layer with itself, unless some are constant
        self.products = np.tensordot(self.blocks, self.blocks, ([1, 2], [1, 2]))
        self.products /= clips * self.dim
        size = self.outputs * (self.dim + 1)
        self.start = np.concatenate([np.full(layers, 1 / layers), np.zeros(size)])
        self.bounds = [(0.0, None)] * layers + [(None, None)] * size
        self.scale = 1 / (c * self._loss(np.zeros(self.targets.shape) + self._prior())[0] + 1e-300)

    def unpack(self, values: Array) -> tuple[Array, Array, Array]:
        """Return weights of layers (their sum is free), coefficients and intercepts."""
        weights, coef, intercept = np.split(
            values, [self.layers, self.layers + self.outputs * self.dim]
        )
        return weights, coef.reshape(self.outputs, self.dim), intercept + self._prior()

    def spread(self, weights: Array) -> float:
        """Return the root mean square of the weighted sum of layers."""
        return float(np.sqrt(weights @ self.products @ weights)) or 1.0

    def __call__(self, values: Array) -> tuple[float, Array]:
        """Return the objective, relative to the loss of a model without features; and gradient."""
        weights, coef, intercept = self.unpack(values)
        spread = self.spread(weights)
        total = np.tensordot(weights / spread, self.blocks, 1)
        loss, errors = self._loss(total @ coef.T + intercept)
        by_feature = errors @ coef
        by_weight = self.blocks.reshape(self.layers, -1) @ by_feature.ravel()
        by_weight -= float((by_feature * total).sum()) / spread * (self.products @ weights)
        gradient = np.concatenate(
            [
                self.c / spread * by_weight,
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
        losses = np.logaddexp(0, logits) - self.targets * logits
        known = self.known if self.form == "ovr" else True
        return float((known * losses).sum()), known * (expit(logits) - self.targets)


def mix_layers(scaled: Array, weights: Array) -> Array:
    """Return the weighted sum, (clips, dim), of layers side by side, (clips, layers · dim)."""
    return np.einsum("cld,l->cd", scaled.reshape(len(scaled), len(weights), -1), weights)
