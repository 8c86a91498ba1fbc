"""Resamples of groups or clips within folds, and metrics of resamples."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.metrics.class_credits import CREDITS
from probekit.metrics.metrics import (
    F1,
    Metric,
    binarize,
    clip_scores,
    d_prime,
    is_known,
    one_hot,
)

ResampledMetric = Callable[[Array], Array]
"""Takes counts of shape (resamples, clips): how often each clip was drawn; returns the metric of
each resample, shape (resamples,) or (resamples, classes)."""

RESAMPLES, LEVEL, SEED = 1000, 0.95, 0
SINGLE_GROUPS = "hold one group each, of which clips were drawn"
MIN_UNITS = 10  # units a fold below which a percentile interval is known to be too narrow
_CHUNK = 1 << 24  # counts in memory at once
_BLOCK = 1 << 20  # draws that are counted at once
_AREAS = ("roc-auc", "pr-auc", "d-prime")
_THREADS = 2  # runs resampled at once; each takes some hundred MB where there are many classes
_ROUNDING = 1e-12  # share of a sum of squares that is rounding


@dataclass(frozen=True)
class ResamplingUnits:
    """What a bootstrap draws.

    Attributes
    ----------
    fold_rows : list of numpy.ndarray
        Rows of each fold.
    unit_numbers : list of numpy.ndarray
        For each fold, the number of each row's unit.
    name : str
        In words.
    """

    fold_rows: list[Array]
    unit_numbers: list[Array]
    name: str

    @classmethod
    def from_groups(cls, folds: Array, groups: Array) -> "ResamplingUnits":
        """Return groups, or clips where there are none, within folds.

        A fold that is a single group has no other to draw: there clips are drawn, and ``name`` says
        so, since that tells nothing about other groups. Where every fold is a single clip, they are
        drawn from all of them.
        """
        fold_rows = [np.flatnonzero(folds == k) for k in np.unique(folds)]
        single_clips = all(len(rows) == 1 for rows in fold_rows)
        if single_clips:
            fold_rows = [np.arange(len(folds))]
        group_numbers = _number_groups(groups)
        grouped = [len(np.unique(group_numbers[rows])) > 1 for rows in fold_rows]
        unit_numbers = [
            np.unique(group_numbers[rows] if by_group else rows, return_inverse=True)[1]
            for rows, by_group in zip(fold_rows, grouped, strict=True)
        ]
        has_groups = bool((groups != "").any())
        name = "groups" if has_groups and any(grouped) else "clips"
        if not single_clips:
            name += " within folds"
        ungrouped = grouped.count(False)
        if has_groups and ungrouped:
            name += f"; {ungrouped} of {len(fold_rows)} folds {SINGLE_GROUPS}"
        return cls(fold_rows, unit_numbers, name)

    @cached_property
    def counts(self) -> list[int]:
        """The number of units of each fold."""
        return [int(numbers.max()) + 1 for numbers in self.unit_numbers]

    @property
    def degrees_of_freedom(self) -> int:
        """Units less one for each fold, at least 1."""
        return max(1, sum(count - 1 for count in self.counts))

    @cached_property
    def of_all_folds(self) -> tuple[Array, Array]:
        """The rows of all folds, and each row's unit, numbered over all folds."""
        firsts = np.cumsum([0, *self.counts[:-1]])
        numbers = [n + first for n, first in zip(self.unit_numbers, firsts, strict=True)]
        return np.concatenate(self.fold_rows), np.concatenate(numbers)

    def count(self, selected: Array) -> int:
        """Return how many units, of all folds, have a row that is selected, shape (clips,)."""
        rows, numbers = self.of_all_folds
        has_selected = np.zeros(sum(self.counts), bool)
        has_selected[numbers[selected[rows]]] = True
        return int(np.count_nonzero(has_selected))

    def resample(self, metric: Metric, targets: Array, runs: list[Array]) -> Array:
        """Return the mean over folds of each resample, for the scores of several runs.

        Parameters
        ----------
        metric : Metric
            The metric.
        targets : numpy.ndarray
            Of all clips.
        runs : list of numpy.ndarray
            Scores, row for row the same clips: the same draws for each run.

        Returns
        -------
        numpy.ndarray, shape (1000, runs)
            NaN where the metric is not defined on a draw.
        """
        rng = np.random.default_rng(SEED)
        means = np.zeros((RESAMPLES, len(runs)))
        for rows, unit_numbers in zip(self.fold_rows, self.unit_numbers, strict=True):
            rescores = [make_resampled_metric(metric, targets[rows], run[rows]) for run in runs]
            start = 0
            for counts in resample_counts(rng, unit_numbers, RESAMPLES):
                stop = start + len(counts)
                means[start:stop] += np.stack([rescore(counts) for rescore in rescores], axis=1)
                start = stop
        return means / len(self.fold_rows)

    def resample_folds(self, metric: Metric, targets: Array, runs: Sequence[Array]) -> Array:
        """Return each fold's metric in each resample, shape (runs, 1000, folds).

        Runs share the draws, which may take longer than the metric; see :meth:`resample`.
        """
        rng = np.random.default_rng(SEED)
        resampled = np.empty((len(runs), RESAMPLES, len(self.fold_rows)))
        # areas need whole numbers; others are sums, for which each run would convert them
        dtype = np.int32 if _kind(metric) in _AREAS else np.float64
        with ThreadPoolExecutor(_THREADS) as pool:  # numpy releases the interpreter lock meanwhile
            for k, rows in enumerate(self.fold_rows):
                start = 0
                for counts in resample_counts(rng, self.unit_numbers[k], RESAMPLES, dtype):
                    stop = start + len(counts)

                    def rescore(scores: Array, rows: Array = rows, counts: Array = counts) -> Array:
                        return make_resampled_metric(metric, targets[rows], scores[rows])(counts)

                    resampled[:, start:stop, k] = list(pool.map(rescore, runs))
                    start = stop
        return resampled


