"""Per-class comparison of two runs: paired bootstrap and McNemar's exact test."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import binomtest

from probekit._typing import Array
from probekit.metrics import bootstrap, metrics
from probekit.metrics.bootstrap import RESAMPLES, SEED, ResamplingUnits
from probekit.metrics.metrics import Metric
from probekit.scores.predictions import Predictions

_CHUNK = 1 << 24  # counts in memory at once


def resampled_differences(metric: Metric, first: Predictions, second: Predictions) -> Array:
    """Return the difference in each class's score on the same resamples of clips (or groups).

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    first, second : Predictions
        Row for row the same clips, in the same folds.

    Returns
    -------
    numpy.ndarray, shape (1000, classes)
        First less second, by the metric's definition of class scores
        (:func:`probekit.metrics.per_class.class_score_rule`): of all clips together, or the mean
        over the folds in which both are defined; NaN where it is not defined.
    """
    units = ResamplingUnits.from_groups(first.fold, first.groups)
    scores = [run.scores_for(metric) for run in (first, second)]
    scored_rows = [np.arange(len(first.fold))] if metric.pooled else units.fold_rows
    rescores = [
        [
            bootstrap.make_resampled_class_metric(metric, first.targets[rows], run[rows])
            for run in scores
        ]
        for rows in scored_rows
    ]
    differences = []
    for counts in _resample_all_folds(units):
        total = np.zeros((len(counts), first.scores.shape[1]))
        n_defined = np.zeros_like(total)
        for rows, (of_first, of_second) in zip(scored_rows, rescores, strict=True):
            difference = of_first(counts[:, rows]) - of_second(counts[:, rows])
            defined = np.isfinite(difference)
            total += np.where(defined, difference, 0)
            n_defined += defined
        with np.errstate(invalid="ignore"):
            differences.append(total / n_defined)
    return np.concatenate(differences)


def _resample_all_folds(units: ResamplingUnits) -> Iterator[Array]:
    """Yield how often each clip of all folds was drawn, shape (some resamples, clips)."""
    rng = np.random.default_rng(SEED)
    clips = sum(len(rows) for rows in units.fold_rows)
    most = max(1, _CHUNK // clips)
    for start in range(0, RESAMPLES, most):
        counts = np.empty((min(most, RESAMPLES - start), clips), np.int32)
        for rows, unit in zip(units.fold_rows, units.unit_numbers, strict=True):
            draws = bootstrap.resample_counts(rng, unit, len(counts))
            counts[:, rows] = np.concatenate(list(draws))
        yield counts


def units_per_class(predictions: Predictions) -> Array:
    """Return how many resampling units (clips, or groups) have each class; of numbers all."""
    units = ResamplingUnits.from_groups(predictions.fold, predictions.groups)
    classes = predictions.scores.shape[1]
    counts = np.zeros(classes, np.int64)
    for rows, unit in zip(units.fold_rows, units.unit_numbers, strict=True):
        if predictions.target == "regression":
            counts += unit.max() + 1
            continue
        positive = metrics.one_hot(predictions.targets[rows], classes)
        for k in range(classes):
            counts[k] += len(np.unique(unit[positive[:, k]]))
    return counts


def sign_test(metric: Metric, pairs: Sequence[tuple[Predictions, Predictions]]) -> Array | None:
    """Return p-values of McNemar's exact test, for metrics that call each clip right or wrong.

    The normal approximation is too liberal where only few clips differ between two runs.

    Parameters
    ----------
    metric : Metric
        Scores the classes.
    pairs : sequence of (Predictions, Predictions)
        Row for row the same clips, one pair a seed.

    Returns
    -------
    numpy.ndarray, shape (classes,), or None
        Two-sided: of the units (clips, or groups) on which one run is right more often, whether
        too many favor the same run. None for other metrics.
    """
    if metric.name not in ("accuracy", "balanced-accuracy") and not metric.name.startswith("top-"):
        return None
    first = pairs[0][0]
    gains = np.sum(
        [
            metrics.clip_scores(metric, a.targets, a.scores_for(metric))
            - metrics.clip_scores(metric, b.targets, b.scores_for(metric))
            for a, b in pairs
        ],
        axis=0,
    )
    units = ResamplingUnits.from_groups(first.fold, first.groups)
    wins = np.zeros((first.scores.shape[1], 2), int)
    for rows, unit in zip(units.fold_rows, units.unit_numbers, strict=True):
        for k in np.unique(first.targets[rows]):
            clips = first.targets[rows] == k
            unit_gains = np.bincount(unit[clips], weights=gains[rows][clips])
            wins[k] += (unit_gains > 0).sum(), (unit_gains < 0).sum()
    return np.array([binomtest(int(a), int(a + b)).pvalue if a + b else 1.0 for a, b in wins])
