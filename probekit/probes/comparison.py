"""Paired tests of runs on the same clips: is one better than another.

Two tests, each with its own question. The bootstrap draws test clips (or groups): would the
difference hold for other clips? Over folds or seeds the corrected resampled t-test (Nadeau and
Bengio, Machine Learning 52, 2003) asks whether it would hold for other training sets, too: plain
t-tests over folds are far too sure, since folds share most of their training clips. Where both
apply, the more cautious one counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from probekit.errors import DataError
from probekit.probes import predictions, results
from probekit.probes.predictions import Predictions
from probekit.probes.results import Result
from probekit.probes.statistics import LEVEL, RESAMPLES, Units
from probekit.tasks import metrics
from probekit.tasks.metrics import Metric

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
        Two-sided, from the paired bootstrap; at least 2 / 1,001.
    p_t : float or None
        Two-sided, from the corrected resampled t-test over ``repeats`` differences; None where
        there is one only.
    repeats : int
        Folds times seeds.
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


@dataclass(frozen=True)
class Entry:
    """Runs that are compared as one: the same but for their seeds.

    Attributes
    ----------
    label : str
        What to call them.
    results : tuple of Result
        By seed.
    paths : tuple of pathlib.Path
        Their files.
    """

    label: str
    results: tuple[Result, ...]
    paths: tuple[Path, ...]

    @property
    def score(self) -> float:
        """The mean over seeds."""
        return float(np.mean([result["score"] for result in self.results]))


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
        Runs: first digits of their names, or embeddings (``"vggish"``) that have one run of the
        task, or several that differ in the seed. ``"vggish/mlp"`` says which probe.
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
    entries = [find(name, task, reports) for name in names]
    return among(entries, metric)


def among(entries: Sequence[Entry], metric: str = "") -> list[Comparison]:
    """Compare each with each; see :func:`compare`."""
    found = [_pair(a, b, metric) for a, b in combinations(entries, 2)]
    adjusted = holm([one.p for one in found])
    return [_judged(one, p) for one, p in zip(found, adjusted, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for being several (Holm, Scand. J. Statistics 6, 1979).

    Parameters
    ----------
    p : sequence of float, each from 0 to 1
        Of as many tests.

    Returns
    -------
    list of float
        In the same order; at most 1.
    """
    order = np.argsort(p)
    steps = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in found]


def corrected_t(differences: Array, test_over_train: float) -> float:
    """Return the two-sided p-value of the corrected resampled t-test.

    Parameters
    ----------
    differences : numpy.ndarray, shape (repeats,), at least two
        Of two learners, fold by fold or split by split.
    test_over_train : float > 0
        Test clips for each training clip.

    Returns
    -------
    float
        1 where all differences are 0, 0 where they are all the same and not 0.
    """
    repeats = len(differences)
    mean, variance = float(np.mean(differences)), float(np.var(differences, ddof=1))
    if variance == 0:
        return 1.0 if mean == 0 else 0.0
    statistic = mean / np.sqrt((1 / repeats + test_over_train) * variance)
    return float(2 * student.sf(abs(statistic), repeats - 1))


def find(name: str, task: str = "", reports: str | Path | None = None) -> Entry:
    """Return the runs that a user names.

    Parameters
    ----------
    name : str
        See :func:`compare`.
    task : str
        Only of this task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    Entry
        One run, or several that differ in their seeds.

    Raises
    ------
    DataError
        If there is none, or several that differ in more than the seed; lists them.
    """
    every = [(p, r) for p, r in results.files(reports) if task in ("", r["task"])]
    if len(name) >= 6 and all(c in "0123456789abcdef" for c in name):
        own = [(p, r) for p, r in every if r["run"].startswith(name)]
    else:
        embedding, _, probe = name.partition("/")
        own = [
            (p, r)
            for p, r in every
            if r["embedding"] == embedding and (r["probe"] == probe or not probe)
        ]
    kinds = {_kind(r) for _, r in own}
    if len(kinds) == 1:
        return _entry(own)
    where = results.root(reports)
    if not own:
        there = ", ".join(sorted({r["embedding"] for _, r in every})) or "none"
        raise DataError(
            f"{where}: no run {name!r}{f' of {task}' if task else ''}; there is {there}"
        )
    listed = "\n".join(
        f"  {r['run'][:12]}  {r['task']}  {_label(r)}  {r['score']:.3f}  {r['created']}"
        for _, r in own
    )
    raise DataError(f"{where}: several runs are {name!r}; say which by its first digits:\n{listed}")


