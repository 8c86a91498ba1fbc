"""What a check of a dataset's folder finds."""

import json
import shutil

import pytest

from probekit import cards
from probekit.errors import DataError
from probekit.tasks import checking, counting
from probekit.tasks.base import load_task
from probekit.tasks.rehearsal import MARKER


@pytest.fixture(scope="module")
def urban(tmp_path_factory):
    root = tmp_path_factory.mktemp("urban")
    load_task("urbansound8k").rehearse(root, clips=40)
    return root


@pytest.fixture
def real(urban, tmp_path):
    """The same without its marker: taken for the dataset itself."""
    shutil.copytree(urban, tmp_path / "root")
    (tmp_path / "root" / MARKER).unlink()
    return tmp_path / "root"


def test_stand_in_is_whole_and_compared_with_no_count(urban):
    found = checking.check(load_task("urbansound8k"), urban, decode=True)
    assert found.faults == []
    assert found.stand_in
    assert found.counts["clips"] == {"found": 40, "expected": None}
    assert list(found.counts) == ["clips", *map(str, range(1, 11))]
    assert found.labels["air_conditioner"] + found.labels["car_horn"] == 40
    assert found.undecodable == {}
    assert 0.3 * 40 < found.seconds < 40


def test_other_counts_are_named_side_by_side(real):
    found = checking.check(load_task("urbansound8k"), real)
    assert found.counts["10"] == {"found": 4, "expected": 837}
    assert "fold 10: 4 of 837 clips" in found.faults
    assert not any(fault.startswith("dataset") for fault in found.faults)
    clips = load_task("urbansound8k").manifest(real)
    assert "fold 10: 4 of 837 clips" in clips.provenance
    assert clips.expected == 8732


def test_missing_and_damaged_recordings_are_named(real):
    paths = sorted((real / "audio/fold3").iterdir())
    paths[0].unlink()
    paths[1].write_bytes(b"no audio")
    shutil.rmtree(real / "audio/fold4")
    shutil.make_archive(str(real / "fold4"), "zip", real / "metadata")
    seen = []
    found = checking.check(
        load_task("urbansound8k"), real, decode=True, progress=lambda *n: seen.append(n)
    )
    assert f"audio/fold3/{paths[0].name}" in found.missing
    assert sum("fold4" in path for path in found.missing) == 4
    assert f"{len(found.missing)} of 40 recordings are not there" in found.faults
    assert list(found.undecodable) == [paths[1].stem]
    assert "1 of 40 clips cannot be read" in found.faults
    assert found.unpack == ["unzip 'fold4.zip'"]
    assert seen[-1] == (35, 35)


def test_known_bad_clips_are_listed_with_the_reason(tmp_path):
    load_task("gtzan").rehearse(tmp_path)
    (tmp_path / MARKER).unlink()
    found = checking.check(load_task("gtzan"), tmp_path)
    assert found.faults == []
    assert list(found.known_bad) == ["jazz.00054"]


def test_same_stretch_of_files_is_looked_for_once(tmp_path):
    lines = ["clip_id,path,start,end,label,split"]
    lines += [f"c{k},a.wav,{k},{k + 1},x,train" for k in range(3)] + ["d,sub/b.wav,,,y,test"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    task = load_task(str(tmp_path / "t.csv"))
    assert checking.missing(task.manifest()) == ["a.wav", "sub/b.wav"]
    (tmp_path / "a.wav").touch()
    assert checking.check(task).faults == ["1 of 2 recordings are not there"]


def test_regression_counts_numbers(tmp_path):
    lines = ("clip_id,path,target:joy,split", "a,a.wav,1,train", "b,b.wav,2,test")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert checking.check(load_task(str(tmp_path / "t.csv"))).labels == {"joy": 2}


def test_manifest_without_a_root_says_what_it_needs():
    with pytest.raises(DataError, match="Give their folder with --root"):
        checking.missing(load_task("gtzan").manifest())


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, []),
        ({"clips": 930}, []),
        ({"clips": 931}, ["dataset: 930 of 931 clips"]),
        ({"clips": 930, "train": 443}, []),
        ({"clips": 9300, "train": 4430, "test": 290}, ["train: 443 of 4,430 clips"]),
        ({"clips": 930, "train": 443, "pool": 3}, ["pool: 0 of 3 clips"]),
    ],
)
def test_deviations_name_found_and_expected(counts, said):
    card = cards.task("gtzan").model_copy(update={"counts": counts})
    clips = load_task("gtzan").manifest()
    assert counting.deviations(card, clips) == said


def test_deviation_is_shown_by_extract_and_evaluate(real, main, tmp_path):
    cache = tmp_path / "cache"
    where = ("--task", "urbansound8k", "--cache", cache)
    done = main("extract", "-e", "melstats", *where, "--root", real)
    assert done.returncode == 0, done.stderr
    assert "fold 10: 4 of 837 clips" in done.stdout
    done = main("evaluate", "-e", "melstats", *where, "--json")
    [result] = json.loads(done.stdout)
    assert "fold 10: 4 of 837 clips" in result["provenance"]
    assert "40 of 8,732 clips" in result["provenance"]
