"""What is kept of a run of distillation: trained, scored, and told in a result."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from probekit.distill.asked import Run
from probekit.distill.teaching import Taught, Tell, defined, teach
from probekit.errors import DataError
from probekit.probes import evidence, results
from probekit.probes.predictions import Predictions
from probekit.probes.results import Fold, Result
from probekit.tasks import metrics
from probekit.tasks.metrics import Metric
from probekit.tasks.splits import Split

_MISSING_SHOWN = 50


def compute(run: Run, reports: Path, tell: Tell | None = None) -> tuple[Result, dict[str, Any]]:
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
    metric = metrics.get(card.metric)
    _check_defined(run, metric)
    taught = [
        teach(run, split, where, tell)
        for split, where in zip(run.divisions, run.places(reports), strict=True)
    ]
    fit_seconds = perf_counter() - begin
    clips = given.clips
    rows = np.concatenate([split.test for split in run.divisions])
    found = Predictions(
        clip_ids=clips.column("clip_id")[rows],
        fold=np.concatenate([np.full(len(s.test), k) for k, s in enumerate(run.divisions)]),
        folds=tuple(split.name for split in run.divisions),
        targets=given.targets[rows],
        scores=np.concatenate([one.scores for one in taught]),
        groups=clips.column("group")[rows],
        target=clips.target,
        probabilities=clips.target != "regression",
    )
    scored = evidence.of(found, metric.name, card.also, clips.names)
    used = {int(r) for s in run.divisions for part in (s.train, s.valid, s.test) for r in part}
    last = taught[-1]
    result = Result(
        format=results.FORMAT,
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
        folds=[_row(run, *one) for one in zip(run.divisions, taught, scored["folds"], strict=True)],
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
            "of": given.expected,
            "missing": dict(list(given.sound.failures.items())[:_MISSING_SHOWN]),
            "missing_count": given.expected - len(clips),
        },
        seconds={"fit": fit_seconds, "all": perf_counter() - begin},
        provenance=run.provenance([one.course for one in taught]),
        manifest=given.whole.digest(),
        versions={n: version(n) for n in ("probekit", "numpy", "torch", "lightning")},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        published=[p.model_dump() for p in card.published],
        history=[
            {"fold": split.name, **epoch}
            for split, one in zip(run.divisions, taught, strict=True)
            for epoch in one.course.history
        ],
    )
    return result, found.arrays()


def _check_defined(run: Run, metric: Metric) -> None:
    """Raise if a fold cannot be scored, before anything is trained."""
    for split in run.divisions:
        if not defined(metric, run.given.targets[split.test], run.given):
            raise DataError(
                f"{run.given.card.name}, split {split.name!r}: {metric.title} is not defined "
                f"on its {len(split.test)} test clips"
            )


def _protocol(run: Run) -> str:
    """Say how clips were divided, and what chose the epoch."""
    protocol = run.given.card.protocol
    said = protocol.description or protocol.kind
    if protocol.refit:
        said += "; no refit of students: validation clips choose the epoch"
    return said


def _settings(run: Run, one: Taught) -> dict[str, Any]:
    """Return what is kept of how the student was made."""
    given = run.given
    return {
        "student": given.student,
        "crop": str(run.crop),
        "method": run.method.name,
        "alpha": run.method.alpha if run.method.regularizes else None,
        "teachers": list(given.teachers),
        "features": run.teachers.features if run.teachers else 0,
        "alignment": given.alignment if run.method.taught else None,
        "init": given.init or None,
        "recipe": run.recipe.facts(),
        "precision": run.machine.precision,
        "devices": run.machine.devices,
        "parameters": {"trained": one.parameters, "student": one.size},
    }


def _row(run: Run, split: Split, one: Taught, score: float) -> Fold:
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
