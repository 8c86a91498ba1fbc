"""Folders that are not as they should be: every task says what is wrong, and nothing is lost."""

import shutil
from pathlib import Path

import pytest

from probekit import cards
from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.tasks.standin.writer import MARKER
from probekit.tasks.task import load_task

# each task's tables that must be there, and what separates their fields
TABLES = [
    ("urbansound8k", "metadata/UrbanSound8K.csv", ","),
    ("esc50", "meta/esc50.csv", ","),
    ("fsdkaggle2019-curated", "FSDKaggle2019.meta/train_curated_post_competition.csv", ","),
    ("dcase2019-1a", "evaluation_setup/fold1_train.csv", "\t"),
    ("dcase2016-1", "meta.txt", "\t"),
    ("dcase2017-4", "groundtruth_release/groundtruth_weak_label_training_set.csv", "\t"),
    ("magnatagatune", "annotations_final.csv", "\t"),
    ("magnatagatune", "clip_info_final.csv", "\t"),
    ("emomusic", "annotations/static_annotations.csv", ","),
    ("fma-small", "fma_metadata/tracks.csv", ","),
    ("audioset-balanced", "balanced_train_segments.csv", ","),
    ("audioset-balanced", "class_labels_indices.csv", ","),
    ("medley-solos", "Medley-solos-DB_metadata.csv", ","),
    ("fsd50k", "FSD50K.ground_truth/dev.csv", ","),
    ("fsd50k", "FSD50K.ground_truth/eval.csv", ","),
    ("openmic2018", "openmic-2018-aggregated-labels.csv", ","),
    ("openmic2018", "openmic-2018-metadata.csv", ","),
    ("giantsteps-key", "giantsteps-mtg-key-dataset/annotations/annotations.txt", "\t"),
    ("jamendo-moodtheme", "data/splits/split-0/autotagging_moodtheme-train.tsv", "\t"),
]
NAMES = [f"{task} {Path(table).name}" for task, table, _ in TABLES]
ARCHIVED = [name for name in cards.card_paths("tasks") if name != "synth"]


@pytest.fixture(scope="module")
def standins(tmp_path_factory):
    """Each task's stand-in data, made when it is first asked for; not to be changed."""
    made = {}

    def one(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp(task)
            load_task(task).write_standin(made[task], clips=30)
        return made[task]

    return one


@pytest.fixture
def copy(standins, tmp_path):
    """Give a copy of a task's stand-in data, without the marker."""

    def one(task):
        root = tmp_path / "copy"
        shutil.copytree(standins(task), root)
        (root / MARKER).unlink()
        return root

    return one


@pytest.mark.parametrize("task", ARCHIVED)
def test_wrong_folder_says_what_was_looked_for_and_found(tmp_path, task):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError) as caught:
        load_task(task).manifest(tmp_path)
    text = str(caught.value)
    assert str(tmp_path) in text
    assert "not the folder of" in text and ": expected " in text
    assert "found holiday.jpg" in text
    assert "Expected layout: " in text


@pytest.mark.parametrize("task", ARCHIVED)
def test_archive_that_is_not_unpacked_gets_its_command(tmp_path, task):
    (tmp_path / "data.tar.gz").touch()
    with pytest.raises(DataError, match=r"unpacked yet\? In that folder: tar xf 'data\.tar\.gz'"):
        load_task(task).manifest(tmp_path)


@pytest.mark.parametrize(("task", "table", "_"), TABLES, ids=NAMES)
def test_missing_table_is_named(copy, task, table, _):
    root = copy(task)
    (root / table).unlink()
    with pytest.raises(DataError, match=Path(table).name):
        load_task(task).manifest(root)


@pytest.mark.parametrize(("task", "table", "mark"), TABLES, ids=NAMES)
def test_other_separator_is_an_error_that_names_the_table(copy, task, table, mark):
    root = copy(task)
    text = (root / table).read_text("utf-8")
    (root / table).write_text(text.replace(mark, ";"), "utf-8")
    with pytest.raises(DataError, match=Path(table).name):
        load_task(task).manifest(root)


@pytest.mark.parametrize(("task", "table", "_"), TABLES, ids=NAMES)
def test_byte_order_mark_and_windows_line_ends_change_nothing(copy, task, table, _):
    root = copy(task)
    before = load_task(task).manifest(root).digest()
    content = (root / table).read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\n", b"\r\n")
    (root / table).write_bytes(b"\xef\xbb\xbf" + content)
    assert load_task(task).manifest(root).digest() == before


