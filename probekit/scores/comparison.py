"""Paired comparison of runs on the clips that both scored."""

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
from probekit.metrics.significance import bootstrap_p, corrected_t_test, holm
from probekit.scores.groups import RunGroup, common_metric, disambiguate_labels, resolve_run
from probekit.scores.predictions import Predictions, load_predictions
from probekit.scores.store import Result
from probekit.utils import atomic
from probekit.utils.text import summarize_ids

Pair = tuple[Predictions, Predictions]
_THREADS = 2  # tests at once; each takes some hundred MB where there are many classes


@dataclass(frozen=True)
class Comparison:
    """Two runs, or run groups, on the clips that both scored.

    Attributes
    ----------
    task, metric : str
        Task and metric.
    first, second : str
        Labels of the runs.
    scores : (float, float)
        On the common clips, mean over folds and seeds.
    difference, low, high : float
        First less second, with its 95 % bootstrap interval.
    p_bootstrap : float
        Two-sided, of the paired bootstrap; see
        :func:`probekit.metrics.significance.bootstrap_p`.
    p_t : float or None
        Two-sided, of the t-test over ``repeats`` differences; None where there is only one.
    repeats : int
        Folds, each with the mean over its seeds; with a fixed split, seeds.
    p : float
        The greater of the two.
    adjusted : float
        ``p`` after Holm's correction for all comparisons of one call.
    clips : int
        Test clips that both scored, counted once a fold.
    verdict : str
        ``first``, ``second``, or ``not distinguishable``: of ``adjusted`` at the 5 % level.
    notes : tuple of str
        Notes to be shown beside it: seeds, missing clips, provenance.
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
    *runs: str,
    task: str = "",
    metric: str = "",
    reports: str | Path | None = None,
) -> list[Comparison]:
    """Test whether runs of one task differ, on the test clips that both scored.

    Two tests are made, and the more cautious one counts: a paired bootstrap over test clips (over
    groups such as artists, where the task has them), and the corrected resampled t-test of Nadeau
    and Bengio (2003) over folds (over the seeds of a fixed split, the plain t-test). *Not
    distinguishable* does not mean equal.

    Parameters
    ----------
    *runs : str
        Two or more runs: the first six or more digits of run ids, or embeddings (``"vggish"``;
        ``"vggish@1a2b3c4d"`` of this fingerprint; ``"vggish/mlp"`` with another probe than the
        linear one). Runs that differ in their seeds only are compared as one.
    task : str
        The task; required where the names do not identify the runs.
    metric : str
        Metric, for example ``"accuracy"``; by default the task's first.
    reports : str or pathlib.Path, optional
        The reports folder; ``PROBEKIT_REPORTS``, else ``reports/out`` by default.

    Returns
    -------
    list of Comparison
        One for each pair of runs, in their order; for two runs a list of one. P-values are adjusted
        for all pairs (Holm, 1979).

    Raises
    ------
    DataError
        If there are fewer than two runs, a name does not match one run, or two runs cannot be
        compared: of other tasks, classes or folds, or without a common test clip.

    See Also
    --------
    probekit.results : Table of the stored results.
    probekit.evaluate : Score probes on embeddings.

    Examples
    --------
    >>> import probekit
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> _ = write_corpus("corpus", clips=24)
    >>> _ = probekit.extract(["melstats", "mfcc"], task="synth", root="corpus")
    >>> _ = probekit.evaluate("synth", ["melstats", "mfcc"], probe="knn")
    >>> [comparison] = probekit.compare("melstats/knn", "mfcc/knn", task="synth")
    >>> comparison.first, comparison.second, comparison.clips
    ('melstats / knn', 'mfcc / knn', 24)
    >>> comparison.low < comparison.difference < comparison.high
    True
    >>> comparison.verdict
    'not distinguishable'

    As a table:

    >>> import pandas as pd
    >>> pd.DataFrame(map(vars, [comparison]))[["task", "metric", "first", "second", "verdict"]]
        task    metric           first      second              verdict
    0  synth  accuracy  melstats / knn  mfcc / knn  not distinguishable
    """
    if len(runs) < 2:
        raise DataError("compare needs at least two runs; see probekit results ls")
    return compare_all([resolve_run(run, task, reports) for run in runs], metric)


def compare_all(groups: Sequence[RunGroup], metric: str = "") -> list[Comparison]:
    """Compare each run group of a task with each other one; see :func:`compare`."""
    paths = [path for group in groups for path in group.paths]
    repeated = sorted({path.stem for path in paths if paths.count(path) > 1})
    if repeated:
        raise DataError(f"the compared runs must differ, got twice: {', '.join(repeated)}")
    return _adjust(
        [_compare_pair(a, b, metric) for a, b in combinations(disambiguate_labels(groups), 2)]
    )


def compare_with_best(groups: Sequence[RunGroup]) -> tuple[RunGroup, list[Comparison]]:
    """Compare the best run group of a task with each other one.

    Parameters
    ----------
    groups : sequence of RunGroup
        Of one task.

    Returns
    -------
    best : RunGroup
        The one of the best score.
    comparisons : list of Comparison
        Best against each other one, by score, p-values adjusted (Holm).

    Raises
    ------
    DataError
        If they are of different metrics, or two cannot be compared.
    """
    sign = 1 if metrics.get_metric(common_metric(groups)).higher_is_better else -1
    best, *others = sorted(disambiguate_labels(groups), key=lambda group: -sign * group.score)
    return best, _adjust([_compare_pair(best, other, "") for other in others])


def cached_comparisons(best: RunGroup, others: Sequence[RunGroup]) -> list[Comparison | str]:
    """Compare the best run group with others, with a cache beside the results.

    Parameters
    ----------
    best : RunGroup
        The best one of a task.
    others : sequence of RunGroup
        Of the same task.

    Returns
    -------
    list of Comparison or str
        The best against each, p-values not adjusted; or why two cannot be compared. Earlier
        comparisons are read from ``<reports>/comparisons/<task>.json``.
    """
    folder = best.paths[0].parent
    path = folder.parent.parent / "comparisons" / f"{folder.name}.json"
    cache = _read_cache(path)
    keys = [_cache_key(best, other) for other in others]
    with ThreadPoolExecutor(_THREADS) as pool:  # numpy releases the interpreter lock meanwhile
        entries = list(
            pool.map(lambda key, other: cache.get(key) or _cache_entry(best, other), keys, others)
        )
    new = {key: entry for key, entry in zip(keys, entries, strict=True) if isinstance(entry, dict)}
    if not new.keys() <= cache.keys():
        with suppress(OSError):  # of a read-only store, nothing is cached
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.atomic_write_text(
                path, json.dumps({**cache, **new}, indent=1, ensure_ascii=False)
            )
    return [
        entry
        if isinstance(entry, str)
        else Comparison(**{**entry, "first": best.label, "second": other.label})
        for entry, other in zip(entries, others, strict=True)
    ]


def _cache_entry(best: RunGroup, other: RunGroup) -> dict[str, Any] | str:
    """Return the fields of a comparison, or why two cannot be compared."""
    try:
        return asdict(compare_all([best, other])[0])
    except DataError as error:
        return str(error)


def _cache_key(best: RunGroup, other: RunGroup) -> str:
    """Return the SHA-256 of the runs, their dates, and the method."""
    runs = [
        [[r["run"], r["created"], r["metric"]] for r in group.results] for group in (best, other)
    ]
    method = [version("probekit"), CI_METHOD]
    return hashlib.sha256(json.dumps([runs, method]).encode()).hexdigest()


def _read_cache(path: Path) -> dict[str, Any]:
    """Return the cached comparisons; none if the file is missing or damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        fields = set(Comparison.__dataclass_fields__)
        return {key: entry for key, entry in entries.items() if set(entry) == fields}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def check_comparable(first: RunGroup, second: RunGroup, metric: Metric) -> None:
    """Raise DataError if two run groups differ in task or classes, or the metric does not fit."""
    a, b = first.results[0], second.results[0]
    if a["task"] != b["task"]:
        raise DataError(
            f"{first.label} was scored on {a['task']}, {second.label} on {b['task']}: only runs of "
            "one task can be compared"
        )
    if a["classes"] != b["classes"]:
        raise DataError(
            f"{first.label} and {second.label} were scored on different classes of {a['task']} "
            f"({len(a['classes'])} and {len(b['classes'])}); evaluate again"
        )
    if a["target"] not in metric.targets:
        raise DataError(
            f"--metric {metric.name} needs {' or '.join(metric.targets)} targets; those of "
            f"{a['task']} are {a['target']}"
        )


