"""Losses and scores of networks, for each kind of target."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probekit._typing import Array
from probekit.solvers.partial_labels import tag_loss


def task_loss(logits: Tensor, targets: Tensor, target: str) -> Tensor:
    """Return the mean loss of a batch, float32.

    Parameters
    ----------
    logits : Tensor, shape (batch, classes)
        Outputs of a network.
    targets : Tensor
        Class indices, shape (batch,); 0 and 1, or real values, shape (batch, classes). Of 0 and 1,
        NaN is a label that is unknown: it does not count.
    target : {"single", "multi", "regression", "cosine", "distribution"}
        Cross-entropy, binary cross-entropy of each class, squared error, 1 - cosine, or
        cross-entropy with probabilities, shape (batch, classes).
    """
    logits = logits.float()
    if target == "single":
        return functional.cross_entropy(logits, targets.long())
    if target == "distribution":
        return functional.cross_entropy(logits, targets.float())
    if target == "multi":
        return tag_loss(logits, targets.float())
    if target == "cosine":
        return 1 - functional.cosine_similarity(logits, targets.float()).mean()
    return functional.mse_loss(logits, targets.float())


def nt_xent(first: Tensor, second: Tensor, temperature: float, *, cross: bool = False) -> Tensor:
    """Return the normalized temperature-scaled cross-entropy of pairs, in both directions.

    Parameters
    ----------
    first, second : Tensor, shape (batch, dim)
        Vectors of length 1; row i of both is a pair.
    temperature : float > 0
        Divides the cosines.
    cross : bool
        Whether only rows of the other side are negatives; else all other rows of both sides are.

    Returns
    -------
    Tensor
        Mean over the rows of each direction, the two summed; float32, without autocast. Chance, all
        cosines being equal, is ``2 log(2 batch - 1)``, or ``2 log(batch)`` for ``cross``.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = first.float(), second.float()
        own_pair = torch.arange(len(first), device=first.device)
        total = first.new_zeros(())
        for anchors, others in ((first, second), (second, first)):
            logits = anchors @ others.T / temperature
            if not cross:
                within = (anchors @ anchors.T / temperature).fill_diagonal_(-torch.inf)
                logits = torch.cat([logits, within], 1)
            total = total + functional.cross_entropy(logits, own_pair)
        return total


def to_scores(logits: Tensor, target: str) -> Tensor:
    """Return probabilities, or the values themselves for regression; float64 on the CPU.

    For a cosine they are divided by their length.

    Scores of a clip are means of these over its chunks.
    """
    logits = logits.detach().cpu().double()
    if target in ("single", "distribution"):
        return torch.softmax(logits, dim=1)
    if target == "cosine":
        return functional.normalize(logits, dim=1)
    return torch.sigmoid(logits) if target == "multi" else logits


class ClipAverager:
    """Averages scores over the chunks of each clip.

    Parameters
    ----------
    clips : numpy.ndarray of int, shape (n,)
        Numbers of the clips, as in batches.
    n_classes : int
        Number of scores per chunk.
    """

    def __init__(self, clips: Array, n_classes: int) -> None:
        self._positions = {int(clip): k for k, clip in enumerate(clips)}
        self._sums = np.zeros((len(clips), n_classes))
        self._counts = np.zeros(len(clips), np.int64)

    def positions(self, clips: Tensor) -> Array:
        """Return the position of each chunk's clip among the averager's clips."""
        return np.array([self._positions[int(clip)] for clip in clips])

    def add(self, clips: Tensor, scores: Tensor) -> None:
        """Add scores of chunks, shape (chunks, classes), from :func:`to_scores`."""
        positions = self.positions(clips)
        np.add.at(self._sums, positions, scores.numpy())
        np.add.at(self._counts, positions, 1)

    def means(self) -> Array:
        """Return the means, shape (n, classes); NaN for a clip without chunks."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums / self._counts[:, None])
