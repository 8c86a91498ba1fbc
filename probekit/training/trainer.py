"""The training loop: phases, checkpoints, validation after every epoch; and prediction."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import ProcessRaisedException, spawn
from torch.nn.parallel import DistributedDataParallel

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.training import losses
from probekit.training.dataloader import Batch, TrainBatches
from probekit.training.objectives import LABELED
from probekit.training.optimizers import OptimizerSet, plateau_factor
from probekit.training.schedules import Phase
from probekit.training.state import (
    CHECKPOINT,
    LOG,
    EpochMetrics,
    EvaluationSet,
    TrainingHistory,
    TrainingJob,
)
from probekit.utils import atomic

__all__ = ["CHECKPOINT", "LOG", "fit", "predict"]

State = dict[str, Tensor]
EpochCallback = Callable[[int, int, str], None]

_CHECK_EVERY = 20  # steps between checks of the loss on a device, each of which waits for it
_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def fit(
    job: TrainingJob,
    folder: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    on_epoch_end: EpochCallback | None = None,
) -> TrainingHistory:
    """Train a network; resume a run that was interrupted.

    Parameters
    ----------
    job : TrainingJob
        What to train. Its objective has the weights of the best epoch afterwards.
    folder : pathlib.Path
        Folder of the checkpoint and the log (CSV, and TensorBoard if installed), created if
        missing.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    devices : int >= 1
        Number of devices that train together, a process each. The batches are dealt to them in
        turn, so that a step takes that many batches.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    on_epoch_end : callable, optional
        Called after every epoch with the number of finished epochs, the maximum number of epochs,
        and a line of numbers.

    Returns
    -------
    TrainingHistory
        Scores of every epoch.

    Raises
    ------
    DataError
        If the loss is not finite; the checkpoint of the last finished epoch is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = _Progress(job, folder)
    torch_device = resources.resolve_device(device)
    if not progress.history.should_stop(job.recipe):
        if devices > 1:
            _check_device_count(torch_device.type, devices)
            with (
                TemporaryDirectory() as meeting_point,
                _translate_exceptions(),
                _report_remote_epochs(folder, job.recipe.epochs, on_epoch_end),
            ):
                address = f"file://{meeting_point}/processes"
                arguments = (job, folder, torch_device.type, precision, devices, address)
                spawn(_train_process, arguments, nprocs=devices)
            progress = _Progress(job, folder)  # other processes have trained it
        else:
            _Loop(job, progress, torch_device, precision, on_epoch_end).run()
    if progress.best_weights is not None:
        job.objective.load_state_dict(progress.best_weights)
    job.objective.cpu()
    return progress.history


def predict(
    job: TrainingJob, batches: Iterable[Batch], clips: Array, *, device: str, precision: str
) -> Array:
    """Return the scores of clips by a trained network: means over the chunks of each clip.

    Parameters
    ----------
    job : TrainingJob
        Its objective predicts.
    batches : iterable of Batch
        Chunks of the clips.
    clips : numpy.ndarray of int, shape (n,)
        Numbers of the clips, as in batches.
    device, precision : str
        As for :func:`fit`.

    Returns
    -------
    numpy.ndarray, shape (n, classes)
        Probabilities, or the predicted values for regression.
    """
    torch_device = resources.resolve_device(device)
    averager = losses.ClipAverager(clips, job.n_classes)
    job.objective.eval().to(torch_device)
    with torch.inference_mode(), _autocast(torch_device, precision):
        for batch in batches:
            logits = job.objective.predict(batch.to(torch_device))
            averager.add(batch.clips, losses.to_scores(logits, job.target))
    job.objective.cpu()
    return averager.means()