def align_predictions(first: RunGroup, second: RunGroup) -> list[Pair]:
    """Return the predictions of two run groups on the common clips, seed by seed.

    A group of one run is paired with every seed of the other.

    Parameters
    ----------
    first, second : RunGroup
        Of one task.

    Returns
    -------
    list of (Predictions, Predictions)
        Row for row the same clips, scored in the same folds.

    Raises
    ------
    DataError
        If they were scored in other folds, share no clip, or their labels differ.
    """
    labels = f"{first.label} and {second.label}"
    counts = len(first.results), len(second.results)
    repeats = max(counts) if 1 in counts else min(counts)
    return [
        _common_clips(_load_seed(first, k), _load_seed(second, k), labels) for k in range(repeats)
    ]


def _load_seed(group: RunGroup, k: int) -> Predictions:
    """Load the predictions of run k; those of the only run for every k."""
    k = min(k, len(group.results) - 1)
    return load_predictions(group.paths[k], group.results[k])


def _common_clips(first: Predictions, second: Predictions, labels: str) -> Pair:
    """Return the predictions of the clips that both scored."""
    rows_by_key = [
        {
            (clip_id, run.folds[fold]): row
            for row, (clip_id, fold) in enumerate(zip(run.clip_ids, run.fold, strict=True))
        }
        for run in (first, second)
    ]
    shared = set(first.clip_ids) & set(second.clip_ids)
    if not shared:
        raise DataError(f"{labels} have no test clip in common")
    unmatched = rows_by_key[0].keys() ^ rows_by_key[1].keys()
    moved = sorted({clip_id for clip_id, _ in unmatched if clip_id in shared})
    if moved:
        raise DataError(
            f"{labels} were scored in other folds: {len(moved):,} of the {len(shared):,} clips "
            f"that both scored, for example {summarize_ids(moved, 1)}; evaluate both under one "
            "protocol"
        )
    common = [key for key in rows_by_key[0] if key in rows_by_key[1]]
    left, right = (
        run.subset(np.array([rows[key] for key in common]))
        for run, rows in zip((first, second), rows_by_key, strict=True)
    )
    if not np.array_equal(left.targets, right.targets):
        raise DataError(f"{labels}: the labels of some clips differ; evaluate again")
    # each clip is in the same fold, but the two may list their folds in another order
    return left, replace(right, fold=left.fold, folds=left.folds)


