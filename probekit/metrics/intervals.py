"""Confidence intervals of scores: which one for which metric and design.

Units are groups, or clips where there are none; ``make validity`` shows the coverage of each row.

=====================================  =========================================================
score                                  interval
=====================================  =========================================================
accuracy, top-k, balanced accuracy,    binomial: logit ± z · s, s from counts of clips
of clips without groups
any other                              jackknife: leave out each unit; scale(score) ± t · s
of 1 or 0                              one-sided and exact (:func:`_bound`), or none
of fewer than five units               none: too few groups (or clips)
ROC-AUC, PR-AUC, d′ with fewer than    none: too few positives
eight clips of either kind
=====================================  =========================================================

=====================================  =========================================================
metric                                 scale
=====================================  =========================================================
from 0 to 1                            logit
log loss, mean absolute error          log
R²                                     log(1 - R²)
d′                                     none
=====================================  =========================================================
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while

from probekit._typing import Array
from probekit.metrics.bootstrap import (
    LEVEL,
    SEED,
    ResampledMetric,
    ResamplingUnits,
    make_resampled_metric,
)
from probekit.metrics.metrics import Metric, clip_scores, is_known

MAX_SETS = 500  # units are joined at random into as many sets before one is left out
MIN_DEGREES = 4  # units, less one for each fold that they are drawn in
MIN_POSITIVES = 8  # clips with and without a label, for areas under curves
CI_METHOD = [LEVEL, MAX_SETS, SEED, 3]
"""What names an interval's method in a run's settings; 3: by metric and design, see above."""

BOOTSTRAP = "bootstrap"
"""Method of the intervals of results of earlier versions; see :func:`percentile_interval`."""
TOO_FEW_POSITIVES, NO_VARIATION = "too few positives", "no variation"

_CHUNK = 1 << 24  # counts in memory at once
_TAIL = (1 - LEVEL) / 2
_SHARES = ("accuracy", "balanced-accuracy", "top-k")  # of clips that are right
_AREAS = ("roc-auc", "pr-auc", "d-prime")


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, or why there is none.

    Attributes
    ----------
    low, high : float
        Its ends; NaN where no interval holds what it promises.
    unit : str
        What was left out or counted: ``groups`` or ``clips``, within folds or across them.
    units : int
        Their number.
    method : str
        In words; without an interval the reason, for example ``too few groups``.
    """

    low: float
    high: float
    unit: str
    units: int
    method: str


