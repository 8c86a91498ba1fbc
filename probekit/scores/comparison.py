"""Paired comparison of runs on the clips that both scored."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import bootstrap, metrics, significance
from probekit.metrics.bootstrap import ResamplingUnits
from probekit.metrics.metrics import Metric
from probekit.metrics.significance import LEVEL, TESTS, DifferenceTest, holm
from probekit.scores.groups import (
    RunGroup,
    common_metric,
    disambiguate_labels,
    group_runs,
    resolve_runs,
)
from probekit.scores.predictions import Predictions, load_predictions
from probekit.scores.store import POOLING_PROBES, Result, reports_root, result_path
from probekit.utils import atomic
from probekit.utils.suggest import unknown_name_error
from probekit.utils.text import summarize_ids

Pair = tuple[Predictions, Predictions]
_METHOD = 4  # of the tests; part of the names of cached comparisons
_FEW_UNITS = 50  # groups below which the t distribution's tails are far from the normal one's


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
        First less second, with its 95 % interval, of the same standard error as ``p``; it ends at
        ±1 for metrics from 0 to 1.
    standard_error, degrees_of_freedom : float
        Of the difference, as ``test`` estimates them.
    test : str
        What the standard error is of, in words.
    p : float
        Two-sided, by Student's t distribution.
    adjusted : float
        ``p`` after Holm's correction for all comparisons of one call; against the best run of a
        task, for all pairs of its runs.
    detectable : float
        The smallest true difference that is significant with a power of 80 %, for the noise
        measured here and Bonferroni's correction for the same comparisons.
    rope : float or None
        Differences up to here are of no practical interest; None if not asked for.
    probabilities : tuple of float, or None
        With ``rope``: that the first is higher, that both are equivalent, that the second is
        higher, by the Bayesian correlated t-test.
    repeats : int
        Folds, each with the mean over its seeds; with a fixed split, seeds.
    units : str
        What is resampled: clips, or groups, within folds.
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
    standard_error: float
    degrees_of_freedom: float
    test: str
    p: float
    adjusted: float
    detectable: float
    rope: float | None
    probabilities: tuple[float, float, float] | None
    repeats: int
    units: str
    clips: int
    verdict: str
    notes: tuple[str, ...]

    @property
    def is_too_small(self) -> bool:
        """Whether no true difference would be found with a power of 80 %: none is above 1."""
        return self.detectable > 1 and self.metric not in metrics.NOT_SHARES

    @property
    def power(self) -> str:
        """The smallest true difference that would be found, or "none"; "–" where none varies."""
        if self.standard_error == 0:
            return "–"
        return "none" if self.is_too_small else f"{self.detectable:.3f}"


def compare(
    *runs: str,
    task: str = "",
    metric: str = "",
    test: str = "components",
    rope: float | None = None,
    reports: str | Path | None = None,
) -> list[Comparison]:
    """Test whether runs of one task differ, on the test clips that both scored.

    The same clips (groups such as artists, where the task has them) are drawn for both runs within
    each fold; what folds differ by beyond that comes from their training sets, which overlap, and
    is corrected for (Nadeau and Bengio, 2003). Both sources of variation make one standard error,
    and Student's t distribution with the degrees of freedom that fold, group and seed counts allow
    gives p-value and interval. *Not distinguishable* does not mean equal: ``detectable`` says how
    large a difference would have to be.

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
    test : {"components", "corrected-t", "units"}
        ``components``: as above. ``corrected-t``: the corrected resampled t-test over folds (the
        plain one over the seeds of a fixed split), which has little power. ``units``: clips or
        groups alone, for the probes as they were trained.
    rope : float >= 0, optional
        Region of practical equivalence, in units of the metric: with it, the probabilities of the
        Bayesian correlated t-test (Corani and Benavoli, 2015) are given.
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
    if test not in TESTS:
        raise unknown_name_error("test", test, TESTS)
    if rope is not None and not 0 <= rope < np.inf:
        raise DataError(f"--rope must be ≥ 0 and finite, got {rope:g}")
    groups = resolve_runs(runs, task, reports)
    return compare_all(groups, metric, test=test, rope=rope)


