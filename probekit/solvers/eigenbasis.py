"""Rows rotated once into the eigenbasis of XᵀX, for directions; all of them, or a rich sample.

There the Hessian of logistic regression is nearly diagonal, ``1 + C κ λ``.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.solvers.objective import Objective

_SEED = 0  # of the sample of rows
_WIDE = 4096  # rows that are float64 at a time
_KEPT = 3e7  # numbers up to which the rows are kept in float64 too


class EigenBasis:
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
        center = data.shift.mean(dim=0) if len(data.shift) > 1 else data.shift[0]
        ratio = data.ratio[0] if len(data.ratio) == 1 else torch.ones_like(data.ratio[0])
        self.centre, self.ratio = center, ratio
        if data.count < data.dim:
            wide = torch.cat([(b - center) / ratio for _, b in data.blocks()]) * used[:, None]
            span, corner = torch.linalg.qr(wide.T)
            variances, turn = torch.linalg.eigh(corner @ corner.T)
            vectors = span @ turn
        else:
            square = torch.zeros(data.dim, data.dim, dtype=torch.float64, device=device)
            rough = torch.float32 if data.count > 100_000 else torch.float64
            for where, block in data.blocks(rough):
                here = ((block - center.to(rough)) / ratio.to(rough)) * used[where][:, None]
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
        self.sample: Tensor | None = None
        sample_weight = np.ones(data.count)
        if data.count > most:
            chance = _chances(objective, most)
            kept = np.flatnonzero(np.random.default_rng(_SEED).random(data.count) < chance)
            sample_weight = 1 / chance[kept]
            self.sample = torch.as_tensor(kept, device=data.device)
        found = []
        for where, block in data.blocks():
            if self.sample is not None:
                inside = (self.sample >= where.start) & (self.sample < where.stop)
                block = block[self.sample[inside] - where.start]
            found.append((((block - self.centre) / self.ratio) @ self.vectors).float())
        self.rows = torch.cat(found)
        self.share = torch.as_tensor(sample_weight, device=data.device).float()
        self.squared_norms = (self.rows**2).sum(dim=1)

    def scores(self, point: Tensor) -> Tensor:
        """Return what coordinates give for each row: (groups, classes, rows), of the same type."""
        flat = point.reshape(-1, point.shape[-1])
        if point.dtype == self.rows.dtype:
            found = flat @ self.rows.T
        else:
            parts = [flat @ block.T for _, block in self._wide()]
            found = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return found.view(*point.shape[:2], -1)

    def project(self, residuals: Tensor) -> Tensor:
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

    def gradient_to_coordinates(self, gradient: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return gradients by coordinates from those by standardized weights."""
        return (gradient * self._relative(folds, ratio)) @ self.vectors

    def to_weights(self, point: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return standardized weights from coordinates."""
        return (point.double() @ self.vectors.T) * self._relative(folds, ratio)

    def to_coordinates(self, weights: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return coordinates from standardized weights."""
        return (weights / self._relative(folds, ratio)) @ self.vectors

    def _relative(self, folds: Tensor, ratio: Tensor) -> Tensor:
        return (ratio[folds] / self.ratio)[:, None]

    def take_sample(self, values: Tensor) -> Tensor:
        """Return values, whose last axis is rows, of the rows that are kept."""
        return values if self.sample is None else values[..., self.sample]


def _chances(objective: Objective, most: int) -> Array:
    """Return with which chance each row is kept: rows of rare classes rather than others."""
    targets = objective.targets.cpu().numpy()
    if objective.one_vs_rest:
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
