"""Where two runs differ: each class's score, with intervals and what is beyond chance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, norm

from probekit._typing import Array
from probekit.analysis import base
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.bootstrap import LEVEL, MIN_UNITS
from probekit.metrics.significance import holm
from probekit.scores import class_comparison, comparison, groups
from probekit.scores.groups import RunGroup, disambiguate_labels
from probekit.utils.suggest import unknown_name_error

CORRECTIONS = ("holm", "bh")
_SAID = {"holm": "Holm", "bh": "Benjamini and Hochberg"}


@dataclass(frozen=True)
class ClassDifferences:
    """Two runs on the same test clips, class by class.

    Attributes
    ----------
    names : tuple of str
        The classes.
    scores : numpy.ndarray, shape (classes, 2)
        Of both runs, mean over folds and seeds; NaN where not defined.
    difference, low, high : numpy.ndarray, shape (classes,)
        First less second, with the 95 % percentile interval of the paired bootstrap.
    units : numpy.ndarray of int, shape (classes,)
        Test clips (or groups) that have the class.
    p : numpy.ndarray, shape (classes,)
        Two-sided, of McNemar's exact test where a clip is right or wrong, else from difference and
        standard error of the bootstrap by the normal distribution; NaN for classes of fewer than
        ten units, which are not tested.
    adjusted : numpy.ndarray, shape (classes,)
        ``p`` corrected for all classes that are tested.
    correction : {"holm", "bh"}
        How.
    metric : str
        What scores the classes.
    first, second : Entry
        The runs.
    clips : int
        Test clips that both scored.
    default_metric : bool
        Whether the metric is the task's first.
    exact : bool
        Whether p is of McNemar's test.
    """

    names: tuple[str, ...]
    scores: Array
    difference: Array
    low: Array
    high: Array
    units: Array
    p: Array
    adjusted: Array
    correction: str
    metric: str
    first: RunGroup
    second: RunGroup
    clips: int
    default_metric: bool
    exact: bool

    @property
    def order(self) -> tuple[int, ...]:
        """Classes from those where the first run is best to those where the second is."""
        sign = 1 if self.higher_is_better else -1
        known = np.flatnonzero(np.isfinite(self.difference))
        return tuple(known[np.argsort(-sign * self.difference[known], kind="stable")].tolist())

    @property
    def higher_is_better(self) -> bool:
        """Whether higher scores are better."""
        return metrics.get_metric(self.metric).higher_is_better

    @property
    def significant(self) -> Array:
        """Which classes differ beyond chance at the 5 % level, all tested classes together."""
        return np.nan_to_num(self.adjusted, nan=1.0) < 1 - LEVEL

    @property
    def score_name(self) -> str:
        """What is scored, in words: of single classes accuracy is recall."""
        if self.metric in ("accuracy", "balanced-accuracy"):
            return "recall"
        return metrics.get_metric(self.metric).title.partition(" (")[0]

    @property
    def provenance(self) -> tuple[str, ...]:
        """What every figure must show."""
        return groups.collect_provenance([self.first, self.second])

    @property
    def name(self) -> str:
        """Stem of the files."""
        return base.filename_stem(
            "differences",
            self.first.results[0]["task"],
            self.first.label,
            self.second.label,
            metric=(None if self.default_metric else self.metric, None),
            correction=(self.correction, "holm"),
        )

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        tested = int(np.isfinite(self.p).sum())
        few = len(self.order) - tested
        aside = f"; {few} with fewer than {MIN_UNITS} test units are not tested" if few else ""
        undefined = len(self.names) - len(self.order)
        without = f" {undefined} classes have no defined score." if undefined else ""
        how = (
            "McNemar's exact test"
            if self.exact
            else "normal approximation with the bootstrap's standard error"
        )
        return (
            f"Difference in {self.score_name} of each class of {self.first.results[0]['task']}, "
            f"{self.first.label} less {self.second.label}, on the {self.clips:,} test clips that "
            "both scored, with 95 % intervals (paired bootstrap, 1,000 resamples). Filled: beyond "
            f"chance at the 5 % level ({how}, "
            f"corrected for {tested} classes after {_SAID[self.correction]}{aside})."
            f"{without}{base.as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it: the runs, the metric, the correction."""
        return {
            **groups.provenance_dict([self.first, self.second]),
            "first": self.first.label,
            "second": self.second.label,
            "metric": self.metric,
            "clips": self.clips,
            "correction": self.correction,
            "test": "McNemar, exact" if self.exact else "bootstrap, normal approximation",
            "level": LEVEL,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return all classes in order; those without a score stand at the end."""
        left = [k for k in range(len(self.names)) if k not in set(self.order)]
        return [
            {
                "class": self.names[k],
                "first": float(self.scores[k, 0]),
                "second": float(self.scores[k, 1]),
                "difference": float(self.difference[k]),
                "low": float(self.low[k]),
                "high": float(self.high[k]),
                "p": float(self.p[k]),
                "p_adjusted": float(self.adjusted[k]),
                "beyond_chance": bool(self.significant[k]),
                "units": int(self.units[k]),
            }
            for k in (*self.order, *left)
        ]


def class_differences(
    first: str,
    second: str,
    *,
    task: str = "",
    reports: str | Path | None = None,
    metric: str = "",
    correction: str = "holm",
) -> ClassDifferences:
    """Compare two runs class by class on the test clips that both scored.

    Intervals are of the paired bootstrap. Its 1,000 resamples give no p-value below 0.002, too
    coarse where many classes are corrected for: p is of McNemar's exact test where a clip is right
    or wrong, and comes from the bootstrap's standard error for other metrics. Classes in fewer than
    ten test clips (or groups) are not tested: neither interval nor standard error holds there. A
    clip that is in several folds counts in each.

    Parameters
    ----------
    first, second : str
        Runs, as :func:`probekit.scores.groups.resolve` takes them.
    task : str
        The task, where the names do not tell.
    reports : str or pathlib.Path, optional
        Where results are.
    metric : str
        Which metric; by default the task's first.
    correction : {"holm", "bh"}
        Holm: a mark among all classes is wrong in at most 5 % of cases. Benjamini and Hochberg: at
        most 5 % of the marks are wrong on average.

    Returns
    -------
    Differences
        To be drawn by :func:`probekit.figures.dot_plot.draw_class_differences`.

    Raises
    ------
    ProbekitError
        If there is no such run, or the two cannot be compared.
    """
    if correction not in CORRECTIONS:
        raise unknown_name_error("correction", correction, CORRECTIONS)
    entries = disambiguate_labels(
        [groups.resolve_run(name, task, reports) for name in (first, second)]
    )
    one, other = entries
    if set(one.paths) & set(other.paths):
        raise DataError(f"{first} and {second} are the same run")
    found = metrics.get_metric(metric or one.results[0]["metric"])
    comparison.check_comparable(one, other, found)
    pairs = comparison.align_predictions(one, other)
    # of every seed the same draws, so that what differs is the runs
    drawn = np.mean([class_comparison.resampled_differences(found, a, b) for a, b in pairs], axis=0)
    scores = np.mean([[_by_class(found, side) for side in pair] for pair in pairs], axis=0).T
    difference = scores[:, 0] - scores[:, 1]
    units = class_comparison.units_per_class(pairs[0][0])
    low, high, spread = _interval_and_se(drawn)
    p = np.full(len(difference), np.nan)
    tested = np.isfinite(difference) & np.isfinite(spread) & (units >= MIN_UNITS)
    exact = class_comparison.sign_test(found, pairs)
    p[tested] = _p(difference[tested], spread[tested]) if exact is None else exact[tested]
    adjusted = np.full_like(p, np.nan)
    if tested.any():
        adjusted[tested] = (
            holm(p[tested]) if correction == "holm" else false_discovery_control(p[tested])
        )
    return ClassDifferences(
        names=tuple(one.results[0]["classes"]),
        scores=scores,
        difference=difference,
        low=low,
        high=high,
        units=units,
        p=p,
        adjusted=adjusted,
        correction=correction,
        metric=found.name,
        first=one,
        second=other,
        clips=len(pairs[0][0].clip_ids),
        default_metric=found.name == one.results[0]["metric"],
        exact=exact is not None,
    )


def _by_class(metric: metrics.Metric, found: Any) -> Array:
    """Return each class's score: the mean over the folds in which it is defined."""
    scores = found.scores_for(metric)
    own = np.array(
        [
            metric.per_class(found.targets[found.fold == k], scores[found.fold == k])
            for k in range(len(found.folds))
        ]
    )
    there = np.isfinite(own)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, own, 0).sum(axis=0) / there.sum(axis=0))


def _interval_and_se(drawn: Array) -> tuple[Array, Array, Array]:
    """Return the ends of the 95 % intervals and the standard errors; NaN where none is defined."""
    low, high, spread = (np.full(drawn.shape[1], np.nan) for _ in range(3))
    for k, column in enumerate(drawn.T):
        own = column[np.isfinite(column)]
        if len(own):
            low[k], high[k] = np.percentile(own, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
            spread[k] = own.std()
    return low, high, spread


def _p(difference: Array, spread: Array) -> Array:
    """Return two-sided p-values; 1 for no difference, also where nothing spreads."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(difference) / spread
    return np.where(difference == 0, 1.0, 2 * norm.sf(z))
