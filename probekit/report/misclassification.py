"""Misclassified clips of each run: labels, predictions, and scores."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics.metrics import is_known, one_hot, to_probabilities
from probekit.report.leaderboard import LeaderboardRow
from probekit.scores.predictions import Predictions, load_predictions

MOST_CLIPS = 1000  # listed for each run, chosen evenly from all classes
_CLASSES_SHOWN = 5  # for each clip, those of the highest scores
_CONFUSIONS_SHOWN = 8
_WORST_FRACTION = 0.1  # of the clips of a regression: those with the largest errors


@dataclass(frozen=True)
class Misclassified:
    """Misclassified clips of one run.

    Attributes
    ----------
    label : str
        Display label of the run.
    wrong, total : int
        Numbers of misclassified and of scored clips.
    clip_ids : list of str
        Listed clips, the highest wrong score first.
    items : list of list
        For each listed clip: its classes; the classes with the highest scores, and its own; their
        scores; the highest wrong score. For regression: targets, predictions, error.
    pairs : list of list
        True class, predicted class, clips: the most frequent confusions.
    wrong_ids, scored_ids : list of str
        All misclassified, and all scored clips.
    problem : str
        Why predictions could not be read, else empty.
    """

    label: str
    wrong: int = 0
    total: int = 0
    clip_ids: list[str] = field(default_factory=list)
    items: list[list[Any]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    wrong_ids: list[str] = field(default_factory=list)
    scored_ids: list[str] = field(default_factory=list)
    problem: str = ""


def find_misclassified(rows: Sequence[LeaderboardRow]) -> list[Misclassified]:
    """Return the misclassified clips of each run; of several seeds, of the first one's.

    One label a clip: misclassified if the predicted class is another. Several: as many
    classes as the clip has labels, those of the highest scores, count as predicted; so no threshold
    is needed, and a clip without labels cannot be misclassified. Numbers: the tenth of the clips
    with the largest errors, in standard deviations of each target.
    """
    ids: dict[bytes, list[str]] = {}  # runs of the same clips share them
    return [_find_in_run(row, ids) for row in rows]


def _find_in_run(row: LeaderboardRow, ids: dict[bytes, list[str]]) -> Misclassified:
    try:
        predicted = load_predictions(row.group.paths[0], row.first_run, by_clip=True)
    except DataError as error:
        return Misclassified(row.label, problem=str(error))
    if not len(predicted.clip_ids):
        return Misclassified(row.label)
    first = np.sort(np.unique(predicted.clip_ids, return_index=True)[1])
    if len(first) < len(predicted.clip_ids):  # of repeated folds the first ones
        predicted = predicted.subset(first)
    key = predicted.clip_ids.tobytes()
    if key not in ids:
        ids[key] = predicted.clip_ids.tolist()
    if predicted.target == "regression":
        return _largest_errors(row.label, predicted, ids[key])
    return _wrong_classes(row.label, predicted, ids[key])


def _wrong_classes(label: str, predicted: Predictions, clip_ids: list[str]) -> Misclassified:
    """Return the clips with a predicted class that is not among their labels."""
    scores = predicted.scores
    if not predicted.probabilities:
        scores = to_probabilities(scores, predicted.target)
    labels = predicted.targets
    if labels.ndim == 1:
        labels = one_hot(labels, scores.shape[1]).astype(np.int8)
    top = _predicted_classes(scores, labels)
    if predicted.own_classes is not None:
        top = one_hot(predicted.own_classes, scores.shape[1])
    missed, false = (labels == 1) & ~top, top & (labels == 0)
    wrong = np.flatnonzero(false.any(axis=1))
    confidence = np.where(false[wrong], scores[wrong], -np.inf).max(axis=1, initial=-np.inf)
    selected = _round_robin(confidence, (labels[wrong] == 1).argmax(axis=1))
    listed = wrong[selected]
    return Misclassified(
        label=label,
        wrong=len(wrong),
        total=len(labels),
        clip_ids=[clip_ids[k] for k in listed],
        items=_items(labels[listed], scores[listed], confidence[selected]),
        pairs=_frequent_confusions(missed[wrong], false[wrong]),
        wrong_ids=[clip_ids[k] for k in wrong],
        scored_ids=clip_ids,
    )


def _predicted_classes(scores: Array, labels: Array) -> Array:
    """Return as many classes of each clip as it has labels: those of the highest scores."""
    predicted = np.zeros(labels.shape, bool)
    count = (labels == 1).sum(axis=1)
    scores = np.where(is_known(labels), scores, -np.inf)  # unknown labels are not predicted
    if (count == 1).all():  # the same, faster
        predicted[np.arange(len(labels)), scores.argmax(axis=1)] = True
        return predicted
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.arange(labels.shape[1])
    np.put_along_axis(predicted, order, ranks < count[:, None], axis=1)
    return predicted


def _items(labels: Array, scores: Array, confidence: Array) -> list[list[Any]]:
    """Return for each clip its classes, those shown, their scores, and the highest wrong score."""
    order, rounded = np.argsort(-scores, axis=1, kind="stable"), scores.round(4)
    highest_classes = order[:, :_CLASSES_SHOWN]
    highest_scores = np.take_along_axis(rounded, highest_classes, axis=1).tolist()
    clips, classes = np.nonzero(labels == 1)
    ends = np.searchsorted(clips, np.arange(len(labels)), side="right").tolist()
    true_classes, start, items = classes.tolist(), 0, []
    for k, (shown, values) in enumerate(zip(highest_classes.tolist(), highest_scores, strict=True)):
        true, start = true_classes[start : ends[k]], ends[k]
        if len(true) > _CLASSES_SHOWN or not set(true) <= set(shown):
            shown = order[k, : max(_CLASSES_SHOWN, len(true))].tolist()
            shown += [number for number in true if number not in shown]
            values = rounded[k, shown].tolist()
        items.append([true, shown, values, round(float(confidence[k]), 4)])
    return items


def _frequent_confusions(missed: Array, false: Array) -> list[list[int]]:
    """Return the most frequent confusions: true class, predicted class, clips."""
    counts = missed.T.astype(np.float32) @ false.astype(np.float32)
    highest = np.argsort(-counts, axis=None, kind="stable")[:_CONFUSIONS_SHOWN]
    pairs = zip(*np.unravel_index(highest, counts.shape), strict=True)
    return [[int(a), int(b), int(counts[a, b])] for a, b in pairs if counts[a, b] > 1]


def _largest_errors(label: str, predicted: Predictions, clip_ids: list[str]) -> Misclassified:
    """Return the clips of a regression with the largest errors."""
    spread = predicted.targets.std(axis=0)
    errors = (predicted.scores - predicted.targets) / np.where(spread > 0, spread, 1.0)
    size = np.sqrt((errors**2).mean(axis=1))
    count = min(MOST_CLIPS, max(1, round(_WORST_FRACTION * len(size))))
    worst = np.argsort(-size, kind="stable")[:count]
    worst_ids = [clip_ids[k] for k in worst]
    return Misclassified(
        label=label,
        wrong=count,
        total=len(size),
        clip_ids=worst_ids,
        items=[
            [
                [round(float(v), 4) for v in predicted.targets[k]],
                [round(float(v), 4) for v in predicted.scores[k]],
                round(float(size[k]), 3),
            ]
            for k in worst
        ],
        wrong_ids=worst_ids,
        scored_ids=clip_ids,
    )


def _round_robin(confidence: Array, classes: Array) -> Array:
    """Return positions of at most 1,000 clips, from the classes in turn, best scores first."""
    ranked = np.argsort(-confidence, kind="stable")
    if len(ranked) <= MOST_CLIPS:
        return ranked
    count: Counter[int] = Counter()
    turns = []
    for k in classes[ranked].tolist():
        turns.append(count[k])
        count[k] += 1
    return ranked[np.sort(np.argsort(turns, kind="stable")[:MOST_CLIPS])]
