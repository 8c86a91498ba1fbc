"""Datasets that tell all by the names of files: real recordings, and names that do not fit."""

import json

import pytest

from probekit.cards import Protocol, TaskCard, load_task_card
from probekit.errors import CardError, DataError, UnknownNameError
from probekit.tasks import splits
from probekit.tasks.standin.writer import MARKER
from probekit.tasks.task import Task, load_task

STANDIN = ("vocalsound", 40)

DIGITS = TaskCard(
    name="digits",
    title="Digits by the names of their files",
    dataset="digits",
    module="file_names",
    layout="recordings/DIGIT_SPEAKER_INDEX.wav",
    labels=[str(k) for k in range(10)],
    protocol=Protocol(kind="folds"),
    metric="accuracy",
    options={
        "folder": "recordings",
        "pattern": r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)",
        "label": "digit",
        "group": "speaker",
        "fold": "speaker",
    },
)


def change(**options):
    return Task(DIGITS.model_copy(update={"options": {**DIGITS.options, **options}}))


def test_a_card_alone_lists_the_real_digits_as_their_own_module_does(shared):
    root = shared / "data/fsdd"
    clips, expected = Task(DIGITS).manifest(root), load_task("fsdd").manifest(root)
    assert len(clips) == 3000
    columns = ["clip_id", "path", "fold", "group", "labels"]
    assert clips.table[columns].equals(expected.table[columns])


def test_speakers_of_the_real_digits_can_be_divided(shared):
    rule = {"field": "speaker", "valid": ["theo"], "test": ["jackson", "lucas"]}
    task = change(splits=rule)
    task.card = task.card.model_copy(update={"protocol": Protocol(kind="split")})
    counts = splits.count_clips(task.card, task.manifest(shared / "data/fsdd"))
    assert counts == {"clips": 3000, "train": 1500, "valid": 500, "test": 1000}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_actors_of_cremad_are_divided_as_the_card_says():
    card = load_task_card("cremad")
    rule = card.options["splits"]
    assert (len(rule["valid"]), len(rule["test"])) == (9, 19)
    assert not {*rule["valid"]} & {*rule["test"]}
    assert {*rule["valid"], *rule["test"]} <= {*range(1001, 1092)}


def test_twins_of_cremad_are_never_used(tmp_path):
    card = load_task_card("cremad")
    others = ["1006_TIE_HAP_XX", "1013_WSI_SAD_XX", "1017_IWW_ANG_XX", "1001_IEO_ANG_HI"]
    touch(tmp_path, *(f"AudioWAV/{name}.wav" for name in [*card.known_bad, *others]))
    clips = load_task("cremad").manifest(tmp_path)
    assert clips.clip_ids == sorted(others)
    assert dict(zip(clips.clip_ids, clips.column("split"), strict=True)) == {
        "1001_IEO_ANG_HI": "test",
        "1006_TIE_HAP_XX": "train",
        "1013_WSI_SAD_XX": "train",
        "1017_IWW_ANG_XX": "test",
    }


def test_words_are_told_apart_from_noise_and_split_by_lists(tmp_path):
    words = ["bed/0a7c2a8d_nohash_0", "bed/1a9afd33_nohash_1", "cat/0a7c2a8d_nohash_0"]
    touch(tmp_path, *(f"{word}.wav" for word in words), "_background_noise_/pink_noise.wav")
    (tmp_path / "validation_list.txt").write_text("bed/1a9afd33_nohash_1.wav\n")
    (tmp_path / "testing_list.txt").write_text("cat/0a7c2a8d_nohash_0.wav\nbed/none_nohash_0.wav\n")
    clips = load_task("speechcommands").manifest(tmp_path)
    assert clips.clip_ids == words
    assert list(clips.column("split")) == ["train", "valid", "test"]
    assert list(clips.column("group")) == ["0a7c2a8d", "1a9afd33", "0a7c2a8d"]
    assert clips.column("path")[0] == "bed/0a7c2a8d_nohash_0.wav"


def test_a_clip_of_two_lists_is_refused_by_name(editable_standin):
    lists = editable_standin / "datafiles"
    test = json.loads((lists / "te_rev.json").read_text())
    train = json.loads((lists / "tr_rev.json").read_text())
    test["data"].append(train["data"][0])
    (lists / "te_rev.json").write_text(json.dumps(test))
    name = train["data"][0]["wav"].rpartition("/")[2].removesuffix(".wav")
    with pytest.raises(DataError, match=rf"te_rev\.json: '{name}' is listed for test and"):
        load_task("vocalsound").manifest(editable_standin)


