"""FSDKaggle2019: counts from the real tables, Zenodo's and Kaggle's layout, and faulty tables."""

import csv
import shutil
from collections import Counter

import pytest

from probekit.cards import TaskCard, load_task_card
from probekit.errors import DataError, UnknownNameError
from probekit.tasks.freesound import freesound_ids, of_shared_recordings
from probekit.tasks.task import Task, load_task

TASKS = ["fsdkaggle2019-curated", "fsdkaggle2019-noisy"]
TABLES = ["train_curated_post_competition", "train_noisy_post_competition", "vocabulary"]
TEST = "test_post_competition"


@pytest.fixture(scope="module")
def root(shared, tmp_path_factory):
    """Zenodo's layout."""
    meta = tmp_path_factory.mktemp("zenodo") / "FSDKaggle2019.meta"
    meta.mkdir(parents=True)
    for name in [*TABLES, TEST]:
        shutil.copy(shared / f"data/meta/fsdkaggle2019_{name}.csv", meta / f"{name}.csv")
    return meta.parent


@pytest.fixture(scope="module")
def official(root):
    """The clips of both tasks."""
    return {name: load_task(name).manifest(root) for name in TASKS}


@pytest.fixture
def kaggle(root, tmp_path):
    """Kaggle's layout: other names, only two columns, no vocabulary, no labels of test clips."""
    folder = tmp_path / "kaggle"
    for name in ("train_curated", "train_noisy", "test"):
        (folder / name).mkdir(parents=True)
    for name in ("train_curated", "train_noisy"):
        source = root / f"FSDKaggle2019.meta/{name}_post_competition.csv"
        with source.open(newline="", encoding="utf-8") as stream:
            rows = [(row["fname"], row["labels"]) for row in csv.DictReader(stream)]
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("fname", "labels"), *rows])
    return folder


def small(folder, *, train='a.wav,"Bark,Yell",1,CC0', test="b.wav,Yell,Public,2,CC0"):
    meta = folder / "FSDKaggle2019.meta"
    meta.mkdir()
    (meta / "vocabulary.csv").write_text("0,Bark\n1,Yell\n")
    header = "fname,labels,freesound_id,license"
    (meta / "train_curated_post_competition.csv").write_text(f"{header}\n{train}\n")
    header = "fname,labels,usage,freesound_id,license"
    (meta / "test_post_competition.csv").write_text(f"{header}\n{test}\n")
    return folder


@pytest.mark.parametrize(("name", "train"), [(TASKS[0], 4970), (TASKS[1], 19815)])
def test_counts_are_the_published_ones(official, name, train):
    clips = official[name]
    assert Counter(clips.column("split")) == {"train": train, "valid": 1120, "test": 3361}
    assert len(clips) == clips.expected
    assert clips.provenance == ()


def test_labels_are_the_vocabulary_in_its_order(official, shared):
    clips = official[TASKS[0]]
    lines = (shared / "data/meta/fsdkaggle2019_vocabulary.csv").read_text().splitlines()
    assert [f"{k},{name}" for k, name in enumerate(clips.class_names)] == lines
    assert list(clips.class_names) == sorted(clips.class_names) and len(clips.class_names) == 80


def test_several_labels_and_every_class(official):
    for name, least, most in zip(TASKS, (47, 300), (75, 300), strict=True):
        clips = official[name]
        targets, train = clips.targets(), clips.column("split") == "train"
        assert targets[train].sum(axis=0).min() == least
        assert targets[train].sum(axis=0).max() == most
        assert targets[~train].sum() == pytest.approx(1.395 * 4481, rel=1e-3)
        assert targets[clips.column("split") == "valid"].sum(axis=0).min() == 4


def test_kaggle_alone_says_where_test_labels_are(kaggle):
    with pytest.raises(
        DataError, match=r"labels of the test clips not found.*Zenodo record 3612637"
    ):
        load_task(TASKS[0]).manifest(kaggle)