def entries(task: str, reports: str | Path | None = None) -> list[Entry]:
    """Return all runs of a task, those that differ in their seeds alone as one.

    Parameters
    ----------
    task : str
        The task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    list of Entry
        In no particular order.
    """
    groups: dict[tuple[Any, ...], list[tuple[Path, Result]]] = {}
    for path, result in results.files(reports):
        if result["task"] == task:
            groups.setdefault(_kind(result), []).append((path, result))
    return [_entry(own) for own in groups.values()]


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
    """
    sign = 1 if results.higher(found[0].results[0]) else -1
    ranked = sorted(found, key=lambda one: -sign * one.score)
    tests = [_pair(ranked[0], other, "") for other in ranked[1:]]
    adjusted = holm([one.p for one in tests])
    return ranked[0], [_judged(one, p) for one, p in zip(tests, adjusted, strict=True)]


def _entry(own: list[tuple[Path, Result]]) -> Entry:
    own = sorted(own, key=lambda pair: pair[1]["seed"])
    return Entry(_label(own[0][1]), tuple(r for _, r in own), tuple(p for p, _ in own))


def _kind(result: Result) -> tuple[Any, ...]:
    """Return what runs of one entry have in common: all but the seed and when they were made."""
    fingerprints = tuple(source["fingerprint"] for source in result["sources"])
    return (
        result["task"],
        result["embedding"],
        fingerprints,
        result["probe"],
        str(result["settings"]),
        tuple(result["steps"]),
        result["fraction"],
        result["manifest"],
    )


def _label(result: Result) -> str:
    words = [result["embedding"]]
    if result["probe"] != "linear":
        words.append(result["probe"])
    if result["preset"]:
        words.append(result["preset"])
    if result["fraction"] < 1:
        words.append(f"{100 * result['fraction']:g} % of labels")
    return " / ".join(words)


def _pair(first: Entry, second: Entry, name: str) -> Comparison:
    """Compare two entries; p-values are not adjusted yet."""
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
    metric = metrics.get(name or one["metric"])
    notes: list[str] = []
    pairs = _aligned(first, second, notes)
    drawn = [_differences(metric, a, b) for a, b in pairs]
    means = np.mean([one[0] for one in drawn], axis=0)
    each = np.concatenate([own[1] for own in drawn])
    low, high = np.nanpercentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    finite = means[np.isfinite(means)]
    tail = min((finite <= 0).sum(), (finite >= 0).sum()) + 1
    p_bootstrap = min(1.0, 2 * tail / (RESAMPLES + 1))
    p_t = None
    if len(each) > 1:
        p_t = corrected_t(each, _test_over_train(one))
    scores = [
        float(np.mean([np.mean(side.by_fold(metric)) for side in sides]))
        for sides in zip(*pairs, strict=True)
    ]
    clips = len(pairs[0][0].clip_ids)
    most = max(r["clips"]["used"] for r in (*first.results, *second.results))
    if any(len(a.clip_ids) < _scored(r) for (a, _), r in zip(pairs, first.results, strict=False)):
        notes.append(f"on the {clips:,} test clips that both scored (of up to {most:,} clips)")
    notes += dict.fromkeys(
        text for r in (*first.results, *second.results) for text in r["provenance"]
    )
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
        notes=tuple(notes),
    )


def _judged(one: Comparison, adjusted: float) -> Comparison:
    verdict = "not distinguishable"
    if adjusted < 1 - LEVEL:
        better = one.difference > 0
        verdict = "first" if better == metrics.get(one.metric).higher else "second"
    return replace(one, adjusted=adjusted, verdict=verdict)


def _aligned(
    first: Entry, second: Entry, notes: list[str]
) -> list[tuple[Predictions, Predictions]]:
    """Return predictions of both on the same clips, seed by seed."""
    pairs = []
    repeats = max(len(first.results), len(second.results))
    if len(first.results) != len(second.results):
        if 1 not in (len(first.results), len(second.results)):
            repeats = min(len(first.results), len(second.results))
        notes.append(f"{len(first.results)} and {len(second.results)} seeds")
    for k in range(repeats):
        one, other = (_load(e, min(k, len(e.results) - 1)) for e in (first, second))
        pairs.append(_common(one, other, first.label, second.label))
    return pairs


def _load(entry: Entry, k: int) -> Predictions:
    result = entry.results[k]
    folds = tuple(one["fold"] for one in result["folds"])
    return predictions.load(
        entry.paths[k].with_suffix(".h5"), folds, result["target"], result["probabilities"]
    )


def _common(
    one: Predictions, other: Predictions, first: str, second: str
) -> tuple[Predictions, Predictions]:
    """Keep the clips that both scored in the same fold."""
    if set(one.folds) != set(other.folds):
        raise DataError(
            f"{first} and {second} were scored in other folds ({', '.join(one.folds[:4])} … and "
            f"{', '.join(other.folds[:4])} …): evaluate both under one protocol"
        )
    keys = [
        {(i, p.folds[f]): row for row, (i, f) in enumerate(zip(p.clip_ids, p.fold, strict=True))}
        for p in (one, other)
    ]
    both = [key for key in keys[0] if key in keys[1]]
    if not both:
        raise DataError(f"{first} and {second} have no test clip in common")
    rows = [np.array([own[key] for key in both]) for own in keys]
    kept = one.subset(rows[0]), other.subset(rows[1])
    if not np.array_equal(kept[0].targets, kept[1].targets):
        raise DataError(f"{first} and {second}: the labels of some clips differ; evaluate again")
    return kept


def _differences(metric: Metric, one: Predictions, other: Predictions) -> tuple[Array, Array]:
    """Return the difference of each resample, and that of each fold."""
    units = Units.of(one.fold, one.groups)
    several = [side.scores_for(metric) for side in (one, other)]
    drawn = units.resampled(metric, one.targets, several)
    aligned = dict(zip(other.folds, other.by_fold(metric), strict=True))
    each = [a - aligned[name] for name, a in zip(one.folds, one.by_fold(metric), strict=True)]
    return drawn[:, 0] - drawn[:, 1], np.array(each)


def _test_over_train(result: Result) -> float:
    return float(np.mean([one["test"] / one["train"] for one in result["folds"]]))


def _scored(result: Result) -> int:
    return sum(one["test"] for one in result["folds"])
