"""Divisions of clips: official ones as they are, made ones by groups, inner ones without a leak."""

from collections import Counter

import numpy as np
import pytest

from probekit.cards import Protocol, load_task_card
from probekit.data import manifest as manifests
from probekit.errors import DataError
from probekit.tasks import splits

NONE = np.array([], np.int64)


def make_clips(count: int = 60, classes: int = 3, target: str = "single", **columns):
    """Clips c000, c001 … whose classes take turns; columns are lists of text."""
    labels = {
        "single": lambda k: (f"class {k % classes}",),
        "multi": lambda k: tuple(f"tag {j}" for j in range(classes) if (k >> j) & 1),
        "regression": lambda k: (float(k),),
    }[target]
    rows = [
        {
            "clip_id": f"c{k:03d}",
            "path": f"c{k:03d}.wav",
            "labels": labels(k),
            **{name: values[k] for name, values in columns.items()},
        }
        for k in range(count)
    ]
    names = ["number"] if target == "regression" else None
    return manifests.from_rows("mine", rows, target=target, class_names=names)


def in_groups(count: int, size: int) -> list[str]:
    return [f"g{k // size}" for k in range(count)]


def same(found: list[splits.Split], expected: list[splits.Split]) -> bool:
    return len(found) == len(expected) and all(
        a.name == b.name and np.array_equal(a.train, b.train) and np.array_equal(a.test, b.test)
        for a, b in zip(found, expected, strict=True)
    )


# ---- a fixed split


def test_fixed_split_is_the_manifest_s_own():
    column = ["train"] * 30 + ["valid"] * 10 + ["test"] * 15 + [""] * 5
    (found,) = splits.make_splits(Protocol(kind="split"), make_clips(split=column))
    assert found.name == "test"
    assert list(found.train) == list(range(30))
    assert list(found.valid) == list(range(30, 40))
    assert list(found.test) == list(range(40, 55))  # and clips of no split are in none


@pytest.mark.parametrize(("refit", "rows"), [(True, [0, 1, 2, 3]), (False, [0, 1])])
def test_scored_probe_is_fitted_on_validation_clips_with_a_refit_only(refit, rows):
    split = splits.Split("test", np.array([0, 1]), np.array([2, 3]), np.array([4]))
    assert list(split.fit_rows(Protocol(kind="split", refit=refit))) == rows


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["train"] * 60, "mine: no clip has split 'test'"),
        (["test"] * 60, "mine: no clip has split 'train'"),
        (["valid", "test"] * 30, "mine: no clip has split 'train'"),
        (["train", "dev"] * 30, "split must be train, valid or test, got dev"),
    ],
)
def test_incomplete_split_is_refused(column, message):
    with pytest.raises(DataError, match=message):
        splits.make_splits(Protocol(kind="split"), make_clips(split=column))


# ---- official folds


def test_official_folds_are_tested_one_after_another_in_the_order_of_their_numbers():
    folds = [str(k % 12 + 1) for k in range(60)]
    found = splits.make_splits(Protocol(kind="folds"), make_clips(fold=folds))
    assert [split.name for split in found] == [str(k) for k in range(1, 13)]
    for split in found:
        assert {folds[k] for k in split.test} == {split.name}
        assert sorted([*split.train, *split.test]) == list(range(60))
        assert not len(split.valid)


def test_folds_with_names_keep_the_alphabet_s_order():
    found = splits.make_splits(
        Protocol(kind="folds"), make_clips(fold=["zoe", "10", "adam", "9"] * 15)
    )
    assert [split.name for split in found] == ["9", "10", "adam", "zoe"]


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (["1"] * 60, "cross-validation needs at least two folds, got only 1$"),
        (["1", "2", ""] * 20, "20 of 60 clips have no fold"),
        ([""] * 60, "60 of 60 clips have no fold"),
    ],
)
def test_folds_that_are_none_are_refused(folds, message):
    with pytest.raises(DataError, match=f"mine: {message}"):
        splits.make_splits(Protocol(kind="folds"), make_clips(fold=folds))


# ---- folds that are made


def test_made_folds_keep_classes_in_proportion():
    clips = make_clips(90, 3)
    found = splits.make_splits(Protocol(kind="made-folds", folds=5), clips)
    assert [split.name for split in found] == ["1", "2", "3", "4", "5"]
    for split in found:
        assert Counter(clips.targets()[split.test]) == {0: 6, 1: 6, 2: 6}
    assert sorted(np.concatenate([split.test for split in found])) == list(range(90))


