"""Standardized rows in coordinates that all folds share, read block by block in constant memory."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from probekit._typing import Array
from probekit.solvers.scaler import ROUNDING

_BLOCK_BYTES = 32e6  # of one block and what is computed for its rows
_CACHE_BYTES = 2.5e8  # up to which all rows are cached in a dtype
_MAX_SCALE_RATIO = 100.0  # by which a fold's scale may differ from the shared one


class RowSource(Protocol):
    """Rows: an array, a memory map, or :class:`probekit.probes.features.CachedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        ...

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows, by slice or by array of row numbers."""
        ...


class RowSubset:
    """Some rows of a source, read on demand.

    Parameters
    ----------
    source : RowSource
        All rows.
    rows : numpy.ndarray of int
        Row numbers.
    """

    def __init__(self, source: RowSource, rows: Array) -> None:
        self.source, self.rows = source, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        return (len(self.rows), *self.source.shape[1:])

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows, by slice or by array of row numbers."""
        return np.asarray(self.source[self.rows[rows]])


class StandardizedRows:
    """Features, with mean and scale of each fold.

    Blocks are ``(x - center) / spread``, with one float32 center and spread for all folds. A fold's
    own standardized features are ``(block - shift) / ratio``; solvers apply this to their weights,
    so that no fold needs a copy.

    Parameters
    ----------
    source : RowSource
        Shape (rows, dim), float16, float32 or float64; finite.
    masks : numpy.ndarray of bool, shape (folds, rows)
        Training rows of each fold.
    standardize : bool
        Whether features are scaled to unit variance in each fold, or only centered.
    device : str
        Torch device of the blocks.

    Attributes
    ----------
    mean, scale : numpy.ndarray, shape (folds, dim)
        Of each fold's rows; a constant feature has scale 1.
    shift, ratio : torch.Tensor, shape (folds, dim), float64
        Likewise, in shared coordinates.
    shared_scale_ok : bool
        Whether the folds' scales are close enough for one center and spread. If not, each fold
        needs rows of its own.
    variances : torch.Tensor or None, shape (dim,), float64
        Sum of squares of each feature, descending, where features are known to be uncorrelated:
        :class:`.row_span.RowSpan` sets it.
    """

    variances: torch.Tensor | None = None

    def __init__(
        self, source: RowSource, masks: Array, *, standardize: bool = True, device: str = "cpu"
    ) -> None:
        self.source, self.masks, self.device = source, masks, device
        self.standardize = standardize
        self.count, self.dim = int(source.shape[0]), int(source.shape[1])
        self._cache: dict[torch.dtype, torch.Tensor] = {}
        center, spread = self._overall()
        # float32 values, so that float32 and float64 blocks have the same coordinates
        self.center = center.astype(np.float32).astype(np.float64)
        spread = spread if standardize else np.ones_like(spread)
        self.spread = spread.astype(np.float32).astype(np.float64)
        self.spread[(self.spread == 0) | ~np.isfinite(self.spread)] = 1.0
        mean, scale, lowest, highest = self._by_fold()
        largest_raw = np.maximum(np.abs(lowest), np.abs(highest)) * self.spread
        largest_raw += np.abs(self.center)
        # a deviation from sums of squares may be rounding alone, a range cannot
        deviation = np.minimum(scale, highest - lowest)
        constant = deviation * self.spread <= ROUNDING * largest_raw
        ratio = np.where(constant, 1.0, scale) if standardize else np.ones_like(scale)
        self.constant = constant
        self.mean = self.center + mean * self.spread
        self.scale = np.where(constant, 1.0, ratio * self.spread) if standardize else ratio
        self.shared_scale_ok = bool(
            ((ratio < _MAX_SCALE_RATIO) & (ratio > 1 / _MAX_SCALE_RATIO)).all()
        )
        self.shift, self.ratio = (torch.as_tensor(a, device=device) for a in (mean, ratio))

    def blocks(
        self,
        dtype: torch.dtype = torch.float64,
        columns: int = 0,
        within: slice | None = None,
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield all rows, or those ``within``, as row ranges and blocks in shared coordinates.

        float64 is exact, float32 rounds once. ``columns`` is the number of values that the caller
        computes for each row: with more of them blocks are smaller.
        """
        step = max(256, int(_BLOCK_BYTES / 8 / (self.dim + 4 * columns)))
        first, last = (within.start, within.stop) if within else (0, self.count)
        for start in range(first, last, step):
            span = slice(start, min(start + step, last))
            yield span, self.block(span, dtype)

    def block(self, span: slice, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Return consecutive rows in shared coordinates, shape (rows, dim), on the device."""
        if self.count * self.dim * dtype.itemsize > _CACHE_BYTES:
            return self._read_block(span, dtype)
        if dtype not in self._cache:
            self._cache[dtype] = self._read_block(slice(0, self.count), dtype)
        return self._cache[dtype][span]

    def _read_block(self, span: slice, dtype: torch.dtype) -> torch.Tensor:
        values = self.source[span]
        if not (values.flags.c_contiguous and values.flags.writeable):  # as torch requires
            values = values.copy()
        raw = torch.as_tensor(values, device=self.device)
        center, spread = (
            torch.as_tensor(a, device=self.device).to(dtype) for a in (self.center, self.spread)
        )
        if raw.dtype == torch.float64 and dtype == torch.float32:
            return self._read_block(span, torch.float64).to(dtype)
        return (raw.to(dtype) - center).div_(spread)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a worker, without the cache."""
        return {**self.__dict__, "_cache": {}}

    def _raw_blocks(self) -> Iterator[tuple[slice, Array]]:
        """Yield all rows as they are, in float64."""
        step = max(256, int(_BLOCK_BYTES / 8 / self.dim))
        for start in range(0, self.count, step):
            span = slice(start, min(start + step, self.count))
            yield span, np.asarray(self.source[span], np.float64)

    def _overall(self) -> tuple[Array, Array]:
        """Return mean and standard deviation over the rows of any fold, by Chan's update."""
        count, mean, square = 0, np.zeros(self.dim), np.zeros(self.dim)
        used = np.asarray(self.masks.any(axis=0))
        for span, raw in self._raw_blocks():
            rows = raw[used[span]]
            if not len(rows):
                continue
            block_mean = rows.mean(axis=0)
            difference = block_mean - mean
            total = count + len(rows)
            square += ((rows - block_mean) ** 2).sum(axis=0) + difference**2 * count * len(
                rows
            ) / total
            mean += difference * len(rows) / total
            count = total
        return mean, np.sqrt(square / max(count, 1))

    def _by_fold(self) -> tuple[Array, Array, Array, Array]:
        """Return mean, standard deviation, minimum and maximum by fold, in shared coordinates."""
        folds = len(self.masks)
        sums, squares = np.zeros((folds, self.dim)), np.zeros((folds, self.dim))
        lowest, highest = np.full_like(sums, np.inf), np.full_like(sums, -np.inf)
        counts = np.maximum(self.masks.sum(axis=1), 1)[:, None]
        for span, block in self.blocks():
            values = block.cpu().numpy()
            masks = self.masks[:, span]
            sums += masks.astype(np.float64) @ values
            squares += masks.astype(np.float64) @ values**2
            for fold, mask in enumerate(masks):
                if mask.any():
                    fold_values = values if mask.all() else values[mask]
                    np.minimum(lowest[fold], fold_values.min(axis=0), out=lowest[fold])
                    np.maximum(highest[fold], fold_values.max(axis=0), out=highest[fold])
        mean = sums / counts
        return mean, np.sqrt(np.maximum(squares / counts - mean**2, 0)), lowest, highest
