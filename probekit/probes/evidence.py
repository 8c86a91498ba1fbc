"""All that follows from predictions alone: scores, how sure they are, and what they consist of."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np

from probekit.probes import breakdown, statistics
from probekit.probes.breakdown import Scores
from probekit.probes.predictions import Predictions
from probekit.tasks import metrics
from probekit.tasks.metrics import Metric


class Also(TypedDict):
    """A further metric of the task; None where it is not defined in every fold."""

    score: float | None
    low: float | None
    high: float | None


class Evidence(TypedDict):
    """The part of a result that can be computed again from its predictions."""

    score: float
    spread: float
    folds: list[float]
    interval: dict[str, Any]
    also: dict[str, Also]
    per_class: Scores
    per_group: Scores


def of(found: Predictions, metric: str, also: Sequence[str], names: Sequence[str]) -> Evidence:
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
    first = metrics.get(metric)
    own, scores = found.by_fold(first), found.scores_for(first)
    return Evidence(
        score=float(np.mean(own)),
        spread=float(np.std(own)),
        folds=own,
        interval={
            **asdict(found.interval(first)),
            "level": statistics.LEVEL,
            "resamples": statistics.RESAMPLES,
            "seed": statistics.SEED,
        },
        also={name: _also(found, metrics.get(name)) for name in also},
        per_class=breakdown.per_class(
            first, names, found.target, found.targets, scores, found.fold
        ),
        per_group=breakdown.per_group(first, found.targets, scores, found.groups),
    )


def _also(found: Predictions, metric: Metric) -> Also:
    """Return a further metric; None where it is not defined, or not finite, on a fold."""
    own = found.by_fold(metric)
    if not np.isfinite(own).all():
        return Also(score=None, low=None, high=None)
    certain = found.interval(metric)
    low, high = (float(v) if np.isfinite(v) else None for v in (certain.low, certain.high))
    return Also(score=float(np.mean(own)), low=low, high=high)
