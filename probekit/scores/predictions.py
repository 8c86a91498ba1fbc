"""What a run predicted, clip by clip: every score follows from it, now or later."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import bootstrap, metrics
from probekit.metrics.bootstrap import Interval
from probekit.metrics.metrics import Metric


@dataclass(frozen=True)
class Predictions:
    """Scores of test clips.

    Attributes
    ----------
    clip_ids : numpy.ndarray of str, shape (clips,)
        Which clip; with repeated splits one may be there more than once.
    fold : numpy.ndarray of int, shape (clips,)
        Number of the fold that it was scored in.
    folds : tuple of str
        The folds' names.
    targets : numpy.ndarray
        Class numbers, shape (clips,); 0 and 1, or numbers, shape (clips, classes).
    scores : numpy.ndarray, shape (clips, classes)
        As the probe gave them.
    groups : numpy.ndarray of str, shape (clips,)
        Empty where there is none.
    target : {"single", "multi", "regression"}
        What ``targets`` are.
    probabilities : bool
        Whether ``scores`` are.
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
        """Return the scores as a metric wants them: probabilities where it needs these."""
        if metric.probabilities and not self.probabilities:
            return metrics.probabilities(self.scores, self.target)
        return self.scores

    def by_fold(self, metric: Metric) -> list[float]:
        """Return the metric of each fold; NaN where it is not defined."""
        scores = self.scores_for(metric)
        rows = [self.fold == k for k in range(len(self.folds))]
        return [metric.score(self.targets[own], scores[own]) for own in rows]

    def interval(self, metric: Metric) -> Interval:
        """Return the interval of the mean over folds."""
        return bootstrap.interval(
            metric, self.targets, self.scores_for(metric), self.fold, self.groups
        )

    def subset(self, rows: Array) -> "Predictions":
        """Return some of the clips, in the order given; folds without any of them are left out."""
        fold = self.fold[rows]
        there, number = np.unique(fold, return_inverse=True)
        return replace(
            self,
            clip_ids=self.clip_ids[rows],
            fold=number,
            folds=tuple(self.folds[k] for k in there),
            targets=self.targets[rows],
            scores=self.scores[rows],
            groups=self.groups[rows],
        )

    def arrays(self) -> dict[str, Any]:
        """Return what is written beside a result."""
        return {
            "predictions/clip_id": self.clip_ids,
            "predictions/fold": np.array(self.folds)[self.fold],
            "predictions/target": self.targets,
            "predictions/scores": self.scores,
            "predictions/group": self.groups,
        }


def load(path: Path, folds: tuple[str, ...], target: str, probabilities: bool) -> Predictions:
    """Read the predictions of a result.

    Parameters
    ----------
    path : pathlib.Path
        The ``.h5`` beside the result.
    folds : tuple of str
        The folds' names, as the result has them.
    target : {"single", "multi", "regression"}
        As the result says.
    probabilities : bool
        As the result says.

    Returns
    -------
    Predictions
        As they were saved.

    Raises
    ------
    DataError
        If the file is not there or not whole.
    """
    try:
        with h5py.File(path) as file:
            group = file["predictions"]
            text = {k: np.char.decode(group[k][:], "utf-8") for k in ("clip_id", "fold", "group")}
            targets, scores = group["target"][:], group["scores"][:]
        number = {name: k for k, name in enumerate(folds)}
        fold = np.array([number[name] for name in text["fold"]], np.int64)
        if {len(fold), len(text["clip_id"]), len(text["group"]), len(targets)} != {len(scores)}:
            raise ValueError("of some clips there is no score or no label")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the predictions of a result ({error})") from error
    return Predictions(
        text["clip_id"], fold, folds, targets, scores, text["group"], target, probabilities
    )
