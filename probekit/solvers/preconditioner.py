"""What makes the Hessian round: its diagonal in the eigenbasis, then the blocks of its classes.

The diagonal costs nothing. Where it does not do (large C, nearly separable classes), the Hessian of
one class, along the directions that matter and over the rows that matter, is worth its cost after
as many steps as it costs.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from probekit.solvers.eigenbasis import EigenBasis

_LEAST = 12  # steps that are always tried before a block is made
_MOST = 300  # steps of conjugate gradients for one direction
_DEAR = 2000  # steps that a block may cost
_MATTERS = 0.1  # curvature of the loss, beside the penalty's 1, from which a direction counts
_NEGLIGIBLE = 0.003  # curvature that a row may have, and be left out
_RIDGE = 1e-6  # of a block with unit diagonal: what rounding needs


class BlockPreconditioner:
    """Inverses of the Hessians of single classes, made when they pay.

    Parameters
    ----------
    basis : Basis
        The coordinates.
    groups, classes : int
        How many there are.
    room : float
        Bytes for all blocks.
    """

    def __init__(self, basis: EigenBasis, groups: int, classes: int, room: float) -> None:
        self.basis, self.classes = basis, classes
        directions, device = len(basis.variances), basis.rows.device
        self.max_size = min(directions, int((room / 4 / (groups * classes)) ** 0.5))
        self.inverses: dict[int, Tensor] = {}
        self.steps_since = torch.zeros(groups, dtype=torch.int64, device=device)
        self.cost = torch.full((groups,), _DEAR, dtype=torch.int64, device=device)
        self.fresh = torch.zeros(groups, dtype=torch.bool, device=device)

    def _step_cost(self) -> float:
        """Return the operations of one step of conjugate gradients for one class."""
        rows, directions = self.basis.rows.shape
        return 4.0 * rows * directions + 100.0 * rows

    def max_steps(self, groups: Tensor) -> Tensor:
        """Return for each group how many steps it may take before it stops for a new block."""
        left = (self.cost[groups] - self.steps_since[groups]).clamp(min=_LEAST, max=_MOST)
        return torch.where(self.fresh[groups], _MOST, left)  # a new block would be the same

    def count_steps(self, groups: Tensor, used: Tensor) -> None:
        """Remember steps that groups took."""
        self.steps_since[groups] += used

    def refresh(self, groups: Tensor, folds: Tensor, weight: Tensor, c: Tensor) -> None:
        """Make new blocks for groups whose last ones have cost more steps than they are worth."""
        self.fresh[groups] = False
        totals = weight.sum(dim=2).clamp(min=1e-30)
        top = c * totals.amax(dim=1) / self.basis.share.sum()
        # what a block would cost now: along how many directions, over how many rows
        falling = self.basis.variances.double()
        sizes = (top[:, None] * falling > _MATTERS).sum(dim=1).div(16).ceil().long() * 16
        sizes.clamp_(max=self.max_size)
        matter = c[:, None, None] * weight * self.basis.squared_norms > _NEGLIGIBLE
        rows = matter.sum(dim=(1, 2)).double() / self.classes
        flops = 2.0 * rows * sizes**2 + 6.0 * sizes.double() ** 3
        self.cost[groups] = (0.5 * flops / self._step_cost()).clamp(_LEAST, _DEAR).long()
        due = torch.nonzero(self.steps_since[groups] >= self.cost[groups])[:, 0]
        for place in due.tolist():
            group, fold, size = int(groups[place]), int(folds[place]), int(sizes[place])
            sides = [
                self._hessian(own[used], total, used, c[place], fold, size)
                for own, total, used in zip(
                    weight[place], totals[place], matter[place], strict=True
                )
            ]
            self.inverses[group] = _inverse(torch.stack(sides))
            self.steps_since[group], self.fresh[group] = 0, True

    def _hessian(
        self, weight: Tensor, total: Tensor, used: Tensor, c: Tensor, fold: int, size: int
    ) -> Tensor:
        """Return the Hessian along the leading directions, over the rows that matter."""
        basis = self.basis
        here, own = basis.rows[used, :size], weight.to(basis.rows.dtype)
        mean = own @ here
        hessian = ((here * own[:, None]).T @ here - torch.outer(mean, mean) / total).double() * c
        if basis.penalty is None:
            hessian.diagonal().add_(1)
        else:
            hessian += basis.penalty[fold, :size, :size]
        return hessian

    def operator(
        self,
        groups: Tensor,
        folds: Tensor,
        weight: Tensor,
        c: Tensor,
        allowed: Tensor,
        softmax: bool,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what applies the inverse to gradients of some of these groups."""
        basis = self.basis
        level = weight.sum(dim=2) / basis.share.sum()
        diagonal = c[:, None, None] * level[:, :, None] * basis.variances
        if basis.penalty is None:
            diagonal += 1
        else:
            diagonal += basis.penalty.diagonal(dim1=1, dim2=2)[folds][:, None]
        smooth = (1 / diagonal).to(weight.dtype)
        if softmax:
            smooth *= allowed[:, :, None]
        sizes: dict[int, list[int]] = {}
        for place, group in enumerate(groups.tolist()):
            if group in self.inverses:
                sizes.setdefault(self.inverses[group].shape[1], []).append(place)
        stacks = {
            size: (places, torch.stack([self.inverses[int(groups[p])] for p in places]))
            for size, places in sizes.items()
            if size
        }

        latest: list[tuple[Tensor, list[tuple[Tensor, Tensor]]]] = []

        def apply(rest: Tensor, active: Tensor) -> Tensor:
            if not latest or latest[0][0] is not active:  # groups have left
                latest[:] = [(active, _among(stacks, active))]
            found = smooth[active] * rest
            for at, own in latest[0][1]:
                size = own.shape[-1]
                short = rest[at, :, None, :size].to(own.dtype)
                found[at, :, :size] = (short @ own)[:, :, 0].to(found.dtype)
            if softmax:
                there = allowed[active][:, :, None].to(found.dtype)
                found *= there
                found -= found.sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True) * there
            return found

        return apply


def _inverse(hessians: Tensor) -> Tensor:
    """Return inverses of symmetric matrices, which may be indefinite by rounding."""
    root = hessians.diagonal(dim1=1, dim2=2).clamp(min=1e-30).rsqrt()
    unit = hessians * root[:, :, None] * root[:, None]
    same = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    ridge = _RIDGE
    factor, wrong = torch.linalg.cholesky_ex(unit + ridge * same)
    while bool(wrong.any()) and ridge < 1:
        ridge *= 10
        factor, wrong = torch.linalg.cholesky_ex(unit + ridge * same)
    half = torch.linalg.solve_triangular(factor, same.expand_as(factor), upper=False)
    half = half * root[:, None]
    return (half.transpose(1, 2) @ half).float()


def _among(
    stacks: dict[int, tuple[list[int], Tensor]], active: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Return where groups are among the active ones, with their blocks; not those that left."""
    where = {place: k for k, place in enumerate(active.tolist())}
    found = []
    for places, inverses in stacks.values():
        inside = [k for k, place in enumerate(places) if place in where]
        if inside:
            at = torch.tensor([where[places[k]] for k in inside], device=active.device)
            found.append((at, inverses if len(inside) == len(places) else inverses[inside]))
    return found