def compare_all(
    groups: Sequence[RunGroup],
    metric: str = "",
    *,
    test: str = "components",
    rope: float | None = None,
) -> list[Comparison]:
    """Compare each run group of a task with each other one; see :func:`compare`."""
    paths = [path for group in groups for path in group.paths]
    repeated = sorted({path.stem for path in paths if paths.count(path) > 1})
    if repeated:
        raise DataError(f"the compared runs must differ, got twice: {', '.join(repeated)}")
    groups = disambiguate_labels(groups)
    comparer = _Comparer(groups, metric or groups[0].results[0]["metric"], test, rope)
    pairs = [comparer.compare(a, b) for a, b in combinations(groups, 2)]
    return _adjust(pairs, [pair.p for pair in pairs])


def compare_with_mean(
    results: Sequence[Result], reports: str | Path | None = None
) -> list[Comparison]:
    """Compare probes that learn how to pool frames with the linear probe on the mean over frames.

    Parameters
    ----------
    results : sequence of Result
        Of one task, as :func:`probekit.evaluate` returns them.
    reports : str or pathlib.Path, optional
        The reports folder, which has them.

    Returns
    -------
    list of Comparison
        One for each embedding, probe and share of the labels that learned to pool; empty if none
        did.
    """
    root = reports_root(reports)
    runs = {r["run"]: (result_path(root, r["task"], r["embedding"], r["run"]), r) for r in results}
    groups = group_runs(list(runs.values()))

    def key(group: RunGroup) -> tuple[Any, ...]:
        result = group.results[0]
        fingerprints = tuple(source["fingerprint"] for source in result["sources"])
        return result["embedding"], fingerprints, result["fraction"]

    means = {key(g): g for g in groups if g.results[0]["probe"] == "linear"}
    return [
        compare_all([group, means[key(group)]])[0]
        for group in groups
        if group.results[0]["probe"].partition(":")[0] in POOLING_PROBES and key(group) in means
    ]


def compare_with_best(groups: Sequence[RunGroup]) -> tuple[RunGroup, list[Comparison]]:
    """Compare the best run group of a task with each other one.

    The best was chosen on the clips that it is tested on, so that p-values are adjusted (Holm) for
    all pairs of the groups, not for those with the best alone.

    Parameters
    ----------
    groups : sequence of RunGroup
        Of one task.

    Returns
    -------
    best : RunGroup
        The one of the best score.
    comparisons : list of Comparison
        Best against each other one, by score.

    Raises
    ------
    DataError
        If they are of different metrics, or two cannot be compared.
    """
    best, comparisons = _test_best(groups)
    for comparison in comparisons:
        if isinstance(comparison, str):
            raise DataError(comparison)
    return best, [c for c in comparisons if not isinstance(c, str)]


def cached_comparisons(groups: Sequence[RunGroup]) -> list[Comparison | str]:
    """Compare the best run group with each other one, with a cache beside the results.

    Parameters
    ----------
    groups : sequence of RunGroup
        Of one task and metric, two or more.

    Returns
    -------
    list of Comparison or str
        As :func:`compare_with_best` returns them, or why two cannot be compared. Earlier
        comparisons are read from ``<reports>/comparisons/<task>.json``.
    """
    folder = groups[0].paths[0].parent
    path = folder.parent.parent / "comparisons" / f"{folder.name}.json"
    cache = _read_cache(path)
    before = set(cache)
    comparisons = _test_best(groups, cache)[1]
    if set(cache) != before:
        with suppress(OSError):  # of a read-only store, nothing is cached
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.atomic_write_text(path, json.dumps(cache, indent=1, ensure_ascii=False))
    return comparisons


