"""What is refused before a fold is trained."""

import pytest

from probekit.errors import DataError
from probekit.training import folds, run_folder

FACTS = {"task": "t", "seed": 0, "phases": ({"lr": 1},), "teachers": {"are": ["a@1"]}}


def start(folder, facts, names):
    folds.refuse_changed_teachers(folder, facts, names)
    run_folder.mark_started(folder, facts, names)


@pytest.mark.parametrize(
    ("facts", "names", "refused"),
    [
        ({"teachers": {"are": ["a@2"]}}, ["a"], True),
        ({"teachers": {"are": ["a@2"]}}, ["a@2"], False),  # the user says which
        ({"teachers": {"are": ["b@1"]}}, ["b"], False),
        ({"teachers": {"are": ["a@2"]}, "seed": 1}, ["a"], False),
    ],
)
def test_only_the_same_names_with_other_fingerprints_are_refused(tmp_path, facts, names, refused):
    start(tmp_path / "one", FACTS, ["a"])
    if refused:
        with pytest.raises(DataError, match="had the teachers a@1; now they are a@2"):
            start(tmp_path / "two", {**FACTS, **facts}, names)
        assert not (tmp_path / "two").exists()
    else:
        start(tmp_path / "two", {**FACTS, **facts}, names)
    run_folder.clean_up(tmp_path / "one", [])
    start(tmp_path / "two", {**FACTS, **facts}, names)


def test_a_resumed_run_and_damaged_records_are_not_refused(tmp_path):
    start(tmp_path / "one", FACTS, ["a"])
    start(tmp_path / "one", FACTS, ["a"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / run_folder.STARTED).write_text("{")
    start(tmp_path / "two", {**FACTS, "seed": 2}, ["a"])