@pytest.mark.parametrize(("task", "table", "_"), TABLES, ids=NAMES)
def test_text_in_another_encoding_is_an_error_that_names_the_table(copy, task, table, _):
    root = copy(task)
    content = (root / table).read_bytes()
    (root / table).write_bytes(content + b"\xe9\xe9\n")
    with pytest.raises(DataError, match=rf"{Path(table).name}, .*line \d+: not .* UTF-8"):
        load_task(task).manifest(root)


@pytest.mark.parametrize(
    ("task", "table"),
    [
        ("urbansound8k", "metadata/UrbanSound8K.csv"),
        ("esc50", "meta/esc50.csv"),
        ("fsdkaggle2019-curated", "FSDKaggle2019.meta/train_curated_post_competition.csv"),
        ("dcase2019-1a", "evaluation_setup/fold1_train.csv"),
        ("magnatagatune", "annotations_final.csv"),
        ("audioset-balanced", "balanced_train_segments.csv"),
        ("medley-solos", "Medley-solos-DB_metadata.csv"),
        ("fsd50k", "FSD50K.ground_truth/dev.csv"),
        ("jamendo-moodtheme", "data/splits/split-0/autotagging_moodtheme-train.tsv"),
    ],
)
def test_clip_that_is_listed_twice_is_named(copy, task, table):
    root = copy(task)
    text = (root / table).read_text("utf-8")
    lines = text.splitlines()
    (root / table).write_text(f"{text}{lines[len(lines) // 2]}\n", "utf-8")
    with pytest.raises(DataError) as caught:
        load_task(task).manifest(root)
    assert "more than once" in str(caught.value) or "twice" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("air_conditioner", "air_conditoner", UnknownNameError, r"Did you mean 'air_conditioner'"),
        ("100000-0-0-0.wav", "../../../x.wav", DataError, r"leaves the root folder"),
        ("100000-0-0-0.wav", "#NAME?", DataError, r"spreadsheet program has changed: '#NAME\?'"),
    ],
)
def test_values_that_cannot_be(copy, old, new, error, said):
    root = copy("urbansound8k")
    table = root / "metadata/UrbanSound8K.csv"
    text = table.read_text("utf-8")
    assert old in text
    table.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(error, match=said):
        load_task("urbansound8k").manifest(root)


def test_faults_of_one_row_name_the_table_and_the_clip(copy):
    root = copy("urbansound8k")
    table = root / "metadata/UrbanSound8K.csv"
    lines = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[7]]), "utf-8")
    with pytest.raises(DataError) as caught:
        load_task("urbansound8k").manifest(root)
    clip = lines[7].partition(".wav")[0]
    assert str(caught.value) == f"{table}: clip ids that occur more than once: {clip!r}"
    lines[7] = lines[7].replace("car_horn", "cow_moo").replace("air_conditioner", "cow_moo")
    table.write_text("\n".join(lines), "utf-8")
    with pytest.raises(UnknownNameError) as caught:
        load_task("urbansound8k").manifest(root)
    assert f"{table}, clip '{clip}.wav': 'cow_moo'. " in str(caught.value)


def test_audio_missing_for_half_of_the_clips_is_counted_everywhere(copy, main, tmp_path):
    root = copy("urbansound8k")
    for path in sorted((root / "audio").rglob("*-1.wav")):
        path.unlink()
    done = main("data", "check", "urbansound8k", "--root", root)
    assert done.returncode == 1
    assert "20 of 40 recordings are missing" in done.stdout
    where = ("--task", "urbansound8k", "--cache", tmp_path / "cache")
    done = main("extract", "-e", "melstats", "--root", root, *where)
    assert done.returncode == 1
    assert "20 of 40 clips have no embedding" in done.stdout
    done = main(
        "evaluate", "-e", "melstats", *where, "--reports", tmp_path / "reports", "--probe", "knn"
    )
    assert done.returncode == 0
    assert "20 of 8,732 clips" in done.stdout


def test_faulty_card_of_the_users_stops_no_other_task(copy, main, tmp_path, monkeypatch):
    root = copy("urbansound8k")
    (tmp_path / "my-cards").mkdir()
    (tmp_path / "my-cards/mine.yaml").write_text("name: mine\ndataset: urbansound8k\n")
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path / "my-cards"))
    with pytest.warns(UserWarning, match=r"task skipped: .*mine\.yaml"):
        done = main("extract", "-e", "melstats", "--task", "urbansound8k", "--root", root)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ProbekitError):
        load_task("mine")
