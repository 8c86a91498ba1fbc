"""Label efficiency: how scores grow with the training labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit.analysis import base
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.scores import groups, store
from probekit.scores.groups import RunGroup, disambiguate_labels, group_key, run_label
from probekit.scores.store import Result


@dataclass(frozen=True)
class EfficiencyPoint:
    """One share of the training labels.

    Attributes
    ----------
    fraction : float
        The share.
    labels : float
        Training clips that the final probe was fitted on, mean over folds and seeds.
    scores : tuple of float
        One a seed.
    entry : Entry
        The runs.
    """

    fraction: float
    labels: float
    scores: tuple[float, ...]
    group: RunGroup

    @property
    def mean(self) -> float:
        """Of the scores."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; NaN of one."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else float("nan")


@dataclass(frozen=True)
class EfficiencyCurve:
    """One embedding and probe.

    Attributes
    ----------
    label : str
        What to call it.
    points : tuple of Point
        By share, at least two.
    """

    label: str
    points: tuple[EfficiencyPoint, ...]


@dataclass(frozen=True)
class LabelEfficiency:
    """Scores by share of the training labels, a line an embedding and probe.

    Attributes
    ----------
    task : str
        What was scored.
    metric : str
        By which metric.
    lines : tuple of Line
        Best on most labels first.
    chosen : tuple of str
        Embeddings that were asked for; empty for all.
    """

    task: str
    metric: str
    curves: tuple[EfficiencyCurve, ...]
    embeddings: tuple[str, ...]

    @property
    def groups(self) -> list[RunGroup]:
        """All runs."""
        return [point.group for line in self.curves for point in line.points]

    @property
    def provenance(self) -> tuple[str, ...]:
        """What every figure must show."""
        said = {
            line.label: [
                text for p in line.points for r in p.group.results for text in r["provenance"]
            ]
            for line in self.curves
        }
        return groups.merge_provenance(said)

    @property
    def name(self) -> str:
        """Stem of the files."""
        return base.filename_stem("efficiency", self.task, *self.embeddings)

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        counts = [len(point.scores) for line in self.curves for point in line.points]
        several = [count for count in counts if count > 1]
        seeds = f"{min(several)} to {max(several)}" if several else ""
        if several and min(several) == max(several):
            seeds = str(several[0])
        bars = (
            f"Lines: means over seeds ({seeds}, each with other training clips); bars: one "
            "standard deviation over these seeds; dots: single runs."
            if several
            else "One seed each: how much depends on which clips were drawn is not known."
        )
        single = (
            " Points without a bar are of one run."
            if several and len(several) < len(counts)
            else ""
        )
        return (
            f"{metrics.get_metric(self.metric).title[:1].upper()}{metrics.get_metric(self.metric).title[1:]} on "
            f"{self.task} by number of labelled training clips. {bars}{single}"
            f"{base.as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it: the runs."""
        return {**groups.provenance_dict(self.groups), "metric": self.metric}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each line and share."""
        return [
            {
                "line": line.label,
                "fraction": point.fraction,
                "training_clips": point.labels,
                "mean": point.mean,
                "sd_over_seeds": point.spread,
                "seeds": len(point.scores),
                "lowest": min(point.scores),
                "highest": max(point.scores),
            }
            for line in self.curves
            for point in line.points
        ]


def label_efficiency(
    task: str, *, reports: str | Path | None = None, embeddings: Sequence[str] = ()
) -> LabelEfficiency:
    """Gather the runs of a task that differ in the share of the training labels.

    Parameters
    ----------
    task : str
        The task.
    reports : str or pathlib.Path, optional
        Where results are.
    embeddings : sequence of str
        Only these, as results name them; all by default.

    Returns
    -------
    Efficiency
        To be drawn by :func:`probekit.figures.curves.draw_label_efficiency`.

    Raises
    ------
    DataError
        If no embedding was scored on two shares of the labels, by one metric.
    """
    every = groups.require_groups(task, reports)
    missing = set(embeddings) - {one.results[0]["embedding"] for one in every}
    if missing:
        there = sorted({one.results[0]["embedding"] for one in every})
        raise DataError(
            f"{task}: no results of {', '.join(sorted(missing))}; there are {', '.join(there)}"
        )
    kinds: dict[tuple[Any, ...], list[RunGroup]] = {}
    for one in every:
        if not embeddings or one.results[0]["embedding"] in embeddings:
            kinds.setdefault(group_key(_without_fraction(one.results[0])), []).append(one)
    several = [own for own in kinds.values() if len({_fraction(one) for one in own}) > 1]
    if not several:
        raise DataError(
            f"{store.reports_root(reports)}: no embedding of {task} was scored on different shares of "
            f"the training labels. Make such runs with: probekit evaluate --task {task} -e NAME "
            "--fraction 0.01,0.1,1 --seeds 5"
        )
    scored = sorted({own[0].results[0]["metric"] for own in several})
    if len(scored) > 1:
        raise DataError(
            f"{task}: results are of different metrics ({', '.join(scored)}): evaluate again, and "
            "delete those of old"
        )
    lines = [EfficiencyCurve(name, _points(own)) for name, own in zip(_labels(several), several, strict=True)]
    sign = 1 if metrics.get_metric(scored[0]).higher_is_better else -1
    lines.sort(key=lambda line: -sign * line.points[-1].mean)
    return LabelEfficiency(task, scored[0], tuple(lines), tuple(embeddings))


def _fraction(one: RunGroup) -> float:
    return one.results[0]["fraction"]


def _without_fraction(result: Result) -> Result:
    """Return a result as if of all labels: what the runs of a line have in common."""
    return {**result, "fraction": 1.0}


def _labels(several: Sequence[Sequence[RunGroup]]) -> list[str]:
    """Return what to call lines, no two the same."""
    whole = [_without_fraction(own[0].results[0]) for own in several]
    named = [
        RunGroup(run_label(result), tuple(r for one in own for r in one.results), ())
        for result, own in zip(whole, several, strict=True)
    ]
    return [one.label for one in disambiguate_labels(named)]


def _points(own: Sequence[RunGroup]) -> tuple[EfficiencyPoint, ...]:
    """Return the points of a line; of a share that was run again, the newest runs count."""
    newest = {_fraction(one): one for one in sorted(own, key=lambda e: e.results[-1]["created"])}
    return tuple(
        EfficiencyPoint(
            fraction=share,
            labels=float(np.mean([fold["train"] for r in one.results for fold in r["folds"]])),
            scores=tuple(r["score"] for r in one.results),
            group=one,
        )
        for share, one in sorted(newest.items())
    )
