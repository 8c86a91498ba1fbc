"""What a score consists of: classes, groups, and classes that nothing was learnt about."""

import warnings
from collections.abc import Sequence

import numpy as np

from probekit._typing import Array
from probekit.data.manifest import Manifest
from probekit.metrics.metrics import Metric

Scores = dict[str, dict[str, float | int | None]]

_GROUPS_SHOWN = 200


def per_class(
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
        The classes in their order, or what the numbers are called.
    target : {"single", "multi", "regression"}
        What the targets are.
    targets, scores : numpy.ndarray
        Of all scored clips.
    fold : numpy.ndarray of int, shape (clips,)
        Which fold each clip was scored in.

    Returns
    -------
    dict of str to dict
        Class to ``score`` (None where not defined) and ``clips``, of which it has that many.
    """
    own = [metric.per_class(targets[fold == k], scores[fold == k]) for k in np.unique(fold)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        mean = np.nanmean(own, axis=0)
    if target == "single":
        counts = np.bincount(targets, minlength=len(mean))
    elif target == "multi":
        counts = targets.sum(axis=0)
    else:
        counts = np.full(len(mean), len(targets))
    return {name: _entry(mean[k], counts[k]) for k, name in enumerate(names)}


def per_group(metric: Metric, targets: Array, scores: Array, groups: Array) -> Scores:
    """Return each group's score.

    Parameters
    ----------
    metric : Metric
        Scores the groups.
    targets, scores : numpy.ndarray
        Of all scored clips.
    groups : numpy.ndarray of str, shape (clips,)
        Group of each clip, empty where there is none.

    Returns
    -------
    dict of str to dict
        Group to ``score`` (None where not defined) and ``clips``; empty where there is one group
        only, or more than 200.
    """
    names = sorted(set(groups) - {""})
    if not 1 < len(names) <= _GROUPS_SHOWN:
        return {}
    found: Scores = {}
    for name in names:
        own = groups == name
        found[str(name)] = _entry(metric.score(targets[own], scores[own]), own.sum())
    return found


def unseen_classes(clips: Manifest, targets: Array, fitted: Array, test: Array) -> list[str]:
    """Return the classes of test clips that no clip has which the probe was fitted on.

    Parameters
    ----------
    clips : Manifest
        Says the classes' names.
    targets : numpy.ndarray
        Of all clips.
    fitted, test : numpy.ndarray of int
        Rows of the manifest.

    Returns
    -------
    list of str
        In the order of the classes.
    """

    def counts(rows: Array) -> Array:
        if targets.ndim == 2:
            return np.asarray(targets[rows].sum(axis=0))
        return np.bincount(targets[rows], minlength=len(clips.names))

    new = np.flatnonzero((counts(test) > 0) & (counts(fitted) == 0))
    return [clips.names[k] for k in new]


def _entry(score: float, clips: int) -> dict[str, float | int | None]:
    return {"score": None if np.isnan(score) else float(score), "clips": int(clips)}
