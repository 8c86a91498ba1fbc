"""The folder of one student, while it is trained and after."""

import pytest

from probekit.errors import DataError
from probekit.training import run_folder

FACTS = {"task": "t", "seed": 0, "phases": ({"lr": 1},), "teachers": {"are": ["a@1"]}}


def test_a_single_split_needs_no_fold_in_the_name():
    run = "0123456789abcdef"
    assert run_folder.student_id(run, "test", 1) == "0123456789ab"
    assert run_folder.student_id(run, "Fold 1", 5) == "0123456789ab-fold-1"


def test_beginning_twice_is_going_on(tmp_path):
    where = tmp_path / "one"
    run_folder.mark_started(where, FACTS, ["a"])
    before = (where / run_folder.BEGUN).read_bytes()
    run_folder.mark_started(where, FACTS, ["a"])
    assert (where / run_folder.BEGUN).read_bytes() == before


@pytest.mark.parametrize(
    ("facts", "named", "refused"),
    [
        ({"teachers": {"are": ["a@2"]}}, ["a"], True),
        ({"teachers": {"are": ["a@2"]}}, ["a@2"], False),  # the user says which
        ({"teachers": {"are": ["b@1"]}}, ["b"], False),
        ({"teachers": {"are": ["a@2"]}, "seed": 1}, ["a"], False),
    ],
)
def test_only_the_same_names_with_other_fingerprints_are_refused(tmp_path, facts, named, refused):
    run_folder.mark_started(tmp_path / "one", FACTS, ["a"])
    if refused:
        with pytest.raises(DataError, match="were a@1, now they are a@2"):
            run_folder.mark_started(tmp_path / "two", {**FACTS, **facts}, named)
        assert not (tmp_path / "two").exists()
    else:
        run_folder.mark_started(tmp_path / "two", {**FACTS, **facts}, named)
    run_folder.clean_up(tmp_path / "one", [])
    run_folder.mark_started(tmp_path / "two", {**FACTS, **facts}, named)


def test_what_is_damaged_is_in_nobodys_way(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / run_folder.BEGUN).write_text("{")
    run_folder.mark_started(tmp_path / "one", FACTS, [])


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
