"""Paired comparison of stored runs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp, ttest_rel
from scipy.stats import t as student

import probekit
from probekit.errors import DataError, UnknownNameError
from probekit.metrics.significance import corrected_t, holm, variance_components
from probekit.scores import comparison
from probekit.scores.groups import load_groups, resolve_run

RNG = np.random.default_rng(0)
FOLD = np.arange(200) // 40
GOOD, BAD = RNG.random(200) < 0.9, RNG.random(200) < 0.5
EACH = [GOOD[rows].mean() - BAD[rows].mean() for rows in np.arange(200).reshape(5, 40)]


def compare(store, *names, **others):
    return comparison.compare(*names, task="mine", reports=store.root, **others)


def test_the_public_function_reads_the_reports_folder_of_the_environment(store, monkeypatch):
    store.guess("good", GOOD, FOLD, train=160)
    store.guess("bad", BAD, FOLD, train=160)
    monkeypatch.setenv("PROBEKIT_REPORTS", str(store.root))
    assert probekit.compare("good", "bad", task="mine") == compare(store, "good", "bad")


def test_a_better_run_is_told_from_a_worse_one(store):
    store.guess("good", GOOD, FOLD, train=160)
    store.guess("bad", BAD, FOLD, train=160)
    [one] = compare(store, "good", "bad")
    assert one.scores == (pytest.approx(GOOD.mean()), pytest.approx(BAD.mean()))
    assert one.difference == pytest.approx(GOOD.mean() - BAD.mean())
    assert one.low < one.difference < one.high
    assert (one.verdict, one.repeats, one.clips, one.notes) == ("first", 5, 200, ())
    # the bootstrap's variance of a mean is known: that of the clips' differences
    gains = (GOOD.astype(float) - BAD).reshape(5, 40)
    differing = int((gains != 0).sum())
    expected = variance_components(
        gains.mean(axis=1), gains.var(axis=1, ddof=1) / 40, differing - 1, 40 / 160
    )
    assert one.standard_error == pytest.approx(expected.standard_error, rel=0.05)  # 1,000 draws
    assert one.degrees_of_freedom == pytest.approx(expected.degrees_of_freedom, rel=0.1)
    assert one.test == "clips and folds" and one.p == one.adjusted < 1e-4
    [other] = compare(store, "bad", "good")
    assert (other.verdict, other.p) == ("second", one.p)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


def test_the_corrected_t_test_can_be_asked_for(store):
    store.guess("good", GOOD, FOLD, train=160)
    store.guess("bad", BAD, FOLD, train=160)
    [one] = compare(store, "good", "bad", test="corrected-t")
    expected = corrected_t(np.array(EACH), 40 / 160)
    assert (one.p, one.test) == (pytest.approx(expected.p), "folds, corrected")
    assert (one.low, one.high) == pytest.approx(expected.interval())
    [clips] = compare(store, "good", "bad", test="units")
    assert clips.test == "clips"
    with pytest.raises(UnknownNameError, match="unknown test 'corrected'"):
        compare(store, "good", "bad", test="corrected")
    store.guess("one split", GOOD)
    store.guess("another", BAD)
    with pytest.raises(DataError, match="corrected-t needs folds or seeds, got one split"):
        compare(store, "one split", "another", test="corrected-t")


def test_probabilities_of_practical_equivalence(store):
    """Corani and Benavoli (2015): Student's t with the scale of the corrected t-test."""
    store.guess("good", GOOD, FOLD, train=160)
    store.guess("bad", BAD, FOLD, train=160)
    [one] = compare(store, "good", "bad", test="corrected-t", rope=0.3)
    scale = np.sqrt((1 / 5 + 40 / 160) * np.var(EACH, ddof=1))
    posterior = student(4, np.mean(EACH), scale)
    expected = [posterior.sf(0.3), posterior.cdf(0.3) - posterior.cdf(-0.3), posterior.cdf(-0.3)]
    assert one.probabilities == pytest.approx(expected) and one.rope == 0.3
    [plain] = compare(store, "good", "bad")
    assert plain.rope is None and plain.probabilities is None
    with pytest.raises(DataError, match="--rope must be ≥ 0 and finite, got -1"):
        compare(store, "good", "bad", rope=-1)


