"""What a method gains over another: the mean difference over tasks, with a paired t-test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probekit.errors import DataError

POINTS = 100  # a share is a hundred percentage points


@dataclass(frozen=True)
class Gain:
    """A mean difference over tasks.

    Attributes
    ----------
    mean : float
        In percentage points.
    low, high : float or None
        Its 95 % interval by Student's t; None where the differences do not vary.
    said : str
        The test, in words.
    """

    mean: float
    low: float | None
    high: float | None
    said: str


def mean_gain(
    ours: Mapping[str, float], theirs: Mapping[str, float], wanted: Sequence[str]
) -> Gain:
    """Compare two methods over tasks.

    Parameters
    ----------
    ours, theirs : mapping of str to float
        Scores by task, as shares from 0 to 1.
    wanted : sequence of str
        The tasks that count; those that both have are compared.

    Returns
    -------
    Gain
        Ours less theirs, tested by a paired t-test (two-sided) with a task as the unit.

    Raises
    ------
    DataError
        If fewer than two tasks have both.
    """
    both = [name for name in wanted if name in ours and name in theirs]
    if len(both) < 2:
        raise DataError(
            f"{len(both)} of {len(wanted)} tasks have both scores; at least two are needed"
        )
    differences = POINTS * np.array([ours[name] - theirs[name] for name in both])
    over = f"{len(both)} tasks"
    if len(both) < len(wanted):
        over = f"{len(both)} of {len(wanted)} tasks ({', '.join(both)})"
    if np.ptp(differences) == 0:
        said = f"mean over {over}; no t-test: all differences are the same"
        return Gain(float(differences.mean()), None, None, said)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(0.95)
    return Gain(
        float(differences.mean()),
        float(interval.low),
        float(interval.high),
        f"mean over {over} and its 95 % interval; paired t-test over tasks: "
        f"t({len(both) - 1}) = {test.statistic:.2f}, p = {test.pvalue:.2g}",
    )
