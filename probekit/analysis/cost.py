"""Cost of embeddings beside their scores: parameters, GFLOP and seconds a second of audio."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit import cards
from probekit.analysis.base import as_sentence, filename_stem
from probekit.cache import layout, part
from probekit.cache.embeddings import Embeddings, list_embeddings
from probekit.cards import ExtractorCard
from probekit.errors import CacheError, DataError
from probekit.metrics import metrics
from probekit.scores import groups
from probekit.scores.groups import RunGroup
from probekit.scores.store import Source, reports_root
from probekit.utils.text import join_names

COSTS = {
    "parameters": "parameters",
    "gflop": "GFLOP per second of audio",
    "seconds": "seconds per second of audio",
}
SPEED = "audio_seconds_per_second"  # key in the provenance of a part
_MAX_PARTS = 20  # parts whose speed is read
_MAX_NAMES = 4  # embeddings that a note names


@dataclass(frozen=True)
class CostPoint:
    """One run group and the cost of its embedding.

    Attributes
    ----------
    group : RunGroup
        The run, or several that differ in their seeds.
    costs : dict of str to float
        ``parameters``, ``gflop``, ``seconds``, those that are known.
    device : str
        Device on which the seconds were measured.
    """

    group: RunGroup
    costs: dict[str, float]
    device: str

    @property
    def embedding(self) -> str:
        """Label of the embedding, common to all probes on it."""
        return self.group.label.partition(" / ")[0]

    @property
    def probe(self) -> str:
        """Probe and preset."""
        first = self.group.results[0]
        return " / ".join(filter(None, [first["probe"], first["preset"]]))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score; of several seeds the mean of theirs, NaN without."""
        return self.group.interval


