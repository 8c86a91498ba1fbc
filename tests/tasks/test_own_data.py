"""The commands of docs/own-data.md, in their order, on recordings made for its table."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from probekit.tasks.rehearsal import Stage

TEXT = (Path(__file__).parents[2] / "docs/own-data.md").read_text("utf-8")
BIRDS = ("blackbird", "wren")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def garden(tmp_path, monkeypatch):
    """The recordings that the page speaks of; each is as long as its table says."""
    stage = Stage(tmp_path, 10)
    for bird, label in enumerate(BIRDS):
        for k in range(10):
            stage.sound(f"birdsong/{label}/{k}.wav", [bird], seconds=0.3, rate=16000)
    [table] = blocks("csv")
    stage.text("clips.csv", table)
    for row in csv.DictReader(table.splitlines()):
        bird = [BIRDS.index(row["label"])]
        if not (tmp_path / row["path"]).exists():
            stage.sound(row["path"], bird, seconds=3, rate=16000)
    [card] = blocks("yaml")
    stage.text("my-cards/birds.yaml", card)
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
