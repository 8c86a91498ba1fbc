"""Configuration of one distillation run: method, teachers and initial weights."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probekit.cache.training_clips import TrainingClips
from probekit.distillation import methods, provenance, regularizers
from probekit.distillation.distillation_task import DistillationTask
from probekit.distillation.methods import Method
from probekit.distillation.teachers import ALIGNMENTS, Teachers
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students.base import Student
from probekit.scores.store import Source
from probekit.tasks.splits import Split
from probekit.training import initial_weights, schedules
from probekit.training.objectives import Objective, Supervised
from probekit.training.run_config import RunConfig


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(RunConfig):
    """One run: a student, a method, a share of the labels, and a seed.

    Attributes
    ----------
    task : DistillationTask
        Task, audio and settings that several runs share.
    method : Method
        How teachers are used.
    """

    task: DistillationTask
    method: Method

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

    @property
    def own_facts(self) -> dict[str, Any]:
        """Plain values of method, teachers and initial weights."""
        return {
            "distill": 2,
            "method": self.method.name,
            "alpha": self.method.alpha,
            "teachers": {
                "are": self._teacher_names(),
                "digest": self.teachers.digest() if self.teachers else "",
            },
            "alignment": self.task.alignment if self.method.needs_teacher else "",
            "init": self.init_spec.fingerprint if self.init_spec else "",
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Entry ``settings`` of the result, but recipe, arithmetic and sizes."""
        task = self.task
        return {
            "student": task.student,
            "crop": str(self.crop),
            "method": self.method.name,
            "alpha": self.method.alpha if self.method.regularizes else None,
            "teachers": list(task.teachers),
            "features": self.teachers.dim if self.teachers else 0,
            "alignment": task.alignment if self.method.needs_teacher else None,
            "init": task.init or None,
        }

    @property
    def sources(self) -> list[Source]:
        """The teachers' embeddings."""
        return self.teachers.sources if self.teachers else []

    @property
    def source_names(self) -> tuple[str, ...]:
        """Teachers as the user wrote them."""
        return self.task.teachers

    @property
    def train_frames(self) -> Teachers | None:
        """Teachers."""
        return self.teachers

    @property
    def scoring_frames(self) -> Teachers | None:
        """Teachers, where predictions need them."""
        return self.teachers if self.method.needs_teacher_at_inference else None

    @property
    def saves_extractor(self) -> bool:
        """Whether predictions need no teacher."""
        return not self.method.needs_teacher_at_inference

    def make_objective(self, student: Student) -> Objective:
        """Return the task's loss with the method's regularizer."""
        task, teachers = self.task, self.teachers
        if self.init_spec is not None:
            initial_weights.init_from_extractor(student, task.init, task.weights, task.reports)
        penalty = methods.build_penalty(
            self.method, teachers, student, task.clips.target, task.clips.class_names
        )
        model = methods.build_model(self.method, student, teachers.dim if teachers else 0)
        return Supervised(model, task.clips.target, penalty, self.method.alpha)

    def source_notes(self) -> list[str]:
        """Return notes about data, teachers and initial weights."""
        notes = super().source_notes()
        notes += self.teachers.provenance if self.teachers else []
        init_notes = self.init_spec.provenance if self.init_spec else []
        notes += [f"initialized with {note}" for note in init_notes]
        return notes + provenance.missing_record_notes(self.teachers, self.init_spec)

    def contamination_notes(self) -> list[str]:
        """Return notes about clips without frames, and on what students among the sources know."""
        notes = []
        if self.teachers and self.method.reads_frames:
            notes += self.teachers.clip_level_notes
        return notes + provenance.contamination_notes(
            self.task, self.splits, self.teachers, self.init_spec
        )

    def collect_training_clips(self, split: Split) -> TrainingClips:
        """Return the clips of training and selection, and those that sources were trained on."""
        return provenance.inherit_training_clips(
            super().collect_training_clips(split), self.teachers, self.init_spec
        )

    def _teacher_names(self) -> list[str]:
        """Return the teachers with their fingerprints."""
        return [
            f"{s['extractor']}@{s['fingerprint'][:8]}:stream={s['stream']}"
            for s in (self.teachers.sources if self.teachers else [])
        ]
