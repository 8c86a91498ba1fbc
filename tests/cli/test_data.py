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


def test_check_of_a_folder_names_what_no_clip_is_made_of(main, tmp_path):
    for label in ("dog", "cat"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for k in range(6):
            (tmp_path / "d" / label / f"{k}.wav").touch()
    (tmp_path / "d/dog/7.tak").touch()
    (tmp_path / "d/dog/notes.txt").touch()
    done = main("data", "check", tmp_path / "d")
    assert done.returncode == 1
    assert "no recordings by their names: .tak 1, .txt 1 (2):\n    dog/7.tak\n" in done.stdout
    assert "differs: 1 file looks like audio, but is left out (.tak 1)" in done.stdout
    assert json.loads(main("data", "check", tmp_path / "d", "--json").stdout)["left_out"] == [
        "dog/7.tak",
        "dog/notes.txt",
    ]


def test_leaks_lists_copies_within_one_split_if_asked(main, tmp_path):
    rows = ["a,a.wav,x,train", "b,b.wav,x,train", "c,c.wav,y,train", "d,d.wav,x,test"]
    (tmp_path / "t.csv").write_text("\n".join(["clip_id,path,label,split", *rows]))
    for name, content in zip("abcd", (b"1", b"1", b"2", b"3"), strict=True):
        (tmp_path / f"{name}.wav").write_bytes(content)
    done = main("data", "leaks", tmp_path / "t.csv", "--identical")
    assert (done.returncode, "within one split" in done.stdout) == (0, False)
    done = main("data", "leaks", tmp_path / "t.csv", "--all")
    assert done.returncode == 0
    assert "identical recordings: none is in several splits" in done.stdout
    assert "identical recordings within one split: 1" in done.stdout
    assert "train (2)  a, b" in done.stdout
    done = main("data", "leaks", tmp_path / "t.csv", "--all", "--json")
    [copies] = json.loads(done.stdout)["identical recordings"]
    assert copies["sides"] == {"train": ["a", "b"]}


def test_recordings_that_two_tasks_share(main, tmp_path):
    table = "clip_id,label\n1-100032-A-0,dog\n1-17124-A-43,horn\n"
    (tmp_path / "mine.csv").write_text(table)
    (tmp_path / "other.csv").write_text("clip_id,label\n100032-3-0-0,dog\n7061-6-0-0,gun\n")
    tasks = (tmp_path / "mine.csv", tmp_path / "other.csv")
    done = main("data", "leaks", "--between", *tasks, "--cache", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "mine: sources of its recordings are not established" in done.stdout
    assert "Freesound recordings: 1 clips of mine, 1 of other; for example 1-100032-A-0" in (
        done.stdout
    )
    done = main("data", "leaks", "--between", *tasks, "--cache", tmp_path, "--json")
    assert json.loads(done.stdout)["shared"][0]["second"] == ["100032-3-0-0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a task, or two with --between TASK TASK"),
        (["fsdd", "--between", "fsdd", "esc50"], "leave out TASK and the other options"),
        (
            ["--between", "esc10", "esc50", "--root", "a", "--root", "b", "--root", "c"],
            "two --root",
        ),
        (["fsdd", "--root", "a", "--root", "b"], "fsdd: one --root, got 2"),
    ],
)
def test_leaks_of_what(main, arguments, message):
    done = main("data", "leaks", *arguments)
    assert done.returncode == 2 and message in done.stderr
