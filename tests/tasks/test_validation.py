"""What a check of a dataset's folder finds."""

import json
import shutil

import pytest

from probekit import cards
from probekit.errors import CardError, DataError
from probekit.tasks import splits, validation
from probekit.tasks.standin.writer import MARKER
from probekit.tasks.task import load_task

pytestmark = pytest.mark.usefixtures("small_grid")


@pytest.fixture(scope="module")
def urban(tmp_path_factory):
    root = tmp_path_factory.mktemp("urban")
    load_task("urbansound8k").write_standin(root, clips=40)
    return root


@pytest.fixture
def real(urban, tmp_path):
    """The same without its marker: taken for the dataset itself."""
    shutil.copytree(urban, tmp_path / "root")
    (tmp_path / "root" / MARKER).unlink()
    return tmp_path / "root"


def test_stand_in_is_whole_and_compared_with_no_count(urban):
    found = validation.check_folder(load_task("urbansound8k"), urban, decode=True)
    assert found.faults == []
    assert found.stand_in
    assert found.counts["clips"] == {"found": 40, "expected": None}
    assert list(found.counts) == ["clips", *map(str, range(1, 11))]
    assert found.labels["air_conditioner"] + found.labels["car_horn"] == 40
    assert found.undecodable == {}
    assert 0.3 * 40 < found.seconds < 40


def test_other_counts_are_named_side_by_side(real):
    found = validation.check_folder(load_task("urbansound8k"), real)
    assert found.counts["10"] == {"found": 4, "expected": 837}
    assert "fold 10: 4 of 837 clips" in found.faults
    assert not any(fault.startswith("40 of") for fault in found.faults)
    clips = load_task("urbansound8k").manifest(real)
    assert "fold 10: 4 of 837 clips" in clips.provenance
    assert clips.expected == 8732


def test_pointers_of_git_lfs_are_named_without_decoding(real):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 83086\n"
    paths = sorted((real / "audio").rglob("*.wav"))
    for path in paths[:15]:
        path.write_bytes(pointer)
    task = load_task("urbansound8k")
    [fault] = [f for f in validation.check_folder(task, real).faults if "LFS" in f]
    assert fault.startswith("15 of 40 recordings looked at are Git LFS pointers, not audio")
    assert "run git lfs pull" in fault
    assert paths[0].name in fault
    result = validation.check_folder(task, real, decode=True)
    assert len(result.undecodable) == 15
    assert all("is a Git LFS pointer, not audio" in why for why in result.undecodable.values())


def test_missing_and_damaged_recordings_are_named(real):
    paths = sorted((real / "audio/fold3").iterdir())
    paths[0].unlink()
    paths[1].write_bytes(b"no audio")
    shutil.rmtree(real / "audio/fold4")
    shutil.make_archive(str(real / "fold4"), "zip", real / "metadata")
    seen = []
    found = validation.check_folder(
        load_task("urbansound8k"), real, decode=True, progress=lambda *n: seen.append(n)
    )
    assert f"audio/fold3/{paths[0].name}" in found.missing
    assert sum("fold4" in path for path in found.missing) == 4
    assert f"{len(found.missing)} of 40 recordings are missing" in found.faults
    assert list(found.undecodable) == [paths[1].stem]
    assert "1 of 40 clips cannot be read" in found.faults
    assert found.unpack == ["unzip 'fold4.zip'"]
    assert seen[-1] == (35, 35)


def test_known_bad_clips_are_listed_with_the_reason(tmp_path):
    load_task("gtzan").write_standin(tmp_path)
    (tmp_path / MARKER).unlink()
    found = validation.check_folder(load_task("gtzan"), tmp_path)
    assert found.faults == []
    assert list(found.known_bad) == ["jazz.00054"]


def test_same_stretch_of_files_is_looked_for_once(tmp_path):
    lines = ["clip_id,path,start,end,label,split"]
    lines += [f"c{k},a.wav,{k},{k + 1},{'xxy'[k]},train" for k in range(3)]
    lines += ["d,sub/b.wav,,,y,test"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    task = load_task(str(tmp_path / "t.csv"))
    assert validation.missing_recordings(task.manifest()) == ["a.wav", "sub/b.wav"]
    (tmp_path / "a.wav").touch()
    assert validation.check_folder(task).faults == [
        "split 'test': the training clips are all of one recording ('a.wav'): none can be held out "
        "to choose hyper-parameters",
        "1 of 2 recordings are missing",
    ]


def test_regression_counts_numbers(tmp_path):
    lines = ("clip_id,path,target:joy,split", "a,a.wav,1,train", "b,b.wav,2,test")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert validation.check_folder(load_task(str(tmp_path / "t.csv"))).labels == {"joy": 2}


def test_manifest_without_a_root_says_what_it_needs():
    with pytest.raises(DataError, match="Give their folder with --root"):
        validation.missing_recordings(load_task("gtzan").manifest())


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, []),
        ({"clips": 930}, []),
        ({"clips": 931}, ["930 of 931 clips"]),
        ({"clips": 930, "train": 443}, []),
        ({"clips": 9300, "train": 4430, "test": 290}, ["train: 443 of 4,430 clips"]),
        ({"clips": 930, "train": 443, "pool": 3}, ["pool: 0 of 3 clips"]),
    ],
)
def test_deviations_name_found_and_expected(counts, said):
    card = cards.load_task_card("gtzan").model_copy(update={"counts": counts})
    clips = load_task("gtzan").manifest()
    assert splits.count_mismatches(card, clips) == said


