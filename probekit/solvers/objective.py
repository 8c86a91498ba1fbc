"""The objective of logistic regression, exact, and a bound of how far it is from its minimum.

A *group* is what one penalty and one loss tie together: all classes of a softmax, or one tag.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from probekit._typing import Array
from probekit.parallel import dask
from probekit.solvers.row_blocks import StandardizedRows

_PARTS = 4  # pieces of work for each worker of a cluster and pass


@dataclass(frozen=True)
class Sums:
    """Sums over a group's rows at some weights; they do not depend on C.

    Attributes
    ----------
    loss : torch.Tensor, shape (groups,)
        Log-loss.
    slope : torch.Tensor, shape (groups, classes, dim)
        Its derivative by the weights.
    lean : torch.Tensor, shape (groups, classes)
        Its derivative by the intercepts.
    """

    loss: Tensor
    grad_coef: Tensor
    grad_intercept: Tensor

    def __add__(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        return Sums(self.loss + other.loss, self.grad_coef + other.grad_coef, self.grad_intercept + other.grad_intercept)

    def __getitem__(self, groups: Tensor) -> "Sums":
        """Return those of some groups."""
        return Sums(self.loss[groups], self.grad_coef[groups], self.grad_intercept[groups])


class Objective:
    """The losses of many groups over the same rows.

    Parameters
    ----------
    rows : Rows
        Features.
    targets : numpy.ndarray
        Class numbers of shape (rows,) for softmax, or 0 and 1 of shape (rows, tags).
    folds : sequence of int
        Each group's fold.
    tags : sequence of int, optional
        Each group's tag. Without, groups are softmax over classes.
    classes : int
        Of the softmax.
    client : distributed.Client, optional
        A Dask cluster, whose workers then read the rows and sum over them.

    Attributes
    ----------
    allowed : torch.Tensor of bool, shape (groups, classes)
        Classes that have a row in the group's fold.
    counts : torch.Tensor, shape (groups, classes)
        Rows of each class, or with the tag.
    sizes : torch.Tensor, shape (groups,)
        Rows of each group.
    """

    def __init__(
        self,
        rows: StandardizedRows,
        targets: Array,
        folds: Sequence[int],
        tags: Sequence[int] | None = None,
        classes: int = 1,
        client: Any = None,
    ) -> None:
        self.rows, self.one_vs_rest, self.client = rows, tags is not None, client
        self._remote: Any = None
        device = rows.device
        self.masks = torch.as_tensor(rows.masks, device=device)
        self.all_rows = bool(rows.masks.all())
        self.folds = torch.as_tensor(np.asarray(folds, np.int64), device=device)
        if tags is not None:
            self.tags = torch.as_tensor(np.asarray(tags, np.int64), device=device)
            self.targets = torch.as_tensor(np.ascontiguousarray(targets.T) != 0, device=device)
        else:
            self.targets = torch.as_tensor(targets.astype(np.int64), device=device)
        self.classes = 1 if self.one_vs_rest else classes
        everything = torch.arange(len(self.folds), device=device)
        self.sizes = self.masks.sum(dim=1).double()[self.folds]
        self.present = torch.ones(len(self.folds), self.classes, dtype=torch.bool, device=device)
        if not self.one_vs_rest:
            for row, fold in zip(self.present, self.folds, strict=True):
                row[:] = torch.bincount(self.targets[self.masks[fold]], minlength=classes) > 0
        found = self._sums(everything, None, None, torch.float64)  # sends this to a cluster
        self.target_sums, self.counts = found.grad_coef, found.grad_intercept

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.folds)

    def initial_intercepts(self) -> Tensor:
        """Return the intercepts that are best without weights, to start from.

        Returns
        -------
        torch.Tensor, shape (groups, classes)
            Zero for classes without rows.
        """
        shares = self.counts / self.sizes[:, None]
        if self.one_vs_rest:
            return torch.logit(shares)
        logs = torch.where(self.present, shares.clamp(min=1e-300).log(), 0.0)
        mean = logs.sum(dim=1, keepdim=True) / self.present.sum(dim=1, keepdim=True)
        return torch.where(self.present, logs - mean, 0.0)

    def sums(self, groups: Tensor, weights: Tensor, intercepts: Tensor, dtype: torch.dtype) -> Sums:
        """Return loss and derivatives.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (some,)
            Which groups.
        weights : torch.Tensor, shape (some, classes, dim), float64
            On features standardized by the group's fold.
        intercepts : torch.Tensor, shape (some, classes), float64
            The same.
        dtype : torch.dtype
            float64 for certainty, float32 on the way.

        Returns
        -------
        Sums
            In float64.
        """
        return self._sums(groups, weights, intercepts, dtype)

    def _sums(
        self, groups: Tensor, weights: Tensor | None, intercepts: Tensor | None, dtype: torch.dtype
    ) -> Sums:
        """Return sums; without weights, of the targets instead of the residuals."""
        fold = self.folds[groups]
        shift, ratio = self.rows.shift[fold][:, None], self.rows.ratio[fold][:, None]
        if weights is not None and intercepts is not None:
            weights = weights / ratio
            intercepts = intercepts - (weights * shift).sum(dim=2)
        if self.client is None:
            total = self.partial_sums(groups, weights, intercepts, dtype)
        else:
            total = self._by_cluster(groups, weights, intercepts, dtype)
        slope = (total.grad_coef - total.grad_intercept[:, :, None] * shift) / ratio
        return Sums(total.loss, slope, total.grad_intercept)

    def partial_sums(
        self,
        groups: Tensor,
        weights: Tensor | None,
        intercepts: Tensor | None,
        dtype: torch.dtype,
        within: slice | None = None,
    ) -> Sums:
        """Return sums over some rows, in the coordinates that all folds share.

        Parameters
        ----------
        groups, weights, intercepts, dtype
            As for :meth:`sums`; without weights, sums are of targets instead of residuals.
        within : slice, optional
            Which rows; by default all.

        Returns
        -------
        Sums
            To be added up.
        """
        some, dim, fold = len(groups), self.rows.dim, self.folds[groups]
        loss = torch.zeros(some, dtype=torch.float64, device=self.rows.device)
        slope = torch.zeros(some * self.classes, dim, dtype=torch.float64, device=loss.device)
        lean = torch.zeros(some, self.classes, dtype=torch.float64, device=loss.device)
        for where, block in self.rows.blocks(dtype, some * self.classes, within):
            on = self.masks[:, where][fold]
            if weights is None or intercepts is None:
                each = self._hot(groups, where).to(dtype) * on[:, None]
            else:
                scores = (weights.reshape(-1, dim).to(dtype) @ block.T).view(some, self.classes, -1)
                scores += intercepts.to(dtype)[:, :, None]
                own, each = self._residuals(groups, scores, where, on)
                loss += own
            lean += each.sum(dim=2, dtype=torch.float64)
            slope += each.view(some * self.classes, -1) @ block
        return Sums(loss, slope.view(some, self.classes, dim), lean)

    def _by_cluster(self, *given: Any) -> Sums:
        """Return the sum of parts that a cluster's workers make, always in the same order."""
        client = self.client
        with dask.translate_dask_errors():
            if self._remote is None:
                dask.ready(client)
                self.client = None  # a connection does not travel
                self._remote = client.scatter(self, broadcast=True, hash=False)
                self.client = client
            rows = self.rows.count
            step = -(-rows // (_PARTS * max(1, len(client.scheduler_info()["workers"]))))
            sent = client.scatter(given, broadcast=True, hash=False)
            parts = [
                client.submit(_part, self._remote, sent, slice(k, min(k + step, rows)), pure=False)
                for k in range(0, rows, step)
            ]
            return reduce(operator.add, (part.result() for part in parts))

    def _hot(self, groups: Tensor, where: slice) -> Tensor:
        """Return targets as zeros and ones of shape (groups, classes, rows)."""
        if self.one_vs_rest:
            return self.targets[self.tags[groups], where][:, None]
        hot = self.targets[where] == torch.arange(self.classes, device=self.masks.device)[:, None]
        return hot[None].expand(len(groups), -1, -1)

    def _residuals(
        self, groups: Tensor, scores: Tensor, where: slice, on: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each group, and what was predicted less what is."""
        if self.one_vs_rest:
            hot = self.targets[self.tags[groups], where][:, None]
            sign = 1 - 2 * hot.to(scores.dtype)
            wrong = scores * sign
            loss = softplus(wrong)
            miss = torch.sigmoid(wrong).mul_(sign)  # not p - 1: exact where p is nearly 1
            if not self.all_rows:
                loss, miss = loss * on[:, None], miss * on[:, None]
            return loss.sum(dim=(1, 2), dtype=torch.float64), miss
        scores = scores.masked_fill(~self.present[groups][:, :, None], -torch.inf)
        label = self.targets[where].expand(len(groups), 1, -1)
        total = torch.logsumexp(scores, dim=1, keepdim=True)
        own = (total - scores.gather(1, label))[:, 0]
        loss = torch.where(on, own, 0.0).sum(dim=1, dtype=torch.float64)
        chance = torch.softmax(scores, dim=1)
        chance.scatter_add_(1, label, torch.full_like(label, -1, dtype=chance.dtype))
        return loss, chance * on[:, None]

    def duality_gap(
        self, groups: Tensor, weights: Tensor, intercepts: Tensor, found: Sums, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the objective, and a bound of its distance from the minimum, for each group.

        The bound is Fenchel's: a feasible point of the dual problem lies below the minimum. Its
        point is the predicted probabilities ``p``, made to sum to the classes' counts (which the
        free intercept asks for) by mixing in a little of a fixed distribution. The entropy of
        ``p`` is the loss less ``Σ score · residual``, and that of a mixture is at least the share
        of ``p`` in it: so all that is needed are the sums. With the best intercepts the bound is
        ``½‖gradient‖²``.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (some,)
            Which groups.
        weights, intercepts : torch.Tensor
            Where ``found`` was found.
        found : Sums
            Of these groups.
        c : torch.Tensor, shape (some,)
            Each group's C.

        Returns
        -------
        objective, bound : torch.Tensor, shape (some,)
            The bound is not divided by anything.
        """
        counts, sizes = self.counts[groups], self.sizes[groups][:, None]
        predicted = found.grad_intercept + counts
        lack = 1 - counts / predicted.clamp(min=1e-300)
        if self.one_vs_rest:
            lack = torch.maximum(lack, 1 - (sizes - counts) / (sizes - predicted).clamp(min=1e-300))
        lack = torch.where(self.present[groups], lack, 0.0)
        mixed = lack.amax(dim=1).clamp(min=0, max=1)
        norm = 0.5 * (weights**2).sum(dim=(1, 2))
        entropy = (
            found.loss
            - (weights * found.grad_coef).sum(dim=(1, 2))
            - (intercepts * found.grad_intercept).sum(dim=1)
        )
        dual = (1 - mixed)[:, None, None] * found.grad_coef
        dual -= mixed[:, None, None] * self.target_sums[groups]
        value = norm + c * found.loss
        below = c * (1 - mixed) * entropy - 0.5 * c**2 * (dual**2).sum(dim=(1, 2))
        return value, (value - below).clamp(min=0)


def _part(objective: Objective, given: Sequence[Any], within: slice) -> Sums:
    """Return sums over some rows; what a worker of a cluster does."""
    with torch.no_grad():
        groups, weights, intercepts, dtype = given
        return objective.partial_sums(groups, weights, intercepts, dtype, within)
