"""Training of networks on audio, from labels and from unlabeled sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.cache.layout import cache_root
from probekit.cache.training_clips import TrainingClips
from probekit.errors import ProbekitError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.students import zoo
from probekit.extractors.students.base import Student
from probekit.extractors.weights.source import validate_overrides
from probekit.scores import store
from probekit.scores.predictions import Predictions
from probekit.scores.store import Result
from probekit.tasks.splits import Split
from probekit.tasks.task_clips import resolve_clips
from probekit.training import initial_weights, schedules, task_data
from probekit.training.dataloader import TrainBatches
from probekit.training.multi_target import (
    Draw,
    FurtherTargets,
    MultiTarget,
    check_draw,
    read_further_targets,
    with_branches,
)
from probekit.training.objectives import (
    LABELED,
    UNLABELED,
    Contrastive,
    Objective,
    StudentModel,
    Supervised,
)
from probekit.training.run_config import RunConfig, TrainerConfig
from probekit.training.runner import Progress, Runner, check_options
from probekit.training.state import TrainingHistory
from probekit.training.target_clips import LOSSES, TargetClips, check_alone, with_targets
from probekit.training.unlabeled_clips import OWN_CLIPS, UnlabeledClips, open_unlabeled
from probekit.training.weak_labels import SoftLabels, WeakLabels, check_weak_labels, with_pooling
from probekit.utils.suggest import unknown_name_error

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
            words.append(f"taught by {self.soft_labels.path.parent.name}")
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


def train(
    task: str,
    network: str,
    *,
    objective: str = "supervised",
    targets: str | Path = "",
    also: Sequence[str | Path] = (),
    draw: Draw = "epoch",
    loss: str = "",
    unit_length: bool = False,
    pooling: str = "",
    unlabeled: str = "",
    unlabeled_root: str | Path | None = None,
    allow_overlap: bool = False,
    weight: float = 0.05,
    temperature: float = 0.01,
    mixing: bool = True,
    cross: bool = False,
    separate: bool = True,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    recipe: str = "default",
    epochs: int | None = None,
    warm_up: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    steps: int | None = None,
    parts: str | Path = "",
    crop: float | None = None,
    init: str = "",
    weights: Sequence[str] = (),
    fractions: Sequence[float] = (1.0,),
    seeds: int = 1,
    folds: Sequence[str] = (),
    device: str = "auto",
    devices: int = 1,
    precision: str = "32",
    name: str = "",
    again: bool = False,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Result]:
    """Train a network on a task's audio, and score it under the task's own protocol.

    Results are stored beside those of probes, with the losses and scores of every epoch. Finished
    runs are not repeated, and an interrupted run is resumed after its last finished epoch. A
    trained network is an extractor, ``runs/ID``.

    Parameters
    ----------
    task : str
        Name of a task, path of a task card (YAML) or of a table (CSV), or name of an extracted
        folder.
    network : str
        ``"resnet50v2"``, ``"short-chunk:width=32"``, ``"harmonic-cnn"``, ``"cf-net"``, or
        ``"module:Class"``; see :mod:`probekit.extractors.students.zoo`.
    objective : {"supervised", "contrastive", "weak-labels"}
        The task's loss; or with it the contrastive loss of lee2021, on labeled and unlabeled clips;
        or labels of clips, learned through outputs of frames that are pooled over time. Recipes of
        weak labels imply the latter.
    targets : str or pathlib.Path
        A table of vectors or distributions by clip id, which the network learns instead of the
        task's labels: a target file of ``probekit targets``, ``.npz``, ``.parquet`` or ``.csv``;
        see :func:`probekit.targets.target_file.read_targets`. The recipe ``default`` is then
        ``lee2019``.
    also : sequence of str or pathlib.Path
        Further target files, which the network learns beside labels or ``targets``: one of them is
        drawn for every epoch. ``artist-net`` shares its first convolution and has a branch for
        each, whose embeddings are put side by side; other networks share the encoder. Each target
        has an optimizer of its own.
    draw : {"epoch", "step"}
        How often one of several targets is drawn, with equal probabilities.
    loss : {"", "mse", "cosine", "cross-entropy"}
        Of targets; by default ``mse`` for vectors, ``cross-entropy`` for distributions.
    unit_length : bool
        Whether vectors of targets are divided by their lengths; those of ``probekit targets cf``
        are already.
    pooling : {"", "linear-softmax", "attention", "max", "average", "exponential"}
        For ``weak-labels``: how outputs of frames become those of a clip; by default the network's
        own way, or linear softmax. Networks without outputs of frames get a linear layer on each.
    unlabeled : str
        For ``contrastive``: a task, table or folder of recordings, whose labels are not read; or
        ``"train"`` for the task's own training clips.
    unlabeled_root : str or pathlib.Path, optional
        The folder of its recordings.
    allow_overlap : bool
        Train although test clips are among the unlabeled ones; the result notes it.
    weight : float >= 0
        Weight of the contrastive loss.
    temperature : float > 0
        Divisor of its cosine similarities.
    mixing : bool
        Whether clips are mixed and noise is added; else the random offset alone is left.
    cross : bool
        As for :func:`probekit.training.losses.nt_xent`.
    separate : bool
        Whether labeled clips, halves and augmented halves pass the network one after the other,
        each with the statistics of its own batch; else all at once.
    cache, root, reports : str or pathlib.Path, optional
        As for :func:`probekit.distill`.
    recipe : str
        ``"default"``, ``"won"``, ``"hung2022"``, ``"kim2018"``, ``"lee2019"``, ``"lee2021"``,
        ``"lee2021-supervised"``; of weak labels ``"cmu2019"``, ``"kumar2021"``, ``"panns"``,
        ``"self-taught"``; see
        :func:`probekit.training.schedules.get_recipe`.
    epochs, warm_up, batch, lr, steps : number, optional
        Instead of the recipe's; see :func:`probekit.training.schedules.get_recipe`.
    parts : str or pathlib.Path
        For ``weak-labels`` with ``talnet`` or ``weanet``: folder of their log-mel spectra, made
        there if missing; by default in the cache. Recordings may be absent once they are made.
    crop : float > 0, optional
        Length of the network's input in s; by default the network's own, or the duration of the
        longest clip if that is shorter.
    init : str
        Extractor of the initial weights, for example ``"resnet50v2"`` (ImageNet's) or a trained
        network ``"runs/ID"``.
    weights : sequence of str
        That extractor's weights: ``NAME=PATH`` or ``NAME=random:SEED``.
    fractions : sequence of float, 0 < fraction <= 1
        Shares of the training labels; a run each.
    seeds : int >= 1
        Number of runs, with seeds 0, 1, …
    folds : sequence of str
        Some of the task's folds; by default all. The result notes it.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` …
    devices : int >= 1
        Number of devices that train one network together.
    precision : {"32", "bf16-mixed", "16-mixed"}
        Arithmetic of the network.
    name : str
        Label of the runs in tables; by default network and objective.
    again : bool
        Repeat finished runs.
    progress : callable, optional
        Called with what is counted, how much is done, of how much, and a note.
    warn : callable, optional
        Called with warnings before the training starts.

    Returns
    -------
    list of Result
        By fraction and seed.

    Raises
    ------
    ProbekitError
        If something is unknown, missing or does not fit, or a loss is not finite.

    See Also
    --------
    probekit.distill : Train with cached embeddings as teachers.
    probekit.extract : Embed clips with the trained network.
    probekit.compare : Test a network against another run.

    Examples
    --------
    Two synthesized classes, and recordings without labels:

    >>> import csv
    >>> from pathlib import Path
    >>> import soundfile
    >>> import probekit
    >>> from probekit.tasks.standin.sounds import synthesize
    >>> rows = [("clip_id", "path", "label", "split")]
    >>> Path("more").mkdir()
    >>> for seed, split in enumerate(["train", "train", "valid", "test"]):
    ...     for label in ("bell", "rain"):
    ...         wave = synthesize(label, seed=seed, seconds=0.6, sr=16000)
    ...         soundfile.write(f"{label}{seed}.wav", wave, 16000)
    ...         soundfile.write(f"more/{label}{seed}.wav", wave[::-1], 16000)
    ...         rows.append((f"{label}{seed}", f"{label}{seed}.wav", label, split))
    >>> with open("pair.csv", "w", newline="") as file:
    ...     csv.writer(file).writerows(rows)
    >>> [result] = probekit.train(
    ...     "pair.csv", "short-chunk:width=2", objective="contrastive", unlabeled="more",
    ...     epochs=2, device="cpu",
    ... )
    >>> result["embedding"]
    'short-chunk:width=2, contrastive, 2 epochs (more)'
    >>> sorted(result["history"][0])[:4]
    ['best', 'contrastive', 'epoch', 'fold']
    """
    check_options(seeds, fractions, device, devices, precision)
    if recipe in schedules.WEAK_LABELS and objective == "supervised":
        objective = "weak-labels"
    chosen = _check_objective(
        ObjectiveConfig(objective, weight, temperature, mixing, cross, separate), unlabeled
    )
    _check_weak_options(objective, pooling, recipe)
    if objective == "weak-labels":
        check_alone(
            [("--targets", bool(targets)), ("--also", bool(also))], "--objective weak-labels"
        )
        network, pooling = with_pooling(network, pooling)
        chosen = replace(chosen, pooling=pooling)
    cache_folder, reports_folder = cache_root(cache), store.reports_root(reports)
    card, clips = resolve_clips(task, cache_folder, root)
    target_clips, everything = None, clips
    if targets:
        check_alone([("--objective contrastive", objective != "supervised")])
        target_clips = with_targets(card, clips, targets, loss=loss, unit_length=unit_length)
        card, clips = target_clips.card, target_clips.clips
        recipe = "lee2019" if recipe == "default" else recipe
    elif loss or unit_length:
        raise ProbekitError(
            f"{'--loss' if loss else '--unit-length'} is for --targets; leave it out"
        )
    training_recipe = schedules.get_recipe(
        recipe, card.metric, epochs=epochs, batch=batch, lr=lr, warm_up=warm_up, steps=steps
    )
    if objective == "weak-labels":
        check_weak_labels(zoo.build_student(network, 1), training_recipe, clips)
    check_draw(draw, also)
    if also:
        check_alone([("--objective contrastive", objective != "supervised")], "--also")
        network = with_branches(network, 1 + len(also))
        if epochs is None:
            training_recipe = schedules.per_target(training_recipe, 1 + len(also))
    further = tuple(read_further_targets(also, clips))
    overrides = validate_overrides(list(weights), [init] if init else [], "--init")
    data = task_data.prepare_task(
        card,
        clips,
        network,
        cache=cache_folder,
        crop=crop,
        reports=reports_folder,
        levels=objective == "weak-labels",
        parts=Path(parts) if parts else None,
        # most clips have a target: then all trainings share their audio
        stored=everything if target_clips and 2 * len(clips) >= len(everything) else None,
        progress=(lambda done, total: progress("sound", done, total, "")) if progress else None,
    )
    more = None
    if unlabeled and unlabeled != OWN_CLIPS:
        more = open_unlabeled(
            unlabeled,
            data.audio.sr,
            cache=cache_folder,
            root=unlabeled_root,
            allow_overlap=allow_overlap,
            progress=(lambda done, total: progress("unlabeled sound", done, total, ""))
            if progress
            else None,
        )
    configs = [
        TrainConfig(
            task=data,
            recipe=training_recipe,
            fraction=fraction,
            seed=seed,
            folds=tuple(folds),
            trainer=TrainerConfig(device, devices, precision),
            name=name,
            objective=chosen,
            targets=target_clips,
            further=further,
            draw=draw,
            unlabeled=more,
            init=init,
            weights=tuple(overrides.items()),
        )
        for fraction in fractions
        for seed in range(seeds)
    ]
    for config in configs:
        config.check_further()
    if more is not None:
        more.notes(data, [split for config in configs for split in config.splits])
    return Runner(reports_folder, again, progress, warn).run_all(configs)


def _check_weak_options(objective: str, pooling: str, recipe: str) -> None:
    """Raise a ProbekitError if options of weak labels are given for another objective."""
    if objective == "weak-labels":
        return
    if pooling:
        raise ProbekitError(f"--pooling is for --objective weak-labels, not {objective}")
    if recipe in schedules.WEAK_LABELS:
        raise ProbekitError(f"recipe {recipe!r} is for --objective weak-labels, not {objective}")


def _check_objective(objective: ObjectiveConfig, unlabeled: str) -> ObjectiveConfig:
    """Return an objective after checking the options that go with it."""
    if objective.name not in OBJECTIVES:
        raise unknown_name_error("objective", objective.name, OBJECTIVES)
    if objective.name == "contrastive" and not unlabeled:
        raise ProbekitError(
            "--objective contrastive needs --unlabeled, a task, table or folder of recordings; or "
            f"--unlabeled {OWN_CLIPS} for the task's own training clips"
        )
    if objective.name != "contrastive" and unlabeled:
        raise ProbekitError(
            f"--objective {objective.name} does not use --unlabeled; leave it out, or give "
            "--objective contrastive"
        )
    for option, value in (("--weight", objective.weight), ("--temperature", objective.temperature)):
        if not 0 < value < float("inf"):
            raise ProbekitError(f"{option} must be > 0, got {value:g}")
    return objective
