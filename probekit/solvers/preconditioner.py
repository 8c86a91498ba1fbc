"""Block preconditioner for Newton-CG: the Hessian's diagonal, then blocks of single classes.

The diagonal in the eigenbasis is free. Where it is not enough (large C, nearly separable classes),
the inverse Hessian of one class, along the relevant directions and over the relevant rows, is
computed once the steps taken since the last one cost as much as it does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from probekit.solvers.eigenbasis import EigenBasis

_MIN_STEPS = 12  # steps always tried before a block is computed
_MAX_STEPS = 300  # steps of conjugate gradients for one direction
_MAX_COST = 2000  # cost of a block, in steps
_RELEVANT_CURVATURE = 0.1  # of a direction, where the penalty's is 1
_NEGLIGIBLE_CURVATURE = 0.003  # of a row that is left out
_RIDGE = 1e-6  # added to a block of unit diagonal against rounding


class BlockPreconditioner:
    """Inverse Hessians of single classes, computed when they pay.

    Parameters
    ----------
    basis : EigenBasis
        Coordinates.
    groups, classes : int
        Number of groups, and of classes in each.
    memory : float
        Bytes for all blocks.
    """

    def __init__(self, basis: EigenBasis, groups: int, classes: int, memory: float) -> None:
        self.basis, self.classes = basis, classes
        directions, device = len(basis.variances), basis.rows.device
        self.max_size = min(directions, int((memory / 4 / (groups * classes)) ** 0.5))
        self.inverses: dict[int, Tensor] = {}
        self.steps_since = torch.zeros(groups, dtype=torch.int64, device=device)
        self.cost = torch.full((groups,), _MAX_COST, dtype=torch.int64, device=device)
        self.fresh = torch.zeros(groups, dtype=torch.bool, device=device)

    def _step_cost(self) -> float:
        """Return the operations of one step of conjugate gradients for one class."""
        rows, directions = self.basis.rows.shape
        return 4.0 * rows * directions + 100.0 * rows

    def max_steps(self, groups: Tensor) -> Tensor:
        """Return how many steps each group may take before it stops for a new block."""
        left = (self.cost[groups] - self.steps_since[groups]).clamp(min=_MIN_STEPS, max=_MAX_STEPS)
        return torch.where(self.fresh[groups], _MAX_STEPS, left)  # a new block would be the same

    def count_steps(self, groups: Tensor, steps: Tensor) -> None:
        """Add the steps that groups took."""
        self.steps_since[groups] += steps

    def refresh(self, groups: Tensor, folds: Tensor, row_weight: Tensor, c: Tensor) -> None:
        """Compute new blocks for groups whose steps since the last one cost as much as a block."""
        self.fresh[groups] = False
        totals = row_weight.sum(dim=2).clamp(min=1e-30)
        top = c * totals.amax(dim=1) / self.basis.sample_weight.sum()
        # cost of a block at the current weights: along how many directions, over how many rows
        descending = self.basis.variances.double()
        relevant = (top[:, None] * descending > _RELEVANT_CURVATURE).sum(dim=1)
        sizes = relevant.div(16).ceil().long() * 16
        sizes.clamp_(max=self.max_size)
        used = c[:, None, None] * row_weight * self.basis.squared_norms > _NEGLIGIBLE_CURVATURE
        rows = used.sum(dim=(1, 2)).double() / self.classes
        flops = 2.0 * rows * sizes**2 + 6.0 * sizes.double() ** 3
        self.cost[groups] = (0.5 * flops / self._step_cost()).clamp(_MIN_STEPS, _MAX_COST).long()
        due = torch.nonzero(self.steps_since[groups] >= self.cost[groups])[:, 0]
        for k in due.tolist():
            group, fold, size = int(groups[k]), int(folds[k]), int(sizes[k])
            blocks = [
                self._hessian(weight[rows_used], total, rows_used, c[k], fold, size)
                for weight, total, rows_used in zip(row_weight[k], totals[k], used[k], strict=True)
            ]
            self.inverses[group] = _invert(torch.stack(blocks))
            self.steps_since[group], self.fresh[group] = 0, True

    def _hessian(
        self, row_weight: Tensor, total: Tensor, used: Tensor, c: Tensor, fold: int, size: int
    ) -> Tensor:
        """Return the Hessian along the leading directions, over the relevant rows."""
        basis = self.basis
        rows, weight = basis.rows[used, :size], row_weight.to(basis.rows.dtype)
        mean = weight @ rows
        hessian = ((rows * weight[:, None]).T @ rows - torch.outer(mean, mean) / total).double() * c
        if basis.penalty is None:
            hessian.diagonal().add_(1)
        else:
            hessian += basis.penalty[fold, :size, :size]
        return hessian

    def operator(
        self,
        groups: Tensor,
        folds: Tensor,
        row_weight: Tensor,
        c: Tensor,
        present: Tensor,
        softmax: bool,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function that applies the inverse to residuals of some of these groups."""
        basis = self.basis
        level = row_weight.sum(dim=2) / basis.sample_weight.sum()
        diagonal = c[:, None, None] * level[:, :, None] * basis.variances
        if basis.penalty is None:
            diagonal += 1
        else:
            diagonal += basis.penalty.diagonal(dim1=1, dim2=2)[folds][:, None]
        inverse_diagonal = (1 / diagonal).to(row_weight.dtype)
        if softmax:
            inverse_diagonal *= present[:, :, None]
        by_size: dict[int, list[int]] = {}
        for position, group in enumerate(groups.tolist()):
            if group in self.inverses:
                by_size.setdefault(self.inverses[group].shape[1], []).append(position)
        stacks = [
            (positions, torch.stack([self.inverses[int(groups[k])] for k in positions]))
            for size, positions in by_size.items()
            if size
        ]

        latest: list[_ActiveBlocks] = []

        def precondition(residual: Tensor, active: Tensor) -> Tensor:
            if not latest or latest[0].active is not active:  # groups have left
                mask = present[active][:, :, None].to(row_weight.dtype) if softmax else None
                diagonal = inverse_diagonal[active]
                latest[:] = [_ActiveBlocks(active, diagonal, _select_active(stacks, active), mask)]
            return latest[0].apply(residual)

        return precondition


