"""Nearest neighbours: which clips an embedding holds for alike, and whether two agree on them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.errors import DataError

Array = npt.NDArray[Any]
_HELD = 1 << 24  # similarities held at once


def nearest(rows: Array, k: int = 10) -> Array:
    """Return the nearest other clips of each clip, by cosine.

    Parameters
    ----------
    rows : numpy.ndarray, shape (clips, dim)
        A row of zeros is as far from all others.
    k : int, 1 <= k < clips
        How many.

    Returns
    -------
    numpy.ndarray of int, shape (clips, k)
        In no particular order.

    Raises
    ------
    DataError
        If there are not so many other clips.
    """
    clips = len(rows)
    if not 1 <= k < clips:
        raise DataError(f"{k} nearest neighbours: from 1 to {clips - 1} of {clips:,} clips")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.asarray(rows / np.where(norm > 0, norm, 1), np.float32)
    found = np.empty((clips, k), np.int64)
    step = max(1, _HELD // clips)
    for first in range(0, clips, step):
        far = -(unit[first : first + step] @ unit.T)
        own = np.arange(len(far))
        far[own, first + own] = np.inf  # a clip is not its own neighbour
        found[first : first + step] = np.argpartition(far, k - 1, axis=1)[:, :k]
    return found


def shared(one: Array, other: Array) -> float:
    """Return which share of the nearest neighbours two embeddings have in common.

    Parameters
    ----------
    one, other : numpy.ndarray of int, shape (clips, k)
        From :func:`nearest`.

    Returns
    -------
    float
        Mean over clips, from 0 to 1; by chance k / (clips - 1).
    """
    return float((one[:, :, None] == other[:, None, :]).sum() / one.size)
