"""Runs that are tied for first: the best, and those that tests do not distinguish from it."""

from collections.abc import Sequence

import numpy as np

from probekit.metrics import metrics
from probekit.scores.comparison import Comparison
from probekit.utils.text import join_names

NOT_DISTINGUISHABLE = "not distinguishable"
_SHOWN = 8


def tied_with_best(best: str, comparisons: Sequence[Comparison]) -> list[str]:
    """Return the labels of the runs that are tied for first, the best one first.

    Parameters
    ----------
    best : str
        Label of the best run.
    comparisons : sequence of Comparison
        Of the best with each other run, as
        :func:`probekit.scores.comparison.compare_with_best` returns them: adjusted for all pairs.
    """
    return [best, *(c.second for c in comparisons if c.verdict == NOT_DISTINGUISHABLE)]


def tied_of_pairs(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the labels of the runs that are tied for first, by comparisons of all pairs.

    The best run is that of the best mean score; of others its own comparison with the best counts,
    with the p-value that is adjusted for all pairs.
    """
    scores: dict[str, list[float]] = {}
    for comparison in comparisons:
        labels = comparison.first, comparison.second
        for label, score in zip(labels, comparison.scores, strict=True):
            scores.setdefault(label, []).append(score)
    sign = -1 if metrics.get_metric(comparisons[0].metric).higher_is_better else 1
    ranked = sorted(scores, key=lambda label: sign * float(np.mean(scores[label])))
    best = ranked[0]
    verdicts = {
        (c.second if c.first == best else c.first): c.verdict
        for c in comparisons
        if best in (c.first, c.second)
    }
    return [best, *(name for name in ranked[1:] if verdicts[name] == NOT_DISTINGUISHABLE)]


def describe_ties(tied: Sequence[str], runs: int) -> str:
    """Return a sentence on the runs that are tied for first; empty for a single run.

    Parameters
    ----------
    tied : sequence of str
        Labels, the best first.
    runs : int
        Number of runs that were tested, the best included.
    """
    if runs < 2:
        return ""
    if len(tied) == 1:
        return f"first alone: {tied[0]} is better than each of the {runs - 1:,} others"
    return f"tied for first: {len(tied):,} of {runs:,} ({join_names(list(tied), _SHOWN)})"
