"""Downmix to mono: the mean of the channels, and whether the channels cancel each other in it."""

import math

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]

CANCELLATION = "its channels cancel each other"
"""Begin of the note on a recording that is far louder than the mean of its channels."""
CANCELLATION_DB = -30.0
"""Level of the mean relative to the channels below which they cancel each other.

Unrelated channels are 3 dB louder than their mean for two of them, 9 dB for eight.
"""

_COMPARED = 4096  # samples of a block whose power is compared: what is canceled is so in each


class Downmix:
    """Averages channels, block by block, and compares the power of the mean with theirs."""

    def __init__(self) -> None:
        self._power = self._mean_power = 0.0

    def __call__(self, block: Waveform, axis: int = 1) -> Waveform:
        """Return the mean of the channels.

        Parameters
        ----------
        block : numpy.ndarray, two-dimensional, float32
            Samples and channels.
        axis : {0, 1}
            The axis of the channels.

        Returns
        -------
        numpy.ndarray, shape (samples,), float32
            Mean; the block itself if there is one channel.
        """
        channels = block.shape[axis]
        if channels == 1:
            return block[:, 0] if axis else block[0]
        if axis and channels == 2:
            # numpy's mean over the last axis, to the last bit, in a tenth of its time
            mean: Waveform = block[:, 0] + block[:, 1]
            mean *= np.float32(0.5)
            mean += np.float32(0)  # no negative zero
        else:
            mean = block.mean(axis=axis, dtype=np.float32)
        step = 1 + len(mean) // _COMPARED
        part = block[::step] if axis else block[:, ::step]
        self._power += float(np.square(part).sum()) / channels
        self._mean_power += float(np.square(mean[::step]).sum())
        return mean

    @property
    def notes(self) -> list[str]:
        """Statement that the channels of the blocks so far cancel each other, if they do."""
        if not self._power or not math.isfinite(self._power):
            return []
        ratio = self._mean_power / self._power
        level = 10 * math.log10(ratio) if ratio else -math.inf
        if level >= CANCELLATION_DB:
            return []
        loss = "is silence" if level == -math.inf else f"is {-level:.0f} dB quieter"
        return [f"{CANCELLATION}: their mean {loss}"]
