"""L2-regularized logistic regression for many folds, classes and values of C in one call.

The problem is scikit-learn's: minimize ``½‖w‖² + C · Σ loss`` over the weights of standardized
features, with a free intercept; the loss is softmax cross-entropy, or one logistic loss per tag.

The softmax of each fold, and each tag of each fold, is a *group* that follows its own path along C
by Newton's method, from the previous solution. The expensive steps are done for all groups at once:
two products with all rows for the objective, in float64, and two for each step of conjugate
gradients, in float32 (:mod:`.newton`). A group is done when its duality gap, from the float64 sums
at the weights that are returned (:mod:`.objective`), is small; it then leaves, or continues with
the next C, for which the same sums are valid.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from probekit._typing import Array
from probekit.parallel.resources import torch_threads
from probekit.solvers.eigenbasis import EigenBasis
from probekit.solvers.newton import Newton
from probekit.solvers.objective import Objective, Sums
from probekit.solvers.problem import Solution
from probekit.solvers.row_blocks import StandardizedRows

TOLERANCE = 1e-6  # of the certified gap, relative to the objective
MAX_ITER = 60  # Newton directions for one C
_MAX_HALVINGS = 30  # of one direction
_MEMORY = 1.5e9  # bytes for rotated rows and intermediate values
_COLUMNS = 1024  # groups times classes solved together, at most: all 527 tags of AudioSet
_MIN_CHUNK = 128  # groups times classes whose directions are found at a time, at least
_BLOCK_MEMORY = 0.5e9  # bytes for the preconditioner's blocks
_SINGLE_THREAD_FLOPS = 5e8  # operations of a product up to which threads cost more than they save
_STALLED_RATIO = 0.5  # of the previous gap: a larger one after a whole step is no progress
_SMALL_DECREASE = 1e-3  # of the objective: predicted decrease small relative to the duality gap
_FORCING_TERMS = (0.5, 0.1)  # share of the gradient that may remain: far from the minimum, near it
_ALONE_DIRECTION = 5  # for one C, from which on a group shares no block of the preconditioner
_LATE_DIRECTION, _LATE_FORCING_TERM = 12, 1e-3  # from this direction for one C on
_MAX_LAST_STEP = 0.03  # length of the last direction, relative to the weights, at convergence
_SLACK = (1e-11, 1e-6)  # rounding error of the objective in float64 and float32, relative
_FLOAT32_HALVINGS = 3  # halvings after which float32 sums are below their resolution
_FLOAT32_FLOPS = 1e9  # operations of a pass above which float32 sums are used first


def solve_logistic(
    rows: StandardizedRows,
    targets: Array,
    grid: Sequence[float],
    folds: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> list[list[Solution]]:
    """Minimize for every group and every C.

    Parameters
    ----------
    rows : StandardizedRows
        Features, with the folds' masks.
    targets : numpy.ndarray
        As for :class:`LogisticPaths`.
    grid : sequence of float > 0
        Values of C, ascending.
    folds : sequence of int
        Fold of each group.
    progress : callable, optional
        Called with the number of finished solutions and the total.
    **options : object
        Keyword arguments of :class:`LogisticPaths`.

    Returns
    -------
    list of list of Solution
        For each group, one per C. A ``gap`` above the tolerance means that the solver gave up.
    """
    paths = LogisticPaths(rows, targets, grid, folds, **options)
    paths.extend(len(grid), progress)
    return paths.solutions


class LogisticPaths:
    """Paths of all groups along C, which can be extended value by value.

    Parameters
    ----------
    rows : StandardizedRows
        Features, with the folds' masks.
    targets : numpy.ndarray
        Class numbers of shape (rows,), or 0 and 1 of shape (rows, tags).
    grid : sequence of float > 0
        Values of C, ascending.
    folds : sequence of int
        Fold of each group.
    tags : sequence of int, optional
        Tag of each group: one logistic regression each, with both values present in its fold.
        By default each group is a softmax over all classes that have rows in its fold.
    classes : int
        Number of classes of the softmax.
    tolerance : float > 0
        Certified relative gap at which to stop.
    max_iter : int >= 1
        Newton directions for one C.
    client : distributed.Client, optional
        Dask cluster whose workers read the rows and sum over them.
    start : tuple of numpy.ndarray, optional
        Weights of shape (groups, classes, dim) on standardized features and intercepts of shape
        (groups, classes), from which the first C starts; zeros by default.
    basis : EigenBasis, optional
        That of other paths over the same rows, which need not be computed again.

    Attributes
    ----------
    solutions : list of list of Solution
        For each group, one for each C so far.
    """

    def __init__(
        self,
        rows: StandardizedRows,
        targets: Array,
        grid: Sequence[float],
        folds: Sequence[int],
        *,
        tags: Sequence[int] | None = None,
        classes: int = 1,
        tolerance: float = TOLERANCE,
        max_iter: int = MAX_ITER,
        client: Any = None,
        start: tuple[Array, Array] | None = None,
        basis: EigenBasis | None = None,
    ) -> None:
        self.rows, self.targets, self.grid, self.folds = rows, targets, grid, folds
        self.start, self._computed = start, basis
        self.tags, self.classes, self.client = tags, classes, client
        self.tolerance, self.max_iter = tolerance, max_iter
        self.solutions: list[list[Solution]] = [[] for _ in folds]
        self._width = 1 if tags is not None else classes
        self._batch, self._chunk, self._max_rows = _sizes(rows, len(folds), self._width)
        self._path: _Path | None = None

    @property
    def stepwise(self) -> bool:
        """Whether memory holds all groups at once; else a path is solved to its end."""
        return len(self.folds) <= self._batch

    @property
    def basis(self) -> EigenBasis | None:
        """Basis for other paths over the same rows; None if it has a sample of them only."""
        basis = self._path.newton.basis if self._path else None
        return None if basis is None or basis.sample is not None else basis

    def extend(self, count: int, progress: Callable[[int, int], None] | None = None) -> None:
        """Solve for the first ``count`` values of C; for all of them if not ``stepwise``."""
        together = min(self._batch, len(self.folds)) * self._width
        with _threads(self.rows, together), torch.no_grad():
            if self.stepwise:
                self._path = self._path or self._make_path(slice(None))
                self._run(self._path, count, 0, progress)
                self.solutions = self._path.solutions
                return
            for start in range(0, len(self.folds), self._batch):
                path = self._make_path(slice(start, start + self._batch))
                self._run(path, len(self.grid), start, progress)
                self.solutions[start : start + self._batch] = path.solutions

    def _make_path(self, part: slice) -> "_Path":
        tags = None if self.tags is None else self.tags[part]
        folds = self.folds[part]
        objective = Objective(self.rows, self.targets, folds, tags, self.classes, self.client)
        newton = Newton(objective, self._max_rows, _BLOCK_MEMORY, self._computed)
        path = _Path(objective, newton, self.grid, self.tolerance, self.max_iter, self._chunk)
        if self.start is not None:
            weights, intercepts = self.start
            path.weights.copy_(torch.as_tensor(weights[part]))
            path.intercepts.copy_(torch.as_tensor(intercepts[part]))
        return path

    def _run(
        self, path: "_Path", count: int, start: int, progress: Callable[[int, int], None] | None
    ) -> None:
        for done in path.run(count):
            if progress:
                progress(start * len(self.grid) + done, len(self.folds) * len(self.grid))


def _sizes(rows: StandardizedRows, groups: int, width: int) -> tuple[int, int, int]:
    """Return how many groups share passes and directions, and how many rotated rows to use."""
    together = max(1, _COLUMNS // width)  # each pass reads all rows
    rank = min(rows.dim, rows.count)
    columns = min(groups, max(1, _MIN_CHUNK // width)) * width
    max_rows = int(_MEMORY / 4 / (rank + 6 * columns))
    if max_rows >= rows.count:
        max_rows = rows.count
        columns = int((_MEMORY / 4 / rows.count - rank) / 6)
    return together, max(1, columns // width), max_rows


def _threads(rows: StandardizedRows, columns: int) -> AbstractContextManager[None]:
    """Use one thread for small problems, where synchronization costs more than it saves."""
    return torch_threads(single=2.0 * rows.count * rows.dim * columns < _SINGLE_THREAD_FLOPS)


class _Path:
    """Path of each group along C."""

    def __init__(
        self,
        objective: Objective,
        newton: Newton,
        grid: Sequence[float],
        tolerance: float,
        max_iter: int,
        chunk: int,
    ) -> None:
        self.objective, self.newton, self.grid, self.chunk = objective, newton, grid, chunk
        self.tolerance, self.max_iter = tolerance, max_iter
        self.count = len(grid)  # values of C to solve for at present
        count, width, dim = len(objective), objective.classes, objective.rows.dim
        device = objective.rows.device
        self.c_values = torch.tensor(list(grid), dtype=torch.float64, device=device)
        self.weights = torch.zeros(count, width, dim, dtype=torch.float64, device=device)
        self.intercepts = objective.initial_intercepts()
        self.direction = torch.zeros_like(self.weights)
        self.intercept_direction = torch.zeros_like(self.intercepts)
        self.step_size = torch.ones(count, dtype=torch.float64, device=device)
        self.slope = torch.zeros_like(self.step_size)  # of the objective along the direction
        self.value = torch.full_like(self.step_size, torch.inf)
        self.c_index = torch.zeros(count, dtype=torch.int64, device=device)
        self.cg_steps, self.directions, self.halvings = (
            torch.zeros_like(self.c_index) for _ in range(3)
        )
        self.previous_gap = torch.full_like(self.step_size, torch.inf)
        self.shortened = torch.zeros_like(self.c_index, dtype=torch.bool)  # last step was halved
        self.last_step = torch.full_like(self.step_size, torch.inf)  # length of the last direction
        self.predicted_decrease = torch.full_like(self.step_size, torch.inf)
        self.double_products = torch.zeros_like(self.c_index, dtype=torch.bool)
        flops = 4.0 * objective.rows.count * dim * count * width
        # float32 sums first where passes are long, until a group is below their resolution
        self.double_sums = torch.full_like(self.double_products, flops <= _FLOAT32_FLOPS)
        self.always_double_sums = self.double_sums.clone()  # for the next C too
        self.solutions: list[list[Solution]] = [[] for _ in range(count)]

    def run(self, count: int) -> Iterator[int]:
        """Go on to the first ``count`` values of C; yields the number of finished solutions."""
        self.count = count
        active = torch.nonzero(self.c_index < count)[:, 0]
        self.value[active] = torch.inf  # that of the C before
        done = 0
        while len(active):
            sums, weights, intercepts = self._evaluate(active)
            accepted = self._accept_or_backtrack(active, sums, weights, intercepts)
            groups, sums = active[accepted], sums[accepted]
            gap, recheck = self._advance(groups, sums)
            finished = sum(len(path) for path in self.solutions)
            if finished > done:
                done = finished
                yield done
            unfinished = self.c_index[groups] < count
            ready = torch.nonzero(unfinished & ~recheck)[:, 0]
            if len(ready):
                self._newton_direction(groups[ready], sums[ready], gap[ready])
            active = active[self.c_index[active] < count]

    def _evaluate(self, active: Tensor) -> tuple[Sums, Tensor, Tensor]:
        """Return the sums at the trial points, and these."""
        step_size = self.step_size[active]
        weights = self.weights[active] + step_size[:, None, None] * self.direction[active]
        intercepts = self.intercepts[active] + step_size[:, None] * self.intercept_direction[active]
        double = self.double_sums[active]
        parts = [torch.nonzero(double)[:, 0], torch.nonzero(~double)[:, 0]]
        dtypes = (torch.float64, torch.float32)
        if not len(parts[0]) or not len(parts[1]):
            dtype = dtypes[0] if len(parts[0]) else dtypes[1]
            return self.objective.sums(active, weights, intercepts, dtype), weights, intercepts
        sums = [
            self.objective.sums(active[part], weights[part], intercepts[part], dtype)
            for part, dtype in zip(parts, dtypes, strict=True)
        ]
        order = torch.argsort(torch.cat(parts))
        both = Sums(
            torch.cat([part.loss for part in sums]),
            torch.cat([part.grad_coef for part in sums]),
            torch.cat([part.grad_intercept for part in sums]),
        )
        return both[order], weights, intercepts

    def _accept_or_backtrack(
        self, active: Tensor, sums: Sums, weights: Tensor, intercepts: Tensor
    ) -> Tensor:
        """Accept trial points of sufficient decrease, halve other steps; return the accepted."""
        c = self.c_values[self.c_index[active]]
        value = 0.5 * (weights**2).sum(dim=(1, 2)) + c * sums.loss
        slack = torch.where(self.double_sums[active], *_SLACK) * value.abs()
        bound = self.value[active] + 1e-4 * self.step_size[active] * self.slope[active] + slack
        accept = (value <= bound) | (self.halvings[active] >= _MAX_HALVINGS)
        accepted, rejected = torch.nonzero(accept)[:, 0], active[~accept]
        self.step_size[rejected] /= 2
        self.halvings[rejected] += 1
        unresolved = (self.halvings[rejected] >= _FLOAT32_HALVINGS) & ~self.double_sums[rejected]
        self._promote_precision(rejected[unresolved])
        groups = active[accepted]
        self.weights[groups], self.intercepts[groups] = weights[accepted], intercepts[accepted]
        self.direction[groups], self.intercept_direction[groups] = 0.0, 0.0
        self.step_size[groups] = 1.0
        return accepted

    def _promote_precision(self, groups: Tensor) -> None:
        """Use float64 sums from now on, first at the current points."""
        self.double_sums[groups] = self.always_double_sums[groups] = True
        self.direction[groups], self.intercept_direction[groups] = 0.0, 0.0
        self.value[groups] = torch.inf
        self.halvings[groups], self.directions[groups] = 0, 0

    def _advance(self, active: Tensor, sums: Sums) -> tuple[Tensor, Tensor]:
        """Record converged solutions; return gaps, and which groups need float64 sums first."""
        recheck = torch.zeros(len(active), dtype=torch.bool, device=active.device)
        gap = torch.full((len(active),), torch.inf, dtype=torch.float64, device=active.device)
        while True:
            rows = torch.nonzero((self.c_index[active] < self.count) & ~recheck)[:, 0]
            groups = active[rows]
            c = self.c_values[self.c_index[groups]]
            value, bound = self.objective.duality_gap(
                groups, self.weights[groups], self.intercepts[groups], sums[rows], c
            )
            self.value[groups], self.slope[groups] = value, 0.0
            gap[rows] = bound / value.clamp(min=1e-300)
            # a float32 direction without decrease is tried again in float64
            stuck = (self.halvings[groups] >= _MAX_HALVINGS) & self.double_products[groups]
            given_up = (self.directions[groups] >= self.max_iter) | stuck
            given_up &= self.double_sums[groups]
            done = gap[rows] <= self.tolerance * torch.where(self.double_sums[groups], 1.0, 3.0)
            # at small C the objective is nearly all loss: a small gap allows errors of the weights
            done &= self.last_step[groups] <= _MAX_LAST_STEP * self.weights[groups].norm(dim=(1, 2))
            done |= given_up
            uncertain = done & ~self.double_sums[groups]
            recheck[rows[uncertain]] = True
            self.double_sums[groups[uncertain]] = True
            self.value[groups[uncertain]] = torch.inf  # of float32 sums: not comparable
            certain = torch.nonzero(done & ~uncertain)[:, 0]
            if not len(certain):
                return gap, recheck
            for k in certain.tolist():
                self._record(int(groups[k]), float(gap[rows[k]]))
            finished = groups[certain]
            self.c_index[finished] += 1
            for memory in (self.previous_gap, self.predicted_decrease, self.last_step):
                memory[finished] = torch.inf
            for counter in (self.cg_steps, self.directions, self.halvings):
                counter[finished] = 0
            self.double_sums[finished] = self.always_double_sums[finished]
            self.double_products[finished] = False

    def _record(self, group: int, gap: float) -> None:
        self.solutions[group].append(
            Solution(
                coef=self.weights[group].cpu().numpy().copy(),
                intercept=self.intercepts[group].cpu().numpy().copy(),
                c=float(self.grid[int(self.c_index[group])]),
                gap=gap,
                n_iter=int(self.cg_steps[group]),
            )
        )

    def _newton_direction(self, groups: Tensor, sums: Sums, gap: Tensor) -> None:
        """Compute new directions, in higher precision for groups that made no progress."""
        # near the minimum the predicted decrease of a float32 direction may be rounding error
        stalled = (gap > _STALLED_RATIO * self.previous_gap[groups]) & (self.halvings[groups] == 0)
        small = (10 * gap).clamp(max=1) * _SMALL_DECREASE * self.value[groups]
        stalled &= self.predicted_decrease[groups] < small
        stalled |= self.predicted_decrease[groups] <= 0
        stalled |= self.halvings[groups] >= _MAX_HALVINGS
        # with float32 sums these are the cause; with float64 sums it may be the float32 products
        unresolved = ~self.double_sums[groups] & (
            stalled | (self.directions[groups] >= self.max_iter)
        )
        self.double_products[groups] |= stalled & self.double_sums[groups]
        self.previous_gap[groups], self.shortened[groups] = gap, self.halvings[groups] > 0
        self._promote_precision(groups[unresolved])
        groups, sums = groups[~unresolved], sums[~unresolved]
        for double, dtype in ((False, torch.float32), (True, torch.float64)):
            rows = torch.nonzero(self.double_products[groups] == double)[:, 0]
            for part in rows.split(self.chunk):
                if len(part):
                    self._set_direction(groups[part], sums[part], dtype)

    def _set_direction(self, groups: Tensor, sums: Sums, dtype: torch.dtype) -> None:
        c = self.c_values[self.c_index[groups]]
        weights = self.weights[groups]
        grad_coef = weights + c[:, None, None] * sums.grad_coef
        grad_intercept = c[:, None] * sums.grad_intercept
        # far from the minimum only a part of the direction is used: it need not be accurate
        forcing_term = torch.where(
            (self.previous_gap[groups] > 1) | self.shortened[groups], *_FORCING_TERMS
        )
        forcing_term[self.directions[groups] >= _LATE_DIRECTION] = _LATE_FORCING_TERM
        direction, intercept_direction, cg_steps, broken = self.newton.directions(
            groups,
            weights,
            self.intercepts[groups],
            grad_coef,
            grad_intercept,
            c,
            forcing_term,
            self.shortened[groups] | (self.directions[groups] >= _ALONE_DIRECTION),
            dtype,
        )
        self.direction[groups], self.intercept_direction[groups] = direction, intercept_direction
        self.step_size[groups] = 1.0
        self.slope[groups] = (grad_coef * direction).sum(dim=(1, 2)) + (
            grad_intercept * intercept_direction
        ).sum(dim=1)
        self.predicted_decrease[groups] = -self.slope[groups]
        self.last_step[groups] = direction.norm(dim=(1, 2))
        self.cg_steps[groups] += cg_steps
        self.directions[groups] += 1
        self.halvings[groups] = 0
        if dtype == torch.float32 and bool(broken.any()):
            self.double_products[groups[broken]] = True
            self._set_direction(groups[broken], sums[broken], torch.float64)
