"""Confusion matrix, from the stored predictions of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.clustering import linkage_tree
from probekit.errors import DataError
from probekit.scores import groups
from probekit.scores.groups import RunGroup
from probekit.scores.predictions import load_predictions
from probekit.utils.suggest import unknown_name_error

ORDERS = ("clusters", "labels")


@dataclass(frozen=True)
class Confusion:
    """Counts of labels and predicted classes.

    Attributes
    ----------
    counts : numpy.ndarray of int, shape (classes, classes)
        Row: the label. Column: the predicted class, of the highest score unless the probe predicts
        classes itself.
    names : tuple of str
        The classes.
    order : tuple of int
        Classes in the order of the figure.
    order_by : {"clusters", "labels"}
        How they were ordered.
    run : RunGroup
        Whose predictions.
    """

    counts: Array
    names: tuple[str, ...]
    order: tuple[int, ...]
    order_by: str
    run: RunGroup

    @property
    def proportions(self) -> Array:
        """Counts divided by the clips of the label; NaN for a class without clips.

        The diagonal is the recall of each class, the class score of ``results show``.
        """
        with np.errstate(invalid="ignore"):
            return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return groups.collect_provenance([self.run])

    @property
    def name(self) -> str:
        """Stem of the files."""
        task = self.run.results[0]["task"]
        return filename_stem("confusion", task, self.run.label, order=(self.order_by, "clusters"))

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        first = self.run.results[0]
        repeats = len(self.run.results)
        seeds = f", {repeats} seeds together" if repeats > 1 else ""
        folds = f", {len(first['folds'])} folds together" if len(first["folds"]) > 1 else ""
        how = (
            "Classes that are often confused are next to each other (average linkage)"
            if self.order_by == "clusters"
            else "Classes are in the task's order"
        )
        count = int(self.counts.sum())
        return (
            f"Confusion of {self.run.label} on {first['task']}: rows are the right classes, "
            f"columns the predicted ones, each row as shares of its test clips ({count:,} "
            f"predictions{folds}{seeds}); the diagonal is the recall. {how}."
            f"{as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return the run, and the order of the classes."""
        return {
            **groups.provenance_dict([self.run]),
            "order": self.order_by,
            "classes_in_order": [self.names[k] for k in self.order],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return all pairs that occur, confusions before correct predictions, by count."""
        shares = self.proportions
        pairs = sorted(
            zip(*np.nonzero(self.counts), strict=True),
            key=lambda pair: (pair[0] == pair[1], -self.counts[pair], pair),
        )
        return [
            {
                "class": self.names[true],
                "predicted": self.names[predicted],
                "clips": int(self.counts[true, predicted]),
                "share": float(shares[true, predicted]),
            }
            for true, predicted in pairs
        ]


def confusion(
    run: str, *, task: str = "", reports: str | Path | None = None, order: str = "clusters"
) -> Confusion:
    """Count which classes a run predicts for which.

    Parameters
    ----------
    run : str
        As for :func:`probekit.scores.groups.resolve_run`; of several seeds all predictions count.
    task : str
        The task, where the name does not tell.
    reports : str or pathlib.Path, optional
        The reports folder.
    order : {"clusters", "labels"}
        Classes that are confused side by side, or in the task's order.

    Returns
    -------
    Confusion
        To be drawn by :func:`probekit.figures.heatmap.draw_confusion`.

    Raises
    ------
    ProbekitError
        If there is no such run, or its clips do not have one label each.
    """
    if order not in ORDERS:
        raise unknown_name_error("order", order, ORDERS)
    group = groups.resolve_run(run, task, reports)
    first = group.results[0]
    if first["target"] != "single":
        what = "numbers" if first["target"] == "regression" else "several labels per clip"
        raise DataError(
            f"{group.label}: {first['task']} has {what}, and a confusion matrix needs one label "
            "per clip. Scores of its single classes: probekit results show "
            f"{first['run'][:12]}, or, of two runs, probekit analyze differences"
        )
    size = len(first["classes"])
    counts = np.zeros((size, size), np.int64)
    for path, result in zip(group.paths, group.results, strict=True):
        predictions = load_predictions(path, result)
        np.add.at(counts, (predictions.targets, predictions.classes), 1)
    positions = tuple(range(size)) if order == "labels" or size < 2 else _cluster(counts)
    return Confusion(counts, tuple(first["classes"]), positions, order, group)


def _cluster(counts: Array) -> tuple[int, ...]:
    """Return an order in which classes that are confused are side by side."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mutual = (shares + shares.T) / 2
    return linkage_tree(1 - mutual[np.triu_indices(len(counts), 1)]).order
