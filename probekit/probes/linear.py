"""The linear probe: standardization, then an L2-regularized linear model along a path of C.

scikit-learn defines the problem: multinomial logistic regression for one label per clip, one
logistic regression per class for several, ridge regression for numbers. ``C`` is scikit-learn's:
the loss is ``½‖w‖² + C · Σ loss``, the intercept is not penalized. It is solved by probekit's own
solver, or by scikit-learn's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics.metrics import is_known
from probekit.probes import transforms
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Curve, Fit, Pair, choose_all
from probekit.solvers import partial_labels, ridge
from probekit.solvers.problem import Problem, Solution, make_problem
from probekit.solvers.scaler import Scaler, fit_scaler
from probekit.solvers.solution_store import SolutionStore, rows_key

if TYPE_CHECKING:
    from probekit.solvers.eigenbasis import EigenBasis

GRID = tuple(float(c) for c in np.logspace(-5, 6, 12))
SOLVERS = ("probekit", "scikit-learn")
CERTIFIED = 1e-5  # relative gap up to which a fit counts as converged
_BLOCK = 4_000_000  # values processed at a time
_FIRST_END = 10.0  # smallest C at which a path may end since scores have not risen
_FEW_HELD_OUT = 200  # clips: with fewer, one clip more or less decides, and fits take no time


@dataclass(frozen=True)
class FittedLinear:
    """A fitted linear probe.

    Attributes
    ----------
    scaler : Scaler
        Applied before the weights.
    coef : numpy.ndarray, shape (classes, dim)
        Weights on standardized features; zeros for a class without training clips.
    intercept : numpy.ndarray, shape (classes,)
        Minus infinity for a class without training clips (it is never predicted).
    c : float
        Inverse regularization strength.
    converged : bool
        Whether the gap is at most :data:`CERTIFIED`, or unknown.
    iterations : int
        Steps of the solver.
    gap : float
        Upper bound of (objective - minimum) / objective; NaN if the solver proves none.
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
        """False: scores are logits, or numbers."""
        return False

    def scores(self, features: Array) -> Array:
        """Return logits or predicted numbers, shape (clips, classes), of raw features."""
        scores = np.empty((len(features), len(self.coef)))
        step = max(1, _BLOCK // max(1, features.shape[1]))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            scores[rows] = self.scaler(features[rows]) @ self.coef.T + self.intercept
        return scores

    def on_raw_features(self) -> tuple[Array, Array]:
        """Return weights, shape (classes, dim), and intercepts that need no scaler."""
        raw = self.coef / self.scaler.scale
        return raw, self.intercept - raw @ self.scaler.mean

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return weights and scaler: ``coef`` acts on ``(features - mean) / scale``."""
        return {
            "coef": self.coef,
            "intercept": self.intercept,
            "mean": self.scaler.mean,
            "scale": self.scaler.scale,
        }


@dataclass(frozen=True)
class Linear:
    """The linear probe.

    Attributes
    ----------
    solver : {"probekit", "scikit-learn"}
        Solver of the fits.
    device : str
        Torch device of probekit's solver.
    grid : tuple of float > 0
        Values of C to select from, ascending.
    full : bool
        Whether every C is fitted, also where :func:`path_ends`.
    name : str
        As after ``--probe``.
    seeded : bool
        False: the minimum is unique.
    """

    solver: str = "probekit"
    device: str = "cpu"
    grid: tuple[float, ...] = GRID
    full: bool = False
    name: str = "linear"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the grid of C and the solver."""
        facts = {"version": 3, "grid": list(self.grid), "solver": self.solver}
        return facts | ({"full": True} if self.full else {})

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select C and fit; all splits together if features are standardized only."""
        grid: list[Settings] = [{"C": c} for c in self.grid]
        if context.steps == transforms.STANDARD:
            return choose_all(context, grid, PathSearch(self.solver, self.device, full=self.full))
        search = PathSearch(self.solver, self.device, standardize=False, full=self.full)
        selected: list[SelectedModel] = []
        for split in context.splits:
            # fitted to the training clips' features; labels and test clips are not used
            transform = transforms.fit_transform(context.steps, context.features[split.train])
            transformed = replace(
                context, features=transform(context.features), splits=[split], progress=None
            )
            [model] = choose_all(transformed, grid, search)
            selected.append(replace(model, probe=transforms.Pipeline(transform, model.probe)))
            if context.progress:
                context.progress(len(selected), len(context.splits))
        return selected


@dataclass
class BasisMemo:
    """The basis in which the fits to the divisions of training clips were solved, for the refit.

    It is not sent to other processes.
    """

    features: Any = None
    rows: Array = field(default_factory=lambda: np.empty(0, np.int64))
    basis: "EigenBasis | None" = None

    def take(self, features: Any, rows: Array) -> "EigenBasis | None":
        """Return the basis if it is of these rows, and forget it."""
        same = self.features is features and np.array_equal(rows, self.rows)
        basis, self.features, self.basis = self.basis, None, None
        return basis if same else None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of an empty memo."""
        return vars(BasisMemo())


@dataclass(frozen=True)
class PathSearch:
    """Fits all values of C, inner splits and classes of a split in one job over the same rows.

    Attributes
    ----------
    solver : {"probekit", "scikit-learn"}
        Solver of the fits.
    device : str
        Torch device of probekit's solver.
    standardize : bool
        Whether features are standardized on the clips fitted on.
    full : bool
        Whether every C is fitted, also where :func:`path_ends`.
    start : tuple of numpy.ndarray or None
        Weights and intercepts, of raw features, from which all fits start.
    choice, errors
        See :class:`probekit.probes.model_selection.Search`.
    memo : BasisMemo
        What the fits to the divisions of a split leave to its refit.
    """

    solver: str = "probekit"
    device: str = "cpu"
    standardize: bool = True
    full: bool = False
    start: tuple[Array, Array] | None = None
    choice: str = "C"
    errors: tuple[type[Exception], ...] = (DataError,)
    memo: BasisMemo = field(default_factory=BasisMemo, compare=False, repr=False)

    def fit_grid(
        self,
        context: FitContext,
        grid: Sequence[Settings],
        pairs: Sequence[Pair],
        curve: Curve,
    ) -> list[list[Fit]]:
        """Fit every C on every pair, up to where the path ends."""
        values = [settings["C"] for settings in grid]

        def go_on(probes: list[FittedLinear]) -> bool:
            curve.add([_as_fit(probe) for probe in probes])
            return not path_ends(curve, values)

        row_sets = [rows for rows, _ in pairs]
        return self._fit(context, row_sets, grid, self.start, None if self.full else go_on)

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Fit the selected C, starting from the mean of the fits to the divisions."""
        start = self.start
        solutions = [
            fit.probe.on_raw_features() for fit in fits if isinstance(fit.probe, FittedLinear)
        ]
        if solutions:
            weights, intercepts = zip(*solutions, strict=True)
            start = np.mean(weights, axis=0), np.mean(intercepts, axis=0)
        return self._fit(context, [rows], path[-1:], start)[0]

    def _fit(
        self,
        context: FitContext,
        row_sets: list[Array],
        grid: Sequence[Settings],
        start: tuple[Array, Array] | None,
        go_on: Callable[[list[FittedLinear]], bool] | None = None,
    ) -> list[list[Fit]]:
        paths = fit_paths(
            context.features,
            context.targets,
            row_sets,
            context.clips.target,
            len(context.clips.class_names),
            [settings["C"] for settings in grid],
            self.solver,
            standardize=self.standardize,
            device=self.device,
            client=context.client,
            go_on=go_on,
            start=start,
            shared=context.shared,
            memo=self.memo,
        )
        return [[_as_fit(probe) for probe in path] for path in paths]


def path_ends(curve: Curve, values: Sequence[float]) -> bool:
    """Tell whether the path of C may end, since larger values will not be selected.

    It may, with at least 200 clips held out, where one of these is true:

    - The best C lies at least two decades back, scores fell in the last two, and the last is
      behind the best beyond chance (:meth:`.model_selection.Curve.is_behind`).
    - C is at least 10, the best C lies three decades back, and scores have not risen since.
    - C is at least 10, and the best C lies four decades back.

    For small C all clips may have the same prediction, and scores that do not rise say nothing.

    On 172 selections with curves of the whole grid (GTZAN, UrbanSound8K, ESC-10, Free Spoken Digits
    and 20 synthetic sets) it changed the selected C in three, all on 320 clips of ESC-10, where
    scores held out differ by one clip at most. A grid of the user's own is always fitted whole.

    Parameters
    ----------
    curve : Curve
        Scores on held-out clips, for the first values of C.
    values : sequence of float > 0
        All values of C, ascending.

    Returns
    -------
    bool
        Whether to end.
    """
    c, means = values[len(curve) - 1], curve.means
    if not means or curve.clips < _FEW_HELD_OUT:
        return False
    best = curve.best
    later = np.asarray(means[best:])
    changes = np.diff(later if curve.context.metric.higher_is_better else -later)
    back = np.log10(c / values[best]) + 1e-9
    if c >= _FIRST_END and (back >= 4 or (back >= 3 and not (changes[-3:] > 0).any())):
        return True
    return bool(back >= 2 and (changes[-2:] < 0).all() and curve.is_behind())


def _as_fit(probe: FittedLinear) -> Fit:
    return Fit(probe, probe.converged, probe.iterations, probe.gap)


def fit_paths(
    features: Any,
    targets: Array,
    row_sets: Sequence[Array],
    target: str,
    classes: int,
    grid: Sequence[float],
    solver: str = "probekit",
    *,
    standardize: bool = True,
    device: str = "cpu",
    client: Any = None,
    go_on: Callable[[list[FittedLinear]], bool] | None = None,
    start: tuple[Array, Array] | None = None,
    shared: Path | None = None,
    memo: BasisMemo | None = None,
) -> list[list[FittedLinear]]:
    """Fit a probe for each C on each of several sets of training clips, in one job.

    Parameters
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.RowSource, shape (clips, dim)
        Features of all clips; rows in no set are not read. Anything but an array in memory (a
        memory map, :class:`probekit.probes.features.CachedRows`) is read block by block.
    targets : numpy.ndarray
        Targets of all clips; a tag that is unknown for a clip, NaN, is not fitted to it.
    row_sets : sequence of numpy.ndarray
        Rows of each set of training clips.
    target : {"single", "multi", "regression"}
        Kind of targets.
    classes : int
        Columns of the result, including classes without training clips.
    grid : sequence of float > 0
        Values of C, ascending.
    solver : {"probekit", "scikit-learn"}
        Solver.
    standardize : bool
        Whether features are standardized by each set's own clips.
    device : str
        Torch device of probekit's solver.
    client : distributed.Client, optional
        Dask cluster whose workers read the rows and sum over them, for probekit's solver.
    go_on : callable, optional
        Called with the probes of all sets after each C; paths end where it returns False. Not
        called where probekit's solver is not used, or cannot hold all sets in memory.
    start : tuple of numpy.ndarray, optional
        Weights, shape (classes, dim), and intercepts, shape (classes,), of raw features, from which
        probekit's solver starts; the minimum does not depend on them.
    shared : pathlib.Path, optional
        Folder in which solutions are stored for other calls with the same arguments but
        ``row_sets``. Used without a start, and with fewer clips than features, where each set is
        solved for itself.
    memo : BasisMemo, optional
        Has, and then gets, a basis of the rows of all sets together.

    Returns
    -------
    list of list of FittedLinear
        For each set, one per C.

    Raises
    ------
    DataError
        If features are not finite, or all clips of a set have the same label.
    """
    used = np.unique(np.concatenate(list(row_sets)))
    basis = memo.take(features, used) if memo else None
    source = features if len(used) == len(features) else _subset(features, used)
    _check_finite(source)
    targets = np.asarray(targets)[used]
    masks = np.stack([np.isin(used, rows) for rows in row_sets])
    problems = [make_problem(targets[mask], target, classes) for mask in masks]
    all_known = target != "multi" or bool(is_known(targets).all())
    if target != "regression" and solver == "probekit" and all_known:
        from probekit.solvers import multi_fold  # torch takes a second to load

        store = SolutionStore(shared) if shared and start is None else None
        paths = multi_fold.FoldPaths(
            source,
            targets,
            masks,
            problems,
            grid,
            standardize=standardize,
            device=device,
            client=client,
            start=start,
            stored=[(store, rows_key(rows)) for rows in row_sets] if store else None,
            basis=basis,
        )
        fitted: list[list[FittedLinear]] = [[] for _ in problems]
        stepwise = go_on is not None and paths.stepwise
        for k, c in enumerate(grid):
            paths.extend(k + 1 if stepwise else len(grid))
            for probes, (mean, scale, path), problem in zip(
                fitted, paths.paths, problems, strict=True
            ):
                probes.append(_fitted(Scaler(mean, scale), problem, path[k], c))
            if go_on and stepwise and not go_on([probes[k] for probes in fitted]):
                break
        if memo and len(row_sets) > 1:
            memo.features, memo.rows, memo.basis = features, used, paths.basis
        return fitted
    return [
        _fit_set(
            np.asarray(source[np.flatnonzero(mask)]),
            targets[mask],
            problem,
            grid,
            standardize=standardize,
            solver=solver,
            device=device,
        )
        for mask, problem in zip(masks, problems, strict=True)
    ]


def _fit_set(
    features: Array,
    targets: Array,
    problem: Problem,
    grid: Sequence[float],
    *,
    standardize: bool,
    solver: str,
    device: str,
) -> list[FittedLinear]:
    """Fit one set of clips by scikit-learn, numbers in closed form, or tags partly unknown."""
    from probekit.solvers import sklearn_backend  # scikit-learn takes half a second to load

    scaler = fit_scaler(features)
    if not standardize:
        scaler = Scaler(np.zeros_like(scaler.mean), np.ones_like(scaler.scale))
    scaled = scaler(features)
    if problem.form == "ridge":
        center = scaled.mean(axis=0)
        solutions = ridge.solve_ridge(scaled - center, targets, grid)
        paths = [[_uncenter(solution, center) for solution in solutions]]
    elif problem.form == "ovr":
        paths = partial_labels.solve_tags(scaled, targets, problem, grid, solver, device)
    else:
        paths = [sklearn_backend.solve_sklearn(scaled, targets, grid)]
    return [_fitted(scaler, problem, [path[k] for path in paths], c) for k, c in enumerate(grid)]


def _uncenter(solution: Solution, center: Array) -> Solution:
    """Return the solution for features that were not centered."""
    return replace(solution, intercept=solution.intercept - solution.coef @ center)


def _fitted(
    scaler: Scaler, problem: Problem, solutions: Sequence[Solution], c: float
) -> FittedLinear:
    solution = problem.assemble(solutions, len(scaler.mean))
    return FittedLinear(
        scaler,
        solution.coef,
        solution.intercept,
        c,
        not solution.gap > CERTIFIED,
        solution.n_iter,
        solution.gap,
    )


def _subset(features: Any, rows: Array) -> Any:
    """Return some rows: at once if all are in memory, else on demand."""
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
