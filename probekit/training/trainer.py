"""Training with Lightning, resumed after interruptions, and prediction.

Lightning takes seconds to import: import this module and
:mod:`probekit.training.lightning_module` only where something is trained.
"""

import logging
import multiprocessing
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.multiprocessing.spawn import ProcessRaisedException

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.training import losses
from probekit.training.dataloader import Batch
from probekit.training.lightning_module import (
    EpochCallback,
    TrainDataset,
    TrainingModule,
    ValidDataset,
)
from probekit.training.state import CHECKPOINT, LOG, TrainingHistory, TrainingJob

__all__ = ["CHECKPOINT", "LOG", "fit", "predict"]

_LOGGERS = ("lightning.pytorch", "lightning.fabric")

if multiprocessing.parent_process() is not None:  # one of several processes of a training
    warnings.filterwarnings("ignore", module="lightning")
    for _name in _LOGGERS:
        logging.getLogger(_name).setLevel(logging.ERROR)


def fit(
    job: TrainingJob,
    folder: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    on_epoch_end: EpochCallback | None = None,
) -> TrainingHistory:
    """Train a model; resume a run that was interrupted.

    Parameters
    ----------
    job : TrainingJob
        What to train. Its model has the weights of the best epoch afterwards.
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
    is_distributed = devices > 1
    module = TrainingModule(job, folder, None if is_distributed else on_epoch_end)
    if not module.history.should_stop(job.recipe):
        accelerator, device_ids = _lightning_devices(device, devices)
        remote_callback = on_epoch_end if is_distributed else None
        with (
            _silence_lightning(),
            _translate_exceptions(),
            _report_remote_epochs(folder, job.recipe.epochs, remote_callback),
        ):
            trainer = Trainer(
                accelerator=accelerator,
                devices=device_ids,
                strategy="ddp_spawn" if is_distributed else "auto",
                precision=precision,  # type: ignore[arg-type]
                max_epochs=job.recipe.epochs - len(module.history.epochs),
                logger=_tensorboard(folder),
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                default_root_dir=folder,
            )
            trainer.fit(module, TrainDataset(module), ValidDataset(job))
        module = TrainingModule(job, folder, None)  # other processes may have trained it
    if module.best_weights is not None:
        module.load_state_dict(module.best_weights)
    return module.history


def predict(
    job: TrainingJob, batches: Iterable[Batch], clips: Array, *, device: str, precision: str
) -> Array:
    """Return the scores of clips by a trained model: means over the chunks of each clip.

    Parameters
    ----------
    job : TrainingJob
        Its model predicts.
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
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    averager = losses.ClipAverager(clips, job.n_classes)
    model = job.model.eval().to(torch_device)
    with (
        torch.inference_mode(),
        torch.autocast(torch_device.type, dtype, enabled=dtype is not None),
    ):
        for batch in batches:
            moved = batch.to(torch_device)
            logits, _ = model(moved.waves, moved.frames)
            averager.add(batch.clips, losses.to_scores(logits, job.target))
    model.cpu()
    return averager.means()


def _lightning_devices(device: str, devices: int) -> tuple[str, Any]:
    """Return Lightning's accelerator, and how many or which devices."""
    kind, _, index = str(resources.resolve_device(device)).partition(":")
    accelerator = "gpu" if kind == "cuda" else kind
    if devices > 1:
        available = torch.cuda.device_count() if kind == "cuda" else devices
        if devices > available:
            raise ProbekitError(
                f"--devices must be at most {available}, the number of GPUs of this machine, got "
                f"{devices}"
            )
        return accelerator, devices
    return accelerator, [int(index)] if index else 1


def _tensorboard(folder: Path) -> Any:
    """Return a TensorBoard logger, or False if TensorBoard is not installed."""
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError:
        return False


@contextmanager
def _silence_lightning() -> Iterator[None]:
    """Hide Lightning's messages about itself and about data loaders that it does not know."""
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in _LOGGERS]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)


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
    """Raise KeyboardInterrupt and DataError for what Lightning makes of them.

    Lightning turns an interruption into SystemExit, and ignores further ones. An exception of a
    child process arrives as the text of a traceback, whose last line is the message.
    """
    try:
        yield
    except ProcessRaisedException as error:
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        if not kind.startswith("probekit.errors."):
            raise
        raise DataError(message) from error
    except SystemExit as error:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from error
