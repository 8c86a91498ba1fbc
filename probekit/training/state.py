"""What is trained on what, and how it went."""

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

CHECKPOINT = "last.ckpt"  # in the folder of a run: all that going on needs
LOG = "log.csv"


@dataclass
class TrainingJob:
    """What is trained on what.

    Attributes
    ----------
    model : torch.nn.Module
        ``forward(waves, teacher) -> (logits, embedding)``; see
        :mod:`probekit.distillation.fusion`. After :func:`fit` it has the best weights.
    penalty : torch.nn.Module or None
        ``forward(logits, embedding, teacher, valid) -> scalar``, added to the loss.
    alpha : float
        Its weight.
    recipe : Recipe
        How.
    metric : Metric
        The task's.
    target : {"single", "multi", "regression"}
        What it asks for.
    classes : int >= 1
        Columns of its scores.
    train : Training
        Its batches; those of an epoch are the same each time they are asked for.
    valid : callable
        Returns the chunks of the validation clips.
    held : numpy.ndarray of int, shape (n,)
        Numbers of the validation clips, as in batches.
    held_targets : numpy.ndarray, shape (n, …)
        What is right for them.
    select : {"metric", "loss"}
        Which epoch is best; the recipe's word, unless the metric is not defined on these clips.
    seed : int
        Of what is random in the network while it trains (dropout), for each epoch anew.
    """

    model: nn.Module
    penalty: nn.Module | None
    alpha: float
    recipe: TrainingRecipe
    metric: Metric
    target: str
    classes: int
    train: TrainBatches
    valid: Callable[[], Iterable[Batch]]
    held: Array
    held_targets: Array
    select: str
    seed: int


@dataclass
class TrainingHistory:
    """How a training went.

    Attributes
    ----------
    history : list of dict
        One an epoch: ``epoch`` and ``phase`` (from 1), ``lr``, ``loss`` (the task's, mean over the
        training crops), ``penalty`` (times alpha), ``valid_loss``, ``valid_score`` (the metric on
        validation clips; None where not defined or infinite), ``best`` (whether it was the best
        so far).
    best : int
        The epoch that was kept, from 1; 0 where none could be.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0

    def should_stop(self, recipe: TrainingRecipe) -> bool:
        """Tell whether nothing is left to do: all epochs, or none better for long enough."""
        done = len(self.history)
        patience = recipe.patience
        return done >= recipe.epochs or (patience is not None and done - self.best >= patience)


class ValidationMetrics:
    """What a model says of the validation clips."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self._mean = losses.ClipAverager(job.held, job.classes)
        self._sum, self._chunks = 0.0, 0

    def add(self, clips: Tensor, logits: Tensor) -> None:
        """Add chunks."""
        right = torch.as_tensor(self._job.held_targets[self._mean.rows(clips)])
        loss = losses.task_loss(logits, right.to(logits.device), self._job.target)
        self._sum += float(loss) * len(clips)
        self._chunks += len(clips)
        self._mean.add(clips, losses.scores(logits, self._job.target))

    @property
    def loss(self) -> float:
        """The mean loss of all chunks."""
        return self._sum / max(1, self._chunks)

    def score(self) -> float | None:
        """Return the task's metric over clips; None where it is not defined, or infinite."""
        found = self._job.metric.score(self._job.held_targets, self._mean.values())
        return float(found) if np.isfinite(found) else None

    def rank(self, score: float | None) -> float | None:
        """Return what epochs are compared by: the metric, also where it is infinite.

        A d′ of which the mean area under the ROC curves is 1 (or 0) is infinitely good (or bad).

        Parameters
        ----------
        score : float or None
            From :meth:`score`.

        Returns
        -------
        float or None
            None where the metric is not defined.
        """
        if score is None and self._job.metric.name == "d-prime":
            area = metrics.get_metric("roc-auc").score(self._job.held_targets, self._mean.values())
            return np.inf if area >= 1 else -np.inf if area <= 0 else None
        return score
