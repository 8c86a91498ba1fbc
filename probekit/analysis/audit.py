"""Audit: embeddings under the task's own protocol, those of other tools, and departures from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.protocol_shift import Shift, measure_shift
from probekit.errors import ProbekitError, ProtocolError
from probekit.metrics import metrics
from probekit.metrics.significance import LEVEL
from probekit.probes.evaluate import Progress, evaluate
from probekit.probes.evaluation_protocols import (
    DEPARTURES,
    PROTOCOLS,
    TASK,
    get_evaluation_protocol,
)
from probekit.scores import store
from probekit.scores.comparison import Comparison, compare_all
from probekit.scores.groups import RunGroup, group_runs, merge_provenance
from probekit.scores.predictions import Predictions, load_predictions
from probekit.scores.store import Result
from probekit.utils.json_values import replace_nonfinite


@dataclass(frozen=True)
class ProtocolScores:
    """Embeddings under one protocol.

    Attributes
    ----------
    name, title, source, description : str
        Of the protocol; ``task`` is the task's own.
    leaks : tuple of str
        What test clips influence, and what they share with training clips.
    groups : tuple of RunGroup
        The run, or the runs over seeds, of each embedding, in their order; empty if the task cannot
        have this protocol.
    comparisons : tuple of Comparison
        Each pair of embeddings; p-values are adjusted for all pairs (Holm).
    shifts : tuple of Shift
        Of each embedding; none for the task's own protocol.
    problem : str
        Why the task cannot have this protocol.
    """

    name: str
    title: str
    source: str
    description: str
    leaks: tuple[str, ...] = ()
    groups: tuple[RunGroup, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    shifts: tuple[Shift, ...] = ()
    problem: str = ""

    @property
    def ranks(self) -> list[int]:
        """Rank of each embedding, from 1; of equal scores the smallest."""
        sign = 1 if store.higher_is_better(self.groups[0].results[0]) else -1
        scores = [sign * group.score for group in self.groups]
        return [1 + sum(other > score for other in scores) for score in scores]

    @property
    def seconds(self) -> list[float]:
        """Time of the fits of each embedding, of all seeds."""
        return [
            float(sum(result["seconds"]["fit"] for result in group.results))
            for group in self.groups
        ]

    @property
    def is_departure(self) -> bool:
        """Whether it is the task's own protocol with one thing changed."""
        return self.name in {protocol.name for protocol in DEPARTURES}


@dataclass(frozen=True)
class Reversal:
    """Two embeddings that change places between the task's own protocol and another one.

    Attributes
    ----------
    protocol : str
        Name of the other one.
    first, second : str
        The better and the worse embedding under the task's own protocol.
    baseline, other : Comparison
        Their paired tests under both; first is ``first`` in both.
    """

    protocol: str
    first: str
    second: str
    baseline: Comparison
    other: Comparison

    @property
    def strength(self) -> str:
        """Which of the tests tell the two apart at the 5 % level: both, one or neither."""
        baseline, other = self.baseline.adjusted < LEVEL, self.other.adjusted < LEVEL
        return {
            (True, True): "both tests",
            (True, False): "the task's test",
            (False, True): "the other test",
            (False, False): "neither test",
        }[baseline, other]


