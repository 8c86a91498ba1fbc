"""Removal of runs."""

import json

import pytest

from probekit.errors import DataError
from probekit.scores import removal
from probekit.scores import store as store_module
from probekit.utils import locking

RIGHT = [True, True, False, True] * 5
OLD, NEW = "2026-02-01T00:00:00+00:00", "2026-02-02T04:12:59+00:00"


@pytest.fixture
def changed(store):
    """Two stale runs, and one that is not."""
    store.guess("a", RIGHT, manifest="before", created=OLD)
    store.guess("b", RIGHT, manifest="before", created=OLD)
    store.guess("a", RIGHT, manifest="after", created=NEW)
    return store


def left(store):
    return sorted((r["embedding"], r["created"]) for _, r in store_module.list_results(store.root))


def student(store, folds=2, **others):
    """Save the run of a student with its folders; return the run's id."""
    path = store.guess("net", RIGHT, probe="student:net", **others)
    run = json.loads(path.read_text())["run"]
    for fold in range(folds):
        folder = store.root / "students" / f"{run[:12]}-{fold}"
        folder.mkdir(parents=True)
        (folder / "weights.npz").write_bytes(b"1234")
    return run


def test_stale_runs_are_listed_first_and_removed_when_agreed(changed, main):
    where = ("--reports", changed.root)
    done = main("results", "rm", "--stale", *where)
    assert done.returncode == 1 and "nothing was removed; --yes removes 2 runs" in done.stdout
    assert len(left(changed)) == 3
    done = main("results", "rm", "--stale", "--yes", *where)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("removed: 2 runs")
    assert left(changed) == [("a", NEW)]
    assert len(list(changed.root.rglob("*.h5"))) == 1
    done = main("results", "rm", "--stale", "--yes", *where)
    assert (done.returncode, done.stdout.startswith("nothing to remove")) == (0, True)


def test_names_and_stale_mean_the_stale_runs_of_these_names(changed):
    [run] = removal.find_removable(["a"], stale=True, task="mine", reports=changed.root)
    assert run.result["created"] == OLD and run.reason
    [run] = removal.find_removable(["a"], task="mine", reports=changed.root)
    assert run.result["created"] == NEW and not run.reason
    with pytest.raises(DataError, match="no stale run 'c'"):
        removal.find_removable(["c"], stale=True, reports=changed.root)


def test_what_to_remove_must_be_said(changed, main):
    done = main("results", "rm", "--yes", "--reports", changed.root)
    assert done.returncode == 2 and "needs a RUN, or --stale" in done.stderr
    assert len(left(changed)) == 3


def test_json_lists_files_and_whether_they_went(changed, main):
    found = json.loads(main("results", "rm", "--stale", "--json", "--reports", changed.root).stdout)
    assert [one["removed"] for one in found] == [False, False] and len(left(changed)) == 3
    found = json.loads(
        main("results", "rm", "--stale", "--json", "--yes", "--reports", changed.root).stdout
    )
    assert {one["embedding"] for one in found} == {"a", "b"} and len(left(changed)) == 1


def test_a_student_goes_with_its_networks(store):
    run = student(store)
    [found] = removal.find_removable([run[:12]], reports=store.root)
    assert len(found.students) == 2 and found.size > 8
    removal.remove_run(found)
    assert left(store) == [] and list((store.root / "students").iterdir()) == []


@pytest.mark.parametrize("use", ["embedding", "teacher", "init"])
def test_a_student_that_others_use_stays_unless_they_go_too(store, use):
    run = student(store)
    name = run[:12]
    facts = {
        "embedding": {"source": {"extractor": f"student-{name}-0"}},
        "teacher": {"settings": {"teachers": [f"runs/{name}-1:pool=mean"], "init": None}},
        "init": {"settings": {"teachers": [], "init": f"runs/{name}-0"}},
    }[use]
    user = store.guess("user", RIGHT, **facts)
    with pytest.raises(DataError, match=r"has a trained network that others use: .*user on mine"):
        removal.find_removable([name], reports=store.root)
    both = removal.find_removable([name, user.stem[-12:]], reports=store.root)
    for found in both:
        removal.remove_run(found)
    assert left(store) == []


def test_a_stale_student_that_others_use_is_not_swept(store, main):
    run = student(store, manifest="before", created=OLD)
    store.guess(
        "user", RIGHT, manifest="after", created=NEW, source={"extractor": f"student-{run[:12]}-0"}
    )
    done = main("results", "rm", "--stale", "--yes", "--reports", store.root)
    assert f"run {run[:12]} stays, others use its network" in done.stderr
    assert len(left(store)) == 2 and len(list((store.root / "students").iterdir())) == 2


def test_a_run_in_training_is_not_removed(store):
    run = student(store, folds=1)
    [found] = removal.find_removable([run[:12]], reports=store.root)
    with (  # another file description of this process counts as another holder
        locking.folder_lock(found.students[0]),
        pytest.raises(DataError, match="a process is training this run"),
    ):
        removal.remove_run(found)
    assert left(store) != []
