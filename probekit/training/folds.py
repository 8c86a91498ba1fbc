"""Training and scoring of the folds of a run, and its result."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.extractors.students.base import Student
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.scores import pieces, result_builder, scoring
from probekit.scores.store import Fold, Result
from probekit.tasks.piece_names import check_pieces, name_pieces
from probekit.tasks.splits import Split
from probekit.training import dataloader, run_folder, trainer, weights_card
from probekit.training.run_config import RunConfig, is_metric_defined
from probekit.training.state import TrainingHistory, TrainingJob

FoldCallback = Callable[[str, int, int, str], None]

_HEADS = {"cosine": "regression", "distribution": "single"}
"""What the outputs of a trained extractor are, for losses that are no kind of task."""


@dataclass(frozen=True)
class FoldResult:
    """Outcome of one fold.

    Attributes
    ----------
    history : TrainingHistory
        Scores of every epoch.
    scores : numpy.ndarray, shape (test clips, classes)
        Scores of the test clips.
    select : {"metric", "loss"}
        What the epoch was selected by.
    n_trained, n_student : int
        Number of trained parameters, and of the student's parameters.
    """

    history: TrainingHistory
    scores: Array
    select: str
    n_trained: int
    n_student: int


def run_folds(
    config: RunConfig, reports: Path, on_epoch_end: FoldCallback | None = None
) -> tuple[Result, dict[str, Any]]:
    """Train and score all folds; return the result and the predictions.

    Parameters
    ----------
    config : RunConfig
        Student, method and settings of the run.
    reports : pathlib.Path
        Reports folder, for checkpoints and trained students.
    on_epoch_end : callable, optional
        Called with the fold, the number of finished epochs, the maximum number of epochs, and a
        line of numbers.

    Raises
    ------
    ProbekitError
        If a fold cannot be scored, or its training fails.
    """
    start = perf_counter()
    task, card = config.task, config.task.card
    metric = metrics.get_metric(card.metric)
    _check_defined(config, metric)
    names = name_pieces(card, task.clips)
    check_pieces(card, names, config.splits)
    results = [
        train_fold(config, split, folder, on_epoch_end)
        for split, folder in zip(config.splits, config.student_folders(reports), strict=True)
    ]
    fit_seconds = perf_counter() - start
    predictions = result_builder.join_predictions(
        task.clips,
        task.targets,
        config.splits,
        [result.scores for result in results],
        probe=f"student:{task.network}",
        probabilities=task.clips.target != "regression",
        pieces=names,
    )
    scores = scoring.score_predictions(predictions, metric.name, card.also, task.clips.class_names)
    result = result_builder.build_result(
        card,
        task.clips,
        task.all_clips,
        config.splits,
        scores,
        run=config.id,
        embedding=config.label,
        sources=config.sources,
        dim=config.build_student().dim,
        probe=f"student:{task.network}",
        settings=_settings(config, results[-1]) | config.evaluate(predictions),
        steps=[],
        # a label that was made from the settings has the recipe already
        preset=config.recipe.name if config.name and config.recipe.name != "default" else "",
        fraction=config.fraction,
        seed=config.seed,
        protocol=_describe_protocol(config),
        probabilities=predictions.probabilities,
        folds=[
            _fold_entry(config, *fold)
            for fold in zip(config.splits, results, scores["folds"], strict=True)
        ],
        grid=[],
        solver={
            "name": "torch",
            "tolerance": 0.0,
            "fits": len(results),
            "unconverged": 0,
            "unconverged_final": 0,
        },
        expected=task.n_expected_clips,
        missing=task.audio.failures,
        start=start,
        fit_seconds=fit_seconds,
        provenance=[
            *config.provenance([result.history for result in results]),
            *result_builder.unknown_label_notes(task.clips, task.targets),
            *pieces.describe(card, names, config.splits),
        ],
        packages=("probekit", "numpy", "torch"),
        history=[
            {"fold": split.name, **epoch}
            for split, result in zip(config.splits, results, strict=True)
            for epoch in result.history.epochs
        ],
    )
    if names is not None:
        result["pieces"] = len(predictions.by_piece().clip_ids)
    return result, predictions.arrays()


def train_fold(
    config: RunConfig,
    split: Split,
    folder: Path,
    on_epoch_end: FoldCallback | None = None,
) -> FoldResult:
    """Train a fold's student, save it, and score its test clips.

    Parameters
    ----------
    config : RunConfig
        Student, method and settings of the run.
    split : Split
        One of its splits.
    folder : pathlib.Path
        Folder of the student; an interrupted training in it is resumed.
    on_epoch_end : callable, optional
        As for :func:`run_folds`.

    Raises
    ------
    ProbekitError
        If the training fails, or scores are not finite.
    """
    task, options, recipe = config.task, config.trainer, config.recipe
    facts = {**config.facts, "fold": split.name}
    refuse_changed_teachers(folder, facts, config.source_names)
    run_folder.mark_started(folder, facts, config.source_names)
    student, job = config.make_job(split)
    history = trainer.fit(
        job,
        folder,
        device=options.device,
        devices=options.devices,
        precision=options.precision,
        on_epoch_end=partial(on_epoch_end, split.name) if on_epoch_end else None,
    )
    rows = task.audio_rows[split.test]
    chunks = dataloader.evaluation_batches(
        task.audio,
        config.scoring_frames,
        rows,
        task.crop_length,
        recipe.batch_size,
        recipe.chunk_policy,
    )
    scores = trainer.predict(job, chunks, rows, device=options.device, precision=options.precision)
    if not np.isfinite(scores).all():
        raise DataError(f"{task.card.name}, split {split.name!r}: scores are not finite")
    result = FoldResult(history, scores, job.select, *_count_parameters(job, student))
    if config.saves_extractor:
        notes = config.persistent_notes([history])
        if config.is_weakly_labeled:
            card = weights_card.describe_training(config, split, history, scores)
            weights_card.save_official_weights(folder, student, card)
            run_folder.save_training_card(folder, card)
            notes = [card["note"]]
        run_folder.save_extractor(
            folder,
            student,
            classes=task.clips.class_names,
            target=_HEADS.get(config.loss, config.loss),
            crop=config.crop,
            description=f"{task.network}, {config.label}, {task.card.name}",
            run=config.id,
            provenance=notes,
            origin={
                "task": task.card.name,
                "dataset": task.card.dataset,
                "fold": split.name,
            },
            clips=config.collect_training_clips(split),
        )
    return result


def refuse_changed_teachers(folder: Path, facts: dict[str, Any], names: Sequence[str]) -> None:
    """Raise a DataError if only the teachers' fingerprints differ from an interrupted run.

    The same names then stand for other embeddings, and most likely the interrupted run was meant.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the new run; if it was started before, it is resumed.
    facts : dict
        All that names the new run.
    names : sequence of str
        Teachers as the user wrote them.
    """
    if run_folder.is_started(folder):
        return
    others = {key: value for key, value in _as_json(facts).items() if key != "teachers"}
    for run in run_folder.list_unfinished(folder.parent):
        run_others = {key: value for key, value in run.facts.items() if key != "teachers"}
        if run_others == others and run.names == list(names):
            old, new = (", ".join(f["teachers"]["are"]) for f in (run.facts, facts))
            raise DataError(
                f"{run.folder}: an interrupted run of the same settings had the teachers {old}; "
                f"now they are {new}. Name the old ones (--teacher NAME@FINGERPRINT) to resume it, "
                "or delete that folder"
            )


def _as_json(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts as they are read from JSON."""
    parsed: dict[str, Any] = json.loads(json.dumps(facts))
    return parsed


