"""What a score costs: parameters, GFLOP and seconds for a second of audio."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit import cards
from probekit.analysis import base
from probekit.cache import embeddings as embeddings_module
from probekit.cache import layout, part
from probekit.cache.embeddings import Embeddings
from probekit.cards import ExtractorCard
from probekit.errors import CacheError, DataError
from probekit.metrics import metrics
from probekit.scores import groups, store
from probekit.scores.groups import RunGroup
from probekit.scores.store import Source

COSTS = {
    "parameters": "parameters",
    "gflop": "GFLOP per second of audio",
    "seconds": "seconds per second of audio",
}
SPEED = "audio_seconds_per_second"  # where extraction keeps it, in the provenance of a part
_PARTS = 20  # parts that are asked how fast they were


@dataclass(frozen=True)
class CostPoint:
    """One run with what its embedding costs.

    Attributes
    ----------
    entry : Entry
        The run, or several that differ in their seeds.
    costs : dict of str to float
        Some of ``parameters``, ``gflop``, ``seconds``; what is not known is left out.
    device : str
        Where the seconds were measured.
    """

    group: RunGroup
    costs: dict[str, float]
    device: str

    @property
    def embedding(self) -> str:
        """What to call the embedding; runs of other probes on it share that name."""
        return self.group.label.partition(" / ")[0]

    @property
    def probe(self) -> str:
        """What to call the probe, with its preset."""
        first = self.group.results[0]
        return " / ".join(filter(None, [first["probe"], first["preset"]]))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score; of several seeds the mean of theirs."""
        low, high = (
            statistics.fmean(r["interval"][end] for r in self.group.results)
            for end in ("low", "high")
        )
        return low, high