def _test_best(
    groups: Sequence[RunGroup], cache: dict[str, Any] | None = None
) -> tuple[RunGroup, list[Comparison | str]]:
    """Compare the best with each other one, and adjust for all pairs."""
    cache = {} if cache is None else cache
    name = common_metric(groups)
    sign = 1 if metrics.get_metric(name).higher_is_better else -1
    best, *others = sorted(disambiguate_labels(groups), key=lambda group: -sign * group.score)
    comparer = _Comparer([best, *others], name)
    comparisons = [_compare_cached(comparer, best, other, cache) for other in others]
    tested = [c for c in comparisons if isinstance(c, Comparison)]
    # a pair that cannot be tested counts all the same
    failed = [1.0] * (len(comparisons) - len(tested))
    rest = [comparer.p_of_same_clips(a, b, cache) for a, b in combinations(others, 2)]
    adjusted = iter(_adjust(tested, [*(c.p for c in tested), *failed, *rest]))
    return best, [c if isinstance(c, str) else next(adjusted) for c in comparisons]


def _compare_cached(
    comparer: "_Comparer", best: RunGroup, other: RunGroup, cache: dict[str, Any]
) -> Comparison | str:
    """Return a comparison from the cache, or a new one; or why two cannot be compared."""
    key = _cache_key(best, other)
    if key not in cache:
        try:
            cache[key] = asdict(comparer.compare(best, other))
        except DataError as error:
            return str(error)
    comparison = Comparison(**{**cache[key], "first": best.label, "second": other.label})
    # the number of comparisons may have changed since
    return replace(comparison, detectable=comparer.detectable(comparison))


def _cache_key(best: RunGroup, other: RunGroup) -> str:
    """Return the SHA-256 of the runs, their dates, and the method."""
    runs = [
        [[r["run"], r["created"], r["metric"]] for r in group.results] for group in (best, other)
    ]
    method = [_version(), bootstrap.RESAMPLES, bootstrap.SEED, _METHOD]
    return hashlib.sha256(json.dumps([runs, method]).encode()).hexdigest()


@cache
def _version() -> str:
    return version("probekit")  # reads a file


