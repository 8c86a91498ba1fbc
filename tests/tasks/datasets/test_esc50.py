"""ESC-50: the official folds from the real table, its two parts, and tables that are not it."""

import csv
from collections import Counter

import pytest

from probekit.errors import DataError, UnknownNameError
from probekit.scores.result_builder import torn_group_notes
from probekit.tasks import splits
from probekit.tasks.task import load_task

HEADER = "filename,fold,target,category,esc10,src_file,take"
ESC10 = [0, 1, 10, 11, 12, 20, 21, 38, 40, 41]


@pytest.fixture
def table(shared):
    with (shared / "data/meta/esc50.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def root(table, tmp_path):
    """The official folder: the copy writes TRUE and FALSE, the original True and False."""
    (tmp_path / "meta").mkdir()
    lines = [",".join({**row, "esc10": row["esc10"].capitalize()}.values()) for row in table]
    (tmp_path / "meta/esc50.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return tmp_path


def write(folder, *lines, header=HEADER):
    (folder / "meta").mkdir()
    (folder / "meta/esc50.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


@pytest.mark.parametrize(("task", "clips"), [("esc50", 2000), ("esc10", 400), ("esc40", 1600)])
def test_folds_are_the_official_ones(root, task, clips):
    found = load_task(task).manifest(root)
    assert len(found) == found.expected == clips
    assert Counter(found.column("fold")) == dict.fromkeys("12345", clips // 5)
    each = Counter(zip(found.targets(), found.column("fold"), strict=True))
    assert set(each.values()) == {8}  # of every class in every fold
    assert found.provenance == ()  # counts are the card's


def test_clips_are_those_of_the_table(root, table):
    found = load_task("esc50").manifest(root).table
    assert list(found["path"]) == [f"audio/{row['filename']}" for row in table]
    assert [labels[0] for labels in found["labels"]] == [row["category"] for row in table]
    for clip_id, fold in zip(found["clip_id"], found["fold"], strict=True):
        assert clip_id.split("-")[0] == fold


def test_labels_are_in_the_order_of_the_numbers(table):
    names = {int(row["target"]): row["category"] for row in table}
    cards = [load_task(task).card for task in ("esc50", "esc10", "esc40")]
    numbers = [range(50), ESC10, [k for k in range(50) if k not in ESC10]]
    for card, own in zip(cards, numbers, strict=True):
        assert card.labels == [names[k] for k in own]
        assert card.dataset == "esc50"  # extracted once, evaluated three times


def test_recordings_in_two_folds_are_those_of_the_cards(root):
    for task, count in (("esc50", 4), ("esc10", 0), ("esc40", 0)):
        found = load_task(task).manifest(root).table
        folds = found.groupby("group")["fold"].nunique()
        crossing = list(folds[folds > 1].index)
        assert len(crossing) == count
        notes = " ".join(load_task(task).card.notes)
        assert all(source in notes for source in crossing)


def test_results_note_recordings_in_two_folds(root):
    for task, expected in (("esc50", "4 of 1,524"), ("esc10", ""), ("esc40", "")):
        loaded = load_task(task)
        clips = loaded.manifest(root)
        divided = splits.make_splits(loaded.card.protocol, clips)
        notes = torn_group_notes(clips, divided)
        text = f"groups with clips in training and in test: {expected}"
        assert notes == ([text] if expected else [])


@pytest.mark.parametrize("true", ["True", "TRUE", "true"])
def test_esc10_is_read_in_any_case(tmp_path, true):
    lines = (f"1-7-A-0.wav,1,0,dog,{true},7,A", f"1-8-A-2.wav,1,2,pig,{true[0]}alse,8,A")
    root = write(tmp_path, lines[0], lines[1].replace("Talse", "False").replace("talse", "false"))
    assert load_task("esc10").manifest(root).clip_ids == ["1-7-A-0"]
    assert load_task("esc40").manifest(root).clip_ids == ["1-8-A-2"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1-7-A-0.wav,1,0,dog,1,7,A", r"1-7-A-0\.wav: column esc10 must be True or False, got '1'"),
        ("1-7-A-0.wav,1,0,dog,True,7", r"line 2: expected 7 fields .*got 6"),
        ("/../../7.wav,1,0,dog,True,7,A", "leaves the root folder"),
    ],
)
def test_faulty_rows_are_named(tmp_path, line, fault):
    with pytest.raises(DataError, match=fault):
        load_task("esc50").manifest(write(tmp_path, line))


def test_another_table_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"esc50\.csv: no column target, esc10"):
        load_task("esc10").manifest(write(tmp_path, "a.wav,1,dog", header="filename,fold,category"))


def test_unknown_class_is_named_with_its_nearest(tmp_path):
    root = write(tmp_path, "1-7-A-0.wav,1,0,dogs,True,7,A")
    with pytest.raises(
        UnknownNameError,
        match=r"label of esc50 in .*esc50\.csv, clip '[^']+\.wav': 'dogs'.*Did you mean 'dog'",
    ):
        load_task("esc50").manifest(root)


def test_clip_twice_is_refused(tmp_path):
    line = "1-7-A-0.wav,1,0,dog,True,7,A"
    with pytest.raises(DataError, match=r"more than once: '1-7-A-0'"):
        load_task("esc50").manifest(write(tmp_path, line, line))


def test_stand_in_plays_folds_and_recordings(tmp_path):
    load_task("esc50").write_standin(tmp_path / "standin", 60)
    found = load_task("esc50").manifest(tmp_path / "standin")
    assert Counter(found.column("fold")) == dict.fromkeys("12345", 12)
    assert (found.table.groupby("group")["fold"].nunique() == 1).all()
    assert (tmp_path / "standin" / found.table["path"][0]).stat().st_size > 44100 * 2
    assert len(load_task("esc10").manifest(tmp_path / "standin")) == 20  # dog and rooster
