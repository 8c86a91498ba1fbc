"""The linear probe: standardize, then an L2-regularized linear model, along a path of C.

scikit-learn defines what is fitted: multinomial logistic regression for one label a clip, one
logistic regression a class for several, ridge regression for numbers. ``C`` is scikit-learn's: the
loss is ``½‖w‖² + C · Σ loss``, the intercept is free. What fits it is probekit's own solver, or
scikit-learn's, as asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.solvers import problem, ridge, sklearn_backend
from probekit.solvers.problem import Problem, Solution

GRID = tuple(float(c) for c in np.logspace(-5, 6, 12))
SOLVERS = ("probekit", "scikit-learn")
CERTIFIED = 1e-5  # relative gap up to which a fit counts as converged
_BLOCK = 4_000_000  # numbers that are looked at at a time


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
class FittedLinear:
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
        found = np.empty((len(features), len(self.coef)))
        step = max(1, _BLOCK // max(1, features.shape[1]))
        for start in range(0, len(features), step):
            where = slice(start, start + step)
            found[where] = self.scaler(features[where]) @ self.coef.T + self.intercept
        return found

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
    *,
    standardize: bool = True,
    device: str = "cpu",
) -> list[FittedLinear]:
    """Fit a probe for each C, from strong to weak regularization, each from the one before.

    Parameters
    ----------
    features : numpy.ndarray, shape (clips, dim)
        Training clips.
    targets : numpy.ndarray
        As :meth:`probekit.data.manifest.Manifest.targets` gives them.
    kind : {"single", "multi", "regression"}
        What the targets are.
    classes : int
        Columns of the result, also where some class has no training clip.
    grid : sequence of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        What minimizes.
    standardize : bool
        Whether features are brought to zero mean and unit variance first.
    device : str
        Where probekit's solver runs.

    Returns
    -------
    list of Probe
        One for each C.

    Raises
    ------
    DataError
        If features are not finite, or all training clips have the same label.
    """
    everything = np.arange(len(features))
    return fit_paths(
        features,
        targets,
        [everything],
        kind,
        classes,
        grid,
        solver,
        standardize=standardize,
        device=device,
    )[0]


def fit_paths(
    features: Any,
    targets: Array,
    divisions: Sequence[Array],
    kind: str,
    classes: int,
    grid: Sequence[float],
    solver: str = "probekit",
    *,
    standardize: bool = True,
    device: str = "cpu",
    client: Any = None,
) -> list[list[FittedLinear]]:
    """Fit a probe for each C on each of several sets of training clips, in one job.

    Parameters
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.Source, shape (clips, dim)
        Of all clips; those in no division are not read. What is no array in memory (a memory map,
        :class:`probekit.probes.features.CachedRows`) is read block by block.
    targets : numpy.ndarray
        Of all clips.
    divisions : sequence of numpy.ndarray
        Rows to fit on. Each division is standardized by its own.
    kind : {"single", "multi", "regression"}
        What the targets are.
    classes : int
        Columns of the result, also where some class has no training clip.
    grid : sequence of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        What minimizes.
    standardize : bool
        Whether features are standardized by each division's own clips.
    device : str
        Where probekit's solver runs.
    client : distributed.Client, optional
        A Dask cluster, whose workers then read the rows and sum over them for probekit's solver.

    Returns
    -------
    list of list of Probe
        For each division, one for each C.

    Raises
    ------
    DataError
        If features are not finite, or all clips of a division have the same label.
    """
    used = np.unique(np.concatenate(list(divisions)))
    source = features if len(used) == len(features) else _subset(features, used)
    _check_finite(source)
    targets = np.asarray(targets)[used]
    masks = np.stack([np.isin(used, rows) for rows in divisions])
    plans = [problem.make_problem(targets[mask], kind, classes) for mask in masks]
    if kind != "regression" and solver == "probekit":
        from probekit.solvers import multi_fold  # torch takes a second to load

        found = multi_fold.solve_folds(
            source,
            targets,
            masks,
            plans,
            grid,
            standardize=standardize,
            device=device,
            client=client,
        )
        return [
            [_probe(Scaler(mean, scale), own, one, c) for one, c in zip(path, grid, strict=True)]
            for (mean, scale, path), own in zip(found, plans, strict=True)
        ]
    return [
        _alone(np.asarray(source[np.flatnonzero(mask)]), targets[mask], own, grid, standardize)
        for mask, own in zip(masks, plans, strict=True)
    ]


def _alone(
    features: Array, targets: Array, own: Problem, grid: Sequence[float], standardize: bool
) -> list[FittedLinear]:
    """Fit one division by scikit-learn, or numbers in closed form."""
    scale = scaler(features)
    if not standardize:
        scale = Scaler(np.zeros_like(scale.mean), np.ones_like(scale.scale))
    wide = scale(features)
    if own.form == "numbers":
        centre = wide.mean(axis=0)
        paths = [[_to_raw_units(one, centre) for one in ridge.solve(wide - centre, targets, grid)]]
    elif own.form == "tags":
        paths = [
            sklearn_backend.solve_sklearn(wide, targets[:, tag] != 0, grid) for tag in own.classes
        ]
    else:
        paths = [sklearn_backend.solve_sklearn(wide, targets, grid)]
    return [_probe(scale, own, [path[k] for path in paths], c) for k, c in enumerate(grid)]


def _to_raw_units(one: Solution, centre: Array) -> Solution:
    """Return the same on features that were not centred."""
    return replace(one, intercept=one.intercept - one.coef @ centre)


def _probe(own: Scaler, wanted: Problem, found: Sequence[Solution], c: float) -> FittedLinear:
    one = wanted.assemble(found, len(own.mean))
    return FittedLinear(own, one.coef, one.intercept, c, not one.gap > CERTIFIED, one.n_iter, one.gap)


def _subset(features: Any, rows: Array) -> Any:
    """Return some rows: at once where all are in memory, else when they are asked for."""
    if isinstance(features, np.ndarray) and not isinstance(features, np.memmap):
        return features[rows]
    from probekit.solvers.row_blocks import RowSubset

    return RowSubset(features, rows)


def _check_finite(source: Any) -> None:
    """Raise if an embedding holds NaN or infinite values."""
    count = source.shape[0]
    step = max(1, _BLOCK // source.shape[1])
    bad = sum(
        int((~np.isfinite(source[start : start + step]).all(axis=1)).sum())
        for start in range(0, count, step)
    )
    if bad:
        raise DataError(f"{bad} of {count} embeddings hold NaN or infinite values")