def _read_cache(path: Path) -> dict[str, Any]:
    """Return the cached comparisons and p-values; none if the file is missing or damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        fields = set(Comparison.__dataclass_fields__)
        return {key: e for key, e in entries.items() if set(e) == fields or set(e) == {"p"}}
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
    if metric.check_classes is not None:
        try:
            metric.check_classes(a["classes"])
        except DataError as error:
            raise DataError(f"--metric {metric.name} on {a['task']}: {error}") from error


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
    return [
        _common_clips(_load_seed(first, k), _load_seed(second, k), labels)
        for k in range(_count_repeats(first, second))
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
    # of unknown labels, both are NaN
    if not np.array_equal(left.targets, right.targets, equal_nan=left.targets.dtype.kind == "f"):
        raise DataError(f"{labels}: the labels of some clips differ; evaluate again")
    # each clip is in the same fold, but the two may list their folds in another order
    return left, replace(right, fold=left.fold, folds=left.folds)


class _Run:
    """Predictions of a run on some clips, with what tests need of them, computed once."""

    def __init__(self, predictions: Predictions, metric: Metric) -> None:
        # one order for all runs, so that the same units are drawn
        names = np.array(predictions.folds)[predictions.fold]
        self.predictions = predictions.subset(np.lexsort((predictions.clip_ids, names)))
        self.metric = metric
        self.resampled: Array = np.empty((0, 0))  # by :meth:`resample`, (resamples, folds)

    @cached_property
    def clips_digest(self) -> str:
        """SHA-256 of clips, folds, groups and labels."""
        p = self.predictions
        digest = hashlib.sha256(json.dumps(p.folds).encode())
        for array in (p.clip_ids, p.fold, p.groups, p.targets):
            digest.update(str(array.dtype).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def units(self) -> ResamplingUnits:
        """What is drawn."""
        return ResamplingUnits.from_groups(self.predictions.fold, self.predictions.groups)

    @cached_property
    def overlap(self) -> int:
        """In how many folds a clip is tested, at most."""
        return int(np.unique(self.predictions.clip_ids, return_counts=True)[1].max())

    def resample(self, runs: "Sequence[_Run]") -> None:
        """Compute the metric of each resample and fold, of runs of the clips of this one."""
        scores = [run.predictions.scores_for(self.metric) for run in runs]
        resampled = self.units.resample_folds(self.metric, self.predictions.targets, scores)
        for run, values in zip(runs, resampled, strict=True):
            run.resampled = values

    @cached_property
    def by_fold(self) -> Array:
        """The metric of each fold; of folds of single clips, of all."""
        scores = self.predictions.by_fold(self.metric)
        for fold, score in zip(self.predictions.folds, scores, strict=True):
            if np.isnan(score):
                raise DataError(
                    f"{self.metric.title} is not defined on the clips that both scored in fold "
                    f"{fold}"
                )
        values = np.array(scores)
        return values if len(self.units.fold_rows) == len(values) else values.mean(keepdims=True)

    @cached_property
    def outcomes(self) -> Array | None:
        """What each clip adds to the metric, or its labels; None where every score counts."""
        p = self.predictions
        return metrics.clip_outcomes(self.metric, p.targets, p.scores_for(self.metric))


class _Comparer:
    """Compares pairs of run groups by one metric and test; loads and resamples each run once."""

    def __init__(
        self,
        groups: Sequence[RunGroup],
        metric: str,
        test: str = "components",
        rope: float | None = None,
    ) -> None:
        self._metric = metrics.get_metric(metric)
        self._test, self._rope = test, rope
        self._groups = groups
        self._family = len(groups) * (len(groups) - 1) // 2
        self._runs: dict[Path, _Run] = {}

    def compare(self, first: RunGroup, second: RunGroup) -> Comparison:
        """Compare two run groups; ``p`` is not adjusted yet, ``detectable`` is."""
        check_comparable(first, second, self._metric)
        pairs = self._align(first, second)
        test, method = self._difference(first, second, pairs)
        low, high = test.interval(bound=self._metric.max_difference)
        scores = [
            float(np.mean([run.by_fold for run in runs])) for runs in zip(*pairs, strict=True)
        ]
        run = pairs[0][0]
        clips, folds = len(run.predictions.clip_ids), len(run.by_fold)
        return Comparison(
            task=first.results[0]["task"],
            metric=self._metric.name,
            first=first.label,
            second=second.label,
            scores=(scores[0], scores[1]),
            difference=test.difference,
            low=low,
            high=high,
            standard_error=test.standard_error,
            degrees_of_freedom=test.degrees_of_freedom,
            test=method,
            p=test.p,
            adjusted=test.p,
            detectable=self.detectable(test),
            rope=self._rope,
            probabilities=None if self._rope is None else test.posterior(self._rope),
            repeats=folds if folds > 1 else len(pairs),
            units=run.units.name,
            clips=clips,
            verdict="",
            notes=(
                *_notes(first, second, clips, len(pairs)),
                *_unit_notes(run.units, bool((run.predictions.groups != "").any())),
            ),
        )

    def detectable(self, test: DifferenceTest | Comparison) -> float:
        """Return the smallest true difference that is found with a power of 80 %."""
        return DifferenceTest(
            test.difference, test.standard_error, test.degrees_of_freedom
        ).detectable(LEVEL / self._family)

    def p_of_same_clips(self, first: RunGroup, second: RunGroup, cache: dict[str, Any]) -> float:
        """Return the p-value of two run groups; 1, untested, if their clips are not the same."""
        key = _cache_key(first, second)
        if key not in cache:
            repeats = range(_count_repeats(first, second))
            try:
                check_comparable(first, second, self._metric)
                pairs = [(self._load(first, k), self._load(second, k)) for k in repeats]
                if any(a.clips_digest != b.clips_digest for a, b in pairs):
                    return 1.0
                cache[key] = {"p": self._difference(first, second, pairs)[0].p}
            except DataError:
                return 1.0
        return float(cache[key]["p"])

    def _load(self, group: RunGroup, k: int) -> _Run:
        """Load run k of a group; the only run for every k."""
        k = min(k, len(group.results) - 1)
        path = group.paths[k]
        if path not in self._runs:
            self._runs[path] = _Run(load_predictions(path, group.results[k]), self._metric)
        return self._runs[path]

    def _align(self, first: RunGroup, second: RunGroup) -> list[tuple[_Run, _Run]]:
        """Return the runs on the clips that both scored, seed by seed."""
        labels = f"{first.label} and {second.label}"
        pairs = []
        for k in range(_count_repeats(first, second)):
            a, b = self._load(first, k), self._load(second, k)
            if a.clips_digest != b.clips_digest:
                common = _common_clips(a.predictions, b.predictions, labels)
                a, b = (_Run(predictions, self._metric) for predictions in common)
            pairs.append((a, b))
        return pairs

    def _resample(self, group: RunGroup, pairs: Sequence[tuple[_Run, _Run]]) -> None:
        """Resample runs of pairs, with all others on the same clips, which share the draws."""
        runs = [run for pair in pairs for run in pair]
        for run in runs:
            if len(run.resampled):
                continue
            others = self._load_comparable(group) if run in self._runs.values() else runs
            run.resample(
                [
                    other
                    for other in dict.fromkeys([run, *others])
                    if other.clips_digest == run.clips_digest and not len(other.resampled)
                ]
            )

    def _load_comparable(self, first: RunGroup) -> Iterator[_Run]:
        """Load all runs that can be compared with a group; why others cannot be is told later."""
        for group in self._groups:
            for k in range(len(group.results)):
                with suppress(DataError):
                    check_comparable(first, group, self._metric)
                    yield self._load(group, k)

    def _difference(
        self, first: RunGroup, second: RunGroup, pairs: Sequence[tuple[_Run, _Run]]
    ) -> tuple[DifferenceTest, str]:
        """Return the test of the difference, and what its standard error is of."""
        by_seed = np.array([a.by_fold - b.by_fold for a, b in pairs])
        if not np.isfinite(by_seed).all():
            raise DataError(
                f"{self._metric.title} of {first.label} or {second.label} is not finite (a true "
                "class was given a probability of 0); compare by another --metric"
            )
        self._resample(first, pairs)
        units = pairs[0][0].units
        differences = by_seed.mean(axis=0)
        variances = _unit_variances(
            np.mean([a.resampled - b.resampled for a, b in pairs], axis=0), units
        )
        if np.isnan(variances).any():
            raise DataError(
                f"{self._metric.title} is not defined on any resample of the test clips"
            )
        # each time that folds are made, the same clips are tested: they do not average out
        depth = pairs[0][0].overlap
        degrees = min(units.degrees_of_freedom, _count_differing(units, pairs) - 1)
        degrees = max(1, degrees // depth)
        within = depth * variances.sum() / len(variances) ** 2
        name = units.name.partition(" ")[0].rstrip(";")
        overlapping = len(differences) > 1 and depth > 1
        # of two fractions of the labels, the smaller one is the more cautious
        ratio = max(_test_over_train(group.results[0]) for group in (first, second))
        if self._test == "units":
            return significance.unit_test(within, differences, degrees), name
        if len(differences) > 1:
            if self._test == "corrected-t" or overlapping:
                return significance.corrected_t(differences, ratio), "folds, corrected"
            test = significance.variance_components(differences, variances, degrees, ratio)
            return test, f"{name} and folds"
        seeds = by_seed[:, 0]
        if self._test == "corrected-t":
            if len(seeds) < 2:
                raise DataError(
                    f"{first.label} and {second.label}: corrected-t needs folds or seeds, got one "
                    "split and one seed; use --test components"
                )
            return significance.corrected_t(seeds, 0.0), "seeds"
        test = significance.unit_test(within, differences, degrees)
        if len(seeds) < 2 or not seeds.any():
            return test, name
        return significance.add_variance(test, seeds.var(ddof=1) / len(seeds), len(seeds) - 1), (
            f"{name} and seeds"
        )


def _count_repeats(first: RunGroup, second: RunGroup) -> int:
    """Return the number of pairs of seeds; one run alone is paired with every seed."""
    counts = len(first.results), len(second.results)
    return max(counts) if 1 in counts else min(counts)


def _unit_variances(resampled: Array, units: ResamplingUnits) -> Array:
    """Return the variance of each fold's difference; NaN if it is defined on no two resamples."""
    finite = np.isfinite(resampled)
    counts = finite.sum(axis=0)
    means = np.where(finite, resampled, 0).sum(axis=0) / np.maximum(counts, 1)
    squares = np.where(finite, resampled - means, 0) ** 2
    # n units drawn n times vary by n - 1 of n parts of what n units vary by
    correction = np.array([n / (n - 1) if n > 1 else 1.0 for n in units.counts])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts > 1, squares.sum(axis=0) / (counts - 1), np.nan) * correction


