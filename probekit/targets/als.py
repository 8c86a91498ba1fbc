"""Alternating least squares for implicit feedback (Hu, Koren and Volinsky, ICDM 2008), exact.

Minimized is ``Σ c (p - xᵀy)² + λ (Σ |x|² + Σ |y|²)`` over all cells of users and items, where p is
1 for cells with a count and 0 for others, and the confidence c is 1 where there is no count. Every
half step is solved by Cholesky factorization in float64. ``implicit`` takes a few conjugate
gradients in float32 instead, which is three times as fast: it may take all sweeps but the last two.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn import functional

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.utils.suggest import unknown_name_error

CONFIDENCES = ("log", "linear")
SOLVERS = ("exact", "implicit")
_INITIAL_DEVIATION = 0.01
_BLOCK_VALUES = {"cpu": 1 << 19, "cuda": 1 << 25}  # of padded factors at once: 4 MB stay in cache
_TOLERANCE = 1e-4
_EXACT_SWEEPS = 2  # the last ones, after those of implicit


@dataclass(frozen=True)
class Factors:
    """Factors of users and items.

    Attributes
    ----------
    users : numpy.ndarray, shape (users, factors), float64
        One row a user.
    items : numpy.ndarray, shape (items, factors), float64
        One row an item; zeros, which are no direction, for an item without counts.
    losses : tuple of float
        Of the objective after each sweep, divided by its value for factors of 0.
    """

    users: Array
    items: Array
    losses: tuple[float, ...] = ()


def confidence(
    counts: scipy.sparse.csr_matrix, form: str = "log", alpha: float = 2.0, epsilon: float = 1e-6
) -> scipy.sparse.csr_matrix:
    """Return what counts add to a confidence of 1.

    Parameters
    ----------
    counts : scipy.sparse.csr_matrix, shape (users, items)
        Counts above 0.
    form : {"log", "linear"}
        ``alpha · log(1 + count / epsilon)`` or ``alpha · count``.
    alpha, epsilon : float > 0
        Of the form.

    Returns
    -------
    scipy.sparse.csr_matrix, float64
        Of the same cells.
    """
    if form not in CONFIDENCES:
        raise unknown_name_error("confidence", form, CONFIDENCES)
    for name, value in (("alpha", alpha), ("epsilon", epsilon)):
        if not 0 < value < np.inf:
            raise ProbekitError(f"--{name} must be > 0, got {value:g}")
    values = counts.data.astype(np.float64)
    values = alpha * (values if form == "linear" else np.log1p(values / epsilon))
    return scipy.sparse.csr_matrix((values, counts.indices, counts.indptr), counts.shape)


def factorize(
    added: scipy.sparse.csr_matrix,
    factors: int = 40,
    regularization: float = 10.0,
    *,
    sweeps: int = 30,
    seed: int = 0,
    device: str = "cpu",
    solver: str = "exact",
    initial_items: Array | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Factorize a matrix of confidences.

    Parameters
    ----------
    added : scipy.sparse.csr_matrix, shape (users, items)
        Confidences above 1, from :func:`confidence`.
    factors : int >= 1
        Length of the factors; at most the number of users, and of items.
    regularization : float > 0
        Penalty λ, not multiplied by numbers of cells.
    sweeps : int >= 1
        Most sweeps over users and items; it ends before when a sweep lowers the objective by less
        than 1e-4 of itself.
    seed : int >= 0
        Of the items' initial factors: normal, with a standard deviation of 0.01.
    device : str
        Where the systems are solved.
    solver : {"exact", "implicit"}
        ``implicit``: all sweeps but the last two are those of the package of that name, by three
        steps of conjugate gradients in float32, on the CPU; all of ``sweeps`` are made. The last
        two are exact: items have the best factors for those of the users, to rounding.
    initial_items : numpy.ndarray, shape (items, factors), optional
        Initial factors of the items instead.
    progress : callable, optional
        Called with the number of finished sweeps and the most.

    Returns
    -------
    Factors
        In no particular gauge: see :func:`balance`.

    Raises
    ------
    DataError
        If there are fewer users or items than factors.
    """
    users, items = added.shape
    if not 1 <= factors <= min(users, items):
        raise DataError(
            f"--factors must be at least 1 and at most the number of users ({users:,}) and of "
            f"items ({items:,}), got {factors}"
        )
    if not 0 < regularization < np.inf:
        raise ProbekitError(f"--regularization must be > 0, got {regularization:g}")
    rng = np.random.default_rng(seed)
    start = _INITIAL_DEVIATION * rng.standard_normal((items, factors))
    start = start if initial_items is None else np.asarray(initial_items, np.float64)
    if solver not in SOLVERS:
        raise unknown_name_error("solver", solver, SOLVERS)
    done = max(0, sweeps - _EXACT_SWEEPS) if solver == "implicit" else 0
    if done:
        start = _approximate(added, start, regularization, done)
        if progress:
            progress(done, sweeps)
    y = torch.as_tensor(start).double().to(device)
    by_user, by_item = _Rows(added), _Rows(added.T.tocsr())
    zero = float(added.sum() + added.nnz)  # all predictions 0: each cell with a count costs c
    losses: list[float] = []
    for sweep in range(done, sweeps):
        x, _ = by_user.solve(y, regularization)
        y, gain = by_item.solve(x, regularization)
        # y minimizes the objective for x: there it is that of y = 0 minus the gain
        losses.append((zero - gain + regularization * float(x.square().sum())) / zero)
        if progress:
            progress(sweep + 1, sweeps)
        if len(losses) > 1 and losses[-2] - losses[-1] < _TOLERANCE * losses[-2]:
            break
    return Factors(x.cpu().numpy(), y.cpu().numpy(), tuple(losses))


