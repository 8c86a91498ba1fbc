"""Frames of a clip become one vector."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]

POOLINGS: dict[str, Callable[[Frames], Frames]] = {
    "mean": lambda frames: frames.mean(axis=0, dtype=np.float64),
    "std": lambda frames: frames.std(axis=0, dtype=np.float64),
    "max": lambda frames: frames.max(axis=0),
}


def pool(frames: Frames) -> dict[str, Frames]:
    """Pool a clip's frames in every way that the cache keeps.

    Parameters
    ----------
    frames : numpy.ndarray, shape (time, dim), time >= 1
        A stream of one clip.

    Returns
    -------
    dict of str to numpy.ndarray, shape (dim,), float32
        ``mean``, ``std`` (population) and ``max`` over time.
    """
    return {name: how(frames).astype(np.float32) for name, how in POOLINGS.items()}
