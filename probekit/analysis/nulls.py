"""What cosines of two sets of weights are by chance: permutations of the dimensions.

Permuting the dimensions of one side keeps the values of each row and the likeness of the rows of
each side, and breaks nothing but the alignment of the two sides. The largest absolute cosine of all
pairs in each permutation bounds the chance of one false pair among all (Westfall and Young, 1993).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from probekit import runtime

Array = npt.NDArray[Any]
PERMUTATIONS = 1000
_BINS = 1 << 16


def test(one: Array, other: Array, permutations: int, seed: int) -> tuple[Array, Array, Array]:
    """Test each cosine of two sets of rows against permuted dimensions, two-sided.

    Parameters
    ----------
    one, other : numpy.ndarray, shapes (n, dim) and (m, dim)
        Rows of unit length.
    permutations : int >= 1
        How many; no p is below 1 / (permutations + 1) where it is for all pairs together.
    seed : int >= 0
        Of the permutations.

    Returns
    -------
    cosine : numpy.ndarray, shape (n, m)
        Similarities.
    beyond : numpy.ndarray, shape (n, m)
        p of each pair, corrected for all pairs.
    p : numpy.ndarray, shape (n, m)
        p of each pair alone; its null distribution is that of the permuted pairs of all rows.
    """
    rng = np.random.default_rng(seed)
    cosine = one @ other.T
    size = np.abs(cosine)
    # single precision is plenty for chance; the rows in memory as the product wants them
    left, right = one.astype(np.float32), np.ascontiguousarray(other.T, np.float32)
    largest = np.empty(permutations)
    counts = np.zeros(_BINS + 1, np.int64)
    with runtime.single_threaded():  # threads of BLAS wait for one another on a busy machine
        for k in range(permutations):
            drawn = np.abs(left @ right[rng.permutation(len(right))])
            largest[k] = drawn.max()
            counts += np.bincount(_bin(drawn).ravel(), minlength=_BINS + 1)
    # as many or more in the same bin or above: rounding makes p larger, never smaller
    above = counts[::-1].cumsum()[::-1]
    p = (1 + above[_bin(size)]) / (1 + permutations * cosine.size)
    reached = permutations - np.searchsorted(np.sort(largest), size - 1e-6)
    return cosine, (1 + reached) / (1 + permutations), p


def false_discovery(p: Array) -> Array:
    """Return false discovery rates (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    p : numpy.ndarray
        Of any shape.

    Returns
    -------
    numpy.ndarray, of the same shape
        The least rate at which each is called a discovery.
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, axis=None).reshape(p.shape))


def _bin(size: Array) -> Array:
    """Return the bins of absolute cosines."""
    return np.minimum(size * _BINS, _BINS).astype(np.int32)