def test_made_folds_follow_from_the_seed():
    clips = make_clips()
    seeds = [
        splits.make_splits(Protocol(kind="made-folds", folds=4, seed=s), clips) for s in (0, 0, 1)
    ]
    assert same(seeds[0], seeds[1])
    assert not same(seeds[0], seeds[2])


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
@pytest.mark.parametrize("seed", range(5))
def test_groups_never_cross_made_folds(target, seed):
    rng = np.random.default_rng(seed)
    groups = [f"g{k}" for k in rng.integers(0, 20, 120)]
    clips = make_clips(120, target=target, group=groups)
    protocol = Protocol(kind="made-folds", folds=4, seed=seed, grouped=True)
    for split in splits.make_splits(protocol, clips):
        assert not {groups[k] for k in split.train} & {groups[k] for k in split.test}


def test_clips_without_a_group_are_on_their_own_in_made_folds():
    clips = make_clips(60, group=[*in_groups(20, 4), *[""] * 40])
    found = splits.make_splits(Protocol(kind="made-folds", folds=5, grouped=True), clips)
    alone = [sum(k >= 20 for k in split.test) for split in found]
    assert min(alone) > 0  # not one group of 40


def test_groups_are_not_kept_together_unless_asked_for():
    groups = in_groups(60, 6)
    found = splits.make_splits(Protocol(kind="made-folds", folds=5), make_clips(group=groups))
    assert any({groups[k] for k in s.train} & {groups[k] for k in s.test} for s in found)


def test_a_clip_stays_in_its_made_fold_whichever_others_are_missing():
    whole = make_clips(90)
    rows = np.delete(np.arange(90), [0, 17, 18, 40, 77])
    protocol = Protocol(kind="made-folds", folds=5)
    fold = {whole.clip_ids[k]: s.name for s in splits.make_splits(protocol, whole) for k in s.test}
    some = whole.subset(rows)
    for split in splits.make_splits(protocol, some, whole):
        assert {fold[some.clip_ids[k]] for k in split.test} == {split.name}


