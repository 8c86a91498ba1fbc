"""The commands of docs/own-data.md, in their order, on recordings made for its table."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from probekit.tasks.standin.writer import StandInWriter

TEXT = (Path(__file__).parents[2] / "docs/own-data.md").read_text("utf-8")
BIRDS = ("blackbird", "wren")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """The recordings that the page speaks of; each is as long as its table says."""
    stage = StandInWriter(tmp_path, 10)
    for bird, label in enumerate(BIRDS):
        for k in range(10):
            stage.write_audio(f"birdsong/{label}/{k}.wav", [bird], seconds=0.3, sr=16000)
    [table] = blocks("csv")
    stage.write_text("clips.csv", table)
    for row in csv.DictReader(table.splitlines()):
        bird = [BIRDS.index(row["label"])]
        if not (tmp_path / row["path"]).exists():
            stage.write_audio(row["path"], bird, seconds=3, sr=16000)
    [card] = blocks("yaml")
    stage.write_text("my-cards/birds.yaml", card)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_of_the_page_run_in_their_order(garden, main, monkeypatch):
    said = {}
    for line in "".join(blocks("sh")).splitlines():
        monkeypatch.setenv("PROBEKIT_CARDS", "")  # --cards adds to it, a command at a time
        done = main(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)
        said[line] = done.stdout
    [last] = [text for line, text in said.items() if "evaluate --task birds " in line]
    assert "balanced-accuracy" in last
    assert "5 stratified random folds" in said["probekit evaluate --task birdsong -e melstats"]
    assert "blackbird 5, wren 5" in said["probekit data check clips.csv --decode"]


def test_table_without_paths_is_evaluated_but_not_extracted(garden, main):
    extract = ("extract", "-e", "melstats", "--task")
    assert main(*extract, "clips.csv").returncode == 0
    with (garden / "clips.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    lines = ["clip_id,label,split", *(f"{r['clip_id']},{r['label']},{r['split']}" for r in rows)]
    (garden / "other").mkdir()
    (garden / "other/clips.csv").write_text("\n".join(lines))
    done = main("evaluate", "--task", "other/clips.csv", "-e", "melstats", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["clips"]["used"] == 10
    done = main(*extract, "other/clips.csv")
    assert done.returncode == 2
    assert "no column 'path'" in done.stderr


def test_tables_of_one_name_do_not_overwrite_each_other(tmp_path, main, monkeypatch):
    for number, folder in enumerate(("pa", "pb")):
        stage = StandInWriter(tmp_path / folder, 8, seed=number)
        rows = [(f"c{k}", f"{k}.wav", BIRDS[k % 2]) for k in range(10)]
        for k in range(10):
            stage.write_audio(f"{k}.wav", [k % 2 + 5 * number], seconds=0.3, sr=16000)
        stage.write_table("clips.csv", rows, header=("clip_id", "path", "label"))

    def extract(folder, *more):
        monkeypatch.chdir(tmp_path / folder)
        return main("extract", "-e", "melstats", "--task", "clips.csv", *more)

    def evaluate(task):
        done = main("evaluate", "--task", task, "-e", "melstats", "--probe", "knn", "--json")
        return json.loads(done.stdout)[0]["run"] if done.returncode == 0 else done.stderr

    assert extract("pa").returncode == 0
    before = evaluate(tmp_path / "pa/clips.csv")
    done = extract("pb")
    assert done.returncode == 2
    for said in (tmp_path / "pa/0.wav", tmp_path / "pb/0.wav", "--name NAME", "10 of 10"):
        assert str(said) in done.stderr
    assert evaluate(tmp_path / "pa/clips.csv") == before
    assert "clip 'c0' was" in evaluate(tmp_path / "pb/clips.csv")
    assert extract("pb", "--name", "pb").returncode == 0
    assert extract("pb", "--name", "Not A Name").returncode == 2
    assert evaluate("pb") != before
    assert evaluate(tmp_path / "pa/clips.csv") == before
    done = main("extract", "-e", "melstats", "--audio", tmp_path / "pb", "--name", "clips")
    assert done.returncode == 0  # other ids under the same name replace nothing


def test_table_whose_folder_moved_goes_on(garden, main):
    assert main("extract", "-e", "melstats", "--task", "clips.csv").returncode == 0
    new = garden / "new"
    new.mkdir()
    for name in ("clips.csv", "day1", "day2", "day3"):
        (garden / name).rename(new / name)
    done = main("extract", "-e", "melstats", "--task", new / "clips.csv")
    assert (done.returncode, "nothing to do, 10 of 10" in done.stdout) == (0, True)


def test_folder_of_folders_is_a_task_for_every_command(garden, main, monkeypatch):
    assert (
        main("extract", "-e", "melstats", "--audio", "birdsong", "--name", "song").returncode == 0
    )
    for task in ("song", "birdsong", "./birdsong"):  # as it was kept; the folder itself
        done = main("data", "check", task)
        assert (done.returncode, done.stderr) == (0, "")
        assert "blackbird 10, wren 10" in done.stdout
        done = main("data", "leaks", task, "--identical")
        assert (done.returncode, "identical recordings: none" in done.stdout) == (0, True)
        shown = main("tasks", "show", task).stdout
        assert "5 stratified random folds" in shown
        assert "None" not in shown
    first, *_, last = sorted((garden / "birdsong").rglob("*.wav"))
    last.write_bytes(first.read_bytes())
    monkeypatch.chdir("/")  # a kept table knows where its recordings are
    assert main("data", "leaks", "song", "--identical").returncode == 1
    first.unlink()
    done = main("data", "check", "song")
    assert (done.returncode, "1 of 20 recordings are missing" in done.stdout) == (1, True)
    assert main("data", "check", "song", "--cache", garden / "none").returncode == 2


def test_misspelt_name_of_what_was_extracted_is_answered_with_it(garden, main):
    main("extract", "-e", "melstats", "--audio", "birdsong")
    for command in (("evaluate", "-e", "melstats", "--task"), ("data", "check"), ("tasks", "show")):
        done = main(*command, "birdson")
        assert done.returncode == 2
        assert "unknown task 'birdson'. Did you mean 'birdsong'" in done.stderr


def test_folder_as_a_task_is_extracted_and_evaluated(garden, main):
    assert main("extract", "-e", "melstats", "--task", "birdsong").returncode == 0
    done = main("evaluate", "--task", "birdsong", "-e", "melstats", "--probe", "knn")
    assert done.returncode == 0
    done = main("extract", "-e", "melstats", "--task", "birdsong", "--root", "day1")
    assert (done.returncode, "leave out --root" in done.stderr) == (2, True)


def test_folder_called_like_a_task_does_not_hide_it(garden, main):
    (garden / "birdsong").rename(garden / "fsdd")
    done = main("extract", "-e", "melstats", "--task", "fsdd")
    assert (done.returncode, "needs --root" in done.stderr) == (2, True)
