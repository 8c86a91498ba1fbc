"""Configuration of one distillation run, its id, and the notes beside its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit.distillation import provenance, regularizers
from probekit.distillation.methods import Method
from probekit.distillation.task_data import DistillationTask
from probekit.distillation.teachers import ALIGNMENTS, Teachers
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.metrics import bootstrap, per_class
from probekit.scores import result_builder, store
from probekit.tasks import leakage, subsample
from probekit.tasks.splits import Split
from probekit.training import run_folder, schedules
from probekit.training.schedules import TrainingRecipe
from probekit.training.state import TrainingHistory


@dataclass(frozen=True)
class TrainerConfig:
    """Devices and arithmetic of a training.

    Attributes
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        Number of devices of that kind.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    """

    device: str = "auto"
    devices: int = 1
    precision: str = "32"


@dataclass(frozen=True)
class DistillationConfig:
    """One run: a student, a method, a share of the labels, and a seed.

    Attributes
    ----------
    task : DistillationTask
        Task, audio and settings that several runs share.
    method : Method
        How teachers are used.
    recipe : TrainingRecipe
        How the student is trained.
    fraction : float
        Share of the training labels.
    seed : int
        Seed of initial weights, order, crops, dropout, and the subsample of labels.
    folds : tuple of str
        Names of folds; all if empty.
    trainer : TrainerConfig
        Devices and arithmetic.
    name : str
        Label instead of method, settings and teachers.
    """

    task: DistillationTask
    method: Method
    recipe: TrainingRecipe
    fraction: float = 1.0
    seed: int = 0
    folds: tuple[str, ...] = ()
    trainer: TrainerConfig = TrainerConfig()
    name: str = ""

    @property
    def label(self) -> str:
        """Display label: the name, or else method, settings and teachers."""
        if self.name:
            return self.name
        task, alpha = self.task, self.method.alpha
        words = [self.method.name]
        if self.method.regularizes and alpha != regularizers.default_alpha(self.method.name):
            words.append(f"alpha {alpha:g}")
        words += schedules.describe_changes(self.recipe, task.card.metric)
        if task.crop_length != task.default_crop_length:
            words.append(f"crop {task.crop_length / task.audio.sr:g} s")
        if self.method.needs_teacher and task.alignment != ALIGNMENTS[0]:
            words.append(f"alignment {task.alignment}")
        sources = " + ".join(self.teachers.display_names) if self.teachers else task.init
        return ", ".join(words) + (f" ({sources})" if sources else "")

    @cached_property
    def splits(self) -> list[Split]:
        """Training, validation and test clips of each fold."""
        return self.task.make_splits(self.fraction, self.seed, self.folds)

    @cached_property
    def teachers(self) -> Teachers | None:
        """Teachers, opened for the clips that they are needed for; None without any."""
        if not self.method.needs_teacher:
            return None
        parts = ("train", "valid", "test") if self.method.needs_teacher_at_inference else ("train",)
        rows = [getattr(split, part) for split in self.splits for part in parts]
        return self.task.open_teachers(np.unique(np.concatenate(rows)))

    @cached_property
    def init_spec(self) -> Spec | None:
        """Extractor of the initial weights; None without one."""
        task = self.task
        if not task.init:
            return None
        return load.resolve_spec(task.init, weights=dict(task.weights), reports=task.reports)

    def build_student(self) -> Student:
        """Return the student, with weights drawn from torch's generator."""
        return zoo.build_student(self.task.student, len(self.task.clips.class_names))

    @property
    def crop(self) -> Fraction:
        """Length of the student's input in s."""
        return Fraction(self.task.crop_length, self.build_student().rate)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Plain values of all that decides the result; they name the run."""
        task, card = self.task, self.task.card
        return {
            "distill": 2,
            "task": card.name,
            "protocol": card.protocol.model_dump(mode="json", exclude={"description"}),
            "metric": [card.metric, *card.also],
            "manifest": task.all_clips.digest(),
            "clips": store.run_id({"ids": task.clips.clip_ids}),
            "sound": task.audio.digest,
            "expected": task.n_expected_clips,
            "student": task.student,
            "samples": task.crop_length,
            "method": self.method.name,
            "alpha": self.method.alpha,
            "teachers": {
                "are": self._teacher_names(),
                "digest": self.teachers.digest() if self.teachers else "",
            },
            "alignment": task.alignment if self.method.needs_teacher else "",
            "init": self.init_spec.fingerprint if self.init_spec else "",
            "recipe": self.recipe.facts(),
            "fraction": self.fraction,
            **subsample.draw_facts(self.fraction, card.protocol),
            "seed": self.seed,
            "folds": [split.name for split in self.splits],
            "precision": self.trainer.precision,
            "devices": self.trainer.devices,
            "interval": bootstrap.CI_METHOD,
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of the facts."""
        return store.run_id(self.facts)

    def path(self, reports: Path) -> Path:
        """Return the path of the result."""
        return store.result_path(reports, self.task.card.name, self.label, self.id)

    def result_paths(self, reports: Path) -> list[Path]:
        """Return the existing results of this run; the one with its own label comes first."""
        path = self.path(reports)
        candidates = sorted(path.parent.glob(f"*-{self.id[:12]}.json"), key=lambda p: p != path)
        results = [(candidate, store.load_if_complete(candidate)) for candidate in candidates]
        return [candidate for candidate, result in results if result and result["run"] == self.id]

    def student_folders(self, reports: Path) -> list[Path]:
        """Return the folder of the trained student of each fold."""
        return [
            reports / "students" / run_folder.folder_name(self.id, split.name, len(self.splits))
            for split in self.splits
        ]

    def provenance(self, histories: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return the notes that must be shown beside the score.

        Parameters
        ----------
        histories : sequence of TrainingHistory
            Of the folds, after training.
        """
        notes = self._source_notes()
        if self.teachers and self.method.reads_frames:
            notes += self.teachers.clip_level_notes
        notes += provenance.contamination_notes(
            self.task, self.splits, self.teachers, self.init_spec
        )
        notes += result_builder.torn_group_notes(self.task.clips, self.splits)
        notes += leakage.shared_clip_notes(self.task.clips, self.splits)
        if self.folds:
            notes.append(f"fold {', '.join(split.name for split in self.splits)} only")
        notes += self._completeness_notes()
        if any(not history.best_epoch for history in histories):
            notes.append("no epoch was good enough to be kept: the last one is scored")
        return list(dict.fromkeys(notes))

    def persistent_notes(self, histories: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return the notes that must be shown beside every score from the trained student.

        Without those that hold for this run's score only: its folds, and contamination of its test
        clips.

        Parameters
        ----------
        histories : sequence of TrainingHistory
            Of the folds, after training.
        """
        notes = self._source_notes()
        notes += [f"its student: {note}" for note in self._completeness_notes()]
        if any(not history.best_epoch for history in histories):
            notes.append("its student: no epoch was good enough to be kept, it is the last one")
        return list(dict.fromkeys(notes))

    def _source_notes(self) -> list[str]:
        """Return notes about data, teachers and initial weights."""
        notes = list(self.task.clips.provenance)
        notes += self.teachers.provenance if self.teachers else []
        init_notes = self.init_spec.provenance if self.init_spec else []
        notes += [f"initialized with {note}" for note in init_notes]
        return notes + provenance.missing_record_notes(self.teachers, self.init_spec)

    def _completeness_notes(self) -> list[str]:
        """Return notes about missing clips and classes without training clips."""
        task, notes = self.task, []
        if len(task.clips) < task.n_expected_clips:
            notes.append(f"{len(task.clips):,} of {task.n_expected_clips:,} clips")
        unseen = self.untrained_classes()
        if unseen:
            notes.append(per_class.unseen_classes_note(unseen))
        return notes

    def untrained_classes(self) -> list[str]:
        """Return classes that have test clips but no training clips in some fold."""
        task = self.task
        if task.clips.target == "regression":
            return []
        return sorted(
            {
                name
                for s in self.splits
                for name in per_class.unseen_classes(task.clips, task.targets, s.train, s.test)
            }
        )

    def _teacher_names(self) -> list[str]:
        """Return the teachers with their fingerprints."""
        return [
            f"{s['extractor']}@{s['fingerprint'][:8]}:stream={s['stream']}"
            for s in (self.teachers.sources if self.teachers else [])
        ]
