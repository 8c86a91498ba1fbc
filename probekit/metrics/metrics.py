"""Metrics: their formulas, their lookup by name, and the probabilities that some need.

A metric that is not defined for the clips at hand (a class without positives, targets that do not
vary) is NaN; a mean over classes leaves such classes out. Of several labels a clip, some may be
unknown, which is a target of NaN: scores of such cells count in no metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while

from probekit._typing import Array
from probekit.metrics.class_credits import (
    CREDITS,
    check_keys,
    check_numbers,
    class_means,
    credit_per_class,
    mean_credit,
)
from probekit.utils.suggest import unknown_name_error

Score = Callable[[Array, Array], float]
PerClass = Callable[[Array, Array], Array]

_FAR = 1e300  # stands for infinity where a difference is taken


@dataclass(frozen=True)
class Metric:
    """A way to score predictions.

    Attributes
    ----------
    name, title : str
        As in cards, and as printed.
    targets : tuple of {"single", "multi", "regression"}
        The kinds of targets that it scores.
    score : callable
        Takes targets, of shape (clips,) for one label a clip, else (clips, classes), and scores of
        shape (clips, classes); returns one number.
    per_class : callable
        The same, but returns shape (classes,).
    higher_is_better : bool
        False for losses and errors.
    needs_probabilities : bool
        Whether scores must be probabilities (see :func:`to_probabilities`); otherwise only their
        order counts, or they are the numbers predicted.
    needs_classes : bool
        Whether of clips with one label only the predicted class counts, not the scores of the
        others.
    pooled : bool
        Whether clips of several folds are scored together for the score of a class, as recall and
        F1 are, which count clips (Forman & Scholz, 2010). Otherwise clips are ranked against each
        other, or compared with their mean, which scores of different probes do not allow: the score
        of a class is the mean over folds.
    check_classes : callable, optional
        Takes the names of the classes; raises a DataError where the metric is not for them.
    """

    name: str
    title: str
    targets: tuple[str, ...]
    score: Score
    per_class: PerClass
    higher_is_better: bool = True
    needs_probabilities: bool = False
    needs_classes: bool = False
    pooled: bool = True
    check_classes: Callable[[Sequence[str]], None] | None = None

    @property
    def max_difference(self) -> float:
        """The greatest difference that two scores can have: 1 if they are from 0 to 1, else inf."""
        return np.inf if self.name in NOT_SHARES else 1.0


def one_hot(targets: Array, classes: int) -> Array:
    """Return which clip has which class, shape (clips, classes), bool."""
    return targets > 0 if targets.ndim == 2 else targets[:, None] == np.arange(classes)


def is_known(targets: Array) -> Array:
    """Return which cells of the targets are known: all, unless some labels are NaN."""
    return ~np.isnan(targets) if targets.dtype.kind == "f" else np.ones(targets.shape, bool)


def clip_scores(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return the metric of each single clip, shape (clips,)."""
    kind, _, k = metric.name.rpartition("-")
    if metric.name == "accuracy":
        return np.asarray(scores.argmax(axis=1) == targets, np.float64)
    if metric.name in CREDITS:
        return CREDITS[metric.name](targets, scores.argmax(axis=1))
    if kind == "top" and k.isdecimal():
        return np.asarray(_ranks(targets, scores) < int(k), np.float64)
    if metric.name == "log-loss" and targets.ndim == 1:
        return _losses(targets, scores)
    return np.array(
        [metric.score(targets[i : i + 1], scores[i : i + 1]) for i in range(len(targets))]
    )


def clip_outcomes(metric: Metric, targets: Array, scores: Array) -> Array | None:
    """Return what the metric sees of each clip: whether it is right, its credit, or its labels.

    Shape (clips,) or (clips, classes); None where every change of a score counts.
    """
    kind, _, threshold = metric.name.partition("@")
    if kind in ("accuracy", "balanced-accuracy"):
        return np.asarray(scores.argmax(axis=1) == targets)
    if kind.startswith("top-"):
        return np.asarray(_ranks(targets, scores) < int(kind.removeprefix("top-")))
    if kind in CREDITS:
        return CREDITS[kind](targets, scores.argmax(axis=1))
    return binarize(float(threshold or 0.5), targets, scores)[1] if kind in F1 else None


def _mean(per_class: PerClass, targets: Array, scores: Array) -> float:
    """Return the mean over the classes for which a metric is defined."""
    values = per_class(targets, scores)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


# ---- one label a clip


def _accuracy(targets: Array, scores: Array) -> float:
    return float((scores.argmax(axis=1) == targets).mean())


def _recall(targets: Array, scores: Array) -> Array:
    return class_means(targets, scores.argmax(axis=1) == targets, scores.shape[1])