@dataclass(frozen=True)
class _ActiveBlocks:
    """The inverse of some of the groups: the diagonal, blocks by position, and classes present."""

    active: Tensor
    inverse_diagonal: Tensor
    blocks: list[tuple[Tensor, Tensor]]
    present: Tensor | None  # of a softmax

    def apply(self, residual: Tensor) -> Tensor:
        """Return the inverse times residuals of shape (groups, classes, directions)."""
        result = self.inverse_diagonal * residual
        for positions, inverses in self.blocks:
            size = inverses.shape[-1]
            if len(positions) == len(residual):  # in order: no copy
                leading = residual[:, :, None, :size].to(inverses.dtype)
                result[:, :, :size] = (leading @ inverses)[:, :, 0]
            else:
                leading = residual[positions, :, None, :size].to(inverses.dtype)
                result[positions, :, :size] = (leading @ inverses)[:, :, 0].to(result.dtype)
        if self.present is not None:
            result *= self.present
            mean = result.sum(dim=1, keepdim=True) / self.present.sum(dim=1, keepdim=True)
            result -= mean * self.present
        return result


def _invert(hessians: Tensor) -> Tensor:
    """Return inverses of symmetric matrices that may be indefinite by rounding."""
    root = hessians.diagonal(dim1=1, dim2=2).clamp(min=1e-30).rsqrt()
    unit = hessians * root[:, :, None] * root[:, None]
    identity = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    ridge = _RIDGE
    factor, failed = torch.linalg.cholesky_ex(unit + ridge * identity)
    while bool(failed.any()) and ridge < 1:
        ridge *= 10
        factor, failed = torch.linalg.cholesky_ex(unit + ridge * identity)
    return (torch.cholesky_inverse(factor) * root[:, :, None] * root[:, None]).float()


def _select_active(
    stacks: list[tuple[list[int], Tensor]], active: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return the positions among the active groups, with their blocks."""
    row_of = {position: row for row, position in enumerate(active.tolist())}
    selected = []
    for positions, inverses in stacks:
        inside = [k for k, position in enumerate(positions) if position in row_of]
        if inside:
            rows = torch.tensor([row_of[positions[k]] for k in inside], device=active.device)
            selected.append((rows, inverses if len(inside) == len(positions) else inverses[inside]))
    return selected
