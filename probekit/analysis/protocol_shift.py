"""How much higher an embedding scores under a protocol than under the task's own, clip by clip."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit._typing import Array
from probekit.errors import ProtocolError
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.metrics.significance import DifferenceTest
from probekit.scores.predictions import Predictions

_WEIGHTED_BY_CLASS = "balanced-accuracy"


@dataclass(frozen=True)
class Shift:
    """How much higher an embedding scores under a protocol than under the task's own.

    Attributes
    ----------
    difference : float
        On the test clips that both have; of metrics that are no mean over clips, of the scores.
    low, high : float
        95 % interval: over groups of test clips (clips without groups), for probes as they were
        trained; NaN for metrics that are no mean over clips.
    p : float
        Two-sided; NaN like the interval.
    clips : int
        Test clips that both have.
    """

    difference: float
    low: float
    high: float
    p: float
    clips: int


def measure_shift(
    baseline: Sequence[Predictions], other: Sequence[Predictions], metric: Metric
) -> Shift:
    """Return how much higher runs score than others on the test clips that both have.

    A clip that was scored several times, by several seeds, counts with the mean. The standard error
    is that of a ratio of sums over groups of clips, with Student's t distribution of one degree of
    freedom less than there are groups; of clips without groups it is the paired t-test.

    Parameters
    ----------
    baseline, other : sequence of Predictions
        Under the task's own protocol, and under the other one; one for each seed.
    metric : Metric
        Of the task.
    """
    before, after = _clip_means(baseline, metric), _clip_means(other, metric)
    if before is None or after is None:
        scores = [float(np.mean([r.by_fold(metric) for r in runs])) for runs in (baseline, other)]
        clips = len(set(baseline[0].clip_ids) & set(other[0].clip_ids))
        return Shift(scores[1] - scores[0], float("nan"), float("nan"), float("nan"), clips)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise ProtocolError("the two protocols have no test clip in common")
    groups = dict(zip(baseline[0].clip_ids, baseline[0].groups, strict=True))
    targets = dict(zip(baseline[0].clip_ids, baseline[0].targets, strict=True))
    differences = np.array([after[clip] - before[clip] for clip in shared])
    weights = np.ones(len(shared))
    if metric.name == _WEIGHTED_BY_CLASS:
        _, codes, counts = np.unique(
            [targets[clip] for clip in shared], return_inverse=True, return_counts=True
        )
        weights = 1 / counts[codes]
    units = np.unique([groups[clip] or f"\0{clip}" for clip in shared], return_inverse=True)[1]
    test = _ratio_test(differences, weights, units)
    low, high = test.interval(bound=metric.max_difference)
    return Shift(test.difference, low, high, test.p, len(shared))


def _ratio_test(differences: Array, weights: Array, units: Array) -> DifferenceTest:
    """Return the test of a weighted mean whose terms vary by units."""
    mean = float((weights * differences).sum() / weights.sum())
    sums = np.bincount(units, weights * (differences - mean))
    count = len(sums)
    if count < 2:
        return DifferenceTest(mean, float("inf"), 1)
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / weights.sum()
    return DifferenceTest(mean, float(error), count - 1)


def _clip_means(runs: Sequence[Predictions], metric: Metric) -> dict[str, float] | None:
    """Return the mean outcome of each clip; None where the metric is no mean over clips."""
    name = metric.name
    if name not in ("accuracy", _WEIGHTED_BY_CLASS) and not name.startswith("top-"):
        return None
    outcomes = [metrics.clip_outcomes(metric, r.targets, r.scores_for(metric)) for r in runs]
    ids, codes = np.unique(np.concatenate([r.clip_ids for r in runs]), return_inverse=True)
    values = np.concatenate([np.asarray(each, np.float64) for each in outcomes])
    means = np.bincount(codes, values) / np.bincount(codes)
    return dict(zip(map(str, ids), means.tolist(), strict=True))
