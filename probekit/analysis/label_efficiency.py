"""Label efficiency: scores by number of labeled training clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit.analysis.base import as_sentence, filename_stem
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.significance import holm
from probekit.scores.comparison import Comparison, compare_all
from probekit.scores.groups import (
    RunGroup,
    common_metric,
    disambiguate_labels,
    merge_provenance,
    provenance_dict,
    require_groups,
    run_label,
)
from probekit.scores.store import Result, group_key, reports_root

_TEXTS = "zero-shot"  # the probe
_LEVEL = 0.05  # of significance


@dataclass(frozen=True)
class EfficiencyPoint:
    """Scores of one fraction of the training labels.

    Attributes
    ----------
    fraction : float
        The fraction.
    labels : float
        Training clips that the final probe was fitted on, mean over folds and seeds.
    scores : tuple of float
        One a seed.
    group : RunGroup
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
        Display label.
    points : tuple of EfficiencyPoint
        By fraction, at least two.
    """

    label: str
    points: tuple[EfficiencyPoint, ...]


@dataclass(frozen=True)
class TextScore:
    """Class names as texts (``--probe zero-shot``) against a curve of the same embedding.

    Attributes
    ----------
    curve : int
        Index of the curve.
    group : RunGroup
        The run, which used no label.
    comparisons : tuple of Comparison
        One for each point of the curve: texts less the probe, on the same clips, with p-values
        adjusted for all of them (Holm, 1979).
    worth : float
        Labeled training clips with which the probe scores as high, interpolated between the points
        on a logarithmic scale; 0 if the least labels suffice, infinity if none do.
    """

    curve: int
    group: RunGroup
    comparisons: tuple[Comparison, ...]
    worth: float


@dataclass(frozen=True)
class LabelEfficiency:
    """Scores by fraction of the training labels, one curve an embedding and probe.

    Attributes
    ----------
    task, metric : str
        Task and metric.
    curves : tuple of EfficiencyCurve
        By score on most labels, best first.
    embeddings : tuple of str
        The embeddings that the user selected; empty for all.
    texts : tuple of TextScore
        Class names as texts, where the same embedding was scored so.
    """

    task: str
    metric: str
    curves: tuple[EfficiencyCurve, ...]
    embeddings: tuple[str, ...]
    texts: tuple[TextScore, ...] = ()

    @property
    def groups(self) -> list[RunGroup]:
        """All runs."""
        groups = [point.group for curve in self.curves for point in curve.points]
        return groups + [text.group for text in self.texts]

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return merge_provenance(
            {
                curve.label: [note for point in curve.points for note in point.group.provenance]
                for curve in self.curves
            }
        )

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem("efficiency", self.task, *self.embeddings)

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        counts = [len(point.scores) for curve in self.curves for point in curve.points]
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
        title = metrics.get_metric(self.metric).title
        return (
            f"{title[:1].upper()}{title[1:]} on {self.task} by number of labeled training clips. "
            f"{bars}{single}{self._describe_texts()}{as_sentence(self.provenance)}"
        )

    def _describe_texts(self) -> str:
        """Return what class names as texts are worth, in sentences."""
        sentences = []
        for text in self.texts:
            curve = self.curves[text.curve]
            clips = f"{text.worth:,.0f} labeled training clips"
            if text.worth == 0:
                clips = f"fewer labels than {curve.points[0].labels:,.0f} training clips"
            if text.worth == float("inf"):
                clips = f"more labels than {curve.points[-1].labels:,.0f} training clips"
            differing = [
                f"{point.labels:,.0f}"
                for point, comparison in zip(curve.points, text.comparisons, strict=True)
                if comparison.adjusted <= _LEVEL
            ]
            tests = f"at {', '.join(differing)} clips" if differing else "nowhere"
            sentences.append(
                f" Dashed: class names as texts, without labels, {text.group.score:.3f}: worth "
                f"{clips} of {curve.label}; the two differ significantly {tests} (paired tests on "
                "the same clips, Holm)."
            )
        return "".join(sentences)

    def facts(self) -> dict[str, Any]:
        """Return runs and metric."""
        facts = {**provenance_dict(self.groups), "metric": self.metric}
        if self.texts:
            facts["texts"] = [
                {
                    "line": self.curves[text.curve].label,
                    "score": text.group.score,
                    "worth": text.worth if np.isfinite(text.worth) else None,
                    "differences": [
                        {
                            "training_clips": point.labels,
                            "difference": comparison.difference,
                            "low": comparison.low,
                            "high": comparison.high,
                            "p": comparison.p,
                            "adjusted": comparison.adjusted,
                        }
                        for point, comparison in zip(
                            self.curves[text.curve].points, text.comparisons, strict=True
                        )
                    ],
                }
                for text in self.texts
            ]
        return facts

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each curve and fraction."""
        return [
            {
                "line": curve.label,
                "fraction": point.fraction,
                "training_clips": point.labels,
                "mean": point.mean,
                "sd_over_seeds": point.spread,
                "seeds": len(point.scores),
                "lowest": min(point.scores),
                "highest": max(point.scores),
            }
            for curve in self.curves
            for point in curve.points
        ]


