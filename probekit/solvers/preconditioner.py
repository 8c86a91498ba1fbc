"""Block preconditioner for Newton-CG: the Hessian's diagonal, then blocks of single classes.

The diagonal in the eigenbasis is free. Where it is not enough (large C, nearly separable classes),
the inverse Hessian of one class, along the relevant directions and over the relevant rows, is
computed once the steps taken since the last one cost as much as it does. Folds of the same rows
share it, with the mean of their rows' weights: they differ by few rows, and it need not be exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from probekit.solvers.eigenbasis import EigenBasis
from probekit.solvers.matrix_product import multiply

_MIN_STEPS = 30  # steps always tried before a block is computed
_MAX_STEPS = 300  # steps of conjugate gradients for one direction
_MAX_COST = 2000  # cost of a block, in steps
_RELEVANT_CURVATURE = 0.1  # of a direction, where the penalty's is 1
_NEGLIGIBLE_CURVATURE = 0.003  # of a row that is left out
_INVERSE_FLOPS = 20.0  # of a block, times its size cubed, in flops of products in float32
_ROW_STEP = 1024  # of the rows of a block, whose products are compiled for each number of rows
_RIDGE = 1e-6  # added to a block of unit diagonal against rounding


class BlockPreconditioner:
    """Inverse Hessians of single classes, computed when they pay.

    Parameters
    ----------
    basis : EigenBasis
        Coordinates.
    kinds : torch.Tensor of int, shape (groups,)
        Groups of a kind differ by their folds only, and share blocks.
    classes : int
        Number of classes of each group.
    memory : float
        Bytes for all blocks.
    """

    def __init__(self, basis: EigenBasis, kinds: Tensor, classes: int, memory: float) -> None:
        self.basis, self.kinds, self.classes = basis, kinds, classes
        groups = len(kinds)
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

    def refresh(
        self, groups: Tensor, folds: Tensor, row_weight: Tensor, c: Tensor, alone: Tensor
    ) -> None:
        """Compute new blocks for groups whose steps since the last one cost as much as a block.

        Groups that are ``alone`` share theirs with no other.
        """
        self.fresh[groups] = False
        kinds = torch.where(alone, -1 - groups, self.kinds[groups])
        number, counts, c, row_weight = _share(kinds, c, row_weight)
        totals = row_weight.sum(dim=2).clamp(min=1e-30)
        top = c * totals.amax(dim=1) / self.basis.sample_weight.sum()
        # cost of a block at the current weights: along how many directions, over how many rows
        descending = self.basis.variances.double()
        relevant = (top[:, None] * descending > _RELEVANT_CURVATURE).sum(dim=1)
        sizes = relevant.div(16).ceil().long() * 16
        sizes.clamp_(max=self.max_size)
        used = c[:, None, None] * row_weight * self.basis.squared_norms > _NEGLIGIBLE_CURVATURE
        rows = used.sum(dim=(1, 2)).double() / self.classes
        flops = 2.0 * rows * sizes**2 + _INVERSE_FLOPS * sizes.double() ** 3
        cost = (flops / self._step_cost() / counts).clamp(_MIN_STEPS, _MAX_COST).long()
        self.cost[groups] = cost[number]
        steps = torch.zeros_like(cost).index_add_(0, number, self.steps_since[groups])
        for k in torch.nonzero(steps >= cost * counts)[:, 0].tolist():
            members = groups[number == k]
            penalty = self.basis.penalty.block(folds[number == k], int(sizes[k]))
            blocks = [
                self._hessian(weight, total, rows_used, c[k], penalty)
                for weight, total, rows_used in zip(row_weight[k], totals[k], used[k], strict=True)
            ]
            self.inverses.update(dict.fromkeys(members.tolist(), _invert(torch.stack(blocks))))
            self.steps_since[members], self.fresh[members] = 0, True

    def _hessian(
        self, row_weight: Tensor, total: Tensor, used: Tensor, c: Tensor, penalty: Tensor
    ) -> Tensor:
        """Return the Hessian along the leading directions, over the relevant rows."""
        basis, size = self.basis, len(penalty)
        chosen = torch.nonzero(used)[:, 0]
        padded = pad(chosen, (0, -len(chosen) % min(_ROW_STEP, len(used))))
        rows, weight = basis.rows[padded, :size], row_weight[padded].to(basis.rows.dtype)
        weight[len(chosen) :] = 0
        mean = weight @ rows
        products = multiply((rows * weight[:, None]).T, rows.T)
        return (products - torch.outer(mean, mean) / total).double() * c + penalty

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
        diagonal += basis.penalty.diagonal[folds][:, None]
        inverse_diagonal = (1 / diagonal).to(row_weight.dtype)
        if softmax:
            inverse_diagonal *= present[:, :, None]
        inverses = [self.inverses.get(group) for group in groups.tolist()]

        latest: list[_ActiveBlocks] = []

        def precondition(residual: Tensor, active: Tensor) -> Tensor:
            if not latest or latest[0].active is not active:  # groups have left
                mask = present[active][:, :, None].to(row_weight.dtype) if softmax else None
                diagonal = inverse_diagonal[active]
                latest[:] = [_ActiveBlocks(active, diagonal, _stack(inverses, active), mask)]
            return latest[0].apply(residual)

        return precondition


@dataclass(frozen=True)
class _ActiveBlocks:
    """The inverse of some of the groups: the diagonal, blocks by position, and classes present."""

    active: Tensor
    inverse_diagonal: Tensor
    blocks: list[tuple[Tensor, Tensor]]  # as of _stack
    present: Tensor | None  # of a softmax

    def apply(self, residual: Tensor) -> Tensor:
        """Return the inverse times residuals of shape (groups, classes, directions)."""
        result = self.inverse_diagonal * residual
        for positions, inverses in self.blocks:
            size = inverses.shape[-1]
            leading = residual[positions, :, :size].to(inverses.dtype).transpose(1, 2)
            result[positions, :, :size] = (leading @ inverses).transpose(1, 2).to(result.dtype)
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


def _share(kinds: Tensor, c: Tensor, row_weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the number of each group's block, and groups, C and mean row weights of each block.

    Groups share a block if they are of the same kind and at the same C.
    """
    keys = torch.stack([kinds.double(), c], dim=1)
    unique, number, counts = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
    if len(unique) == len(kinds):
        return torch.arange(len(kinds), device=c.device), counts, c, row_weight
    total = row_weight.new_zeros(len(unique), *row_weight.shape[1:])
    total.index_add_(0, number, row_weight)
    return number, counts, unique[:, 1], total / counts[:, None, None]


def _stack(inverses: list[Tensor | None], active: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the inverses of the active groups, stacked by their size and number of groups.

    Each stack has positions among the active groups, shape (blocks, groups), and inverses, shape
    (blocks, classes, size, size).
    """
    groups_of: dict[int, list[int]] = {}
    by_id: dict[int, Tensor] = {}
    for position, group in enumerate(active.tolist()):
        inverse = inverses[group]
        if inverse is not None and inverse.numel():
            by_id[id(inverse)] = inverse
            groups_of.setdefault(id(inverse), []).append(position)
    alike: dict[tuple[int, int], list[int]] = {}
    for key, positions in groups_of.items():
        alike.setdefault((by_id[key].shape[-1], len(positions)), []).append(key)
    return [
        (
            torch.tensor([groups_of[key] for key in keys], device=active.device),
            by_id[keys[0]][None]  # no copy
            if len(keys) == 1
            else torch.stack([by_id[key] for key in keys]),
        )
        for keys in alike.values()
    ]
