"""What is kept of a run of distillation: trained, scored, and told in a result."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from probekit._typing import Array
from probekit.distillation import methods, provenance
from probekit.distillation.config import DistillationConfig
from probekit.distillation.task_data import DistillationTask
from probekit.errors import DataError
from probekit.extractors.students.zoo import Student
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.parallel import resources
from probekit.scores import scoring, store
from probekit.scores.predictions import Predictions
from probekit.scores.store import Fold, Result
from probekit.tasks.splits import Split
from probekit.training import dataloader, run_folder
from probekit.training.dataloader import TrainBatches
from probekit.training.state import TrainingHistory, TrainingJob

Tell = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class FoldResult:
    """One fold's student.

    Attributes
    ----------
    course : Course
        How its training went.
    scores : numpy.ndarray, shape (test clips, classes)
        Of its test clips.
    select : {"metric", "loss"}
        What chose the epoch.
    parameters, size : int
        Numbers that were trained, and numbers of the student alone.
    """

    course: TrainingHistory
    scores: Array
    select: str
    parameters: int
    size: int


def train_fold(
    run: DistillationConfig, split: Split, where: Path, tell: Tell | None = None
) -> FoldResult:
    """Train one fold's student, keep it, and score its test clips.

    Parameters
    ----------
    run : Run
        What is asked for.
    split : Split
        One of its divisions.
    where : pathlib.Path
        The student's folder; one that was trained in goes on.
    tell : callable, optional
        Called with the fold, epochs done, epochs at most, and a line of numbers.

    Returns
    -------
    Taught
        Scores of its test clips, and how it went.

    Raises
    ------
    ProbekitError
        If the training or its scores fail.
    """
    from probekit.training import trainer  # imports Lightning, which takes seconds

    given, machine = run.given, run.machine
    run_folder.mark_started(where, {**run.facts, "fold": split.name}, given.teachers)
    student, job = _job(run, split)
    course = trainer.fit(
        job,
        where,
        device=machine.device,
        devices=machine.devices,
        precision=machine.precision,
        tell=partial(tell, split.name) if tell else None,
    )
    teachers = run.teachers if run.method.needs_teacher_at_inference else None
    test = given.places[split.test]
    chunks = dataloader.evaluation_batches(
        given.sound, teachers, test, given.samples, run.recipe.batch, run.recipe.chunks
    )
    scores = trainer.predict(job, chunks, test, device=machine.device, precision=machine.precision)
    if not np.isfinite(scores).all():
        raise DataError(f"{given.card.name}, split {split.name!r}: scores are not finite")
    taught = FoldResult(course, scores, job.select, _count(job), _size(student))
    if not run.method.needs_teacher_at_inference:
        run_folder.save_student(
            where,
            student,
            classes=given.clips.names,
            target=given.clips.target,
            crop=run.crop,
            description=f"{given.student}, {run.label}, {given.card.name}",
            run=run.id,
            provenance=run.persistent_notes([course]),
            origin={
                "task": given.card.name,
                "dataset": given.card.dataset,
                "fold": split.name,
            },
            learnt=provenance.collect_training_clips(given, split, run.teachers, run.first),
        )
    return taught


def is_metric_defined(metric: Metric, targets: Array, given: DistillationTask) -> bool:
    """Tell whether a metric is defined on some clips.

    Parameters
    ----------
    metric : Metric
        The metric.
    targets : numpy.ndarray
        Of these clips.
    given : Given
        The task.

    Returns
    -------
    bool
        No for none, or where its classes do not suffice.
    """
    even = np.full((len(targets), len(given.clips.names)), 0.5)
    if given.clips.target == "regression":
        even = even + np.arange(len(targets))[:, None]
    return bool(len(targets)) and bool(np.isfinite(metric.score(targets, even)))


def _job(run: DistillationConfig, split: Split) -> tuple[Student, TrainingJob]:
    """Make the student, with its first weights, and say what it is trained on."""
    given = run.given
    metric = metrics.get_metric(given.card.metric)
    teachers = run.teachers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        student = run.student()
        if run.first is not None:
            methods.init(student, given.init, given.weights, given.reports)
        penalty = methods.penalty(
            run.method, teachers, student, given.clips.target, given.clips.names
        )
        features = teachers.features if teachers else 0
        model = methods.model(run.method, student, features)
    held = given.places[split.valid]
    pin = resources.device(run.machine.device).type == "cuda"
    feed = (given.sound, teachers if run.method.needs_teacher_at_inference else None)
    right = given.targets[split.valid]
    job = TrainingJob(
        model=model,
        penalty=penalty,
        alpha=run.method.alpha,
        recipe=run.recipe,
        metric=metric,
        target=given.clips.target,
        classes=len(given.clips.names),
        train=TrainBatches(
            given.sound,
            teachers,
            given.targets_by_row,
            given.places[split.train],
            given.samples,
            run.recipe.batch,
            run.seed,
            pin=pin,
        ),
        valid=partial(
            dataloader.evaluation_batches,
            *feed,
            held,
            given.samples,
            run.recipe.batch,
            run.recipe.chunks,
            pin=pin,
        ),
        held=held,
        held_targets=right,
        select=run.recipe.select if is_metric_defined(metric, right, given) else "loss",
        seed=run.seed,
    )
    return student, job


def _count(job: TrainingJob) -> int:
    """Return how many numbers are trained."""
    parts = [job.model, *([job.penalty] if job.penalty is not None else [])]
    return sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)


def _size(student: nn.Module) -> int:
    """Return how many numbers a student has."""
    return sum(p.numel() for p in student.parameters())


_MISSING_SHOWN = 50


def build_result(
    run: DistillationConfig, reports: Path, tell: Tell | None = None
) -> tuple[Result, dict[str, Any]]:
    """Train and score, and gather what is kept.

    Parameters
    ----------
    run : Run
        What is asked for.
    reports : pathlib.Path
        Where trained students go, and checkpoints while they are trained.
    tell : callable, optional
        Called with the fold, epochs done, epochs at most, and a line of numbers.

    Returns
    -------
    Result
        What a person reads.
    dict of str to numpy.ndarray
        Predictions.

    Raises
    ------
    ProbekitError
        If a fold cannot be scored, or its training fails.
    """
    begin = perf_counter()
    given, card = run.given, run.given.card
    metric = metrics.get_metric(card.metric)
    _check_defined(run, metric)
    taught = [
        train_fold(run, split, where, tell)
        for split, where in zip(run.splits, run.student_dirs(reports), strict=True)
    ]
    fit_seconds = perf_counter() - begin
    clips = given.clips
    rows = np.concatenate([split.test for split in run.splits])
    found = Predictions(
        clip_ids=clips.column("clip_id")[rows],
        fold=np.concatenate([np.full(len(s.test), k) for k, s in enumerate(run.splits)]),
        folds=tuple(split.name for split in run.splits),
        targets=given.targets[rows],
        scores=np.concatenate([one.scores for one in taught]),
        groups=clips.column("group")[rows],
        target=clips.target,
        probabilities=clips.target != "regression",
    )
    scored = scoring.score_predictions(found, metric.name, card.also, clips.names)
    used = {int(r) for s in run.splits for part in (s.train, s.valid, s.test) for r in part}
    last = taught[-1]
    result = Result(
        format=store.FORMAT,
        run=run.id,
        task=card.name,
        title=card.title,
        embedding=run.label,
        sources=run.teachers.sources if run.teachers else [],
        dim=run.student().dim,
        probe=f"student:{given.student}",
        settings=_settings(run, last),
        steps=[],
        # a label that was made of the settings has the recipe already
        preset=run.recipe.name if run.name and run.recipe.name != "default" else "",
        fraction=run.fraction,
        seed=run.seed,
        protocol=_protocol(run),
        target=clips.target,
        probabilities=found.probabilities,
        metric=metric.name,
        classes=list(clips.names),
        score=scored["score"],
        spread=scored["spread"],
        interval=scored["interval"],
        also=scored["also"],
        folds=[_row(run, *one) for one in zip(run.splits, taught, scored["folds"], strict=True)],
        per_class=scored["per_class"],
        per_group=scored["per_group"],
        grid=[],
        solver={
            "name": "lightning",
            "tolerance": 0.0,
            "fits": len(taught),
            "unconverged": 0,
            "unconverged_final": 0,
        },
        clips={
            "used": len(used) if run.fraction == 1 else len(clips),
            "of": given.n_expected_clips,
            "missing": dict(list(given.sound.failures.items())[:_MISSING_SHOWN]),
            "missing_count": given.n_expected_clips - len(clips),
        },
        seconds={"fit": fit_seconds, "all": perf_counter() - begin},
        provenance=run.provenance([one.course for one in taught]),
        manifest=given.whole.digest(),
        versions={n: version(n) for n in ("probekit", "numpy", "torch", "lightning")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        published=[p.model_dump() for p in card.published],
        history=[
            {"fold": split.name, **epoch}
            for split, one in zip(run.splits, taught, strict=True)
            for epoch in one.course.history
        ],
    )
    return result, found.arrays()


def _check_defined(run: DistillationConfig, metric: Metric) -> None:
    """Raise if a fold cannot be scored, before anything is trained."""
    for split in run.splits:
        if not is_metric_defined(metric, run.given.targets[split.test], run.given):
            raise DataError(
                f"{run.given.card.name}, split {split.name!r}: {metric.title} is not defined "
                f"on its {len(split.test)} test clips"
            )


def _protocol(run: DistillationConfig) -> str:
    """Say how clips were divided, and what chose the epoch."""
    protocol = run.given.card.protocol
    said = protocol.description or protocol.kind
    if protocol.refit:
        said += "; no refit of students: validation clips choose the epoch"
    return said


def _settings(run: DistillationConfig, one: FoldResult) -> dict[str, Any]:
    """Return what is kept of how the student was made."""
    given = run.given
    return {
        "student": given.student,
        "crop": str(run.crop),
        "method": run.method.name,
        "alpha": run.method.alpha if run.method.regularizes else None,
        "teachers": list(given.teachers),
        "features": run.teachers.features if run.teachers else 0,
        "alignment": given.alignment if run.method.needs_teacher else None,
        "init": given.init or None,
        "recipe": run.recipe.facts(),
        "precision": run.machine.precision,
        "devices": run.machine.devices,
        "parameters": {"trained": one.parameters, "student": one.size},
    }


def _row(run: DistillationConfig, split: Split, one: FoldResult, score: float) -> Fold:
    best = one.course.history[one.course.best - 1] if one.course.best else {}
    official = bool((run.given.clips.column("split")[split.valid] == "valid").all())
    stopped = len(one.course.history) < run.recipe.epochs
    return Fold(
        fold=split.name,
        train=len(split.train),
        test=len(split.test),
        score=score,
        params={"epoch": one.course.best},
        at_edge=run.recipe.patience is not None and not stopped
        and one.course.best == run.recipe.epochs,
        curve=[],
        selected_on=f"{len(split.valid)} {'' if official else 'held-out '}validation clips",
        selected_score=best.get("valid_score"),
        converged=True,
        gap=None,
        iterations=len(one.course.history),
    )  # fmt: skip
