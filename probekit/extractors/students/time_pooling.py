"""Pooling over time: from the probabilities of a class in each frame to that in the clip.

Labels of recordings do not say when a sound occurs. A network with an output for each frame is
trained on them through a pooling function (Wang, Li and Metze, 2019: "A Comparison of Five Multiple
Instance Learning Pooling Functions for Sound Event Detection with Weak Labeling").
"""

import torch
from torch import Tensor, nn

from probekit.errors import ProbekitError
from probekit.utils.suggest import unknown_name_error

POOLINGS = ("linear-softmax", "attention", "max", "average", "exponential")
"""Names of pooling functions, as after ``--pooling``."""
HEAD_POOLINGS = {
    "linear-softmax": "lin",
    "attention": "attention",
    "max": "max",
    "average": "mean",
    "exponential": "exp",
}
"""What :class:`probekit.extractors.base.Head` calls them."""
CLAMP = 1e-7
"""Probabilities are kept this far from 0 and 1, of frames and of clips (Wang's code)."""


def check_pooling(name: str) -> str:
    """Return the name of a pooling function if there is such a one."""
    if name not in POOLINGS:
        raise unknown_name_error("pooling", name, POOLINGS)
    return name


def pool_probabilities(
    probabilities: Tensor, pooling: str, attention: Tensor | None = None
) -> Tensor:
    """Return the probability of each class in a clip.

    Parameters
    ----------
    probabilities : Tensor, shape (clips, time, classes)
        Of the frames; clamped to [1e-7, 1 - 1e-7] first.
    pooling : {"linear-softmax", "attention", "max", "average", "exponential"}
        Σp² / Σp; Σpw / Σw with w = exp(attention); the maximum; the mean; Σp exp(p) / Σ exp(p).
    attention : Tensor, shape (clips, time, classes), optional
        For ``attention``: logarithms of the weights, up to a constant for each class and clip.

    Returns
    -------
    Tensor, shape (clips, classes), float32
        Clamped, too.

    Raises
    ------
    UnknownNameError
        If there is no such function.
    """
    p = probabilities.float().clamp(CLAMP, 1 - CLAMP)
    if pooling == "linear-softmax":
        pooled = p.square().sum(1) / p.sum(1)
    elif pooling == "attention":
        assert attention is not None
        pooled = (p * attention.float().softmax(1)).sum(1)
    elif pooling == "max":
        pooled = p.amax(1)
    elif pooling == "average":
        pooled = p.mean(1)
    else:
        check_pooling(pooling)
        pooled = (p * p.softmax(1)).sum(1)
    return pooled.clamp(CLAMP, 1 - CLAMP)


def pool_logits(logits: Tensor, pooling: str, attention: Tensor | None = None) -> Tensor:
    """Return the logits of the clips' probabilities, for logits of frames.

    As :func:`pool_probabilities`; without autocast, since 1 - 1e-7 is 1 in half precision.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probabilities = logits.float().sigmoid()
        return torch.logit(pool_probabilities(probabilities, pooling, attention))


class FrameClassifier(nn.Module):
    """A decoder of one linear layer on each frame, and pooling over time.

    Parameters
    ----------
    features : int >= 1
        Length of a frame.
    classes : int >= 1
        Number of outputs.
    pooling : str
        As for :func:`pool_probabilities`; ``attention`` has a second linear layer.
    """

    def __init__(self, features: int, classes: int, pooling: str) -> None:
        super().__init__()
        self.pooling = check_pooling(pooling)
        self.dense = nn.Linear(features, classes)
        self.attention = nn.Linear(features, classes) if pooling == "attention" else None

    def frame_logits(self, frames: Tensor) -> Tensor:
        """Return logits of frames (clips, time, features), shape (clips, time, classes)."""
        logits: Tensor = self.dense(frames)
        return logits

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits of clips, shape (clips, classes), for frames (clips, time, features)."""
        weights = None if self.attention is None else self.attention(frames)
        return pool_logits(self.frame_logits(frames), self.pooling, weights)


def refuse_vectors(name: str, steps: int) -> None:
    """Raise a ProbekitError if a network has one embedding a crop, so that nothing is pooled."""
    if steps < 2:
        raise ProbekitError(
            f"network {name}: has one embedding a crop, so that there is nothing to pool over "
            "time; weak labels need a network with frames, such as talnet, weanet or short-chunk"
        )
