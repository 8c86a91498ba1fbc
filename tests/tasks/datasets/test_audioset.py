"""AudioSet: the real lists in their original form, files of several names, damaged lists."""

import io
import shutil
import tarfile
from collections import Counter

import h5py
import numpy as np
import pytest
import soundfile

import probekit
from probekit.cache.embeddings import list_embeddings
from probekit.cards import TaskCard, load_task_card
from probekit.errors import CardError, DataError, UnknownNameError
from probekit.extractors.students.zoo import build_student
from probekit.tasks.task import Task, load_task
from probekit.training.audio_store import AudioStore
from probekit.training.level_store import LevelStore

COMMENTS = (
    "# Segments csv created\n# num_ytids=1\n# YTID, start_seconds, end_seconds, positive_labels\n"
)
CLASSES = 'index,mid,display_name\n0,/m/09x0r,Speech\n1,/m/05zppz,"Male speech, man speaking"\n'


@pytest.fixture
def real(shared, tmp_path):
    """The original lists: three lines of comment, no header, a space after each comma."""
    meta = shared / "data/meta"
    for part in ("balanced_train", "eval"):
        _, *lines = (meta / f"audioset_{part}_segments.csv").read_text().splitlines()
        text = "".join(f"{line.replace(',', ', ', 3)}\n" for line in lines)
        (tmp_path / f"{part}_segments.csv").write_text(COMMENTS + text)
    shutil.copy(meta / "audioset_class_labels_indices.csv", tmp_path / "class_labels_indices.csv")
    return tmp_path


def write(folder, *lines, comments=COMMENTS, classes=CLASSES):
    """Lists with one evaluation segment, and these training segments."""
    (folder / "class_labels_indices.csv").write_text(classes)
    lines = lines or ('-abc_EFGHIJ, 30.000, 40.000, "/m/09x0r,/m/05zppz"',)
    text = "\n".join(lines)
    (folder / "balanced_train_segments.csv").write_text(f"{comments}{text}\n")
    evaluated = 'evalEFGHIJK, 5.500, 9.000, "/m/09x0r"'
    (folder / "eval_segments.csv").write_text(f"{COMMENTS}{evaluated}\n")
    return folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_balanced_has_the_counted_segments(real):
    clips = load_task("audioset-balanced").manifest(real)
    assert Counter(clips.column("split")) == {"train": 22160, "test": 20371}
    assert len(clips) == clips.expected
    assert clips.provenance == ()
    targets, train = clips.targets(), clips.column("split") == "train"
    for own, labels, least, most in ((train, 52882, 59, 6244), (~train, 51804, 59, 5695)):
        counts = targets[own].sum(axis=0)
        assert (counts.sum(), counts.min(), counts.max()) == (labels, least, most)
    assert (len(clips.class_names), clips.class_names[0], clips.class_names[526]) == (
        527,
        "Speech",
        "Field recording",
    )
    assert clips.clip_ids[0] == "--PJHxphWEs"


def test_the_balanced_list_validates_what_the_unbalanced_trains(real):
    lines = 'unbalancedA, 0.000, 10.000, "/m/09x0r"\n'
    (real / "unbalanced_train_segments.csv").write_text(COMMENTS + lines)
    clips = load_task("audioset").manifest(real)
    assert Counter(clips.column("split")) == {"train": 1, "valid": 22160, "test": 20371}
    assert "train: 1 of 2,041,789 clips" in clips.provenance


def test_recordings_inside_of_larger_files(tmp_path):
    """PANNs' HDF5 with an empty row, and a tar without the leading Y; half is missing."""
    lines = [f'-abc_EFGHI{k}, 30.000, 40.000, "/m/09x0r"' for k in range(4)]
    write(tmp_path, *lines)
    rng = np.random.default_rng(0)
    waves = rng.integers(-9999, 9999, (3, 320000)).astype(np.int16)
    with h5py.File(tmp_path / "balanced_train.h5", "w") as file:
        file["audio_name"] = np.array([b"Y-abc_EFGHI0.wav", b"", b"YevalEFGHIJK.wav"], "S20")
        file["waveform"] = waves
        file.attrs["sample_rate"] = 32000
    stream = io.BytesIO()
    soundfile.write(stream, waves[1], 32000, format="FLAC")
    with tarfile.open(tmp_path / "eval.tar", "w") as archive:
        entry = tarfile.TarInfo("audio/-abc_EFGHI1.flac")
        entry.size = len(stream.getvalue())
        archive.addfile(entry, io.BytesIO(stream.getvalue()))
    clips = load_task("audioset-balanced").manifest(tmp_path)
    assert clips.column("path").tolist() == [
        "balanced_train.h5::Y-abc_EFGHI0",
        "eval.tar::-abc_EFGHI1",
        "balanced_train.h5::YevalEFGHIJK",
    ]
    assert clips.absent == ("Y-abc_EFGHI2", "Y-abc_EFGHI3") and clips.expected == 5
    # both stores of a training, and an extractor, read them
    store = AudioStore.open(clips, 16000, tmp_path / "store")
    assert store.lengths.tolist() == [160000] * 3 and not store.failures
    levels = LevelStore.open(clips, build_student("talnet:width=2", 2), tmp_path / "parts")
    assert levels.crops([0, 1, 2], [0, 0, 0], 160000).shape == (3, 400, 64)
    probekit.extract("mfcc", task="audioset-balanced", root=tmp_path, cache=tmp_path / "cache")
    [embeddings] = list_embeddings(tmp_path / "cache")
    assert sorted(embeddings.clip_ids) == sorted(clips.clip_ids) and not embeddings.failures