def _ranks(targets: Array, scores: Array) -> Array:
    """Return the rank of the true class, from 0 on; of equal scores the first class leads."""
    true_scores = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    return np.asarray(((scores > true_scores) | ((scores == true_scores) & earlier)).sum(axis=1))


def _top_k(k: int, targets: Array, scores: Array) -> float:
    return float((_ranks(targets, scores) < k).mean())


def _top_k_recall(k: int, targets: Array, scores: Array) -> Array:
    """Return the share of each class's clips that have it among their k best."""
    return class_means(targets, _ranks(targets, scores) < k, scores.shape[1])


# ---- areas under curves, for several labels a clip


def _per_label(area: Callable[[Array, Array], float], targets: Array, scores: Array) -> Array:
    """Apply a function of (sorted scores, sorted scores of positives) to each class."""
    areas = np.full(scores.shape[1], np.nan)
    known = is_known(targets)
    for k, column in enumerate(np.ascontiguousarray(scores.T)):
        positives, column = column[targets[:, k] > 0], column[known[:, k]]
        if 0 < len(positives) < len(column):
            areas[k] = area(np.sort(column), np.sort(positives))
    return areas


def _average_precision(column: Array, positives: Array) -> float:
    """Return the mean, over positives, of the precision among clips that score as high."""
    retrieved = len(column) - np.searchsorted(column, positives, "left")
    correct = len(positives) - np.searchsorted(positives, positives, "left")
    return float((correct / retrieved).mean())


def _roc_auc(column: Array, positives: Array) -> float:
    """Return how often a positive scores above a negative; ties count half."""
    count = len(positives)
    below = np.searchsorted(column, positives, "left") + np.searchsorted(column, positives, "right")
    # among themselves, positives are above each other in count² / 2 pairs
    return float((below.sum() - count**2) / (2 * count * (len(column) - count)))


_pr_aucs, _roc_aucs = partial(_per_label, _average_precision), partial(_per_label, _roc_auc)


def d_prime(area: Array) -> Array:
    """Return how far apart, in standard deviations, two normal distributions with a ROC-AUC are.

    NaN where the area is 0 or 1: the distance would be infinite.
    """
    inside = np.where((area > 0) & (area < 1), area, np.nan)
    return np.asarray(np.sqrt(2) * scipy.special.ndtri(inside))


def _mean_d_prime(targets: Array, scores: Array) -> float:
    """Return d′ of the mean area, not the mean d′, as the published code of TALNet and AST does."""
    return float(d_prime(np.asarray(_mean(_roc_aucs, targets, scores))))


def _class_d_primes(targets: Array, scores: Array) -> Array:
    return d_prime(_roc_aucs(targets, scores))


# ---- rankings and decisions, for several labels a clip


def _lwlrap_terms(targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return, for each label that a clip has, its class and the precision at its rank.

    Of equal scores all are counted, as scikit-learn's ``label_ranking_average_precision_score``.
    """
    clip, label = np.nonzero(targets > 0)
    above = (scores[clip] >= scores[clip, label][:, None]) & is_known(targets)[clip]
    return label, (above & (targets[clip] > 0)).sum(axis=1) / above.sum(axis=1)


def _lwlrap(targets: Array, scores: Array) -> float:
    _, terms = _lwlrap_terms(targets, scores)
    return float(terms.mean()) if len(terms) else float("nan")


def _class_lwlraps(targets: Array, scores: Array) -> Array:
    return class_means(*_lwlrap_terms(targets, scores), scores.shape[1])


def binarize(threshold: float, targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return what is true and what F1 counts as predicted, both bool of shape (clips, classes).

    Unknown labels are neither.
    """
    classes = scores.shape[1]
    if targets.ndim == 2:
        predicted = (scores > threshold) & is_known(targets)
    else:
        predicted = one_hot(scores.argmax(axis=1), classes)
    return one_hot(targets, classes), predicted


def _f1(actual: Array, predicted: Array, axis: int) -> Array:
    """Return 2 TP / (actual + predicted), NaN where nothing is true or predicted."""
    hits = (actual & predicted).sum(axis=axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / (actual.sum(axis=axis) + predicted.sum(axis=axis)))


def _f1_samples(threshold: float, targets: Array, scores: Array) -> float:
    values = np.nan_to_num(_f1(*binarize(threshold, targets, scores), axis=1))
    some_known = is_known(targets).any(axis=1)
    return float(values[some_known].mean()) if some_known.any() else float("nan")


def _class_f1s(threshold: float, targets: Array, scores: Array) -> Array:
    return _f1(*binarize(threshold, targets, scores), axis=0)


def _f1_weighted(threshold: float, targets: Array, scores: Array) -> float:
    actual, predicted = binarize(threshold, targets, scores)
    counts = actual.sum(axis=0)
    values = np.nan_to_num(_f1(actual, predicted, axis=0))
    return float(values @ counts / counts.sum()) if counts.any() else float("nan")


# ---- probabilities and numbers


def _losses(targets: Array, scores: Array) -> Array:
    """Return -log of the probability of what is true, which is clipped at 2.2e-16.

    Shape (clips,) for one label a clip, else (clips, classes), with NaN where it is unknown.
    """
    least = np.finfo(np.float64).eps
    if targets.ndim == 1:
        probability = np.take_along_axis(scores, targets[:, None], axis=1)[:, 0]
    else:
        probability = np.where(targets > 0, scores, 1 - scores)
        probability = np.where(is_known(targets), probability, np.nan)
    return np.asarray(-np.log(np.clip(probability, least, 1)))


def _log_loss(targets: Array, scores: Array) -> float:
    if not is_known(targets).all():
        return _mean(_class_log_losses, targets, scores)
    return float(_losses(targets, scores).mean())


def _class_log_losses(targets: Array, scores: Array) -> Array:
    losses = _losses(targets, scores)
    if targets.ndim == 1:
        return class_means(targets, losses, scores.shape[1])
    known = is_known(targets)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, losses, 0).sum(axis=0) / known.sum(axis=0))


