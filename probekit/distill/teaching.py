"""One fold: a student is made, trained, kept, and its test clips are scored."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from probekit import runtime
from probekit.distill import batches, lineage, methods, trained, transfer
from probekit.distill.asked import Run
from probekit.distill.batches import Training
from probekit.distill.course import Course, Job
from probekit.distill.given import Given
from probekit.errors import DataError
from probekit.extractors.students import Student
from probekit.tasks import metrics
from probekit.tasks.metrics import Metric
from probekit.tasks.splits import Split

Array = npt.NDArray[Any]
Tell = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Taught:
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

    course: Course
    scores: Array
    select: str
    parameters: int
    size: int


def teach(run: Run, split: Split, where: Path, tell: Tell | None = None) -> Taught:
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
    from probekit.distill import training  # imports Lightning, which takes seconds

    given, machine = run.given, run.machine
    trained.begin(where, {**run.facts, "fold": split.name}, given.teachers)
    student, job = _job(run, split)
    course = training.fit(
        job,
        where,
        device=machine.device,
        devices=machine.devices,
        precision=machine.precision,
        tell=partial(tell, split.name) if tell else None,
    )
    teachers = run.teachers if run.method.asks else None
    test = given.places[split.test]
    chunks = batches.chunks(
        given.sound, teachers, test, given.samples, run.recipe.batch, run.recipe.chunks
    )
    scores = training.predict(job, chunks, test, device=machine.device, precision=machine.precision)
    if not np.isfinite(scores).all():
        raise DataError(f"{given.card.name}, split {split.name!r}: scores are not finite")
    taught = Taught(course, scores, job.select, _count(job), _size(student))
    if not run.method.asks:
        trained.keep(
            where,
            student,
            classes=given.clips.names,
            target=given.clips.target,
            crop=run.crop,
            description=f"{given.student}, {run.label}, {given.card.name}",
            run=run.id,
            provenance=run.lasting([course]),
            origin={
                "task": given.card.name,
                "dataset": given.card.dataset,
                "fold": split.name,
            },
            learnt=lineage.learnt(given, split, run.teachers, run.first),
        )
    return taught


def defined(metric: Metric, targets: Array, given: Given) -> bool:
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


def _job(run: Run, split: Split) -> tuple[Student, Job]:
    """Make the student, with its first weights, and say what it is trained on."""
    given = run.given
    metric = metrics.get(given.card.metric)
    teachers = run.teachers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        student = run.student()
        if run.first is not None:
            transfer.init(student, given.init, given.weights, given.reports)
        penalty = methods.penalty(
            run.method, teachers, student, given.clips.target, given.clips.names
        )
        features = teachers.features if teachers else 0
        model = methods.model(run.method, student, features)
    held = given.places[split.valid]
    pin = runtime.device(run.machine.device).type == "cuda"
    feed = (given.sound, teachers if run.method.asks else None)
    right = given.targets[split.valid]
    job = Job(
        model=model,
        penalty=penalty,
        alpha=run.method.alpha,
        recipe=run.recipe,
        metric=metric,
        target=given.clips.target,
        classes=len(given.clips.names),
        train=Training(
            given.sound,
            teachers,
            given.heard,
            given.places[split.train],
            given.samples,
            run.recipe.batch,
            run.seed,
            pin=pin,
        ),
        valid=partial(
            batches.chunks,
            *feed,
            held,
            given.samples,
            run.recipe.batch,
            run.recipe.chunks,
            pin=pin,
        ),
        held=held,
        held_targets=right,
        select=run.recipe.select if defined(metric, right, given) else "loss",
        seed=run.seed,
    )
    return student, job


def _count(job: Job) -> int:
    """Return how many numbers are trained."""
    parts = [job.model, *([job.penalty] if job.penalty is not None else [])]
    return sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)


def _size(student: nn.Module) -> int:
    """Return how many numbers a student has."""
    return sum(p.numel() for p in student.parameters())