def test_a_clip_that_is_scored_in_several_splits_is_no_new_evidence(store):
    """Of repeated splits only the corrected t-test over splits is right."""
    ids = [f"c{k}" for k in range(40)] * 5
    store.guess("good", GOOD, FOLD, train=160, clip_ids=ids)
    store.guess("bad", BAD, FOLD, train=160, clip_ids=ids)
    [one] = compare(store, "good", "bad")
    assert one.test == "folds, corrected"
    assert one.p == pytest.approx(corrected_t(np.array(EACH), 40 / 160).p)
    [clips] = compare(store, "good", "bad", test="units")
    gains = (GOOD.astype(float) - BAD).reshape(5, 40)
    assert clips.standard_error == pytest.approx(
        np.sqrt((gains.var(axis=1, ddof=1) / 40).mean()), rel=0.05
    )


def test_few_groups_are_a_t_test_over_groups(store):
    """Four groups of fifty clips each: p of the t-test of their four differences."""
    rng = np.random.default_rng(1)
    gain = np.repeat([0.9, 0.7, 0.8, 0.75], 50)
    right, wrong = rng.random(200) < gain, rng.random(200) < 0.6
    groups = np.repeat(list("abcd"), 50)
    store.guess("a", right, groups=groups)
    store.guess("b", wrong, groups=groups)
    [one] = compare(store, "a", "b")
    means = (right.astype(float) - wrong).reshape(4, 50).mean(axis=1)
    expected = ttest_1samp(means, 0)
    assert one.degrees_of_freedom == 3
    assert one.p == pytest.approx(expected.pvalue, rel=0.25)  # the variance is of 1,000 draws
    assert one.standard_error == pytest.approx(means.std(ddof=1) / 2, rel=0.05)
    assert "4 groups of test clips: few" in one.notes[0]


def test_few_clips_that_differ_tell_little(store):
    """Of 300 clips five differ, all for one run: the exact test of the signs says p = 1/16."""
    right = np.ones(300, bool)
    store.guess("a", right)
    store.guess("b", np.arange(300) >= 5)
    [one] = compare(store, "a", "b")
    assert binomtest(5, 5).pvalue == 0.0625
    assert one.p > 0.0625 and one.degrees_of_freedom == 4


def test_the_smallest_difference_that_would_be_found(store):
    """Simulated: of true differences of that size, 80 % are significant."""
    store.guess("good", GOOD, FOLD, train=160)
    store.guess("bad", BAD, FOLD, train=160)
    [one] = compare(store, "good", "bad")
    rng, df = np.random.default_rng(0), one.degrees_of_freedom
    drawn = one.detectable + one.standard_error * rng.normal(size=20000)
    errors = one.standard_error * np.sqrt(rng.chisquare(df, 20000) / df)
    found = (np.abs(drawn / errors) > student.isf(0.025, df)).mean()
    assert found == pytest.approx(0.8, abs=0.02)


def test_no_difference_is_found_with_one_degree_of_freedom(store):
    """Two groups: by their spread, even an accuracy of 0 against 1 would pass for chance."""
    wrong = np.arange(200) < 40  # all in one of the two
    groups = np.repeat(["a", "b"], 100)
    store.guess("all", ~np.zeros(200, bool), groups=groups)
    store.guess("most", ~wrong, groups=groups)
    [one] = compare(store, "all", "most")
    quantiles = student.isf([0.025, 0.2], 1).sum()
    assert one.degrees_of_freedom == 1
    assert one.detectable == pytest.approx(quantiles * 0.2, rel=0.05)  # of means 0.4 and 0
    assert (one.power, one.verdict) == ("none", "not distinguishable")
    assert (one.low, one.high) == (-1, 1)  # not 0.2 ± 12.7 · 0.2
    assert one.p == pytest.approx(0.5, abs=0.02)  # of t = 1
    assert replace(one, metric="log-loss").power == f"{one.detectable:.3f}"  # may differ by more


