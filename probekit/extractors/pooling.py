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


Sums = npt.NDArray[np.float64]


class StreamingPool:
    """Mean, standard deviation and maximum of what was added so far, in constant memory.

    Moments of two sets of frames are merged after Chan, Golub and LeVeque (1979), in float64: the
    sum of squares itself would lose the spread of values far from zero.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Sums = np.zeros(0)
        self._squares: Sums = np.zeros(0)
        self._most: Frames = np.zeros(0, np.float32)

    def add(self, frames: Frames) -> None:
        """Add frames.

        Parameters
        ----------
        frames : numpy.ndarray, shape (time, dim), time >= 1
            The next ones.
        """
        count = len(frames)
        mean = frames.mean(axis=0, dtype=np.float64)
        squares = np.square(frames - mean).sum(axis=0)
        most = frames.max(axis=0)
        if not self.count:
            self.count, self._mean, self._squares, self._most = count, mean, squares, most
            return
        total = self.count + count
        apart = mean - self._mean
        self._mean = self._mean + apart * (count / total)
        self._squares = self._squares + squares + np.square(apart) * (self.count * count / total)
        self._most = np.maximum(self._most, most)
        self.count = total

    def result(self) -> dict[str, Frames]:
        """Return what :func:`probekit.extractors.pooling.pool` returns for all frames at once.

        Returns
        -------
        dict of str to numpy.ndarray, shape (dim,), float32
            ``mean``, ``std`` and ``max``.

        Raises
        ------
        ValueError
            If no frames were added.
        """
        if not self.count:
            raise ValueError("no frames to pool")
        found = {
            "mean": self._mean,
            "std": np.sqrt(self._squares / self.count),
            "max": self._most,
        }
        return {name: values.astype(np.float32) for name, values in found.items()}
