"""Linear centred kernel alignment: how alike two embeddings of the same clips are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.errors import DataError

Array = npt.NDArray[Any]
_BLOCK = 1024  # columns of a product held at once


def linear_cka(several: Sequence[Array], debiased: bool = False) -> Array:
    """Return linear CKA of each with each (Kornblith et al., ICML 2019).

    It does not change when one of them is rotated, moved or scaled. Products of features are
    computed, not of clips, so that the time grows with the number of clips and not its square.

    Parameters
    ----------
    several : sequence of numpy.ndarray, each of shape (clips, its own dim)
        Row i of each is of the same clip; any scale.
    debiased : bool
        With the unbiased estimate of HSIC (Song et al., JMLR 13, 2012). Without it CKA grows as
        clips get few for the number of dimensions, even of embeddings that have nothing in common.

    Returns
    -------
    numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal; from 0 to 1, debiased also a little below 0. Products are
        rounded to float32, CKA by less than 1e-5.

    Raises
    ------
    DataError
        If one is the same for all clips, or clips are too few for the unbiased estimate.
    """
    clips = len(several[0])
    if clips < (4 if debiased else 2):
        raise DataError(f"CKA needs {'4' if debiased else '2'} clips or more, here are {clips}")
    rows = [_centred(one) for one in several]
    length = [np.square(one, dtype=np.float64).sum(axis=1) for one in rows]
    alike = np.empty((len(rows), len(rows)))
    for i, one in enumerate(rows):
        for j in range(i + 1):
            value = _product(one, rows[j])
            if debiased:
                value += length[i].sum() * length[j].sum() / ((clips - 1) * (clips - 2))
                value -= clips / (clips - 2) * float(length[i] @ length[j])
            alike[i, j] = alike[j, i] = value
    own = alike.diagonal().copy()
    if (own <= 0).any():
        raise DataError(
            f"{clips} clips are too few for the unbiased estimate; more are needed, or plain CKA"
        )
    found: Array = alike / np.sqrt(np.outer(own, own))
    np.fill_diagonal(found, 1.0)
    return found


def _centred(rows: Array) -> Array:
    """Return rows with mean zero and an overall scale of one."""
    wide = rows - rows.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(wide).mean())
    if not scale > 1e-7 * np.abs(rows).max():
        raise DataError("an embedding is the same for all clips; it is like no other")
    return np.asarray(wide / scale, np.float32)


def _product(one: Array, other: Array) -> float:
    """Return the sum of the squares of all products of two columns."""
    total = 0.0
    for first in range(0, one.shape[1], _BLOCK):
        own = one[:, first : first + _BLOCK].T
        if one is not other:
            total += _squares(own @ other)
            continue
        # of itself the products on one side of the diagonal will do
        total += _squares(own @ own.T) + 2 * _squares(own @ one[:, first + _BLOCK :])
    return total


def _squares(block: Array) -> float:
    return float(np.square(block, dtype=np.float64).sum())
