"""What a student is trained on, and what its scores are, for each kind of target."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probekit._typing import Array


def task_loss(logits: Tensor, targets: Tensor, target: str) -> Tensor:
    """Return the mean loss of a batch.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes)
        From the student's decoder.
    targets : Tensor
        Class numbers, shape (batch,); 0 and 1, or numbers, shape (batch, classes).
    target : {"single", "multi", "regression"}
        What they are: cross entropy, binary cross entropy of every class, squared error.

    Returns
    -------
    Tensor
        One number, float32.
    """
    logits = logits.float()
    if target == "single":
        return functional.cross_entropy(logits, targets.long())
    if target == "multi":
        return functional.binary_cross_entropy_with_logits(logits, targets.float())
    return functional.mse_loss(logits, targets.float())


def scores(logits: Tensor, target: str) -> Tensor:
    """Return what the chunks of a clip are averaged as: probabilities, or the numbers themselves.

    Parameters
    ----------
    logits : Tensor, shape (chunks, classes)
        From the student's decoder.
    target : {"single", "multi", "regression"}
        What the task asks for.

    Returns
    -------
    Tensor, shape (chunks, classes), float64
        On the CPU.
    """
    logits = logits.detach().cpu().double()
    if target == "single":
        return torch.softmax(logits, dim=1)
    return torch.sigmoid(logits) if target == "multi" else logits


class ClipAverager:
    """The mean over the chunks of each clip.

    Parameters
    ----------
    clips : numpy.ndarray of int, shape (n,)
        Numbers of the clips, as in batches.
    classes : int
        Columns.
    """

    def __init__(self, clips: Array, classes: int) -> None:
        self._place = {int(clip): k for k, clip in enumerate(clips)}
        self._sums = np.zeros((len(clips), classes))
        self._counts = np.zeros(len(clips), np.int64)

    def rows(self, clips: Tensor) -> Array:
        """Return the row of each chunk's clip."""
        return np.array([self._place[int(clip)] for clip in clips])

    def add(self, clips: Tensor, values: Tensor) -> None:
        """Add chunks.

        Parameters
        ----------
        clips : Tensor, shape (chunks,)
            Whose they are.
        values : Tensor, shape (chunks, classes)
            From :func:`scores`.
        """
        rows = self.rows(clips)
        np.add.at(self._sums, rows, values.numpy())
        np.add.at(self._counts, rows, 1)

    def values(self) -> Array:
        """Return the means, shape (n, classes); NaN for a clip without any chunk."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums / self._counts[:, None])