def _count_parameters(job: TrainingJob, student: Student) -> tuple[int, int]:
    """Return the number of trained parameters, and that of the network's."""
    trained = sum(p.numel() for p in job.objective.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in student.parameters())


def _check_defined(config: RunConfig, metric: Metric) -> None:
    """Raise if a fold cannot be scored, before anything is trained."""
    for split in config.splits:
        if not is_metric_defined(metric, config.task.targets[split.test], config.task):
            raise DataError(
                f"{config.task.card.name}, split {split.name!r}: {metric.title} is not defined "
                f"on its {len(split.test)} test clips"
            )


def _describe_protocol(config: RunConfig) -> str:
    """Return the protocol of the task, and how it differs for students."""
    protocol = config.task.card.protocol
    text = protocol.description or protocol.kind
    if protocol.refit and config.recipe.select != "last":
        text += "; no refit of students: validation clips choose the epoch"
    return text


def _settings(config: RunConfig, result: FoldResult) -> dict[str, Any]:
    """Return the entry ``settings`` of the result."""
    return {
        **config.settings,
        "recipe": config.recipe.facts(),
        "precision": config.trainer.precision,
        "devices": config.trainer.devices,
        "parameters": {"trained": result.n_trained, "student": result.n_student},
    }


def _fold_entry(config: RunConfig, split: Split, result: FoldResult, score: float) -> Fold:
    """Return a fold's entry in the result."""
    history, recipe = result.history, config.recipe
    best = history.epochs[history.best_epoch - 1] if history.best_epoch else {}
    is_official = bool((config.task.clips.column("split")[split.valid] == "valid").all())
    chosen_on = f"{len(split.valid)} {'' if is_official else 'held-out '}validation clips"
    is_last = len(history.epochs) == recipe.epochs == history.best_epoch
    return Fold(
        fold=split.name,
        train=len(split.train),
        test=len(split.test),
        score=score,
        params={"epoch": history.best_epoch},
        at_edge=recipe.patience is not None and is_last,
        curve=[],
        selected_on=chosen_on if len(split.valid) else "nothing: the last epoch",
        selected_score=best.get("valid_score"),
        converged=True,
        gap=None,
        iterations=len(history.epochs),
    )
