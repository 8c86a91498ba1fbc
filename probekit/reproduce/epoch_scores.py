"""Scores of papers from the test scores of all epochs: the best epoch, or the mean of the last."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from probekit.errors import DataError
from probekit.scores.store import Result

LAST = 20  # epochs; lee2021, caption of Table 1


@dataclass(frozen=True)
class EpochScore:
    """A score from the test scores of all epochs, a mean over folds.

    Attributes
    ----------
    mean : float
        Over folds.
    low, high : float or None
        95 % interval by Student's t over folds; None of one fold, or if folds do not differ.
    note : str
        Describes the score.
    """

    mean: float
    low: float | None
    high: float | None
    note: str


def score_epochs(result: Result, statistic: Literal["best", "last"]) -> EpochScore:
    """Return the highest test score of each fold, or the mean of its last 20 epochs, over folds.

    The highest is chosen on test clips; it is computed since papers print it, and never used to
    choose anything.

    Parameters
    ----------
    result : Result
        Of a run whose recipe scores test clips after every epoch.
    statistic : {"best", "last"}
        Which one.

    Raises
    ------
    DataError
        If an epoch has no test score.
    """
    folds: dict[str, list[float]] = {}
    for epoch in result["history"]:
        score = epoch.get("test_score")
        if score is None:
            raise DataError(
                f"{result['embedding']}: epoch {epoch['epoch']} of fold {epoch['fold']} has no "
                f"test score: {statistic!r} needs one of every epoch"
            )
        folds.setdefault(epoch["fold"], []).append(score)
    if not folds:
        raise DataError(f"{result['embedding']}: no epochs are stored")
    if statistic == "best":
        values = [max(scores) for scores in folds.values()]
        text = "best: the epoch with the highest score on test clips, so chosen on them"
    else:
        values = [float(np.mean(scores[-LAST:])) for scores in folds.values()]
        count = min([LAST, *map(len, folds.values())])
        text = f"last: the mean over the last {count} epoch{'s' * (count != 1)}"
    mean, deviation = float(np.mean(values)), 0.0
    low = high = None
    if len(values) > 1:
        deviation = float(np.std(values, ddof=1))
        text += f"; {len(values)} folds, standard deviation {deviation:.3f} (n - 1)"
    if deviation > 0:
        half = stats.t.ppf(0.975, len(values) - 1) * deviation / np.sqrt(len(values))
        low, high = float(mean - half), float(mean + half)
        text += ", interval by Student's t over folds"
    return EpochScore(mean, low, high, text)
