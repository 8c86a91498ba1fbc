"""Datasets by tables of metadata: a real table, official columns, and tables that do not fit."""

import json
from collections import Counter

import pytest

from probekit.cards import Protocol, TaskCard
from probekit.errors import CardError, DataError, UnknownNameError
from probekit.tasks.task import Task, load_task

STANDIN = ("nsynth-pitch", 24)

ORCHESTRA = TaskCard(
    name="orchestra",
    title="Samples of the Philharmonia Orchestra",
    dataset="orchestra",
    module="metadata_tables",
    layout="labels.csv and *.mp3",
    protocol=Protocol(kind="made-folds", folds=5, grouped=True),
    metric="accuracy",
    options={
        "tables": "labels.csv",
        "folder": ".",
        "path": "{file}",
        "label": "instrument",
        "group": "{instrument} {pitch}",
    },
)


def test_a_card_alone_lists_the_real_samples(shared):
    clips = Task(ORCHESTRA).manifest(shared / "data/philharmonia")
    assert len(clips) == 600
    labels = Counter(label for (label,) in clips.table["labels"])
    assert set(labels.values()) == {40}
    assert len(labels) == 15
    assert clips.clip_ids[0] == clips.column("path")[0].removesuffix(".mp3")
    assert len(set(clips.column("group"))) == len(
        {id.split("_")[1] + id.split("_")[0] for id in clips.clip_ids}
    )
    assert all((shared / "data/philharmonia" / path).exists() for path in clips.column("path"))


def test_columns_of_medley_solos_make_names_of_files(tmp_path):
    (tmp_path / "annotation").mkdir()
    (tmp_path / "annotation/Medley-solos-DB_metadata.csv").write_text(
        "subset,instrument,instrument_id,song_id,uuid4\n"
        "validation,flute,3,210,d07b1fc0-567d-52c2-fef4-239f31c9d40e\n"
        "training,violin,7,210,0244a60b-91bc-5202-fef2-548395a4ce86\n"
    )
    clips = load_task("medley-solos").manifest(tmp_path)
    assert list(clips.column("path")) == [
        "audio/Medley-solos-DB_validation-3_d07b1fc0-567d-52c2-fef4-239f31c9d40e.wav",
        "audio/Medley-solos-DB_training-7_0244a60b-91bc-5202-fef2-548395a4ce86.wav",
    ]
    assert list(clips.column("split")) == ["valid", "train"]
    # numbers of songs count within a subset
    assert list(clips.column("group")) == ["validation 210", "training 210"]


def test_notes_of_tinysol_have_official_folds(tmp_path):
    header = (
        "Path,Fold,Family,Instrument (abbr.),Instrument (in full),Technique (abbr.),"
        "Technique (in full),Pitch,Pitch ID,Dynamics,Dynamics ID,Instance ID,String ID,Resampled"
    )
    row = "Brass/Bass_Tuba/ordinario/BTb-ord-F#1-pp-N-N.wav,3,Brass,BTb,Bass Tuba,ord,ordinario"
    (tmp_path / "TinySOL_metadata.csv").write_text(f"{header}\n{row},F#1,30,pp,0,0,,FALSE\n")
    clips = load_task("tinysol").manifest(tmp_path)
    assert clips.clip_ids == ["BTb-ord-F#1-pp-N-N"]
    assert clips.column("fold")[0] == "3"
    assert clips.table["labels"][0] == ("Bass Tuba",)
    assert clips.column("path")[0] == "TinySOL/Brass/Bass_Tuba/ordinario/BTb-ord-F#1-pp-N-N.wav"


def edit(root, side, change):
    path = root / f"nsynth-{side}/examples.json"
    entries = json.loads(path.read_text())
    change(entries)
    path.write_text(json.dumps(entries))


def test_pitches_beyond_the_piano_are_left_out_and_both_tasks_share_clips(editable_standin):
    def change(entries):
        first, second, *_ = entries.values()
        first["pitch"], second["pitch"] = 20, 109

    edit(editable_standin, "train", change)
    pitches = load_task("nsynth-pitch").manifest(editable_standin)
    families = load_task("nsynth-family").manifest(editable_standin)
    assert len(pitches) == len(families) - 2 == 22
    assert set(pitches.clip_ids) < set(families.clip_ids)
    assert pitches.name != families.name


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda e: next(iter(e.values())).pop("pitch"), DataError, "has no 'pitch'"),
        (lambda e: e.clear(), DataError, "an entry for each recording"),
        (lambda e: next(iter(e.values())).update(pitch="C4"), DataError, "must be a number"),
    ],
)
def test_faulty_entries_are_named(editable_standin, change, error, message):
    edit(editable_standin, "test", change)
    with pytest.raises(error, match=rf"nsynth-test.*{message}"):
        load_task("nsynth-pitch").manifest(editable_standin)


def test_a_file_that_is_no_json_is_named(editable_standin):
    (editable_standin / "nsynth-valid/examples.json").write_text("{")
    with pytest.raises(DataError, match=r"examples\.json: not JSON"):
        load_task("nsynth-pitch").manifest(editable_standin)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": "{files}"}, DataError, "no column files"),
        ({"tables": {"testing": "a.csv"}}, UnknownNameError, "Did you mean 'test'"),
        ({"within": {"pitch": 3}}, CardError, r"within: pitch: must be \[LEAST, GREATEST\], got 3"),
        ({"label_names": "a"}, CardError, "option label_names: must be a mapping, got 'a'"),
        ({"split": "pitch"}, UnknownNameError, r"pitch of clip 'a' in .*labels\.csv: 'A4'"),
    ],
)
def test_options_that_do_not_fit_are_faults_of_the_card(tmp_path, options, error, message):
    (tmp_path / "labels.csv").write_text("file,instrument,pitch\na.mp3,banjo,A4\n")
    card = ORCHESTRA.model_copy(update={"options": {**ORCHESTRA.options, **options}})
    with pytest.raises(error, match=message):
        Task(card).manifest(tmp_path)


def test_missing_option_is_a_fault_of_the_card(tmp_path):
    card = ORCHESTRA.model_copy(update={"options": {"tables": "labels.csv"}})
    with pytest.raises(CardError, match="needs option 'folder'"):
        Task(card).manifest(tmp_path)
