"""Two runs class by class."""

import numpy as np
import pytest
from scipy.stats import binom, t

from probekit.analysis.class_differences import class_differences
from probekit.analysis.confusion import confusion
from probekit.errors import DataError, ProbekitError
from probekit.scores import groups


def runs(kept, right, targets, **others):
    """Two runs of as many classes, right with these chances."""
    classes = int(np.max(targets)) + 1
    for name, chance in right.items():
        rng = np.random.default_rng(len(name))
        hit = rng.uniform(size=len(targets)) < np.broadcast_to(chance, classes)[targets]
        kept.guess(name, np.where(hit, targets, (targets + 1) % classes), targets, **others)


def test_intervals_are_those_of_shares_and_p_is_mcnemar_s(kept):
    """For one label a clip, resampled recalls have the standard error of a mean."""
    targets = np.arange(900) % 3
    runs(kept, {"good": [0.9, 0.8, 0.5], "other": [0.5, 0.79, 0.5]}, targets)
    found = class_differences("good", "other", task="mine", reports=kept.root)
    for k in range(3):
        own = targets == k
        hits = []
        for name in ("good", "other"):
            rng = np.random.default_rng(len(name))
            chance = {"good": [0.9, 0.8, 0.5], "other": [0.5, 0.79, 0.5]}[name]
            hits.append((rng.uniform(size=900) < np.array(chance)[targets])[own])
        each = hits[0].astype(float) - hits[1]
        assert abs(found.difference[k] - each.mean()) < 1e-12
        error = each.std() / np.sqrt(300)
        # of a standard deviation of 1,000 draws: 2.2 % relative
        np.testing.assert_allclose((found.high[k] - found.low[k]) / (2 * 1.96), error, rtol=0.12)
        plus, minus = int((each > 0).sum()), int((each < 0).sum())
        expected = min(1, 2 * binom.cdf(min(plus, minus), plus + minus, 0.5))
        assert abs(found.p[k] - expected) < 1e-9
    assert found.significant.tolist() == [True, False, False]
    assert found.order[0] == 0 and (np.diff(found.difference[list(found.order)]) <= 0).all()
    assert found.rows()[0]["class"] == "class 0" and found.rows()[0]["units"] == 300
    assert found.score_name == "recall" and "900 test clips" in found.caption


def test_intervals_end_at_the_greatest_difference(kept):
    """Of a class with two clips one differs: 0.5 ± 12.7 · 0.5."""
    targets = np.array([0] * 40 + [1] * 2)
    kept.guess("good", targets, targets)
    kept.guess("other", np.where(np.arange(42) == 41, 0, targets), targets)
    result = class_differences("good", "other", task="mine", reports=kept.root)
    assert result.difference.tolist() == [0, 0.5]
    assert (result.low.tolist(), result.high.tolist()) == ([0, -1], [0, 1])


def test_scores_are_those_of_results_show_and_of_the_confusion_matrix(kept):
    fold = np.repeat([0, 1, 2], [200, 60, 40])
    targets = np.arange(300) % 3
    runs(kept, {"one": [0.9, 0.7, 0.5], "other": 0.6}, targets, fold=fold)
    found = class_differences("one", "other", task="mine", reports=kept.root)
    assert "300 test clips that both scored, all folds together, with" in found.caption
    assert found.facts()["class_scores"] == "all test clips"
    for k, name in enumerate(("one", "other")):
        [result] = groups.resolve_run(name, "mine", kept.root).results
        shown = [row["score"] for row in result["per_class"].values()]
        diagonal = np.diag(confusion(name, task="mine", reports=kept.root).proportions)
        np.testing.assert_allclose(found.scores[:, k], shown, rtol=1e-12)
        np.testing.assert_allclose(found.scores[:, k], diagonal, rtol=1e-12)


def test_swapped_runs_have_the_opposite_signs(kept):
    targets = np.arange(200) % 4
    runs(kept, {"one": 0.8, "other": 0.6}, targets)
    a = class_differences("one", "other", reports=kept.root)
    b = class_differences("other", "one", reports=kept.root)
    np.testing.assert_allclose(a.difference, -b.difference)
    np.testing.assert_allclose(a.low, -b.high)
    np.testing.assert_allclose(a.p, b.p)
    assert a.order == b.order[::-1] or len(set(a.difference)) < 4


def test_corrections(kept):
    targets = np.arange(1200) % 12
    runs(kept, {"one": np.linspace(0.55, 0.9, 12), "other": 0.55}, targets)
    holm = class_differences("one", "other", reports=kept.root)
    bh = class_differences("one", "other", reports=kept.root, correction="bh")
    np.testing.assert_array_equal(holm.p, bh.p)
    order = np.argsort(holm.p)
    steps = holm.p[order] * np.arange(12, 0, -1)
    np.testing.assert_allclose(
        holm.adjusted[order], np.minimum(np.maximum.accumulate(steps), 1), rtol=1e-12
    )
    steps = holm.p[order] * 12 / np.arange(1, 13)
    expected = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
    np.testing.assert_allclose(bh.adjusted[order], expected, rtol=1e-12)
    assert bh.significant.sum() >= holm.significant.sum() > 0
    assert holm.name == "differences-mine-one-other"
    assert bh.name == "differences-mine-one-other-correction-bh"
    assert "Benjamini" in bh.caption and "Holm" in holm.caption