def test_deviation_is_shown_by_extract_and_evaluate(real, main, tmp_path):
    cache = tmp_path / "cache"
    where = ("--task", "urbansound8k", "--cache", cache)
    done = main("extract", "-e", "melstats", *where, "--root", real)
    assert done.returncode == 0, done.stderr
    assert "fold 10: 4 of 837 clips" in done.stdout
    done = main("evaluate", "-e", "melstats", *where, "--probe", "knn", "--json")
    [result] = json.loads(done.stdout)
    assert "fold 10: 4 of 837 clips" in result["provenance"]
    assert "40 of 8,732 clips" in result["provenance"]


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("label,split", ("x,", "y,", "x,test", "y,test"), "no clip has split 'train'"),
        (
            "extra:kind,split",
            ("x,train", "y,train", "x,test", "y,test"),
            "the clips have no labels",
        ),
        ("label,fold", ("x,1", "y,1", "x,1", "y,1"), "at least two folds, got only 1"),
        ("label,fold", ("x,1", "y,2", "x,1", "y,"), "1 of 4 clips have no fold"),
        ("label,group", ("x,a", "y,a", "x,b", "y,b"), "5 folds need at least 5 groups"),
        ("label,split", ("x,train", "x,train", "x,test", "x,test"), "all clips have the label 'x'"),
        ("labels,split", (",train", ",train", ",test", ",test"), "no clip has a label"),
        ("label,split", ("x,train", "y,train", "x,test", "y,test"), "no class has two training"),
        ("label,fold", ("x,1", "x,1", "y,2", "y,2"), "are all of one fold ('2')"),
        ("target:v,split", ("1,train", "2,train", "3,train", "3,test"), "is not defined on its 1"),
    ],
)
def test_table_that_no_probe_could_be_fitted_on_is_not_as_it_should_be(
    tmp_path, main, header, rows, said
):
    lines = [f"clip_id,path,{header}", *(f"c{k},{k}.wav,{row}" for k, row in enumerate(rows))]
    for k in range(len(rows)):
        (tmp_path / f"{k}.wav").touch()
    (tmp_path / "t.csv").write_text("\n".join(lines))
    [fault] = validation.check_folder(load_task(str(tmp_path / "t.csv"))).faults
    assert said in fault
    done = main("data", "check", tmp_path / "t.csv")
    assert done.returncode == 1
    assert said in done.stdout
    assert "as it should be" not in done.stdout


def test_clips_on_no_side_are_counted(tmp_path):
    rows = ("x,train", "y,train", "x,train", "x,test", "y,test", "y,")
    lines = ["clip_id,path,label,split", *(f"c{k},{k}.wav,{row}" for k, row in enumerate(rows))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    for k in range(len(rows)):
        (tmp_path / f"{k}.wav").touch()
    check = validation.check_folder(load_task(str(tmp_path / "t.csv")))
    assert check.counts["on no side"] == {"found": 1, "expected": None}
    assert check.faults == ["1 of 6 clips have no split: not used"]


def test_metric_for_another_kind_of_labels_is_a_fault(tmp_path):
    rows = ("x,train", "y,train", "x,test", "y,test")
    lines = ["clip_id,path,label,split", *(f"c{k},{k}.wav,{row}" for k, row in enumerate(rows))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    for k in range(len(rows)):
        (tmp_path / f"{k}.wav").touch()
    task = load_task(str(tmp_path / "t.csv"))
    task.card = task.card.model_copy(update={"metric": "r2"})
    assert validation.check_folder(task).faults == ["r2 is for regression targets, got single"]


def test_without_decoding_it_is_said_that_nothing_was_opened(main, urban):
    where = ("data", "check", "urbansound8k", "--root", urban)
    assert "recordings were not opened" in main(*where).stdout
    assert "recordings were not opened" not in main(*where, "--decode").stdout


@pytest.mark.parametrize(
    "task", [pytest.param("kinetics700", marks=pytest.mark.slow), "audioset-balanced"]
)
def test_clips_without_a_recording_are_missing_wherever_it_may_lie(task, tmp_path, main):
    load_task(task).write_standin(tmp_path, clips=60)
    (tmp_path / MARKER).unlink()
    clips = load_task(task).manifest(tmp_path)
    gone = clips.expected - len(clips)
    assert 0 < gone == len(clips.absent) < len(clips)
    found = validation.check_folder(load_task(task), tmp_path)
    assert f"{gone} of {clips.expected} clips have no recording" in found.faults
    assert found.missing == list(clips.absent)
    assert not any(list(tmp_path.rglob(f"*{name}.*")) for name in clips.absent)
    done = main("data", "check", task, "--root", tmp_path)
    assert done.returncode == 1
    assert f"missing recordings ({gone}):\n    {clips.absent[0]}\n" in done.stdout
    where = ("--task", task, "--root", tmp_path, "--cache", tmp_path / "cache")
    said = f"{gone} of {clips.expected} clips have no recording"
    assert said in main("extract", "-e", "melstats", "--limit", 2, *where).stdout


@pytest.mark.parametrize(
    ("protocol", "key"),
    [
        ({"kind": "split"}, "clip"),
        ({"kind": "split"}, "validation"),
        ({"kind": "made-folds", "folds": 3}, "4"),
        ({"kind": "folds"}, "clip"),
    ],
)
def test_counts_of_what_is_no_side_are_refused(tmp_path, protocol, key):
    facts = {"name": "mine", "title": "Mine", "dataset": "mine", "module": "table"}
    text = json.dumps({**facts, "protocol": protocol, "metric": "accuracy", "counts": {key: 3}})
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CardError, match=rf"counts: must be one of clips.*, got '{key}'$"):
        load_task(str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").write_text(text.replace(f'"{key}": 3', '"clips": 3'))
    assert load_task(str(tmp_path / "mine.yaml")).card.counts == {"clips": 3}