def confidence_interval(
    metric: Metric,
    targets: Array,
    scores: Array,
    folds: Array,
    groups: Array,
    clip_ids: Array | None = None,
) -> Interval:
    """Return the 95 % interval of the mean over folds, chosen by metric and design.

    What it covers is the expected score of these probes on other test clips (or groups) like these,
    as many and in as many folds; not what another training set would change. It always contains the
    score. See the tables above; ``docs/evaluation.md`` has the coverage.

    The jackknife's variance is the sum, over folds, of ``(n - 1) / n`` times the squared deviations
    of the scores without each of n units. Where a fold has a single unit, or a unit is in several
    folds, units are left out across folds instead. Student's t distribution has the degrees of
    freedom of Satterthwaite (1946), two squared variances over the variance of the variance, at
    most as many as there are units, less one for each fold.

    Parameters
    ----------
    metric : Metric
        The metric.
    targets, scores : numpy.ndarray
        Of all scored clips, as the metric needs them.
    folds : numpy.ndarray of int, shape (clips,)
        Fold that each clip was scored in.
    groups : numpy.ndarray of str, shape (clips,)
        Group of each clip, empty where there is none.
    clip_ids : numpy.ndarray of str, shape (clips,), optional
        Tell which rows are one clip, scored in several folds; by default none are.

    Returns
    -------
    Interval
        With the method that was chosen, or the reason why there is none.
    """
    kind = _kind(metric)
    design = _Design.from_groups(folds, groups, clip_ids)
    by_fold = [metric.score(targets[rows], scores[rows]) for rows in design.fold_rows]
    score, scale = float(np.mean(by_fold)), _scale(kind)

    def interval(method: str, low: float = np.nan, high: float = np.nan) -> Interval:
        return Interval(float(low), float(high), design.name, design.units, method)

    if not np.isfinite(score):
        return interval("not defined")
    if scale == "logit" and score in (0.0, 1.0):
        bound = _bound(kind, score, targets, scores, design)
        if bound is None:
            return interval(f"no bound for a score of {score:g}")
        ends = (bound, 1.0) if score else (0.0, bound)
        return interval("exact binomial" if kind in _SHARES else "exact bound", *ends)
    if kind in _SHARES and design.clip_repeats:
        right = _right(metric, targets, scores)
        # clips that are scored several times are no more clips
        variance = design.clip_repeats * _binomial_variance(kind, right, targets, design)
        error = -scipy.special.ndtri(_TAIL) * np.sqrt(variance)
        return interval("binomial, logit scale", *_ends(scale, score, error))
    reason = _too_few(kind, targets, design)
    if reason:
        return interval(reason)
    deviations = _jackknife(metric, targets, scores, design)
    variance = float((deviations**2).sum())
    if not np.isfinite(variance):
        return interval(TOO_FEW_POSITIVES if kind in _AREAS else f"too few {design.noun}")
    if variance == 0:
        return interval(NO_VARIATION)
    spread = float((deviations**4).sum()) - variance**2 / len(deviations)
    degrees = min(design.degrees_of_freedom, 2 * variance**2 / max(spread, 1e-300))
    error = -scipy.special.stdtrit(max(1.0, degrees), _TAIL) * np.sqrt(variance)
    suffix = f", {scale} scale" if scale else ""
    return interval(f"jackknife t{suffix}", *_ends(scale, score, error))


def percentile_interval(
    metric: Metric, targets: Array, scores: Array, folds: Array, groups: Array
) -> Interval:
    """Return the interval of results of earlier versions, by which they are verified.

    From the 2.5th to the 97.5th percentile of the mean over folds, of 1,000 resamples of groups (or
    clips) within folds. It is too narrow where units are few, and need not contain the score of a
    metric that is biased on resamples. ``units`` is the number in the smallest fold.
    """
    if _kind(metric) in ("r2", "f1-macro", "f1-weighted"):
        metric = replace(metric, name="")  # by repeating clips, as then: equal to the last digit
    units = ResamplingUnits.from_groups(folds, groups)
    means = units.resample(metric, targets, [scores])[:, 0]
    with np.errstate(invalid="ignore"):  # between two infinite d′
        low, high = np.nanpercentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    if metric.name == "accuracy" and low == high and low in (0.0, 1.0):
        bound = _TAIL ** (1 / sum(units.counts))
        low, high = (bound, 1.0) if low == 1.0 else (0.0, 1.0 - bound)
        return Interval(low, high, units.name, min(units.counts), "exact binomial")
    return Interval(float(low), float(high), units.name, min(units.counts), BOOTSTRAP)