class _Progress:
    """What a run has reached: its history and the weights to go on with, or the initial ones."""

    def __init__(self, job: TrainingJob, folder: Path) -> None:
        self.folder = folder
        self.history = TrainingHistory()
        self.best_weights: State | None = None
        self.best_rank: float | None = None
        self.optimizer: dict[str, Any] = {}
        self.scaler: dict[str, Any] = {}
        path = folder / CHECKPOINT
        if path.exists():
            saved = torch.load(path, map_location="cpu", weights_only=True)
            self.history = TrainingHistory(saved["history"], saved["best"])
            self.best_weights, self.best_rank = saved["best_weights"], saved["rank"]
            self.optimizer, self.scaler = saved["optimizer"], saved["precision"]
            _refuse_other_recipe(path, job, self.history)
            try:
                job.objective.load_state_dict(saved["weights"])
            except RuntimeError as error:
                raise DataError(
                    f"{path}: the checkpoint of another network; delete it to train from the start"
                ) from error

    def save(self, weights: State, optimizer: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Write the checkpoint and the log, each atomically."""
        epochs = self.history.epochs
        checkpoint = {
            "weights": weights,
            "optimizer": optimizer,
            "precision": scaler,
            "history": epochs,
            "best": self.history.best_epoch,
            "best_weights": self.best_weights,
            "rank": self.best_rank,
        }
        atomic.atomic_write(self.folder / CHECKPOINT, lambda path: torch.save(checkpoint, path))
        columns = list(dict.fromkeys(name for epoch in epochs for name in epoch))
        lines = [
            ",".join("" if epoch.get(name) is None else str(epoch[name]) for name in columns)
            for epoch in epochs
        ]
        atomic.atomic_write_text(self.folder / LOG, "\n".join([",".join(columns), *lines, ""]))

    def describe(self) -> str:
        """Describe the checkpoint that remains after an error."""
        if not self.history.epochs:
            return "there is no checkpoint, since no epoch was finished"
        return f"the checkpoint of epoch {len(self.history.epochs)} is saved in {self.folder}"


class _Loop:
    """Trains epoch after epoch, on one device; one of several processes, or alone."""

    def __init__(
        self,
        job: TrainingJob,
        progress: _Progress,
        device: torch.device,
        precision: str,
        on_epoch_end: EpochCallback | None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.job, self.progress, self.device, self.precision = job, progress, device, precision
        self.rank, self.world_size = rank, world_size
        self._callback = on_epoch_end
        self.objective = job.objective.to(device)
        self.step: nn.Module = self.objective
        if world_size > 1:
            # a phase that reads fewer streams may not use all parameters
            partly = any(phase.streams is not None for phase in job.recipe.phases)
            partly |= len(self.objective.parameter_sets()) > 1
            self.step = DistributedDataParallel(
                self.objective,
                [device] if device.type == "cuda" else None,
                find_unused_parameters=partly,
            )
        epoch = max(0, len(progress.history.epochs) - 1)
        self.optimizer = self._make_optimizer(job.recipe.phases[job.recipe.phase_at(epoch)])
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
        if progress.optimizer:
            self.optimizer.load_state_dict(progress.optimizer)
            self.scaler.load_state_dict(progress.scaler)
        self._tensorboard = _open_tensorboard(progress.folder) if rank == 0 else None

    def run(self) -> None:
        """Train the epochs that are missing."""
        resources.tune_malloc()
        try:
            while not self.progress.history.should_stop(self.job.recipe):
                self._run_epoch(len(self.progress.history.epochs))
        finally:
            if self._tensorboard is not None:
                self._tensorboard.close()

    def _run_epoch(self, epoch: int) -> None:
        """Train an epoch, score it, keep its weights if it is the best, write the checkpoint."""
        recipe, history = self.job.recipe, self.progress.history
        phase = recipe.phase_at(epoch)
        if recipe.is_phase_start(epoch):
            self._start_phase(recipe.phases[phase])
        self._follow_plateau(epoch)
        torch.manual_seed(_derive_seed(self.job.seed, epoch, self.rank))
        terms = self._train(epoch)
        term_names = [name for name in terms if not name.endswith("_score")]
        valid, valid_score = self._evaluate(self.job.valid)
        done, valid_loss = epoch + 1, valid.loss if valid else None
        if valid_loss is not None and not np.isfinite(valid_loss):
            raise DataError(
                f"the validation loss is {valid_loss} after epoch {done}; "
                f"{self.progress.describe()}"
            )
        rank = valid.rank(valid_score) if valid else None
        is_best = self._is_improvement(epoch, valid_loss, rank)
        if is_best:
            history.best_epoch, self.progress.best_rank = done, rank
            self.progress.best_weights = _copy_to_cpu(self.objective.state_dict())
        lr = self.optimizer.param_groups[0]["lr"]
        record = {"epoch": done, "phase": phase + 1, "lr": lr, **terms}
        record |= {"valid_loss": valid_loss, "valid_score": valid_score}
        if self.job.test is not None:
            record["test_score"] = self._evaluate(self.job.test)[1]
        history.epochs.append({**record, "best": is_best})
        if self.rank == 0:
            if self._tensorboard is not None:
                for name in (*terms, "valid_loss", "valid_score", "test_score"):
                    if record.get(name) is not None:
                        self._tensorboard.add_scalar(name, record[name], done)
            self.progress.save(
                self.objective.state_dict(), self.optimizer.state_dict(), self.scaler.state_dict()
            )
            if self._callback is not None:
                self._callback(done, recipe.epochs, _summarize_epoch(history, term_names))

    def _train(self, epoch: int) -> dict[str, float]:
        """Take the steps of an epoch; return the means of the terms over crops."""
        every, seed = self.job.streams_at(epoch), self.job.seed
        chosen = self.objective.streams_of_epoch(list(every), seed, epoch)
        streams = {name: every[name] for name in chosen}
        steps = max(stream.steps(self.world_size) for stream in streams.values())
        readers = {name: self._repeat(stream, epoch) for name, stream in streams.items()}
        names: list[str] = []
        sums = torch.zeros(0, device=self.device)
        self.step.train()
        try:
            for index in range(steps):
                read = self.objective.streams_of_step(chosen, seed, epoch, index)
                batches = {name: next(readers[name]).to(self.device) for name in read}
                with _autocast(self.device, self.precision):
                    terms = self.step(batches)
                self.optimizer.zero_grad()
                total = torch.stack(list(terms.values())).sum()
                self.scaler.scale(total).backward()
                self.scaler.step(self.optimizer.optimizers[self.objective.optimizer_of(read)])
                self.scaler.update()
                crops = torch.tensor(float(len(next(iter(batches.values())))), device=self.device)
                values = {name: term.detach().float() * crops for name, term in terms.items()}
                values |= self._count_correct(batches)
                if not names:
                    names, sums = list(values), torch.zeros(len(values) + 1, device=self.device)
                sums += torch.stack([*values.values(), crops])
                if self.device.type == "cpu" or index % _CHECK_EVERY == 0 or index == steps - 1:
                    self._check_finite(sums, epoch, index, steps)
        finally:
            for reader in readers.values():
                reader.close()
        if self.world_size > 1:
            distributed.all_reduce(sums)
            self._check_finite(sums, epoch, steps - 1, steps)
        *totals, crops_seen = sums.tolist()
        return {name: total / crops_seen for name, total in zip(names, totals, strict=True)}

    def _count_correct(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return how many labeled crops of a step were classified correctly, where that is kept."""
        logits = self.objective.logits
        targets = batches[LABELED].targets if LABELED in batches else None
        if not self.job.scores_training or logits is None or targets is None:
            return {}
        return {"train_score": (logits.argmax(1) == targets).sum().float()}

    def _repeat(self, stream: TrainBatches, epoch: int) -> Generator[Batch, None, None]:
        """Read a stream's batches of an epoch, again and again, each time in another order."""
        restart = 0
        while True:
            again = {"restart": restart} if restart else {}
            yield from stream.epoch(epoch, rank=self.rank, world_size=self.world_size, **again)
            restart += 1

    def _evaluate(self, clips: EvaluationSet | None) -> tuple[EpochMetrics | None, float | None]:
        """Score clips; every process scores all of them, so that all decide the same."""
        if clips is None:
            return None, None
        epoch_metrics = EpochMetrics(self.job, clips)
        self.objective.eval()
        with torch.inference_mode(), _autocast(self.device, self.precision):
            for batch in clips.batches():
                logits = self.objective.predict(batch.to(self.device))
                epoch_metrics.add(batch.clips, logits)
        return epoch_metrics, epoch_metrics.score()

    def _is_improvement(self, epoch: int, loss: float | None, rank: float | None) -> bool:
        """Tell whether an epoch is the best so far of those that may be selected.

        If the metric selects, epochs on which it is undefined are worse than all others; among
        themselves the validation loss decides.
        """
        recipe, history, best_rank = self.job.recipe, self.progress.history, self.progress.best_rank
        if epoch < recipe.burn_in:
            return False
        if loss is None or self.job.select == "last":
            return True
        if recipe.max_valid_loss is not None and loss >= recipe.max_valid_loss:
            return False
        if not history.best_epoch:
            return True
        is_lower = bool(loss < history.epochs[history.best_epoch - 1]["valid_loss"])
        if self.job.select == "loss" or (rank is None and best_rank is None):
            return is_lower
        if rank is None or best_rank is None:
            return best_rank is None
        if recipe.ties == "loss" and rank == best_rank:
            return is_lower
        return rank > best_rank if self.job.metric.higher_is_better else rank < best_rank

    def _start_phase(self, phase: Phase) -> None:
        """Restore the best weights, and set the phase's optimizer or learning rate."""
        if self.job.recipe.restore_best and self.progress.best_weights is not None:
            self.objective.load_state_dict(self.progress.best_weights)
        if phase.new_optimizer:
            self.optimizer = self._make_optimizer(phase)
        for group in self.optimizer.param_groups:
            group["lr"] = phase.lr

    def _follow_plateau(self, epoch: int) -> None:
        """Set the learning rate of an epoch by the validation scores of its phase so far."""
        recipe, epochs = self.job.recipe, self.progress.history.epochs
        if recipe.plateau is None:
            return
        phase = recipe.phase_at(epoch)
        key = "valid_loss" if self.job.select == "loss" else "valid_score"
        scores = [e[key] for e in epochs if e["phase"] == phase + 1]
        rises = key == "valid_score" and self.job.metric.higher_is_better
        factor = plateau_factor(recipe.plateau, scores, rises=rises)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.phases[phase].lr * factor

    def _make_optimizer(self, phase: Phase) -> OptimizerSet:
        recipe = self.job.recipe
        plain = [] if recipe.decays_biases else _list_biases(self.objective)
        return OptimizerSet(self.objective.parameter_sets(), plain, phase, recipe)

    def _check_finite(self, sums: Tensor, epoch: int, index: int, steps: int) -> None:
        """Raise if a loss of this epoch was not finite, and so its sum."""
        if not torch.isfinite(sums).all():
            raise DataError(
                f"the loss is not finite in epoch {epoch + 1}, at or before step {index + 1} of "
                f"{steps}; {self.progress.describe()}. Try a lower --lr, or a lower "
                "weight of the other terms (--alpha, --weight)"
            )


# ---- several processes


def _train_process(
    rank: int,
    job: TrainingJob,
    folder: Path,
    kind: str,
    precision: str,
    world_size: int,
    address: str,
) -> None:
    """Train in one of several processes."""
    device = torch.device(kind, rank) if kind == "cuda" else torch.device(kind)
    backend = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=address, rank=rank, world_size=world_size)
    try:
        _Loop(job, _Progress(job, folder), device, precision, None, rank, world_size).run()
    finally:
        distributed.destroy_process_group()


