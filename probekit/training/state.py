"""Inputs of a training run, its history, and its validation metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probekit._typing import Array
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.training import losses
from probekit.training.dataloader import Batch, TrainBatches
from probekit.training.schedules import TrainingRecipe

CHECKPOINT = "last.ckpt"  # in the run's folder
LOG = "log.csv"


@dataclass
class TrainingJob:
    """Inputs of a training run.

    Attributes
    ----------
    model : torch.nn.Module
        ``forward(waves, frames) -> (logits, embedding)``, where ``frames`` may be None. It has the
        best weights after :func:`probekit.training.trainer.fit`.
    penalty : torch.nn.Module or None
        Further term of the loss: ``forward(logits, embedding, frames, valid) -> scalar``.
    penalty_weight : float
        Factor of that term.
    recipe : TrainingRecipe
        Optimizers, selection of the epoch, and early stopping.
    metric : Metric
        Metric of the task.
    target : {"single", "multi", "regression"}
        Kind of target.
    n_classes : int >= 1
        Number of outputs.
    train_batches : TrainBatches
        Training data.
    valid_batches : callable
        Returns the chunks of the validation clips.
    valid_clips : numpy.ndarray of int, shape (n,)
        Numbers of the validation clips, as in batches.
    valid_targets : numpy.ndarray, shape (n, …)
        Their targets.
    select : {"metric", "loss"}
        What the best epoch is selected by: ``recipe.select``, or the loss if the metric is not
        defined on the validation clips.
    seed : int
        Seed of the network's random numbers (dropout), per epoch.
    """

    model: nn.Module
    penalty: nn.Module | None
    penalty_weight: float
    recipe: TrainingRecipe
    metric: Metric
    target: str
    n_classes: int
    train_batches: TrainBatches
    valid_batches: Callable[[], Iterable[Batch]]
    valid_clips: Array
    valid_targets: Array
    select: str
    seed: int


@dataclass
class TrainingHistory:
    """Scores of every epoch.

    Attributes
    ----------
    epochs : list of dict
        Per epoch: ``epoch`` and ``phase`` (from 1), ``lr``, ``loss`` (mean over the training
        crops), ``penalty`` (times its weight), ``valid_loss``, ``valid_score`` (metric on the
        validation clips; None if undefined or infinite) and ``best`` (best epoch so far).
    best_epoch : int
        Selected epoch, from 1; 0 if none could be selected.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0

    def should_stop(self, recipe: TrainingRecipe) -> bool:
        """Tell whether all epochs are done, or the patience of early stopping is exhausted."""
        done, patience = len(self.epochs), recipe.patience
        return done >= recipe.epochs or (
            patience is not None and done - self.best_epoch >= patience
        )


class ValidationMetrics:
    """Accumulates loss and scores of the validation clips."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self._averager = losses.ClipAverager(job.valid_clips, job.n_classes)
        self._loss_sum = 0.0
        self._chunks = 0

    def add(self, clips: Tensor, logits: Tensor) -> None:
        """Add a batch of chunks."""
        targets = torch.as_tensor(self._job.valid_targets[self._averager.positions(clips)])
        loss = losses.task_loss(logits, targets.to(logits.device), self._job.target)
        self._loss_sum += float(loss) * len(clips)
        self._chunks += len(clips)
        self._averager.add(clips, losses.to_scores(logits, self._job.target))

    @property
    def loss(self) -> float:
        """Mean loss of all chunks."""
        return self._loss_sum / max(1, self._chunks)

    def score(self) -> float | None:
        """Return the task's metric over clips; None if it is undefined or infinite."""
        score = self._job.metric.score(self._job.valid_targets, self._averager.means())
        return float(score) if np.isfinite(score) else None

    def rank(self, score: float | None) -> float | None:
        """Return what epochs are compared by: the score, or an infinite d′; None if undefined.

        d′ is infinite if the mean area under the ROC curves is 1 or 0.
        """
        if score is None and self._job.metric.name == "d-prime":
            roc_auc = metrics.get_metric("roc-auc")
            area = roc_auc.score(self._job.valid_targets, self._averager.means())
            return np.inf if area >= 1 else -np.inf if area <= 0 else None
        return score
