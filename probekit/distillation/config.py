"""One run: a student, a method, a share of the labels, a seed; and what names it."""

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
from probekit.extractors.students.zoo import Student
from probekit.metrics import bootstrap, per_class
from probekit.scores import store
from probekit.tasks.splits import Split
from probekit.training import run_folder, schedules
from probekit.training.schedules import TrainingRecipe
from probekit.training.state import TrainingHistory


@dataclass(frozen=True)
class TrainerConfig:
    """Where a student is trained.

    Attributes
    ----------
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        How many of that kind.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    """

    device: str = "auto"
    devices: int = 1
    precision: str = "32"


@dataclass(frozen=True)
class DistillationConfig:
    """What is asked for.

    Attributes
    ----------
    given : Given
        What several runs share.
    method : Method
        How teachers are used.
    recipe : Recipe
        How it is trained.
    fraction : float
        Share of the training labels.
    seed : int
        Of first weights, order, crops, dropout, and which labels these are.
    folds : tuple of str
        Some of the task's folds; all where empty.
    machine : Machine
        Where.
    name : str
        What to call it instead of by its method and teachers.
    """

    given: DistillationTask
    method: Method
    recipe: TrainingRecipe
    fraction: float = 1.0
    seed: int = 0
    folds: tuple[str, ...] = ()
    machine: TrainerConfig = TrainerConfig()
    name: str = ""

    @property
    def label(self) -> str:
        """What people call it: the name that was given, or method, settings and teachers."""
        if self.name:
            return self.name
        given, alpha = self.given, self.method.alpha
        words = [self.method.name]
        if self.method.regularizes and alpha != regularizers.alpha(self.method.name):
            words.append(f"alpha {alpha:g}")
        words += schedules.changes(self.recipe, given.card.metric)
        if given.samples != given.usual:
            words.append(f"crop {given.samples / given.sound.rate:g} s")
        if self.method.needs_teacher and given.alignment != ALIGNMENTS[0]:
            words.append(f"alignment {given.alignment}")
        of = " + ".join(self.teachers.display_names) if self.teachers else given.init
        return ", ".join(words) + (f" ({of})" if of else "")

    @cached_property
    def splits(self) -> list[Split]:
        """Rows to train on, to choose by and to score, of each fold."""
        return self.given.make_splits(self.fraction, self.seed, self.folds)

    @cached_property
    def teachers(self) -> Teachers | None:
        """The teachers, opened for the clips that they are needed for; None without any."""
        if not self.method.needs_teacher:
            return None
        parts = ("train", "valid", "test") if self.method.needs_teacher_at_inference else ("train",)
        rows = [getattr(split, part) for split in self.splits for part in parts]
        return self.given.open_teachers(np.unique(np.concatenate(rows)))

    @cached_property
    def first(self) -> Spec | None:
        """The extractor whose weights come first; None without one."""
        given = self.given
        return load.resolve_spec(given.init, weights=dict(given.weights), reports=given.reports) \
            if given.init else None  # fmt: skip

    @property
    def crop(self) -> Fraction:
        """Seconds that the student hears at once."""
        return Fraction(self.given.samples, self.student().rate)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """All that decides the result, in plain values."""
        given, card = self.given, self.given.card
        return {
            "distill": 2,
            "task": card.name,
            "protocol": card.protocol.model_dump(mode="json", exclude={"description"}),
            "metric": [card.metric, *card.also],
            "manifest": given.whole.digest(),
            "clips": store.run_id({"ids": given.clips.clip_ids}),
            "sound": given.sound.digest,
            "expected": given.n_expected_clips,
            "student": given.student,
            "samples": given.samples,
            "method": self.method.name,
            "alpha": self.method.alpha,
            "teachers": {
                "are": self._named(),
                "digest": self.teachers.digest() if self.teachers else "",
            },
            "alignment": given.alignment if self.method.needs_teacher else "",
            "init": self.first.fingerprint if self.first else "",
            "recipe": self.recipe.facts(),
            "fraction": self.fraction,
            "seed": self.seed,
            "folds": [split.name for split in self.splits],
            "precision": self.machine.precision,
            "devices": self.machine.devices,
            "interval": bootstrap.CI_METHOD,
        }

    @cached_property
    def id(self) -> str:
        """SHA-256 of what goes in."""
        return store.run_id(self.facts)

    def path(self, reports: Path) -> Path:
        """Return where the result will be."""
        return store.path_of(reports, self.given.card.name, self.label, self.id)

    def result_paths(self, reports: Path) -> list[Path]:
        """Return where the result is, under whichever label; its own comes first."""
        own = self.path(reports)
        there = sorted(own.parent.glob(f"*-{self.id[:12]}.json"), key=lambda path: path != own)
        found = [(path, store.load_if_complete(path)) for path in there]
        return [path for path, result in found if result and result["run"] == self.id]

    def student_dirs(self, reports: Path) -> list[Path]:
        """Return where the trained students are, or will be, one a fold."""
        count = len(self.splits)
        return [
            reports / "students" / run_folder.student_id(self.id, split.name, count)
            for split in self.splits
        ]

    def provenance(self, courses: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return what must be shown beside the score.

        Parameters
        ----------
        courses : sequence of Course
            Of the folds, once they are trained.

        Returns
        -------
        list of str
            In words: stand-in data, random weights, clips and classes that are missing.
        """
        said = self._inherited()
        if self.teachers and self.method.reads_frames:
            said += self.teachers.clip_level
        said += provenance.notes(self.given, self.splits, self.teachers, self.first)
        if self.folds:
            said.append(f"fold {', '.join(split.name for split in self.splits)} only")
        said += self._incomplete()
        if any(not one.best for one in courses):
            said.append("no epoch was good enough to be kept: the last one is scored")
        return list(dict.fromkeys(said))

    def persistent_notes(self, courses: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return what must be shown beside every score from the trained student.

        Not what holds for the score of this run alone: which folds it has, and which of its test
        clips a teacher knows.

        Parameters
        ----------
        courses : sequence of Course
            Of the folds, once they are trained.

        Returns
        -------
        list of str
            In words.
        """
        said = self._inherited()
        said += [f"its student: {text}" for text in self._incomplete()]
        if any(not one.best for one in courses):
            said.append("its student: no epoch was good enough to be kept, it is the last one")
        return list(dict.fromkeys(said))

    def _inherited(self) -> list[str]:
        """Say what is to be known of data, teachers and first weights."""
        said = list(self.given.clips.provenance)
        said += self.teachers.provenance if self.teachers else []
        said += [f"begun with {text}" for text in (self.first.provenance if self.first else [])]
        return said + provenance.unknown(self.teachers, self.first)

    def _incomplete(self) -> list[str]:
        """Say which clips and classes it was not trained on."""
        given, said = self.given, []
        if len(given.clips) < given.n_expected_clips:
            said.append(f"{len(given.clips):,} of {given.n_expected_clips:,} clips")
        unseen = self.untrained_classes()
        if unseen:
            more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
            said.append(f"never in training: {', '.join(unseen[:5])}{more}")
        return said

    def untrained_classes(self) -> list[str]:
        """Return classes that are tested but never in training, in some fold."""
        given = self.given
        if given.clips.target == "regression":
            return []
        return sorted(
            {
                name
                for s in self.splits
                for name in per_class.unseen_classes(given.clips, given.targets, s.train, s.test)
            }
        )

    def student(self) -> Student:
        """Return the student, with weights drawn by torch's generator."""
        return zoo.build(self.given.student, len(self.given.clips.names))

    def _named(self) -> list[str]:
        """Return the teachers with their fingerprints."""
        return [
            f"{s['extractor']}@{s['fingerprint'][:8]}:stream={s['stream']}"
            for s in (self.teachers.sources if self.teachers else [])
        ]
