"""Tests of differences against textbook examples, scipy, and what they promise."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind, ttest_rel

from probekit.metrics.metrics import METRICS, get_metric
from probekit.metrics.significance import (
    DifferenceTest,
    add_variance,
    corrected_t,
    holm,
    unit_test,
    variance_components,
)


def test_corrected_t_of_an_example_by_hand():
    """Five folds: mean 0.02, variance 0.00025, a test clip for four training clips.

    t = 0.02 / sqrt((1/5 + 1/4) 0.00025) = 1.885618; with four degrees of freedom the distribution
    has a closed form.
    """
    t = 0.02 / np.sqrt(0.45 * 0.00025)
    assert t == pytest.approx(1.885618, abs=1e-6)
    share = t / np.sqrt(t**2 + 4)
    below = 0.5 + 0.25 * share * (3 - share**2)
    found = corrected_t(np.array([0.02, 0.01, 0.03, 0.00, 0.04]), 0.25).p
    assert found == pytest.approx(2 * (1 - below), abs=1e-12)
    assert found == pytest.approx(0.1324, abs=1e-4)


def test_without_the_correction_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    for folds in (2, 3, 10, 50):
        one, other = rng.normal(0.6, 0.1, folds), rng.normal(0.55, 0.1, folds)
        expected = ttest_rel(one, other).pvalue
        assert corrected_t(one - other, 0.0).p == pytest.approx(expected, rel=1e-9)
        assert corrected_t(other - one, 0.0).p == pytest.approx(expected, rel=1e-9)
        assert corrected_t(one - other, 1 / 9).p > expected


def test_t_of_equal_differences():
    assert corrected_t(np.zeros(5), 0.1).p == 1
    # never certain: no less than the least that flips of the signs allow
    assert corrected_t(np.full(5, 0.25), 0.1).p == 2 / 2**5


def test_holm_of_known_examples():
    # 4 × 0.005, 3 × 0.01, 2 × 0.03, and 0.04 not below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6, 0.7]) == [1, 1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_units_of_one_split_are_a_t_test():
    gains = np.random.default_rng(0).normal(0.1, 1, 12)
    test = unit_test(gains.var(ddof=1) / 12, np.array([gains.mean()]), 11)
    assert test.p == pytest.approx(ttest_1samp(gains, 0).pvalue)
    expected = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert test.interval() == pytest.approx((expected.low, expected.high))


def test_components_of_one_fold_are_the_units():
    gains = np.array([0.3, 0.1, -0.2, 0.4])
    variance = gains.var(ddof=1) / 4
    assert variance_components(gains[:1], np.array([variance]), 3, 0.1) == unit_test(
        variance, gains[:1], 3
    )


def test_components_where_folds_agree_by_hand():
    """Clips: variance 0.0005 a fold, 0.0001 of the mean; a fifth of 0.0005 for the training sets.

    0.0001 + (1/5 + 1/4) 0.0001 = 0.000145.
    """
    differences, variances = np.full(5, 0.02), np.full(5, 0.0005)
    test = variance_components(differences, variances, 100, 0.25)
    assert (test.standard_error**2, test.degrees_of_freedom) == (pytest.approx(0.000145), 100)


def test_components_where_folds_differ_by_hand():
    """Clips: variance 0.0001 a fold. Folds: 0.00025, of which 0.00015 is beyond the clips'.

    0.00025 / 5 + 0.00015 / 4 = 0.0000875.
    """
    differences = np.array([0.02, 0.01, 0.03, 0.00, 0.04])
    test = variance_components(differences, np.full(5, 0.0001), 100, 0.25)
    assert test.standard_error**2 == pytest.approx(0.0000875)
    parts = 0.0001125**2 / 4 + 0.000025**2 / 100  # Satterthwaite: 0.0001125 less 0.000025
    assert test.degrees_of_freedom == pytest.approx(0.0000875**2 / parts)
    without_clips = variance_components(differences, np.zeros(5), 100, 0.25)
    assert without_clips.p == pytest.approx(corrected_t(differences, 0.25).p)
    assert test.standard_error < without_clips.standard_error


def test_the_two_cases_of_components_meet():
    for offset in (-1e-9, 1e-9):
        differences = np.array([-1.0, 1.0]) * np.sqrt(0.6 + offset) + 1
        test = variance_components(differences, np.ones(2), 50, 0.5)
        assert test.standard_error**2 == pytest.approx(0.5 + 0.2, abs=1e-6)


def test_degrees_of_freedom_of_two_sources_are_welchs():
    """Two samples of unequal variance: Welch's t-test is Satterthwaite's for two sources."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, 8), rng.normal(1, 3, 5)
    first = DifferenceTest(float(x.mean() - y.mean()), x.std(ddof=1) / np.sqrt(8), 7)
    test = add_variance(first, y.var(ddof=1) / 5, 4)
    expected = ttest_ind(x, y, equal_var=False)
    assert test.degrees_of_freedom == pytest.approx(expected.df)
    assert test.p == pytest.approx(expected.pvalue)