def test_lists_of_the_first_release_are_read_and_other_clips_are_on_no_side(editable_standin):
    for path in (editable_standin / "datafiles").iterdir():
        path.rename(path.with_name(path.name.replace("_rev", "")))
    touch(editable_standin, "audio_16k/f9999_0_sigh.wav")
    clips = load_task("vocalsound").manifest(editable_standin)
    assert len(clips) == 41
    last = clips.table.set_index("clip_id").loc["f9999_0_sigh"]
    assert (last["split"], last["labels"]) == ("", ("sigh",))


def test_faulty_list_is_named(editable_standin):
    (editable_standin / "datafiles/tr_rev.json").write_text('{"data": [{"path": 1}]}')
    with pytest.raises(DataError, match=r"tr_rev\.json: expected JSON with a list 'data'"):
        load_task("vocalsound").manifest(editable_standin)


def test_name_that_does_not_fit_is_refused_with_the_layout(editable_standin):
    (editable_standin / MARKER).unlink()
    touch(editable_standin, "audio_16k/copy of f0003_0_cough.wav")
    with pytest.raises(DataError, match=r"copy of f0003_0_cough\.wav: not a name of vocalsound"):
        load_task("vocalsound").manifest(editable_standin)


def test_recordings_of_another_suffix_are_named_by_an_option(tmp_path):
    touch(tmp_path, "0_theo_1.mp3", "1_theo_1.mp3", "notes.txt")
    with pytest.raises(DataError, match=r"no recordings of digits, whose names end in \.wav"):
        change(folder=".").manifest(tmp_path)
    clips = change(folder=".", suffix=".mp3").manifest(tmp_path)
    assert list(clips.column("path")) == ["0_theo_1.mp3", "1_theo_1.mp3"]
    with pytest.raises(
        DataError, match=r"0_theo_1\.mp3: not a name of digits: the pattern '\(\?P<digit>\\d\)_"
    ):
        change(
            folder=".", suffix=".mp3", pattern=r"(?P<digit>\d)_(?P<speaker>)", label="digit"
        ).manifest(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'suffix'"):
        change(suffxi=".mp3").manifest(tmp_path)


def test_label_that_the_card_does_not_list_is_refused(tmp_path):
    touch(tmp_path, "wav/03a01Fa.wav")
    card = load_task_card("emodb").model_copy(update={"labels": ["anger", "fear"]})
    with pytest.raises(UnknownNameError, match="'happiness'"):
        Task(card).manifest(tmp_path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pattern": "("}, CardError, r"digits: option pattern: missing \)"),
        ({"group": "spaeker"}, UnknownNameError, "'spaeker'. .*Did you mean 'speaker'"),
        ({"splits": {"field": "x", "valid": [], "test": []}}, UnknownNameError, "'x'"),
        ({"lists": {"testing": "a.txt"}}, CardError, "must be of train, valid or test"),
        ({"pattern": 3}, CardError, "digits: option pattern: must be a text, got 3"),
        ({"label_names": ["x"]}, CardError, r"option label_names: must be a mapping, got \['x'\]"),
    ],
)
def test_options_that_do_not_fit_are_faults_of_the_card(tmp_path, options, error, message):
    touch(tmp_path, "recordings/1_theo_0.wav", "a.txt")
    with pytest.raises(error, match=message):
        change(**options).manifest(tmp_path)


def test_fields_that_a_name_lacks(tmp_path):
    """A part of the pattern that may be missing: no group, but never no label."""
    touch(tmp_path, "recordings/1_theo_0.wav", "recordings/2.wav")
    pattern = r"(?P<digit>\d)(?:_(?P<speaker>[a-z]+)_(?P<index>\d+))?"
    clips = change(pattern=pattern).manifest(tmp_path)
    assert clips.column("group").tolist() == clips.column("fold").tolist() == ["theo", ""]
    with pytest.raises(DataError, match=r"2\.wav: its name has no index, the label"):
        change(pattern=pattern, label="index").manifest(tmp_path)


def test_missing_option_is_a_fault_of_the_card(tmp_path):
    card = DIGITS.model_copy(update={"options": {"folder": "recordings"}})
    with pytest.raises(CardError, match="needs option 'pattern'"):
        Task(card).manifest(tmp_path)