def test_classes_of_few_clips_are_not_tested(kept):
    targets = np.array([0] * 40 + [1] * 9)
    kept.guess("one", targets, targets)
    kept.guess("other", [1] * 20 + [0] * 20 + [0] * 9, targets)
    found = class_differences("one", "other", reports=kept.root)
    assert found.units.tolist() == [40, 9] and found.difference.tolist() == [0.5, 1.0]
    assert found.significant.tolist() == [True, False] and np.isnan(found.p[1])
    assert "1 with fewer than 10 test units are not tested" in found.caption
    few = class_differences("other", "one", reports=kept.root)
    assert few.order == (0, 1)  # it is shown all the same


def test_groups_are_what_counts(kept):
    targets = np.arange(80) % 2
    groups = [f"g{k // 16}" for k in range(80)]
    runs(kept, {"one": 0.95, "other": 0.4}, targets, groups=groups)
    found = class_differences("one", "other", reports=kept.root)
    assert found.units.tolist() == [5, 5] and not found.significant.any()


def test_runs_that_do_not_differ_get_no_marks(kept):
    """Of 8 sets of 50 classes without any difference, few get a mark."""
    wrong = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        targets = np.arange(1500) % 50
        for name in ("one", "other"):
            hit = rng.uniform(size=1500) < 0.6
            kept.guess(f"{name}{seed}", np.where(hit, targets, (targets + 1) % 50), targets)
        found = class_differences(f"one{seed}", f"other{seed}", reports=kept.root)
        wrong += bool(found.significant.any())
    assert wrong <= 3  # more has a probability below 0.001 if 5 % of sets get a mark


def test_tags_and_numbers_and_metrics_where_lower_is_better(kept):
    rng = np.random.default_rng(0)
    hot = (rng.uniform(size=(300, 4)) < 0.3).astype(int)
    hot[:, 3] = 0  # no clip has it
    for name, noise in (("one", 1.0), ("other", 3.0)):
        kept.run(name, hot + noise * rng.normal(size=hot.shape), hot, target="multi",
                 metric="roc-auc")  # fmt: skip
    found = class_differences("one", "other", reports=kept.root)
    assert (found.difference[:3] > 0).all() and np.isnan(found.difference[3])
    assert sorted(found.order) == [0, 1, 2] and found.rows()[-1]["class"] == "class 3"
    assert found.score_name == "ROC-AUC" and "1 classes have no defined score" in found.caption
    z = found.difference[0] / ((found.high[0] - found.low[0]) / 3.92)
    # the interval's ends are of 1,000 draws, and the distribution is not quite normal
    assert abs(t.isf(found.p[0] / 2, found.units[0] - 1) - z) < 0.15 * z and not found.exact
    other = class_differences("one", "other", reports=kept.root, metric="pr-auc")
    assert other.name.endswith("metric-pr-auc") and other.metric == "pr-auc"
    loss = class_differences("one", "other", reports=kept.root, metric="log-loss")
    assert not loss.higher_is_better and loss.order[0] == int(np.nanargmin(loss.difference))


def test_seeds_are_averaged(kept):
    targets = np.arange(120) % 3
    for seed in range(2):
        rng = np.random.default_rng(seed)
        said = np.where(rng.uniform(size=120) < 0.8, targets, (targets + 1) % 3)
        kept.guess("one", said, targets, seed=seed, probe="mlp")
    kept.guess("other", (targets + 1) % 3, targets)
    found = class_differences("one/mlp", "other", reports=kept.root)
    each = [np.random.default_rng(s).uniform(size=120) < 0.8 for s in range(2)]
    expected = np.mean([[hit[targets == k].mean() for k in range(3)] for hit in each], axis=0)
    np.testing.assert_allclose(found.difference, expected)
    assert len(found.facts()["runs"]) == 3


def test_what_cannot_be_compared_is_said(kept):
    targets = np.arange(30) % 3
    runs(kept, {"one": 0.9, "other": 0.5}, targets)
    with pytest.raises(DataError, match="the same run"):
        class_differences("one", "one", reports=kept.root)
    with pytest.raises(DataError, match="needs multi targets; those of mine are single"):
        class_differences("one", "other", reports=kept.root, metric="roc-auc")
    with pytest.raises(ProbekitError, match="unknown correction"):
        class_differences("one", "other", reports=kept.root, correction="none")
    kept.guess("away", targets, targets, task="theirs")
    with pytest.raises(DataError, match="only runs of one task"):
        class_differences("one", "away", reports=kept.root)
    kept.guess("more", targets, targets, classes=5)
    with pytest.raises(DataError, match=r"on different classes of .* \(3 and 5\)"):
        class_differences("one", "more", reports=kept.root)
