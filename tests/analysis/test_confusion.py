"""Confusion matrices against scikit-learn's, and their order."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from probekit.analysis.confusion import confusion
from probekit.errors import DataError, ProbekitError


def test_counts_are_scikit_learn_s(kept):
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 5, 200), rng.normal(size=(200, 5))
    run = kept.run("made", scores, targets, fold=np.arange(200) % 3)
    found = confusion(run[:8], reports=kept.root)
    expected = confusion_matrix(targets, scores.argmax(axis=1))
    np.testing.assert_array_equal(found.counts, expected)
    normal = confusion_matrix(targets, scores.argmax(axis=1), normalize="true")
    np.testing.assert_allclose(found.proportions, normal, rtol=1e-12)
    rows = found.rows()
    assert sum(row["clips"] for row in rows) == 200
    right = [row["class"] == row["predicted"] for row in rows]
    assert right == sorted(right)  # what was right stands last
    assert rows[0]["clips"] == (expected - np.diag(np.diag(expected))).max()
    assert "3 folds together" in found.caption and found.facts()["runs"][0]["run"] == run


def test_confused_classes_stand_side_by_side(kept):
    said = [0, 3, 0, 3, 1, 4, 4, 1, 2, 2, 5, 5]
    true = [3, 0, 0, 3, 4, 1, 4, 1, 2, 2, 5, 5]
    kept.guess("made", said, true)
    order = confusion("made", task="mine", reports=kept.root).order
    for one, other in ((0, 3), (1, 4)):
        assert abs(order.index(one) - order.index(other)) == 1
    plain = confusion("made", reports=kept.root, order="labels")
    assert plain.order == tuple(range(6)) and plain.name == "confusion-mine-made-order-labels"


def test_seeds_count_together_and_a_class_without_clips_is_not_zero(kept):
    for seed, said in enumerate(([0, 1, 1], [0, 0, 1])):
        kept.guess("made", said, [0, 1, 1], classes=3, seed=seed, provenance=["random weights"])
    found = confusion("made", reports=kept.root)
    np.testing.assert_array_equal(found.counts, [[2, 0, 0], [1, 3, 0], [0, 0, 0]])
    assert np.isnan(found.proportions[2]).all()
    assert "2 seeds together" in found.caption and found.caption.endswith("Random weights.")


def test_one_and_two_classes(kept):
    kept.guess("one", [0, 0], [0, 0], classes=1)
    assert confusion("one", reports=kept.root).order == (0,)
    kept.guess("two", [0, 1, 1], [0, 1, 0])
    assert sorted(confusion("two", reports=kept.root).order) == [0, 1]


def test_several_labels_and_numbers_are_refused(kept):
    hot = np.random.default_rng(0).integers(0, 2, (30, 3))
    kept.run("tags", hot + 0.0, hot, target="multi", metric="roc-auc")
    with pytest.raises(DataError, match=r"several labels per clip.*probekit results show"):
        confusion("tags", reports=kept.root)
    kept.run("numbers", hot + 0.5, hot + 0.0, target="regression", metric="mae")
    with pytest.raises(DataError, match="has numbers"):
        confusion("numbers", reports=kept.root)


def test_nothing_there_says_which_command_makes_it(kept):
    with pytest.raises(DataError, match=r"no results yet.*probekit evaluate --task TASK -e NAME"):
        confusion("made", reports=kept.root)
    kept.guess("made", [0, 1], [0, 1])
    with pytest.raises(DataError, match=r"no results of other yet.*--task other"):
        confusion("made", task="other", reports=kept.root)
    with pytest.raises(DataError, match="no run 'mad'"):
        confusion("mad", reports=kept.root)
    with pytest.raises(ProbekitError, match="unknown order"):
        confusion("made", reports=kept.root, order="size")