def interval_ends(interval: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of a stored interval; NaN where there is none."""
    low, high = (interval[end] for end in ("low", "high"))
    return (np.nan, np.nan) if low is None or high is None else (float(low), float(high))


def missing_interval(interval: Mapping[str, Any]) -> str:
    """Return why a stored interval has no ends, for example ``too few groups``; else nothing."""
    return "" if np.isfinite(interval_ends(interval)).all() else str(interval["method"])


def _kind(metric: Metric) -> str:
    """Return the metric's name without its parameter."""
    kind = metric.name.partition("@")[0]
    return "top-k" if kind.startswith("top-") else kind


def _scale(kind: str) -> str:
    """Return the scale on which errors of a metric are closest to symmetric."""
    if kind in ("log-loss", "mae", "class-mae"):
        return "log"
    if kind in ("r2", "r2-weighted"):
        return "log(1 - R²)"
    return {"d-prime": ""}.get(kind, "logit")


def _ends(scale: str, score: float, error: float) -> tuple[float, float]:
    """Return the ends of score ± error on a scale, brought back from it."""
    if scale == "logit":
        center, reach = scipy.special.logit(score), error / (score * (1 - score))
        low, high = scipy.special.expit(center - reach), scipy.special.expit(center + reach)
        return float(low), float(high)
    if scale == "log":
        factor = np.exp(error / score)
        return float(score / factor), float(score * factor)
    if scale:
        factor = np.exp(error / (1 - score))
        return float(1 - (1 - score) * factor), float(1 - (1 - score) / factor)
    return score - error, score + error


# ---- what is left out


@dataclass(frozen=True)
class _Design:
    """Which clips are independent of each other.

    Attributes
    ----------
    fold_rows : list of numpy.ndarray
        Rows of each fold.
    unit_numbers : numpy.ndarray of int, shape (clips,)
        Number of each clip's unit, without a gap.
    strata : list of list of int
        Folds in which units are left out together: each for itself, or all.
    noun : {"groups", "clips"}
        What units are.
    """

    fold_rows: list[Array]
    unit_numbers: Array
    strata: list[list[int]]
    noun: str

    @classmethod
    def from_groups(cls, folds: Array, groups: Array, clip_ids: Array | None) -> "_Design":
        """Return the design of clips in folds and groups; see :func:`confidence_interval`."""
        names, group_numbers = np.unique(groups, return_inverse=True)
        ids = np.arange(len(folds)) if clip_ids is None else clip_ids
        clip_numbers = len(names) + np.unique(ids, return_inverse=True)[1]
        numbers = np.where(groups == "", clip_numbers, group_numbers)
        numbers = np.unique(numbers, return_inverse=True)[1]
        fold_rows = [np.flatnonzero(folds == k) for k in np.unique(folds)]
        counts = [len(np.unique(numbers[rows])) for rows in fold_rows]
        within = min(counts) > 1 and sum(counts) == numbers.max() + 1
        every = list(range(len(fold_rows)))
        return cls(
            fold_rows,
            numbers,
            [[k] for k in every] if within else [every],
            "groups" if (groups != "").any() else "clips",
        )

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.unit_numbers.max()) + 1

    @property
    def degrees_of_freedom(self) -> int:
        """Units, less one for each fold that they are left out in."""
        return self.units - len(self.strata)

    @property
    def clip_repeats(self) -> int:
        """How often each clip is scored, if each is a unit; 0 in groups, or if it differs."""
        counts = np.bincount(self.unit_numbers)
        if self.noun == "groups" and counts.max() > 1:
            return 0
        return int(counts[0]) if (counts == counts[0]).all() else 0

    @property
    def disjoint(self) -> bool:
        """Whether each unit is in one fold."""
        return sum(len(np.unique(self.unit_numbers[rows])) for rows in self.fold_rows) == self.units

    @property
    def name(self) -> str:
        """In words."""
        if len(self.fold_rows) == 1:
            return self.noun
        return f"{self.noun} {'within' if len(self.strata) > 1 else 'across'} folds"


def _too_few(kind: str, targets: Array, design: _Design) -> str:
    """Return why units or positives are too few for an interval; empty if they suffice."""
    if design.degrees_of_freedom < MIN_DEGREES:
        return f"too few {design.noun}"
    if kind in _AREAS:
        for members in ((targets > 0).any(axis=1), (targets <= 0).any(axis=1)):
            of_units = len(np.unique(design.unit_numbers[members]))
            if members.sum() < MIN_POSITIVES or of_units <= MIN_DEGREES:
                return TOO_FEW_POSITIVES
    return ""


def _jackknife(metric: Metric, targets: Array, scores: Array, design: _Design) -> Array:
    """Return the deviation of each unit; their squares sum to the score's variance.

    NaN where the metric is not defined without one of them.
    """
    rng = np.random.default_rng(SEED)
    deviations = []
    for folds in design.strata:
        rows = [design.fold_rows[k] for k in folds]
        present, members = np.unique(design.unit_numbers[np.concatenate(rows)], return_inverse=True)
        sets = min(len(present), MAX_SETS)
        if sets < len(present):
            members = (rng.permutation(len(present)) % sets)[members]
        splits = np.cumsum([len(part) for part in rows])[:-1]
        without = np.zeros((2, sets))  # sums over folds, and how many are left
        for part, of_part in zip(rows, np.split(members, splits), strict=True):
            left = np.bincount(of_part, minlength=sets) < len(part)
            rescore = make_resampled_metric(metric, targets[part], scores[part])
            without[:, left] += [_leave_out(rescore, of_part, np.flatnonzero(left)), left[left]]
        means = without[0] / without[1]
        share = len(folds) / len(design.fold_rows)
        deviations.append(share * np.sqrt((sets - 1) / sets) * (means - means.mean()))
    return np.concatenate(deviations)


