"""Scores recomputed from the predictions that are stored beside them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probekit.errors import DataError
from probekit.probes import predictions, results
from probekit.probes.results import Result
from probekit.tasks import metrics


@dataclass(frozen=True)
class Verified:
    """What recomputing one result came to.

    Attributes
    ----------
    path : pathlib.Path
        The result.
    task, embedding : str
        What it is of; empty where it cannot be read.
    faults : tuple of str
        What does not agree; empty where all does.
    """

    path: Path
    task: str
    embedding: str
    faults: tuple[str, ...]


def verify(reports: str | Path | None = None) -> list[Verified]:
    """Recompute every score and interval of a store from the stored predictions.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`probekit.probes.results.root`.

    Returns
    -------
    list of Verified
        One a result, damaged ones included.
    """
    found = []
    for path in sorted(results.root(reports).glob("results/*/*.json")):
        try:
            result = results.load(path)
            faults = _faults(path, result)
            found.append(Verified(path, result["task"], result["embedding"], tuple(faults)))
        except (DataError, KeyError) as error:
            found.append(Verified(path, "", "", (str(error).removeprefix(f"{path}: "),)))
    return found


def _faults(path: Path, result: Result) -> list[str]:
    folds = tuple(one["fold"] for one in result["folds"])
    own = predictions.load(
        path.with_suffix(".h5"), folds, result["target"], result["probabilities"]
    )
    metric = metrics.get(result["metric"])
    faults = []
    for one, score in zip(result["folds"], own.by_fold(metric), strict=True):
        if one["score"] != score:
            faults.append(f"fold {one['fold']}: {one['score']!r} kept, {score!r} from predictions")
    mean = float(np.mean(own.by_fold(metric)))
    if result["score"] != mean:
        faults.append(f"score: {result['score']!r} kept, {mean!r} from predictions")
    certain = own.interval(metric)
    for end, value in (("low", certain.low), ("high", certain.high)):
        if result["interval"][end] != value:
            faults.append(f"interval: {end} {result['interval'][end]!r} kept, {value!r} again")
    for name, kept in result["also"].items():
        values = own.by_fold(metrics.get(name))
        again = float(np.mean(values)) if np.isfinite(values).all() else None
        if kept["score"] != again:
            faults.append(f"{name}: {kept['score']!r} kept, {again!r} from predictions")
    return faults
