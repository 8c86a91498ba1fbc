"""Differences of two runs, class by class, with intervals and tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, t

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.bootstrap import LEVEL, MIN_UNITS
from probekit.metrics.per_class import (
    ALL_CLIPS,
    class_score_name,
    class_score_rule,
    class_values,
)
from probekit.metrics.significance import holm
from probekit.scores import comparison, groups
from probekit.scores.class_comparison import resampled_differences, sign_test, units_per_class
from probekit.scores.groups import RunGroup, disambiguate_labels, resolve_run
from probekit.utils.suggest import unknown_name_error

CORRECTIONS = ("holm", "bh")
_CORRECTION_TEXT = {"holm": "Holm", "bh": "Benjamini and Hochberg"}


@dataclass(frozen=True)
class ClassDifferences:
    """Two runs on the same test clips, class by class.

    Attributes
    ----------
    names : tuple of str
        The classes.
    scores : numpy.ndarray, shape (classes, 2)
        Of both runs, mean over seeds, of all test clips or mean over folds as
        :func:`probekit.metrics.per_class.class_score_rule` says; NaN where not defined.
    difference, low, high : numpy.ndarray, shape (classes,)
        First less second, with the 95 % interval by Student's t distribution.
    units : numpy.ndarray of int, shape (classes,)
        Test clips (or groups) that have the class.
    p : numpy.ndarray, shape (classes,)
        Two-sided, of McNemar's exact test where a clip is right or wrong, else from difference and
        standard error of the bootstrap by Student's t distribution with ``units - 1`` degrees of
        freedom; NaN for classes of fewer than ten units, which are not tested.
    adjusted : numpy.ndarray, shape (classes,)
        ``p`` corrected for all classes that are tested.
    correction : {"holm", "bh"}
        Method of the correction.
    metric : str
        Metric of the classes.
    first, second : RunGroup
        The runs.
    clips : int
        Test clips that both scored.
    default_metric : bool
        Whether the metric is the task's first.
    exact : bool
        Whether ``p`` is that of McNemar's test.
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
        """Classes with a score, from the best difference for the first run to the worst."""
        sign = 1 if self.higher_is_better else -1
        scored = np.flatnonzero(np.isfinite(self.difference))
        ranks = np.argsort(-sign * self.difference[scored], kind="stable")
        return tuple(scored[ranks].tolist())

    @property
    def higher_is_better(self) -> bool:
        """Whether higher scores are better."""
        return metrics.get_metric(self.metric).higher_is_better

    @property
    def significant(self) -> Array:
        """Which classes differ beyond chance at the 5 % level, corrected for all tested classes."""
        return np.nan_to_num(self.adjusted, nan=1.0) < 1 - LEVEL

    @property
    def score_name(self) -> str:
        """Name of the score of single classes: of accuracy it is recall."""
        return class_score_name(metrics.get_metric(self.metric))

    @property
    def provenance(self) -> tuple[str, ...]:
        """Notes that every figure must show."""
        return groups.collect_provenance([self.first, self.second])

    @property
    def name(self) -> str:
        """Stem of the files."""
        return filename_stem(
            "differences",
            self.first.results[0]["task"],
            self.first.label,
            self.second.label,
            metric=(None if self.default_metric else self.metric, None),
            correction=(self.correction, "holm"),
        )

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        tested = int(np.isfinite(self.p).sum())
        few = len(self.order) - tested
        aside = f"; {few} with fewer than {MIN_UNITS} test units are not tested" if few else ""
        undefined = len(self.names) - len(self.order)
        without = f" {undefined} classes have no defined score." if undefined else ""
        how = "McNemar's exact test" if self.exact else "t-test with the bootstrap's standard error"
        return (
            f"Difference in {self.score_name} of each class of {self.first.results[0]['task']}, "
            f"{self.first.label} less {self.second.label}, on the {self.clips:,} test clips that "
            f"both scored{self._folds}, with 95 % intervals (Student's t, bootstrap's errors). "
            "Filled: beyond "
            f"chance at the 5 % level ({how}, "
            f"corrected for {tested} classes after {_CORRECTION_TEXT[self.correction]}{aside})."
            f"{without}{as_sentence(self.provenance)}"
        )

    @property
    def _folds(self) -> str:
        """How the scores of a class are joined over folds, for the caption."""
        if len(self.first.results[0]["folds"]) < 2:
            return ""
        rule = class_score_rule(metrics.get_metric(self.metric))
        return ", all folds together" if rule == ALL_CLIPS else f", {rule}"

    def facts(self) -> dict[str, Any]:
        """Return runs, metric and correction."""
        return {
            **groups.provenance_dict([self.first, self.second]),
            "first": self.first.label,
            "second": self.second.label,
            "metric": self.metric,
            "clips": self.clips,
            "correction": self.correction,
            "class_scores": class_score_rule(metrics.get_metric(self.metric)),
            "test": "McNemar, exact" if self.exact else "bootstrap, t distribution",
            "level": LEVEL,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return all classes in order; those without a score at the end."""
        unscored = [k for k in range(len(self.names)) if k not in set(self.order)]
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
            for k in (*self.order, *unscored)
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

    Intervals are the paired bootstrap's standard error times the quantile of Student's t
    distribution with ``units - 1`` degrees of freedom: percentiles are too narrow for classes with
    few clips, and too coarse where many classes are corrected for. p is of McNemar's exact test
    where a clip is right or wrong, and of the same t distribution for other metrics. Classes in
    fewer than ten test clips (or groups) are not tested. A clip that is in several folds counts in
    each.

    Parameters
    ----------
    first, second : str
        Runs, as for :func:`probekit.compare`.
    task : str
        The task, where the names do not tell.
    reports : str or pathlib.Path, optional
        The reports folder.
    metric : str
        Metric; by default the task's first.
    correction : {"holm", "bh"}
        Holm: a mark among all classes is wrong in at most 5 % of cases. Benjamini and Hochberg: at
        most 5 % of the marks are wrong on average.

    Returns
    -------
    ClassDifferences
        To be drawn by :func:`probekit.figures.dot_plot.draw_class_differences`.

    Raises
    ------
    ProbekitError
        If there is no such run, or the two cannot be compared.
    """
    if correction not in CORRECTIONS:
        raise unknown_name_error("correction", correction, CORRECTIONS)
    a, b = disambiguate_labels([resolve_run(name, task, reports) for name in (first, second)])
    if set(a.paths) & set(b.paths):
        raise DataError(f"{first} and {second} are the same run")
    scorer = metrics.get_metric(metric or a.results[0]["metric"])
    comparison.check_comparable(a, b, scorer)
    pairs = comparison.align_predictions(a, b)
    # every seed uses the same resamples, so that only the runs differ
    resampled = np.mean([resampled_differences(scorer, *pair) for pair in pairs], axis=0)
    scores = np.mean(
        [
            [class_values(scorer, run.targets, run.scores_for(scorer), run.fold) for run in pair]
            for pair in pairs
        ],
        axis=0,
    ).T
    difference = scores[:, 0] - scores[:, 1]
    units = units_per_class(pairs[0][0])
    error = _standard_error(resampled, units)
    reach = t.ppf((1 + LEVEL) / 2, np.maximum(units - 1, 1)) * error
    low, high = np.clip(
        [difference - reach, difference + reach], -scorer.max_difference, scorer.max_difference
    )
    p = np.full(len(difference), np.nan)
    tested = np.isfinite(difference) & np.isfinite(error) & (units >= MIN_UNITS)
    exact = sign_test(scorer, pairs)
    p[tested] = (
        _t_p(difference[tested], error[tested], units[tested] - 1)
        if exact is None
        else exact[tested]
    )
    adjusted = np.full_like(p, np.nan)
    if tested.any():
        adjusted[tested] = (
            holm(p[tested]) if correction == "holm" else false_discovery_control(p[tested])
        )
    return ClassDifferences(
        names=tuple(a.results[0]["classes"]),
        scores=scores,
        difference=difference,
        low=low,
        high=high,
        units=units,
        p=p,
        adjusted=adjusted,
        correction=correction,
        metric=scorer.name,
        first=a,
        second=b,
        clips=len(pairs[0][0].clip_ids),
        default_metric=scorer.name == a.results[0]["metric"],
        exact=exact is not None,
    )


def _standard_error(resampled: Array, units: Array) -> Array:
    """Return the standard error of each class; NaN where fewer than two units have it.

    Resamples of n units vary by (n - 1) / n too little.
    """
    defined = np.isfinite(resampled)
    error = np.full(resampled.shape[1], np.nan)
    for k in np.flatnonzero(defined.any(axis=0) & (units > 1)):
        error[k] = resampled[defined[:, k], k].std() * np.sqrt(units[k] / (units[k] - 1))
    return error


def _t_p(difference: Array, error: Array, freedom: Array) -> Array:
    """Return two-sided p-values; 1 for no difference, also with a standard error of 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.abs(difference) / error
    return np.where(difference == 0, 1.0, 2 * t.sf(ratio, freedom))
