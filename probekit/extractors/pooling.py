"""Pooling of a clip's frames into one vector."""

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
    """Pool the frames of a clip, shape (time, dim), by each of :data:`POOLINGS`.

    Returns ``mean``, ``std`` (population) and ``max`` over time, shape (dim,), float32.
    """
    return {name: function(frames).astype(np.float32) for name, function in POOLINGS.items()}


Sums = npt.NDArray[np.float64]


class StreamingPool:
    """The same as :func:`pool` over blocks of frames, in constant memory.

    Moments of two sets of frames are merged after Chan, Golub and LeVeque (1979), in float64: the
    sum of squares itself would lose the spread of values far from zero.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: Sums = np.zeros(0)
        self._squares: Sums = np.zeros(0)
        self._maximum: Frames = np.zeros(0, np.float32)

    def add(self, frames: Frames) -> None:
        """Add the next frames, shape (time, dim), time >= 1."""
        count = len(frames)
        mean = frames.mean(axis=0, dtype=np.float64)
        squares = np.square(frames - mean).sum(axis=0)
        maximum = frames.max(axis=0)
        if not self.count:
            self.count, self._mean, self._squares, self._maximum = count, mean, squares, maximum
            return
        total = self.count + count
        delta = mean - self._mean
        self._mean = self._mean + delta * (count / total)
        self._squares = self._squares + squares + np.square(delta) * (self.count * count / total)
        self._maximum = np.maximum(self._maximum, maximum)
        self.count = total

    def result(self) -> dict[str, Frames]:
        """Return the pooled vectors of all frames; raise ``ValueError`` if there are none."""
        if not self.count:
            raise ValueError("no frames to pool")
        pooled = {
            "mean": self._mean,
            "std": np.sqrt(self._squares / self.count),
            "max": self._maximum,
        }
        return {name: values.astype(np.float32) for name, values in pooled.items()}
