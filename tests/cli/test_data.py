"""``probekit data`` on the command line."""

import json
import shutil

import pytest


@pytest.fixture
def urban(main, tmp_path):
    root = tmp_path / "urban"
    done = main("data", "rehearse", "urbansound8k", "--root", root, "--clips", 40)
    assert (done.returncode, done.stderr) == (0, "")
    assert "40 stand-in clips of urbansound8k" in done.stdout
    return root


def test_check_prints_a_table_and_leaves_with_0(main, urban):
    done = main("data", "check", "urbansound8k", "--root", urban, "--decode")
    assert (done.returncode, done.stderr) == (0, "")
    assert "urbansound8k (stand-in data)" in done.stdout
    assert "10 labels: air_conditioner 20, car_horn 20" in done.stdout
    assert done.stdout.endswith("no differences\n")


def test_check_leaves_with_1_where_something_deviates(main, urban):
    shutil.rmtree(urban / "audio/fold2")
    done = main("data", "check", "urbansound8k", "--root", urban)
    assert done.returncode == 1
    assert "missing recordings (4):" in done.stdout
    assert "differs: 4 of 40 recordings are missing" in done.stdout
    done = main("data", "check", "urbansound8k", "--root", urban, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert len(found["missing"]) == 4
    assert found["counts"]["clips"] == {"found": 40, "expected": None}


def test_leaks_are_listed_and_exit_says_whether_the_card_names_them(main, urban):
    where = ("urbansound8k", "--root", urban)
    done = main("data", "leaks", *where)
    assert (done.returncode, done.stdout) == (
        0,
        "groups: none is in several splits (a group is source recording (fsID))\n",
    )
    first, *_, last = sorted((urban / "audio").rglob("*.wav"))
    shutil.copy(first, last)
    done = main("data", "leaks", *where, "--identical")
    assert done.returncode == 1
    assert "identical recordings in several splits: 1, with 2 clips" in done.stdout
    done = main("data", "leaks", *where, "--identical", "--json")
    [leak] = json.loads(done.stdout)["identical recordings"]
    assert sorted(clip for ids in leak["sides"].values() for clip in ids) == [first.stem, last.stem]


def test_clips_without_groups_are_still_compared(main, tmp_path):
    main("data", "rehearse", "fsdd-speaker", "--root", tmp_path, "--clips", 24)
    done = main("data", "leaks", "fsdd-speaker", "--root", tmp_path)
    assert done.returncode == 2
    assert "its clips have no groups" in done.stderr
    done = main("data", "leaks", "fsdd-speaker", "--root", tmp_path, "--identical")
    assert done.returncode == 0
    assert "its clips have no groups" in done.stderr
    assert "identical recordings: none" in done.stdout


def test_rehearsal_into_a_used_folder_is_an_error_in_one_line(main, tmp_path):
    (tmp_path / "mine.wav").touch()
    done = main("data", "rehearse", "fsdd", "--root", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --root ")
    assert "not empty" in done.stderr


def test_faulty_card_is_skipped_by_the_list_and_named(main, tmp_path, monkeypatch):
    (tmp_path / "broken.yaml").write_text("name: broken\n")
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    with pytest.warns(UserWarning, match=r"task skipped: .*broken\.yaml"):
        done = main("tasks")
    assert done.returncode == 0
    assert "urbansound8k" in done.stdout


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("gtzan", "930 stand-in clips of gtzan (requested 10; this task's list has 930)\n"),
        ("kinetics700", "kinetics700 (requested 10; its splits need more)\n"),
    ],
)
def test_rehearsal_of_more_than_was_asked_for_says_why(main, tmp_path, task, said):
    done = main("data", "rehearse", task, "--root", tmp_path, "--clips", 10)
    assert done.stdout.endswith(said)
