"""Splits, folds and labels in the names of folders."""

from pathlib import Path, PurePosixPath

import pytest

from probekit.data.folder_layout import read_layout
from probekit.errors import DataError


def layout(*paths):
    facts = read_layout(Path("ds"), [PurePosixPath(path) for path in paths])
    return [{**fact, "labels": "".join(fact.get("labels", ()))} for fact in facts]


def under(*folders):
    return [f"{folder}/{label}/a.wav" for folder in folders for label in ("dog", "cat")]


@pytest.mark.parametrize(
    "folders, splits",
    [
        (("train", "test"), ("train", "test")),
        (("Training", "Eval"), ("train", "test")),
        (("train", "val", "test"), ("train", "valid", "test")),
        (("train", "dev", "testing"), ("train", "valid", "test")),
        (("train", "validation"), ("train", "valid")),
    ],
)
def test_splits_above_labels(folders, splits):
    assert layout(*under(*folders)) == [
        {"labels": label, "split": split} for split in splits for label in ("dog", "cat")
    ]


@pytest.mark.parametrize("pattern", ["fold{}", "Fold {}", "fold_0{}", "cv{}"])
def test_folds_above_labels(pattern):
    assert layout(*under(pattern.format(1), pattern.format(2))) == [
        {"labels": label, "fold": fold} for fold in "12" for label in ("dog", "cat")
    ]


def test_splits_inside_labels():
    paths = [f"{label}/{split}/a.wav" for label in ("dog", "cat") for split in ("train", "test")]
    assert layout(*paths) == [
        {"labels": label, "split": split} for label in ("dog", "cat") for split in ("train", "test")
    ]
    # all in one folder is no division
    assert layout("dog/train/a.wav", "cat/train/a.wav") == [{"labels": "dog"}, {"labels": "cat"}]


def test_splits_without_labels():
    assert layout("train/a.wav", "test/a.wav") == [
        {"labels": "", "split": "train"},
        {"labels": "", "split": "test"},
    ]


def test_single_split_is_the_folder_of_the_labels():
    assert layout(*under("train")) == [{"labels": "dog"}, {"labels": "cat"}]


def test_label_called_like_a_split_is_a_label_among_others():
    assert layout("train/a.wav", "airplane/b.wav") == [{"labels": "train"}, {"labels": "airplane"}]
    assert layout("train/day1/a.wav", "bus/day1/b.wav") == [{"labels": "train"}, {"labels": "bus"}]


def test_other_layouts_stay_what_they_are():
    assert layout("a.wav", "b.wav") == [{"labels": ""}] * 2
    assert layout("dog/a.wav", "cat/deep/b.wav") == [{"labels": "dog"}, {"labels": "cat"}]
    assert layout("1/a.wav", "2/b.wav") == [{"labels": "1"}, {"labels": "2"}]


@pytest.mark.parametrize(
    "paths, reason",
    [
        (under("train", "test", "extra"), r"\('test', 'train'\), others are not \('extra'\)"),
        (under("fold1", "fold2", "noise"), r"others are not \('noise'\)"),
        (under("train", "test", "fold1"), "not clear which split is which"),
        (under("train", "val", "dev"), "not clear which split is which"),
        (under("dev", "eval"), "none is called 'train'"),
        ([*under("train", "test"), "train/b.wav"], "recordings beside these in 'train'"),
        (["dog/train/a.wav", "dog/test/a.wav", "cat/a.wav"], "recordings beside folders"),
        (["dog/train/a.wav", "dog/test/a.wav", "cat/all/a.wav"], r"others are not \('all'\)"),
        (["dog/a.wav", "b.wav"], r"1 recordings are in none of them: 'b\.wav'"),
    ],
)
def test_layouts_that_can_be_read_in_two_ways_are_refused(paths, reason):
    with pytest.raises(DataError, match=reason) as caught:
        layout(*paths)
    assert str(caught.value).startswith("ds: ")
