"""Newton directions for many groups at once, by conjugate gradients on rotated rows.

Only directions are computed here; the objective itself is exact (:mod:`.objective`), so rounding,
and a sample of rows instead of all, cost iterations at most. float32 is enough until C times the
largest variance exceeds its precision; float64 is for groups that make no progress in float32.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from probekit.solvers.eigenbasis import EigenBasis
from probekit.solvers.objective import Objective
from probekit.solvers.preconditioner import BlockPreconditioner


@dataclass
class HessianState:
    """Probabilities at the current weights, from which Hessian-vector products are made.

    Attributes
    ----------
    weighted : torch.Tensor, shape (groups, classes, rows)
        ``p`` for softmax, ``p (1 - p)`` for tags, times the rows' sample weights.
    probs : torch.Tensor or None
        ``p`` without sample weights, zero for rows outside the fold; softmax only.
    top_class : torch.Tensor or None
        Most probable class of each row; softmax only.
    intercept_inverse : torch.Tensor, shape (groups, classes, classes)
        Inverse Hessian with respect to the intercepts.
    """

    weighted: Tensor
    probs: Tensor | None
    top_class: Tensor | None
    intercept_inverse: Tensor

    def hvp(self, score_change: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of residuals with scores and optimal intercepts, and of intercepts."""
        if self.probs is None or self.top_class is None:
            intercept_change = (
                -(self.weighted * score_change).sum(dim=2) * self.intercept_inverse[:, :, 0]
            )
            return self.weighted * (score_change + intercept_change[:, :, None]), intercept_change
        first = self.softmax_hvp(score_change)
        intercept_change = -(self.intercept_inverse @ first.sum(dim=2, keepdim=True))[:, :, 0]
        return first.add_(self.softmax_hvp(intercept_change[:, :, None])), intercept_change

    def softmax_hvp(self, score_change: Tensor) -> Tensor:
        """Return the change of a softmax's residuals, with fixed intercepts.

        ``score_change`` may have one column for all rows.
        """
        assert self.probs is not None and self.top_class is not None
        # relative to the most probable class: small probabilities of the others keep their digits
        reference = score_change.expand_as(self.probs).gather(1, self.top_class)
        change = score_change - reference
        return change.sub_((self.probs * change).sum(dim=1, keepdim=True)).mul_(self.weighted)

    def row_weight(self) -> Tensor:
        """Return each row's weight in the diagonal Hessian block of each class."""
        return self.weighted if self.probs is None else self.weighted * (1 - self.probs)

    def subset(self, groups: Tensor) -> "HessianState":
        """Return the state of some groups."""
        return HessianState(
            self.weighted[groups],
            None if self.probs is None else self.probs[groups],
            None if self.top_class is None else self.top_class[groups],
            self.intercept_inverse[groups],
        )


