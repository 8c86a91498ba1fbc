"""Learning curves: terms of the loss and scores of trained networks, epoch by epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.scores.groups import (
    RunGroup,
    collect_provenance,
    common_metric,
    disambiguate_labels,
    provenance_dict,
    resolve_run,
)

_NO_TERMS = ("fold", "epoch", "phase", "lr", "best")
_SCORES = ("train_score", "valid_score", "test_score")
_TITLES = {
    "loss": "training loss",
    "valid_loss": "validation loss",
    "train_score": "training",
    "valid_score": "validation",
    "test_score": "test",
}


@dataclass(frozen=True)
class Series:
    """One quantity of one run group, epoch by epoch.

    Attributes
    ----------
    run : str
        Label of the runs.
    quantity : str
        As in the history: ``loss``, ``penalty``, ``valid_score``, ``test_score`` …
    values : numpy.ndarray, shape (trainings, epochs)
        Of each fold and seed; NaN after a training's end, where a score is not defined, and where a
        term is not minimized, as in a warm-up.
    """

    run: str
    quantity: str
    values: Array

    @property
    def is_score(self) -> bool:
        """Whether it is the task's metric, and not a loss."""
        return self.quantity in _SCORES

    @property
    def title(self) -> str:
        """The quantity in words."""
        return _TITLES.get(self.quantity, self.quantity)

    def statistics(self) -> tuple[Array, Array]:
        """Return mean and sample standard deviation of each epoch; NaN where there is none."""
        counts = np.isfinite(self.values).sum(axis=0)
        totals = np.nansum(self.values, axis=0)
        mean = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
        squares = np.nansum((self.values - mean) ** 2, axis=0)
        deviation = np.where(counts > 1, np.sqrt(squares / np.maximum(counts - 1, 1)), np.nan)
        return mean, deviation


@dataclass(frozen=True)
class LearningCurve:
    """Learning curves of one or more run groups of a task.

    Attributes
    ----------
    task, metric : str
        Task and metric.
    groups : tuple of RunGroup
        The runs.
    series : tuple of Series
        Of each run, losses first.
    phase_starts : tuple of int
        Epochs (from 1) with which a phase of the recipe starts, but the first, in any run.
    """

    task: str
    metric: str
    groups: tuple[RunGroup, ...]
    series: tuple[Series, ...]
    phase_starts: tuple[int, ...]

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return collect_provenance(self.groups)

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem("curve", self.task, *(group.label for group in self.groups))

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        trainings = max(len(series.values) for series in self.series)
        band = (
            f" Lines: means over folds and seeds (up to {trainings}); bands: one standard deviation"
            " (n - 1)."
            if trainings > 1
            else ""
        )
        test = (
            " Test scores are shown, and select nothing."
            if any(series.quantity == "test_score" for series in self.series)
            else ""
        )
        title = metrics.get_metric(self.metric).title
        runs = ", ".join(group.label for group in self.groups)
        return (
            f"Learning curves on {self.task}: losses and {title} by epoch, {runs}.{band}{test}"
            f"{as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return runs and metric."""
        return {**provenance_dict(list(self.groups)), "metric": self.metric}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each run, quantity and epoch."""
        rows = []
        for series in self.series:
            for epoch, (mean, deviation) in enumerate(
                zip(*series.statistics(), strict=True), start=1
            ):
                count = int(np.isfinite(series.values[:, epoch - 1]).sum())
                rows.append(
                    {
                        "run": series.run,
                        "quantity": series.quantity,
                        "epoch": epoch,
                        "mean": float(mean),
                        "sd": float(deviation),
                        "trainings": count,
                    }
                )
        return rows


def learning_curve(
    runs: Sequence[str], *, task: str = "", reports: str | Path | None = None
) -> LearningCurve:
    """Collect the histories of trained networks.

    Parameters
    ----------
    runs : sequence of str
        Runs of ``train`` or ``distill``, as for :func:`probekit.compare`.
    task : str
        The task, where the names do not tell.
    reports : str or pathlib.Path, optional
        The reports folder.

    Returns
    -------
    LearningCurve
        To be drawn by :func:`probekit.figures.curves.draw_learning_curve`.

    Raises
    ------
    DataError
        If there is no such run, one has no history, or they are of several tasks or metrics.
    """
    return curve_of_groups(disambiguate_labels([resolve_run(name, task, reports) for name in runs]))


def curve_of_groups(
    groups: Sequence[RunGroup], quantities: Sequence[str] | None = None
) -> LearningCurve:
    """Collect the histories of run groups, as :func:`learning_curve` does.

    Parameters
    ----------
    groups : sequence of RunGroup
        With different labels.
    quantities : sequence of str, optional
        Names of quantities, for example ``test_score``; by default all.

    Raises
    ------
    DataError
        If one has no history or no such quantity, or they are of several tasks or metrics.
    """
    tasks = sorted({group.results[0]["task"] for group in groups})
    if len(tasks) > 1:
        raise DataError(f"learning curves must be of one task, got {', '.join(tasks)}")
    for group in groups:
        if not all(result["history"] for result in group.results):
            raise DataError(
                f"{group.label}: no epochs are stored: only runs of train and distill have some"
            )
    series = [each for group in groups for each in _group_series(group)]
    if quantities is not None:
        series = [each for each in series if each.quantity in quantities]
        if not series:
            raise DataError(f"no epochs with {', '.join(quantities)} are stored")
    return LearningCurve(
        task=tasks[0],
        metric=common_metric(groups),
        groups=tuple(groups),
        series=tuple(series),
        phase_starts=tuple(sorted({start for group in groups for start in _phase_starts(group)})),
    )


def _group_series(group: RunGroup) -> list[Series]:
    """Return the quantities of a run group, in the order of the history."""
    trainings: list[list[dict[str, Any]]] = []
    for result in group.results:
        by_fold: dict[str, list[dict[str, Any]]] = {}
        for epoch in result["history"]:
            by_fold.setdefault(epoch["fold"], []).append(epoch)
        trainings += by_fold.values()
    epochs = max(map(len, trainings))
    names = dict.fromkeys(name for training in trainings for epoch in training for name in epoch)
    series = []
    for name in names:
        if name in _NO_TERMS:
            continue
        values = np.full((len(trainings), epochs), np.nan)
        for row, training in zip(values, trainings, strict=True):
            row[: len(training)] = [
                np.nan if epoch.get(name) is None else epoch[name] for epoch in training
            ]
        if name not in _SCORES:
            # earlier versions stored 0 for a term that a warm-up leaves out
            started = np.logical_or.accumulate(np.nan_to_num(values).any(axis=0))
            values[:, ~started] = np.nan
        if np.isfinite(values).any():
            series.append(Series(group.label, name, values))
    return series


def _phase_starts(group: RunGroup) -> set[int]:
    """Return the epochs with which another phase starts."""
    return {
        epoch["epoch"]
        for result in group.results
        for before, epoch in zip(result["history"], result["history"][1:], strict=False)
        if before["fold"] == epoch["fold"] and before["phase"] != epoch["phase"]
    }