@dataclass(frozen=True)
class Cost:
    """Scores of a task's runs, and costs of their embeddings.

    Attributes
    ----------
    task, metric : str
        Task and metric.
    points : tuple of CostPoint
        All runs on all labels, best first; those of unknown cost, too.
    notes : tuple of str
        Notes on the costs.
    """

    task: str
    metric: str
    points: tuple[CostPoint, ...]
    notes: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """The costs that are known of at least one run, and above 0."""
        return tuple(
            name for name in COSTS if any(point.costs.get(name, 0) > 0 for point in self.points)
        )

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return (*self.notes, *groups.collect_provenance([point.group for point in self.points]))

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem("cost", self.task)

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        title = metrics.get_metric(self.metric).title
        devices = sorted({point.device for point in self.points if "seconds" in point.costs})
        timed = (
            " Seconds are those that extraction took, decoding included, on "
            f"{', '.join(devices)}: a measurement of these machines, not of the networks alone."
            if devices
            else ""
        )
        known = " and ".join(COSTS[name] for name in self.axes if name != "seconds")
        stated = (
            f" {known[:1].upper()}{known[1:]} are those of the extractors' cards." if known else ""
        )
        return (
            f"{title[:1].upper()}{title[1:]} on {self.task} against what the embedding costs. "
            f"Bars: 95 % intervals{self._missing_intervals}.{stated}{timed}"
            f"{as_sentence(self.provenance)}"
        )

    @property
    def _missing_intervals(self) -> str:
        """Why some points have no bar."""
        reasons = dict.fromkeys(point.group.missing_interval for point in self.points)
        reasons.pop("", None)
        return f"; none where there are {' or '.join(reasons)}" if reasons else ""

    def facts(self) -> dict[str, Any]:
        """Return runs and axes."""
        return {
            **groups.provenance_dict([point.group for point in self.points]),
            "metric": self.metric,
            "axes": list(self.axes),
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each run; unknown costs are empty."""
        return [
            {
                "run": point.group.label,
                "score": point.group.score,
                **{
                    name: end if np.isfinite(end) else ""
                    for name, end in zip(("low", "high"), point.interval, strict=True)
                },
                **{name: point.costs.get(name, "") for name in COSTS},
                "device": point.device,
            }
            for point in self.points
        ]


def cost(task: str, *, reports: str | Path | None = None, cache: str | Path | None = None) -> Cost:
    """Collect the scores of a task's runs and the costs of their embeddings.

    Parameters and GFLOP are those of the extractors' cards. Seconds are those that extraction
    stored in the cache, where the embeddings are present and were not imported. Costs of
    concatenated embeddings are added.

    Parameters
    ----------
    task : str
        Name of the task.
    reports : str or pathlib.Path, optional
        The reports folder.
    cache : str or pathlib.Path, optional
        The embedding cache; without it seconds are left out.

    Returns
    -------
    Cost
        To be drawn by :func:`probekit.figures.scatter.draw_cost`.

    Raises
    ------
    DataError
        If there is no run, or no cost of any is known.
    """
    run_groups = [
        group for group in groups.require_groups(task, reports) if group.results[0]["fraction"] == 1
    ]
    if not run_groups:
        raise DataError(
            f"{reports_root(reports)}: all runs of {task} are on part of the labels; the figure "
            f"needs runs on all: probekit evaluate --task {task} -e NAME"
        )
    metric = groups.common_metric(run_groups)
    stored = {
        (e.layout.extractor, e.layout.fingerprint): e
        for e in list_embeddings(layout.cache_root(cache))
    }
    points = [_cost_point(group, stored) for group in run_groups]
    sign = 1 if metrics.get_metric(metric).higher_is_better else -1
    points.sort(key=lambda point: -sign * point.group.score)
    costs = Cost(task, metric, tuple(points), tuple(_notes(points)))
    if not costs.axes:
        names = sorted(
            {s["extractor"] for group in run_groups for s in group.results[0]["sources"]}
        )
        raise DataError(
            f"{task}: the cost of {', '.join(names)} is unknown: imported embeddings have no "
            "card with parameters and GFLOP, and no time was measured. Use embeddings made by "
            "probekit extract"
        )
    return costs


def _cost_point(group: RunGroup, stored: dict[tuple[str, str], Embeddings]) -> CostPoint:
    """Add up the costs of the embeddings of a run."""
    costs, devices = zip(
        *(_source_costs(source, stored) for source in group.results[0]["sources"]), strict=True
    )
    known = [name for name in COSTS if all(name in cost for cost in costs)]
    device = ", ".join(dict.fromkeys(filter(None, devices)))
    return CostPoint(group, {name: sum(cost[name] for cost in costs) for name in known}, device)


def _source_costs(
    source: Source, stored: dict[tuple[str, str], Embeddings]
) -> tuple[dict[str, float], str]:
    """Return the known costs of one embedding, and the device on which it was timed."""
    costs: dict[str, float] = {}
    card = _card(source)
    if card is not None:
        if card.parameter_count is not None or not card.weights:  # without weights there are none
            costs["parameters"] = float(card.parameter_count or 0)
        if card.gflop_per_second is not None:
            costs["gflop"] = card.gflop_per_second
    embeddings = stored.get((source["extractor"], source["fingerprint"]))
    speeds = _speeds(embeddings) if embeddings else []
    if speeds:
        costs["seconds"] = 1 / statistics.median(speed for speed, _ in speeds)
    return costs, ", ".join(sorted({device for _, device in speeds}))


def _card(source: Source) -> ExtractorCard | None:
    """Return the card of the extractor of an embedding; None for imported ones."""
    extracted = "imported" not in source["identity"]
    if extracted and source["extractor"] in cards.card_paths("extractors"):
        return cards.load_extractor_card(source["extractor"])
    return None


def _speeds(embeddings: Embeddings) -> list[tuple[float, str]]:
    """Return the speed of parts, as a multiple of real time, and the device."""
    speeds = []
    for name in sorted(embeddings.index.parts)[:_MAX_PARTS]:
        try:
            with part.open_part(embeddings.folder / name) as file:
                provenance = part.read_meta(file).get("provenance", {})
            speed = float(provenance.get(SPEED, 0))
        except (CacheError, ValueError, AttributeError):
            continue
        if speed > 0:
            speeds.append((speed, str(provenance.get("device", "an unknown device"))))
    return speeds


def _notes(points: list[CostPoint]) -> list[str]:
    """Return which costs are not known, and which are those of other settings."""
    notes = []
    for name, title in COSTS.items():
        unknown = list(dict.fromkeys(p.embedding for p in points if name not in p.costs))
        if not any(name in point.costs for point in points):
            notes.append(f"{title}: not known of any run, left out")
        elif unknown:
            notes.append(f"{title} not known: {join_names(unknown, _MAX_NAMES)}")
    changed = dict.fromkeys(
        point.embedding
        for point in points
        for source in point.group.results[0]["sources"]
        if _has_other_settings(source)
    )
    if changed:
        notes.append(
            "parameters and GFLOP of the card's default settings, not of these: "
            f"{', '.join(changed)}"
        )
    return notes


def _has_other_settings(source: Source) -> bool:
    """Return whether an embedding was made with other settings than its card's defaults."""
    card = _card(source)
    if card is None:
        return False
    params = source["identity"].get("params", {})
    return any(
        name in params and params[name] != parameter.default
        for name, parameter in card.parameters.items()
    )
