"""Scores of predictions: metrics by their names, and probabilities where one needs these."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from probekit.registry import unknown
from probekit.tasks.measures import F1, METRICS, Metric, f1_at, top_k

__all__ = ["METRICS", "Metric", "get", "probabilities"]

Array = npt.NDArray[Any]
_FAR = 1e300  # stands for infinity where a difference is taken


def probabilities(scores: Array, target: str) -> Array:
    """Return the probabilities that a linear model's decision values stand for.

    Parameters
    ----------
    scores : numpy.ndarray, shape (clips, classes)
        Decision values; infinite ones are allowed.
    target : {"single", "multi", "regression"}
        Softmax over classes, sigmoid of each, or the numbers as they are.

    Returns
    -------
    numpy.ndarray, shape (clips, classes)
        From 0 to 1 in float64; for ``single`` rows sum to 1.
    """
    if target == "single":
        return np.asarray(softmax(np.clip(scores.astype(np.float64), -_FAR, _FAR), axis=1))
    return np.asarray(expit(scores.astype(np.float64))) if target == "multi" else scores


def get(name: str) -> Metric:
    """Return the metric of a name.

    Parameters
    ----------
    name : str
        As in cards, for example ``"accuracy"``. Two kinds take a number: ``"top-5"`` (a clip is
        right if its label is among its five best; any whole number from 1) and ``"f1-samples@0.1"``
        (a label is predicted if its probability is above 0.1; from 0 to 1, 0.5 where not given;
        also ``f1-macro`` and ``f1-weighted``).

    Returns
    -------
    Metric
        How to score.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name in METRICS:
        return METRICS[name]
    if name.startswith("top-") and name[4:].isdecimal() and int(name[4:]) >= 1:
        return top_k(int(name[4:]))
    kind, _, threshold = name.partition("@")
    if kind in F1 and _is_share(threshold):
        return f1_at(kind, float(threshold), name)
    raise unknown("metric", name, [*METRICS, "top-5", "f1-samples@0.1"])


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