def _count_differing(units: ResamplingUnits, pairs: Iterable[tuple[_Run, _Run]]) -> int:
    """Return the number of units, of all folds, in which the runs differ as the metric sees it."""
    differs: Array | None = None
    for a, b in pairs:
        if a.outcomes is None or b.outcomes is None:
            return sum(units.counts)
        unequal = (a.outcomes != b.outcomes).reshape(len(a.outcomes), -1).any(axis=1)
        differs = unequal if differs is None else differs | unequal
    assert differs is not None
    return units.count(differs)


def _unit_notes(units: ResamplingUnits, grouped: bool) -> list[str]:
    """Return notes on few groups, and on folds of a single one."""
    notes = []
    total = sum(units.counts)
    if units.name.startswith("groups") and total < _FEW_UNITS:
        notes.append(
            f"{total} groups of test clips: few, so that only large differences can be found"
        )
    if grouped and bootstrap.SINGLE_GROUPS in units.name:
        notes.append(
            f"{units.name.partition('; ')[2]}: the variation of groups shows in folds only"
        )
    return notes


def _test_over_train(result: Result) -> float:
    """Return the test clips for each clip that training clips are drawn from.

    By another protocol than the task's own these may be few of many, which overlap less.
    """
    pool = result["clips"]["used"] if "evaluation" in result else 0
    ratios = [fold["test"] / max(fold["train"], pool - fold["test"]) for fold in result["folds"]]
    return float(np.mean(ratios))


