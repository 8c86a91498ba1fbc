"""GiantSteps: which previews have one sure key, how keys are spelled, previews of both sets."""

import pytest

from probekit.errors import DataError
from probekit.metrics.class_credits import KEYS
from probekit.tasks import leakage
from probekit.tasks.task import load_task

STANDIN = ("giantsteps-key", 32)
ANNOTATIONS = "giantsteps-mtg-key-dataset/annotations/annotations.txt"
KEY = "giantsteps-key-dataset/annotations/key/{}.LOFI.key"


@pytest.fixture
def root(tmp_path):
    """Both sets without audio; the lines of the training set are official ones."""
    table, test = tmp_path / ANNOTATIONS, tmp_path / KEY.format("0297134")
    for path in (table, test):
        path.parent.mkdir(parents=True)
    table.write_text(
        "ID\tMANUAL KEY\tC\n5061\tD# minor\t2\n10981\t-\t0\n16484\tA minor\t1\n"
        "61578\tC minor / F# minor\t2\n299879\tA# major / minor\t1\n30278\tD major\t2\n"
    )
    test.write_text("Eb minor\n")
    return tmp_path


def test_classes_are_the_keys_of_the_metric():
    assert tuple(load_task("giantsteps-key").card.labels) == KEYS


def test_previews_with_one_sure_key_train(root):
    clips = load_task("giantsteps-key").manifest(root)
    rows = clips.table[["clip_id", "split", "labels", "path"]].to_numpy().tolist()
    mtg, key = "giantsteps-mtg-key-dataset/audio", "giantsteps-key-dataset/audio"
    assert rows == [
        ["mtg-5061", "train", ("Eb minor",), f"{mtg}/5061.LOFI.mp3"],
        ["mtg-30278", "train", ("D major",), f"{mtg}/30278.LOFI.mp3"],
        ["0297134", "test", ("Eb minor",), f"{key}/0297134.LOFI.mp3"],
    ]


def test_folders_of_githubs_archives_and_converted_audio_are_read(root):
    for name in ("giantsteps-mtg-key-dataset", "giantsteps-key-dataset"):
        (root / name).rename(root / f"{name}-master")
    audio = root / "giantsteps-mtg-key-dataset-master/audio"
    audio.mkdir()
    (audio / "5061.LOFI.wav").touch()
    clips = load_task("giantsteps-key").manifest(root)
    assert clips.column("path")[0] == "giantsteps-mtg-key-dataset-master/audio/5061.LOFI.wav"


def test_preview_of_both_sets_is_a_leak_that_is_named(root):
    (root / KEY.format("0005061")).write_text("Eb minor")
    task = load_task("giantsteps-key")
    [leak] = leakage.find_shared_groups(task, task.manifest(root))
    assert leak.what == "5061"
    assert leak.sides == {"train": ["mtg-5061"], "test": ["0005061"]}


def test_quarters_of_a_preview_are_one_piece(root):
    previews = load_task("giantsteps-key").manifest(root)
    task = load_task("giantsteps-key-30s")
    clips = task.manifest(root)
    assert clips.clip_ids[:4] == [f"mtg-5061-{k}" for k in range(4)]
    assert list(clips.table["start"][:4]) == [0.0, 30.0, 60.0, 90.0]
    assert list(clips.table["end"][:3]) == [30.0, 60.0, 90.0]
    assert clips.table["end"].isna().sum() == len(previews)  # the last goes on to the end
    assert task.card.aggregate == "recording"
    assert clips.table["path"].nunique() == len(previews) == len(clips) / 4
    assert task.card.counts["test"] == 4 * load_task("giantsteps-key").card.counts["test"]


def test_faults_are_named(root):
    (root / KEY.format("1")).write_text("F minor / major")
    with pytest.raises(
        DataError, match=r"1\.LOFI\.key: expected one key, .* got 'F minor / major'"
    ):
        load_task("giantsteps-key").manifest(root)
    (root / ANNOTATIONS).write_text("ID\tMANUAL KEY\tC\n5061\tD# minor\tsure\n")
    with pytest.raises(DataError, match=r"annotations\.txt: 5061: C must be 0, 1 or 2"):
        load_task("giantsteps-key").manifest(root)
