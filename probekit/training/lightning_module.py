"""The model while Lightning trains it: phases, validation after every epoch, checkpoints."""

import atexit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from probekit.errors import DataError
from probekit.training import losses
from probekit.training.dataloader import Batch
from probekit.training.schedules import Phase
from probekit.training.state import CHECKPOINT, LOG, TrainingHistory, TrainingJob, ValidationMetrics
from probekit.utils import atomic

State = dict[str, Tensor]
Tell = Callable[[int, int, str], None]

_EVERY = 20  # steps between looks at the loss on a device, each of which waits for it


class DistillationModule(LightningModule):
    """The model while it is trained.

    Parameters
    ----------
    job : Job
        What is trained on what.
    where : pathlib.Path
        The checkpoint's folder; one that is there is gone on from.
    tell : callable, optional
        See :func:`fit`.
    """

    def __init__(self, job: TrainingJob, where: Path, tell: Tell | None) -> None:
        super().__init__()
        self.model, self.penalty = job.model, job.penalty
        self.job, self.where, self.tell = job, where, tell
        self.course = TrainingHistory()
        self.best_weights: State | None = None
        self._last: dict[str, Any] = {}
        self._sums = torch.zeros(3)
        self._found = ValidationMetrics(job)
        self._rank: float | None = None  # of the best epoch so far
        path = where / CHECKPOINT
        if path.exists():
            self._last = torch.load(path, map_location="cpu", weights_only=True)
            self.course = TrainingHistory(self._last["history"], self._last["best"])
            self.best_weights = self._last["best_weights"]
            self._rank = self._last["rank"]
            self.load_state_dict(self._last["weights"])
        self.first = len(self.course.history)

    @property
    def epoch(self) -> int:
        """The epoch that is being trained, from 0, over all calls."""
        return self.first + self.current_epoch

    @property
    def _steps(self) -> int:
        """Steps of an epoch."""
        return self.job.train.steps(self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        """Move a batch to where the model is, without waiting."""
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer of the phase that the last whole epoch was in, with its state."""
        phase = self.job.recipe.phases[self.job.recipe.phase_at(max(0, self.first - 1))]
        made = self._optimizer(phase)
        if self._last:
            made.load_state_dict(self._last["optimizer"])
        return made

    def on_fit_start(self) -> None:
        """Give the precision's own state back (the scale of 16-bit gradients)."""
        if self._last:
            self.trainer.precision_plugin.load_state_dict(self._last["precision"])
        if self.trainer.world_size > 1:
            atexit.register(
                _close_process_group
            )  # else its threads may end the process while it is leaving

    def on_train_epoch_start(self) -> None:
        """Begin a phase where one begins; make what is random a matter of seed and epoch alone."""
        recipe = self.job.recipe
        if recipe.is_phase_start(self.epoch):
            self._start_phase(recipe.phases[recipe.phase_at(self.epoch)])
        torch.manual_seed(_mixed(self.job.seed, self.epoch, self.global_rank))
        self._sums = torch.zeros(3, device=self.device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a batch."""
        assert batch.targets is not None
        logits, embedding = self.model(batch.waves, batch.teacher)
        loss = losses.task_loss(logits, batch.targets, self.job.target)
        more = torch.zeros_like(loss)
        if self.penalty is not None:
            more = self.job.alpha * self.penalty(logits, embedding, batch.teacher, batch.valid)
        rows = len(batch.waves)
        self._sums += torch.stack([loss.detach() * rows, more.detach() * rows,
                                   torch.full_like(loss.detach(), rows)])  # fmt: skip
        if self.device.type == "cpu" or index % _EVERY == 0:
            self._check(index)
        return loss + more

    def on_validation_epoch_start(self) -> None:
        """Begin with no chunk heard."""
        self._found = ValidationMetrics(self.job)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Hear some chunks."""
        logits, _ = self.model(batch.waves, batch.teacher)
        self._found.add(batch.clips, logits)

    def on_train_epoch_end(self) -> None:
        """Score the epoch, keep it if it is the best, and write the checkpoint."""
        self._sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        self._check(self._steps - 1)
        loss, more, rows = self._sums.tolist()
        valid_loss, valid_score = self._found.loss, self._found.score()
        if not np.isfinite(valid_loss):
            raise DataError(
                f"the validation loss is {valid_loss} after epoch {self.epoch + 1}; {self._checkpoint_name()}"
            )
        rank = self._found.rank(valid_score)
        better = self._is_improvement(valid_loss, rank)
        done = self.epoch + 1
        if better:
            self.course.best, self._rank = done, rank
            self.best_weights = _copied(self.state_dict())
        self.course.history.append(
            {
                "epoch": done,
                "phase": self.job.recipe.phase_at(self.epoch) + 1,
                "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
                "loss": loss / rows,
                "penalty": more / rows,
                "valid_loss": valid_loss,
                "valid_score": valid_score,
                "best": better,
            }
        )
        for name in ("loss", "penalty", "valid_loss", "valid_score"):
            value = self.course.history[-1][name]
            if value is not None and self.logger is not None:
                self.logger.log_metrics({name: value}, step=done)
        if self.trainer.is_global_zero:
            self._save_checkpoint()
        self.trainer.should_stop = self.course.should_stop(self.job.recipe)
        if self.tell is not None and self.trainer.is_global_zero:
            self.tell(done, self.job.recipe.epochs, _line(self.course))

    def _is_improvement(self, loss: float, rank: float | None) -> bool:
        """Tell whether this epoch is the best so far of those that may be kept.

        Where the metric chooses, an epoch of which it is not defined is never better than one of
        which it is; of two such epochs that with the lower validation loss is.
        """
        recipe, metric = self.job.recipe, self.job.metric
        if self.epoch < recipe.unchosen or (recipe.ceiling is not None and loss >= recipe.ceiling):
            return False
        if not self.course.best:
            return True
        lower = bool(loss < self.course.history[self.course.best - 1]["valid_loss"])
        if self.job.select == "loss" or (rank is None and self._rank is None):
            return lower
        if rank is None or self._rank is None:
            return self._rank is None
        if recipe.ties == "loss" and rank == self._rank:
            return lower
        return rank > self._rank if metric.higher else rank < self._rank

    def _start_phase(self, phase: Phase) -> None:
        """Go back to the best weights, and on with the next optimizer or rate."""
        if self.best_weights is not None:
            self.load_state_dict(self.best_weights)
        if phase.fresh:
            self.trainer.optimizers = [self._optimizer(phase)]
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = phase.lr

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        recipe = self.job.recipe
        free = [p for p in self.parameters() if p.requires_grad]
        if phase.optimizer == "adam":
            return torch.optim.Adam(free, lr=phase.lr, weight_decay=recipe.weight_decay)
        return torch.optim.SGD(
            free,
            lr=phase.lr,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )

    def _check(self, index: int) -> None:
        """Raise if a loss of this epoch was not finite: the sums are not, then."""
        if not torch.isfinite(self._sums).all():
            raise DataError(
                f"the loss is not a finite number in epoch {self.epoch + 1}, by step {index + 1} "
                f"of {self._steps}; {self._checkpoint_name()}. A lower --lr or --alpha may help"
            )

    def _checkpoint_name(self) -> str:
        """Say which checkpoint is there."""
        if not self.course.history:
            return "no epoch was whole before"
        return f"the checkpoint of epoch {len(self.course.history)} is kept in {self.where}"

    def _save_checkpoint(self) -> None:
        """Write the checkpoint and the log, whole or not at all."""
        state = {
            "weights": self.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "precision": self.trainer.precision_plugin.state_dict(),
            "history": self.course.history,
            "best": self.course.best,
            "best_weights": self.best_weights,
            "rank": self._rank,
        }
        atomic.atomic_write(self.where / CHECKPOINT, lambda aside: torch.save(state, aside))
        names = list(self.course.history[0])
        lines = [",".join("" if e[n] is None else str(e[n]) for n in names)
                 for e in self.course.history]  # fmt: skip
        atomic.atomic_write_text(self.where / LOG, "\n".join([",".join(names), *lines, ""]))


class TrainDataset:
    """The training batches, as Lightning walks over them: anew for every epoch."""

    def __init__(self, lesson: DistillationModule) -> None:
        self._lesson = lesson

    def __len__(self) -> int:
        # with a length Lightning asks for the first batch when the epoch has begun, not before
        return self._lesson.job.train.steps(self._lesson.trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        lesson = self._lesson
        rank, world = lesson.trainer.global_rank, lesson.trainer.world_size
        yield from lesson.job.train.epoch(lesson.epoch, rank=rank, world=world)


class ValidDataset:
    """The validation chunks; every process hears all of them, and decides the same."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job

    def __iter__(self) -> Iterator[Batch]:
        yield from self._job.valid()


def _copied(state: State) -> State:
    """Return weights that training goes on without."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _close_process_group() -> None:
    """Take leave of the other processes."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _mixed(seed: int, epoch: int, rank: int) -> int:
    """Return one seed that follows from three numbers."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def _line(course: TrainingHistory) -> str:
    """Say how the last epoch went."""
    last = course.history[-1]
    score = "" if last["valid_score"] is None else f", score {last['valid_score']:.3f}"
    more = f" + {last['penalty']:.4f}" if last["penalty"] else ""
    return (
        f"loss {last['loss']:.4f}{more}, validation {last['valid_loss']:.4f}{score}, "
        f"best epoch {course.best or '–'}"
    )