def _check_device_count(kind: str, devices: int) -> None:
    available = torch.cuda.device_count() if kind == "cuda" else devices
    if devices > available:
        raise ProbekitError(
            f"--devices must be at most {available}, the number of GPUs of this machine, got "
            f"{devices}"
        )


@contextmanager
def _report_remote_epochs(
    folder: Path, epochs: int, callback: EpochCallback | None
) -> Iterator[None]:
    """Report the epochs of other processes, as their log has them."""
    if callback is None:
        yield
        return
    is_over = threading.Event()

    def watch() -> None:
        reported = -1
        while not is_over.wait(1.0):
            log = folder / LOG
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else [""]
            if len(lines) - 1 > max(reported, 0):
                reported = len(lines) - 1
                callback(reported, epochs, "")

    thread = threading.Thread(target=watch, name="watch-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def _translate_exceptions() -> Iterator[None]:
    """Raise DataError for one of a child process.

    It arrives as the text of a traceback, whose last line is the message.
    """
    try:
        yield
    except ProcessRaisedException as error:
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        if not kind.startswith("probekit.errors."):
            raise
        raise DataError(message) from error


# ---- helpers


def _refuse_other_recipe(path: Path, job: TrainingJob, history: TrainingHistory) -> None:
    """Raise a DataError if the epochs of a checkpoint are not those of the recipe."""
    for k, epoch in enumerate(history.epochs):
        if k >= job.recipe.epochs:
            break  # reported as finished
        phase = job.recipe.phase_at(k)
        most = job.recipe.phases[phase].lr
        falls = job.recipe.plateau is not None
        if epoch["phase"] != phase + 1 or not (
            epoch["lr"] == most or (falls and epoch["lr"] < most)
        ):
            raise DataError(
                f"{path}: the checkpoint of another recipe: epoch {k + 1} had phase "
                f"{epoch['phase']} and learning rate {epoch['lr']:g}, recipe {job.recipe.name!r} "
                f"has phase {phase + 1} and {most:g}; delete it to train from the start"
            )


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _list_biases(module: nn.Module) -> list[nn.Parameter]:
    """Return the biases of all layers, shifts of batch normalization included."""
    return [p for name, p in module.named_parameters() if name.rpartition(".")[2] == "bias"]


def _open_tensorboard(folder: Path) -> Any:
    """Return a TensorBoard writer, or None if TensorBoard is not installed."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "tensorboard"))
    return None


def _copy_to_cpu(state: Mapping[str, Tensor]) -> State:
    """Return a copy of a state dict on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _derive_seed(seed: int, epoch: int, rank: int) -> int:
    """Return a seed that depends on all three numbers."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def _summarize_epoch(history: TrainingHistory, terms: list[str]) -> str:
    """Return a line about the last epoch."""
    last = history.epochs[-1]
    words = " + ".join(f"{last[name]:.4f}" for name in terms if name == "loss" or last[name])
    if last["valid_loss"] is not None:
        words += f", validation {last['valid_loss']:.4f}"
    if last["valid_score"] is not None:
        words += f", score {last['valid_score']:.3f}"
    return f"loss {words}, best epoch {history.best_epoch or '–'}"
