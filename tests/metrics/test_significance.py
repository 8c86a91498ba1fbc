"""Tests of differences against textbook examples, scipy, and what they promise."""

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_rel

from probekit.metrics import bootstrap, metrics
from probekit.metrics.bootstrap import ResamplingUnits
from probekit.metrics.significance import bootstrap_p, corrected_t_test, holm

ACCURACY = metrics.get_metric("accuracy")


def test_corrected_t_of_an_example_by_hand():
    """Five folds: mean 0.02, variance 0.00025, a test clip for four training clips.

    t = 0.02 / sqrt((1/5 + 1/4) 0.00025) = 1.885618; with four degrees of freedom the distribution
    has a closed form.
    """
    t = 0.02 / np.sqrt(0.45 * 0.00025)
    assert t == pytest.approx(1.885618, abs=1e-6)
    share = t / np.sqrt(t**2 + 4)
    below = 0.5 + 0.25 * share * (3 - share**2)
    found = corrected_t_test(np.array([0.02, 0.01, 0.03, 0.00, 0.04]), 0.25)
    assert found == pytest.approx(2 * (1 - below), abs=1e-12)
    assert found == pytest.approx(0.1324, abs=1e-4)


def test_without_the_correction_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    for folds in (2, 3, 10, 50):
        one, other = rng.normal(0.6, 0.1, folds), rng.normal(0.55, 0.1, folds)
        expected = ttest_rel(one, other).pvalue
        assert corrected_t_test(one - other, 0.0) == pytest.approx(expected, rel=1e-9)
        assert corrected_t_test(other - one, 0.0) == pytest.approx(expected, rel=1e-9)
        assert corrected_t_test(one - other, 1 / 9) > expected


def test_t_of_equal_differences():
    assert corrected_t_test(np.zeros(5), 0.1) == 1
    assert corrected_t_test(np.full(5, 0.25), 0.1) == 0  # the bootstrap beside it has a floor


def test_holm_of_known_examples():
    # 4 × 0.005, 3 × 0.01, 2 × 0.03, and 0.04 not below the one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6, 0.7]) == [1, 1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_bootstrap_p_counts_changes_of_sign():
    assert bootstrap_p(np.ones(1000), 50) == pytest.approx(2 / 1001)
    assert bootstrap_p(np.zeros(1000), 50) == 1
    assert bootstrap_p(np.r_[-np.ones(24), np.ones(975)], 50) == pytest.approx(50 / 1000)
    assert bootstrap_p(np.r_[np.zeros(100), np.ones(899)], 50) == pytest.approx(202 / 1000)


def test_bootstrap_p_goes_on_where_no_sign_changes():
    """So that a correction for many comparisons leaves something to be seen."""
    drawn = 6 + np.random.default_rng(0).normal(size=1000)
    expected = 2 * student.sf(drawn.mean() / drawn.std(), 200)
    assert bootstrap_p(drawn, 200) == pytest.approx(expected) and expected < 1e-7
    assert holm([bootstrap_p(drawn, 200)] * 28)[0] < 1e-5
    assert bootstrap_p(drawn, 2) > 1e-3  # three units do not tell that much
    assert bootstrap_p(-drawn, 200) == bootstrap_p(drawn, 200)
    lopsided = np.r_[np.full(995, 0.1), np.full(4, -5.0)]  # the count is lower here
    assert bootstrap_p(lopsided, 200) == pytest.approx(2 * 5 / 1000)


@pytest.fixture
def rejected(monkeypatch):
    """How often simulated pairs of runs are told apart at 5 % and 0.5 %, by paired bootstrap."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)

    def share(first, second, rounds, grouped=False):
        count = np.zeros(2)
        for seed in range(rounds):
            rng = np.random.default_rng(seed)
            # what makes a clip hard is common to both runs
            hard = np.repeat(rng.normal(size=60), 2) if grouped else rng.normal(size=120)
            targets = np.arange(120) % 2
            runs = []
            for level in (first, second):
                # of a group all clips are judged alike
                noise = np.repeat(rng.normal(size=60), 2) if grouped else rng.normal(size=120)
                right = hard + noise < level
                runs.append(np.eye(2)[np.where(right, targets, 1 - targets)])
            groups = np.array([f"g{k // 2:02d}" if grouped else "" for k in range(120)])
            units = ResamplingUnits.from_groups(np.arange(120) // 60, groups)
            drawn = units.resample(ACCURACY, targets, runs)
            p = bootstrap_p(drawn[:, 0] - drawn[:, 1], units.degrees_of_freedom)
            count += p < np.array([0.05, 0.005])
        return count / rounds

    return share


def test_equal_runs_are_told_apart_one_time_in_twenty(rejected):
    # 5 %; the standard error of 200 rounds is 1.5 %, ties of accuracies make the test cautious
    often, seldom = rejected(0.8, 0.8, 200)
    assert 0.01 < often < 0.10 and seldom < 0.025


def test_equal_runs_whose_groups_agree_are_told_apart_no_more_often(rejected):
    often, seldom = rejected(0.8, 0.8, 200, grouped=True)
    assert 0.01 < often < 0.10 and seldom < 0.025


def test_runs_that_differ_are_told_apart(rejected):
    assert rejected(1.4, 0.2, 60)[0] > 0.9