def _compare_pair(first: RunGroup, second: RunGroup, metric_name: str) -> Comparison:
    """Compare two run groups; p-values are not adjusted yet."""
    a, b = first.results[0], second.results[0]
    metric = metrics.get_metric(metric_name or a["metric"])
    check_comparable(first, second, metric)
    pairs = align_predictions(first, second)
    resampled, by_fold = zip(*(_differences(metric, *pair) for pair in pairs), strict=True)
    means = np.mean(resampled, axis=0)
    means = means[np.isfinite(means)]
    if not len(means):
        raise DataError(f"{metric.title} is not defined on any resample of the test clips")
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    units = ResamplingUnits.from_groups(pairs[0][0].fold, pairs[0][0].groups)
    p_bootstrap = bootstrap_p(means, units.degrees_of_freedom)
    if len(by_fold[0]) > 1:
        differences = [
            float(np.mean([seed[fold] for seed in by_fold if fold in seed])) for fold in by_fold[0]
        ]
        # of two fractions of the labels, the smaller one is the more cautious
        test_over_train = max(_test_over_train(a), _test_over_train(b))
    else:  # seeds of a fixed split: no training clips are exchanged for test clips
        differences = [value for seed in by_fold for value in seed.values()]
        test_over_train = 0.0
    p_t = corrected_t_test(np.array(differences), test_over_train) if len(differences) > 1 else None
    scores = [
        float(np.mean([np.mean(run.by_fold(metric)) for run in runs]))
        for runs in zip(*pairs, strict=True)
    ]
    clips = len(pairs[0][0].clip_ids)
    p = max(p_bootstrap, p_t or 0.0)
    return Comparison(
        task=a["task"],
        metric=metric.name,
        first=first.label,
        second=second.label,
        scores=(scores[0], scores[1]),
        difference=scores[0] - scores[1],
        low=float(low),
        high=float(high),
        p_bootstrap=p_bootstrap,
        p_t=p_t,
        repeats=len(differences),
        p=p,
        adjusted=p,
        clips=clips,
        verdict="",
        notes=_notes(first, second, clips, len(pairs)),
    )