def _notes(first: RunGroup, second: RunGroup, clips: int, repeats: int) -> tuple[str, ...]:
    """Return what must be shown beside a comparison: seeds, missing clips, provenance."""
    notes = []
    for group in (first, second):
        if len(group.results) > 1:
            first_of = "" if len(group.results) == repeats else "the first "
            notes.append(f"{group.label}: mean of {first_of}{repeats} seeds")
    most = max(
        result.get("pieces") or sum(fold["test"] for fold in result["folds"])
        for result in (*first.results, *second.results)
    )
    if clips < most:
        notes.append(
            f"{first.label}, {second.label}: on the {clips:,} test clips that both scored, of up "
            f"to {most:,}"
        )
    provenance = {group.label: group.provenance for group in (first, second)}
    shared = [note for note in provenance[first.label] if note in provenance[second.label]]
    single = [
        f"{label}: {note}"
        for label, listed in provenance.items()
        for note in listed
        if note not in shared
    ]
    return (*notes, *shared, *single)


def _adjust(comparisons: list[Comparison], p_values: Sequence[float]) -> list[Comparison]:
    """Return comparisons with adjusted p-values and a verdict; theirs come first in the family."""
    adjusted = holm(p_values)[: len(comparisons)]
    return [
        replace(comparison, adjusted=p, verdict=_verdict(comparison, p))
        for comparison, p in zip(comparisons, adjusted, strict=True)
    ]


def _verdict(comparison: Comparison, p: float) -> str:
    if not p < LEVEL:
        return "not distinguishable"
    higher = comparison.difference > 0
    higher_is_better = metrics.get_metric(comparison.metric).higher_is_better
    return "first" if higher == higher_is_better else "second"
