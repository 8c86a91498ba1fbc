"""Objective of logistic regression, its gradient and duality gap, for many groups of the same rows.

A *group* is what shares a penalty and a loss: all classes of a softmax, or one tag.
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
from probekit.parallel.resources import tune_malloc
from probekit.solvers.matrix_product import multiply
from probekit.solvers.row_blocks import StandardizedRows

_CHUNKS_PER_WORKER = 4  # tasks for each worker of a cluster and pass


@dataclass(frozen=True)
class Sums:
    """Sums over a group's rows at some weights; independent of C.

    Attributes
    ----------
    loss : torch.Tensor, shape (groups,)
        Log-loss.
    grad_coef : torch.Tensor, shape (groups, classes, dim)
        Its gradient with respect to the weights.
    grad_intercept : torch.Tensor, shape (groups, classes)
        Its gradient with respect to the intercepts.
    """

    loss: Tensor
    grad_coef: Tensor
    grad_intercept: Tensor

    def __add__(self, other: "Sums") -> "Sums":
        """Return the sums over the rows of both."""
        return Sums(
            self.loss + other.loss,
            self.grad_coef + other.grad_coef,
            self.grad_intercept + other.grad_intercept,
        )

    def __getitem__(self, groups: Tensor) -> "Sums":
        """Return the sums of some groups."""
        return Sums(self.loss[groups], self.grad_coef[groups], self.grad_intercept[groups])


class Objective:
    """The losses of many groups over the same rows.

    Parameters
    ----------
    rows : StandardizedRows
        Features.
    targets : numpy.ndarray
        Class numbers of shape (rows,) for softmax, or 0 and 1 of shape (rows, tags).
    folds : sequence of int
        Fold of each group.
    tags : sequence of int, optional
        Tag of each group; by default groups are softmax over classes.
    classes : int
        Number of classes of the softmax.
    client : distributed.Client, optional
        Dask cluster whose workers read the rows and sum over them.

    Attributes
    ----------
    present : torch.Tensor of bool, shape (groups, classes)
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
        all_groups = torch.arange(len(self.folds), device=device)
        self.sizes = self.masks.sum(dim=1).double()[self.folds]
        self.present = torch.ones(len(self.folds), self.classes, dtype=torch.bool, device=device)
        if not self.one_vs_rest:
            for row, fold in zip(self.present, self.folds, strict=True):
                row[:] = torch.bincount(self.targets[self.masks[fold]], minlength=classes) > 0
        sums = self._sums(all_groups, None, None, torch.float64)  # sends this to a cluster
        self.target_sums, self.counts = sums.grad_coef, sums.grad_intercept

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.folds)

    def initial_intercepts(self) -> Tensor:
        """Return the best intercepts for zero weights; 0 for classes without rows."""
        shares = self.counts / self.sizes[:, None]
        if self.one_vs_rest:
            return torch.logit(shares)
        logs = torch.where(self.present, shares.clamp(min=1e-300).log(), 0.0)
        mean = logs.sum(dim=1, keepdim=True) / self.present.sum(dim=1, keepdim=True)
        return torch.where(self.present, logs - mean, 0.0)

    def sums(self, groups: Tensor, weights: Tensor, intercepts: Tensor, dtype: torch.dtype) -> Sums:
        """Return loss and gradient, in float64.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (n,)
            Numbers of the groups.
        weights : torch.Tensor, shape (n, classes, dim), float64
            On features standardized by the group's fold.
        intercepts : torch.Tensor, shape (n, classes), float64
            Likewise.
        dtype : torch.dtype
            Precision of the products.

        Returns
        -------
        Sums
            One for each of ``groups``.
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
            total = self._cluster_sums(groups, weights, intercepts, dtype)
        grad_coef = (total.grad_coef - total.grad_intercept[:, :, None] * shift) / ratio
        return Sums(total.loss, grad_coef, total.grad_intercept)

    def partial_sums(
        self,
        groups: Tensor,
        weights: Tensor | None,
        intercepts: Tensor | None,
        dtype: torch.dtype,
        within: slice | None = None,
    ) -> Sums:
        """Return sums over the rows ``within`` (all by default), in shared coordinates.

        Other parameters as for :meth:`sums`; without weights, sums are of the targets instead of
        the residuals.
        """
        count, dim, fold = len(groups), self.rows.dim, self.folds[groups]
        loss = torch.zeros(count, dtype=torch.float64, device=self.rows.device)
        grad_coef = torch.zeros(count * self.classes, dim, dtype=torch.float64, device=loss.device)
        grad_intercept = torch.zeros(count, self.classes, dtype=torch.float64, device=loss.device)
        for span, block in self.rows.blocks(dtype, count * self.classes, within):
            mask = self.masks[:, span][fold]
            if weights is None or intercepts is None:
                residuals = self._one_hot(groups, span).to(dtype) * mask[:, None]
            else:
                scores = multiply(weights.reshape(-1, dim).to(dtype), block)
                scores = scores.view(count, self.classes, -1)
                scores += intercepts.to(dtype)[:, :, None]
                block_loss, residuals = self._residuals(groups, scores, span, mask)
                loss += block_loss
            grad_intercept += residuals.sum(dim=2, dtype=torch.float64)
            grad_coef += multiply(residuals.view(count * self.classes, -1), block.T)
        return Sums(loss, grad_coef.view(count, self.classes, dim), grad_intercept)

    def _cluster_sums(self, *arguments: Any) -> Sums:
        """Return the sum of partial sums by a cluster's workers, always in the same order."""
        client = self.client
        with dask.translate_dask_errors():
            if self._remote is None:
                dask.check_workers(client)
                self.client = None  # a connection cannot be pickled
                self._remote = client.scatter(self, broadcast=True, hash=False)
                self.client = client
            rows = self.rows.count
            workers = max(1, len(client.scheduler_info()["workers"]))
            step = -(-rows // (_CHUNKS_PER_WORKER * workers))
            sent = client.scatter(arguments, broadcast=True, hash=False)
            parts = [
                client.submit(
                    _partial_sums, self._remote, sent, slice(k, min(k + step, rows)), pure=False
                )
                for k in range(0, rows, step)
            ]
            return reduce(operator.add, (part.result() for part in parts))

    def _one_hot(self, groups: Tensor, span: slice) -> Tensor:
        """Return targets as booleans of shape (groups, classes, rows)."""
        if self.one_vs_rest:
            return self.targets[self.tags[groups], span][:, None]
        classes = torch.arange(self.classes, device=self.masks.device)[:, None]
        return (self.targets[span] == classes)[None].expand(len(groups), -1, -1)

    def _residuals(
        self, groups: Tensor, scores: Tensor, span: slice, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of each group, and predictions minus targets."""
        if self.one_vs_rest:
            positive = self.targets[self.tags[groups], span][:, None]
            sign = 1 - 2 * positive.to(scores.dtype)
            margin = scores * sign
            loss = softplus(margin)
            residual = torch.sigmoid(margin).mul_(sign)  # not p - 1: exact where p is nearly 1
            if not self.all_rows:
                loss, residual = loss * mask[:, None], residual * mask[:, None]
            return loss.sum(dim=(1, 2), dtype=torch.float64), residual
        scores = scores.masked_fill(~self.present[groups][:, :, None], -torch.inf)
        label = self.targets[span].expand(len(groups), 1, -1)
        total = torch.logsumexp(scores, dim=1, keepdim=True)
        row_loss = (total - scores.gather(1, label))[:, 0]
        loss = torch.where(mask, row_loss, 0.0).sum(dim=1, dtype=torch.float64)
        residual = torch.softmax(scores, dim=1)
        residual.scatter_add_(1, label, torch.full_like(label, -1, dtype=residual.dtype))
        return loss, residual * mask[:, None]

    def duality_gap(
        self, groups: Tensor, weights: Tensor, intercepts: Tensor, sums: Sums, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the objective, and an upper bound of its distance from the minimum.

        The bound is Fenchel's: the dual objective at any feasible point is below the minimum. The
        point used is the predicted probabilities ``p``, made to sum to the classes' counts (as the
        free intercept requires) by mixing in a little of a fixed distribution. The entropy of
        ``p`` is the loss minus ``Σ score · residual``, and that of a mixture is at least the share
        of ``p`` in it: so the sums suffice. With optimal intercepts the bound is ``½‖gradient‖²``.

        Parameters
        ----------
        groups : torch.Tensor of int, shape (n,)
            Numbers of the groups.
        weights, intercepts : torch.Tensor
            Point at which ``sums`` were computed.
        sums : Sums
            Sums of these groups.
        c : torch.Tensor, shape (n,)
            C of each group.

        Returns
        -------
        objective, bound : torch.Tensor, shape (n,)
            Both absolute.
        """
        counts, sizes = self.counts[groups], self.sizes[groups][:, None]
        predicted = sums.grad_intercept + counts
        deficit = 1 - counts / predicted.clamp(min=1e-300)
        if self.one_vs_rest:
            negative = 1 - (sizes - counts) / (sizes - predicted).clamp(min=1e-300)
            deficit = torch.maximum(deficit, negative)
        deficit = torch.where(self.present[groups], deficit, 0.0)
        mixture = deficit.amax(dim=1).clamp(min=0, max=1)
        penalty = 0.5 * (weights**2).sum(dim=(1, 2))
        entropy = (
            sums.loss
            - (weights * sums.grad_coef).sum(dim=(1, 2))
            - (intercepts * sums.grad_intercept).sum(dim=1)
        )
        dual = (1 - mixture)[:, None, None] * sums.grad_coef
        dual -= mixture[:, None, None] * self.target_sums[groups]
        value = penalty + c * sums.loss
        lower_bound = c * (1 - mixture) * entropy - 0.5 * c**2 * (dual**2).sum(dim=(1, 2))
        return value, (value - lower_bound).clamp(min=0)


def _partial_sums(objective: Objective, arguments: Sequence[Any], within: slice) -> Sums:
    """Return sums over some rows; runs on a cluster's worker."""
    tune_malloc()
    with torch.no_grad():
        groups, weights, intercepts, dtype = arguments
        return objective.partial_sums(groups, weights, intercepts, dtype, within)
