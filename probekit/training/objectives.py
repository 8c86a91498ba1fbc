"""Objectives: what a step of training minimizes, as named terms of a loss."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from probekit.training import losses
from probekit.training.dataloader import Batch

LABELED, UNLABELED = "labeled", "unlabeled"
"""Names of streams: clips of the task, and clips whose labels are not read."""


class Objective(nn.Module):
    """What a step minimizes; the base of all objectives.

    An objective owns the network and all modules that are trained with it, so that its parameters
    are those of the optimizer, and its state is that of a checkpoint.

    Attributes
    ----------
    streams : tuple of str
        Streams of batches that a step reads. A phase of the recipe may leave some out.
    """

    streams: ClassVar[tuple[str, ...]] = (LABELED,)

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return the terms of the loss of a step, each with its weight; ``loss`` is the task's.

        Parameters
        ----------
        batches : mapping of str to Batch
            One batch of each stream that the phase reads.

        Returns
        -------
        dict of str to Tensor
            Scalars, in the same order in every step; their sum is minimized.
        """
        raise NotImplementedError

    def predict(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, shape (batch, classes)."""
        raise NotImplementedError


class Supervised(Objective):
    """The task's loss, and a penalty on the embedding if there is one.

    Parameters
    ----------
    model : torch.nn.Module
        ``forward(waves, frames) -> (logits, embedding)``, where ``frames`` may be None.
    target : {"single", "multi", "regression"}
        Kind of target; see :func:`probekit.training.losses.task_loss`.
    penalty : torch.nn.Module, optional
        ``forward(logits, embedding, frames, valid) -> scalar``.
    penalty_weight : float
        Factor of the penalty.
    """

    def __init__(
        self,
        model: nn.Module,
        target: str,
        penalty: nn.Module | None = None,
        penalty_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.penalty = penalty
        self.target = target
        self.penalty_weight = penalty_weight

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return the terms ``loss`` and ``penalty``."""
        batch = batches[LABELED]
        assert batch.targets is not None
        logits, embedding = self.model(batch.waves, batch.frames)
        loss = losses.task_loss(logits, batch.targets, self.target)
        penalty = torch.zeros_like(loss)
        if self.penalty is not None:
            penalty = self.penalty_weight * self.penalty(
                logits, embedding, batch.frames, batch.valid
            )
        return {"loss": loss, "penalty": penalty}

    def predict(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, shape (batch, classes)."""
        logits: Tensor = self.model(batch.waves, batch.frames)[0]
        return logits
