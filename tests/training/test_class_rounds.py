"""Rounds over the classes: counts, order, and any part of the sequence at once."""

import numpy as np
import pytest

from probekit.errors import DataError
from probekit.training.class_rounds import ClassRounds, refuse_unlabeled


def corpus(clips=200, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.zeros((clips, classes), int)
    targets[:, 0] = 1  # in every clip
    for c in range(1, classes - 1):
        targets[rng.choice(clips, 2 * c, replace=False), c] = 1
    return targets  # the last class has no clip


def test_every_round_has_one_clip_of_each_class():
    targets = corpus()
    rounds = ClassRounds(targets, seed=3)
    assert rounds.n_classes == 5
    drawn = rounds.draw(0, 5 * 40).reshape(40, 5)
    for clips in drawn:  # a clip of several classes may stand for any of them
        covered = targets[clips].any(0)
        assert covered[:5].all() and not covered[5]


def test_a_class_is_read_to_the_end_before_its_clips_come_again():
    targets = np.eye(4, dtype=int)[np.repeat(np.arange(4), [3, 5, 7, 300])]
    rounds = ClassRounds(targets, seed=1)
    labels = np.repeat(np.arange(4), [3, 5, 7, 300])
    drawn = rounds.draw(0, 4 * 300)
    for c, size in enumerate((3, 5, 7, 300)):
        mine = drawn[labels[drawn] == c]
        assert len(mine) == 300
        for start in range(0, 300 - 300 % size, size):
            assert len(set(mine[start : start + size])) == size
    common = drawn[labels[drawn] == 3]
    assert not np.array_equal(common, np.sort(common))


def test_parts_of_the_sequence_are_drawn_independently():
    """What a resumed run, or another device, needs."""
    targets = corpus()
    whole = ClassRounds(targets, seed=5).draw(0, 500)
    for start in (0, 7, 123, 499):
        assert np.array_equal(ClassRounds(targets, seed=5).draw(start, 500 - start), whole[start:])
    assert not np.array_equal(ClassRounds(targets, seed=6).draw(0, 500), whole)


def test_blocks_keep_reads_near_each_other():
    """With blocks of 10, ten successive clips of a class are neighbors in storage."""
    targets = np.ones((100, 1), int)
    places = np.random.default_rng(0).permutation(100)
    drawn = ClassRounds(targets, 0, places, block=10).draw(0, 100)
    blocks = places[drawn].reshape(10, 10)
    assert all(np.ptp(block) == 9 for block in blocks)


def test_clips_without_labels():
    with pytest.raises(DataError, match=r"1 of 3 training clips have no label, such as .*b"):
        refuse_unlabeled(["a", "b", "c"], np.array([[1, 0], [0, 0], [0, 1]]), "cmu2019")