class Newton:
    """Newton directions of an objective.

    Parameters
    ----------
    objective : Objective
        Objective to minimize.
    max_rows : int
        Rows to use; see :class:`EigenBasis`.
    memory : float
        Bytes for the blocks of the preconditioner.
    computed : EigenBasis, optional
        Of the same rows, for other folds.
    """

    def __init__(
        self,
        objective: Objective,
        max_rows: int,
        memory: float,
        computed: EigenBasis | None = None,
    ) -> None:
        self.objective = objective
        self.basis = (
            computed.for_folds(objective.rows) if computed else EigenBasis(objective, max_rows)
        )
        self.masks = self.basis.take_sample(objective.masks)
        if objective.one_vs_rest:
            kinds = objective.tags
        else:
            _, kinds = torch.unique(objective.present, dim=0, return_inverse=True)
        self.preconditioner = BlockPreconditioner(self.basis, kinds, objective.classes, memory)
        self.ratio = objective.rows.ratio

    def directions(
        self,
        groups: Tensor,
        weights: Tensor,
        intercepts: Tensor,
        grad_coef: Tensor,
        grad_intercept: Tensor,
        c: Tensor,
        forcing_term: Tensor,
        alone: Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a direction for each group.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (n,)
            Numbers of the groups.
        weights, intercepts : torch.Tensor
            Current point of each group.
        grad_coef, grad_intercept : torch.Tensor
            Gradient of the objective at this point.
        c : torch.Tensor, shape (n,)
            C of each group.
        forcing_term : torch.Tensor, shape (n,)
            Share of the gradient's norm that may remain.
        alone : torch.Tensor of bool, shape (n,)
            Groups far from the others of their kind, which share no block of the preconditioner.
        dtype : torch.dtype
            Precision of the products.

        Returns
        -------
        direction, intercept_direction : torch.Tensor, float64
            By weights and by intercepts.
        cg_steps : torch.Tensor of int, shape (n,)
            Steps of conjugate gradients.
        broken : torch.Tensor of bool, shape (n,)
            Whether rounding made the curvature negative; the direction is then unreliable.
        """
        folds = self.objective.folds[groups]
        state = self._hessian_state(groups, weights, intercepts, dtype)
        scale = c.to(dtype)[:, None, None]
        row_weight = state.row_weight()
        self.preconditioner.refresh(groups, folds, row_weight, c, alone)
        precondition = self.preconditioner.operator(
            groups, folds, row_weight, c, self.objective.present[groups], self._softmax
        )
        # intercepts follow the weights, so their own gradient counts as a residual at first
        intercept_residual = (grad_intercept / c[:, None]).to(dtype)
        start = -(state.intercept_inverse @ intercept_residual[:, :, None])[:, :, 0]
        if state.probs is None:
            first = state.weighted * start[:, :, None]
        else:
            first = state.softmax_hvp(start[:, :, None].expand_as(state.weighted))
        # intercepts are scores at the shared center here, not at the fold's own
        offset = self.objective.rows.shift[folds][:, None] - self.basis.center
        grad_coef = grad_coef + grad_intercept[:, :, None] * offset / self.ratio[folds][:, None]
        right_side = -self.basis.gradient_to_coordinates(grad_coef, folds, self.ratio).to(
            dtype
        ) - scale * self.basis.project(first)
        point, intercept_change, cg_steps, broken = self._conjugate_gradients(
            right_side,
            state,
            precondition,
            scale,
            folds,
            forcing_term.to(dtype) ** 2,
            self.preconditioner.max_steps(groups),
        )
        self.preconditioner.count_steps(groups, cg_steps)
        if self._softmax:
            point = _center_classes(point, self.objective.present[groups])
        direction = self.basis.to_weights(point, folds, self.ratio)
        intercept_direction = (start + intercept_change).double() + (
            direction / self.ratio[folds][:, None] * offset
        ).sum(dim=2)
        return direction, intercept_direction, cg_steps, broken

    @property
    def _softmax(self) -> bool:
        return not self.objective.one_vs_rest

    def _hessian_state(
        self, groups: Tensor, weights: Tensor, intercepts: Tensor, dtype: torch.dtype
    ) -> HessianState:
        folds = self.objective.folds[groups]
        shift, ratio = self.objective.rows.shift[folds][:, None], self.ratio[folds][:, None]
        offset = intercepts + ((weights / ratio) * (self.basis.center - shift)).sum(dim=2)
        scores = self.basis.scores(self.basis.to_coordinates(weights, folds, self.ratio).to(dtype))
        scores += offset.to(dtype)[:, :, None]
        sample_weight = (self.masks[folds][:, None] * self.basis.sample_weight).to(dtype)
        if not self._softmax:
            weighted = torch.sigmoid(scores).mul_(torch.sigmoid(-scores)).mul_(sample_weight)
            inverse = 1 / weighted.sum(dim=2, keepdim=True).clamp(min=1e-30)
            return HessianState(weighted, None, None, inverse)
        present = self.objective.present[groups]
        scores.masked_fill_(~present[:, :, None], -torch.inf)
        probs = torch.softmax(scores, dim=1) * (sample_weight > 0)
        weighted = probs * sample_weight
        top_class = _argmax_classes(scores)
        hessian = (
            torch.diag_embed(weighted.sum(dim=2).double())
            - (weighted @ probs.transpose(1, 2)).double()
        )
        trace = hessian.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None].clamp(min=1e-30)
        hessian = hessian + trace / hessian.shape[1] ** 2  # a common shift changes nothing
        hessian.diagonal(dim1=1, dim2=2).mul_(1 + 8 * torch.finfo(dtype).eps)
        inverse = torch.linalg.inv(hessian)
        mask = present.double()
        centering = (
            torch.diag_embed(mask)
            - mask[:, :, None] * mask[:, None] / mask.sum(dim=1)[:, None, None]
        )
        return HessianState(weighted, probs, top_class, (centering @ inverse @ centering).to(dtype))

    def _conjugate_gradients(
        self,
        right_side: Tensor,
        state: HessianState,
        precondition: Callable[[Tensor, Tensor], Tensor],
        scale: Tensor,
        folds: Tensor,
        tolerance: Tensor,
        max_steps: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run preconditioned conjugate gradients; groups leave when they are done.

        ``tolerance`` is the share of the squared norms that may remain. Returns the solution, the
        change of intercepts, the steps, and where rounding made the curvature negative.
        """
        point = torch.zeros_like(right_side)
        intercept_change = right_side.new_zeros(right_side.shape[:2])
        steps = torch.zeros(len(right_side), dtype=torch.int64, device=right_side.device)
        broken = torch.zeros(len(right_side), dtype=torch.bool, device=right_side.device)
        threshold = tolerance * _dot(right_side, right_side)
        active = torch.arange(len(right_side), device=right_side.device)
        residual, search = right_side.clone(), precondition(right_side, active)
        first_norm = norm = _dot(residual, search)
        while len(active):
            residual_change, search_intercept = state.hvp(self.basis.scores(search))
            image = scale * self.basis.project(residual_change)
            image += self.basis.penalty.hvp(search, folds[active])
            curvature = _dot(search, image)
            sound = (curvature > 0) & torch.isfinite(curvature)  # else dominated by rounding error
            step_size = torch.where(sound, norm / curvature, 0.0)
            point[active] += step_size[:, None, None] * search
            intercept_change[active] += step_size[:, None] * search_intercept
            residual -= step_size[:, None, None] * image
            steps[active] += 1
            broken[active] = ~sound
            preconditioned = precondition(residual, active)
            new_norm = _dot(residual, preconditioned)
            # the second norm is for directions of little curvature, which the first hardly sees
            unfinished = (_dot(residual, residual) > threshold[active]) | (
                new_norm > tolerance[active] * first_norm[active]
            )
            unfinished &= sound & (steps[active] < max_steps[active])
            search = preconditioned + (new_norm / norm.clamp(min=1e-38))[:, None, None] * search
            norm = new_norm
            remaining = torch.nonzero(unfinished)[:, 0]
            if len(remaining) < len(active):
                active, residual = active[remaining], residual[remaining]
                search, scale, norm = search[remaining], scale[remaining], norm[remaining]
                state = state.subset(remaining)
        return point, intercept_change, steps, broken


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=(1, 2))


def _argmax_classes(scores: Tensor) -> Tensor:
    """Return the first class with the highest score of each row, shape (groups, 1, rows).

    torch's ``argmax`` along an axis that is not the last is far slower than a pass by class.
    """
    highest, top_class = (
        scores[:, 0].clone(),
        scores.new_zeros(scores[:, 0].shape, dtype=torch.int64),
    )
    for number in range(1, scores.shape[1]):
        column = scores[:, number]
        top_class.masked_fill_(column > highest, number)
        torch.maximum(highest, column, out=highest)
    return top_class[:, None]


def _center_classes(point: Tensor, present: Tensor) -> Tensor:
    """Subtract the mean over the classes present in the fold."""
    mask = present[:, :, None].to(point.dtype)
    return (point - (point * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None]) * mask
