"""Weak labels: labels of clips, learned through outputs of frames that are pooled over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probekit._typing import Array
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.extractors.students.time_pooling import check_pooling, refuse_vectors
from probekit.targets.target_file import read_targets
from probekit.training import losses
from probekit.training.augmentations import mask_spectra, mixup
from probekit.training.dataloader import Batch
from probekit.training.objectives import LABELED, Objective
from probekit.training.schedules import Masks, TrainingRecipe
from probekit.utils.text import summarize_ids

DEFAULT_POOLING = "linear-softmax"
"""Of networks that have no pooling of their own."""


class WeakLabels(Objective):
    """Binary cross-entropy of the probabilities of clips, with masks and mixup in training.

    Spectra are masked after they were normalized, with 0, their mean; mixed clips are averages of
    spectra and of labels.

    Parameters
    ----------
    student : Student
        A network with outputs of frames.
    masks : Masks or None
        What is masked of the spectra.
    mixing : float >= 0
        Shares of mixed clips have the distribution Beta(mixing, mixing); 0 for none.
    """

    def __init__(self, student: Student, masks: Masks | None = None, mixing: float = 0.0) -> None:
        super().__init__()
        self.student, self.masks, self.mixing = student, masks, mixing

    def forward(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Return the term ``loss``."""
        batch = batches[LABELED]
        assert batch.targets is not None
        return {"loss": self.step_on(batch.waves, batch.targets)}

    def step_on(self, waves: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of waveforms or stored spectra, and their targets."""
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            features, targets = self.augment(self.student.frontend(waves), targets)
        logits = self.student.decode(self.student.embed(features))
        self.logits = logits.detach()
        return losses.task_loss(logits, targets, "multi")

    def augment(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mask and mix the front-end's output."""
        if self.masks is not None:
            # (clips, frames, bands), or (clips, channels, bands, frames)
            bands_last = features.ndim == 3
            spectra = features.mT if bands_last else features
            frames = round(self.masks.seconds * self._frames_per_second(spectra.shape[-1]))
            for _ in range(self.masks.count):
                spectra = mask_spectra(spectra, self.masks.bands, frames)
            features = spectra.mT if bands_last else spectra
        if self.mixing:
            features, targets = mixup(features, targets, self.mixing)
        return features, targets

    def _frames_per_second(self, frames: int) -> float:
        grid = self.student.level_grid
        if grid is not None:
            return self.student.rate / grid.hop
        return frames / float(self.student.crop)

    def predict(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, shape (batch, classes)."""
        logits: Tensor = self.student(batch.waves)
        return logits


def with_pooling(network: str, pooling: str) -> tuple[str, str]:
    """Return the text of a network, and the pooling of a decoder that it gets, empty for its own.

    Parameters
    ----------
    network : str
        As after ``--network``.
    pooling : str
        As after ``--pooling``; empty for the network's own, or linear softmax.

    Raises
    ------
    ProbekitError
        If there is no such pooling, or the network has no frames.
    """
    if pooling:
        check_pooling(pooling)
    student = zoo.build_student(network, 1)
    refuse_vectors(student.spec, student.frames(int(student.crop * student.rate))[1])
    if not student.pooling:
        return student.spec, pooling or DEFAULT_POOLING
    if pooling:
        student = zoo.build_student(network, 1, pooling=pooling)
    return student.spec, ""


def check_weak_labels(student: Student, recipe: TrainingRecipe, clips: Manifest) -> None:
    """Raise a ProbekitError if task, network or recipe do not suit weak labels."""
    if clips.target != "multi":
        raise ProbekitError(
            f"--objective weak-labels needs a task whose clips may have several labels, and "
            f"{clips.name} has {'one label a clip' if clips.target == 'single' else 'numbers'}; "
            "take --objective supervised, or a table with a column labels"
        )
    if recipe.masks is not None:
        with torch.no_grad():
            features = student.frontend(torch.zeros(2, student.min_samples))
        if features.ndim < 3:
            raise ProbekitError(
                f"recipe {recipe.name!r} masks spectra, and network {student.spec} reads none; "
                "take another recipe, such as cmu2019"
            )


@dataclass(frozen=True)
class SoftLabels:
    """Outputs of an earlier network, which are part of the labels of training clips.

    Attributes
    ----------
    path : pathlib.Path
        Target file of probabilities.
    share : float
        Share of the true labels; that of the outputs is 1 - share.
    values : numpy.ndarray, shape (clips, classes), float32
        By rows of the task's clips; NaN for clips without outputs.
    digest : str
        SHA-256 of the outputs.
    stage : int >= 1
        How many networks taught one another before this one.
    """

    path: Path
    share: float
    values: Array
    digest: str
    stage: int = 1

    def facts(self) -> dict[str, Any]:
        """Return plain values of what is used."""
        return {"share": self.share, "digest": self.digest, "stage": self.stage}

    @property
    def note(self) -> str:
        """How the network was taught, for cards and tables."""
        return (
            f"self-taught, stage {self.stage}: {100 * self.share:g} % labels, the rest an earlier "
            "network's outputs (the rule is ours)"
        )

    def mix(self, targets: Array) -> Array:
        """Return labels, shape (clips, classes), with their share of the outputs."""
        mixed = self.share * targets + (1 - self.share) * self.values
        return np.where(np.isnan(self.values), targets, mixed).astype(np.float32)


def read_soft_labels(path: str | Path, clips: Manifest, share: float, stage: int = 1) -> SoftLabels:
    """Read the outputs of a network for a task's clips.

    Parameters
    ----------
    path : str or pathlib.Path
        A target file, as for :func:`probekit.targets.target_file.read_targets`: a column for each
        class, by name, in the task's order.
    clips : Manifest
        The task's clips.
    share : float, 0 <= share < 1
        Share of the true labels.
    stage : int >= 1
        As for :class:`SoftLabels`.

    Raises
    ------
    ProbekitError
        If the file cannot be read, has other classes, or numbers outside of 0 to 1.
    """
    if not 0 <= share < 1:
        raise ProbekitError(f"--label-share must be from 0 to below 1, got {share:g}")
    path, targets = Path(path), read_targets(path)
    if targets.dim != len(clips.class_names) or (
        targets.names and targets.names != clips.class_names
    ):
        other = [name for name in targets.names if name not in clips.class_names]
        detail = f", such as {summarize_ids(other, 3)}" if other else ""
        raise DataError(
            f"{path}: has {targets.dim:,} columns that are not the {len(clips.class_names):,} "
            f"classes of {clips.name} in their order{detail}; outputs must be of a network that "
            "was trained on this task"
        )
    if targets.values.min() < 0 or targets.values.max() > 1:
        raise DataError(
            f"{path}: must hold probabilities from 0 to 1, got {targets.values.min():g} to "
            f"{targets.values.max():g}"
        )
    rows = targets.match(clips.clip_ids, clips.name, str(path))
    values = np.where(rows[:, None] >= 0, targets.values[rows], np.nan).astype(np.float32)
    return SoftLabels(path, share, values, targets.digest(), stage)
