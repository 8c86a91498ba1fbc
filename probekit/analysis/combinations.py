"""Scores by the number of targets that networks were trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probekit.analysis.base import as_sentence, filename_stem
from probekit.metrics import metrics
from probekit.utils.text import count_of


@dataclass(frozen=True)
class TargetCounts:
    """Scores of combinations of targets.

    Attributes
    ----------
    task : str
        The task.
    lines : mapping of str to mapping of str to mapping of str to float
        Scores by line, combination (a letter for each target) and metric.
    failed : int
        Combinations without a score.
    provenance : tuple of str
        Notes that every figure must show.
    """

    task: str
    lines: Mapping[str, Mapping[str, Mapping[str, float]]]
    failed: int = 0
    provenance: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem("targets", self.task)

    @property
    def metrics(self) -> list[str]:
        """Metrics of the scores."""
        names = [
            name for line in self.lines.values() for scores in line.values() for name in scores
        ]
        return list(dict.fromkeys(names))

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        titles = " and ".join(metrics.get_metric(name).title for name in self.metrics)
        failed = f" Without a score: {count_of(self.failed, 'combination')}." if self.failed else ""
        return (
            f"{titles} on {self.task} by the number of targets: combinations, and their means."
            f"{failed}{as_sentence(self.provenance)}"
        )

    def scores(self, line: str, metric: str) -> dict[int, list[float]]:
        """Return the scores of the combinations of each number of targets."""
        counts: dict[int, list[float]] = {}
        for letters, scores in self.lines[line].items():
            counts.setdefault(len(letters), []).append(scores[metric])
        return dict(sorted(counts.items()))

    def facts(self) -> dict[str, Any]:
        """Return the task and what is shown."""
        return {"task": self.task, "metrics": self.metrics, "lines": list(self.lines)}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each combination, and the means."""
        rows: list[dict[str, Any]] = [
            {"line": line, "targets": letters, "count": len(letters), **scores}
            for line, combinations in self.lines.items()
            for letters, scores in combinations.items()
        ]
        for line in self.lines:
            means = {name: self.scores(line, name) for name in self.metrics}
            rows += [
                {
                    "line": line,
                    "targets": "mean",
                    "count": count,
                    **{name: float(np.mean(values[count])) for name, values in means.items()},
                }
                for count in next(iter(means.values()), {})
            ]
        return rows


def shared_notes(notes: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the notes that all runs have, and those on stand-ins of any of them.

    A network's own notes are one, separated by semicolons.
    """
    parts = [[part for note in each for part in note.split("; ")] for each in notes]
    every = list(dict.fromkeys(part for each in parts for part in each))
    return tuple(
        part for part in every if "stand-in" in part or all(part in each for each in parts)
    )
