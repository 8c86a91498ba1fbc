"""Rows of features in coordinates that all folds share, read block by block, in constant memory."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from probekit._typing import Array

_BLOCK = 32e6  # bytes of one block and what is computed for its rows
_KEPT = 2.5e8  # bytes up to which all rows are kept as blocks of a type
_APART = 100.0  # a fold's scale may differ from the shared one by this factor


class RowSource(Protocol):
    """Where rows come from: an array, a memory map, or :class:`.streaming.CachedRows`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        ...

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows: a slice, or an array of places."""
        ...


class RowSubset:
    """Some rows of a source, read when they are asked for.

    Parameters
    ----------
    source : Source
        All rows.
    rows : numpy.ndarray of int
        Which.
    """

    def __init__(self, source: RowSource, rows: Array) -> None:
        self.source, self.rows = source, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        return (len(self.rows), *self.source.shape[1:])

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows: a slice, or an array of places."""
        return np.asarray(self.source[self.rows[rows]])


class StandardizedRows:
    """Features, and each fold's own mean and scale beside them.

    Blocks are ``(x - centre) / spread``, with one float32 centre and spread for all folds. A fold's
    own standardized features are ``(block - shift) / ratio``; solvers fold that into their weights,
    so that no fold has a copy.

    Parameters
    ----------
    source : Source
        Shape (rows, dim), float16, float32 or float64; finite.
    masks : numpy.ndarray of bool, shape (folds, rows)
        The rows that each fold is fitted on.
    standardize : bool
        Bring features to unit variance in each fold. Otherwise they are centred only.
    device : str
        Where blocks are put.

    Attributes
    ----------
    mean, scale : numpy.ndarray, shape (folds, dim)
        Of each fold's rows; a feature that does not vary has scale 1.
    shift, ratio : torch.Tensor, shape (folds, dim), float64
        The same in shared coordinates.
    alike : bool
        Whether the folds' scales are near enough for one centre and spread. Where they are not,
        each fold needs rows of its own.
    """

    def __init__(
        self, source: RowSource, masks: Array, *, standardize: bool = True, device: str = "cpu"
    ) -> None:
        self.source, self.masks, self.device = source, masks, device
        self.standardize = standardize
        self.count, self.dim = int(source.shape[0]), int(source.shape[1])
        self._kept: dict[torch.dtype, torch.Tensor] = {}
        centre, spread = self._overall()
        # float32 numbers, so that float32 and float64 blocks are of the same coordinates
        self.center = centre.astype(np.float32).astype(np.float64)
        wide = spread if standardize else np.ones_like(spread)
        self.spread = wide.astype(np.float32).astype(np.float64)
        self.spread[(self.spread == 0) | ~np.isfinite(self.spread)] = 1.0
        mean, scale, largest = self._by_fold()
        far = np.abs(largest) * self.spread + np.abs(self.center)
        constant = scale * self.spread <= 1e-9 * far  # but for rounding
        ratio = np.where(constant, 1.0, scale) if standardize else np.ones_like(scale)
        self.constant = constant
        self.mean = self.center + mean * self.spread
        self.scale = np.where(constant, 1.0, ratio * self.spread) if standardize else ratio
        self.shared_scale_ok = bool(((ratio < _APART) & (ratio > 1 / _APART)).all())
        self.shift, self.ratio = (torch.as_tensor(a, device=device) for a in (mean, ratio))

    def blocks(
        self,
        dtype: torch.dtype = torch.float64,
        columns: int = 0,
        within: slice | None = None,
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Walk over all rows.

        Parameters
        ----------
        dtype : torch.dtype
            float64 is exact; float32 rounds once.
        columns : int
            Numbers that the caller computes for each row: more of them make smaller blocks.
        within : slice, optional
            Which rows; by default all.

        Yields
        ------
        slice
            Which rows.
        torch.Tensor, shape (some, dim)
            In shared coordinates.
        """
        step = max(256, int(_BLOCK / 8 / (self.dim + 4 * columns)))
        first, last = (within.start, within.stop) if within else (0, self.count)
        for start in range(first, last, step):
            where = slice(start, min(start + step, last))
            yield where, self.block(where, dtype)

    def block(self, where: slice, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Return some rows in shared coordinates.

        Parameters
        ----------
        where : slice
            Which; consecutive.
        dtype : torch.dtype
            Of the result.

        Returns
        -------
        torch.Tensor, shape (some, dim)
            On the device.
        """
        if self.count * self.dim * dtype.itemsize > _KEPT:
            return self._block(where, dtype)
        if dtype not in self._kept:
            self._kept[dtype] = self._block(slice(0, self.count), dtype)
        return self._kept[dtype][where]

    def _block(self, where: slice, dtype: torch.dtype) -> torch.Tensor:
        own = self.source[where]
        if not (own.flags.c_contiguous and own.flags.writeable):  # what torch asks for
            own = own.copy()
        raw = torch.as_tensor(own, device=self.device)
        centre, spread = (
            torch.as_tensor(a, device=self.device).to(dtype) for a in (self.center, self.spread)
        )
        if raw.dtype == torch.float64 and dtype == torch.float32:
            return self._block(where, torch.float64).to(dtype)
        return (raw.to(dtype) - centre).div_(spread)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to a worker: all but what it can make itself."""
        return {**self.__dict__, "_kept": {}}

    def _raw(self) -> Iterator[tuple[slice, Array]]:
        """Walk over all rows as they are, in float64."""
        step = max(256, int(_BLOCK / 8 / self.dim))
        for start in range(0, self.count, step):
            where = slice(start, min(start + step, self.count))
            yield where, np.asarray(self.source[where], np.float64)

    def _overall(self) -> tuple[Array, Array]:
        """Return mean and standard deviation over the rows of any fold, by Chan's update."""
        count, mean, square = 0, np.zeros(self.dim), np.zeros(self.dim)
        used = np.asarray(self.masks.any(axis=0))
        for where, raw in self._raw():
            rows = raw[used[where]]
            if not len(rows):
                continue
            own = rows.mean(axis=0)
            away = own - mean
            total = count + len(rows)
            square += ((rows - own) ** 2).sum(axis=0) + away**2 * count * len(rows) / total
            mean += away * len(rows) / total
            count = total
        return mean, np.sqrt(square / max(count, 1))

    def _by_fold(self) -> tuple[Array, Array, Array]:
        """Return each fold's mean, standard deviation and greatest magnitude, as shared."""
        folds = len(self.masks)
        sums, squares, largest = (np.zeros((folds, self.dim)) for _ in range(3))
        counts = np.maximum(self.masks.sum(axis=1), 1)[:, None]
        for where, block in self.blocks():
            wide = block.cpu().numpy()
            own = self.masks[:, where]
            sums += own.astype(np.float64) @ wide
            squares += own.astype(np.float64) @ wide**2
            for fold, rows in enumerate(own):
                if rows.any():
                    here = wide if rows.all() else wide[rows]
                    np.maximum(largest[fold], np.abs(here).max(axis=0), out=largest[fold])
        mean = sums / counts
        return mean, np.sqrt(np.maximum(squares / counts - mean**2, 0)), largest
