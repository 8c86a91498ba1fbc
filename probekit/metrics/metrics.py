"""Scores of predictions: metrics by their names, and probabilities where one needs these."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import expit, ndtri, softmax

from probekit._typing import Array
from probekit.utils.suggest import unknown_name_error

Score = Callable[[Array, Array], float]
PerClass = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Metric:
    """A way to score predictions.

    Attributes
    ----------
    name, title : str
        As in cards, and as printed.
    targets : tuple of {"single", "multi", "regression"}
        What it scores.
    score : callable
        Targets of shape (clips,) for one label a clip, else (clips, classes), and scores of shape
        (clips, classes) to one number.
    per_class : callable
        The same to one number a class, NaN where it is not defined.
    higher : bool
        Whether higher is better.
    probabilities : bool
        Whether scores must be probabilities (:func:`probekit.metrics.metrics.probabilities` makes
        them); otherwise only their order counts, or they are the numbers predicted.
    """

    name: str
    title: str
    targets: tuple[str, ...]
    score: Score
    per_class: PerClass
    higher: bool = True
    probabilities: bool = False


# ---- one label a clip


def _ranks(targets: Array, scores: Array) -> Array:
    """Return how many classes come before the right one; of equal scores the first class leads."""
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


def _top(k: int, targets: Array, scores: Array) -> float:
    return float((_ranks(targets, scores) < k).mean())


def _top_recall(k: int, targets: Array, scores: Array) -> Array:
    """Return the share of each class's clips that have it among their k best."""
    return _class_means(targets, _ranks(targets, scores) < k, scores.shape[1])


def _class_means(targets: Array, values: Array, classes: int) -> Array:
    counts = np.bincount(targets, minlength=classes)
    with np.errstate(invalid="ignore"):
        return np.bincount(targets, weights=values, minlength=classes) / counts


def _accuracy(targets: Array, scores: Array) -> float:
    return float((scores.argmax(axis=1) == targets).mean())


def _recall(targets: Array, scores: Array) -> Array:
    return _class_means(targets, scores.argmax(axis=1) == targets, scores.shape[1])


# ---- areas under curves


def _by_tag(one: Callable[[Array, Array], float], targets: Array, scores: Array) -> Array:
    """Apply a function of (all scores, those of clips that have the tag), both sorted, to each."""
    found = np.full(scores.shape[1], np.nan)
    for k, column in enumerate(np.ascontiguousarray(scores.T)):
        positives = column[targets[:, k] > 0]
        if 0 < len(positives) < len(column):
            found[k] = one(np.sort(column), np.sort(positives))
    return found


def _average_precision(every: Array, positives: Array) -> float:
    """Return the mean, over clips with the tag, of the precision among those that score as high."""
    above = len(every) - np.searchsorted(every, positives, "left")
    right = len(positives) - np.searchsorted(positives, positives, "left")
    return float((right / above).mean())


def _roc_auc(every: Array, positives: Array) -> float:
    """Return how often a clip with the tag scores above one without; ties count half."""
    count = len(positives)
    below = np.searchsorted(every, positives, "left") + np.searchsorted(every, positives, "right")
    # among themselves, positives are above each other in count² / 2 pairs
    return float((below.sum() - count**2) / (2 * count * (len(every) - count)))


_pr, _roc = partial(_by_tag, _average_precision), partial(_by_tag, _roc_auc)


def _mean(per_class: PerClass, targets: Array, scores: Array) -> float:
    values = per_class(targets, scores)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _d_prime(targets: Array, scores: Array) -> float:
    """Return d′ of the mean area, not the mean d′; AudioSet's authors and kumar2021 do so, too."""
    return float(_d_prime_from_auc(np.asarray(_mean(_roc, targets, scores))))


def _d_prime_classes(targets: Array, scores: Array) -> Array:
    return _d_prime_from_auc(_roc(targets, scores))


def _d_prime_from_auc(area: Array) -> Array:
    """Return how far apart, in standard deviations, two normal distributions with a ROC-AUC are.

    NaN where the area is 0 or 1: the distance would be infinite.
    """
    return np.asarray(np.sqrt(2) * ndtri(np.where((area > 0) & (area < 1), area, np.nan)))


# ---- several labels a clip


def _lwlrap_terms(targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return, for each label that a clip has, its class and the precision at its rank.

    Of equal scores all are counted, as scikit-learn's ``label_ranking_average_precision_score``.
    """
    clip, label = np.nonzero(targets > 0)
    above = scores[clip] >= scores[clip, label][:, None]
    return label, (above & (targets[clip] > 0)).sum(axis=1) / above.sum(axis=1)


def _lwlrap(targets: Array, scores: Array) -> float:
    _, terms = _lwlrap_terms(targets, scores)
    return float(terms.mean()) if len(terms) else float("nan")


def _lwlrap_classes(targets: Array, scores: Array) -> Array:
    return _class_means(*_lwlrap_terms(targets, scores), scores.shape[1])


def _binarize(threshold: float, targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return what is true and what is predicted, both of shape (clips, classes)."""
    if targets.ndim == 2:
        return targets > 0, scores > threshold
    classes = np.arange(scores.shape[1])
    return targets[:, None] == classes, scores.argmax(axis=1)[:, None] == classes


def _f1(true: Array, predicted: Array, axis: int) -> Array:
    """Return 2 TP / (true + predicted), NaN where nothing is true or predicted."""
    both = (true & predicted).sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * both / (true.sum(axis=axis) + predicted.sum(axis=axis)))


