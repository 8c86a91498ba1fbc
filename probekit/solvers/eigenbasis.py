"""Rows rotated once into the eigenbasis of XᵀX, for Newton directions; all rows or a sample.

In this basis the Hessian of logistic regression is nearly diagonal, ``1 + C κ λ``.
"""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.solvers.matrix_product import multiply
from probekit.solvers.objective import Objective
from probekit.solvers.row_blocks import StandardizedRows

_SEED = 0  # of the sample of rows
_DOUBLE_ROWS = 4096  # rows converted to float64 at a time
_DOUBLE_SIZE = 3e7  # values up to which a float64 copy of the rows is cached
_GRAM_BLOCKS, _MIN_BLOCK = 4, 256  # of columns of XᵀX, of each of which the rows above are left out
_SCALE_ROUNDING = 1e-6  # up to which a fold's scale counts as the shared one


class EigenBasis:
    """Principal directions of the features, and the rows in these coordinates.

    Parameters
    ----------
    objective : Objective
        Objective over the rows.
    max_rows : int
        Rows to use; of more, a sample in which rare classes are overrepresented.

    Attributes
    ----------
    vectors : torch.Tensor or None, shape (dim, directions), float64
        Orthonormal; None for the identity, where features are principal directions already.
    variances : torch.Tensor, shape (directions,), float32
        Sum of squares along each direction, descending.
    rows : torch.Tensor, shape (rows, directions), float32
        Rotated rows.
    sample_weight : torch.Tensor, shape (rows,), float32
        How many rows each row of a sample represents.
    squared_norms : torch.Tensor, shape (rows,), float32
        Squared lengths of the rows.
    penalty : Penalty
        Penalty of the weights in these coordinates.
    """

    def __init__(self, objective: Objective, max_rows: int) -> None:
        data, device = objective.rows, objective.rows.device
        used = torch.as_tensor(data.masks.any(axis=0), device=device)
        center = data.shift.mean(dim=0) if len(data.shift) > 1 else data.shift[0]
        ratio = data.ratio[0] if len(data.ratio) == 1 else torch.ones_like(data.ratio[0])
        self.center, self.ratio = center, ratio
        self.vectors: Tensor | None = None
        if data.variances is not None:
            variances = data.variances
        else:
            square = torch.zeros(data.dim, data.dim, dtype=torch.float64, device=device)
            dtype = torch.float32 if data.count > 100_000 else torch.float64
            for span_rows, block in data.blocks(dtype):
                scaled = ((block - center.to(dtype)) / ratio.to(dtype)) * used[span_rows][:, None]
                step = max(_MIN_BLOCK, -(-data.dim // _GRAM_BLOCKS))
                for k in range(0, data.dim, step):  # eigh reads the lower triangle only
                    lower = multiply(scaled[:, k:].T, scaled[:, k : k + step].T)
                    square[k:, k : k + step] += lower
            ascending, vectors = torch.linalg.eigh(square)
            variances, self.vectors = ascending.flip(0), vectors.flip(1).contiguous()
        self.variances = variances.clamp(min=0).float()
        self._rotate_rows(objective, max_rows)
        self._double: Tensor | None = None
        self.penalty = Penalty(data.ratio / self.ratio, self.vectors)

    def for_folds(self, rows: StandardizedRows) -> "EigenBasis":
        """Return this basis for other folds of the same rows, in the same coordinates."""
        basis = copy.copy(self)
        basis.penalty = Penalty(rows.ratio / self.ratio, self.vectors)
        return basis

    def _rotate_rows(self, objective: Objective, max_rows: int) -> None:
        data = objective.rows
        self.sample: Tensor | None = None
        sample_weight = np.ones(data.count)
        if data.count > max_rows:
            probability = _sampling_probabilities(objective, max_rows)
            sample = np.flatnonzero(np.random.default_rng(_SEED).random(data.count) < probability)
            sample_weight = 1 / probability[sample]
            self.sample = torch.as_tensor(sample, device=data.device)
        rotated = []
        for span, block in data.blocks():
            if self.sample is not None:
                inside = (self.sample >= span.start) & (self.sample < span.stop)
                block = block[self.sample[inside] - span.start]
            rotated.append(self._rotate((block - self.center) / self.ratio).float())
        self.rows = torch.cat(rotated)
        self.sample_weight = torch.as_tensor(sample_weight, device=data.device).float()
        self.squared_norms = (self.rows**2).sum(dim=1)

    def scores(self, point: Tensor) -> Tensor:
        """Return scores, shape (groups, classes, rows), from coordinates, in their dtype."""
        flat = point.reshape(-1, point.shape[-1])
        if point.dtype == self.rows.dtype:
            scores = multiply(flat, self.rows)
        else:
            parts = [flat @ block.T for _, block in self._double_blocks()]
            scores = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return scores.view(*point.shape[:2], -1)

    def project(self, residuals: Tensor) -> Tensor:
        """Return the sum of rows times residuals, shape (groups, classes, directions)."""
        flat = residuals.reshape(-1, residuals.shape[-1])
        if residuals.dtype == self.rows.dtype:
            total = multiply(flat, self.rows.T)
        else:
            blocks = [flat[:, span] @ block for span, block in self._double_blocks()]
            total = torch.stack(blocks).sum(dim=0) if len(blocks) > 1 else blocks[0]
        return total.view(*residuals.shape[:2], -1)

    def _double_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the rows in float64."""
        if self.rows.numel() <= _DOUBLE_SIZE:
            if self._double is None:
                self._double = self.rows.double()
            yield slice(None), self._double
            return
        for start in range(0, len(self.rows), _DOUBLE_ROWS):
            span = slice(start, start + _DOUBLE_ROWS)
            yield span, self.rows[span].double()

    def gradient_to_coordinates(self, gradient: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return gradients by coordinates from those by standardized weights."""
        return self._rotate(gradient * self._relative(folds, ratio))

    def to_weights(self, point: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return standardized weights from coordinates."""
        point = point.double()
        if self.vectors is not None:
            point = point @ self.vectors.T
        return point * self._relative(folds, ratio)

    def to_coordinates(self, weights: Tensor, folds: Tensor, ratio: Tensor) -> Tensor:
        """Return coordinates from standardized weights."""
        return self._rotate(weights / self._relative(folds, ratio))

    def _rotate(self, values: Tensor) -> Tensor:
        return values if self.vectors is None else values @ self.vectors

    def _relative(self, folds: Tensor, ratio: Tensor) -> Tensor:
        return (ratio[folds] / self.ratio)[:, None]

    def take_sample(self, values: Tensor) -> Tensor:
        """Return values, whose last axis is rows, of the rows in use."""
        return values if self.sample is None else values[..., self.sample]


class Penalty:
    """Penalty of weights in a basis: that of features, which are scaled by fold.

    Parameters
    ----------
    ratio : torch.Tensor, shape (folds, dim)
        Scales of the features, relative to those of the basis.
    vectors : torch.Tensor or None, shape (dim, directions), float64
        Orthonormal; None for the identity, with ratios of 1.

    Attributes
    ----------
    diagonal : torch.Tensor, shape (folds, directions), float64
        Of the penalty's Hessian, which is the identity where all ratios are 1.
    """

    def __init__(self, ratio: Tensor, vectors: Tensor | None) -> None:
        self.diagonal = torch.ones_like(ratio)
        self.vectors: Tensor | None = None
        if bool(((ratio - 1).abs() > _SCALE_ROUNDING).any()):
            assert vectors is not None  # a span is a single fold's
            self.squares, self.vectors, self._single = ratio**2, vectors, vectors.float()
            self.diagonal = self.squares @ vectors**2

    def hvp(self, point: Tensor, folds: Tensor) -> Tensor:
        """Return the Hessian times coordinates of shape (groups, classes, directions)."""
        if self.vectors is None:
            return point
        vectors = self._single if point.dtype == torch.float32 else self.vectors
        squares = self.squares[folds][:, None].to(point.dtype)
        features = multiply(point.reshape(-1, point.shape[-1]), vectors)
        features = features.view(*point.shape[:2], -1) * squares
        return multiply(features.view(-1, features.shape[-1]), vectors.T).view(point.shape)

    def block(self, folds: Tensor, size: int) -> Tensor:
        """Return the Hessian along the first directions, the mean of some folds."""
        if self.vectors is None:
            return torch.eye(size, device=folds.device)
        leading = self._single[:, :size]
        scaled = leading * self.squares[folds].mean(dim=0)[:, None].float()
        return multiply(scaled.T, leading.T)


def _sampling_probabilities(objective: Objective, max_rows: int) -> Array:
    """Return with which probability each row is sampled: higher for rows of rare classes."""
    targets = objective.targets.cpu().numpy()
    if objective.one_vs_rest:
        counts = np.maximum(targets.sum(axis=1), 1)
        rarity = np.zeros(targets.shape[1])
        for tag, count in zip(targets, counts, strict=True):
            np.maximum(rarity, tag / count, out=rarity)
    else:
        counts = np.bincount(targets)
        rarity = 1 / np.maximum(counts, 1)[targets]
    total, uniform = len(rarity), max_rows / (2 * len(rarity))
    low, high = 0.0, float(total) / max(float(rarity[rarity > 0].min(initial=1.0)), 1e-12)
    for _ in range(60):  # bisect for the factor with which rare rows take half of the sample
        factor = (low + high) / 2
        if np.minimum(1.0, factor * rarity).sum() > max_rows / 2:
            high = factor
        else:
            low = factor
    return np.minimum(1.0, uniform + low * rarity)
