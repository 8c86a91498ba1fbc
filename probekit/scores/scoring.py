"""Scores, intervals and per-class scores, computed from predictions."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from probekit.metrics import bootstrap, metrics
from probekit.metrics.metrics import Metric
from probekit.metrics.per_class import (
    FOLD_MEANS,
    Scores,
    class_score_rule,
    class_scores,
    group_scores,
)
from probekit.scores.predictions import Predictions, load_predictions

if TYPE_CHECKING:
    from probekit.scores.store import Result


class ExtraMetric(TypedDict):
    """A further metric of the task; None where it is not defined in every fold."""

    score: float | None
    low: float | None  # None, too, where ``method`` says why there is no interval
    high: float | None
    method: NotRequired[str]  # of the interval; results of earlier versions lack it


class ScoreReport(TypedDict):
    """The part of a result that can be computed again from its predictions."""

    score: float
    spread: float
    folds: list[float]
    interval: dict[str, Any]
    also: dict[str, ExtraMetric]
    class_scores: str
    per_class: Scores
    per_group: Scores


def score_predictions(
    predictions: Predictions,
    metric: str,
    also: Sequence[str],
    names: Sequence[str],
    *,
    class_rule: str = "",
    percentile: bool = False,
) -> ScoreReport:
    """Score predictions.

    Parameters
    ----------
    predictions : Predictions
        Of the test clips; those of one piece are scored as one.
    metric : str
        The task's first metric.
    also : sequence of str
        Its further metrics.
    names : sequence of str
        Its classes in their order, or its regression targets.
    class_rule : {"", "all test clips", "mean over folds"}
        How class scores are joined over folds; by default as
        :func:`probekit.metrics.per_class.class_score_rule` says.
    percentile : bool
        Whether intervals are those of results of earlier versions.

    Returns
    -------
    ScoreReport
        The keys of a result of the same names; ``folds`` has the scores only.
    """
    predictions, main = predictions.by_piece(), metrics.get_metric(metric)
    fold_scores, scores = predictions.by_fold(main), predictions.scores_for(main)
    targets = predictions.targets
    rule = class_rule or class_score_rule(main)
    by_class = class_scores(
        main, names, predictions.target, targets, scores, predictions.fold, rule
    )
    by_group = group_scores(main, targets, scores, predictions.groups)
    for entry in (*by_class.values(), *by_group.values()):  # each clip counts once
        entry["clips"] = int(entry["clips"] or 0) // predictions.repeats
    return ScoreReport(
        score=float(np.mean(fold_scores)),
        spread=float(np.std(fold_scores)),
        folds=fold_scores,
        interval=_interval(predictions, main, percentile),
        also={
            name: _extra_metric(predictions, metrics.get_metric(name), percentile) for name in also
        },
        class_scores=rule,
        per_class=by_class,
        per_group=by_group,
    )


def read_class_scores(path: Path, result: "Result") -> Scores:
    """Return the class scores of a result, by today's definition whoever stored it.

    Earlier versions stored means over folds for every metric; where the definition is another one
    now, they are computed again from the predictions. A DataError says if these are missing.
    """
    metric = metrics.get_metric(result["metric"])
    rule = class_score_rule(metric)
    if len(result["folds"]) < 2 or rule == result.get("class_scores", FOLD_MEANS):
        return result["per_class"]
    predictions = load_predictions(path, result)
    scores = predictions.scores_for(metric)
    return class_scores(
        metric,
        result["classes"],
        result["target"],
        predictions.targets,
        scores,
        predictions.fold,
    )


def _interval(predictions: Predictions, metric: Metric, percentile: bool) -> dict[str, Any]:
    """Return the interval of the task's first metric as it is stored."""
    interval = asdict(predictions.interval(metric, percentile=percentile))
    if percentile:
        drawn = {"resamples": bootstrap.RESAMPLES, "seed": bootstrap.SEED}
        return {**interval, "level": bootstrap.LEVEL, **drawn}
    ends = {end: _finite(interval[end]) for end in ("low", "high")}
    return {**interval, **ends, "level": bootstrap.LEVEL}


def _extra_metric(predictions: Predictions, metric: Metric, percentile: bool) -> ExtraMetric:
    """Return a further metric; None where it is not defined, or not finite, on a fold."""
    fold_scores = predictions.by_fold(metric)
    if not np.isfinite(fold_scores).all():
        return ExtraMetric(score=None, low=None, high=None)
    interval = predictions.interval(metric, percentile=percentile)
    entry = ExtraMetric(
        score=float(np.mean(fold_scores)), low=_finite(interval.low), high=_finite(interval.high)
    )
    return entry if percentile else ExtraMetric(**entry, method=interval.method)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
