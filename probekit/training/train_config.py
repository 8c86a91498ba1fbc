"""One run of ``train``: its objective, streams of clips, and initial weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache.training_clips import TrainingClips
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students.base import Student
from probekit.scores.predictions import Predictions
from probekit.tasks.splits import Split
from probekit.training import initial_weights, schedules
from probekit.training.dataloader import TrainBatches
from probekit.training.multi_target import (
    Draw,
    FurtherTargets,
    MultiTarget,
)
from probekit.training.objectives import (
    LABELED,
    UNLABELED,
    Contrastive,
    Objective,
    StudentModel,
    Supervised,
)
from probekit.training.run_config import RunConfig
from probekit.training.state import TrainingHistory
from probekit.training.target_clips import LOSSES, TargetClips
from probekit.training.unlabeled_clips import UnlabeledClips
from probekit.training.weak_labels import SoftLabels, WeakLabels

OBJECTIVES = ("supervised", "contrastive", "weak-labels")
_SECOND_STREAM = 1  # added to a run's seed for the order of unlabeled clips


@dataclass(frozen=True)
class ObjectiveConfig:
    """An objective with its settings, as lee2021 has them by default.

    Attributes
    ----------
    name : {"supervised", "contrastive", "weak-labels"}
        Name, as after ``--objective``.
    weight, temperature, mixing, cross, separate
        As for :class:`probekit.training.objectives.Contrastive`.
    pooling : str
        For ``weak-labels``: pooling of a linear layer on the frames, in place of the network's own
        decoder; empty for the network's own.
    """

    name: str = "supervised"
    weight: float = 0.05
    temperature: float = 0.01
    mixing: bool = True
    cross: bool = False
    separate: bool = True
    pooling: str = ""

    def facts(self) -> dict[str, Any]:
        """Return plain values of all that is used."""
        if self.name == "contrastive":
            return {key: value for key, value in vars(self).items() if key != "pooling"}
        return {"name": self.name, **({"pooling": self.pooling} if self.pooling else {})}

    def describe(self) -> list[str]:
        """Return the name and what differs from the defaults."""
        words = [self.name]
        if self.name == "contrastive":
            default = ObjectiveConfig(self.name)
            words += [f"weight {self.weight:g}"] * (self.weight != default.weight)
            words += [f"tau {self.temperature:g}"] * (self.temperature != default.temperature)
            words += ["without mixing"] * (not self.mixing)
            words += ["cross negatives"] * self.cross
            words += ["one pass"] * (not self.separate)
        return words + [self.pooling] * bool(self.pooling)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """One run of :func:`train`.

    Attributes
    ----------
    objective : ObjectiveConfig
        What is minimized.
    unlabeled : UnlabeledClips or None
        Clips of the second stream; None for the task's own training clips, or none at all.
    init : str
        Extractor of the initial weights; empty for none.
    weights : tuple of (str, str)
        That extractor's weights.
    targets : TargetClips or None
        Targets of a file; None for the task's labels.
    further : tuple of FurtherTargets
        Targets beside these.
    draw : {"epoch", "step"}
        How often one of several targets is drawn.
    soft_labels : SoftLabels or None
        Outputs of an earlier network, mixed with the labels of training clips.
    """

    objective: ObjectiveConfig
    targets: TargetClips | None = None
    further: tuple[FurtherTargets, ...] = ()
    draw: Draw = "epoch"
    unlabeled: UnlabeledClips | None = None
    init: str = ""
    weights: tuple[tuple[str, str], ...] = ()
    soft_labels: SoftLabels | None = None

    @property
    def label(self) -> str:
        """Display label: the name, or else network, objective and what differs from defaults."""
        if self.name:
            return self.name
        words = [self.task.network]
        words += [self.targets.loss] if self.targets else self.objective.describe()
        words += [f"with {' + '.join(each.name for each in self.further)}"] * bool(self.further)
        words += ["drawn by step"] * (self.draw == "step")
        words += schedules.describe_changes(self.recipe, self.task.card.metric)
        if self.task.crop_length != self.task.default_crop_length:
            words.append(f"crop {self.task.crop_length / self.task.audio.sr:g} s")
        if self.init:
            words.append(f"from {self.init}")
        if self.soft_labels:
            words.append(f"stage {self.soft_labels.stage}")
        if self.targets:
            return ", ".join(words) + f" ({self.targets.file})"
        return ", ".join(words) + (f" ({self.unlabeled.name})" if self.unlabeled else "")

    @cached_property
    def init_spec(self) -> Spec | None:
        """Extractor of the initial weights; None without one."""
        if not self.init:
            return None
        return load.resolve_spec(self.init, weights=dict(self.weights), reports=self.task.reports)

    @property
    def own_facts(self) -> dict[str, Any]:
        """Plain values of objective, unlabeled clips and initial weights."""
        unlabeled = self.unlabeled
        return {
            "train": 1,
            **({"targets": self.targets.facts()} if self.targets else {}),
            **self._further_facts,
            **self._soft_facts,
            "objective": self.objective.facts(),
            "unlabeled": {"digest": unlabeled.clips.digest(), "sound": unlabeled.audio.digest}
            if unlabeled
            else None,
            "init": self.init_spec.fingerprint if self.init_spec else "",
        }

    @property
    def _further_facts(self) -> dict[str, Any]:
        """Plain values of further targets, if there are any."""
        if not self.further:
            return {}
        return {"further": [each.facts() for each in self.further], "draw": self.draw}

    @property
    def weights_seed(self) -> int:
        """Seed of the initial weights, another one in each stage of self-teaching."""
        return self.seed + 10_000 * (self.soft_labels.stage if self.soft_labels else 0)

    @property
    def training_notes(self) -> list[str]:
        """Return notes about what is ours in the training of a network."""
        notes = [self.soft_labels.note] if self.soft_labels else []
        if self.task.network.partition(":")[0] == "weanet":
            notes.append("WEANet's network is rebuilt from an outline, its training is ours")
        return notes

    @property
    def is_weakly_labeled(self) -> bool:
        """Whether the objective is ``weak-labels``."""
        return self.objective.name == "weak-labels"

    @property
    def _soft_facts(self) -> dict[str, Any]:
        """Plain values of the outputs of an earlier network, if there are any."""
        return {"soft_labels": self.soft_labels.facts()} if self.soft_labels else {}

    @property
    def train_targets(self) -> Array:
        """Labels by rows of the audio store, with their share of an earlier network's outputs."""
        targets = super().train_targets
        return self.soft_labels.mix(targets) if self.soft_labels else targets

    @property
    def settings(self) -> dict[str, Any]:
        """Entry ``settings`` of the result, but recipe, arithmetic and sizes."""
        return {
            "student": self.task.network,
            "crop": str(self.crop),
            "objective": self.objective.facts(),
            "unlabeled": self.unlabeled.name if self.unlabeled else None,
            "unlabeled_clips": len(self.unlabeled.rows) if self.unlabeled else 0,
            "init": self.init or None,
            **({"targets": self.targets.file, "loss": self.targets.loss} if self.targets else {}),
            **self._further_facts,
            **self._soft_facts,
        }

    @property
    def loss(self) -> str:
        """What is minimized: the loss of the targets, or the task's."""
        return LOSSES[self.targets.loss] if self.targets else super().loss

    def evaluate(self, predictions: Predictions) -> dict[str, Any]:
        """Return the scores of predicted targets with their bounds."""
        return {"evaluation": self.targets.evaluate(predictions)} if self.targets else {}

    def make_objective(self, student: Student) -> Objective:
        """Return the objective, with new weights of its further modules."""
        if self.init_spec is not None:
            weights = dict(self.weights)
            initial_weights.init_from_extractor(student, self.init, weights, self.task.reports)
        target, chosen = self.loss, self.objective
        if self.further:
            return MultiTarget(student, target, self.further, self.draw)
        if chosen.name == "supervised":
            return Supervised(StudentModel(student), target)
        if chosen.name == "weak-labels":
            if chosen.pooling:
                student.classify_frames(chosen.pooling)
            return WeakLabels(student, self.recipe.masks, self.recipe.mixup)
        return Contrastive(
            student,
            target,
            weight=chosen.weight,
            temperature=chosen.temperature,
            mixing=chosen.mixing,
            cross=chosen.cross,
            separate=chosen.separate,
        )

    def make_streams(self, split: Split, student: Student) -> dict[str, TrainBatches]:
        """Return labeled batches, and unlabeled ones where the objective reads some."""
        streams = {LABELED: self.labeled_batches(split)}
        for k, each in enumerate(self.further):
            streams[each.stream] = TrainBatches(
                self.task.audio,
                None,
                each.values,
                self.task.audio_rows[self._train_rows(each, split)],
                self.task.crop_length,
                self.recipe.batch_size,
                self.seed + _SECOND_STREAM + k,
                pin=self.pins_memory,
            )
        if self.objective.name == "contrastive":
            own_rows = self.task.audio_rows[split.train]
            audio = self.unlabeled.audio if self.unlabeled else self.task.audio
            streams[UNLABELED] = TrainBatches(
                audio,
                None,
                np.zeros(len(audio.clip_ids), np.int64),
                self.unlabeled.rows if self.unlabeled else own_rows,
                self.task.crop_length,
                self.recipe.unlabeled_batch_size,
                self.seed + _SECOND_STREAM,
                pin=self.pins_memory,
                drop_last=True,
            )
        return streams

    def _train_rows(self, targets: FurtherTargets, split: Split) -> Array:
        """Return the training clips of a fold, as rows of the clips with audio, with a target."""
        has_target = targets.has_target[self.task.audio_rows]
        return replace(targets, has_target=has_target).train_rows(self.task.clips, split)

    def check_further(self) -> None:
        """Raise a DataError if further targets do not suit a fold, before anything is trained."""
        for split in self.splits:
            for each in self.further:
                self._train_rows(each, split)

    def provenance(self, histories: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return the notes that must be shown beside the score."""
        names = ["loss", *(each.name for each in self.further)] if self.further else []
        seen = {name for history in histories for epoch in history.epochs for name in epoch}
        never = [name for name in names if name not in seen] if histories else []
        notes = super().provenance(histories)
        return [*notes, *(f"target {name} was drawn in no epoch" for name in never)]

    def source_notes(self) -> list[str]:
        """Return notes about data and initial weights."""
        notes = super().source_notes()
        notes += self.targets.notes if self.targets else ()
        notes += [f"further {each.note}" for each in self.further]
        if self.unlabeled is not None:
            notes += self.unlabeled.notes(self.task, self.splits)
        if self.init_spec is not None:
            notes += [f"initialized with {note}" for note in self.init_spec.provenance]
        return notes

    def collect_training_clips(self, split: Split) -> TrainingClips:
        """Return the clips that a fold's network is trained and selected on."""
        clips = super().collect_training_clips(split)
        if self.unlabeled is None:
            return clips
        ids = np.array(self.unlabeled.clips.clip_ids)[self.unlabeled.rows]
        return clips.merged_with(
            TrainingClips({("trained", self.unlabeled.clips.name): frozenset(map(str, ids))})
        )
