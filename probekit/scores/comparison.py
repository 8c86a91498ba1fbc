"""Tests of runs against the best one, kept beside the results: a page of old runs is quick."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.bootstrap import CI_METHOD, LEVEL, ResamplingUnits
from probekit.metrics.metrics import Metric
from probekit.metrics.significance import bootstrap_p, corrected_t, holm
from probekit.scores import predictions, store
from probekit.scores.groups import RunGroup, disambiguate_labels, entries, resolve
from probekit.scores.predictions import Predictions
from probekit.scores.store import Result
from probekit.utils import atomic
from probekit.utils.text import summarize_ids

Pair = tuple[Predictions, Predictions]


def align_predictions(first: RunGroup, second: RunGroup) -> list[Pair]:
    """Return the predictions of two entries on the same clips, seed by seed.

    Parameters
    ----------
    first, second : Entry
        Of one task. Where one has a single run, it goes with every seed of the other.

    Returns
    -------
    list of (Predictions, Predictions)
        Row for row the same clips, scored in the same folds.

    Raises
    ------
    DataError
        If they were scored in other folds, share no clip, or their labels differ.
    """
    names = f"{first.label} and {second.label}"
    counts = len(first.results), len(second.results)
    repeats = max(counts) if 1 in counts else min(counts)
    return [_common(_load(first, k), _load(second, k), names) for k in range(repeats)]


def _common(one: Predictions, other: Predictions, names: str) -> Pair:
    """Keep the clips that both scored."""
    keys = [
        {(i, p.folds[f]): row for row, (i, f) in enumerate(zip(p.clip_ids, p.fold, strict=True))}
        for p in (one, other)
    ]
    shared = set(one.clip_ids) & set(other.clip_ids)
    if not shared:
        raise DataError(f"{names} have no test clip in common")
    moved = sorted({i for i, _ in keys[0].keys() ^ keys[1].keys() if i in shared})
    if moved:
        raise DataError(
            f"{names} were scored in other folds: {len(moved):,} of the {len(shared):,} clips that "
            f"both scored, for example {summarize_ids(moved, 1)}; evaluate both under one protocol"
        )
    both = [key for key in keys[0] if key in keys[1]]
    rows = [np.array([own[key] for key in both]) for own in keys]
    left, right = one.subset(rows[0]), other.subset(rows[1])
    if not np.array_equal(left.targets, right.targets):
        raise DataError(f"{names}: the labels of some clips differ; evaluate again")
    # clip by clip in the same fold, though the two may list their folds in another order
    return left, replace(right, fold=left.fold, folds=left.folds)


def _load(entry: RunGroup, k: int) -> Predictions:
    """Read the predictions of an entry's run; the only one is that of every seed."""
    k = min(k, len(entry.results) - 1)
    result = entry.results[k]
    folds = tuple(one["fold"] for one in result["folds"])
    return predictions.load(
        entry.paths[k].with_suffix(".h5"), folds, result["target"], result["probabilities"]
    )


__all__ = [
    "Comparison",
    "RunGroup",
    "against_best",
    "compare",
    "compare_all",
    "corrected_t",
    "entries",
    "holm",
    "resolve",
]


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
        :func:`probekit.metrics.significance.bootstrap_p`.
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
        Runs, as :func:`probekit.scores.groups.resolve` takes them: first digits of their names, or
        embeddings (``"vggish"``; ``"vggish/mlp"`` for another probe than the linear one).
    task : str
        The task; needed where a name does not tell.
    metric : str
        Which metric; by default the task's first.
    reports : str or pathlib.Path, optional
        Where results are; see :func:`probekit.scores.store.root`.

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
    return compare_all([resolve(name, task, reports) for name in names], metric)


def compare_all(found: Sequence[RunGroup], metric: str = "") -> list[Comparison]:
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
    tests = [_pair(a, b, metric) for a, b in combinations(disambiguate_labels(found), 2)]
    return _adjusted(tests)


