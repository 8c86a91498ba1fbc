"""Which classes a probe takes for which, from the kept predictions of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis import base, clustering
from probekit.errors import DataError
from probekit.scores import groups, predictions
from probekit.scores.groups import RunGroup
from probekit.utils.suggest import unknown_name_error

ORDERS = ("clusters", "labels")


@dataclass(frozen=True)
class Confusion:
    """How often clips of one class were taken for another.

    Attributes
    ----------
    counts : numpy.ndarray of int, shape (classes, classes)
        Row: the right class. Column: the one that scored best.
    names : tuple of str
        The classes.
    order : tuple of int
        Classes as the figure has them.
    by : {"clusters", "labels"}
        How they were ordered.
    run : Entry
        Whose predictions.
    """

    counts: Array
    names: tuple[str, ...]
    order: tuple[int, ...]
    order_by: str
    run: RunGroup

    @property
    def proportions(self) -> Array:
        """Counts divided by the clips of the right class; NaN for a class without any."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.counts / self.counts.sum(axis=1, keepdims=True))

    @property
    def provenance(self) -> tuple[str, ...]:
        """What every figure must show."""
        return groups.collect_provenance([self.run])

    @property
    def name(self) -> str:
        """Stem of the files."""
        task = self.run.results[0]["task"]
        return base.filename_stem("confusion", task, self.run.label, order=(self.order_by, "clusters"))

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        first = self.run.results[0]
        repeats = len(self.run.results)
        seeds = f", {repeats} seeds together" if repeats > 1 else ""
        folds = f", {len(first['folds'])} folds together" if len(first["folds"]) > 1 else ""
        how = (
            "Classes that are often confused stand side by side (average linkage)"
            if self.order_by == "clusters"
            else "Classes are in the task's order"
        )
        count = int(self.counts.sum())
        return (
            f"Confusion of {self.run.label} on {first['task']}: rows are the right classes, "
            f"columns the predicted ones, each row as shares of its test clips ({count:,} "
            f"predictions{folds}{seeds}). {how}.{base.as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it: the run, and the order of the classes."""
        return {
            **groups.provenance_dict([self.run]),
            "order": self.order_by,
            "classes_in_order": [self.names[k] for k in self.order],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return all pairs that occur, the most frequent confusions first, then what was right."""
        shares = self.proportions
        pairs = sorted(
            zip(*np.nonzero(self.counts), strict=True),
            key=lambda pair: (pair[0] == pair[1], -self.counts[pair], pair),
        )
        return [
            {
                "class": self.names[true],
                "predicted": self.names[said],
                "clips": int(self.counts[true, said]),
                "share": float(shares[true, said]),
            }
            for true, said in pairs
        ]


def confusion(
    run: str, *, task: str = "", reports: str | Path | None = None, order: str = "clusters"
) -> Confusion:
    """Count which classes a run took for which.

    Parameters
    ----------
    run : str
        As :func:`probekit.scores.groups.resolve` takes it; of several seeds all predictions count.
    task : str
        The task, where the name does not tell.
    reports : str or pathlib.Path, optional
        Where results are.
    order : {"clusters", "labels"}
        Classes that are confused side by side, or as the task has them.

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
    found = groups.resolve_run(run, task, reports)
    first = found.results[0]
    if first["target"] != "single":
        what = "numbers" if first["target"] == "regression" else "several labels a clip"
        raise DataError(
            f"{found.label}: {first['task']} has {what}, and a confusion matrix needs one label a "
            f"clip. Scores of its single classes: probekit results show {first['run'][:12]}, or, "
            "of two runs, probekit analyze differences"
        )
    size = len(first["classes"])
    counts = np.zeros((size, size), np.int64)
    for path, result in zip(found.paths, found.results, strict=True):
        own = predictions.load_predictions(path, result)
        np.add.at(counts, (own.targets, own.scores.argmax(axis=1)), 1)
    placed = tuple(range(size)) if order == "labels" or size < 2 else _clustered(counts)
    return Confusion(counts, tuple(first["classes"]), placed, order, found)


def _clustered(counts: Array) -> tuple[int, ...]:
    """Return an order in which classes that are confused stand side by side."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mutual = (shares + shares.T) / 2
    return clustering.linkage_tree(1 - mutual[np.triu_indices(len(counts), 1)]).order
