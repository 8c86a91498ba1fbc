"""Gain of a method over another: mean difference over tasks, with a paired t-test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probekit.errors import DataError

POINTS = 100  # percentage points


@dataclass(frozen=True)
class Gain:
    """A mean difference over tasks.

    Attributes
    ----------
    mean : float
        In percentage points.
    low, high : float or None
        95 % interval by Student's t; None if the differences do not vary.
    note : str
        Describes the test.
    """

    mean: float
    low: float | None
    high: float | None
    note: str


def mean_gain(
    scores: Mapping[str, float], baseline: Mapping[str, float], tasks: Sequence[str]
) -> Gain:
    """Compare two methods over tasks, by a two-sided paired t-test with tasks as units.

    Parameters
    ----------
    scores, baseline : mapping of str to float
        Scores by task, as proportions from 0 to 1.
    tasks : sequence of str
        The tasks that count; those in both mappings are compared.

    Raises
    ------
    DataError
        If fewer than two tasks are in both.
    """
    common = [name for name in tasks if name in scores and name in baseline]
    if len(common) < 2:
        raise DataError(
            f"{len(common)} of {len(tasks)} tasks have both scores; at least two are needed"
        )
    differences = POINTS * np.array([scores[name] - baseline[name] for name in common])
    over = f"{len(common)} tasks"
    if len(common) < len(tasks):
        over = f"{len(common)} of {len(tasks)} tasks ({', '.join(common)})"
    if np.ptp(differences) == 0:
        note = f"mean over {over}; no t-test: all differences are the same"
        return Gain(float(differences.mean()), None, None, note)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return Gain(
        float(differences.mean()),
        float(interval.low),
        float(interval.high),
        f"mean over {over} and its 95 % interval; paired t-test over tasks: "
        f"t({len(common) - 1}) = {test.statistic:.2f}, p = {test.pvalue:.2g}",
    )
