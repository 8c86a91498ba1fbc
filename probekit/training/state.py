"""Inputs of a training run, its history, and its validation metrics."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.training import losses
from probekit.training.dataloader import Batch, TrainBatches
from probekit.training.objectives import Objective
from probekit.training.schedules import TrainingRecipe

CHECKPOINT = "last.ckpt"  # in the run's folder
LOG = "log.csv"


@dataclass
class EvaluationSet:
    """Clips to score.

    Attributes
    ----------
    batches : callable
        Returns the chunks of the clips.
    clips : numpy.ndarray of int, shape (n,)
        Numbers of the clips, as in batches.
    targets : numpy.ndarray, shape (n, …)
        Their targets.
    """

    batches: Callable[[], Iterable[Batch]]
    clips: Array
    targets: Array


@dataclass
class TrainingJob:
    """Inputs of a training run.

    Attributes
    ----------
    objective : Objective
        Network and what is minimized. It has the best weights after
        :func:`probekit.training.trainer.fit`.
    streams : dict of str to TrainBatches
        Batches of each of the objective's streams. An epoch ends with the longest of those that the
        phase reads; the others start over, in another order.
    recipe : TrainingRecipe
        Optimizers, selection of the epoch, and early stopping.
    metric : Metric
        Metric of the task.
    target : {"single", "multi", "regression"}
        Kind of target.
    n_classes : int >= 1
        Number of outputs.
    valid : EvaluationSet or None
        Validation clips; without, the last epoch is used.
    test : EvaluationSet or None
        Clips that are scored after every epoch for the learning curve; nothing is selected by them.
    select : {"metric", "loss", "last"}
        What the best epoch is selected by: ``recipe.select``, or the loss if the metric is not
        defined on the validation clips.
    seed : int
        Seed of the network's random numbers (dropout), per epoch.
    """

    objective: Objective
    streams: dict[str, TrainBatches]
    recipe: TrainingRecipe
    metric: Metric
    target: str
    n_classes: int
    valid: EvaluationSet | None
    select: str
    seed: int
    test: EvaluationSet | None = None

    @property
    def scores_training(self) -> bool:
        """Whether the history has the training accuracy: beside a test accuracy."""
        return self.test is not None and self.metric.name == "accuracy" and self.target == "single"

    def streams_at(self, epoch: int) -> dict[str, TrainBatches]:
        """Return the streams that an epoch (from 0) reads."""
        names = self.recipe.phases[self.recipe.phase_at(epoch)].streams
        return {k: v for k, v in self.streams.items() if names is None or k in names}


@dataclass
class TrainingHistory:
    """Scores of every epoch.

    Attributes
    ----------
    epochs : list of dict
        Per epoch: ``epoch`` and ``phase`` (from 1), ``lr``, the objective's terms (means over the
        training crops, each times its weight), ``train_score`` (accuracy on the training crops as
        the steps read them, where test clips are scored by accuracy), ``valid_loss``,
        ``valid_score`` (metric on the validation clips; None if undefined or infinite),
        ``test_score`` if test clips are scored, and ``best`` (best epoch so far).
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


class EpochMetrics:
    """Accumulates loss and scores of an evaluation set."""

    def __init__(self, job: TrainingJob, clips: EvaluationSet) -> None:
        self._job, self._set = job, clips
        self._averager = losses.ClipAverager(clips.clips, job.n_classes)
        self._loss_sum = 0.0
        self._chunks = 0

    def add(self, clips: Tensor, logits: Tensor) -> None:
        """Add a batch of chunks."""
        targets = torch.as_tensor(self._set.targets[self._averager.positions(clips)])
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
        score = self._job.metric.score(self._set.targets, self._averager.means())
        return float(score) if np.isfinite(score) else None

    def rank(self, score: float | None) -> float | None:
        """Return what epochs are compared by: the score, or an infinite d′; None if undefined.

        d′ is infinite if the mean area under the ROC curves is 1 or 0.
        """
        if score is None and self._job.metric.name == "d-prime":
            roc_auc = metrics.get_metric("roc-auc")
            area = roc_auc.score(self._set.targets, self._averager.means())
            return np.inf if area >= 1 else -np.inf if area <= 0 else None
        return score