@pytest.mark.parametrize(("name", "folder"), [(TASKS[0], "curated"), (TASKS[1], "noisy")])
def test_kaggle_audio_with_zenodo_tables(root, official, kaggle, name, folder):
    table = official[name].table
    assert table["path"][0].startswith(f"FSDKaggle2019.audio_train_{folder}/")
    meta = kaggle / "FSDKaggle2019.meta"
    meta.mkdir()
    shutil.copy(root / f"FSDKaggle2019.meta/{TEST}.csv", meta)
    mixed = load_task(name).manifest(kaggle)
    assert mixed.class_names == official[name].class_names  # sorted, without a vocabulary
    columns = ["clip_id", "split", "labels"]
    assert mixed.table[columns].equals(table[columns])
    found = {path.split("/")[0] for path in mixed.table["path"]}
    assert found == {f"train_{folder}", "test"}


def test_known_bad_clips_stay_unless_asked_otherwise(root, official):
    card = load_task_card(TASKS[0])
    clips = official[TASKS[0]]
    assert len(card.known_bad) == 6 and set(card.known_bad) <= set(clips.clip_ids)
    facts = card.model_dump()
    facts["options"]["exclude_known_bad"] = True
    fewer = Task(TaskCard.model_validate(facts)).manifest(root)
    assert set(clips.clip_ids) - set(fewer.clip_ids) == set(card.known_bad)
    assert fewer.expected == len(fewer) == 9445
    assert "6 known-bad clips left out" in fewer.provenance


def test_recordings_of_freesound_are_in_the_tables(official, shared, tmp_path):
    """Of both, as they are published: recordings that clips of UrbanSound8K are of, too."""
    task = load_task(TASKS[0])
    numbers = freesound_ids(official[TASKS[0]], task.card)
    assert len(numbers) == 4970 + 4481
    meta = tmp_path / "us8k/metadata"
    meta.mkdir(parents=True)
    shutil.copy(shared / "data/meta/UrbanSound8K.csv", meta)
    slices = load_task("urbansound8k").manifest(meta.parent)
    other = freesound_ids(slices)
    with (meta / "UrbanSound8K.csv").open(newline="") as file:  # its own column of numbers
        rows = {row["slice_file_name"][:-4]: row["fsID"] for row in csv.DictReader(file)}
    assert other == rows
    common = set(numbers.values()) & set(rows.values())
    shared_clips = of_shared_recordings(other, slices.clip_ids, numbers)
    assert {rows[clip_id] for clip_id in shared_clips} == common and len(common) == 41 + 23


def test_commas_separate_labels(tmp_path):
    clips = load_task(TASKS[0]).manifest(small(tmp_path))
    assert list(clips.table["labels"]) == [("Bark", "Yell"), ("Yell",)]


def test_unknown_label_names_clip_and_nearest(tmp_path):
    root = small(tmp_path, train="a.wav,Barks,1,CC0")
    with pytest.raises(UnknownNameError, match=r"clip a\.wav 'Barks'.*Did you mean 'Bark'"):
        load_task(TASKS[0]).manifest(root)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            {"test": "b.wav,Yell,public,2,CC0"},
            r"b\.wav: column usage must be Public or Private, got 'public'",
        ),
        ({"train": "a.wav,Bark,Yell,1,CC0"}, r"line 2: expected 4 fields .*got 5"),
        ({"train": "1.2E+05.wav,Bark,1,CC0"}, r"spreadsheet program has changed: '1\.2E\+05'"),
        ({"test": "a.wav,Yell,Public,2,CC0"}, r"more than once: 'a'"),
    ],
)
def test_faulty_rows_are_named(tmp_path, rows, fault):
    with pytest.raises(DataError, match=fault):
        load_task(TASKS[0]).manifest(small(tmp_path, **rows))


def test_stand_in_is_good_for_both_tasks(tmp_path):
    load_task(TASKS[0]).write_standin(tmp_path / "standin", 60)
    for name in TASKS:
        clips = load_task(name).manifest(tmp_path / "standin")
        assert Counter(clips.column("split")) == {"train": 20, "valid": 10, "test": 10}
        assert all((tmp_path / "standin" / path).exists() for path in clips.table["path"])
        assert (clips.targets().sum(axis=0) > 0).all()
    first = (tmp_path / "standin/FSDKaggle2019.meta/vocabulary.csv").read_text().split("\n")[0]
    assert first == "0,Accelerating_and_revving_and_vroom"  # no header