def test_tests_keep_their_level_over_folds():
    """Clips in ten folds, with and without a part that a fold has in common: at most 5 %."""
    rng = np.random.default_rng(0)
    for common, low, high in ((0.0, 0.005, 0.05), (0.05, 0.005, 0.06)):
        gains = rng.normal(size=(2000, 10, 40)) * 0.5
        gains += common * rng.normal(size=(2000, 10, 1))
        rejected = [
            variance_components(g.mean(axis=1), g.var(axis=1, ddof=1) / 40, 390, 1 / 9).p < 0.05
            for g in gains
        ]
        assert low < np.mean(rejected) < high


def test_a_test_and_its_interval_agree():
    rng = np.random.default_rng(0)
    for _ in range(200):
        test = DifferenceTest(rng.normal(), rng.gamma(2), rng.integers(1, 30))
        low, high = test.interval()
        assert (low > 0 or high < 0) == (test.p < 0.05)
        assert sum(test.posterior(0.1)) == pytest.approx(1)


def test_an_interval_ends_at_the_greatest_difference():
    """Two groups leave one degree of freedom, whose quantile is 12.7."""
    test = DifferenceTest(-0.3, 0.1, 1)
    assert test.interval() == pytest.approx((-1.5706, 0.9706), abs=1e-4)
    assert test.interval(bound=1.0) == pytest.approx((-1.0, 0.9706), abs=1e-4)
    assert DifferenceTest(0.9, 0.01, 1).interval(bound=1.0) == pytest.approx((0.7729, 1), abs=1e-4)
    bounds = {name: metric.max_difference for name, metric in METRICS.items()}
    assert bounds["accuracy"] == bounds["pr-auc"] == bounds["f1-macro"] == 1
    assert bounds["log-loss"] == bounds["r2"] == bounds["d-prime"] == bounds["mae"] == np.inf
    assert get_metric("f1-samples@0.1").max_difference == get_metric("top-5").max_difference == 1


def test_where_nothing_varies():
    test = DifferenceTest(0.2, 0.0, 4)
    assert test.p == 1 / 16 and test.interval() == (0.2, 0.2)
    assert test.posterior(0.1) == (1, 0, 0) and test.posterior(0.3) == (0, 1, 0)
    assert DifferenceTest(0.0, 0.0, 4).p == 1
    assert DifferenceTest(0.2, float("inf"), 4).p == 1


def test_few_groups_keep_the_level():
    """Four groups, each in favor of one run or the other: 5 % and 1 % of 2,000."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2000, 4))
    p = np.array([unit_test(m.var(ddof=1) / 4, m.mean(keepdims=True), 3).p for m in means])
    assert 0.035 < (p < 0.05).mean() < 0.065 and 0.004 < (p < 0.01).mean() < 0.018


@pytest.mark.slow
def test_the_best_of_equal_runs_is_not_called_better():
    """Ten equal runs on 200 clips, 300 times; the best is compared on the clips that chose it."""
    rng = np.random.default_rng(0)
    wrong = np.zeros(2)
    for _ in range(300):
        scores = rng.normal(size=(10, 200)) + rng.normal(size=200)
        ranked = scores[np.argsort(-scores.mean(axis=1))]
        p = {(a, b): ttest_rel(ranked[a], ranked[b]).pvalue for a in range(10) for b in range(a)}
        with_best = [p[a, 0] for a in range(1, 10)]
        others = [value for (_, b), value in p.items() if b]
        for k, family in enumerate((with_best, [*with_best, *others])):
            wrong[k] += min(holm(family)[:9]) < 0.05
    alone, all_pairs = wrong / 300
    assert alone > 0.09  # the others do not tell that the best was chosen
    assert all_pairs < 0.08  # 0.05, and two standard errors
