"""FSD50K: uploaders where they are known, numbers of Freesound, tables that do not fit."""

import json
import shutil

import pytest

from probekit.errors import DataError, UnknownNameError
from probekit.tasks.freesound import freesound_ids, of_shared_recordings
from probekit.tasks.task import load_task

STANDIN = ("fsd50k", 32)


def test_uploaders_are_groups_where_their_file_is(editable_standin):
    task = load_task("fsd50k")
    assert (task.manifest(editable_standin).column("group") != "").all()
    shutil.rmtree(editable_standin / "FSD50K.metadata")
    clips = task.manifest(editable_standin)
    assert (clips.column("group") == "").all()
    assert list(clips.column("split")[:2]) == ["train", "train"]


def test_ids_are_numbers_of_freesound(standin):
    task = load_task("fsd50k")
    clips = task.manifest(standin)
    numbers = freesound_ids(clips, task.card)
    assert numbers["100000"] == "100000"
    others = {"100000-3-0-0": "100000", "100001-3-0-0": "100001"}
    assert of_shared_recordings(numbers, clips.clip_ids, others) == ["100000"]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (",val", ",valid", DataError, "column split must be train or val, got 'valid'"),
        ("Meow", "Meouw", UnknownNameError, "Did you mean 'Meow'"),
    ],
)
def test_values_that_cannot_be(editable_standin, old, new, error, message):
    edit(editable_standin / "FSD50K.ground_truth/dev.csv", old, new)
    with pytest.raises(error, match=message):
        load_task("fsd50k").manifest(editable_standin)


def test_faulty_metadata_are_named(editable_standin):
    path = editable_standin / "FSD50K.metadata/dev_clips_info_FSD50K.json"
    path.write_text(json.dumps({"100000": {"tags": []}}))
    with pytest.raises(DataError, match=r"dev_clips_info_FSD50K\.json: expected JSON with an 'upl"):
        load_task("fsd50k").manifest(editable_standin)
