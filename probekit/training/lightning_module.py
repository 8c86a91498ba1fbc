"""LightningModule of a training run: phases, validation after every epoch, checkpoints."""

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
EpochCallback = Callable[[int, int, str], None]

_CHECK_EVERY = 20  # steps between checks of the loss on a device, each of which waits for it


class TrainingModule(LightningModule):
    """A model in training, resumed from the checkpoint of its folder if there is one.

    Parameters
    ----------
    job : TrainingJob
        What to train.
    folder : pathlib.Path
        Folder of the checkpoint.
    on_epoch_end : callable, optional
        As for :func:`probekit.training.trainer.fit`.
    """

    def __init__(self, job: TrainingJob, folder: Path, on_epoch_end: EpochCallback | None) -> None:
        super().__init__()
        self.model = job.model
        self.penalty = job.penalty
        self.job = job
        self.folder = folder
        self.history = TrainingHistory()
        self.best_weights: State | None = None
        self._callback = on_epoch_end
        self._checkpoint: dict[str, Any] = {}
        self._sums = torch.zeros(3)  # loss, penalty and number of the crops of an epoch
        self._validation = ValidationMetrics(job)
        self._best_rank: float | None = None
        path = folder / CHECKPOINT
        if path.exists():
            self._checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            self.history = TrainingHistory(self._checkpoint["history"], self._checkpoint["best"])
            self.best_weights = self._checkpoint["best_weights"]
            self._best_rank = self._checkpoint["rank"]
            self.load_state_dict(self._checkpoint["weights"])
        self.first_epoch = len(self.history.epochs)

    @property
    def epoch(self) -> int:
        """Index of the current epoch, counted over all interruptions."""
        return self.first_epoch + self.current_epoch

    @property
    def _steps(self) -> int:
        """Steps per epoch."""
        return self.job.train_batches.steps(self.trainer.world_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, _: int) -> Batch:
        """Move a batch to the device, asynchronously."""
        return batch.to(device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of the last finished epoch's phase, with its state."""
        recipe = self.job.recipe
        phase = recipe.phases[recipe.phase_at(max(0, self.first_epoch - 1))]
        optimizer = self._make_optimizer(phase)
        if self._checkpoint:
            optimizer.load_state_dict(self._checkpoint["optimizer"])
        return optimizer

    def on_fit_start(self) -> None:
        """Restore the precision plugin's state: the gradient scale of 16-bit training."""
        if self._checkpoint:
            self.trainer.precision_plugin.load_state_dict(self._checkpoint["precision"])
        if self.trainer.world_size > 1:  # else its threads may end the process as it exits
            atexit.register(_close_process_group)

    def on_train_epoch_start(self) -> None:
        """Start a phase if one starts; seed the random numbers by seed and epoch."""
        recipe = self.job.recipe
        if recipe.is_phase_start(self.epoch):
            self._start_phase(recipe.phases[recipe.phase_at(self.epoch)])
        torch.manual_seed(_derive_seed(self.job.seed, self.epoch, self.global_rank))
        self._sums = torch.zeros(3, device=self.device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a batch."""
        assert batch.targets is not None
        logits, embedding = self.model(batch.waves, batch.frames)
        loss = losses.task_loss(logits, batch.targets, self.job.target)
        penalty = torch.zeros_like(loss)
        if self.penalty is not None:
            penalty = self.job.penalty_weight * self.penalty(
                logits, embedding, batch.frames, batch.valid
            )
        crops = torch.full_like(loss.detach(), len(batch))
        self._sums += torch.stack([loss.detach() * crops, penalty.detach() * crops, crops])
        if self.device.type == "cpu" or index % _CHECK_EVERY == 0:
            self._check_finite(index)
        return loss + penalty

    def on_validation_epoch_start(self) -> None:
        """Reset the validation metrics."""
        self._validation = ValidationMetrics(self.job)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Accumulate a validation batch."""
        logits, _ = self.model(batch.waves, batch.frames)
        self._validation.add(batch.clips, logits)

    def on_train_epoch_end(self) -> None:
        """Score the epoch, keep its weights if it is the best, and write the checkpoint."""
        self._sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        self._check_finite(self._steps - 1)
        loss, penalty, crops = self._sums.tolist()
        valid_loss, valid_score = self._validation.loss, self._validation.score()
        done = self.epoch + 1
        if not np.isfinite(valid_loss):
            raise DataError(
                f"the validation loss is {valid_loss} after epoch {done}; "
                f"{self._describe_checkpoint()}"
            )
        rank = self._validation.rank(valid_score)
        is_best = self._is_improvement(valid_loss, rank)
        if is_best:
            self.history.best_epoch, self._best_rank = done, rank
            self.best_weights = _copy_to_cpu(self.state_dict())
        self.history.epochs.append(
            {
                "epoch": done,
                "phase": self.job.recipe.phase_at(self.epoch) + 1,
                "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
                "loss": loss / crops,
                "penalty": penalty / crops,
                "valid_loss": valid_loss,
                "valid_score": valid_score,
                "best": is_best,
            }
        )
        for name in ("loss", "penalty", "valid_loss", "valid_score"):
            value = self.history.epochs[-1][name]
            if value is not None and self.logger is not None:
                self.logger.log_metrics({name: value}, step=done)
        if self.trainer.is_global_zero:
            self._save_checkpoint()
        self.trainer.should_stop = self.history.should_stop(self.job.recipe)
        if self._callback is not None and self.trainer.is_global_zero:
            self._callback(done, self.job.recipe.epochs, _summarize_epoch(self.history))

    def _is_improvement(self, loss: float, rank: float | None) -> bool:
        """Tell whether the current epoch is the best so far of those that may be selected.

        If the metric selects, epochs on which it is undefined are worse than all others; among
        themselves the validation loss decides.
        """
        recipe = self.job.recipe
        if self.epoch < recipe.burn_in:
            return False
        if recipe.max_valid_loss is not None and loss >= recipe.max_valid_loss:
            return False
        if not self.history.best_epoch:
            return True
        best = self.history.epochs[self.history.best_epoch - 1]
        is_lower = bool(loss < best["valid_loss"])
        if self.job.select == "loss" or (rank is None and self._best_rank is None):
            return is_lower
        if rank is None or self._best_rank is None:
            return self._best_rank is None
        if recipe.ties == "loss" and rank == self._best_rank:
            return is_lower
        return (
            rank > self._best_rank if self.job.metric.higher_is_better else rank < self._best_rank
        )

    def _start_phase(self, phase: Phase) -> None:
        """Restore the best weights, and set the phase's optimizer or learning rate."""
        if self.best_weights is not None:
            self.load_state_dict(self.best_weights)
        if phase.new_optimizer:
            self.trainer.optimizers = [self._make_optimizer(phase)]
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = phase.lr

    def _make_optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        recipe = self.job.recipe
        parameters = [p for p in self.parameters() if p.requires_grad]
        if phase.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=phase.lr, weight_decay=recipe.weight_decay)
        return torch.optim.SGD(
            parameters,
            lr=phase.lr,
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay,
        )

    def _check_finite(self, index: int) -> None:
        """Raise if a loss of this epoch was not finite, and so its sum."""
        if not torch.isfinite(self._sums).all():
            raise DataError(
                f"the loss is not finite in epoch {self.epoch + 1}, at or before step {index + 1} "
                f"of {self._steps}; {self._describe_checkpoint()}. Try a lower --lr or --alpha"
            )

    def _describe_checkpoint(self) -> str:
        """Describe the checkpoint that remains after an error."""
        if not self.history.epochs:
            return "there is no checkpoint, since no epoch was finished"
        return f"the checkpoint of epoch {len(self.history.epochs)} is saved in {self.folder}"

    def _save_checkpoint(self) -> None:
        """Write the checkpoint and the log, each atomically."""
        checkpoint = {
            "weights": self.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "precision": self.trainer.precision_plugin.state_dict(),
            "history": self.history.epochs,
            "best": self.history.best_epoch,
            "best_weights": self.best_weights,
            "rank": self._best_rank,
        }
        atomic.atomic_write(self.folder / CHECKPOINT, lambda path: torch.save(checkpoint, path))
        columns = list(self.history.epochs[0])
        lines = [
            ",".join("" if epoch[name] is None else str(epoch[name]) for name in columns)
            for epoch in self.history.epochs
        ]
        atomic.atomic_write_text(self.folder / LOG, "\n".join([",".join(columns), *lines, ""]))


class TrainDataset:
    """Training batches as Lightning iterates over them, once per epoch."""

    def __init__(self, module: TrainingModule) -> None:
        self._module = module

    def __len__(self) -> int:
        # with a length, Lightning requests the first batch after the epoch has started, not before
        return self._module.job.train_batches.steps(self._module.trainer.world_size)

    def __iter__(self) -> Iterator[Batch]:
        module = self._module
        rank, world_size = module.trainer.global_rank, module.trainer.world_size
        yield from module.job.train_batches.epoch(module.epoch, rank=rank, world_size=world_size)


class ValidDataset:
    """Validation chunks; every process reads all of them, so that all decide the same."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job

    def __iter__(self) -> Iterator[Batch]:
        yield from self._job.valid_batches()


def _copy_to_cpu(state: State) -> State:
    """Return a copy of a state dict on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _close_process_group() -> None:
    """Destroy the process group."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _derive_seed(seed: int, epoch: int, rank: int) -> int:
    """Return a seed that depends on all three numbers."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def _summarize_epoch(history: TrainingHistory) -> str:
    """Return a line about the last epoch."""
    last = history.epochs[-1]
    penalty = f" + {last['penalty']:.4f}" if last["penalty"] else ""
    score = "" if last["valid_score"] is None else f", score {last['valid_score']:.3f}"
    return (
        f"loss {last['loss']:.4f}{penalty}, validation {last['valid_loss']:.4f}{score}, "
        f"best epoch {history.best_epoch or '–'}"
    )
