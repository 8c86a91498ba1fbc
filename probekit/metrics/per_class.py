"""Scores of single classes and groups, and classes without training clips."""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from probekit._typing import Array
from probekit.data.manifest import Manifest
from probekit.metrics.metrics import Metric
from probekit.utils.text import join_names

Scores = dict[str, dict[str, float | int | None]]
"""Name of a class or group to ``score`` (None where not defined) and its number of ``clips``."""

_MAX_GROUPS = 200
_NAMES_SHOWN = 5


def class_scores(
    metric: Metric,
    names: Sequence[str],
    target: str,
    targets: Array,
    scores: Array,
    fold: Array,
) -> Scores:
    """Return each class's score: the mean over the folds in which it is defined.

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    names : sequence of str
        The classes in their order, or the names of the numbers.
    target : {"single", "multi", "regression"}
        The kind of the targets.
    targets, scores : numpy.ndarray
        Of all scored clips.
    fold : numpy.ndarray of int, shape (clips,)
        Fold that each clip was scored in.

    Returns
    -------
    dict of str to dict
        See :data:`Scores`.
    """
    by_fold = [metric.per_class(targets[fold == k], scores[fold == k]) for k in np.unique(fold)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        mean = np.nanmean(by_fold, axis=0)
    if target == "regression":
        counts = np.full(len(mean), len(targets))
    else:
        counts = _count_classes(targets, len(mean))
    return {name: _entry(mean[k], counts[k]) for k, name in enumerate(names)}


def group_scores(metric: Metric, targets: Array, scores: Array, groups: Array) -> Scores:
    """Return each group's score; empty for a single group, and for more than 200.

    ``groups`` has shape (clips,), empty text for a clip without a group.
    """
    names = sorted(set(groups) - {""})
    if not 1 < len(names) <= _MAX_GROUPS:
        return {}
    members = {str(name): groups == name for name in names}
    return {
        name: _entry(metric.score(targets[rows], scores[rows]), rows.sum())
        for name, rows in members.items()
    }


def unseen_classes(clips: Manifest, targets: Array, fit_rows: Array, test_rows: Array) -> list[str]:
    """Return the classes of test clips that no clip has which the probe was fitted on."""
    test_counts, fit_counts = (
        _count_classes(targets[rows], len(clips.class_names)) for rows in (test_rows, fit_rows)
    )
    return [clips.class_names[k] for k in np.flatnonzero((test_counts > 0) & (fit_counts == 0))]


def unseen_classes_note(names: Iterable[str]) -> str:
    """Return the note beside a score on :func:`unseen_classes`, of all folds together."""
    return f"never in training: {join_names(sorted(names), _NAMES_SHOWN)}"


def _count_classes(targets: Array, classes: int) -> Array:
    """Return the number of clips of each class."""
    if targets.ndim == 2:
        return np.asarray(targets.sum(axis=0))
    return np.bincount(targets, minlength=classes)


def _entry(score: float, clips: int) -> dict[str, float | int | None]:
    return {"score": None if np.isnan(score) else float(score), "clips": int(clips)}