def test_the_interval_is_that_of_the_paired_differences(store):
    """Against a normal approximation: the clips that only one has right decide."""
    store.guess("good", GOOD)
    store.guess("bad", BAD)
    [one] = compare(store, "good", "bad")
    own = GOOD.astype(float) - BAD
    reach = 1.96 * own.std() / np.sqrt(200)
    assert (one.high - one.low) / 2 == pytest.approx(reach, rel=0.1)
    assert one.test == "clips" and one.repeats == 1  # one split, one seed


def test_equal_predictions_cannot_be_told_apart_and_are_not_called_equal(store):
    store.guess("a", GOOD, FOLD)
    store.guess("b", GOOD, FOLD)
    [one] = compare(store, "a", "b")
    assert (one.difference, one.standard_error, one.p, one.adjusted) == (0, 0, 1, 1)
    assert (one.verdict, one.power) == ("not distinguishable", "–")


def test_a_difference_of_one_fold_alone_is_not_significant(store):
    better = np.arange(40) < 20  # all of one fold's clips, none of the others'
    store.guess("a", np.r_[[True] * 40, [False] * 160], FOLD)
    store.guess("b", np.r_[~better, [False] * 160], FOLD)
    assert compare(store, "a", "b", test="units")[0].p < 0.01
    [one] = compare(store, "a", "b")
    assert one.p > 0.3  # of five folds one differs
    assert one.verdict == "not distinguishable"


def test_lower_is_better_where_the_metric_says_so(store):
    truth = RNG.normal(size=(60, 2))
    for name, noise in (("near", 0.1), ("far", 1.0)):
        scores = truth + noise * RNG.normal(size=(60, 2))
        store.keep(name, scores, truth, np.arange(60) % 3, target="regression", metric="mae")
    [one] = compare(store, "near", "far")
    assert one.difference < 0 and one.verdict == "first"
    best, tests = comparison.compare_with_best(load_groups("mine", store.root))
    assert best.label == "near" and tests[0].verdict == "first"
    [other] = compare(store, "near", "far", metric="r2")
    assert other.metric == "r2" and other.difference > 0.5


def test_groups_are_drawn_whole(store):
    """Ten clips a group that are all right or all wrong: as sure as of a tenth of the clips."""
    right = np.repeat(RNG.random(30) < 0.9, 10)
    wrong = np.repeat(RNG.random(30) < 0.6, 10)
    groups = [f"g{k // 10}" for k in range(300)]
    store.guess("a", right, groups=groups)
    store.guess("b", wrong, groups=groups)
    store.guess("c", right, number="alone")
    store.guess("d", wrong, number="alone")
    [grouped], [alone] = compare(store, "a", "b"), compare(store, "c", "d")
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_many_comparisons_are_adjusted(store):
    for k, share in enumerate((0.9, 0.75, 0.7)):
        store.guess(f"run-{k}", RNG.random(200) < share)
    found = compare(store, "run-0", "run-1", "run-2")
    assert [(one.first, one.second) for one in found] == [
        ("run-0", "run-1"),
        ("run-0", "run-2"),
        ("run-1", "run-2"),
    ]
    assert [one.adjusted for one in found] == holm([one.p for one in found])
    assert found[0].p < 0.05


def test_seeds_of_a_fixed_split_are_a_paired_t_test(store):
    count = {"a": [81, 84, 80], "b": [70, 77, 75]}
    for name, numbers in count.items():
        for seed, right in enumerate(numbers):
            store.guess(name, np.arange(100) < right, seed=seed, probe="mlp")
    [one] = compare(store, "a/mlp", "b/mlp")
    assert one.repeats == 3
    [seeds] = compare(store, "a/mlp", "b/mlp", test="corrected-t")
    assert seeds.p == pytest.approx(ttest_rel(*count.values()).pvalue)
    # clips and seeds vary independently
    [clips] = compare(store, "a/mlp", "b/mlp", test="units")
    assert one.test == "clips and seeds"
    assert one.standard_error**2 == pytest.approx(seeds.standard_error**2 + clips.standard_error**2)
    assert clips.degrees_of_freedom > one.degrees_of_freedom > 2
    assert one.scores == (pytest.approx(0.81666667), pytest.approx(0.74))
    assert one.notes == ("a / mlp: mean of 3 seeds", "b / mlp: mean of 3 seeds")