def against_best(found: Sequence[RunGroup]) -> tuple[RunGroup, list[Comparison]]:
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
    sign = 1 if store.higher_is_better(found[0].results[0]) else -1
    ranked = sorted(disambiguate_labels(found), key=lambda one: -sign * one.score)
    return ranked[0], _adjusted([_pair(ranked[0], other, "") for other in ranked[1:]])


def check(first: RunGroup, second: RunGroup, metric: Metric) -> None:
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


def _pair(first: RunGroup, second: RunGroup, name: str) -> Comparison:
    """Compare two entries; p-values are not adjusted yet."""
    one, other = first.results[0], second.results[0]
    metric = metrics.get_metric(name or one["metric"])
    check(first, second, metric)
    pairs = align_predictions(first, second)
    drawn = [_differences(metric, a, b) for a, b in pairs]
    means = np.mean([own[0] for own in drawn], axis=0)
    means = means[np.isfinite(means)]
    if not len(means):
        raise DataError(f"{metric.title} is not defined on any resample of the test clips")
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    p_bootstrap = bootstrap_p(
        means, ResamplingUnits.of(pairs[0][0].fold, pairs[0][0].groups).freedom
    )
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


def _notes(first: RunGroup, second: RunGroup, clips: int, repeats: int) -> tuple[str, ...]:
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
    return [_with_verdict(one, p) for one, p in zip(tests, adjusted, strict=True)]


def _with_verdict(one: Comparison, adjusted: float) -> Comparison:
    verdict = "not distinguishable"
    if adjusted < 1 - LEVEL:
        better = one.difference > 0
        verdict = "first" if better == metrics.get_metric(one.metric).higher else "second"
    return replace(one, adjusted=adjusted, verdict=verdict)


def _differences(
    metric: Metric, one: Predictions, other: Predictions
) -> tuple[Array, dict[str, float]]:
    """Return the difference of each resample, and that of each fold."""
    units = ResamplingUnits.of(one.fold, one.groups)
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


_TOGETHER = 2  # tests; each takes some hundred MB where there are many classes


def cached_comparisons(best: RunGroup, others: Sequence[RunGroup]) -> list[Comparison | str]:
    """Test runs against the best one.

    Parameters
    ----------
    best : Entry
        The best.
    others : sequence of Entry
        Of the same task.

    Returns
    -------
    list of Comparison or str
        The best against each, p-values not adjusted; or why two cannot be compared. What was
        tested before is read from ``<reports>/comparisons/<task>.json``.
    """
    folder = best.paths[0].parent
    path = folder.parent.parent / "comparisons" / f"{folder.name}.json"
    kept = _read(path)
    keys = [_key(best, other) for other in others]
    with ThreadPoolExecutor(_TOGETHER) as pool:  # numpy leaves Python's lock alone meanwhile
        pairs = zip(keys, others, strict=True)
        found = list(pool.map(lambda pair: kept.get(pair[0]) or _tested(best, pair[1]), pairs))
    new = {k: one for k, one in zip(keys, found, strict=True) if isinstance(one, dict)}
    if not new.keys() <= kept.keys():
        with suppress(OSError):  # of a store that cannot be written, tests are made anew
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.atomic_write_text(
                path, json.dumps({**kept, **new}, indent=1, ensure_ascii=False)
            )
    return [
        one
        if isinstance(one, str)
        else Comparison(**{**one, "first": best.label, "second": other.label})
        for one, other in zip(found, others, strict=True)
    ]


def _tested(best: RunGroup, other: RunGroup) -> dict[str, Any] | str:
    """Return a test, or why two cannot be compared."""
    try:
        return asdict(compare_all([best, other])[0])
    except DataError as error:
        return str(error)


def _key(best: RunGroup, other: RunGroup) -> str:
    """Return the name of a test: SHA-256 of the runs, when they were made, and how it is done."""
    runs = [[[r["run"], r["created"], r["metric"]] for r in e.results] for e in (best, other)]
    how = [version("probekit"), CI_METHOD]
    return hashlib.sha256(json.dumps([runs, how]).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Return the tests that are kept; none where the file is not what it should be."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        fields = set(Comparison.__dataclass_fields__)
        return {key: one for key, one in kept.items() if set(one) == fields}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
