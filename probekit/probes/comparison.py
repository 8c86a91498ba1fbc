"""Paired tests of runs on the same clips: is one better than another.

Two tests, each with its own question. The bootstrap draws test clips (or groups): would the
difference hold for other clips? Over folds or repeated splits the corrected resampled t-test
(Nadeau and Bengio, Machine Learning 52, 2003) asks whether it would hold for other training sets,
too: plain t-tests over folds are far too sure, since folds share most of their training clips. With
a fixed split and several seeds a plain t-test asks whether it would hold for other seeds. Where two
apply, the more cautious one counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.errors import DataError
from probekit.probes import pairing, results
from probekit.probes.entry import Entry, distinct, entries, find
from probekit.probes.predictions import Predictions
from probekit.probes.results import Result
from probekit.probes.significance import bootstrap_p, corrected_t, holm
from probekit.probes.statistics import LEVEL, Units
from probekit.tasks import metrics
from probekit.tasks.metrics import Metric

__all__ = [
    "Comparison",
    "Entry",
    "against_best",
    "among",
    "compare",
    "corrected_t",
    "entries",
    "find",
    "holm",
]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Comparison:
    """Two runs (or two sets of runs that differ in their seeds) on the clips that both scored.

    Attributes
    ----------
    task, metric : str
        What was scored.
    first, second : str
        The runs' labels.
    scores : (float, float)
        On the common clips, mean over folds and seeds.
    difference, low, high : float
        First less second, with its 95 % bootstrap interval.
    p_bootstrap : float
        Two-sided, from the paired bootstrap; see
        :func:`probekit.probes.significance.bootstrap_p`.
    p_t : float or None
        Two-sided, from the t-test over ``repeats`` differences; None where there is one only.
    repeats : int
        Folds, each with the mean over its seeds; with a fixed split, seeds.
    p : float
        The greater of the two.
    adjusted : float
        ``p`` after Holm's correction for all comparisons made together.
    clips : int
        Test clips that both scored, each fold's counted.
    verdict : str
        ``first``, ``second``, or ``not distinguishable``: of ``adjusted`` at the 5 % level.
    notes : tuple of str
        What has to be said beside it.
    """

    task: str
    metric: str
    first: str
    second: str
    scores: tuple[float, float]
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_t: float | None
    repeats: int
    p: float
    adjusted: float
    clips: int
    verdict: str
    notes: tuple[str, ...]


def compare(
    names: Sequence[str],
    *,
    task: str = "",
    metric: str = "",
    reports: str | Path | None = None,
) -> list[Comparison]:
    """Compare runs of one task, each with each.

    Parameters
    ----------
    names : sequence of str, at least two
        Runs, as :func:`probekit.probes.entry.find` takes them: first digits of their names, or
        embeddings (``"vggish"``; ``"vggish/mlp"`` for another probe than the linear one).
    task : str
        The task; needed where a name does not tell.
    metric : str
        Which metric; by default the task's first.
    reports : str or pathlib.Path, optional
        Where results are; see :func:`probekit.probes.results.root`.

    Returns
    -------
    list of Comparison
        Of all pairs, in the order of ``names``, p-values adjusted for all of them (Holm).

    Raises
    ------
    DataError
        If a name is not that of one run, or two runs cannot be compared.
    """
    if len(names) < 2:
        raise DataError("compare needs at least two runs; see probekit results ls")
    return among([find(name, task, reports) for name in names], metric)


def among(found: Sequence[Entry], metric: str = "") -> list[Comparison]:
    """Compare each with each.

    Parameters
    ----------
    found : sequence of Entry
        Of one task.
    metric : str
        Which metric; by default the task's first.

    Returns
    -------
    list of Comparison
        Of all pairs, in the order of ``found``, p-values adjusted for all of them (Holm).

    Raises
    ------
    DataError
        If one is there twice, or two cannot be compared.
    """
    runs = [path for one in found for path in one.paths]
    twice = sorted({path.stem for path in runs if runs.count(path) > 1})
    if twice:
        raise DataError(f"the same run twice: {', '.join(twice)}")
    tests = [_pair(a, b, metric) for a, b in combinations(distinct(found), 2)]
    return _adjusted(tests)


def against_best(found: Sequence[Entry]) -> tuple[Entry, list[Comparison]]:
    """Test every entry against the one that scores best.

    Parameters
    ----------
    found : sequence of Entry
        Of one task.

    Returns
    -------
    Entry
        The best one.
    list of Comparison
        Best against each other one, from the nearest on, p-values adjusted (Holm).

    Raises
    ------
    DataError
        If they are of different metrics, or two cannot be compared.
    """
    scored = sorted({one.results[0]["metric"] for one in found})
    if len(scored) > 1:
        raise DataError(
            f"{found[0].results[0]['task']}: results are of different metrics "
            f"({', '.join(scored)}): evaluate again, and delete those of old"
        )
    sign = 1 if results.higher(found[0].results[0]) else -1
    ranked = sorted(distinct(found), key=lambda one: -sign * one.score)
    return ranked[0], _adjusted([_pair(ranked[0], other, "") for other in ranked[1:]])


def check(first: Entry, second: Entry, metric: Metric) -> None:
    """Refuse runs that cannot be compared class by class, and a metric that does not fit them.

    Parameters
    ----------
    first, second : Entry
        To be compared.
    metric : Metric
        By which.

    Raises
    ------
    DataError
        If they are of two tasks, or had other classes, or the metric is for other targets.
    """
    one, other = first.results[0], second.results[0]
    if one["task"] != other["task"]:
        raise DataError(
            f"{first.label} was scored on {one['task']}, {second.label} on {other['task']}: only "
            "runs of one task can be compared"
        )
    if one["classes"] != other["classes"]:
        raise DataError(
            f"{first.label} and {second.label}: {one['task']} had other classes then "
            f"({len(one['classes'])} and {len(other['classes'])}); evaluate again"
        )
    if one["target"] not in metric.targets:
        raise DataError(
            f"--metric {metric.name}: for {' or '.join(metric.targets)} targets; those of "
            f"{one['task']} are {one['target']}"
        )


def _pair(first: Entry, second: Entry, name: str) -> Comparison:
    """Compare two entries; p-values are not adjusted yet."""
    one, other = first.results[0], second.results[0]
    metric = metrics.get(name or one["metric"])
    check(first, second, metric)
    pairs = pairing.aligned(first, second)
    drawn = [_differences(metric, a, b) for a, b in pairs]
    means = np.mean([own[0] for own in drawn], axis=0)
    means = means[np.isfinite(means)]
    if not len(means):
        raise DataError(f"{metric.title} is not defined on any resample of the test clips")
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    p_bootstrap = bootstrap_p(means, Units.of(pairs[0][0].fold, pairs[0][0].groups).freedom)
    by_fold = [own[1] for own in drawn]
    if len(by_fold[0]) > 1:
        each = [float(np.mean([own[f] for own in by_fold if f in own])) for f in by_fold[0]]
        # of two shares of the labels the smaller one is the more cautious
        share = max(_test_over_train(one), _test_over_train(other))
    else:  # seeds of a fixed split: no training clips are exchanged for test clips
        each, share = [value for own in by_fold for value in own.values()], 0.0
    p_t = corrected_t(np.array(each), share) if len(each) > 1 else None
    scores = [
        float(np.mean([np.mean(side.by_fold(metric)) for side in sides]))
        for sides in zip(*pairs, strict=True)
    ]
    clips = len(pairs[0][0].clip_ids)
    p = max(p_bootstrap, p_t or 0.0)
    return Comparison(
        task=one["task"],
        metric=metric.name,
        first=first.label,
        second=second.label,
        scores=(scores[0], scores[1]),
        difference=scores[0] - scores[1],
        low=float(low),
        high=float(high),
        p_bootstrap=p_bootstrap,
        p_t=p_t,
        repeats=len(each),
        p=p,
        adjusted=p,
        clips=clips,
        verdict="",
        notes=_notes(first, second, clips, len(pairs)),
    )


def _notes(first: Entry, second: Entry, clips: int, repeats: int) -> tuple[str, ...]:
    """Return what has to be said beside a comparison: seeds, missing clips, provenance."""
    notes = []
    for one in (first, second):
        if len(one.results) > 1:
            cut = "" if len(one.results) == repeats else "the first "
            notes.append(f"{one.label}: mean of {cut}{repeats} seeds")
    most = max(_scored(r) for r in (*first.results, *second.results))
    if clips < most:
        notes.append(
            f"{first.label}, {second.label}: on the {clips:,} test clips that both scored, of up "
            f"to {most:,}"
        )
    said = {e.label: dict.fromkeys(t for r in e.results for t in r["provenance"])
            for e in (first, second)}  # fmt: skip
    shared = [text for text in said[first.label] if text in said[second.label]]
    own = [f"{name}: {text}" for name in said for text in said[name] if text not in shared]
    return (*notes, *shared, *own)


def _adjusted(tests: list[Comparison]) -> list[Comparison]:
    adjusted = holm([one.p for one in tests])
    return [_judged(one, p) for one, p in zip(tests, adjusted, strict=True)]


def _judged(one: Comparison, adjusted: float) -> Comparison:
    verdict = "not distinguishable"
    if adjusted < 1 - LEVEL:
        better = one.difference > 0
        verdict = "first" if better == metrics.get(one.metric).higher else "second"
    return replace(one, adjusted=adjusted, verdict=verdict)


def _differences(
    metric: Metric, one: Predictions, other: Predictions
) -> tuple[Array, dict[str, float]]:
    """Return the difference of each resample, and that of each fold."""
    units = Units.of(one.fold, one.groups)
    several = [side.scores_for(metric) for side in (one, other)]
    drawn = units.resampled(metric, one.targets, several)
    scores = zip(one.folds, one.by_fold(metric), other.by_fold(metric), strict=True)
    each = {name: a - b for name, a, b in scores}
    undefined = [name for name, value in each.items() if np.isnan(value)]
    if undefined:
        raise DataError(
            f"{metric.title} is not defined on the clips that both scored in fold {undefined[0]}"
        )
    return drawn[:, 0] - drawn[:, 1], each


def _test_over_train(result: Result) -> float:
    return float(np.mean([one["test"] / one["train"] for one in result["folds"]]))


def _scored(result: Result) -> int:
    return sum(one["test"] for one in result["folds"])
