"""Kinetics-700: the draw of validation clips, files wherever they lie, and clips that are gone."""

from collections import Counter

import pytest

from probekit.cards import TaskCard, load_task_card
from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import Task, load_task

HEADER = "label,youtube_id,time_start,time_end,split"
LABELS = ("tap dancing", "abseiling", "zumba", "air drumming", 'making "snow"')


def rows(count, kind):
    lines = []
    for k in range(count):
        label = LABELS[k % len(LABELS)].replace('"', '""')
        lines.append(f'"{label}",{kind}_{k:06d},{k},{k + 10},{kind}')
    return lines


def lists(folder, train, val, *, names=("train.csv", "val.csv")):
    for name, lines in zip(names, (train, val), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def valid(clips):
    table = clips.table
    return set(table.loc[table["split"] == "valid", "clip_id"])


def test_validation_clips_are_as_many_as_the_card_says(tmp_path):
    lists(tmp_path, rows(3_000, "train"), rows(100, "val"))
    facts = load_task_card("kinetics700").model_dump()
    assert facts["options"]["validation"] == 20_525
    facts["options"]["validation"] = 205
    clips = Task(TaskCard.model_validate(facts)).manifest(tmp_path)
    assert Counter(clips.column("split")) == {"train": 2_795, "valid": 205, "test": 100}
    assert clips.expected == 3_100
    assert clips.provenance == (
        "Kinetics-700-2020, lists of 3,000 training and 100 validation clips",
    )


def test_draw_depends_on_neither_order_nor_missing_files(tmp_path):
    lines = rows(300, "train")
    first = load_task("kinetics700").manifest(lists(tmp_path / "a", lines, rows(5, "val")))
    turned = lists(tmp_path / "b", lines[::-1], rows(5, "val"))
    assert valid(load_task("kinetics700").manifest(turned)) == valid(first)
    touch(turned, *(f"train/{clip}.mp4" for clip in first.clip_ids[:250]))
    there = load_task("kinetics700").manifest(turned)
    assert valid(there) == valid(first) & set(first.clip_ids[:250])
    assert len(valid(first)) == 30  # a tenth, where that is fewer than 20,525


def test_classes_are_in_alphabetical_order(tmp_path):
    lists(tmp_path, rows(40, "train"), rows(5, "val"))
    clips = load_task("kinetics700").manifest(tmp_path)
    assert clips.class_names == tuple(sorted(LABELS))
    assert clips.class_names[clips.targets()[0]] == "tap dancing"
    assert clips.clip_ids[0] == "train_000000_000000_000010"


def test_files_are_found_wherever_they_lie(tmp_path):
    lists(tmp_path, rows(40, "train"), rows(5, "val"))
    stem = "train_00000{}_00000{}_00001{}"
    touch(
        tmp_path,
        f"{stem.format(1, 1, 1)}.mp4",
        f"train/{stem.format(2, 2, 2)}.mp4",
        f"train/zumba/{stem.format(3, 3, 3)}.mp4",
        f"sound/{stem.format(4, 4, 4)}.wav",
        f"train/air drumming/{stem.format(4, 4, 4)}.mp4",  # audio goes before video
        f".hidden/{stem.format(5, 5, 5)}.mp4",
        f"{stem.format(6, 6, 6)}.txt",
        "val/val_000000_000000_000010.m4a",
    )
    (tmp_path / "elsewhere").mkdir()
    touch(tmp_path / "elsewhere", f"{stem.format(7, 7, 7)}.flac")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/loop").symlink_to(tmp_path, target_is_directory=True)
    clips = load_task("kinetics700").manifest(tmp_path)
    assert list(clips.table["path"]) == [
        f"{stem.format(1, 1, 1)}.mp4",
        f"train/{stem.format(2, 2, 2)}.mp4",
        f"train/zumba/{stem.format(3, 3, 3)}.mp4",
        f"sound/{stem.format(4, 4, 4)}.wav",
        f"data/link/{stem.format(7, 7, 7)}.flac",
        "val/val_000000_000000_000010.m4a",
    ]
    assert (len(clips), clips.expected) == (6, 45)  # results say: 6 of 45 clips


def test_recordings_of_another_name_are_refused(tmp_path):
    lists(tmp_path, rows(40, "train"), rows(5, "val"))
    touch(tmp_path, "train/train_000001.mp4")
    with pytest.raises(
        DataError,
        match=r"none of its 1 recordings.*'train_000000_000000_000010'.*found are 'train/",
    ):
        load_task("kinetics700").manifest(tmp_path)


def test_lists_may_have_their_other_names(tmp_path):
    names = ("annotations/train.csv", "annotations/validate.csv")
    lists(tmp_path, rows(40, "train"), rows(5, "val"), names=names)
    assert len(load_task("kinetics700").manifest(tmp_path)) == 45


@pytest.mark.parametrize(
    ("line", "error", "fault"),
    [
        ("zumba,#NAME?,1,11,val", DataError, r"val\.csv: ids that a spreadsheet .*'#NAME\?'"),
        ("zumba,abc,one,11,val", DataError, r"video 'abc': time_start 'one'.*numbers of seconds"),
        ("zumba,abc,1,11", DataError, r"val\.csv, line 2: expected 5 fields .*got 4"),
        ("zumbas,abc,1,11,val", UnknownNameError, r"val\.csv 'zumbas'.*Did you mean 'zumba'"),
        ("zumba,../../../a,1,11,val", DataError, "leaves the root folder"),
    ],
)
def test_faulty_rows_are_named(tmp_path, line, error, fault):
    with pytest.raises(error, match=fault):
        load_task("kinetics700").manifest(lists(tmp_path, rows(40, "train"), [line]))


def test_stand_in_loses_some_videos(tmp_path):
    load_task("kinetics700").write_standin(tmp_path / "standin", 48)
    clips = load_task("kinetics700").manifest(tmp_path / "standin")
    assert set(Counter(clips.column("split"))) == {"train", "valid", "test"}
    assert len(clips) == 44
    assert "stand-in data" in clips.provenance
