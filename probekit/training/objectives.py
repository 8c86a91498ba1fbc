"""Objectives: what a step of training minimizes, as named terms of a loss."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from probekit.errors import DataError
from probekit.extractors.networks.resnet50v2 import Head
from probekit.extractors.students.base import Student
from probekit.training import losses
from probekit.training.augmentations import BatchSplitMixing
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
    logits : Tensor or None
        Of the last step's labeled clips, detached; for the training accuracy of learning curves.
    """

    streams: ClassVar[tuple[str, ...]] = (LABELED,)
    logits: Tensor | None = None

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

    # ---- for objectives of several targets, of which each step has one

    def parameter_sets(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each optimizer; by default one has all."""
        return [list(self.parameters())]

    def streams_of_epoch(self, names: Sequence[str], seed: int, epoch: int) -> list[str]:
        """Return the streams, of those of the phase, that an epoch (from 0) reads."""
        return list(names)

    def streams_of_step(self, names: Sequence[str], seed: int, epoch: int, step: int) -> list[str]:
        """Return the streams, of those of the epoch, that a step (from 0) reads."""
        return list(names)

    def optimizer_of(self, names: Sequence[str]) -> int:
        """Return the index of the optimizer of a step that reads some streams."""
        return 0


class StudentModel(nn.Module):
    """A network as :class:`Supervised` reads it, without frames beside the audio."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, waves: Tensor, frames: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and embedding."""
        embedding = self.student.encode(waves)
        return self.student.decode(embedding), embedding


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
        self.logits = logits.detach()
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


class Contrastive(Objective):
    """The task's loss, and a contrastive loss of labeled and unlabeled clips (lee2021).

    Both batches are shuffled together and split in two halves. Each clip and its augmented version,
    mixed with one of the other half, are a pair; the vectors of other clips of the half are
    negatives. A phase that reads labeled clips alone is the warm-up.

    Parameters
    ----------
    student : Student
        The network.
    target : {"single", "multi", "regression"}
        Kind of target.
    weight : float > 0
        Factor of the contrastive loss of both halves.
    temperature : float > 0
        As for :func:`probekit.training.losses.nt_xent`.
    mixing : bool
        Whether clips are mixed and noise is added; else the random offset alone is left.
    cross : bool
        As for :func:`probekit.training.losses.nt_xent`.
    separate : bool
        Whether labeled clips, halves and augmented halves pass the network one after the other,
        each with the statistics of its own batch, as in the paper's Algorithm 1; else all at once.
    dim : int >= 1
        Outputs of the projection head.
    """

    streams: ClassVar[tuple[str, ...]] = (LABELED, UNLABELED)

    def __init__(
        self,
        student: Student,
        target: str,
        *,
        weight: float = 0.05,
        temperature: float = 0.01,
        mixing: bool = True,
        cross: bool = False,
        separate: bool = True,
        dim: int = 64,
    ) -> None:
        super().__init__()
        self.student = student
        self.projection = Head(student.dim, dim)
        self.target, self.weight, self.temperature = target, weight, temperature
        self.cross, self.separate = cross, separate
        self.augment = BatchSplitMixing(student.rate, mixing=mixing)

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return the terms ``loss`` and ``contrastive``; in the warm-up ``loss`` alone."""
        labeled, unlabeled = batches[LABELED], batches.get(UNLABELED)
        assert labeled.targets is not None
        if unlabeled is None:
            logits = self.student(labeled.waves)
            self.logits = logits.detach()
            return {"loss": losses.task_loss(logits, labeled.targets, self.target)}
        halves = self._split(labeled.waves, unlabeled.waves)
        augmented = [self.augment(halves[k], halves[1 - k]) for k in (0, 1)]
        parts = [labeled.waves, halves[0], augmented[0], halves[1], augmented[1]]
        first, *vectors = self._encode(parts)
        logits = self.student.decode(first)
        self.logits = logits.detach()
        loss = losses.task_loss(logits, labeled.targets, self.target)
        projected = self._project(vectors)
        first_half, second_half = (
            losses.nt_xent(projected[k], projected[k + 1], self.temperature, cross=self.cross)
            for k in (0, 2)
        )
        return {"loss": loss, "contrastive": self.weight * (first_half + second_half)}

    def predict(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, shape (batch, classes)."""
        logits: Tensor = self.student(batch.waves)
        return logits

    def _split(self, labeled: Tensor, unlabeled: Tensor) -> list[Tensor]:
        """Return the two halves of all clips, shuffled; the second may be one shorter."""
        waves = torch.cat([labeled, unlabeled])
        if len(waves) < 4:
            raise DataError(
                f"a step must have at least 4 clips for two halves with negatives, got {len(waves)}"
                ": use a larger --batch"
            )
        order = torch.randperm(len(waves), device=waves.device)
        middle = -(-len(waves) // 2)
        return [waves[order[:middle]], waves[order[middle:]]]

    def _encode(self, parts: list[Tensor]) -> list[Tensor]:
        """Return the embeddings of each part."""
        if self.separate:
            return [self.student.encode(part) for part in parts]
        embeddings = self.student.encode(torch.cat(parts))
        return list(embeddings.split([len(part) for part in parts]))

    def _project(self, embeddings: list[Tensor]) -> list[Tensor]:
        """Return vectors of length 1 of each part, of the means over time."""
        means = [embedding.mean(1) for embedding in embeddings]
        if self.separate:
            projected = [self.projection(mean) for mean in means]
        else:
            lengths = [len(mean) for mean in means]
            projected = list(self.projection(torch.cat(means)).split(lengths))
        return [functional.normalize(vectors.float(), dim=1) for vectors in projected]