def _approximate(
    added: scipy.sparse.csr_matrix, items: Array, regularization: float, sweeps: int
) -> Array:
    """Return the factors of items after sweeps of implicit."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError as error:
        raise ProbekitError(
            "--solver implicit needs the package implicit: pip install 'probekit[cf]'"
        ) from error
    model = AlternatingLeastSquares(
        factors=items.shape[1],
        regularization=regularization,
        alpha=1.0,
        iterations=sweeps,
        num_threads=torch.get_num_threads(),
    )
    cells = added.astype(np.float32)
    cells.data += 1  # its confidence of a cell is what it is given
    model.item_factors = items.astype(np.float32)
    model.user_factors = np.zeros((added.shape[0], items.shape[1]), np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # threads of BLAS
        model.fit(cells, show_progress=False)
    return np.asarray(model.item_factors, np.float64)


def fold_in(added: scipy.sparse.csr_matrix, users: Array, regularization: float = 10.0) -> Array:
    """Return the factors of items that were not factorized: one half step with given users.

    ``added`` has shape (users, items); the result (items, factors), zeros without counts.
    """
    y, _ = _Rows(added.T.tocsr()).solve(torch.as_tensor(users).double(), regularization)
    return y.numpy()


def balance(factors: Factors) -> Factors:
    """Bring factors to one gauge: same predictions, no rotation left, strongest first.

    ``X (G Gᵀ)⁻¹`` and ``Y G`` predict the same for every G. Here XᵀX = YᵀY is diagonal, its values
    fall, and the entry of greatest size in each column of Y is positive.
    """
    q_x, r_x = np.linalg.qr(factors.users)
    q_y, r_y = np.linalg.qr(factors.items)
    left, strengths, right = np.linalg.svd(r_x @ r_y.T)
    roots = np.sqrt(strengths)
    users, items = (q_x @ left) * roots, (q_y @ right.T) * roots
    largest = items[np.abs(items).argmax(axis=0), np.arange(items.shape[1])]
    signs = np.where(largest < 0, -1.0, 1.0)
    return Factors(users * signs, items * signs, factors.losses)


class _Rows:
    """Rows of a matrix of confidences in blocks of similar length, padded."""

    def __init__(self, added: scipy.sparse.csr_matrix) -> None:
        self._added = added
        self._lengths = np.diff(added.indptr)
        self._order = np.argsort(self._lengths, kind="stable")

    def solve(self, other: Tensor, regularization: float) -> tuple[Tensor, float]:
        """Return the factors of all rows for those of the columns, shape (columns, factors).

        Also the sum of what each row lowers the objective by: Σ bᵀA⁻¹b.
        """
        count, factors = self._added.shape[0], other.shape[1]
        solved, gain = other.new_zeros(count, factors), other.new_zeros(())
        gram = other.T @ other + regularization * torch.eye(
            factors, dtype=other.dtype, device=other.device
        )
        for rows, columns, values in self.blocks(factors, other.device):
            members = functional.embedding(columns, other)  # faster than an index
            weighted = values[:, :, None] * members
            left = members.transpose(1, 2)
            systems = torch.baddbmm(gram.expand(len(rows), -1, -1), left, weighted)
            right = left @ (values + (values > 0))[:, :, None]
            triangle, _ = torch.linalg.cholesky_ex(systems)  # each is definite
            solved[rows] = torch.cholesky_solve(right, triangle)[:, :, 0]
            gain += (right[:, :, 0] * solved[rows]).sum()
        return solved, float(gain)

    def blocks(self, factors: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield rows, their columns (0 after the end) and confidences (0 after the end)."""
        start = int(np.searchsorted(self._lengths[self._order], 1))
        most = _BLOCK_VALUES["cuda" if device.type == "cuda" else "cpu"]
        while start < len(self._order):
            stop = start + 1
            # a block is padded to its longest row, the last one
            low, high = start + 1, len(self._order)
            while low <= high:
                middle = (low + high) // 2
                longest = self._lengths[self._order[middle - 1]]
                if (middle - start) * int(longest) * factors <= most:
                    stop, low = middle, middle + 1
                else:
                    high = middle - 1
            rows = self._order[start:stop]
            lengths = self._lengths[rows]
            filled = np.arange(lengths.max()) < lengths[:, None]
            firsts = self._added.indptr[rows].astype(np.int64)
            places = (firsts[:, None] + np.arange(lengths.max()))[filled]
            columns = np.zeros(filled.shape, np.int64)
            values = np.zeros(filled.shape)
            columns[filled] = self._added.indices[places]
            values[filled] = self._added.data[places]
            yield tuple(  # type: ignore[misc]
                torch.from_numpy(array).to(device) for array in (rows, columns, values)
            )
            start = stop
