"""Newton steps for many groups at once: conjugate gradients on rotated rows (:mod:`.basis`).

What is solved here only gives a direction; the objective itself is exact (:mod:`.objective`), so
rounding, and a sample of rows instead of all, cost steps at most. float32 does until C times the
greatest variance is beyond its digits; float64 is for groups that float32 does not bring on.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probekit.solvers.eigenbasis import EigenBasis
from probekit.solvers.objective import Objective
from probekit.solvers.preconditioner import BlockPreconditioner


@dataclass
class HessianState:
    """Where groups are, and what their Hessians need.

    Attributes
    ----------
    chance : torch.Tensor, shape (groups, classes, rows), float32
        Predicted probabilities of a softmax; for tags, ``p (1 - p)``; times the rows' shares.
    plain : torch.Tensor or None
        Probabilities without shares, zero for rows outside the fold; for softmax only.
    top : torch.Tensor or None
        The likeliest class of each row, for softmax.
    inverse : torch.Tensor, shape (groups, classes, classes), float32
        Of the Hessian by the intercepts.
    """

    weighted: Tensor
    probs: Tensor | None
    top_class: Tensor | None
    intercept_inverse: Tensor

    def hvp(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return how residuals change with scores when intercepts follow, and these."""
        if self.probs is None or self.top_class is None:
            follow = -(self.weighted * change).sum(dim=2) * self.intercept_inverse[:, :, 0]
            return self.weighted * (change + follow[:, :, None]), follow
        first = self._apply(change)
        follow = -(self.intercept_inverse @ first.sum(dim=2, keepdim=True))[:, :, 0]
        return first + self._apply(follow[:, :, None].expand_as(change)), follow

    def _apply(self, change: Tensor) -> Tensor:
        assert self.probs is not None and self.top_class is not None
        # from the likeliest class: small probabilities of the others keep their digits
        change = change - change.gather(1, self.top_class)
        return self.weighted * (change - (self.probs * change).sum(dim=1, keepdim=True))

    def row_weight(self) -> Tensor:
        """Return each row's share in the Hessian of each class."""
        return self.weighted if self.probs is None else self.weighted * (1 - self.probs)

    def subset(self, groups: Tensor) -> "HessianState":
        """Return that of some groups."""
        return HessianState(
            self.weighted[groups],
            None if self.probs is None else self.probs[groups],
            None if self.top_class is None else self.top_class[groups],
            self.intercept_inverse[groups],
        )


