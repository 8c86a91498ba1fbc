"""Scores of single classes and groups, and classes without training clips.

The score of a class over several folds has one definition for each metric, which results name
(:func:`class_score_rule`): recall, F1 and other scores that count clips are those of all test clips
together, so that recall is the diagonal of the confusion matrix; of AUCs and R² they are the means
over folds, since scores of different probes cannot be ranked together (Forman & Scholz, 2010).
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.metrics.metrics import METRICS, Metric
from probekit.utils.text import join_names

if TYPE_CHECKING:
    from probekit.data.manifest import Manifest  # imports pandas

Scores = dict[str, dict[str, float | int | None]]
"""Name of a class or group to ``score`` (None where not defined) and its number of ``clips``."""

ALL_CLIPS, FOLD_MEANS = "all test clips", "mean over folds"
"""How the scores of a class over several folds are joined; a key of results."""

_MAX_GROUPS = 200
_NAMES_SHOWN = 5
_RECALL = METRICS["accuracy"].per_class


def class_scores(
    metric: Metric,
    names: Sequence[str],
    target: str,
    targets: Array,
    scores: Array,
    fold: Array,
    rule: str = "",
) -> Scores:
    """Return each class's score with its number of clips.

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    names : sequence of str
        The classes in their order, or the names of the numbers.
    target : {"single", "multi", "regression"}
        The kind of the targets.
    targets, scores : numpy.ndarray
        Of all scored clips, as the metric needs them.
    fold : numpy.ndarray of int, shape (clips,)
        Fold that each clip was scored in.
    rule : {"", "all test clips", "mean over folds"}
        How folds are joined; by default as :func:`class_score_rule` says.

    Returns
    -------
    dict of str to dict
        See :data:`Scores`.
    """
    values = class_values(metric, targets, scores, fold, rule)
    if target == "regression":
        counts = np.full(len(values), len(targets))
    else:
        counts = _count_classes(targets, len(values))
    return {name: _entry(values[k], counts[k]) for k, name in enumerate(names)}


def class_values(
    metric: Metric, targets: Array, scores: Array, fold: Array, rule: str = ""
) -> Array:
    """Return the score of each class, shape (classes,), NaN where it is not defined.

    The arguments are those of :func:`class_scores`; a clip that is in several folds counts in each.
    """
    if (rule or class_score_rule(metric)) == ALL_CLIPS:
        return metric.per_class(targets, scores)
    by_fold = [metric.per_class(targets[fold == k], scores[fold == k]) for k in np.unique(fold)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return np.asarray(np.nanmean(by_fold, axis=0))


def class_score_rule(metric: Metric) -> str:
    """Return how the scores of a class are joined over folds: from all clips, or the mean."""
    return ALL_CLIPS if metric.pooled else FOLD_MEANS


def class_score_name(metric: Metric) -> str:
    """Return the name of the score of a class: of accuracy it is recall."""
    return "recall" if metric.per_class is _RECALL else metric.title.partition(" (")[0]


def class_score_title(metric: Metric, folds: int) -> str:
    """Return the name with the rule: ``recall, all test clips``; of one fold without it."""
    name = class_score_name(metric)
    return f"{name}, {class_score_rule(metric)}" if folds > 1 else name


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


def unseen_classes(
    clips: "Manifest", targets: Array, fit_rows: Array, test_rows: Array
) -> list[str]:
    """Return the classes of test clips that no clip has which the probe was fitted on."""
    test_counts, fit_counts = (
        _count_classes(targets[rows], len(clips.class_names)) for rows in (test_rows, fit_rows)
    )
    return [clips.class_names[k] for k in np.flatnonzero((test_counts > 0) & (fit_counts == 0))]


def unseen_classes_note(names: Iterable[str]) -> str:
    """Return the note beside a score on :func:`unseen_classes`, of all folds together."""
    return f"never in training: {join_names(sorted(names), _NAMES_SHOWN)}"


def untested_class_notes(
    clips: "Manifest", targets: Array, test_rows: Sequence[Array], subset: str = "test"
) -> list[str]:
    """Return a note on the tags that no test clip has, in all folds or in some, or no note.

    They cannot be scored there, so a macro score is the mean over the others. ``subset`` is the
    word for the clips that are scored.
    """
    if clips.target != "multi":
        return []
    counts = np.array([_count_classes(targets[rows], len(clips.class_names)) for rows in test_rows])
    present = (counts > 0).sum(axis=0)
    notes = []
    for reach, untested in (
        (f"in {subset}", present == 0),
        (f"in {subset} in some folds", (present > 0) & (present < len(counts))),
    ):
        names = [clips.class_names[k] for k in np.flatnonzero(untested)]
        if names:
            notes.append(
                f"never {reach}, and not scored there: {len(names):,} of "
                f"{len(clips.class_names):,} tags ({join_names(names, _NAMES_SHOWN)})"
            )
    return notes


def _count_classes(targets: Array, classes: int) -> Array:
    """Return the number of clips of each class, without those of which it is not known."""
    if targets.ndim == 2:
        return np.nansum(targets, axis=0).astype(np.int64)
    return np.bincount(targets, minlength=classes)


def _entry(score: float, clips: int) -> dict[str, float | int | None]:
    return {"score": None if np.isnan(score) else float(score), "clips": int(clips)}
