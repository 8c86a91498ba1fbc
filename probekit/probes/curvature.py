"""Newton steps for many groups at once: conjugate gradients on rotated rows.

The rows are rotated once into the eigenbasis of XᵀX, where the Hessian of logistic regression is
nearly diagonal, ``1 + C κ λ``. What is solved here only gives a direction; the objective itself is
exact (:mod:`.objective`), so rounding, and a sample of rows instead of all, cost steps at most.
float32 does until C times the greatest variance is beyond its digits; float64 is for groups that
float32 does not bring on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit.probes.objective import Objective
from probekit.probes.preconditioner import Blocks

Array = npt.NDArray[Any]

_SEED = 0  # of the sample of rows
_WIDE = 4096  # rows that are float64 at a time
_KEPT = 3e7  # numbers up to which the rows are kept in float64 too


class Basis:
    """The directions in which features vary, and the rows along them.

    Parameters
    ----------
    objective : Objective
        Whose rows; with fewer rows than features it must have a single fold.
    most : int
        Rows to keep; of more, a sample that is rich in rare classes.

    Attributes
    ----------
    vectors : torch.Tensor, shape (dim, directions), float64
        Orthonormal. With fewer rows than features, they span the rows: weights lie in there.
    variances : torch.Tensor, shape (directions,), float32
        Sum of squares along each, descending.
    rows : torch.Tensor, shape (some, directions), float32
        Rows, rotated.
    share : torch.Tensor, shape (some,), float32
        How many rows each stands for.
    norms : torch.Tensor, shape (some,), float32
        Their squared lengths.
    penalty : torch.Tensor or None, shape (folds, directions, directions), float32
        The weights' penalty in these coordinates; None where it is the identity.
    """

    def __init__(self, objective: Objective, most: int) -> None:
        data, device = objective.rows, objective.rows.device
        used = torch.as_tensor(data.masks.any(axis=0), device=device)
        centre = data.shift.mean(dim=0) if len(data.shift) > 1 else data.shift[0]
        ratio = data.ratio[0] if len(data.ratio) == 1 else torch.ones_like(data.ratio[0])
        self.centre, self.ratio = centre, ratio
        if data.count < data.dim:
            wide = torch.cat([(b - centre) / ratio for _, b in data.blocks()]) * used[:, None]
            span, corner = torch.linalg.qr(wide.T)
            variances, turn = torch.linalg.eigh(corner @ corner.T)
            vectors = span @ turn
        else:
            square = torch.zeros(data.dim, data.dim, dtype=torch.float64, device=device)
            rough = torch.float32 if data.count > 100_000 else torch.float64
            for where, block in data.blocks(rough):
                here = ((block - centre.to(rough)) / ratio.to(rough)) * used[where][:, None]
                square += here.T @ here
            variances, vectors = torch.linalg.eigh(square)
        self.vectors = vectors.flip(1).contiguous()
        self.variances = variances.flip(0).clamp(min=0).float()
        self._gather(objective, most)
        self._double: Tensor | None = None
        self.penalty = None
        if len(data.ratio) > 1 and bool((data.ratio != 1).any()):
            wide = data.ratio[:, :, None] * self.vectors
            self.penalty = (wide.transpose(1, 2) @ wide).float()

    def _gather(self, objective: Objective, most: int) -> None:
        data = objective.rows
        self.kept: Tensor | None = None
        share = np.ones(data.count)
        if data.count > most:
            chance = _chances(objective, most)
            kept = np.flatnonzero(np.random.default_rng(_SEED).random(data.count) < chance)
            share = 1 / chance[kept]
            self.kept = torch.as_tensor(kept, device=data.device)
        found = []
        for where, block in data.blocks():
            if self.kept is not None:
                inside = (self.kept >= where.start) & (self.kept < where.stop)
                block = block[self.kept[inside] - where.start]
            found.append((((block - self.centre) / self.ratio) @ self.vectors).float())
        self.rows = torch.cat(found)
        self.share = torch.as_tensor(share, device=data.device).float()
        self.norms = (self.rows**2).sum(dim=1)

    def scores(self, point: Tensor) -> Tensor:
        """Return what coordinates give for each row: (groups, classes, rows), of the same type."""
        flat = point.reshape(-1, point.shape[-1])
        if point.dtype == self.rows.dtype:
            found = flat @ self.rows.T
        else:
            parts = [flat @ block.T for _, block in self._wide()]
            found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return found.view(*point.shape[:2], -1)

    def back(self, residuals: Tensor) -> Tensor:
        """Return the sum of rows times residuals: (groups, classes, directions), of their type."""
        flat = residuals.reshape(-1, residuals.shape[-1])
        if residuals.dtype == self.rows.dtype:
            found = flat @ self.rows
        else:
            blocks = [flat[:, where] @ block for where, block in self._wide()]
            found = torch.stack(blocks).sum(dim=0) if len(blocks) > 1 else blocks[0]
        return found.view(*residuals.shape[:2], -1)

    def _wide(self) -> Iterator[tuple[slice, Tensor]]:
        """Walk over the rows in float64."""
        if self.rows.numel() <= _KEPT:
            if self._double is None:
                self._double = self.rows.double()
            yield slice(None), self._double
            return
        for start in range(0, len(self.rows), _WIDE):
            where = slice(start, start + _WIDE)
            yield where, self.rows[where].double()

    def down(self, gradient: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return gradients by coordinates from those by standardized weights."""
        return (gradient * self._relative(folds, ratio)) @ self.vectors

    def up(self, point: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return standardized weights from coordinates."""
        return (point.double() @ self.vectors.T) * self._relative(folds, ratio)

    def along(self, weights: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return coordinates from standardized weights."""
        return (weights / self._relative(folds, ratio)) @ self.vectors

    def _relative(self, folds: Tensor, ratio: Tensor) -> Tensor:
        return (ratio[folds] / self.ratio)[:, None]

    def pick(self, values: Tensor) -> Tensor:
        """Return values, whose last axis is rows, of the rows that are kept."""
        return values if self.kept is None else values[..., self.kept]


def _chances(objective: Objective, most: int) -> Array:
    """Return with which chance each row is kept: rows of rare classes rather than others."""
    targets = objective.targets.cpu().numpy()
    if objective.independent:
        counts = np.maximum(targets.sum(axis=1), 1)
        rare = np.zeros(targets.shape[1])
        for hot, count in zip(targets, counts, strict=True):
            np.maximum(rare, hot / count, out=rare)
    else:
        counts = np.bincount(targets)
        rare = 1 / np.maximum(counts, 1)[targets]
    total, even = len(rare), most / (2 * len(rare))
    low, high = 0.0, float(total) / max(float(rare[rare > 0].min(initial=1.0)), 1e-12)
    for _ in range(60):  # the factor with which rare rows take half of the room
        factor = (low + high) / 2
        if np.minimum(1.0, factor * rare).sum() > most / 2:
            high = factor
        else:
            low = factor
    return np.minimum(1.0, even + low * rare)


@dataclass
class Place:
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

    chance: Tensor
    plain: Tensor | None
    top: Tensor | None
    inverse: Tensor

    def curved(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return how residuals change with scores when intercepts follow, and these."""
        if self.plain is None or self.top is None:
            follow = -(self.chance * change).sum(dim=2) * self.inverse[:, :, 0]
            return self.chance * (change + follow[:, :, None]), follow
        first = self._apply(change)
        follow = -(self.inverse @ first.sum(dim=2, keepdim=True))[:, :, 0]
        return first + self._apply(follow[:, :, None].expand_as(change)), follow

    def _apply(self, change: Tensor) -> Tensor:
        assert self.plain is not None and self.top is not None
        # from the likeliest class: small probabilities of the others keep their digits
        change = change - change.gather(1, self.top)
        return self.chance * (change - (self.plain * change).sum(dim=1, keepdim=True))

    def weight(self) -> Tensor:
        """Return each row's share in the Hessian of each class."""
        return self.chance if self.plain is None else self.chance * (1 - self.plain)

    def only(self, groups: Tensor) -> "Place":
        """Return that of some groups."""
        return Place(
            self.chance[groups],
            None if self.plain is None else self.plain[groups],
            None if self.top is None else self.top[groups],
            self.inverse[groups],
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
        self.objective, self.basis = objective, Basis(objective, most)
        self.masks = self.basis.pick(objective.masks)
        self.blocks = Blocks(self.basis, len(objective), objective.classes, room)
        self.ratio = objective.rows.ratio

    def steps(
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
        place = self._place(groups, weights, intercepts, kind)
        scale = c.to(kind)[:, None, None]
        weight = place.weight()
        self.blocks.refresh(groups, folds, weight, c)
        round_ = self.blocks.rounder(
            groups, folds, weight, c, self.objective.allowed[groups], self._softmax
        )
        # intercepts follow the weights, so what they lack at first counts as a residual
        lacking = (lean / c[:, None]).to(kind)
        start = -(place.inverse @ lacking[:, :, None])[:, :, 0]
        if place.plain is None:
            first = place.chance * start[:, :, None]
        else:
            first = place._apply(start[:, :, None].expand_as(place.chance))
        # here intercepts are scores at the shared centre, not at the fold's own
        away = self.objective.rows.shift[folds][:, None] - self.basis.centre
        slope = slope + lean[:, :, None] * away / self.ratio[folds][:, None]
        right = -self.basis.down(slope, folds, self.ratio).to(kind) - scale * self.basis.back(first)
        point, follow, used, broken = self._solve(
            right, place, round_, scale, folds, share.to(kind) ** 2, self.blocks.patience(groups)
        )
        self.blocks.note(groups, used)
        if self._softmax:
            point = _centred(point, self.objective.allowed[groups])
        turn = self.basis.up(point, folds, self.ratio)
        drift = (start + follow).double() + (turn / self.ratio[folds][:, None] * away).sum(dim=2)
        return turn, drift, used, broken

    @property
    def _softmax(self) -> bool:
        return not self.objective.independent

    def _place(
        self, groups: Tensor, weights: Tensor, intercepts: Tensor, kind: torch.dtype
    ) -> Place:
        folds = self.objective.folds[groups]
        shift, ratio = self.objective.rows.shift[folds][:, None], self.ratio[folds][:, None]
        ground = intercepts + ((weights / ratio) * (self.basis.centre - shift)).sum(dim=2)
        scores = self.basis.scores(self.basis.along(weights, folds, self.ratio).to(kind))
        scores += ground.to(kind)[:, :, None]
        on = (self.masks[folds][:, None] * self.basis.share).to(kind)
        if not self._softmax:
            chance = torch.sigmoid(scores).mul_(torch.sigmoid(-scores)).mul_(on)
            inverse = 1 / chance.sum(dim=2, keepdim=True).clamp(min=1e-30)
            return Place(chance, None, None, inverse)
        allowed = self.objective.allowed[groups]
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
        return Place(chance, plain, top, (keep @ inverse @ keep).to(kind))

    def _solve(
        self,
        right: Tensor,
        place: Place,
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
            change, drawn = place.curved(self.basis.scores(direction))
            image = self._penalized(direction, folds[active]) + scale * self.basis.back(change)
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
                scale, height, place = scale[kept], height[kept], place.only(kept)
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