def _r2(targets: Array, scores: Array) -> Array:
    """Return the coefficient of determination of each target; NaN where it does not vary."""
    residual = ((targets - scores) ** 2).sum(axis=0)
    total = ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 1 - residual / total, np.nan)


def _r2_weighted(targets: Array, scores: Array) -> float:
    """Return the coefficient of determination of all targets together; NaN if none varies."""
    total = ((targets - targets.mean(axis=0)) ** 2).sum()
    return float(1 - ((targets - scores) ** 2).sum() / total) if total > 0 else float("nan")


def _mae(targets: Array, scores: Array) -> Array:
    return np.asarray(np.abs(targets - scores).mean(axis=0))


# ---- lookup by name


_SINGLE, _MULTI, _NUMBERS = ("single",), ("multi",), ("regression",)
F1 = ("f1-samples", "f1-macro", "f1-weighted")


def _top_k_metric(k: int) -> Metric:
    """Return the metric for which a clip is right if its label is among its k best."""
    title = f"top-{k} accuracy"
    return Metric(f"top-{k}", title, _SINGLE, partial(_top_k, k), partial(_top_k_recall, k))


def _f1_metric(kind: str, threshold: float, name: str) -> Metric:
    """Return one of the kinds of ``F1``, in which labels above a threshold are predicted."""
    score: Score
    per_class = partial(_class_f1s, threshold)
    targets: tuple[str, ...] = (*_SINGLE, *_MULTI)
    if kind == "f1-samples":
        targets = _MULTI
        score = partial(_f1_samples, threshold)
        title = f"F1 (mean over clips, probability > {threshold:g})"
    elif kind == "f1-macro":
        score, title = partial(_mean, per_class), "F1 (macro)"
    else:
        score, title = partial(_f1_weighted, threshold), "F1 (classes weighted by their clips)"
    return Metric(
        name, title, targets, score, per_class, needs_probabilities=True, needs_classes=True
    )


def _credit_metric(
    name: str, title: str, check: Callable[[Sequence[str]], None], higher: bool = True
) -> Metric:
    """Return one of :data:`CREDITS`."""
    score, per_class = partial(mean_credit, name), partial(credit_per_class, name)
    return Metric(
        *(name, title, _SINGLE, score, per_class),
        higher_is_better=higher,
        needs_classes=True,
        check_classes=check,
    )