def test_seeds_do_not_make_folds_more(store):
    """The same again with another seed is no new evidence."""
    for seed in range(4):
        store.guess("a", GOOD, FOLD, seed=seed, probe="mlp")
        store.guess("b", BAD, FOLD, seed=seed, probe="mlp")
    store.guess("c", GOOD, FOLD)
    store.guess("d", BAD, FOLD)
    [many], [once] = compare(store, "a/mlp", "b/mlp"), compare(store, "c", "d")
    assert many.repeats == once.repeats == 5
    assert many.p == pytest.approx(once.p)
    assert (many.low, many.high) == pytest.approx((once.low, once.high))


def test_the_smaller_training_set_decides_the_correction(store):
    store.guess("a", GOOD, FOLD, train=160)
    store.guess("b", BAD, FOLD, train=16, fraction=0.1)
    store.guess("c", BAD, FOLD, train=160)
    pairs = ("a", "b"), ("b", "a"), ("a", "c")
    p = [compare(store, *pair, test="corrected-t")[0].p for pair in pairs]
    expected = [corrected_t(np.array(EACH), 40 / train).p for train in (16, 16, 160)]
    assert p == pytest.approx(expected)


def test_what_must_be_said_is_said_of_whom_it_concerns(store):
    store.guess("a", [True] * 20, provenance=["imported embeddings", "random weights (seed 0)"])
    store.guess("b", [True, False] * 5, provenance=["imported embeddings"])
    [one] = compare(store, "a", "b")
    assert one.notes == (
        "a, b: on the 10 test clips that both scored, of up to 20",
        "imported embeddings",
        "a: random weights (seed 0)",
    )
    assert (
        compare(store, "b", "a")[0].notes[0].endswith("10 test clips that both scored, of up to 20")
    )


def test_what_cannot_be_compared(store):
    store.guess("a", [True] * 4)
    store.guess("b", [True] * 4, task="other")
    store.keep("c", np.eye(3)[[0, 1, 2]], [0, 1, 2])
    with pytest.raises(DataError, match="compare needs at least two runs"):
        compare(store, "a")
    with pytest.raises(DataError, match="the compared runs must differ, got twice: a-"):
        compare(store, "a", "a")
    with pytest.raises(DataError, match="a was scored on mine, b on other"):
        comparison.compare("a", "b", reports=store.root)
    with pytest.raises(
        DataError, match=r"a and c were scored on different classes of mine \(2 and 3\)"
    ):
        compare(store, "a", "c")
    store.guess("d", [True] * 4)
    with pytest.raises(
        DataError, match="--metric roc-auc needs multi targets; those of mine are si"
    ):
        compare(store, "a", "d", metric="roc-auc")
    with pytest.raises(DataError, match="--metric key-score on mine: the classes must be the 24"):
        compare(store, "a", "d", metric="key-score")
    with pytest.raises(UnknownNameError, match="unknown metric 'acuracy'"):
        compare(store, "a", "d", metric="acuracy")


def test_a_metric_that_the_common_clips_do_not_define(store):
    targets = np.array([[1], [0], [0], [0]])
    store.keep("a", RNG.random((4, 1)), targets, target="multi", metric="pr-auc")
    store.keep(
        "b",
        RNG.random((4, 1)),
        targets[[1, 2, 3, 0]],
        target="multi",
        metric="pr-auc",
        clip_ids=["c1", "c2", "c3", "x"],
    )
    with pytest.raises(DataError, match="not defined on the clips that both scored in fold 1"):
        compare(store, "a", "b")


def test_the_best_is_tested_against_all_others(store):
    store.guess("bad", BAD)
    store.guess("good", GOOD)
    store.guess("nearly", GOOD & (np.arange(200) > 2))
    best, tests = comparison.compare_with_best(load_groups("mine", store.root))
    assert best.label == "good"
    assert [(one.second, one.verdict) for one in tests] == [
        ("nearly", "not distinguishable"),
        ("bad", "first"),
    ]
    [others] = compare(store, "nearly", "bad")
    assert [one.adjusted for one in tests] == holm([*(one.p for one in tests), others.p])[:2]