@dataclass(frozen=True)
class Audit:
    """Scores of embeddings under several protocols.

    Attributes
    ----------
    task, title, metric : str
        Task and metric.
    embeddings : tuple of str
        Labels.
    protocols : tuple of ProtocolScores
        The task's own first.
    """

    task: str
    title: str
    metric: str
    embeddings: tuple[str, ...]
    protocols: tuple[ProtocolScores, ...]

    @property
    def baseline(self) -> ProtocolScores:
        """The task's own protocol."""
        return self.protocols[0]

    @property
    def scored(self) -> list[ProtocolScores]:
        """The protocols that the task can have."""
        return [protocol for protocol in self.protocols if protocol.groups]

    @cached_property
    def reversals(self) -> list[Reversal]:
        """The pairs of embeddings that change places, protocol by protocol."""
        return [
            reversal
            for protocol in self.scored[1:]
            for k in range(len(self.baseline.comparisons))
            if (reversal := self._reversal(protocol, k))
        ]

    def _reversal(self, protocol: ProtocolScores, k: int) -> Reversal | None:
        baseline, other = self.baseline.comparisons[k], protocol.comparisons[k]
        if baseline.difference * other.difference >= 0:
            return None
        i, j = list(combinations(range(len(self.embeddings)), 2))[k]
        higher = store.higher_is_better(self.baseline.groups[0].results[0])
        if (baseline.difference > 0) != higher:
            i, j, baseline, other = j, i, _swap(baseline), _swap(other)
        return Reversal(protocol.name, self.embeddings[i], self.embeddings[j], baseline, other)

    @property
    def compared(self) -> str:
        """What differences to the task's own protocol are on, for a sentence."""
        shifts = [shift for protocol in self.scored for shift in protocol.shifts]
        is_mean = not any(np.isnan(shift.p) for shift in shifts)
        return " on the same test clips" if is_mean else ", each on its own test clips"

    @property
    def pairs(self) -> int:
        """Number of pairs of embeddings."""
        return len(self.embeddings) * (len(self.embeddings) - 1) // 2

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes of the task's own runs, which every figure must show."""
        notes = zip(self.embeddings, self.baseline.groups, strict=True)
        return merge_provenance({label: group.provenance for label, group in notes})

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem("audit", self.task, *self.embeddings)

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        title = metrics.get_metric(self.metric).title
        shifts = " ".join(self._describe(protocol) for protocol in self.scored[1:])
        missing = "; ".join(f"{p.title}: {p.problem}" for p in self.protocols if p.problem)
        return (
            f"{title[:1].upper()}{title[1:]} on {self.task} of the same embeddings under the "
            "task's own protocol, under those of other tools (our own code after the facts of the "
            "versions named), and under the task's own with one thing changed. Points with 95 % "
            "intervals; lines: under the task's own protocol. Numbers at the right: pairs of "
            f"embeddings, of {self.pairs}, that change places. Difference to the task's own "
            f"protocol{self.compared}, mean over embeddings: {shifts}"
            f"{f' Not possible: {missing}.' if missing else ''}{as_sentence(self.provenance)}"
        )

    def _describe(self, protocol: ProtocolScores) -> str:
        mean = float(np.mean([shift.difference for shift in protocol.shifts]))
        leaks = f" ({'; '.join(protocol.leaks)})" if protocol.leaks else ""
        source = f" [{protocol.source}]" if protocol.source else ""
        return f"{protocol.title}{source} {mean:+.3f}{leaks}."

    def facts(self) -> dict[str, Any]:
        """Return the protocols, the reversals and the runs for the JSON beside the figure."""
        return {
            "task": self.task,
            "metric": self.metric,
            "embeddings": list(self.embeddings),
            "protocols": [
                {
                    "name": protocol.name,
                    "title": protocol.title,
                    "source": protocol.source,
                    "description": protocol.description,
                    "leaks": list(protocol.leaks),
                    "problem": protocol.problem,
                }
                for protocol in self.protocols
            ],
            "audit": self.rows(),
            "reversals": [
                {
                    "protocol": r.protocol,
                    "first": r.first,
                    "second": r.second,
                    "task_difference": r.baseline.difference,
                    "task_p": r.baseline.adjusted,
                    "other_difference": r.other.difference,
                    "other_p": r.other.adjusted,
                    "told_apart_by": r.strength,
                }
                for r in self.reversals
            ],
            "provenance": list(self.provenance),
            "compared": self.compared,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each protocol and embedding; None where there is no number."""
        task_ranks = self.baseline.ranks
        rows = []
        for protocol in self.scored:
            shifts = protocol.shifts or (None,) * len(self.embeddings)
            columns = zip(
                self.embeddings,
                protocol.groups,
                protocol.ranks,
                task_ranks,
                shifts,
                protocol.seconds,
                strict=True,
            )
            for label, group, rank, task_rank, shift, seconds in columns:
                low, high = group.interval
                moved = asdict(shift) if shift else {}
                rows.append(
                    {
                        "protocol": protocol.name,
                        "title": protocol.title,
                        "embedding": label,
                        "score": group.score,
                        "low": low,
                        "high": high,
                        "rank": rank,
                        "task_rank": task_rank,
                        "shift": moved.get("difference"),
                        "shift_low": moved.get("low"),
                        "shift_high": moved.get("high"),
                        "shift_p": moved.get("p"),
                        "shift_clips": moved.get("clips"),
                        "seconds": seconds,
                        "leaks": "; ".join(protocol.leaks),
                        "seeds": len(group.results),
                        "runs": " ".join(result["run"][:12] for result in group.results),
                    }
                )
        return [replace_nonfinite(row) for row in rows]


def audit(
    task: str,
    embeddings: Sequence[str],
    *,
    protocols: Sequence[str] = (),
    cache: str | Path | None = None,
    root: str | Path | None = None,
    reports: str | Path | None = None,
    jobs: int | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Audit:
    """Score embeddings under the task's own protocol, and under others, and compare.

    Stored runs are read; others are computed and stored, each protocol's in a store of its own.

    Parameters
    ----------
    task : str
        As for :func:`probekit.evaluate`.
    embeddings : sequence of str
        Embeddings in the cache, for a comparison two or more.
    protocols : sequence of str
        Names of other protocols and departures; by default all that the task can have.
    cache, root, reports : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    jobs : int >= 1, optional
        As for :func:`probekit.evaluate`.
    again : bool
        Repeat stored runs.
    progress : callable, optional
        As for :func:`probekit.evaluate`.

    Returns
    -------
    Audit
        To be drawn by :func:`probekit.figures.protocol_plot.draw_audit`.

    Raises
    ------
    ProbekitError
        If a protocol is not known, a task or embedding is not found, or the task cannot have a
        protocol that was asked for by its name.
    """
    rules = [get_evaluation_protocol(name) for name in protocols or PROTOCOLS]
    names = list(dict.fromkeys(embeddings))

    def run(protocol: str) -> list[RunGroup]:
        shown = None
        if progress:
            label = f"{protocol or TASK}: "

            def shown(name: str, done: int, total: int) -> None:
                progress(label + name, done, total)

        results = evaluate(
            task,
            names,
            cache=cache,
            root=root,
            reports=reports,
            jobs=jobs,
            again=again,
            progress=shown,
            protocol=protocol,
        )
        folder = store.protocol_root(reports, protocol) if protocol else store.reports_root(reports)
        return _groups(results, folder)

    task_groups = run("")
    first = task_groups[0].results[0]
    labels = tuple(group.label for group in task_groups)
    baseline = ProtocolScores(
        TASK,
        "task's own",
        "probekit",
        first["protocol"],
        leaks=_shared_notes(task_groups),
        groups=tuple(task_groups),
        comparisons=tuple(_compare(task_groups)),
    )
    metric = metrics.get_metric(first["metric"])
    before = [_load(group) for group in task_groups]
    entries = [baseline]
    for each in rules:
        try:
            groups = run(each.name)
            after = [_load(group) for group in groups]
            shifts = [measure_shift(a, b, metric) for a, b in zip(before, after, strict=True)]
        except ProtocolError as error:
            if protocols:
                raise
            problem = str(error).removeprefix(f"{first['task']}: ")
            entry = ProtocolScores(each.name, each.title, each.source, each.description)
            entries.append(_with_problem(entry, problem.removeprefix(f"--protocol {each.name}: ")))
            continue
        entries.append(
            ProtocolScores(
                each.name,
                each.title,
                each.source,
                each.description,
                leaks=_shared_notes(groups),
                groups=tuple(groups),
                comparisons=tuple(_compare(groups)),
                shifts=tuple(shifts),
            )
        )
    return Audit(first["task"], first["title"], metric.name, labels, tuple(entries))


def _load(group: RunGroup) -> list[Predictions]:
    """Return the predictions of each seed, clip by clip: other protocols score no pieces."""
    pairs = zip(group.paths, group.results, strict=True)
    return [load_predictions(path, result, by_clip=True) for path, result in pairs]


def _groups(results: Sequence[Result], folder: Path) -> list[RunGroup]:
    """Return the runs of each embedding as a group, labeled by the embedding."""
    runs = [(store.result_path(folder, r["task"], r["embedding"], r["run"]), r) for r in results]
    if len({path for path, _ in runs}) < len(runs):
        raise ProbekitError("an audit compares different embeddings; one was given twice")
    return [_relabel(group) for group in group_runs(runs)]


def _relabel(group: RunGroup) -> RunGroup:
    """Return a group whose label is that of the embedding, whatever the protocol's probe is."""
    is_other = "evaluation" in group.results[0]
    label = group.label.partition(" / ")[0] if is_other else group.label
    return RunGroup(label, group.results, group.paths)


def _compare(groups: Sequence[RunGroup]) -> list[Comparison]:
    return compare_all(groups) if len(groups) > 1 else []


def _swap(c: Comparison) -> Comparison:
    """Return a comparison with its runs in the other order."""
    verdict = {"first": "second", "second": "first"}.get(c.verdict, c.verdict)
    fields = {
        **vars(c),
        "first": c.second,
        "second": c.first,
        "scores": c.scores[::-1],
        "difference": -c.difference,
        "low": -c.high,
        "high": -c.low,
        "verdict": verdict,
    }
    return Comparison(**fields)


def _with_problem(entry: ProtocolScores, problem: str) -> ProtocolScores:
    return ProtocolScores(entry.name, entry.title, entry.source, entry.description, problem=problem)


def _shared_notes(groups: Sequence[RunGroup]) -> tuple[str, ...]:
    """Return what test clips influence and share with training clips, of all embeddings."""
    kinds = ("test clips", "groups with clips in training and in test")
    notes: list[str] = []
    for group in groups:
        result = group.results[0]
        notes += result["evaluation"]["leaks"] if "evaluation" in result else []
        notes += [note for note in result["provenance"] if any(kind in note for kind in kinds)]
    return tuple(dict.fromkeys(notes))
