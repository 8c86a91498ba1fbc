"""The clips that probes got wrong: what they are, what was said of them, and how surely."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.report.leaderboard import Row
from probekit.scores import predictions
from probekit.scores.predictions import Predictions

KEPT = 1000  # clips a run; they are chosen evenly from all classes
_SHOWN = 5  # classes a clip, of highest scores
_PAIRS = 8  # confusions that are named
_SHARE = 0.1  # of the clips of a regression: those with the largest errors


@dataclass(frozen=True)
class Misclassified:
    """What one run got wrong.

    Attributes
    ----------
    label : str
        The run's.
    wrong, of : int
        Clips, and how many of them were scored.
    clips : list of str
        Ids of those that are kept, the surest mistake first.
    items : list of list
        For each of these: true classes; classes with the highest scores, and the true ones; their
        scores; how sure. For regression: true numbers, numbers predicted, and the error.
    pairs : list of list
        True class, class predicted, clips: the most frequent confusions.
    every : list of str
        Ids of all that are wrong.
    scored : list of str
        Ids of all that were scored.
    problem : str
        Why there is nothing, where predictions cannot be read.
    """

    label: str
    wrong: int = 0
    of: int = 0
    clips: list[str] = field(default_factory=list)
    items: list[list[Any]] = field(default_factory=list)
    pairs: list[list[int]] = field(default_factory=list)
    every: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    problem: str = ""


def of(rows: Sequence[Row]) -> list[Misclassified]:
    """Return what each run of a board got wrong; of several seeds the first one's.

    One label a clip: the class of the highest score is another. Several: as many classes as the
    clip has labels, those of the highest scores, are others; so no threshold is needed, and a clip
    without labels cannot be wrong. Numbers: the tenth of the clips with the largest errors, in
    standard deviations of each target.

    Parameters
    ----------
    rows : sequence of Row
        The runs.

    Returns
    -------
    list of Mistakes
        In the same order.
    """
    return [_of(row) for row in rows]


def _of(row: Row) -> Misclassified:
    result = row.first
    folds = tuple(one["fold"] for one in result["folds"])
    try:
        found = predictions.load(
            row.entry.paths[0].with_suffix(".h5"), folds, result["target"], result["probabilities"]
        )
    except DataError as error:
        return Misclassified(row.label, problem=str(error))
    if not len(found.clip_ids):
        return Misclassified(row.label)
    return _numbers(row.label, found) if found.target == "regression" else _classes(row, found)


def _classes(row: Row, found: Predictions) -> Misclassified:
    """Return the clips whose best classes are not their labels."""
    scores = found.scores
    if not found.probabilities:
        scores = metrics.probabilities(scores, found.target)
    hot = found.targets
    if hot.ndim == 1:
        hot = (found.targets[:, None] == np.arange(scores.shape[1])).astype(np.int8)
    given = _predicted(scores, hot)
    missed, false = (hot == 1) & ~given, given & (hot == 0)
    wrong = np.flatnonzero(false.any(axis=1))
    sure = np.where(false[wrong], scores[wrong], -np.inf).max(axis=1, initial=-np.inf)
    taken = _round_robin(sure, hot[wrong].argmax(axis=1))
    kept = wrong[taken]
    return Misclassified(
        label=row.label,
        wrong=len(wrong),
        of=len(hot),
        clips=[str(name) for name in found.clip_ids[kept]],
        items=_items(hot[kept], scores[kept], sure[taken]),
        pairs=_pairs(missed[wrong], false[wrong]),
        every=[str(name) for name in found.clip_ids[wrong]],
        scored=[str(name) for name in found.clip_ids],
    )


def _predicted(scores: Array, hot: Array) -> Array:
    """Return as many classes of each clip as it has labels: those of the highest scores."""
    given = np.zeros(hot.shape, bool)
    many = hot.sum(axis=1)
    if (many == 1).all():  # the same, faster
        given[np.arange(len(hot)), scores.argmax(axis=1)] = True
        return given
    order = np.argsort(-scores, axis=1, kind="stable")
    np.put_along_axis(given, order, np.arange(hot.shape[1]) < many[:, None], axis=1)
    return given


def _items(hot: Array, scores: Array, sure: Array) -> list[list[Any]]:
    """Return for each clip its classes, those shown, their scores, and how sure it was."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = []
    for own, ranked, values, size in zip(hot, order, scores, sure.tolist(), strict=True):
        true = np.flatnonzero(own).tolist()
        shown = ranked[: max(_SHOWN, len(true))].tolist()
        shown += [k for k in true if k not in shown]
        found.append([true, shown, values[shown].round(4).tolist(), round(size, 4)])
    return found


def _pairs(missed: Array, false: Array) -> list[list[int]]:
    """Return the most frequent confusions: true class, class predicted, clips."""
    counts = missed.T.astype(np.float32) @ false.astype(np.float32)
    most = np.argsort(-counts, axis=None, kind="stable")[:_PAIRS]
    places = zip(*np.unravel_index(most, counts.shape), strict=True)
    return [[int(a), int(b), int(counts[a, b])] for a, b in places if counts[a, b] > 1]


def _numbers(label: str, found: Predictions) -> Misclassified:
    """Return the clips with the largest errors."""
    spread = found.targets.std(axis=0)
    error = (found.scores - found.targets) / np.where(spread > 0, spread, 1.0)
    size = np.sqrt((error**2).mean(axis=1))
    many = min(KEPT, max(1, round(_SHARE * len(size))))
    worst = np.argsort(-size, kind="stable")[:many]
    return Misclassified(
        label=label,
        wrong=many,
        of=len(size),
        clips=[str(found.clip_ids[k]) for k in worst],
        items=[
            [
                [round(float(v), 4) for v in found.targets[k]],
                [round(float(v), 4) for v in found.scores[k]],
                round(float(size[k]), 3),
            ]
            for k in worst
        ],
        every=[str(name) for name in found.clip_ids[worst]],
        scored=[str(name) for name in found.clip_ids],
    )


def _round_robin(sure: Array, main: Array) -> Array:
    """Return places of at most so many clips, from the classes in turn, the surest first."""
    surest = np.argsort(-sure, kind="stable")
    if len(surest) <= KEPT:
        return surest
    seen: Counter[int] = Counter()
    turn = []
    for k in main[surest].tolist():
        turn.append(seen[k])
        seen[k] += 1
    return surest[np.sort(np.argsort(turn, kind="stable")[:KEPT])]