def _number_groups(groups: Array) -> Array:
    """Return the number of each clip's group; a clip without one has its own."""
    names, numbers = np.unique(groups, return_inverse=True)
    return np.where(groups == "", len(names) + np.arange(len(groups)), numbers)


def resample_counts(
    rng: np.random.Generator,
    unit_numbers: Array,
    resamples: int,
    dtype: npt.DTypeLike = np.int32,
) -> Iterator[Array]:
    """Draw units with replacement, again and again.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    unit_numbers : numpy.ndarray of int, shape (clips,)
        Number of each clip's unit, from 0 on without a gap.
    resamples : int >= 1
        The number of draws.
    dtype : data-type
        Of the counts: integers, or float64 where they are only multiplied.

    Yields
    ------
    numpy.ndarray, shape (some resamples, clips)
        How often each clip was drawn.
    """
    units = int(unit_numbers.max()) + 1
    most = max(1, _CHUNK // len(unit_numbers))
    for first in range(0, resamples, most):
        counts = np.empty((min(most, resamples - first), units), dtype)
        step = max(1, _BLOCK // units)
        for start in range(0, len(counts), step):
            block = counts[start : start + step]
            draws = rng.integers(0, units, block.shape)
            draws += units * np.arange(len(block))[:, None]
            block[:] = np.bincount(draws.ravel(), minlength=block.size).reshape(block.shape)
        yield np.ascontiguousarray(counts[:, unit_numbers])


# ---- metrics of resamples, without repeating any clip


def make_resampled_metric(metric: Metric, targets: Array, scores: Array) -> ResampledMetric:
    """Prepare a metric for resamples of clips.

    Parameters
    ----------
    metric : Metric
        The metric.
    targets, scores : numpy.ndarray
        Of the clips, as the metric needs them.

    Returns
    -------
    callable
        Takes counts of shape (resamples, clips) and returns shape (resamples,): what
        ``metric.score`` gives for clips repeated so often. NaN where it is not defined.
    """
    kind = _kind(metric)
    if kind in _AREAS:
        return _ranking_metric(kind, targets, scores)
    if kind == "lwlrap":
        return _ratio(*_lwlrap_terms(metric, targets, scores))
    if kind == "f1-samples":
        some_known = is_known(targets).any(axis=1)
        values = np.where(some_known, clip_scores(metric, targets, scores), 0)
        return _ratio(values, some_known.astype(float))
    if kind == "accuracy" or kind in CREDITS or kind.startswith("top-"):
        return _ratio(clip_scores(metric, targets, scores), np.ones(len(targets)))
    if kind == "log-loss" and targets.ndim == 1:
        return _ratio(clip_scores(metric, targets, scores), np.ones(len(targets)))
    if kind == "balanced-accuracy":
        actual = one_hot(targets, scores.shape[1])
        right = scores.argmax(axis=1) == targets
        return _mean_of_ratios(actual * right[:, None], actual)
    if kind in ("mae", "log-loss"):
        values = np.stack(
            [metric.per_class(targets[[i]], scores[[i]]) for i in range(len(targets))]
        )
        known = is_known(targets).reshape(values.shape) if targets.ndim == 2 else True
        return _mean_of_ratios(np.where(known, values, 0), np.ones_like(values) * known)
    if kind in ("f1-macro", "f1-weighted"):
        threshold = float(metric.name.partition("@")[2] or 0.5)
        actual, predicted = binarize(threshold, targets, scores)
        hits, total = 2.0 * (actual & predicted), actual.astype(float) + predicted
        if kind == "f1-macro":
            return _mean_of_ratios(hits, total)
        return _weighted_mean_of_ratios(hits, total, actual.astype(float))
    if kind == "r2":
        return _r2(targets, scores)
    if kind == "r2-weighted":
        return _r2_weighted(targets, scores)
    return _repeat_clips(metric.score, targets, scores)


def make_resampled_class_metric(metric: Metric, targets: Array, scores: Array) -> ResampledMetric:
    """Prepare a metric of single classes for resamples; see :func:`make_resampled_metric`.

    The callable returns shape (resamples, classes): what ``metric.per_class`` gives.
    """
    kind = _kind(metric)
    classes = scores.shape[1]
    if kind in _AREAS:
        columns = [
            make_resampled_metric(metric, targets[:, [k]], scores[:, [k]]) for k in range(classes)
        ]
        return lambda counts: np.stack([rescore(counts) for rescore in columns], axis=1)
    if kind in F1:
        threshold = float(metric.name.partition("@")[2] or 0.5)
        actual, predicted = binarize(threshold, targets, scores)
        return _ratio(2.0 * (actual & predicted), actual.astype(float) + predicted)
    if targets.ndim == 1:
        actual = one_hot(targets, classes)
        return _ratio(actual * clip_scores(metric, targets, scores)[:, None], actual.astype(float))
    return _repeat_clips(metric.per_class, targets, scores)


def _kind(metric: Metric) -> str:
    """Return the name of a metric without its threshold."""
    return metric.name.partition("@")[0]


def _lwlrap_terms(metric: Metric, targets: Array, scores: Array) -> tuple[Array, Array]:
    """Return each clip's summed precisions and its number of labels."""
    n_labels = (targets > 0).sum(axis=1).astype(float)
    sums = np.zeros(len(targets))
    labeled = np.flatnonzero(n_labels)
    sums[labeled] = clip_scores(metric, targets[labeled], scores[labeled]) * n_labels[labeled]
    return sums, n_labels


def _sum_drawn(counts: Array, values: Array) -> Array:
    """Return the sum of the values of the clips drawn; an infinite one counts only if drawn."""
    infinite = np.isinf(values)
    if not infinite.any():
        return np.asarray(counts @ values)
    sums = np.asarray(counts @ np.where(infinite, 0, values))
    return np.where(counts @ infinite > 0, np.inf, sums)


def _ratio(numerators: Array, denominators: Array) -> ResampledMetric:
    """Return the ratio of two sums over clips."""

    def rescore(counts: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(_sum_drawn(counts, numerators) / _sum_drawn(counts, denominators))

    return rescore


def _mean_of_ratios(numerators: Array, denominators: Array) -> ResampledMetric:
    """Return the mean, over the classes that were drawn, of a ratio of sums over clips."""
    columns = np.concatenate([numerators, denominators], axis=1).astype(np.float64)

    def rescore(counts: Array) -> Array:
        above, below = np.split(_sum_drawn(counts, columns), 2, axis=1)
        drawn = below > 0
        ratios = np.where(drawn, above / np.where(drawn, below, 1), 0)
        with np.errstate(invalid="ignore"):
            return np.asarray(ratios.sum(axis=1) / drawn.sum(axis=1))

    return rescore


def _weighted_mean_of_ratios(
    numerators: Array, denominators: Array, weights: Array
) -> ResampledMetric:
    """Return the mean of a ratio of sums over classes, weighted by another sum."""
    columns = np.concatenate([numerators, denominators, weights], axis=1)

    def rescore(counts: Array) -> Array:
        above, below, weight = np.split(_sum_drawn(counts, columns), 3, axis=1)
        ratios = above / np.where(below > 0, below, 1)
        with np.errstate(invalid="ignore"):
            return np.asarray((ratios * weight).sum(axis=1) / weight.sum(axis=1))

    return rescore


def _r2_weighted(targets: Array, scores: Array) -> ResampledMetric:
    """Prepare the R² of all targets together, by sums about their mean."""
    centered = np.asarray(targets, np.float64) - targets.mean(axis=0)
    sums = [(centered**2).sum(1), ((targets - scores) ** 2).sum(1)]
    columns = np.column_stack([centered, *sums])

    def rescore(counts: Array) -> Array:
        drawn = _sum_drawn(counts, columns)
        squares, residual = drawn[:, -2], drawn[:, -1]
        variation = squares - (drawn[:, :-2] ** 2).sum(1) / counts.sum(axis=1)
        varies = variation > _ROUNDING * squares
        return np.where(varies, 1 - residual / np.where(varies, variation, 1), np.nan)

    return rescore


def _r2(targets: Array, scores: Array) -> ResampledMetric:
    """Prepare the mean R² of the targets that vary in a draw, by sums about their mean."""
    centered = np.asarray(targets, np.float64) - targets.mean(axis=0)
    columns = np.concatenate([centered, centered**2, (targets - scores) ** 2], axis=1)

    def rescore(counts: Array) -> Array:
        total, squares, residual = np.split(_sum_drawn(counts, columns), 3, axis=1)
        variation = squares - total**2 / counts.sum(axis=1)[:, None]
        varies = variation > _ROUNDING * squares
        with np.errstate(invalid="ignore"):
            ratio = np.where(varies, 1 - residual / np.where(varies, variation, 1), 0)
            return np.asarray(ratio.sum(axis=1) / varies.sum(axis=1))

    return rescore


def _ranking_metric(kind: str, targets: Array, scores: Array) -> ResampledMetric:
    """Prepare the mean of areas under curves, by one sort a class."""
    classes = []
    known = is_known(targets)
    for k in range(scores.shape[1]):
        order = np.argsort(scores[:, k], kind="stable")
        order = order[known[order, k]]
        column = scores[order, k]
        positives = np.flatnonzero(targets[order, k] > 0)
        hits = column[positives]
        ends = [np.searchsorted(column, hits, side) for side in ("left", "right")]
        first_hits = np.searchsorted(hits, hits, "left")
        classes.append((order, positives, ends, first_hits))
    area = _average_precision if kind == "pr-auc" else _roc_auc

    def rescore(counts: Array) -> Array:
        areas = np.full((len(counts), len(classes)), np.nan)
        for k, (order, positives, ends, first_hits) in enumerate(classes):
            if len(positives):
                drawn = counts[:, order]
                total = drawn.sum(axis=1, dtype=np.int64)
                areas[:, k] = area(drawn, positives, ends, first_hits, total)
        defined = np.isfinite(areas)
        with np.errstate(invalid="ignore"):
            mean = np.where(defined, areas, 0).sum(axis=1) / defined.sum(axis=1)
            return d_prime(mean) if kind == "d-prime" else np.asarray(mean)

    return rescore


def _sums_before(counts: Array) -> Array:
    """Return cumulative sums along rows with a zero in front."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


def _average_precision(
    counts: Array, positives: Array, ends: list[Array], first_hits: Array, total: Array
) -> Array:
    """Return the mean, over positives, of the precision among clips that score as high."""
    hits = counts[:, positives]
    retrieved = total[:, None] - _sums_before(counts)[:, ends[0]]
    n_hits = hits.sum(axis=1)
    correct = n_hits[:, None] - _sums_before(hits)[:, first_hits]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, correct / retrieved, 0)
        defined = (n_hits > 0) & (n_hits < total)
        return np.where(defined, (hits * precision).sum(axis=1) / n_hits, np.nan)


def _roc_auc(
    counts: Array, positives: Array, ends: list[Array], first_hits: Array, total: Array
) -> Array:
    """Return how often a positive scores above a negative; ties count half."""
    hits = counts[:, positives].astype(np.int64)
    sums = _sums_before(counts)
    below = (hits * (sums[:, ends[0]] + sums[:, ends[1]])).sum(axis=1)
    n_hits = hits.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((below - n_hits**2) / (2 * n_hits * (total - n_hits)))


def _repeat_clips(
    score: Callable[[Array, Array], float | Array], targets: Array, scores: Array
) -> ResampledMetric:
    """Prepare any other metric: repeat the clips and score them."""

    def rescore(counts: Array) -> Array:
        rows = np.arange(counts.shape[1])
        resamples = [np.repeat(rows, count) for count in counts.astype(np.int64)]
        return np.array([score(targets[clips], scores[clips]) for clips in resamples])

    return rescore
