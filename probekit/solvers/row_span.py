"""Rows in coordinates of their own span, where there are fewer rows than features.

The minimum lies in the span of the centered rows: a part of the weights that is orthogonal to all
of them would only add to the penalty. So 3,000 rows of 100,000 features are a problem with at most
2,999 features, with the same minimum.
"""

import numpy as np
import torch
from torch import Tensor

from probekit.solvers.row_blocks import StandardizedRows

_GRAM_BLOCKS = 4  # of columns, of each of which the rows above are left out
_MIN_VARIANCE = 1e-14  # of the largest: below it eigenvectors are rounding errors


class RowSpan:
    """An orthonormal basis of the span of centered rows: their principal directions.

    Parameters
    ----------
    rows : StandardizedRows
        Of a single fold.

    Attributes
    ----------
    rows : StandardizedRows
        The rows given.
    coordinates : StandardizedRows
        The same rows by their coordinates in the basis, at most as many as rows; neither centering
        nor scaling is left to do.
    """

    def __init__(self, rows: StandardizedRows) -> None:
        self.rows = rows
        centered = rows.shift.new_empty(rows.count, rows.dim)
        for span, block in rows.blocks():
            torch.sub(block, rows.shift[0], out=centered[span]).div_(rows.ratio[0])
        # eigenvectors of X Xᵀ, which is smaller than XᵀX; eigh reads its lower triangle only
        gram = centered.new_zeros(len(centered), len(centered))
        step = -(-len(centered) // _GRAM_BLOCKS)
        for k in range(0, len(centered), step):
            gram[k:, k : k + step] = centered[k:] @ centered[k : k + step].T
        variances, left = torch.linalg.eigh(gram)
        spanned = variances > _MIN_VARIANCE * variances[-1]
        spanned[-1] = True  # of constant features, a direction of zeros
        variances = variances[spanned].flip(0)
        left = left[:, spanned].flip(1)
        lengths = variances.clamp(min=torch.finfo(variances.dtype).tiny).sqrt()
        self._factors = left / lengths  # by which rows are combined to the basis
        self.coordinates = _Coordinates(rows, left * lengths, variances)

    def to_weights(self, coef: Tensor) -> Tensor:
        """Return weights on standardized features, shape (…, dim), from those on coordinates."""
        by_row = coef @ self._factors.T
        blocks = [by_row[..., span] @ block for span, block in self.rows.blocks()]
        shift, ratio = self.rows.shift[0], self.rows.ratio[0]
        return (torch.stack(blocks).sum(dim=0) - by_row.sum(dim=-1, keepdim=True) * shift) / ratio

    def to_coordinates(self, weights: Tensor) -> Tensor:
        """Return weights on coordinates: the projection of those on standardized features."""
        shift, weights = self.rows.shift[0], weights / self.rows.ratio[0]
        scores = torch.cat([weights @ block.T for _, block in self.rows.blocks()], dim=-1)
        return (scores - (weights @ shift)[..., None]) @ self._factors


class _Coordinates(StandardizedRows):
    """Coordinates of rows, which are centered and uncorrelated."""

    def __init__(self, rows: StandardizedRows, coordinates: Tensor, variances: Tensor) -> None:
        self.source, self.masks, self.device = coordinates.cpu().numpy(), rows.masks, rows.device
        self.standardize, self.shared_scale_ok = False, True
        self.count, self.dim = coordinates.shape
        self.variances = variances
        self._cache = {}
        zeros, ones = np.zeros((1, self.dim)), np.ones((1, self.dim))
        self.center, self.spread = zeros[0], ones[0]
        self.mean, self.scale, self.constant = zeros, ones, zeros > 0
        self.shift, self.ratio = (torch.as_tensor(a, device=rows.device) for a in (zeros, ones))