METRICS = {
    m.name: m
    for m in (
        Metric("accuracy", "accuracy", _SINGLE, _accuracy, _recall, needs_classes=True),
        Metric(
            "balanced-accuracy",
            "balanced accuracy",
            _SINGLE,
            partial(_mean, _recall),
            _recall,
            needs_classes=True,
        ),
        Metric(
            "roc-auc",
            "ROC-AUC (macro)",
            _MULTI,
            partial(_mean, _roc_aucs),
            _roc_aucs,
            pooled=False,
        ),
        Metric(
            "pr-auc",
            "PR-AUC (macro average precision)",
            _MULTI,
            partial(_mean, _pr_aucs),
            _pr_aucs,
            pooled=False,
        ),
        Metric(
            "d-prime",
            "d′ (of the macro ROC-AUC)",
            _MULTI,
            _mean_d_prime,
            _class_d_primes,
            pooled=False,
        ),
        Metric("lwlrap", "lwlrap", _MULTI, _lwlrap, _class_lwlraps),
        Metric(
            "log-loss",
            "mean log loss",
            (*_SINGLE, *_MULTI),
            _log_loss,
            _class_log_losses,
            higher_is_better=False,
            needs_probabilities=True,
        ),
        Metric("r2", "R²", _NUMBERS, partial(_mean, _r2), _r2, pooled=False),
        Metric("r2-weighted", "R² weighted by variance", _NUMBERS, _r2_weighted, _r2, pooled=False),
        Metric(
            "mae",
            "mean absolute error",
            _NUMBERS,
            partial(_mean, _mae),
            _mae,
            higher_is_better=False,
        ),
        *(_f1_metric(kind, 0.5, kind) for kind in F1),
        _credit_metric("key-score", "weighted key score (MIREX)", check_keys),
        _credit_metric("chroma-accuracy", "chroma accuracy", check_numbers),
        _credit_metric("class-mae", "mean absolute error of the class", check_numbers, False),
    )
}
"""All metrics whose name holds no parameter."""

NOT_SHARES = ("log-loss", "mae", "class-mae", "r2", "r2-weighted", "d-prime")
"""Metrics that are not from 0 to 1."""


def get_metric(name: str) -> Metric:
    """Return the metric of a name.

    Parameters
    ----------
    name : str
        As in cards, for example ``"accuracy"``. Two kinds take a number: ``"top-5"`` (a clip is
        right if its label is among its five best; any whole number from 1) and ``"f1-samples@0.1"``
        (a label is predicted if its probability is above 0.1; from 0 to 1, by default 0.5; also
        ``f1-macro`` and ``f1-weighted``).

    Returns
    -------
    Metric
        Its formulas, and what they need.

    Raises
    ------
    UnknownNameError
        If there is no metric of that name.

    Examples
    --------
    >>> import numpy as np
    >>> from probekit.metrics.metrics import get_metric
    >>> accuracy = get_metric("accuracy")
    >>> targets, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> round(accuracy.score(targets, scores), 3)
    0.667
    >>> accuracy.per_class(targets, scores)
    array([1. , 0.5])
    """
    if name in METRICS:
        return METRICS[name]
    if name.startswith("top-") and name[4:].isdecimal() and int(name[4:]) >= 1:
        return _top_k_metric(int(name[4:]))
    kind, _, threshold = name.partition("@")
    if kind in F1 and _is_share(threshold):
        return _f1_metric(kind, float(threshold), name)
    raise unknown_name_error("metric", name, [*METRICS, "top-5", "f1-samples@0.1"])


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


# ---- what a metric is given


def to_probabilities(scores: Array, target: str) -> Array:
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
        finite = np.clip(scores.astype(np.float64), -_FAR, _FAR)
        return np.asarray(scipy.special.softmax(finite, axis=1))
    if target == "multi":
        return np.asarray(scipy.special.expit(scores.astype(np.float64)))
    return scores


def prepare_scores(
    metric: Metric,
    scores: Array,
    target: str,
    *,
    probabilities: bool,
    predicted: Array | None = None,
) -> Array:
    """Return a probe's scores as a metric needs them.

    Parameters
    ----------
    metric : Metric
        To be computed.
    scores : numpy.ndarray, shape (clips, classes)
        Outputs of the probe.
    target : {"single", "multi", "regression"}
        Kind of targets.
    probabilities : bool
        Whether they are probabilities.
    predicted : numpy.ndarray of int, shape (clips,), optional
        The predicted class of each clip where it need not have the highest score.

    Returns
    -------
    numpy.ndarray, shape (clips, classes)
        The scores; 1 for ``predicted`` and 0 for the other classes where nothing else counts; or
        probabilities.
    """
    if metric.needs_classes and predicted is not None:
        return one_hot(predicted, scores.shape[1]).astype(np.float64)
    if metric.needs_probabilities and not probabilities:
        return to_probabilities(scores, target)
    return scores


def undefined_clips(scores: Array, target: str) -> Array:
    """Return the rows of a probe's scores that cannot be ranked: NaN, or infinite.

    Infinite scores have one meaning: minus infinity is that of a class without training clips, and
    for several labels a clip infinity that of a tag of all training clips. All clips have them.
    """
    constant = (scores == scores[:1]).all(axis=0) if target != "regression" else False
    known = np.isfinite(scores)
    if target == "single":
        known |= constant & (scores == -np.inf)
        return np.flatnonzero(~known.all(axis=1) | (scores == -np.inf).all(axis=1))
    return np.flatnonzero(~(known | constant).all(axis=1))
