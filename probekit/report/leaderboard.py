"""What a leaderboard shows: runs, best first, their tests against the best, published scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from probekit.metrics import metrics
from probekit.metrics.bootstrap import LEVEL
from probekit.metrics.significance import holm
from probekit.scores.comparison import Comparison, cached_comparisons
from probekit.scores.groups import RunGroup, disambiguate_labels
from probekit.scores.store import Result

BEST, NOT_DISTINGUISHABLE, WORSE, UNTESTED = "best", "not distinguishable", "worse", "untested"


@dataclass(frozen=True)
class Row:
    """A run, or several that differ in their seeds alone.

    Attributes
    ----------
    label : str
        What to call it; no two rows of a board have the same.
    entry : Entry
        The run, or runs.
    score, low, high : float
        Means over the seeds, of the scores and of the ends of their intervals.
    mark : {"best", "not distinguishable", "worse", "untested"}
        Against the best; what the test does not tell from it need not be equal to it.
    why : str
        The test in words, or why there is none.
    """

    label: str
    entry: RunGroup
    score: float
    low: float
    high: float
    mark: str = UNTESTED
    why: str = ""

    @property
    def first(self) -> Result:
        """The run of the first seed."""
        return self.entry.results[0]

    @property
    def provenance(self) -> list[str]:
        """What must be shown beside the score."""
        return list(dict.fromkeys(t for r in self.entry.results for t in r["provenance"]))


@dataclass(frozen=True)
class Leaderboard:
    """The runs of one task under one metric.

    Attributes
    ----------
    task, title, protocol : str
        As the best run has them.
    metric : str
        As people read it.
    name : str
        The metric's name.
    higher : bool
        Whether a higher score is better.
    rows : tuple of Row
        Best first; for each embedding and probe those on most of the labels.
    efficiency : tuple of tuple of Row
        For each embedding and probe that was fitted on several shares of the labels: its rows, the
        smallest share first.
    published : tuple of dict
        Of the task's card, with this metric.
    """

    task: str
    title: str
    protocol: str
    metric: str
    name: str
    higher: bool
    rows: tuple[Row, ...]
    efficiency: tuple[tuple[Row, ...], ...]
    published: tuple[dict[str, Any], ...]


def boards(entries: Sequence[RunGroup]) -> list[Leaderboard]:
    """Return a board for each task and metric.

    Parameters
    ----------
    entries : sequence of Entry
        Of any tasks.

    Returns
    -------
    list of Board
        In the order in which tasks first occur.
    """
    groups: dict[tuple[str, str], list[RunGroup]] = {}
    for entry in entries:
        first = entry.results[0]
        groups.setdefault((first["task"], first["metric"]), []).append(entry)
    return [_board(own) for own in groups.values()]


def _board(entries: Sequence[RunGroup]) -> Leaderboard:
    """Return the board of runs of one task and metric."""
    metric = metrics.get_metric(entries[0].results[0]["metric"])
    shares: dict[tuple[Any, ...], list[Row]] = {}
    for row in map(_row, disambiguate_labels(entries)):
        shares.setdefault(_key_without_fraction(row.first), []).append(row)
    for own in shares.values():
        own.sort(key=lambda row: row.first["fraction"])
    top = [own[-1] for own in shares.values()]
    ranked = sorted(top, key=lambda row: -row.score if metric.higher else row.score)
    first = ranked[0].first
    several = (own for own in shares.values() if len({r.first["fraction"] for r in own}) > 1)
    return Leaderboard(
        task=first["task"],
        title=first["title"],
        protocol=first["protocol"],
        metric=metric.title,
        name=metric.name,
        higher=metric.higher,
        rows=tuple(_tested(ranked, metric.higher)),
        efficiency=tuple(tuple(own) for own in several),
        published=tuple(_published(ranked, metric.name)),
    )


def _row(entry: RunGroup) -> Row:
    """Return a row without a test."""
    low, high = (fmean(r["interval"][end] for r in entry.results) for end in ("low", "high"))
    return Row(entry.label, entry, entry.score, low, high)


def _key_without_fraction(result: Result) -> tuple[Any, ...]:
    """Return what runs have in common that differ in the share of the labels alone."""
    fingerprints = tuple(source["fingerprint"] for source in result["sources"])
    return (
        result["embedding"],
        fingerprints,
        result["probe"],
        str(result["settings"]),
        tuple(result["steps"]),
        result["manifest"],
    )


def _tested(ranked: Sequence[Row], higher: bool) -> list[Row]:
    """Return rows with their tests against the first; one that cannot be tested says why."""
    best, others = ranked[0], ranked[1:]
    found = cached_comparisons(best.entry, [row.entry for row in others])
    adjusted = iter(holm([one.p for one in found if not isinstance(one, str)]))
    rows = [replace(best, mark=BEST)] if others else [best]
    for row, one in zip(others, found, strict=True):
        if isinstance(one, str):
            rows.append(replace(row, why=f"not tested against the best: {one}"))
        else:
            p = next(adjusted)
            behind = one.difference > 0 if higher else one.difference < 0
            worse = p < 1 - LEVEL and behind
            rows.append(
                replace(row, mark=WORSE if worse else NOT_DISTINGUISHABLE, why=_said(one, p))
            )
    return rows


def _said(one: Comparison, p: float) -> str:
    """Say what a test against the best found."""
    return (
        f"the best less this: {one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f}) on "
        f"{one.clips:,} clips, p = {p:.3f}"
    )


def _published(rows: Sequence[Row], metric: str) -> list[dict[str, Any]]:
    """Return the published scores that any of the runs knows, each once."""
    found = {
        (one["method"], one["score"], one["where"]): one
        for row in rows
        for one in row.first["published"]
        if one.get("metric") in ("", None, metric)
    }
    return list(found.values())
