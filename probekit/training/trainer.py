"""Training by Lightning, and scoring; going on where an earlier training was ended.

Lightning takes seconds to import: this module and :mod:`probekit.training.lightning_module` are imported when
something is trained, not before.
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
from probekit.training.lightning_module import DistillationModule, Tell, TrainDataset, ValidDataset
from probekit.training.state import CHECKPOINT, LOG, TrainingHistory, TrainingJob

__all__ = ["CHECKPOINT", "LOG", "fit", "predict"]


_LOGGERS = ("lightning.pytorch", "lightning.fabric")

if multiprocessing.parent_process() is not None:  # one of several that train together
    warnings.filterwarnings("ignore", module="lightning")
    for _name in _LOGGERS:
        logging.getLogger(_name).setLevel(logging.ERROR)


def fit(
    job: TrainingJob,
    where: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    tell: Tell | None = None,
) -> TrainingHistory:
    """Train a model; go on where an earlier call was ended.

    Parameters
    ----------
    job : Job
        What to train. Its model takes the weights of the best epoch.
    where : pathlib.Path
        A folder for the checkpoint, the log (CSV, and TensorBoard where it is installed); made if
        it is not there.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …
    devices : int >= 1
        How many of that kind train together, in processes; the batches are dealt to them in turn,
        so that one step is that many batches.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the networks.
    tell : callable, optional
        Called after every epoch with epochs done, epochs at most, and a line of numbers.

    Returns
    -------
    Course
        Scores of every epoch.

    Raises
    ------
    DataError
        If the loss is not finite: says where; the checkpoint of the last whole epoch is kept.
    """
    where.mkdir(parents=True, exist_ok=True)
    together = devices > 1
    lesson = DistillationModule(job, where, None if together else tell)
    if not lesson.course.should_stop(job.recipe):
        accelerator, which = _places(device, devices)
        watch = _report_remote_epochs(where, job.recipe.epochs, tell if together else None)
        with _silence_lightning(), _defer_sigint(), watch:
            trainer = Trainer(
                accelerator=accelerator,
                devices=which,
                strategy="ddp_spawn" if together else "auto",
                precision=precision,  # type: ignore[arg-type]
                max_epochs=job.recipe.epochs - len(lesson.course.history),
                logger=_tensorboard(where),
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                default_root_dir=where,
            )
            trainer.fit(lesson, TrainDataset(lesson), ValidDataset(job))
        lesson = DistillationModule(job, where, None)  # other processes may have trained it
    if lesson.best_weights is not None:
        lesson.load_state_dict(lesson.best_weights)
    return lesson.course


def predict(
    job: TrainingJob, batches: Iterable[Batch], clips: Array, *, device: str, precision: str
) -> Array:
    """Score clips with a trained model.

    Parameters
    ----------
    job : Job
        Its model is used.
    batches : iterable of Batch
        Chunks of the clips.
    clips : numpy.ndarray of int, shape (n,)
        Numbers of the clips, as in batches.
    device, precision : str
        As for :func:`fit`.

    Returns
    -------
    numpy.ndarray, shape (n, classes)
        Means over each clip's chunks: probabilities, or the numbers themselves.
    """
    where = resources.device(device)
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    mean = losses.ClipAverager(clips, job.classes)
    model = job.model.eval().to(where)
    with torch.inference_mode(), torch.autocast(where.type, kind, enabled=kind is not None):
        for batch in batches:
            here = batch.to(where)
            logits, _ = model(here.waves, here.teacher)
            mean.add(batch.clips, losses.scores(logits, job.target))
    model.cpu()
    return mean.values()


def _places(device: str, devices: int) -> tuple[str, Any]:
    """Return what Lightning calls a device, and how many or which of them."""
    kind, _, number = str(resources.device(device)).partition(":")
    accelerator = "gpu" if kind == "cuda" else kind
    if devices > 1:
        there = torch.cuda.device_count() if kind == "cuda" else devices
        if devices > there:
            raise ProbekitError(f"--devices {devices}: this machine has {there}")
        return accelerator, devices
    return accelerator, [int(number)] if number else 1


def _tensorboard(where: Path) -> Any:
    """Return a TensorBoard logger, or no logger where TensorBoard is not installed."""
    try:
        return TensorBoardLogger(where, name="tensorboard", version="")
    except ModuleNotFoundError:
        return False


@contextmanager
def _silence_lightning() -> Iterator[None]:
    """Keep what Lightning says about itself, and about loaders it does not know, off the screen."""
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in _LOGGERS]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


@contextmanager
def _report_remote_epochs(where: Path, epochs: int, tell: Tell | None) -> Iterator[None]:
    """Tell of epochs that other processes do: their log says so."""
    if tell is None:
        yield
        return
    over = threading.Event()

    def look() -> None:
        seen = -1
        while not over.wait(1.0):
            log = where / LOG
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else [""]
            if len(lines) - 1 > max(seen, 0):
                seen = len(lines) - 1
                tell(seen, epochs, "")

    thread = threading.Thread(target=look, name="watch-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _defer_sigint() -> Iterator[None]:
    """Let an interruption be one: Lightning makes an exit of it, and ignores the next ones.

    What a process of several raised arrives as a traceback in words: its last line is the message.
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