def label_efficiency(
    task: str, *, reports: str | Path | None = None, embeddings: Sequence[str] = ()
) -> LabelEfficiency:
    """Collect the runs of a task that differ in the fraction of the training labels.

    Parameters
    ----------
    task : str
        Name of the task.
    reports : str or pathlib.Path, optional
        The reports folder.
    embeddings : sequence of str
        Only these, as results name them; all by default.

    Returns
    -------
    LabelEfficiency
        To be drawn by :func:`probekit.figures.curves.draw_label_efficiency`.

    Raises
    ------
    DataError
        If no embedding was scored on two fractions of the labels, by one metric.
    """
    groups = require_groups(task, reports)
    known = sorted({_first(group)["embedding"] for group in groups})
    missing = sorted(set(embeddings) - set(known))
    if missing:
        raise DataError(
            f"{task}: no results of {', '.join(missing)}; results exist for {', '.join(known)}"
        )
    by_key: dict[tuple[Any, ...], list[RunGroup]] = {}
    for group in groups:
        if not embeddings or _first(group)["embedding"] in embeddings:
            by_key.setdefault(group_key(_without_fraction(_first(group))), []).append(group)
    members = [
        same for same in by_key.values() if len({_first(group)["fraction"] for group in same}) > 1
    ]
    if not members:
        raise DataError(
            f"{reports_root(reports)}: no embedding of {task} was scored on different fractions of "
            f"the training labels. Make such runs with: probekit evaluate --task {task} -e NAME "
            "--fraction 0.01,0.1,1 --seeds 5 (or --shots 1,2,4,8)"
        )
    metric = common_metric([same[0] for same in members])
    curves = [
        EfficiencyCurve(label, _points(same))
        for label, same in zip(_labels(members), members, strict=True)
    ]
    sign = 1 if metrics.get_metric(metric).higher_is_better else -1
    curves.sort(key=lambda curve: -sign * curve.points[-1].mean)
    texts = _text_scores(curves, groups, metric)
    return LabelEfficiency(task, metric, tuple(curves), tuple(embeddings), texts)


def _text_scores(
    curves: Sequence[EfficiencyCurve], groups: Sequence[RunGroup], metric: str
) -> tuple[TextScore, ...]:
    """Return the scores of class names as texts, each against the curves of its embedding."""
    texts = [group for group in groups if _first(group)["probe"] == _TEXTS]
    scores = []
    for k, curve in enumerate(curves):
        same = [text for text in texts if _source(text) == _source(curve.points[0].group)]
        if not same:
            continue
        text = max(same, key=lambda group: group.results[-1]["created"])
        pairs = [compare_all([text, point.group], metric)[0] for point in curve.points]
        adjusted = holm([pair.p for pair in pairs])
        comparisons = (replace(p, adjusted=a) for p, a in zip(pairs, adjusted, strict=True))
        scores.append(TextScore(k, text, tuple(comparisons), _worth(curve, text.score, metric)))
    return tuple(scores)


def _source(group: RunGroup) -> list[tuple[str, str]]:
    """Return what embeddings a run read."""
    return [(source["fingerprint"], source["stream"]) for source in _first(group)["sources"]]


def _worth(curve: EfficiencyCurve, score: float, metric: str) -> float:
    """Return with how many training clips a curve first reaches a score."""
    sign = 1 if metrics.get_metric(metric).higher_is_better else -1
    gains = [sign * (point.mean - score) for point in curve.points]
    if gains[0] >= 0:
        return 0.0
    for k in range(1, len(gains)):
        if gains[k] >= 0:
            share = -gains[k - 1] / (gains[k] - gains[k - 1])
            low, high = curve.points[k - 1].labels, curve.points[k].labels
            return float(low * (high / low) ** share)
    return float("inf")


def _first(group: RunGroup) -> Result:
    return group.results[0]


def _without_fraction(result: Result) -> Result:
    """Return a result as if of all labels: what the runs of a curve have in common."""
    return {**result, "fraction": 1.0, "shots": 0}


def _labels(members: Sequence[Sequence[RunGroup]]) -> list[str]:
    """Return a label for each curve, no two the same."""
    merged = [
        RunGroup(
            run_label(_without_fraction(_first(same[0]))),
            tuple(result for group in same for result in group.results),
            (),
        )
        for same in members
    ]
    return [group.label for group in disambiguate_labels(merged)]


def _points(groups: Sequence[RunGroup]) -> tuple[EfficiencyPoint, ...]:
    """Return the points of a curve; of a fraction that was run again, the newest runs count."""
    ordered = sorted(groups, key=lambda group: group.results[-1]["created"])
    newest = {_first(group)["fraction"]: group for group in ordered}
    return tuple(
        EfficiencyPoint(
            fraction=fraction,
            labels=float(np.mean([f["train"] for r in group.results for f in r["folds"]])),
            scores=tuple(result["score"] for result in group.results),
            group=group,
        )
        for fraction, group in sorted(newest.items())
    )
