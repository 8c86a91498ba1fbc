"""Predictions of a run, clip by clip; every score follows from them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.metrics import intervals, metrics
from probekit.metrics.intervals import Interval
from probekit.metrics.metrics import Metric
from probekit.scores.pieces import average
from probekit.utils.text import summarize_ids

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
    own_classes : numpy.ndarray of int, shape (clips,), optional
        Classes that the probe predicts, where these are not those of the highest scores, as with
        an SVC, whose classes vote in pairs. They count wherever a predicted class does; scores are
        for rankings and probabilities.
    pieces : numpy.ndarray of str, shape (clips,), optional
        Piece of each clip, where clips of one piece are scored as one; see :meth:`by_piece`.
    """

    clip_ids: Array
    fold: Array
    folds: tuple[str, ...]
    targets: Array
    scores: Array
    groups: Array
    target: str
    probabilities: bool
    own_classes: Array | None = None
    pieces: Array | None = None

    def by_piece(self) -> "Predictions":
        """Return the predictions of pieces: one row each, with the means of probabilities.

        ``clip_ids`` are then names of pieces. Where clips are scored one by one, they stay.
        """
        if self.pieces is None:
            return self
        scores = self.scores
        if not self.probabilities:
            scores = metrics.to_probabilities(scores, self.target)
        keys = np.char.add(np.char.mod("%d ", self.fold), self.pieces.astype(str))
        rows = np.sort(np.unique(keys, return_index=True)[1])
        return replace(
            self.subset(rows),
            clip_ids=self.pieces[rows],
            scores=average(scores, keys)[rows],
            probabilities=self.target != "regression",
            own_classes=None,
            pieces=None,
        )

    @property
    def classes(self) -> Array:
        """The predicted class of each clip, for one label a clip; of equal scores the first."""
        return self.scores.argmax(axis=1) if self.own_classes is None else self.own_classes

    @property
    def repeats(self) -> int:
        """How often each clip was scored, with repeated folds; 1 if not all equally often."""
        counts = np.unique(self.clip_ids, return_counts=True)[1]
        return int(counts[0]) if len(set(counts.tolist())) == 1 else 1

    def scores_for(self, metric: Metric) -> Array:
        """Return the scores as the metric needs them; see :func:`metrics.prepare_scores`."""
        return metrics.prepare_scores(
            metric,
            self.scores,
            self.target,
            probabilities=self.probabilities,
            predicted=self.own_classes,
        )

    def by_fold(self, metric: Metric) -> list[float]:
        """Return the metric of each fold; NaN where it is not defined."""
        scores = self.scores_for(metric)
        folds = [self.fold == k for k in range(len(self.folds))]
        return [metric.score(self.targets[rows], scores[rows]) for rows in folds]

    def interval(self, metric: Metric, *, percentile: bool = False) -> Interval:
        """Return the interval of the mean over folds; ``percentile`` is that of older results."""
        scores = self.scores_for(metric)
        if percentile:
            return intervals.percentile_interval(
                metric, self.targets, scores, self.fold, self.groups
            )
        return intervals.confidence_interval(
            metric, self.targets, scores, self.fold, self.groups, self.clip_ids
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
            own_classes=None if self.own_classes is None else self.own_classes[rows],
            pieces=None if self.pieces is None else self.pieces[rows],
        )

    def arrays(self) -> dict[str, Any]:
        """Return the arrays of the HDF5 file beside a result."""
        arrays = {
            "predictions/clip_id": self.clip_ids,
            "predictions/fold": np.array(self.folds)[self.fold],
            "predictions/target": self.targets,
            "predictions/scores": self.scores,
            "predictions/group": self.groups,
        }
        if self.own_classes is not None:
            arrays["predictions/class"] = self.own_classes
        if self.pieces is not None:
            arrays["predictions/piece"] = self.pieces
        return arrays


def check_scores(scores: Array, target: str, probe: str, clip_ids: Array) -> None:
    """Raise a DataError with the probe and the clips if scores cannot be ranked.

    See :func:`probekit.metrics.metrics.undefined_clips`. A NaN would count as a class, the first.
    """
    rows = metrics.undefined_clips(scores, target)
    if len(rows):
        raise DataError(
            f"the scores of {probe} are NaN or infinite for {len(rows):,} of {len(scores):,} "
            f"clips: {summarize_ids(list(map(str, clip_ids[rows])), 3)}. They cannot be ranked: "
            "use other settings, or another probe"
        )


def load_predictions(path: Path, result: "Result", *, by_clip: bool = False) -> Predictions:
    """Read the predictions beside a result.

    Parameters
    ----------
    path : pathlib.Path
        Of the result's JSON.
    result : Result
        Says what the arrays are.
    by_clip : bool
        Whether clips are returned also where a task's clips are scored by pieces.

    Returns
    -------
    Predictions
        All test clips of the run, or all pieces.

    Raises
    ------
    DataError
        If the HDF5 file is missing or incomplete, or a score is NaN.
    """
    path = path.with_suffix(".h5")
    folds = tuple(fold["fold"] for fold in result["folds"])
    target, probabilities = result["target"], result["probabilities"]
    try:
        with h5py.File(path) as file:
            group = file["predictions"]
            text = {k: _decode(group[k][:]) for k in ("clip_id", "fold", "group")}
            targets, scores = group["target"][:], group["scores"][:]
            own_classes = group["class"][:] if "class" in group else None
            pieces = _decode(group["piece"][:]) if "piece" in group else None
        numbers = {name: k for k, name in enumerate(folds)}
        fold = np.array([numbers[name] for name in text["fold"].tolist()], np.int64)
        columns = [fold, text["clip_id"], text["group"], targets]
        columns += [column for column in (own_classes, pieces) if column is not None]
        if {len(column) for column in columns} != {len(scores)}:
            raise ValueError("some clips have no score or no label")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the predictions of a result ({error})") from error
    undefined = text["clip_id"][np.isnan(scores).any(axis=1)]
    if len(undefined):
        raise DataError(
            f"{path}: the scores of {result['probe']} are NaN for {len(undefined):,} of "
            f"{len(scores):,} clips: {summarize_ids(list(map(str, undefined)), 3)}. They count as "
            "no class: delete the result, and evaluate with other settings or another probe"
        )
    predictions = Predictions(
        clip_ids=text["clip_id"],
        fold=fold,
        folds=folds,
        targets=targets,
        scores=scores,
        groups=text["group"],
        target=target,
        probabilities=probabilities,
        own_classes=own_classes,
        pieces=pieces,
    )
    return predictions if by_clip else predictions.by_piece()


def _decode(column: Array) -> Array:
    """Return a column of UTF-8 text as text: what ``numpy.char.decode`` does, in less time."""
    if column.dtype.kind != "S" or column.ndim != 1 or not column.size:
        return np.char.decode(column, "utf-8")
    letters = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), -1)
    if letters.max() > 127:
        return np.char.decode(column, "utf-8")
    width = max(1, int(np.flatnonzero(letters.any(axis=0)).max(initial=0)) + 1)
    codes = np.ascontiguousarray(letters[:, :width], np.uint32)
    return codes.view(f"U{width}").reshape(len(column))