class Newton:
    """Newton directions of some groups of an objective.

    Parameters
    ----------
    objective : Objective
        What is minimized.
    most : int
        Rows to keep, see :class:`Basis`.
    room : int
        Bytes for the Hessians of single classes.
    """

    def __init__(self, objective: Objective, most: int, room: float) -> None:
        self.objective, self.basis = objective, EigenBasis(objective, most)
        self.masks = self.basis.take_sample(objective.masks)
        self.blocks = BlockPreconditioner(self.basis, len(objective), objective.classes, room)
        self.ratio = objective.rows.ratio

    def directions(
        self,
        groups: Tensor,
        weights: Tensor,
        intercepts: Tensor,
        slope: Tensor,
        lean: Tensor,
        c: Tensor,
        share: Tensor,
        kind: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a direction for each group.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (some,)
            Which groups.
        weights, intercepts : torch.Tensor
            Where they are.
        slope, lean : torch.Tensor
            The objective's gradient there, by weights and intercepts.
        c : torch.Tensor, shape (some,)
            Each group's C.
        share : torch.Tensor, shape (some,)
            The share of the gradient that may remain.
        kind : torch.dtype
            Of the products.

        Returns
        -------
        weights, intercepts : torch.Tensor, float64
            Directions.
        used : torch.Tensor of int, shape (some,)
            Steps of conjugate gradients.
        broken : torch.Tensor of bool, shape (some,)
            Where rounding made the curvature negative, and the direction is not to be relied on.
        """
        folds = self.objective.folds[groups]
        place = self._hessian_state(groups, weights, intercepts, kind)
        scale = c.to(kind)[:, None, None]
        weight = place.row_weight()
        self.blocks.refresh(groups, folds, weight, c)
        round_ = self.blocks.operator(
            groups, folds, weight, c, self.objective.present[groups], self._softmax
        )
        # intercepts follow the weights, so what they lack at first counts as a residual
        lacking = (lean / c[:, None]).to(kind)
        start = -(place.intercept_inverse @ lacking[:, :, None])[:, :, 0]
        if place.probs is None:
            first = place.weighted * start[:, :, None]
        else:
            first = place._apply(start[:, :, None].expand_as(place.weighted))
        # here intercepts are scores at the shared centre, not at the fold's own
        away = self.objective.rows.shift[folds][:, None] - self.basis.centre
        slope = slope + lean[:, :, None] * away / self.ratio[folds][:, None]
        right = -self.basis.gradient_to_coordinates(slope, folds, self.ratio).to(
            kind
        ) - scale * self.basis.project(first)
        point, follow, used, broken = self._solve(
            right, place, round_, scale, folds, share.to(kind) ** 2, self.blocks.max_steps(groups)
        )
        self.blocks.count_steps(groups, used)
        if self._softmax:
            point = _centred(point, self.objective.present[groups])
        turn = self.basis.to_weights(point, folds, self.ratio)
        drift = (start + follow).double() + (turn / self.ratio[folds][:, None] * away).sum(dim=2)
        return turn, drift, used, broken

    @property
    def _softmax(self) -> bool:
        return not self.objective.one_vs_rest

    def _hessian_state(
        self, groups: Tensor, weights: Tensor, intercepts: Tensor, kind: torch.dtype
    ) -> HessianState:
        folds = self.objective.folds[groups]
        shift, ratio = self.objective.rows.shift[folds][:, None], self.ratio[folds][:, None]
        ground = intercepts + ((weights / ratio) * (self.basis.centre - shift)).sum(dim=2)
        scores = self.basis.scores(self.basis.to_coordinates(weights, folds, self.ratio).to(kind))
        scores += ground.to(kind)[:, :, None]
        on = (self.masks[folds][:, None] * self.basis.share).to(kind)
        if not self._softmax:
            chance = torch.sigmoid(scores).mul_(torch.sigmoid(-scores)).mul_(on)
            inverse = 1 / chance.sum(dim=2, keepdim=True).clamp(min=1e-30)
            return HessianState(chance, None, None, inverse)
        allowed = self.objective.present[groups]
        scores.masked_fill_(~allowed[:, :, None], -torch.inf)
        plain = torch.softmax(scores, dim=1) * (on > 0)
        chance = plain * on
        top = scores.argmax(dim=1, keepdim=True)
        hessian = (
            torch.diag_embed(chance.sum(dim=2).double()) - (chance @ plain.transpose(1, 2)).double()
        )
        trace = hessian.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None].clamp(min=1e-30)
        hessian = hessian + trace / hessian.shape[1] ** 2  # all intercepts up: no change
        hessian.diagonal(dim1=1, dim2=2).mul_(1 + 8 * torch.finfo(kind).eps)
        inverse = torch.linalg.inv(hessian)
        there = allowed.double()
        keep = (
            torch.diag_embed(there)
            - there[:, :, None] * there[:, None] / there.sum(dim=1)[:, None, None]
        )
        return HessianState(chance, plain, top, (keep @ inverse @ keep).to(kind))

    def _solve(
        self,
        right: Tensor,
        place: HessianState,
        round_: Any,
        scale: Tensor,
        folds: Tensor,
        share: Tensor,
        patience: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run preconditioned conjugate gradients; groups leave when they are done."""
        point, follow = torch.zeros_like(right), right.new_zeros(right.shape[:2])
        used = torch.zeros(len(right), dtype=torch.int64, device=right.device)
        broken = torch.zeros(len(right), dtype=torch.bool, device=right.device)
        aim = share * _dot(right, right)
        active = torch.arange(len(right), device=right.device)
        rest, direction = right.clone(), round_(right, active)
        first = height = _dot(rest, direction)
        while len(active):
            change, drawn = place.hvp(self.basis.scores(direction))
            image = self._penalized(direction, folds[active]) + scale * self.basis.project(change)
            curvature = _dot(direction, image)
            sound = (curvature > 0) & torch.isfinite(curvature)  # else rounding has the upper hand
            length = torch.where(sound, height / curvature, 0.0)
            point[active] += length[:, None, None] * direction
            follow[active] += length[:, None] * drawn
            rest -= length[:, None, None] * image
            used[active] += 1
            broken[active] = ~sound
            rounded = round_(rest, active)
            new = _dot(rest, rounded)
            # the second norm is for directions of little curvature, which the first hardly sees
            going = (_dot(rest, rest) > aim[active]) | (new > share[active] * first[active])
            going &= sound & (used[active] < patience[active])
            direction = rounded + (new / height.clamp(min=1e-38))[:, None, None] * direction
            height = new
            kept = torch.nonzero(going)[:, 0]
            if len(kept) < len(active):
                active, rest, direction = active[kept], rest[kept], direction[kept]
                scale, height, place = scale[kept], height[kept], place.subset(kept)
        return point, follow, used, broken

    def _penalized(self, point: Tensor, folds: Tensor) -> Tensor:
        if self.basis.penalty is None:
            return point
        found = torch.empty_like(point)
        for fold in torch.unique(folds):
            own = folds == fold
            found[own] = point[own] @ self.basis.penalty[fold].to(point.dtype)
        return found


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2))


def _centred(point: Tensor, allowed: Tensor) -> Tensor:
    """Take from each class the mean over the classes that are there."""
    there = allowed[:, :, None].to(point.dtype)
    return (point - (point * there).sum(dim=1, keepdim=True) / there.sum(dim=1)[:, None]) * there