@pytest.mark.parametrize(
    ("clips", "grouped", "message"),
    [
        (make_clips(60), True, "folds must not divide groups, but no clip has a group"),
        (make_clips(60, group=in_groups(60, 20)), True, "7 folds need at least 7 groups"),
        (make_clips(6), False, "7 folds need at least 7 clips"),
        (
            make_clips(12, classes=6),
            False,
            "7 folds need at least 7 clips, and at least 7 clips in the largest class",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused(clips, grouped, message):
    with pytest.raises(DataError, match=f"mine: {message}"):
        splits.make_splits(Protocol(kind="made-folds", folds=7, grouped=grouped), clips)


def test_groups_too_unlike_in_size_are_refused():
    sizes = [373, 3, 6, 8, 1]  # scikit-learn leaves one of five folds empty here
    groups = [f"g{k}" for k, size in enumerate(sizes) for _ in range(size)]
    rows = [
        {"clip_id": f"c{k}", "path": "", "labels": (str(int(group[1:]) % 4),), "group": group}
        for k, group in enumerate(groups)
    ]
    clips = manifests.from_rows("mine", rows)
    protocol = Protocol(kind="made-folds", folds=5, grouped=True)
    with pytest.raises(DataError, match="the groups are too unequal in size for 5 folds"):
        splits.make_splits(protocol, clips)
    for fit, held in splits.inner_cv(protocol, clips, np.arange(len(clips))):
        assert len(fit) and len(held)


# ---- inner divisions


def check_inner(protocol, clips, rows, unit):
    """All rows are held out once, none from outside, no unit on both sides."""
    pairs = splits.inner_cv(protocol, clips, rows)
    assert sorted(np.concatenate([held for _, held in pairs])) == sorted(rows)
    for fit, held in pairs:
        assert sorted([*fit, *held]) == sorted(rows)
        assert not {unit[k] for k in fit} & {unit[k] for k in held}
    return pairs


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
def test_inner_divisions_hold_out_whole_official_folds(target):
    folds = [str(k % 7) for k in range(140)]
    # groups that cross the folds must not matter
    clips = make_clips(140, target=target, fold=folds, group=in_groups(140, 10))
    protocol = Protocol(kind="folds", inner_folds=6)
    for split in splits.make_splits(protocol, clips):
        pairs = check_inner(protocol, clips, split.train, folds)
        assert [len({folds[k] for k in held}) for _, held in pairs] == [1] * 6


@pytest.mark.parametrize("target", ["single", "multi", "regression"])
@pytest.mark.parametrize("kind", ["split", "made-folds"])
def test_inner_divisions_keep_groups_whole(target, kind):
    groups = in_groups(120, 5)
    column = ["train" if k % 10 < 5 else "test" for k in range(120)]
    clips = make_clips(120, target=target, group=groups, split=column)
    protocol = Protocol(kind=kind, folds=3, grouped=kind == "made-folds")
    for split in splits.make_splits(protocol, clips):
        assert len(check_inner(protocol, clips, split.train, groups)) == 5


@pytest.mark.parametrize("kind", ["split", "made-folds"])
def test_inner_divisions_keep_pieces_whole(kind):
    """With groups or without, and where a piece has clips of two groups."""
    pieces = np.array([f"p{k // 3 % 20}" for k in range(120)])
    crossing = np.array([f"p{k}" for k in range(120)])
    crossing[[4, 5]], crossing[[50, 115]] = "a", "b"
    for groups, of_pieces in ((None, pieces), (in_groups(120, 5), crossing)):
        if groups is not None and kind == "made-folds":
            continue  # its groups count where the protocol says so, as of outer folds
        clips = make_clips(120, **({} if groups is None else {"group": groups}))
        pairs = splits.inner_cv(Protocol(kind=kind, folds=3), clips, np.arange(120), of_pieces)
        assert sorted(np.concatenate([scored for _, scored in pairs])) == list(range(120))
        for fit, scored in pairs:
            for unit in (of_pieces, groups):
                assert unit is None or not {unit[k] for k in fit} & {unit[k] for k in scored}
    with pytest.raises(DataError, match=r"all of one piece \('p0'\)"):
        rows = np.flatnonzero(pieces == "p0")
        splits.inner_cv(Protocol(kind="split"), make_clips(120), rows, pieces)


def test_inner_divisions_of_single_clips_keep_classes_in_proportion():
    clips = make_clips(150)
    rows = np.arange(0, 75)
    pairs = check_inner(Protocol(kind="made-folds", folds=2), clips, rows, clips.clip_ids)
    for _, held in pairs:
        assert Counter(clips.targets()[held]) == {0: 5, 1: 5, 2: 5}


@pytest.mark.parametrize("kind", ["split", "folds", "made-folds"])
def test_inner_divisions_never_hold_test_clips(kind):
    clips = make_clips(
        60, split=["train", "train", "test"] * 20, fold=[str(k // 15) for k in range(60)]
    )
    protocol = Protocol(kind=kind, folds=4)
    for split in splits.make_splits(protocol, clips):
        for pair in splits.inner_cv(protocol, clips, split.train):
            assert not set(np.concatenate(pair)) & set(split.test)


def test_there_are_no_more_inner_divisions_than_units():
    clips = make_clips(60, fold=["1", "2", "3", "4"] * 15)
    for split in splits.make_splits(Protocol(kind="folds", inner_folds=5), clips):
        assert len(splits.inner_cv(Protocol(kind="folds", inner_folds=5), clips, split.train)) == 3


def test_small_classes_make_fewer_inner_divisions():
    clips = make_clips(9, 3)
    pairs = splits.inner_cv(Protocol(kind="split"), clips, np.arange(9))
    assert len(pairs) == 3
    assert all(len(set(clips.targets()[fit])) == 3 for fit, _ in pairs)


def test_training_clips_that_cannot_be_divided_are_refused():
    clips = make_clips(60, group=["one"] * 60, fold=["1", "2"] * 30)
    with pytest.raises(DataError, match=r"are all of one group \('one'\): none can be held out"):
        splits.inner_cv(Protocol(kind="split"), clips, np.arange(60))
    with pytest.raises(DataError, match=r"are all of one fold \('2'\)"):
        splits.inner_cv(Protocol(kind="folds"), clips, np.arange(1, 60, 2))
    with pytest.raises(DataError, match="no class has two training clips"):
        splits.inner_cv(Protocol(kind="split"), make_clips(3, 3), np.arange(3))


# ---- a split made at random


def random_clips(labels, groups=None, target="single"):
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"c{k}.wav",
            "labels": own,
            "group": groups[k] if groups else "",
        }
        for k, own in enumerate(labels)
    ]
    return manifests.from_rows("t", rows, target=target)


def made_split(**more):
    return Protocol(kind="made-split", **{"test_share": 0.15, **more})


def test_made_split_keeps_classes_in_proportion():
    clips = random_clips([("x",)] * 200 + [("y",)] * 60 + [("z",)] * 20)
    [split] = splits.make_splits(made_split(), clips)
    assert (len(split.train), len(split.valid), len(split.test)) == (238, 0, 42)
    assert sorted([*split.train, *split.test]) == list(range(280))
    assert list(np.bincount(clips.targets()[split.test])) == [30, 9, 3]


def test_made_split_follows_from_its_seed_and_not_from_missing_clips():
    clips = random_clips([("x",), ("y",)] * 50)
    [one], [same], [other] = (splits.make_splits(made_split(seed=s), clips) for s in (1, 1, 2))
    assert list(one.test) == list(same.test) != list(other.test)
    few = clips.subset(range(5, 100))
    [part] = splits.make_splits(made_split(seed=1), few, clips)
    ids = clips.column("clip_id")
    assert set(few.column("clip_id")[part.test]) == set(ids[one.test]) - {f"c{k}" for k in range(5)}


def test_made_split_of_fma_medium_is_that_of_kim2018():
    """By the recipe that gives the authors' file in order (their clips a genre, seed and draws).

    Without the draw that is skipped 3 of 3,750 test clips differ, all of them Blues: the generator
    falls in step with the authors' after the first genre.
    """
    counts = [74, 619, 178, 21, 6314, 2251, 1519, 2201, 1350, 1018, 384, 510, 1186, 7103, 154, 118]
    tests = [11, 93, 27, 3, 947, 338, 228, 330, 202, 153, 58, 76, 178, 1065, 23, 18]
    genres = np.random.default_rng(1).permutation(np.repeat(np.arange(16), counts))
    clips = random_clips([(f"{genre:02}",) for genre in genres])
    protocol = load_task_card("fma-medium").protocol
    assert protocol.skip_draws == 1
    [split] = splits.make_splits(protocol, clips)
    generator, expected = np.random.RandomState(0), []
    generator.bytes(4)
    for genre, (count, n_test) in enumerate(zip(counts, tests, strict=True)):
        rows = np.flatnonzero(genres == genre)[generator.permutation(count)]
        expected += list(rows[count - n_test :])
    assert sorted(split.test) == sorted(expected) and len(expected) == 3750
    [plain] = splits.make_splits(protocol.model_copy(update={"skip_draws": 0}), clips)
    others = set(plain.test) - set(expected)
    assert len(others) == 3 and set(genres[list(others)]) == {0}


def test_draws_to_skip_are_stored_only_if_there_are_some():
    assert "skip_draws" not in made_split().model_dump(mode="json")
    assert made_split(skip_draws=1).model_dump(mode="json")["skip_draws"] == 1
    with pytest.raises(ValueError, match="skip_draws is for made-split"):
        Protocol(kind="folds", skip_draws=1)


@pytest.mark.parametrize("target", ["single", "multi"])
def test_made_split_keeps_groups_whole(target):
    groups = [f"g{k // 5}" for k in range(200)]
    clips = random_clips([("xy"[k % 2],) for k in range(200)], groups, target)
    [split] = splits.make_splits(made_split(test_share=0.2, grouped=True), clips)
    names = clips.column("group")
    assert not set(names[split.train]) & set(names[split.test])
    assert len(split.test) == 40


def test_made_split_of_too_few_clips_says_so():
    with pytest.raises(DataError, match="test clips cannot be drawn"):
        splits.make_splits(made_split(), random_clips([("x",), ("y",), ("y",)]))
    with pytest.raises(DataError, match="no clip has a group"):
        splits.make_splits(made_split(grouped=True), random_clips([("x",), ("y",)] * 20))
    with pytest.raises(ValueError, match="made-split needs test_share"):
        Protocol(kind="made-split")


def test_names_of_sides_are_listed_as_people_do():
    names = ["test", "10", "2", "theo", "train", "a", "valid", "2"]
    assert splits.sort_splits(names) == ["train", "valid", "test", "2", "10", "a", "theo"]
