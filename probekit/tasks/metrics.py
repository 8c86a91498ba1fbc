"""Scores of predictions: each metric by its definition, with what it says of each class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from probekit.registry import unknown

Array = npt.NDArray[Any]
_FAR = 1e300  # scikit-learn takes finite scores only


@dataclass(frozen=True)
class Metric:
    """A way to score predictions; higher is better.

    Attributes
    ----------
    name, title : str
        As in cards, and as printed.
    target : {"single", "multi", "regression"}
        What it scores.
    score : callable
        Targets of shape (clips,) or (clips, classes) and scores of shape (clips, classes) to one
        number.
    per_class : callable
        The same to one number a class, NaN where it is not defined.
    """

    name: str
    title: str
    target: str
    score: Callable[[Array, Array], float]
    per_class: Callable[[Array, Array], Array]


def _recall(targets: Array, scores: Array) -> Array:
    """Return the share of each class's clips that are recognised."""
    right = scores.argmax(axis=1) == targets
    counts = np.bincount(targets, minlength=scores.shape[1])
    with np.errstate(invalid="ignore"):
        return np.bincount(targets, weights=right, minlength=scores.shape[1]) / counts


def _accuracy(targets: Array, scores: Array) -> float:
    return float((scores.argmax(axis=1) == targets).mean())


def _balanced(targets: Array, scores: Array) -> float:
    return float(np.nanmean(_recall(targets, scores)))


def _by_class(one: Callable[[Array, Array], float]) -> Callable[[Array, Array], Array]:
    def all_classes(targets: Array, scores: Array) -> Array:
        some = (targets.max(axis=0) > 0) & (targets.min(axis=0) == 0)
        found = np.full(targets.shape[1], np.nan)
        for k in np.flatnonzero(some):
            # an infinite score (a tag never or always in training) ranks first or last
            found[k] = one(targets[:, k], np.clip(scores[:, k], -_FAR, _FAR))
        return found

    return all_classes


def _macro(per_class: Callable[[Array, Array], Array]) -> Callable[[Array, Array], float]:
    def score(targets: Array, scores: Array) -> float:
        values = per_class(targets, scores)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    return score


def _r2(targets: Array, scores: Array) -> Array:
    """Return the coefficient of determination of each target; NaN where it does not vary."""
    error = ((targets - scores) ** 2).sum(axis=0)
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, 1 - error / spread, np.nan)


_roc = _by_class(sk.roc_auc_score)
_pr = _by_class(sk.average_precision_score)

METRICS = {
    m.name: m
    for m in (
        Metric("accuracy", "accuracy", "single", _accuracy, _recall),
        Metric("balanced-accuracy", "balanced accuracy", "single", _balanced, _recall),
        Metric("roc-auc", "ROC-AUC (macro)", "multi", _macro(_roc), _roc),
        Metric("pr-auc", "PR-AUC (macro average precision)", "multi", _macro(_pr), _pr),
        Metric("r2", "R²", "regression", _macro(_r2), _r2),
    )
}


def get(name: str) -> Metric:
    """Return the metric of a name.

    Parameters
    ----------
    name : str
        As in cards, for example ``"accuracy"``.

    Returns
    -------
    Metric
        How to score.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]
