import hashlib
from itertools import combinations, pairwise

import numpy as np
import pytest

from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.errors import ProbekitError
from probekit.tasks import splits
from probekit.tasks.subsample import check_fraction, draw_facts, subsample_labels

PROTOCOL = Protocol(kind="split")
CLASSES = ["often"] * 160 + ["seldom"] * 30 + ["once"] * 4


def draw(target="single", keep=slice(None)):
    parts = ["train", "train", "train", "valid", "test"]
    rows = [
        {
            "clip_id": f"c{k}",
            "path": "",
            "labels": (0.5,) if target == "regression" else (name,),
            "split": parts[k % 5],
        }
        for k, name in enumerate(CLASSES)
    ]
    names = ["n"] if target == "regression" else ["often", "once", "seldom"]
    clips = manifests.from_rows("mine", rows[keep], target=target, class_names=names)
    (split,) = splits.make_splits(PROTOCOL, clips)
    return clips, split


def ids(clips, rows):
    return set(clips.column("clip_id")[rows])


def taken(fraction, seed=0, **others):
    clips, split = draw(**others)
    found = subsample_labels(split, fraction, clips.targets(), clips, seed)
    return clips, split, found


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 0.5, 0.9])
def test_each_class_keeps_its_share_and_at_least_one(fraction):
    clips, split, found = taken(fraction)
    targets = clips.targets()
    for part in ("train", "valid"):
        whole, some = (np.bincount(targets[getattr(s, part)]) for s in (split, found))
        assert np.array_equal(some, np.maximum(1, np.round(fraction * whole)))
        assert set(getattr(found, part)) <= set(getattr(split, part))
    assert np.array_equal(found.test, split.test)


def test_smaller_shares_are_among_larger_ones():
    sets = [ids(taken(f)[0], taken(f)[2].train) for f in (0.05, 0.1, 0.3, 0.7, 1)]
    for small, large in pairwise(sets):
        assert small < large


def test_other_seeds_draw_other_clips_and_the_same_seed_the_same():
    clips, _, one = taken(0.3, seed=1)
    assert ids(clips, one.train) == ids(clips, taken(0.3, seed=1)[2].train)
    assert ids(clips, one.train) != ids(clips, taken(0.3, seed=2)[2].train)


def in_folds(fraction, seed=0):
    rows = [
        {"clip_id": f"c{k}", "path": "", "labels": (name,), "fold": "abcde"[k % 5]}
        for k, name in enumerate(CLASSES * 2)
    ]
    clips = manifests.from_rows("mine", rows)
    divided = splits.make_splits(Protocol(kind="folds"), clips)
    targets = clips.targets()
    return clips, [subsample_labels(s, fraction, targets, clips, seed) for s in divided]


def test_every_fold_draws_anew():
    """Clips that two folds may both draw are common to them as often as by chance."""
    clips, drawn = in_folds(0.3)
    common = []
    for one, other in combinations(drawn, 2):
        both = np.intersect1d(one.train, other.train)
        # of the clips that neither tests, a share of 0.3 of 0.3
        shared = len(clips) - len(one.test) - len(other.test)
        common.append(len(both) / shared)
    # mean of ten pairs of some 230 clips each: standard error below 0.01
    assert abs(np.mean(common) - 0.09) < 0.03
    again = in_folds(0.3)[1]
    assert all(np.array_equal(a.train, b.train) for a, b in zip(drawn, again, strict=True))
    other_seed = in_folds(0.3, seed=1)[1]
    assert not np.array_equal(drawn[0].train, other_seed[0].train)


def test_smaller_shares_are_among_larger_ones_in_every_fold():
    for small, large in zip(in_folds(0.2)[1], in_folds(0.5)[1], strict=True):
        assert set(small.train) < set(large.train)


def test_a_fixed_split_keeps_the_draw_of_earlier_versions():
    """Stored runs of fixed splits stay what they are; this draw was made before folds drew anew."""
    clips, split, found = taken(0.05, seed=2)
    rank = {i: hashlib.sha256(f"2 {i}".encode()).hexdigest() for i in ids(clips, split.train)}
    for name in set(CLASSES):
        own = [i for i in rank if CLASSES[int(i[1:])] == name]
        expected = sorted(own, key=rank.__getitem__)[: max(1, round(0.05 * len(own)))]
        assert {i for i in ids(clips, found.train) if i in own} == set(expected)


@pytest.mark.parametrize(
    ("fraction", "kind", "expected"),
    [(1, "folds", {}), (0.5, "split", {}), (0.5, "folds", {"draw": "each fold"})],
)
def test_the_draw_names_runs_over_folds_only(fraction, kind, expected):
    assert draw_facts(fraction, Protocol(kind=kind)) == expected


def test_all_of_the_labels_are_all():
    _, split, found = taken(1)
    assert found is split


def test_luck_does_not_depend_on_which_other_clips_there_are():
    """Without every seventh clip the same ones are drawn, but for the last of each class."""
    whole, _, all_there = taken(0.3)
    keep = [k for k in range(len(CLASSES)) if k % 7]
    rows = draw()[0].subset(keep)
    (split,) = splits.make_splits(PROTOCOL, rows)
    some = subsample_labels(split, 0.3, rows.targets(), rows, 0)
    there = set(rows.clip_ids)
    for name in set(CLASSES):
        own = {f"c{k}" for k, label in enumerate(CLASSES) if label == name} & there
        expected, found = (
            ids(*pair) & own for pair in ((whole, all_there.train), (rows, some.train))
        )
        # ranks stay, and only the cut moves: nobody is left out for one of a worse rank
        assert expected <= found or found <= expected
        assert len(expected ^ found) <= 5


@pytest.mark.parametrize("target", ["multi", "regression"])
def test_several_labels_and_numbers_are_drawn_from_all_clips(target):
    _, split, found = taken(0.25, target=target)
    assert len(found.train) == round(0.25 * len(split.train))
    assert len(found.valid) == round(0.25 * len(split.valid))
    assert np.array_equal(found.train, np.sort(found.train))


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_shares_that_are_none(fraction):
    with pytest.raises(ProbekitError, match=r"--fraction must be > 0 and <= 1, got "):
        check_fraction(fraction)
