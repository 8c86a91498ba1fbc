"""One training run: its settings, its id, and the notes beside its score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probekit._typing import Array
from probekit.cache import training_clips
from probekit.cache.training_clips import TrainingClips
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.metrics import metrics, per_class
from probekit.metrics.metrics import Metric
from probekit.parallel import resources
from probekit.scores import pieces, result_builder, store
from probekit.scores.predictions import Predictions
from probekit.scores.store import Source
from probekit.tasks import leakage, subsample
from probekit.tasks.splits import Split
from probekit.training import dataloader, run_folder
from probekit.training.class_rounds import ClassRounds, refuse_unlabeled
from probekit.training.dataloader import FrameSource, TrainBatches
from probekit.training.objectives import LABELED, Objective
from probekit.training.schedules import TrainingRecipe
from probekit.training.state import EvaluationSet, TrainingHistory, TrainingJob
from probekit.training.task_data import TrainingTask

_INTERVAL = [0.95, 1000, 0, 2]
"""Part of a training's name: that of the first trainings, since how a score is judged is no reason
to train again."""

_FRONTEND_BATCH = 32


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


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run: a network, an objective, a share of the labels, and a seed; the base of all kinds.

    Attributes
    ----------
    task : TrainingTask
        Task, audio and settings that several runs share.
    recipe : TrainingRecipe
        How the network is trained.
    fraction : float
        Share of the training labels.
    seed : int
        Seed of initial weights, order, crops, dropout, and the subsample of labels.
    folds : tuple of str
        Names of folds; all if empty.
    trainer : TrainerConfig
        Devices and arithmetic.
    name : str
        Label instead of the settings.
    """

    task: TrainingTask
    recipe: TrainingRecipe
    fraction: float = 1.0
    seed: int = 0
    folds: tuple[str, ...] = ()
    trainer: TrainerConfig = TrainerConfig()
    name: str = ""

    # ---- what kinds of runs differ in

    @property
    def label(self) -> str:
        """Display label: the name, or else the settings."""
        raise NotImplementedError

    @property
    def own_facts(self) -> dict[str, Any]:
        """Plain values of what this kind of run adds to :attr:`facts`."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """Entry ``settings`` of the result, but recipe, arithmetic and sizes."""
        raise NotImplementedError

    def make_objective(self, student: Student) -> Objective:
        """Return what is minimized, with new weights of all further modules."""
        raise NotImplementedError

    def make_streams(self, split: Split, student: Student) -> dict[str, TrainBatches]:
        """Return the streams of batches of a fold."""
        return {LABELED: self.labeled_batches(split)}

    @property
    def loss(self) -> str:
        """What is minimized, as ``target`` of :func:`probekit.training.losses.task_loss`."""
        return self.task.clips.target

    def evaluate(self, predictions: Predictions) -> dict[str, Any]:
        """Return further entries of the result's settings, from the predictions of test clips."""
        return {}

    @property
    def sources(self) -> list[Source]:
        """Embeddings that go into the run."""
        return []

    @property
    def source_names(self) -> tuple[str, ...]:
        """Embeddings that go into the run, as the user wrote them."""
        return ()

    @property
    def train_frames(self) -> FrameSource | None:
        """Frames that are read beside the audio of training clips."""
        return None

    @property
    def scoring_frames(self) -> FrameSource | None:
        """Frames that are read beside the audio of clips to be scored."""
        return None

    @property
    def weights_seed(self) -> int:
        """Seed of the initial weights."""
        return self.seed

    @property
    def training_notes(self) -> list[str]:
        """Return notes about how the network was trained that its card must state."""
        return []

    @property
    def is_weakly_labeled(self) -> bool:
        """Whether the network learns from labels of clips, through outputs of frames."""
        return False

    @property
    def saves_extractor(self) -> bool:
        """Whether the trained network is an extractor."""
        return True

    def source_notes(self) -> list[str]:
        """Return notes about data, and all that the network was made from."""
        return list(self.task.clips.provenance)

    def contamination_notes(self) -> list[str]:
        """Return notes about test clips that sources of the run were trained on."""
        return []

    def collect_training_clips(self, split: Split) -> TrainingClips:
        """Return the clips that a fold's network is trained and selected on, or inherits."""
        ids, dataset = self.task.clips.column("clip_id"), self.task.card.dataset
        return TrainingClips(
            {
                (training_clips.TRAINED, dataset): frozenset(map(str, ids[split.train])),
                (training_clips.SELECTED, dataset): frozenset(map(str, ids[split.valid])),
            }
        )

    # ---- what they have in common

    @cached_property
    def splits(self) -> list[Split]:
        """Training, validation and test clips of each fold."""
        validate = self.recipe.select != "last"
        return self.task.make_splits(self.fraction, self.seed, self.folds, validate=validate)

    def build_student(self) -> Student:
        """Return the network, with weights drawn from torch's generator."""
        return zoo.build_student(self.task.network, len(self.task.clips.class_names))

    @property
    def crop(self) -> Fraction:
        """Length of the network's input in s."""
        return Fraction(self.task.crop_length, self.build_student().rate)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Plain values of all that decides the result; they name the run."""
        task, card = self.task, self.task.card
        return {
            **self.own_facts,
            "task": card.name,
            "protocol": card.protocol.model_dump(mode="json", exclude={"description"}),
            "metric": [card.metric, *card.also],
            "manifest": task.all_clips.digest(),
            "clips": store.run_id({"ids": task.clips.clip_ids}),
            "sound": task.audio.digest,
            "expected": task.n_expected_clips,
            "student": task.network,
            "samples": task.crop_length,
            "recipe": self.recipe.facts(),
            "fraction": self.fraction,
            **subsample.draw_facts(self.fraction, card.protocol),
            **pieces.id_facts(card),
            "seed": self.seed,
            "folds": [split.name for split in self.splits],
            "precision": self.trainer.precision,
            "devices": self.trainer.devices,
            "interval": _INTERVAL,
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
        """Return the folder of the trained network of each fold."""
        return [
            reports / "students" / run_folder.folder_name(self.id, split.name, len(self.splits))
            for split in self.splits
        ]

    def make_job(self, split: Split) -> tuple[Student, TrainingJob]:
        """Return a fold's network with its initial weights, and the inputs of its training."""
        task, recipe = self.task, self.recipe
        metric = metrics.get_metric(task.card.metric)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.weights_seed)
            student = self.build_student()
            student.fit_frontend(self._frontend_waves(split, student.frontend_clips))
            objective = self.make_objective(student)
        valid = self._evaluation_set(split.valid) if len(split.valid) else None
        is_defined = is_metric_defined(metric, task.targets[split.valid], task)
        job = TrainingJob(
            objective=objective,
            streams=self.make_streams(split, student),
            recipe=recipe,
            metric=metric,
            target=self.loss,
            n_classes=len(task.clips.class_names),
            valid=valid,
            test=self._evaluation_set(split.test) if recipe.score_test else None,
            select=recipe.select if is_defined or recipe.select == "last" else "loss",
            seed=self.seed,
        )
        return student, job

    def _frontend_waves(self, split: Split, most: int) -> Iterator[torch.Tensor]:
        """Return crops that cover a fold's training clips, or so many of them, evenly spread."""
        rows = self.task.audio_rows[split.train]
        step = -(-len(rows) // most)
        batches = dataloader.evaluation_batches(
            self.task.audio, None, rows[::step], self.task.crop_length, _FRONTEND_BATCH
        )
        return (batch.waves for batch in batches)

    def labeled_batches(self, split: Split) -> TrainBatches:
        """Return batches of a fold's training clips."""
        return TrainBatches(
            self.task.audio,
            self.train_frames,
            self.train_targets,
            self.task.audio_rows[split.train],
            self.task.crop_length,
            self.recipe.batch_size,
            self.seed,
            pin=self.pins_memory,
            rounds=self._class_rounds(split),
            steps_per_epoch=self.recipe.steps,
        )

    @property
    def train_targets(self) -> Array:
        """What training clips are to be, by rows of the audio store."""
        return self.task.targets_by_row

    def _class_rounds(self, split: Split) -> ClassRounds | None:
        """Return the order by class of a fold's training clips; None for each clip once."""
        if self.recipe.sampler != "rounds":
            return None
        targets, ids = self.task.targets[split.train], self.task.clips.column("clip_id")
        refuse_unlabeled(ids[split.train], targets, self.recipe.name)
        places = self.task.audio.places[self.task.audio_rows[split.train]]
        return ClassRounds(targets, self.seed, places)

    @property
    def pins_memory(self) -> bool:
        """Whether batches are in page-locked memory, for CUDA."""
        return resources.resolve_device(self.trainer.device).type == "cuda"

    def _evaluation_set(self, rows: Array) -> EvaluationSet:
        """Return the chunks of clips to score, given by rows of the task's clips."""
        task, recipe = self.task, self.recipe
        batches = partial(
            dataloader.evaluation_batches,
            task.audio,
            self.scoring_frames,
            task.audio_rows[rows],
            task.crop_length,
            recipe.batch_size,
            recipe.chunk_policy,
            pin=self.pins_memory,
        )
        return EvaluationSet(batches, task.audio_rows[rows], task.targets[rows])

    def provenance(self, histories: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return the notes that must be shown beside the score.

        Parameters
        ----------
        histories : sequence of TrainingHistory
            Of the folds, after training.
        """
        notes = self.source_notes() + self.contamination_notes()
        notes += result_builder.torn_group_notes(self.task.clips, self.splits)
        notes += leakage.shared_clip_notes(self.task.clips, self.splits)
        if self.folds:
            notes.append(f"fold {', '.join(split.name for split in self.splits)} only")
        notes += self.completeness_notes() + self.unscored_class_notes()
        if any(not history.best_epoch for history in histories):
            notes.append("no epoch was good enough to be kept: the last one is scored")
        return list(dict.fromkeys(notes))

    def persistent_notes(self, histories: Sequence[TrainingHistory] = ()) -> list[str]:
        """Return the notes that must be shown beside every score from the trained network.

        Without those that hold for this run's score only: its folds, and contamination of its test
        clips.

        Parameters
        ----------
        histories : sequence of TrainingHistory
            Of the folds, after training.
        """
        notes = self.source_notes()
        notes += [f"its student: {note}" for note in self.completeness_notes()]
        if any(not history.best_epoch for history in histories):
            notes.append("its student: no epoch was good enough to be kept, it is the last one")
        return list(dict.fromkeys(notes))

    def completeness_notes(self) -> list[str]:
        """Return notes about missing clips and classes without training clips."""
        task, notes = self.task, []
        if len(task.clips) < task.n_expected_clips:
            notes.append(f"{len(task.clips):,} of {task.n_expected_clips:,} clips")
        unseen = self.untrained_classes()
        if unseen:
            notes.append(per_class.unseen_classes_note(unseen))
        return notes

    def unscored_class_notes(self) -> list[str]:
        """Return notes about tags that no validation clip has, and those that no test clip has.

        Means over classes leave them out.
        """
        task, notes = self.task, []
        for subset, rows in (
            ("validation", [split.valid for split in self.splits if len(split.valid)]),
            ("test", [split.test for split in self.splits]),
        ):
            if rows:
                notes += per_class.untested_class_notes(task.clips, task.targets, rows, subset)
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


def is_metric_defined(metric: Metric, targets: Array, task: TrainingTask) -> bool:
    """Tell whether a metric is defined for the targets of some clips.

    It is not if there are no clips, or too few classes among them.
    """
    scores = np.full((len(targets), len(task.clips.class_names)), 0.5)
    if task.clips.target == "regression":
        scores = scores + np.arange(len(targets))[:, None]
    return bool(len(targets)) and bool(np.isfinite(metric.score(targets, scores)))
