"""Leaderboards: runs of a task, best first, with paired tests against the best."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import stdev
from typing import Any

from probekit.metrics import metrics
from probekit.metrics.intervals import missing_interval
from probekit.metrics.significance import LEVEL
from probekit.scores.comparison import Comparison, cached_comparisons
from probekit.scores.groups import RunGroup, disambiguate_labels
from probekit.scores.store import Result
from probekit.scores.ties import describe_ties

BEST, NOT_DISTINGUISHABLE, WORSE, UNTESTED = "best", "not distinguishable", "worse", "untested"


@dataclass(frozen=True)
class LeaderboardRow:
    """A run group: one run, or several that differ only in their seeds.

    Attributes
    ----------
    label : str
        Display label, unique in a leaderboard.
    group : RunGroup
        The runs.
    score, low, high : float
        Means over the seeds, of the scores and of the ends of their intervals.
    mark : {"best", "not distinguishable", "worse", "untested"}
        Result of the test against the best. Not distinguishable does not mean equal.
    explanation : str
        The test in words, or why there is none.
    """

    label: str
    group: RunGroup
    score: float
    low: float
    high: float
    mark: str = UNTESTED
    explanation: str = ""

    @property
    def first_run(self) -> Result:
        """Result of the first seed."""
        return self.group.results[0]

    @property
    def spread(self) -> float | None:
        """Sample standard deviation of the scores over seeds; None of a single one."""
        scores = [result["score"] for result in self.group.results]
        return stdev(scores) if len(scores) > 1 else None

    @property
    def provenance(self) -> list[str]:
        """Notes that must be shown beside the score."""
        return self.group.provenance


@dataclass(frozen=True)
class Leaderboard:
    """The runs of one task under one metric.

    Attributes
    ----------
    task, title, protocol : str
        As the best run has them.
    metric_title : str
        Display name of the metric.
    metric_name : str
        Name of the metric.
    higher_is_better : bool
        Whether a higher score is better.
    rows : tuple of LeaderboardRow
        Best first; for each embedding and probe those on most of the labels.
    efficiency_curves : tuple of tuple of LeaderboardRow
        For each embedding and probe that was fitted on several shares of the labels: its rows, the
        smallest share first.
    published : tuple of dict
        Published scores of this metric, from the task's card.
    """

    task: str
    title: str
    protocol: str
    metric_title: str
    metric_name: str
    higher_is_better: bool
    rows: tuple[LeaderboardRow, ...]
    efficiency_curves: tuple[tuple[LeaderboardRow, ...], ...]
    published: tuple[dict[str, Any], ...]

    @property
    def ties(self) -> str:
        """Which rows are tied for first, in words; empty for a single row."""
        tested = [row for row in self.rows if row.mark != UNTESTED]
        tied = [row.label for row in tested if row.mark in (BEST, NOT_DISTINGUISHABLE)]
        return describe_ties(tied, len(tested))


def build_leaderboards(groups: Sequence[RunGroup]) -> list[Leaderboard]:
    """Return a leaderboard for each task and metric, in the order in which they first occur."""
    by_metric: dict[tuple[str, str], list[RunGroup]] = {}
    for group in groups:
        first = group.results[0]
        by_metric.setdefault((first["task"], first["metric"]), []).append(group)
    return [_build_leaderboard(same_metric) for same_metric in by_metric.values()]


def _build_leaderboard(groups: Sequence[RunGroup]) -> Leaderboard:
    """Return the leaderboard of runs of one task and metric."""
    metric = metrics.get_metric(groups[0].results[0]["metric"])
    curves: dict[tuple[Any, ...], list[LeaderboardRow]] = {}
    for row in map(_untested_row, disambiguate_labels(groups)):
        curves.setdefault(_key_without_fraction(row.first_run), []).append(row)
    for curve in curves.values():
        curve.sort(key=lambda row: row.first_run["fraction"])
    most_labels = [curve[-1] for curve in curves.values()]
    sign = -1 if metric.higher_is_better else 1
    ranked = sorted(most_labels, key=lambda row: sign * row.score)
    first = ranked[0].first_run
    return Leaderboard(
        task=first["task"],
        title=first["title"],
        protocol=first["protocol"],
        metric_title=metric.title,
        metric_name=metric.name,
        higher_is_better=metric.higher_is_better,
        rows=tuple(_test_against_best(ranked, metric.higher_is_better)),
        efficiency_curves=tuple(
            tuple(curve)
            for curve in curves.values()
            if len({row.first_run["fraction"] for row in curve}) > 1
        ),
        published=tuple(_published_scores(ranked, metric.name)),
    )


def _untested_row(group: RunGroup) -> LeaderboardRow:
    return LeaderboardRow(group.label, group, group.score, *group.interval)


def interval_methods(boards: Sequence[Leaderboard]) -> str:
    """Return what the intervals of leaderboards are, in words for a legend or a caption."""
    intervals = [r["interval"] for b in boards for row in b.rows for r in row.group.results]
    methods = [
        f"none: {missing_interval(interval)} ({interval['units']} {interval['unit']})"
        if missing_interval(interval)
        else f"{interval['method']}, over {interval['unit']}"
        for interval in intervals
    ]
    return "; ".join(dict.fromkeys(methods))


def _key_without_fraction(result: Result) -> tuple[Any, ...]:
    """Return what runs have in common that differ only in the share of the labels."""
    fingerprints = tuple(source["fingerprint"] for source in result["sources"])
    return (
        result["embedding"],
        fingerprints,
        result["probe"],
        str(result["settings"]),
        tuple(result["steps"]),
        result["manifest"],
    )


def _test_against_best(
    ranked: Sequence[LeaderboardRow], higher_is_better: bool
) -> list[LeaderboardRow]:
    """Return rows with their tests against the first; p-values are adjusted for all pairs."""
    best, others = ranked[0], ranked[1:]
    if not others:
        return [best]
    rows = [replace(best, mark=BEST)]
    comparisons = cached_comparisons([row.group for row in ranked])
    for row, comparison in zip(others, comparisons, strict=True):
        if isinstance(comparison, str):
            reason = f"not tested against the best: {comparison}"
            rows.append(replace(row, explanation=reason))
            continue
        worse = comparison.adjusted < LEVEL and (comparison.difference > 0) == higher_is_better
        mark = WORSE if worse else NOT_DISTINGUISHABLE
        rows.append(replace(row, mark=mark, explanation=_describe_test(comparison)))
    return rows


def _describe_test(comparison: Comparison) -> str:
    text = (
        f"the best less this: {comparison.difference:+.3f} ({comparison.low:+.3f} to "
        f"{comparison.high:+.3f}) on {comparison.clips:,} clips, p = {comparison.adjusted:.3f}"
    )
    if comparison.adjusted < LEVEL or comparison.standard_error == 0:
        return text
    if comparison.is_too_small:
        return f"{text}; no difference, however large, would be seen in 80 % of cases"
    return f"{text}; a difference of {comparison.power} would be seen in 80 % of cases"


def _published_scores(rows: Sequence[LeaderboardRow], metric: str) -> list[dict[str, Any]]:
    """Return the published scores that any of the runs lists, each once."""
    scores = {
        (score["method"], score["score"], score["where"]): score
        for row in rows
        for score in row.first_run["published"]
        if score.get("metric") in ("", None, metric)
    }
    return list(scores.values())
