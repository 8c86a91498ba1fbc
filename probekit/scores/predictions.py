"""Predictions of a run, clip by clip; every score follows from them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import bootstrap, metrics
from probekit.metrics.bootstrap import Interval
from probekit.metrics.metrics import Metric

if TYPE_CHECKING:
    from probekit.scores.store import Result


@dataclass(frozen=True)
class Predictions:
    """Scores of test clips.

    Attributes
    ----------
    clip_ids : numpy.ndarray of str, shape (clips,)
        Clip ids; with repeated splits one may occur more than once.
    fold : numpy.ndarray of int, shape (clips,)
        Number of the fold in which each clip was scored.
    folds : tuple of str
        The folds' names.
    targets : numpy.ndarray
        Class numbers, shape (clips,); 0 and 1, or numbers, shape (clips, classes).
    scores : numpy.ndarray, shape (clips, classes)
        Outputs of the probe.
    groups : numpy.ndarray of str, shape (clips,)
        Group of each clip, empty where there is none.
    target : {"single", "multi", "regression"}
        Kind of ``targets``.
    probabilities : bool
        Whether ``scores`` are probabilities.
    """

    clip_ids: Array
    fold: Array
    folds: tuple[str, ...]
    targets: Array
    scores: Array
    groups: Array
    target: str
    probabilities: bool

    def scores_for(self, metric: Metric) -> Array:
        """Return the scores, as probabilities where the metric needs these."""
        if metric.needs_probabilities and not self.probabilities:
            return metrics.to_probabilities(self.scores, self.target)
        return self.scores

    def by_fold(self, metric: Metric) -> list[float]:
        """Return the metric of each fold; NaN where it is not defined."""
        scores = self.scores_for(metric)
        folds = [self.fold == k for k in range(len(self.folds))]
        return [metric.score(self.targets[rows], scores[rows]) for rows in folds]

    def interval(self, metric: Metric) -> Interval:
        """Return the interval of the mean over folds."""
        return bootstrap.confidence_interval(
            metric, self.targets, self.scores_for(metric), self.fold, self.groups
        )

    def subset(self, rows: Array) -> "Predictions":
        """Return the clips of these rows, in this order; empty folds are left out."""
        numbers, fold = np.unique(self.fold[rows], return_inverse=True)
        return replace(
            self,
            clip_ids=self.clip_ids[rows],
            fold=fold,
            folds=tuple(self.folds[k] for k in numbers),
            targets=self.targets[rows],
            scores=self.scores[rows],
            groups=self.groups[rows],
        )

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of the HDF5 file beside a result."""
        return {
            "predictions/clip_id": self.clip_ids,
            "predictions/fold": np.array(self.folds)[self.fold],
            "predictions/target": self.targets,
            "predictions/scores": self.scores,
            "predictions/group": self.groups,
        }


def load_predictions(path: Path, result: "Result") -> Predictions:
    """Read the predictions beside a result.

    Parameters
    ----------
    path : pathlib.Path
        Of the result's JSON.
    result : Result
        Says what the arrays are.

    Returns
    -------
    Predictions
        All test clips of the run.

    Raises
    ------
    DataError
        If the HDF5 file is missing or incomplete.
    """
    path = path.with_suffix(".h5")
    folds = tuple(fold["fold"] for fold in result["folds"])
    target, probabilities = result["target"], result["probabilities"]
    try:
        with h5py.File(path) as file:
            group = file["predictions"]
            text = {k: np.char.decode(group[k][:], "utf-8") for k in ("clip_id", "fold", "group")}
            targets, scores = group["target"][:], group["scores"][:]
        numbers = {name: k for k, name in enumerate(folds)}
        fold = np.array([numbers[name] for name in text["fold"]], np.int64)
        if {len(fold), len(text["clip_id"]), len(text["group"]), len(targets)} != {len(scores)}:
            raise ValueError("some clips have no score or no label")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the predictions of a result ({error})") from error
    return Predictions(
        text["clip_id"], fold, folds, targets, scores, text["group"], target, probabilities
    )
