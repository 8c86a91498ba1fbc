"""The folder of a training run, unfinished and finished."""

import pytest

from probekit.errors import DataError
from probekit.training import run_folder

FACTS = {"task": "t", "seed": 0, "phases": ({"lr": 1},), "teachers": {"are": ["a@1"]}}


def test_a_single_split_needs_no_fold_in_the_name():
    run = "0123456789abcdef"
    assert run_folder.folder_name(run, "test", 1) == "0123456789ab"
    assert run_folder.folder_name(run, "Fold 1", 5) == "0123456789ab-fold-1"


def test_beginning_twice_is_going_on(tmp_path):
    folder = tmp_path / "one"
    run_folder.mark_started(folder, FACTS, ["a"])
    before = (folder / run_folder.STARTED).read_bytes()
    run_folder.mark_started(folder, FACTS, ["a"])
    assert (folder / run_folder.STARTED).read_bytes() == before


def test_what_is_damaged_is_in_nobodys_way(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / run_folder.STARTED).write_text("{")
    run_folder.mark_started(tmp_path / "one", FACTS, [])
    assert [run.folder.name for run in run_folder.list_unfinished(tmp_path)] == ["one"]


def test_only_what_training_needs_is_taken_away(tmp_path):
    run_folder.mark_started(tmp_path, FACTS, [])
    (tmp_path / "last.ckpt").write_text("x")
    (tmp_path / "log.csv").write_text("x")
    run_folder.clean_up(tmp_path, ["last.ckpt"])
    assert [p.name for p in tmp_path.iterdir()] == ["log.csv"]
    (tmp_path / "tensorboard").mkdir()
    run_folder.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
    run_folder.clear(tmp_path / "never")


def test_one_process_at_a_time(tmp_path):
    with (
        run_folder.exclusive_lock(tmp_path / "x"),
        pytest.raises(DataError, match="another process"),
        run_folder.exclusive_lock(tmp_path / "x"),
    ):
        pass
    with run_folder.exclusive_lock(tmp_path / "x"):
        pass
