"""TAU Urban Acoustic Scenes 2019: the official lists, and copies that are not."""

import csv
from collections import Counter

import pytest
import soundfile

from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import load_task

PER_CLASS = {  # train, evaluate: counted in the lists
    "airport": (911, 421),
    "bus": (928, 415),
    "metro": (902, 433),
    "metro_station": (897, 435),
    "park": (946, 386),
    "public_square": (945, 387),
    "shopping_mall": (896, 441),
    "street_pedestrian": (924, 429),
    "street_traffic": (942, 402),
    "tram": (894, 436),
}


@pytest.fixture
def root(shared, tmp_path):
    """The official layout: in the copy, labels are numbers and fields separated by commas."""
    folder = tmp_path / "official/evaluation_setup"
    folder.mkdir(parents=True)
    for part in ("train", "evaluate"):
        source = shared / f"data/meta/tau2019_fold1_{part}.csv"
        with source.open(newline="", encoding="utf-8") as stream:
            names = [row["filename"] for row in csv.DictReader(stream)]
        lines = [f"{name}\t{name.removeprefix('audio/').split('-')[0]}" for name in names]
        text = "\n".join(["filename\tscene_label", *lines]) + "\n"
        (folder / f"fold1_{part}.csv").write_text(text, encoding="utf-8")
    return folder.parent


def write(folder, *lines, header="filename\tscene_label"):
    (folder / "evaluation_setup").mkdir()
    text = "\n".join([header, *lines]) + "\n"
    for part in ("train", "evaluate"):
        (folder / f"evaluation_setup/fold1_{part}.csv").write_text(text)
    return folder


def test_split_is_the_official_one(root):
    clips = load_task("dcase2019-1a").manifest(root)
    assert Counter(clips.column("split")) == {"train": 9185, "test": 4185}
    assert len(clips) == clips.expected == 13370
    assert clips.provenance == ()
    names = [clips.class_names[k] for k in clips.targets()]
    counts = Counter(zip(names, clips.column("split"), strict=True))
    assert {name: (counts[name, "train"], counts[name, "test"]) for name in PER_CLASS} == PER_CLASS


def test_no_location_is_on_both_sides(root):
    clips = load_task("dcase2019-1a").manifest(root).table
    groups = {split: set(own["group"]) for split, own in clips.groupby("split")}
    assert {split: len(own) for split, own in groups.items()} == {"train": 325, "test": 149}
    assert not groups["train"] & groups["test"]
    assert not any("-milan-" in group for group in groups["train"])
    first = clips.iloc[0]
    assert (first["clip_id"], first["group"]) == (
        "airport-lisbon-1000-40000-a",
        "airport-lisbon-1000",
    )
    assert first["path"] == "audio/airport-lisbon-1000-40000-a.wav"


def test_copy_with_commas_is_refused(shared, tmp_path):
    source = shared / "data/meta/tau2019_fold1_train.csv"
    header, *lines = source.read_text().splitlines()
    with pytest.raises(DataError, match=r"fold1_train\.csv: no column .*separated by commas.*tabs"):
        load_task("dcase2019-1a").manifest(write(tmp_path, *lines, header=header))


def test_copy_with_numbers_is_refused(tmp_path):
    root = write(tmp_path, "audio/airport-lisbon-1000-40000-a.wav\t0")
    with pytest.raises(
        UnknownNameError,
        match=r"label of dcase2019-1a in .*fold1_train\.csv, clip 'audio/.*': '0'.*Known: airport",
    ):
        load_task("dcase2019-1a").manifest(root)


@pytest.mark.parametrize(
    "line", ["audio/bus-lyon-1001-40001-a.wav\ttram", "audio/bus-lyon-1001.wav\tbus"]
)
def test_name_and_label_must_agree(tmp_path, line):
    with pytest.raises(DataError, match=r"audio/SCENE-CITY-LOCATION-SEGMENT-DEVICE\.wav"):
        load_task("dcase2019-1a").manifest(write(tmp_path, line))


def test_clip_on_both_sides_is_refused(tmp_path):
    root = write(tmp_path, "audio/bus-lyon-1001-40001-a.wav\tbus")
    with pytest.raises(DataError, match=r"more than once: 'bus-lyon-1001-40001-a'"):
        load_task("dcase2019-1a").manifest(root)


def test_one_list_missing_is_named(root):
    (root / "evaluation_setup/fold1_evaluate.csv").unlink()
    with pytest.raises(DataError, match=r"expected evaluation_setup/fold1_evaluate\.csv"):
        load_task("dcase2019-1a").manifest(root)


def test_stand_in_has_locations_and_the_format(tmp_path):
    load_task("dcase2019-1a").write_standin(tmp_path / "standin", 60)
    clips = load_task("dcase2019-1a").manifest(tmp_path / "standin").table
    assert Counter(clips["split"]) == {"train": 40, "test": 20}
    assert (clips.groupby("group")["split"].nunique() == 1).all()
    info = soundfile.info(tmp_path / "standin" / clips["path"][0])
    assert (info.samplerate, info.channels, info.subtype) == (48000, 2, "PCM_24")