def _differences(
    metric: Metric, first: Predictions, second: Predictions
) -> tuple[Array, dict[str, float]]:
    """Return the difference of each resample, and that of each fold."""
    units = ResamplingUnits.from_groups(first.fold, first.groups)
    scores = [run.scores_for(metric) for run in (first, second)]
    resampled = units.resample(metric, first.targets, scores)
    fold_scores = zip(first.folds, first.by_fold(metric), second.by_fold(metric), strict=True)
    by_fold = {name: a - b for name, a, b in fold_scores}
    undefined = [name for name, value in by_fold.items() if np.isnan(value)]
    if undefined:
        raise DataError(
            f"{metric.title} is not defined on the clips that both scored in fold {undefined[0]}"
        )
    return resampled[:, 0] - resampled[:, 1], by_fold


def _test_over_train(result: Result) -> float:
    return float(np.mean([fold["test"] / fold["train"] for fold in result["folds"]]))


def _notes(first: RunGroup, second: RunGroup, clips: int, repeats: int) -> tuple[str, ...]:
    """Return what must be shown beside a comparison: seeds, missing clips, provenance."""
    notes = []
    for group in (first, second):
        if len(group.results) > 1:
            first_of = "" if len(group.results) == repeats else "the first "
            notes.append(f"{group.label}: mean of {first_of}{repeats} seeds")
    most = max(
        sum(fold["test"] for fold in result["folds"])
        for result in (*first.results, *second.results)
    )
    if clips < most:
        notes.append(
            f"{first.label}, {second.label}: on the {clips:,} test clips that both scored, of up "
            f"to {most:,}"
        )
    provenance = {
        group.label: dict.fromkeys(note for r in group.results for note in r["provenance"])
        for group in (first, second)
    }
    shared = [note for note in provenance[first.label] if note in provenance[second.label]]
    single = [
        f"{label}: {note}"
        for label, listed in provenance.items()
        for note in listed
        if note not in shared
    ]
    return (*notes, *shared, *single)


def _adjust(comparisons: list[Comparison]) -> list[Comparison]:
    """Return comparisons with adjusted p-values and a verdict."""
    adjusted = holm([comparison.p for comparison in comparisons])
    return [
        replace(comparison, adjusted=p, verdict=_verdict(comparison, p))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def _verdict(comparison: Comparison, p: float) -> str:
    if not p < 1 - LEVEL:
        return "not distinguishable"
    higher = comparison.difference > 0
    higher_is_better = metrics.get_metric(comparison.metric).higher_is_better
    return "first" if higher == higher_is_better else "second"
