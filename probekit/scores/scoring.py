"""All that follows from predictions alone: scores, how sure they are, and what they consist of."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

from probekit.metrics import bootstrap, metrics
from probekit.metrics import per_class as per_class_module
from probekit.metrics.metrics import Metric
from probekit.metrics.per_class import Scores
from probekit.scores.predictions import Predictions


class ExtraMetric(TypedDict):
    """A further metric of the task; None where it is not defined in every fold."""

    score: float | None
    low: float | None
    high: float | None


class ScoreReport(TypedDict):
    """The part of a result that can be computed again from its predictions."""

    score: float
    spread: float
    folds: list[float]
    interval: dict[str, Any]
    also: dict[str, ExtraMetric]
    per_class: Scores
    per_group: Scores


def score_predictions(
    found: Predictions, metric: str, also: Sequence[str], names: Sequence[str]
) -> ScoreReport:
    """Return all that follows from predictions.

    Parameters
    ----------
    found : Predictions
        Of the test clips.
    metric : str
        The task's first.
    also : sequence of str
        Its further ones.
    names : sequence of str
        Its classes in their order, or its numbers.

    Returns
    -------
    Evidence
        The keys of a result of the same names; of ``folds`` the scores only.
    """
    first = metrics.get_metric(metric)
    own, scores = found.by_fold(first), found.scores_for(first)
    return ScoreReport(
        score=float(np.mean(own)),
        spread=float(np.std(own)),
        folds=own,
        interval={
            **asdict(found.interval(first)),
            "level": bootstrap.LEVEL,
            "resamples": bootstrap.RESAMPLES,
            "seed": bootstrap.SEED,
        },
        also={name: _also(found, metrics.get_metric(name)) for name in also},
        per_class=per_class_module.per_class(
            first, names, found.target, found.targets, scores, found.fold
        ),
        per_group=per_class_module.per_group(first, found.targets, scores, found.groups),
    )


def _also(found: Predictions, metric: Metric) -> ExtraMetric:
    """Return a further metric; None where it is not defined, or not finite, on a fold."""
    own = found.by_fold(metric)
    if not np.isfinite(own).all():
        return ExtraMetric(score=None, low=None, high=None)
    certain = found.interval(metric)
    low, high = (float(v) if np.isfinite(v) else None for v in (certain.low, certain.high))
    return ExtraMetric(score=float(np.mean(own)), low=low, high=high)