@dataclass(frozen=True)
class Cost:
    """Scores of a task's runs and what they cost.

    Attributes
    ----------
    task, metric : str
        What was scored, and how.
    points : tuple of Priced
        Best first; all runs on all labels, those of unknown cost too.
    notes : tuple of str
        What has to be said about the costs.
    """

    task: str
    metric: str
    points: tuple[CostPoint, ...]
    notes: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """The costs that are known of at least one run and more than nothing."""
        return tuple(
            name for name in COSTS if any(one.costs.get(name, 0) > 0 for one in self.points)
        )

    @property
    def provenance(self) -> tuple[str, ...]:
        """What every figure must show."""
        return (*self.notes, *groups.collect_provenance([one.group for one in self.points]))

    @property
    def name(self) -> str:
        """Stem of the files."""
        return base.filename_stem("cost", self.task)

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        title = metrics.get_metric(self.metric).title
        devices = sorted({one.device for one in self.points if "seconds" in one.costs})
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
            f"Bars: 95 % intervals.{stated}{timed}{base.as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it: the runs, the axes."""
        return {
            **groups.provenance_dict([one.group for one in self.points]),
            "metric": self.metric,
            "axes": list(self.axes),
            "notes": list(self.notes),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each run; what is not known is empty."""
        return [
            {
                "run": one.group.label,
                "score": one.group.score,
                "low": one.interval[0],
                "high": one.interval[1],
                **{name: one.costs.get(name, "") for name in COSTS},
                "device": one.device,
            }
            for one in self.points
        ]


def cost(task: str, *, reports: str | Path | None = None, cache: str | Path | None = None) -> Cost:
    """Gather scores of a task and what they cost.

    Parameters and GFLOP are those of the extractors' cards. Seconds are those that extraction kept
    in the cache, where the embeddings are there and were not imported. Of embeddings side by side
    costs are added.

    Parameters
    ----------
    task : str
        The task.
    reports : str or pathlib.Path, optional
        Where results are.
    cache : str or pathlib.Path, optional
        Where embeddings are; without them seconds are left out.

    Returns
    -------
    Cost
        To be drawn by :func:`probekit.figures.scatter.draw_cost`.

    Raises
    ------
    DataError
        If there is no run, or no cost of any is known.
    """
    every = [one for one in groups.require_groups(task, reports) if one.results[0]["fraction"] == 1]
    if not every:
        raise DataError(
            f"{store.reports_root(reports)}: all runs of {task} are on part of the labels; the figure is "
            f"of runs on all: probekit evaluate --task {task} -e NAME"
        )
    scored = sorted({one.results[0]["metric"] for one in every})
    if len(scored) > 1:
        raise DataError(
            f"{task}: results are of different metrics ({', '.join(scored)}): evaluate again, and "
            "delete those of old"
        )
    kept = {
        (e.layout.extractor, e.layout.fingerprint): e
        for e in embeddings_module.list_embeddings(layout.cache_root(cache))
    }
    points = [_cost_point(one, kept) for one in every]
    sign = 1 if metrics.get_metric(scored[0]).higher_is_better else -1
    points.sort(key=lambda one: -sign * one.group.score)
    found = Cost(task, scored[0], tuple(points), tuple(_notes(points)))
    if not found.axes:
        names = sorted({s["extractor"] for one in every for s in one.results[0]["sources"]})
        raise DataError(
            f"{task}: what {', '.join(names)} cost is not known: imported embeddings have no card "
            "with parameters and GFLOP, and no time was measured. It is known of embeddings made "
            "by probekit extract"
        )
    return found


def _cost_point(one: RunGroup, kept: dict[tuple[str, str], Embeddings]) -> CostPoint:
    """Add up what the embeddings of a run cost."""
    each = [_costs(source, kept) for source in one.results[0]["sources"]]
    names = [name for name in COSTS if all(name in own for own, _ in each)]
    devices = dict.fromkeys(device for _, device in each if device)
    return CostPoint(one, {n: sum(own[n] for own, _ in each) for n in names}, ", ".join(devices))


def _costs(source: Source, kept: dict[tuple[str, str], Embeddings]) -> tuple[dict[str, float], str]:
    """Return what is known of one embedding's cost, and on what it was timed."""
    found: dict[str, float] = {}
    card = _card(source)
    if card is not None:
        if card.parameter_count is not None or not card.weights:  # without weights there are none
            found["parameters"] = float(card.parameter_count or 0)
        if card.gflop_per_second is not None:
            found["gflop"] = card.gflop_per_second
    embeddings = kept.get((source["extractor"], source["fingerprint"]))
    speeds = _speeds(embeddings) if embeddings else []
    if speeds:
        found["seconds"] = 1 / statistics.median(speed for speed, _ in speeds)
    return found, ", ".join(sorted({device for _, device in speeds}))


def _card(source: Source) -> ExtractorCard | None:
    """Return the card of what made an embedding; None for imported ones."""
    made = "imported" not in source["identity"] and source["extractor"] in cards.card_paths(
        "extractors"
    )
    return cards.load_extractor_card(source["extractor"]) if made else None


def _speeds(embeddings: Embeddings) -> list[tuple[float, str]]:
    """Return at how many times real time parts were embedded, and on what."""
    found = []
    for name in sorted(embeddings.index.parts)[:_PARTS]:
        try:
            with part.open_part(embeddings.folder / name) as file:
                provenance = part.read_meta(file).get("provenance", {})
            speed = float(provenance.get(SPEED, 0))
        except (CacheError, ValueError, AttributeError):
            continue
        if speed > 0:
            found.append((speed, str(provenance.get("device", "an unknown device"))))
    return found


def _notes(points: list[CostPoint]) -> list[str]:
    """Say which costs are not known, and which are those of other settings."""
    notes = []
    for name, title in COSTS.items():
        without = list(dict.fromkeys(one.embedding for one in points if name not in one.costs))
        if not any(name in one.costs for one in points):
            notes.append(f"{title}: not known of any run, left out")
        elif without:
            more = f" and {len(without) - 4} more" if len(without) > 4 else ""
            notes.append(f"{title} not known: {', '.join(without[:4])}{more}")
    other = dict.fromkeys(
        one.embedding
        for one in points
        for source in one.group.results[0]["sources"]
        if _changed(source)
    )
    if other:
        notes.append(
            f"parameters and GFLOP of the card's default settings, not of these: {', '.join(other)}"
        )
    return notes


def _changed(source: Source) -> bool:
    """Return whether an embedding was made with other settings than its card's default ones."""
    card = _card(source)
    if card is None:
        return False
    given = source["identity"].get("params", {})
    return any(
        name in given and given[name] != parameter.default
        for name, parameter in card.parameters.items()
    )
