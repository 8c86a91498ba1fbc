"""TUT Acoustic Scenes 2016: folds from lists without header, and lists that do not fit."""

from collections import Counter

import pytest
import soundfile

from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import load_task

SCENES = ("beach", "cafe/restaurant")


def clip(scene, fold):
    """One file a scene and fold, of a location of its own."""
    return f"audio/{'ab'[scene]}{fold:03d}_0_30.wav"


@pytest.fixture
def root(tmp_path):
    """The official layout with eight clips."""
    folder = tmp_path / "evaluation_setup"
    folder.mkdir()
    rows = {
        fold: [f"{clip(k, fold)}\t{scene}" for k, scene in enumerate(SCENES)]
        for fold in (1, 2, 3, 4)
    }
    (tmp_path / "meta.txt").write_text("".join(f"{row}\n" for own in rows.values() for row in own))
    for fold, own in rows.items():
        others = [row for other, rest in rows.items() if other != fold for row in rest]
        (folder / f"fold{fold}_train.txt").write_text("\n".join(others) + "\n")
        (folder / f"fold{fold}_evaluate.txt").write_text("\n".join(own) + "\n")
        names = [row.split("\t")[0] for row in own]
        (folder / f"fold{fold}_test.txt").write_text("\n".join(names) + "\n")
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_fold_is_the_one_that_evaluates_the_clip(root):
    clips = load_task("dcase2016-1").manifest(root)
    assert list(clips.column("fold")) == list("11223344")
    assert list(clips.column("group")[:4]) == ["a001", "b001", "a002", "b002"]
    assert [clips.class_names[k] for k in clips.targets()] == [*SCENES] * 4
    assert list(clips.column("path")[:2]) == ["audio/a001_0_30.wav", "audio/b001_0_30.wav"]
    assert clips.provenance == ("8 of 1,170 clips",)


def test_labels_are_the_fifteen_in_alphabetical_order():
    labels = load_task("dcase2016-1").card.labels
    assert len(labels) == 15 and labels == sorted(labels) and "cafe/restaurant" in labels


def test_training_list_that_is_not_the_rest_is_said(root):
    edit(root / "evaluation_setup/fold2_train.txt", f"{clip(0, 1)}\tbeach\n", "")
    clips = load_task("dcase2016-1").manifest(root)
    assert "fold 2 trains on 6 clips, its list has 5" in clips.provenance


def test_clip_that_two_folds_evaluate_is_refused(root):
    edit(root / "evaluation_setup/fold2_evaluate.txt", clip(0, 2), clip(0, 1))
    with pytest.raises(DataError, match=r"fold 2: clips that another fold evaluates: 'audio/a001"):
        load_task("dcase2016-1").manifest(root)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_list_that_contradicts_meta_is_refused(root, kind):
    fold = 1 if kind == "train" else 2
    edit(
        root / f"evaluation_setup/fold{fold}_{kind}.txt",
        f"{clip(0, 2)}\tbeach",
        f"{clip(0, 2)}\tbus",
    )
    with pytest.raises(
        DataError, match=rf"fold {fold}: not as in meta\.txt: 'audio/a002_0_30\.wav'"
    ):
        load_task("dcase2016-1").manifest(root)


def test_clip_twice_is_refused(root):
    with (root / "meta.txt").open("a") as stream:
        stream.write(f"{clip(0, 1)}\tbeach\n")
    with pytest.raises(DataError, match="more than once: 'a001_0_30'"):
        load_task("dcase2016-1").manifest(root)


def test_another_separator_is_named(root):
    edit(root / "meta.txt", "\t", ",")
    with pytest.raises(DataError, match=r"meta\.txt, line 1: .*got 1\..*commas.*tabs"):
        load_task("dcase2016-1").manifest(root)


def test_unknown_scene_is_named_with_its_nearest(root):
    edit(root / "meta.txt", "cafe/restaurant", "cafe_restaurant")
    with pytest.raises(UnknownNameError, match="Did you mean 'cafe/restaurant'"):
        load_task("dcase2016-1").manifest(root)


def test_missing_list_is_named(root):
    (root / "evaluation_setup/fold4_evaluate.txt").unlink()
    with pytest.raises(DataError, match=r"expected evaluation_setup/fold4_evaluate\.txt"):
        load_task("dcase2016-1").manifest(root)


def test_stand_in_has_folds_locations_and_the_format(tmp_path):
    load_task("dcase2016-1").write_standin(tmp_path / "standin", 60)
    clips = load_task("dcase2016-1").manifest(tmp_path / "standin")
    assert clips.provenance == ("stand-in data",)
    assert set(Counter(clips.column("fold"))) == set("1234")
    assert (clips.table.groupby("group")["fold"].nunique() == 1).all()
    info = soundfile.info(tmp_path / "standin" / clips.table["path"][0])
    assert (info.samplerate, info.channels, info.subtype) == (44100, 2, "PCM_24")
    assert (tmp_path / "standin/error.txt").exists()