def test_a_pair_on_other_clips_counts_as_untested(store):
    """So that it does not make the correction for the others smaller."""
    store.guess("good", GOOD)
    store.guess("bad", BAD)
    store.guess("half", GOOD[:100] & (np.arange(100) > 2))
    _, tests = comparison.compare_with_best(load_groups("mine", store.root))
    assert [one.adjusted for one in tests] == holm([*(one.p for one in tests), 1.0])[:2]


def test_results_of_two_metrics_have_no_best(store):
    store.guess("a", GOOD)
    store.guess("b", BAD, metric="balanced-accuracy")
    with pytest.raises(DataError, match=r"different metrics \(accuracy, balanced-accuracy\)"):
        comparison.compare_with_best(load_groups("mine", store.root))


# ---- alignment

FOLDS = np.arange(24) // 8


def load(store, *names):
    return [resolve_run(name, "mine", store.root) for name in names]


def test_clips_find_each_other_in_whatever_order_they_are(store):
    right = np.arange(24) % 3 > 0
    store.guess("a", right, FOLDS)
    order = np.random.default_rng(0).permutation(24)
    targets = np.arange(24) % 2
    store.keep(
        "b",
        np.eye(2)[targets][order],
        targets[order],
        (2 - FOLDS)[order],
        fold_names=["3", "2", "1"],
        clip_ids=[f"c{k}" for k in order],
    )
    [(one, other)] = comparison.align_predictions(*load(store, "a", "b"))
    assert list(one.clip_ids) == list(other.clip_ids) == [f"c{k}" for k in range(24)]
    assert one.folds == other.folds == ("1", "2", "3")
    assert np.array_equal(one.fold, FOLDS) and np.array_equal(other.fold, FOLDS)
    assert np.array_equal(other.scores, np.eye(2)[targets])


def test_only_clips_that_both_scored(store):
    store.guess("a", [True] * 24, FOLDS)
    store.guess("b", [True] * 12, FOLDS[:12])
    [(one, other)] = comparison.align_predictions(*load(store, "a", "b"))
    assert len(one.clip_ids) == len(other.clip_ids) == 12
    assert one.folds == ("1", "2")


def test_clips_of_other_folds_are_refused(store):
    store.guess("a", [True] * 24, FOLDS)
    store.guess("b", [True] * 24, np.arange(24) % 3)
    with pytest.raises(DataError, match=r"a and b were scored in other folds: 16 of the 24 clips"):
        comparison.align_predictions(*load(store, "a", "b"))


def test_no_clip_in_common_is_refused(store):
    store.guess("a", [True] * 4)
    store.guess("b", [True] * 4, clip_ids=list("wxyz"))
    with pytest.raises(DataError, match="a and b have no test clip in common"):
        comparison.align_predictions(*load(store, "a", "b"))


def test_labels_that_differ_are_refused(store):
    store.keep("a", np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])
    store.keep("b", np.eye(2)[[0, 1, 0, 1]], [0, 1, 1, 1])
    with pytest.raises(DataError, match="a and b: the labels of some clips differ"):
        comparison.align_predictions(*load(store, "a", "b"))


def test_clips_scored_in_several_splits_stay_apart(store):
    ids, fold = ["x", "y", "x", "z"], [0, 0, 1, 1]
    store.guess("a", [True, True, False, False], fold, clip_ids=ids)
    store.keep("b", np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1], fold, clip_ids=ids)
    [(one, _)] = comparison.align_predictions(*load(store, "a", "b"))
    assert list(zip(one.clip_ids, one.fold, strict=True)) == list(zip(ids, fold, strict=True))


@pytest.mark.parametrize(("first", "second", "pairs"), [(1, 3, 3), (3, 3, 3), (3, 2, 2), (1, 1, 1)])
def test_seeds_go_together(store, first, second, pairs):
    for name, seeds in (("a", first), ("b", second)):
        for seed in range(seeds):
            store.guess(name, np.arange(10) >= seed, seed=seed)
    found = comparison.align_predictions(*load(store, "a", "b"))
    assert len(found) == pairs

    def wrong(own):
        return int((own.scores.argmax(axis=1) != own.targets).sum())

    assert [wrong(b) for _, b in found] == [min(k, second - 1) for k in range(pairs)]
    assert [wrong(a) for a, _ in found] == [min(k, first - 1) for k in range(pairs)]
