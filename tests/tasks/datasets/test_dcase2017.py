"""DCASE2017 Task 4: Won's split, rebuilt from the real lists, and lists that are not these."""

import hashlib
import shutil
from collections import Counter

import pytest

from probekit.errors import DataError, UnknownNameError
from probekit.tasks.datasets.dcase2017 import _draw
from probekit.tasks.task import load_task

PARTS = ["training", "testing", "evaluation"]
VALID = "f92221d377a92a1c"  # of the names without Y, sorted, joined by line feeds; UTF-8


@pytest.fixture(scope="module")
def clips(shared, tmp_path_factory):
    """The clips of the real lists."""
    folder = tmp_path_factory.mktemp("official") / "groundtruth_release"
    folder.mkdir(parents=True)
    for part in PARTS:
        name = f"groundtruth_weak_label_{part}_set.csv"
        shutil.copy(shared / f"data/meta/dcase17_{name}", folder / name)
    return load_task("dcase2017-4").manifest(folder.parent)


def write(folder, **lists):
    rows = {part: f"{part}_0.000_10.000.wav\t0.000\t10.000\tBus" for part in PARTS} | lists
    for part, text in rows.items():
        (folder / f"groundtruth_weak_label_{part}_set.csv").write_text(text + "\n")
    return folder


def test_split_is_that_of_won(clips):
    assert Counter(clips.column("split")) == {"train": 46042, "valid": 5618, "test": 1103}
    assert len(clips) == clips.expected
    assert clips.provenance == ()
    names = sorted(
        f"{clip}.wav"
        for clip, split in zip(clips.clip_ids, clips.column("split"), strict=True)
        if split == "valid"
    )
    assert hashlib.sha256("\n".join(names).encode()).hexdigest().startswith(VALID)


def test_draw_is_that_of_pandas():
    pandas = pytest.importorskip("pandas")
    files = {
        label: [f"{label}{k}" for k in range(count)]
        for label, count in zip("abcd", (7, 25, 180, 3), strict=True)
    }
    expected = set()
    for own in files.values():
        expected |= set(pandas.Series(own).sample(frac=0.1, random_state=123))
    assert _draw(files, 0.1, 123) == expected


def test_labels_keep_their_commas(clips):
    train = clips.column("split") != "test"
    counts = dict(zip(clips.class_names, clips.targets()[train].sum(axis=0), strict=True))
    assert sum(counts.values()) == 56131 + 606
    assert counts["Air horn, truck horn"] > 0 and counts["Fire engine, fire truck (siren)"] > 0
    assert max(counts, key=counts.get) == "Car" and min(counts, key=counts.get) == "Car alarm"
    assert clips.targets()[~train].sum() == 1350
    assert max(map(len, clips.table["labels"])) == 6


def test_audio_has_a_y_in_front(clips):
    table = clips.table.set_index("clip_id")
    assert table.loc["-JMT0mK0Dbg_30.000_40.000", "path"] == (
        "evaluation_set_formatted_audio_segments/Y-JMT0mK0Dbg_30.000_40.000.wav"
    )
    assert table.loc["2ceUOv8A3FE_20.000_30.000", "path"].startswith(
        "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads/Y2ce"
    )


def test_lists_may_lie_in_the_folder_itself(tmp_path):
    clips = load_task("dcase2017-4").manifest(write(tmp_path))
    assert list(clips.column("split")) == ["train", "train", "test"]  # 10 % of 2 clips is none
    assert "train: 2 of 46,042 clips" in clips.provenance


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        (
            {"testing": "a.wav,0.000,10.000,Bus"},
            r"testing_set\.csv, line 1: .*got 1\..*commas.*tabs",
        ),
        ({"testing": "#NAME?\t0.000\t10.000\tBus"}, r"spreadsheet program has changed: '#NAME\?'"),
        (
            {"evaluation": "training_0.000_10.000.wav\t0.000\t10.000\tCar"},
            r"evaluation_set\.csv: clips are in another list, too: 'training_0\.000_10\.000",
        ),
        ({"training": "/../../../a.wav\t0.000\t10.000\tBus"}, "leaves the root folder"),
    ],
)
def test_faulty_lists_are_named(tmp_path, lists, fault):
    with pytest.raises(DataError, match=fault):
        load_task("dcase2017-4").manifest(write(tmp_path, **lists))


def test_half_a_label_is_refused(tmp_path):
    root = write(tmp_path, testing="a.wav\t0.000\t10.000\tAir horn")
    with pytest.raises(
        UnknownNameError, match=r"'Air horn'.*Did you mean .*'Air horn, truck horn'\?"
    ):
        load_task("dcase2017-4").manifest(root)


def test_one_list_missing_is_named(tmp_path):
    (write(tmp_path) / "groundtruth_weak_label_evaluation_set.csv").unlink()
    with pytest.raises(DataError, match=r"groundtruth_release/groundtruth_weak_label_evaluation"):
        load_task("dcase2017-4").manifest(tmp_path)


def test_stand_in_has_validation_clips(tmp_path):
    load_task("dcase2017-4").write_standin(tmp_path / "standin", 60)
    clips = load_task("dcase2017-4").manifest(tmp_path / "standin")
    assert min(Counter(clips.column("split"))[name] for name in ("train", "valid", "test")) >= 4
    assert all((tmp_path / "standin" / path).exists() for path in clips.table["path"])