def test_labels_are_display_names_with_their_commas(tmp_path):
    clips = load_task("audioset-balanced").manifest(write(tmp_path))
    assert clips.class_names == ("Speech", "Male speech, man speaking")
    assert list(clips.table["labels"]) == [("Speech", "Male speech, man speaking"), ("Speech",)]
    assert list(clips.table["path"]) == ["Y-abc_EFGHIJ.wav", "YevalEFGHIJK.wav"]


def test_files_are_found_by_each_usual_name(tmp_path):
    write(
        tmp_path,
        *(
            f'{name}EFGHIJ, 30.000, 40.000, "/m/09x0r"'
            for name in ("-abc_", "_bcd-", "zcdef", "gone0")
        ),
    )
    touch(
        tmp_path,
        "train/Y-abc_EFGHIJ.flac",
        "train/a/_bcd-EFGHIJ_30000_40000.wav",
        "zcdefEFGHIJ.m4a",
        "eval/YevalEFGHIJK_5.500_9.000.wav",
    )
    clips = load_task("audioset-balanced").manifest(tmp_path)
    assert list(clips.table["path"]) == [
        "train/Y-abc_EFGHIJ.flac",
        "train/a/_bcd-EFGHIJ_30000_40000.wav",
        "zcdefEFGHIJ.m4a",
        "eval/YevalEFGHIJK_5.500_9.000.wav",
    ]
    assert clips.expected == 5
    assert clips.table[["start", "end"]].isna().all(axis=None)  # a file is a segment


def own_names(*templates):
    facts = load_task_card("audioset-balanced").model_dump()
    facts["options"]["files"] = list(templates)
    return Task(TaskCard.model_validate(facts))


def test_files_may_have_names_of_the_user(tmp_path):
    write(tmp_path)
    touch(tmp_path, "as/id=-abc_EFGHIJ from 000030.ogg")
    clips = own_names("id={ytid} from {start_s:06d}").manifest(tmp_path)
    assert list(clips.table["path"]) == ["as/id=-abc_EFGHIJ from 000030.ogg"]
    assert clips.expected == 2


@pytest.mark.parametrize("template", ["{id}.wav", "{ytid", "{}", "{ytid.secret}"])
def test_template_that_cannot_be_filled_is_refused(tmp_path, template):
    with pytest.raises(CardError, match=r"option files: cannot fill .*fields are end, end_ms"):
        own_names(template).manifest(write(tmp_path))


def test_recordings_of_another_name_are_refused(tmp_path):
    touch(write(tmp_path), "audio/clip_0001.wav")
    with pytest.raises(DataError, match=r"none of its 1 recordings.*'Y-abc_EFGHIJ'.*clip_0001"):
        load_task("audioset-balanced").manifest(tmp_path)


@pytest.mark.parametrize("comments", [COMMENTS, ""])
def test_ids_damaged_by_a_spreadsheet_are_refused(tmp_path, comments):
    """Also on the first line, where they look like a comment."""
    write(tmp_path, '#NAME?, 30.000, 40.000, "/m/09x0r"', comments=comments)
    with pytest.raises(DataError, match=r"balanced_train_segments\.csv: ids .*'#NAME\?'.*original"):
        load_task("audioset-balanced").manifest(tmp_path)


@pytest.mark.parametrize(
    ("line", "error", "fault"),
    [
        (
            "YTID,start_seconds,end_seconds,positive_labels",
            DataError,
            "without a header of columns",
        ),
        (
            "abcdEFGHIJK, 30.000, 40.000, /m/09x0r,/m/05zppz",
            DataError,
            r"line 4: expected 4 fields .*got 5",
        ),
        ('abcdEFGHIJK, 30.000, 40.000, "/m/09x0"', UnknownNameError, "video abcdEFGHIJK '/m/09x0'"),
        ('/../../abc, 30.000, 40.000, "/m/09x0r"', DataError, "leaves the root"),
        ('evalEFGHIJK, 30.000, 40.000, "/m/09x0r"', DataError, "more than once: 'evalEFGHIJK'"),
    ],
)
def test_faulty_rows_are_named(tmp_path, line, error, fault):
    if line.startswith("YTID"):
        line += '\nabcdEFGHIJK,30.000,40.000,"/m/09x0r"'
    with pytest.raises(error, match=fault):
        load_task("audioset-balanced").manifest(write(tmp_path, line))


@pytest.mark.parametrize("line", ["2,/m/05zppz,Male", "1,/m/05zppz,Speech", "1,/m/09x0r,Male"])
def test_classes_with_a_gap_or_twice_are_refused(tmp_path, line):
    classes = f"index,mid,display_name\n0,/m/09x0r,Speech\n{line}\n"
    with pytest.raises(DataError, match=r"class_labels_indices\.csv: column index must count"):
        load_task("audioset-balanced").manifest(write(tmp_path, classes=classes))


@pytest.mark.parametrize("name", ["class_labels_indices.csv", "eval_segments.csv"])
def test_missing_file_is_named(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=rf"expected {name}"):
        load_task("audioset-balanced").manifest(tmp_path)


def test_stand_in_loses_some_segments(tmp_path):
    load_task("audioset-balanced").write_standin(tmp_path / "standin", 48)
    clips = load_task("audioset-balanced").manifest(tmp_path / "standin")
    assert Counter(clips.column("split")) == {"train": 22, "test": 22}
    assert (clips.targets().sum(axis=0) > 0).all()
    lines = (tmp_path / "standin/eval_segments.csv").read_text().splitlines()
    assert [line[:2] for line in lines[:4]] == ["# ", "# ", "# ", lines[3][:2]]
    assert '.000, "/m/' in lines[3]