def _leave_out(rescore: ResampledMetric, members: Array, sets: Array) -> Array:
    """Return the metric without each of some sets of clips; ``members`` tells a clip's set."""
    step = max(1, _CHUNK // len(members))
    pieces = [sets[start : start + step] for start in range(0, len(sets), step)]
    return np.concatenate(
        [rescore((members != piece[:, None]).astype(np.int32)) for piece in pieces]
    )


# ---- shares of clips that are right


def _right(metric: Metric, targets: Array, scores: Array) -> Array:
    """Return which clips are right, 0 or 1."""
    if _kind(metric) == "top-k":
        return clip_scores(metric, targets, scores)
    return (scores.argmax(axis=1) == targets).astype(float)


@dataclass(frozen=True)
class _Cells:
    """What a score is the weighted mean of: folds, or the classes of each.

    Attributes
    ----------
    numbers : numpy.ndarray of int, shape (clips,)
        Cell of each clip.
    weights : numpy.ndarray, shape (cells,)
        They sum to 1.
    """

    numbers: Array
    weights: Array

    @classmethod
    def of(cls, design: _Design, classes: Array | None) -> "_Cells":
        """Return the cells of folds, or of folds and classes."""
        clips = len(design.unit_numbers)
        fold = np.empty(clips, np.int64)
        for k, rows in enumerate(design.fold_rows):
            fold[rows] = k
        keys = np.stack([fold, np.zeros(clips, np.int64) if classes is None else classes])
        cells, numbers = np.unique(keys, axis=1, return_inverse=True)
        per_fold = np.bincount(cells[0])
        return cls(numbers.ravel(), 1 / (len(per_fold) * per_fold[cells[0]]))


def _binomial_variance(kind: str, right: Array, targets: Array, design: _Design) -> float:
    """Return the variance of a mean of shares; never less than if all cells had one share.

    Of a class with few clips the share's own variance is unknown: all may be right by chance.
    """
    cells = _Cells.of(design, targets if kind == "balanced-accuracy" else None)
    counts = np.bincount(cells.numbers)
    shares = np.bincount(cells.numbers, right) / counts
    mean = float(cells.weights @ shares)
    factors = cells.weights**2 / counts
    return max(mean * (1 - mean) * float(factors.sum()), float(factors @ (shares * (1 - shares))))


# ---- scores of 1 and 0


def _bound(kind: str, score: float, targets: Array, scores: Array, design: _Design) -> float | None:
    """Return the other end of the interval of a score of 1 or 0; None where none is known.

    Each is the least (or greatest) expected score under which all units would be right (or wrong)
    with a probability of 2.5 % (Clopper and Pearson, 1934):

    - A mean over cells (folds, or the classes of each) of the shares of units that are all right:
      if cell s has share p and n units, that probability is the product of p to the power of n; see
      :func:`_least_mean`. A unit in several cells counts in each by its part. Sizes of units are
      taken to be independent of their being right.
    - F1: an error costs its own class at most its share of the recall, and another class half as
      much for each of its clips.
    - ROC-AUC: of m units with and m other units without a label, paired, all pairs are in order.
      All labels being perfect is no more probable than one of them.
    - PR-AUC: of m positives, the lowest is above all but a share of positives, and no more than a
      share f of negatives is above it, each with a tail of 1.25 %; precision is then at least
      t / (t + c) where a share t of the positives is found, c = f · negatives / positives.
    """
    single = targets.ndim == 1
    if kind in ("roc-auc", "pr-auc"):
        if not design.disjoint or (kind == "pr-auc" and score == 0):
            return None
        bound = _area_bound(kind, targets, design)
        return bound if score else 1 - bound
    by_class = kind in ("balanced-accuracy", "f1-macro")
    if not single and kind not in ("lwlrap", "f1-samples"):
        return None
    if kind.startswith("f1-") and score == 0 and kind != "f1-samples":
        return None
    cells = _Cells.of(design, targets if by_class else None)
    rows = np.arange(len(targets))
    if kind == "lwlrap":
        rows = np.flatnonzero((targets > 0).any(axis=1))
    elif kind == "f1-samples":
        rows = np.flatnonzero(is_known(targets).any(axis=1))
    costs = cells.weights
    if kind == "f1-weighted":
        costs = 1.5 * costs
    elif kind == "f1-macro":
        if len(costs) < len(design.fold_rows) * scores.shape[1]:
            return None  # a class without clips has an F1 of 0 as soon as it is predicted
        clips = np.bincount(cells.numbers).reshape(len(design.fold_rows), -1)
        costs = costs * (1 + clips / (2 * clips.min(axis=1, keepdims=True))).ravel()
    counts = _count_units(cells.numbers[rows], design.unit_numbers[rows], len(costs))
    bound = max(0.0, 1 - float(costs.sum()) + _least_mean(counts, costs))
    return bound if score else 1 - bound


def _count_units(cells: Array, units: Array, total: int) -> Array:
    """Return the number of units in each cell; one that is in several counts a part in each."""
    pairs = np.unique(np.stack([units, cells]), axis=1)
    parts = 1 / np.bincount(pairs[0])[pairs[0]]
    return np.bincount(pairs[1], parts, minlength=total)


def _least_mean(counts: Array, weights: Array) -> float:
    """Return the least Σ w p over shares p with Π p^n = 2.5 %: p = min(1, μ n / w)."""
    ratios = counts / weights
    order = np.argsort(ratios)
    order = order[ratios[order] > 0]  # without any unit, a share of 0 is possible
    n, logs = counts[order], np.log(ratios[order])
    multipliers = (np.log(_TAIL) - np.cumsum(n * logs)) / np.cumsum(n)
    enough = multipliers + np.append(logs[1:], np.inf) >= 0
    multiplier = multipliers[np.argmax(enough)]
    return float(weights[order] @ np.exp(np.minimum(0, multiplier + logs)))


def _area_bound(kind: str, targets: Array, design: _Design) -> float:
    """Return the least area for which all labels would be perfect; see :func:`_bound`."""
    folds = len(design.fold_rows)
    counts, weights = np.zeros((2, folds, targets.shape[1]))
    precision = np.zeros_like(weights)
    for k, rows in enumerate(design.fold_rows):
        positive = targets[rows] > 0
        negative = is_known(targets[rows]) & ~positive
        defined = np.flatnonzero(positive.any(axis=0) & negative.any(axis=0))
        for c in defined:
            hits, rest, units = (
                len(np.unique(design.unit_numbers[rows[members]]))
                for members in (positive[:, c], negative[:, c], positive[:, c] | negative[:, c])
            )
            counts[k, c], weights[k, c] = min(hits, rest, units // 2), 1 / (folds * len(defined))
            hits = min(hits, max(units - rest, units // 2))
            rest = min(rest, units - hits)
            odds = negative[:, c].sum() / positive[:, c].sum()
            precision[k, c] = _least_precision(hits, rest, odds)
    if kind == "pr-auc":
        return float((weights * precision).sum())
    used = weights > 0
    return sum(
        _least_mean(counts[used[:, c], c], weights[used[:, c], c])
        for c in np.flatnonzero(used.any(axis=0))
    )


def _least_precision(hits: int, rest: int, odds: float) -> float:
    """Return the least average precision of so many perfectly ranked units; see :func:`_bound`."""
    if not hits or not rest:
        return 0.0
    recall = (_TAIL / 2) ** (1 / hits)
    c = (1 - (_TAIL / 2) ** (1 / rest)) * odds
    return float(recall - c * np.log1p(recall / c))