def _f1_samples(threshold: float, targets: Array, scores: Array) -> float:
    return float(np.nan_to_num(_f1(*_binarize(threshold, targets, scores), axis=1)).mean())


def _f1_classes(threshold: float, targets: Array, scores: Array) -> Array:
    return _f1(*_binarize(threshold, targets, scores), axis=0)


def _f1_weighted(threshold: float, targets: Array, scores: Array) -> float:
    true, predicted = _binarize(threshold, targets, scores)
    counts = true.sum(axis=0)
    values = np.nan_to_num(_f1(true, predicted, axis=0))
    return float(values @ counts / counts.sum()) if counts.any() else float("nan")


# ---- probabilities and numbers


def _losses(targets: Array, scores: Array) -> Array:
    """Return -log of the probability given to what is true; probabilities below 2.2e-16 count so.

    Shape (clips,) for one label a clip, else (clips, classes).
    """
    least = np.finfo(np.float64).eps
    if targets.ndim == 1:
        own = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0]
        return np.asarray(-np.log(np.clip(own, least, 1)))
    return np.asarray(-np.log(np.clip(np.where(targets > 0, scores, 1 - scores), least, 1)))


def _log_loss(targets: Array, scores: Array) -> float:
    return float(_losses(targets, scores).mean())


def _log_loss_classes(targets: Array, scores: Array) -> Array:
    losses = _losses(targets, scores)
    if targets.ndim == 1:
        return _class_means(targets, losses, scores.shape[1])
    return np.asarray(losses.mean(axis=0))


def _r2(targets: Array, scores: Array) -> Array:
    """Return the coefficient of determination of each target; NaN where it does not vary."""
    error = ((targets - scores) ** 2).sum(axis=0)
    spread = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, 1 - error / spread, np.nan)


def _mae(targets: Array, scores: Array) -> Array:
    return np.asarray(np.abs(targets - scores).mean(axis=0))


# ---- names


def top_k(k: int) -> Metric:
    """Return the metric that counts a clip as right if its label is among its k best."""
    title = f"top-{k} accuracy"
    return Metric(f"top-{k}", title, _SINGLE, partial(_top, k), partial(_top_recall, k))


def f1_at(kind: str, threshold: float, name: str) -> Metric:
    """Return a kind of F1 (see ``F1``) in which labels above a threshold are predicted."""
    score: Score
    if kind == "f1-samples":
        return Metric(
            name,
            f"F1 (mean over clips, probability > {threshold:g})",
            _MULTI,
            partial(_f1_samples, threshold),
            partial(_f1_classes, threshold),
            probabilities=True,
        )
    per_class = partial(_f1_classes, threshold)
    if kind == "f1-macro":
        score, title = partial(_mean, per_class), "F1 (macro)"
    else:
        score, title = partial(_f1_weighted, threshold), "F1 (classes weighted by their clips)"
    return Metric(name, title, (*_SINGLE, *_MULTI), score, per_class, probabilities=True)


_SINGLE, _MULTI, _NUMBERS = ("single",), ("multi",), ("regression",)
F1 = ("f1-samples", "f1-macro", "f1-weighted")

METRICS = {
    m.name: m
    for m in (
        Metric("accuracy", "accuracy", _SINGLE, _accuracy, _recall),
        Metric("balanced-accuracy", "balanced accuracy", _SINGLE, partial(_mean, _recall), _recall),
        Metric("roc-auc", "ROC-AUC (macro)", _MULTI, partial(_mean, _roc), _roc),
        Metric("pr-auc", "PR-AUC (macro average precision)", _MULTI, partial(_mean, _pr), _pr),
        Metric(
            "d-prime",
            "d′ (of the macro ROC-AUC)",
            _MULTI,
            _d_prime,
            _d_prime_classes,
        ),
        Metric("lwlrap", "lwlrap", _MULTI, _lwlrap, _lwlrap_classes),
        Metric(
            "log-loss",
            "mean log loss",
            (*_SINGLE, *_MULTI),
            _log_loss,
            _log_loss_classes,
            higher=False,
            probabilities=True,
        ),
        Metric("r2", "R²", _NUMBERS, partial(_mean, _r2), _r2),
        Metric("mae", "mean absolute error", _NUMBERS, partial(_mean, _mae), _mae, higher=False),
        *(f1_at(kind, 0.5, kind) for kind in F1),
    )
}
"""All metrics without a parameter of their own."""


__all__ = ["METRICS", "Metric", "get_metric", "probabilities"]

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


def get_metric(name: str) -> Metric:
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
    raise unknown_name_error("metric", name, [*METRICS, "top-5", "f1-samples@0.1"])


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
