"""L2-regularized logistic regression for many folds, classes and values of C in one job.

The problem is scikit-learn's: minimize ``½‖w‖² + C · Σ loss`` over the weights of standardized
features, with a free intercept; the loss is softmax cross-entropy, or one logistic loss a tag.

Each fold's softmax, and each tag of each fold, is a *group* that goes its own way along C, by
Newton's method from the solution before. What costs time is done for all groups at once: two
products with all rows for the objective, in float64, and two for each step of conjugate gradients,
in float32 (:mod:`.curvature`). A group is done when its bound of the distance to the minimum, from
the float64 sums at the very weights that are returned (:mod:`.objective`), is small; it then
leaves, or goes on to the next C, for which those sums serve as well.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from probekit._typing import Array
from probekit.solvers.newton import Newton
from probekit.solvers.objective import Objective, Sums
from probekit.solvers.problem import Solution
from probekit.solvers.row_blocks import StandardizedRows

TOLERANCE = 1e-6  # of the certified gap, relative to the objective
DIRECTIONS = 60  # of Newton for one C, at most
_HALVINGS = 30  # of one direction
_MEMORY = 1.5e9  # bytes for rotated rows and what is computed for them
_BLOCKS = 0.5e9  # bytes for the Hessians of single classes
_ALONE = 5e8  # operations of a product up to which waiting for other threads costs more
_STALLED = 0.5  # of the gap before: more, after a whole step, is no progress
_NEAR = 1e-3  # of the objective: a promise that is little beside a gap
_FORCING = (0.5, 0.1)  # share of the gradient that a direction may leave: far away, near
_SLOW, _EXACT = 12, 1e-3  # after so many directions for one C they leave no more than this
_SETTLED = 0.03  # of the weights' length: what the last direction may be
_SLACK = (1e-11, 1e-6)  # of the objective: what float64 and float32 may miss
_BLURRED = 3  # halvings after which float32's sums are not believed any more
_LARGE = 1e9  # operations of a pass from which float32 leads the way


def solve(
    rows: StandardizedRows,
    targets: Array,
    grid: Sequence[float],
    folds: Sequence[int],
    *,
    tags: Sequence[int] | None = None,
    classes: int = 1,
    tolerance: float = TOLERANCE,
    max_iter: int = DIRECTIONS,
    progress: Callable[[int, int], None] | None = None,
    client: Any = None,
) -> list[list[Solution]]:
    """Minimize for every group and every C.

    Parameters
    ----------
    rows : Rows
        Features, with the folds' masks. With fewer rows than features, of one fold only.
    targets : numpy.ndarray
        Class numbers of shape (rows,), or 0 and 1 of shape (rows, tags).
    grid : sequence of float > 0
        Values of C, ascending.
    folds : sequence of int
        The fold of each group.
    tags : sequence of int, optional
        The tag of each group: one logistic regression each, with both values in its fold.
        Without, each group is a softmax over all classes that have rows in its fold.
    classes : int
        Of the softmax.
    tolerance : float > 0
        The certified relative gap at which to stop.
    most : int >= 1
        Newton directions for one C.
    progress : callable, optional
        Called with solutions found and solutions in all.
    client : distributed.Client, optional
        A Dask cluster, whose workers read the rows and sum over them.

    Returns
    -------
    list of list of Solution
        For each group, one for each C. Where ``gap`` is above the tolerance the solver gave up.
    """
    found: list[list[Solution]] = []
    width = 1 if tags is not None else classes
    batch, kept = _sizes(rows, len(folds), width)
    with _threads(rows, min(batch, len(folds)) * width), torch.no_grad():
        for start in range(0, len(folds), batch):
            part = slice(start, start + batch)
            own = None if tags is None else tags[part]
            objective = Objective(rows, targets, folds[part], own, classes, client)
            newton = Newton(objective, kept, _BLOCKS)
            path = _Path(objective, newton, grid, tolerance, max_iter)
            for done in path.run():
                if progress:
                    progress(start * len(grid) + done, len(folds) * len(grid))
            found += path.solutions
    return found


def _sizes(rows: StandardizedRows, groups: int, width: int) -> tuple[int, int]:
    """Return how many groups go together, and how many rotated rows are kept."""
    used = min(rows.dim, rows.count)
    wanted = min(groups, max(1, 128 // width)) * width
    kept = int(_MEMORY / 4 / (used + 6 * wanted))
    if kept >= rows.count:
        most = (_MEMORY / 4 / rows.count - used) / 6
        return max(1, int(min(most, 512) / width)), rows.count
    # a sample then; all columns at once, since each pass reads all rows
    together = max(1, 1024 // width)
    return together, int(_MEMORY / 4 / (used + 6 * min(groups, together) * width))


@contextmanager
def _threads(rows: StandardizedRows, columns: int) -> Iterator[None]:
    """Use one thread for small problems: waiting for others costs more than they save."""
    before = torch.get_num_threads()
    small = 2.0 * rows.count * rows.dim * columns < _ALONE
    with threadpool_limits(1 if small else before):
        torch.set_num_threads(1 if small else before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


class _Path:
    """The way of each group along C."""

    def __init__(
        self,
        objective: Objective,
        newton: Newton,
        grid: Sequence[float],
        tolerance: float,
        max_iter: int,
    ) -> None:
        self.objective, self.newton, self.grid = objective, newton, grid
        self.tolerance, self.most = tolerance, max_iter
        count, width, dim = len(objective), objective.classes, objective.rows.dim
        device = objective.rows.device
        self.c_values = torch.tensor(list(grid), dtype=torch.float64, device=device)
        self.weights = torch.zeros(count, width, dim, dtype=torch.float64, device=device)
        self.intercepts = objective.initial_intercepts()
        self.direction, self.intercept_direction = torch.zeros_like(self.weights), torch.zeros_like(self.intercepts)
        self.step_size = torch.ones(count, dtype=torch.float64, device=device)
        self.slope = torch.zeros_like(self.step_size)  # derivative of the objective along the direction
        self.value = torch.full_like(self.step_size, torch.inf)
        self.c_index = torch.zeros(count, dtype=torch.int64, device=device)
        self.cg_steps, self.n_directions, self.halvings = (torch.zeros_like(self.c_index) for _ in range(3))
        self.previous_gap = torch.full_like(self.step_size, torch.inf)  # the gap a direction ago
        self.shortened = torch.zeros_like(self.c_index, dtype=torch.bool)  # the last direction was too long
        self.last_step_norm = torch.full_like(self.step_size, torch.inf)  # length of the last direction
        self.predicted_decrease = torch.full_like(self.step_size, torch.inf)  # what a direction would gain
        self.double_products = torch.zeros_like(self.c_index, dtype=torch.bool)  # float32 does not do any more
        flops = 4.0 * objective.rows.count * dim * count * width
        # float32 looks first where passes are long, until its digits do not do for a group
        self.double_sums = torch.full_like(self.double_products, flops <= _LARGE)
        self.rounded_off = self.double_sums.clone()
        self.solutions: list[list[Solution]] = [[] for _ in range(count)]

    def run(self) -> Iterator[int]:
        """Go; yields how many solutions there are so far."""
        going = torch.arange(len(self.objective), device=self.c_index.device)
        done = 0
        while len(going):
            sums, weights, intercepts = self._evaluate(going)
            taken = self._accept_or_backtrack(going, sums, weights, intercepts)
            here = going[taken]
            own = sums[taken]
            gap, exact = self._advance(here, own)
            now = sum(len(path) for path in self.solutions)
            if now > done:
                done = now
                yield done
            left = self.c_index[here] < len(self.grid)
            ready = torch.nonzero(left & ~exact)[:, 0]
            if len(ready):
                self._newton_direction(here[ready], own[ready], gap[ready])
            going = going[self.c_index[going] < len(self.grid)]

    def _evaluate(self, going: Tensor) -> tuple[Sums, Tensor, Tensor]:
        """Return the sums where groups now try to be."""
        length = self.step_size[going]
        weights = self.weights[going] + length[:, None, None] * self.direction[going]
        intercepts = self.intercepts[going] + length[:, None] * self.intercept_direction[going]
        precise = self.double_sums[going]
        parts = [torch.nonzero(precise)[:, 0], torch.nonzero(~precise)[:, 0]]
        kinds = (torch.float64, torch.float32)
        if not len(parts[0]) or not len(parts[1]):
            kind = kinds[0] if len(parts[0]) else kinds[1]
            return self.objective.sums(going, weights, intercepts, kind), weights, intercepts
        found = [
            self.objective.sums(going[p], weights[p], intercepts[p], kind)
            for p, kind in zip(parts, kinds, strict=True)
        ]
        order = torch.argsort(torch.cat(parts))
        both = Sums(
            torch.cat([f.loss for f in found]),
            torch.cat([f.grad_coef for f in found]),
            torch.cat([f.grad_intercept for f in found]),
        )
        return both[order], weights, intercepts

    def _accept_or_backtrack(
        self, going: Tensor, sums: Sums, weights: Tensor, intercepts: Tensor
    ) -> Tensor:
        """Take the tries that lower the objective, halve the others; return places of the taken."""
        c = self.c_values[self.c_index[going]]
        value = 0.5 * (weights**2).sum(dim=(1, 2)) + c * sums.loss
        slack = torch.where(self.double_sums[going], *_SLACK) * value.abs()
        allowed = self.value[going] + 1e-4 * self.step_size[going] * self.slope[going] + slack
        fine = (value <= allowed) | (self.halvings[going] >= _HALVINGS)
        taken, missed = torch.nonzero(fine)[:, 0], going[~fine]
        self.step_size[missed] /= 2
        self.halvings[missed] += 1
        self._promote_precision(missed[(self.halvings[missed] >= _BLURRED) & ~self.double_sums[missed]])
        here = going[taken]
        self.weights[here], self.intercepts[here] = weights[taken], intercepts[taken]
        self.direction[here], self.intercept_direction[here], self.step_size[here] = 0.0, 0.0, 1.0
        return taken

    def _promote_precision(self, groups: Tensor) -> None:
        """Look in float64 from now on, first at where groups are."""
        self.double_sums[groups] = self.rounded_off[groups] = True
        self.direction[groups], self.intercept_direction[groups] = 0.0, 0.0
        self.value[groups] = torch.inf
        self.halvings[groups], self.n_directions[groups] = 0, 0

    def _advance(self, here: Tensor, own: Sums) -> tuple[Tensor, Tensor]:
        """Write down what is good enough; return gaps, and who must be looked at exactly first."""
        exact = torch.zeros(len(here), dtype=torch.bool, device=here.device)
        gap = torch.full((len(here),), torch.inf, dtype=torch.float64, device=here.device)
        while True:
            open_ = torch.nonzero((self.c_index[here] < len(self.grid)) & ~exact)[:, 0]
            groups = here[open_]
            c = self.c_values[self.c_index[groups]]
            value, bound = self.objective.duality_gap(
                groups, self.weights[groups], self.intercepts[groups], own[open_], c
            )
            self.value[groups], self.slope[groups] = value, 0.0
            gap[open_] = bound / value.clamp(min=1e-300)
            # a direction of float32 that leads nowhere is tried again in float64
            stuck = (self.halvings[groups] >= _HALVINGS) & self.double_products[groups]
            lost = (self.n_directions[groups] >= self.most) | stuck
            lost &= self.double_sums[groups]
            good = gap[open_] <= self.tolerance * torch.where(self.double_sums[groups], 1.0, 3.0)
            # at small C the objective is nearly all loss: a small gap leaves the weights some room
            good &= self.last_step_norm[groups] <= _SETTLED * self.weights[groups].norm(dim=(1, 2))
            good |= lost
            unsure = good & ~self.double_sums[groups]
            exact[open_[unsure]] = True
            self.double_sums[groups[unsure]] = True
            sure = torch.nonzero(good & ~unsure)[:, 0]
            if not len(sure):
                return gap, exact
            for place in sure.tolist():
                self._write(int(groups[place]), float(gap[open_[place]]))
            self.c_index[groups[sure]] += 1
            for memory in (self.previous_gap, self.predicted_decrease, self.last_step_norm):
                memory[groups[sure]] = torch.inf
            for counter in (self.cg_steps, self.n_directions, self.halvings):
                counter[groups[sure]] = 0
            self.double_sums[groups[sure]], self.double_products[groups[sure]] = self.rounded_off[groups[sure]], False

    def _write(self, group: int, gap: float) -> None:
        self.solutions[group].append(
            Solution(
                coef=self.weights[group].cpu().numpy().copy(),
                intercept=self.intercepts[group].cpu().numpy().copy(),
                c=float(self.grid[int(self.c_index[group])]),
                gap=gap,
                n_iter=int(self.cg_steps[group]),
            )
        )

    def _newton_direction(self, groups: Tensor, own: Sums, gap: Tensor) -> None:
        """Give groups new directions."""
        # near the minimum, what a direction of float32 promises may be all there is in its digits
        stalled = (gap > _STALLED * self.previous_gap[groups]) & (self.halvings[groups] == 0)
        little = (10 * gap).clamp(max=1) * _NEAR * self.value[groups]
        stalled &= self.predicted_decrease[groups] < little
        stalled |= (self.predicted_decrease[groups] <= 0) | (self.halvings[groups] >= _HALVINGS)
        # of float32's sums they are noise; in float64 a direction of float32 may be the reason
        blurred = ~self.double_sums[groups] & (stalled | (self.n_directions[groups] >= self.most))
        self.double_products[groups] |= stalled & self.double_sums[groups]
        self.previous_gap[groups], self.shortened[groups] = gap, self.halvings[groups] > 0
        self._promote_precision(groups[blurred])
        groups, own = groups[~blurred], own[~blurred]
        for deep, kind in ((False, torch.float32), (True, torch.float64)):
            some = torch.nonzero(self.double_products[groups] == deep)[:, 0]
            if len(some):
                self._set_directions(groups[some], own[some], kind)

    def _set_directions(self, groups: Tensor, own: Sums, kind: torch.dtype) -> None:
        c = self.c_values[self.c_index[groups]]
        weights = self.weights[groups]
        slope = weights + c[:, None, None] * own.grad_coef
        lean = c[:, None] * own.grad_intercept
        # far away a direction need not be exact: much of it will not be gone
        share = torch.where((self.previous_gap[groups] > 1) | self.shortened[groups], *_FORCING)
        share[self.n_directions[groups] >= _SLOW] = _EXACT
        turn, drift, used, broken = self.newton.directions(
            groups, weights, self.intercepts[groups], slope, lean, c, share, kind
        )
        self.direction[groups], self.intercept_direction[groups], self.step_size[groups] = turn, drift, 1.0
        self.slope[groups] = (slope * turn).sum(dim=(1, 2)) + (lean * drift).sum(dim=1)
        self.predicted_decrease[groups] = -self.slope[groups]
        self.last_step_norm[groups] = turn.norm(dim=(1, 2))
        self.cg_steps[groups] += used
        self.n_directions[groups] += 1
        self.halvings[groups] = 0
        if kind == torch.float32 and bool(broken.any()):
            self.double_products[groups[broken]] = True
            self._set_directions(groups[broken], own[broken], torch.float64)
