"""Two runs clip by clip."""

import numpy as np
import pytest

from probekit.errors import DataError
from probekit.scores import comparison, groups

FOLD = np.arange(24) // 8


def of(store, *names):
    return [groups.resolve_run(name, "mine", store.root) for name in names]


def test_clips_find_each_other_in_whatever_order_they_are(store):
    right = np.arange(24) % 3 > 0
    store.guess("a", right, FOLD)
    order = np.random.default_rng(0).permutation(24)
    targets = np.arange(24) % 2
    store.keep(
        "b",
        np.eye(2)[targets][order],
        targets[order],
        (2 - FOLD)[order],
        fold_names=["3", "2", "1"],
        clip_ids=[f"c{k}" for k in order],
    )
    [(one, other)] = comparison.align_predictions(*of(store, "a", "b"))
    assert list(one.clip_ids) == list(other.clip_ids) == [f"c{k}" for k in range(24)]
    assert one.folds == other.folds == ("1", "2", "3")
    assert np.array_equal(one.fold, FOLD) and np.array_equal(other.fold, FOLD)
    assert np.array_equal(other.scores, np.eye(2)[targets])


def test_only_clips_that_both_scored(store):
    store.guess("a", [True] * 24, FOLD)
    store.guess("b", [True] * 12, FOLD[:12])
    [(one, other)] = comparison.align_predictions(*of(store, "a", "b"))
    assert len(one.clip_ids) == len(other.clip_ids) == 12
    assert one.folds == ("1", "2")


def test_clips_of_other_folds_are_refused(store):
    store.guess("a", [True] * 24, FOLD)
    store.guess("b", [True] * 24, np.arange(24) % 3)
    with pytest.raises(DataError, match=r"a and b were scored in other folds: 16 of the 24 clips"):
        comparison.align_predictions(*of(store, "a", "b"))


def test_no_clip_in_common_is_refused(store):
    store.guess("a", [True] * 4)
    store.guess("b", [True] * 4, clip_ids=list("wxyz"))
    with pytest.raises(DataError, match="a and b have no test clip in common"):
        comparison.align_predictions(*of(store, "a", "b"))


def test_labels_that_differ_are_refused(store):
    store.keep("a", np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1])
    store.keep("b", np.eye(2)[[0, 1, 0, 1]], [0, 1, 1, 1])
    with pytest.raises(DataError, match="a and b: the labels of some clips differ"):
        comparison.align_predictions(*of(store, "a", "b"))


def test_clips_scored_in_several_splits_stay_apart(store):
    ids, fold = ["x", "y", "x", "z"], [0, 0, 1, 1]
    store.guess("a", [True, True, False, False], fold, clip_ids=ids)
    store.keep("b", np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1], fold, clip_ids=ids)
    [(one, _)] = comparison.align_predictions(*of(store, "a", "b"))
    assert list(zip(one.clip_ids, one.fold, strict=True)) == list(zip(ids, fold, strict=True))


@pytest.mark.parametrize(("first", "second", "pairs"), [(1, 3, 3), (3, 3, 3), (3, 2, 2), (1, 1, 1)])
def test_seeds_go_together(store, first, second, pairs):
    for name, seeds in (("a", first), ("b", second)):
        for seed in range(seeds):
            store.guess(name, np.arange(10) >= seed, seed=seed)
    found = comparison.align_predictions(*of(store, "a", "b"))
    assert len(found) == pairs

    def wrong(own):
        return int((own.scores.argmax(axis=1) != own.targets).sum())

    assert [wrong(b) for _, b in found] == [min(k, second - 1) for k in range(pairs)]
    assert [wrong(a) for a, _ in found] == [min(k, first - 1) for k in range(pairs)]
