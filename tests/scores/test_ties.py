"""Which runs are tied for first."""

from dataclasses import replace

import pytest

from probekit.scores.comparison import Comparison
from probekit.scores.ties import describe_ties, tied_of_pairs, tied_with_best


def _comparison(
    first: str, second: str, scores: tuple[float, float], verdict: str, metric: str = "accuracy"
) -> Comparison:
    return Comparison(
        task="t",
        metric=metric,
        first=first,
        second=second,
        scores=scores,
        difference=scores[0] - scores[1],
        low=0.0,
        high=0.0,
        standard_error=0.1,
        degrees_of_freedom=9.0,
        test="clips",
        p=0.5,
        adjusted=0.5,
        detectable=0.2,
        rope=None,
        probabilities=None,
        repeats=1,
        units="clips",
        clips=10,
        verdict=verdict,
        notes=(),
    )


SAME = "not distinguishable"
PAIRS = [
    _comparison("a", "b", (0.6, 0.9), "second"),
    _comparison("a", "c", (0.6, 0.85), SAME),
    _comparison("b", "c", (0.9, 0.85), SAME),
]


def test_the_best_and_those_not_distinguishable_from_it() -> None:
    """``a`` is not distinguishable from ``c``, but from ``b``: it is not tied for first."""
    assert tied_of_pairs(PAIRS) == ["b", "c"]
    with_best = [PAIRS[2], replace(PAIRS[0], first="b", second="a", verdict="first")]
    assert tied_with_best("b", with_best) == ["b", "c"]
    assert tied_of_pairs([replace(PAIRS[2], verdict="first"), *PAIRS[:2]]) == ["b"]


def test_lower_errors_are_better() -> None:
    pairs = [replace(pair, metric="mae") for pair in PAIRS]
    assert tied_of_pairs(pairs) == ["a", "c"]


@pytest.mark.parametrize(
    ("tied", "runs", "text"),
    [
        (["a"], 1, ""),
        (["a"], 3, "first alone: a is better than each of the 2 others"),
        (["a", "b"], 3, "tied for first: 2 of 3 (a, b)"),
    ],
)
def test_in_words(tied: list[str], runs: int, text: str) -> None:
    assert describe_ties(tied, runs) == text
