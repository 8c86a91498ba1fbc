"""Runs of data or code that has changed since are not mixed with the others."""

import json

import pytest

from probekit.errors import DataError
from probekit.scores import groups, result_table, staleness
from probekit.scores import store as store_module

RIGHT = [True, True, False, True] * 5
OLD, NEW = "2026-02-01T00:00:00+00:00", "2026-02-02T04:12:59+00:00"


def reasons(store, task="mine"):
    runs = store_module.list_results(store.root, task)
    stale = staleness.find_stale(runs)
    return {(r["embedding"], r["created"]): stale[p] for p, r in runs if p in stale}


def source(fingerprint, **identity):
    return {"fingerprint": fingerprint * 64, "identity": identity}


def test_runs_of_another_clip_table_than_the_newest_are_stale(store):
    store.guess("a", RIGHT, manifest="before", created=OLD)
    store.guess("b", RIGHT, manifest="before", created=OLD)
    store.guess("a", RIGHT, manifest="after", created=NEW)
    store.guess("a", RIGHT, manifest="before", created=OLD, task="other")
    assert reasons(store) == {("a", OLD): staleness.DATA, ("b", OLD): staleness.DATA}
    assert reasons(store, "other") == {}
    with pytest.warns(
        UserWarning, match=r"2 stale runs of mine left out \(the dataset has changed since\)"
    ):
        [group] = groups.load_groups("mine", store.root)
    assert (group.label, group.results[0]["created"]) == ("a", NEW)
    assert groups.resolve_run("a", "mine", store.root).results[0]["created"] == NEW
    with pytest.raises(DataError, match=r"'b' has stale runs only \(the dataset has changed"):
        groups.resolve_run("b", "mine", store.root)


def test_a_stale_run_is_meant_by_its_digits_and_is_named_as_such(store):
    old = store.guess("a", RIGHT, manifest="before", created=OLD)
    store.guess("a", RIGHT, manifest="after", created=NEW)
    with pytest.warns(UserWarning, match="is stale"):
        found = groups.resolve_run(old.stem[-12:], "mine", store.root)
    assert found.results[0]["created"] == OLD


def test_the_table_that_was_asked_for_last_counts(store):
    """A clip is added, and removed again: the stored runs of the first table are the present."""
    store.guess("a", RIGHT, manifest="before", created=OLD)
    path = store.guess("a", RIGHT, manifest="after", created=NEW)
    before = sorted(path.parent.iterdir())
    staleness.note_clip_table(store.root, "mine", "after")
    assert sorted(path.parent.iterdir()) == before  # nothing to note
    staleness.note_clip_table(store.root, "mine", "before")
    assert reasons(store) == {("a", NEW): staleness.DATA}
    store.guess("c", RIGHT, manifest="after", created="2999-01-01T00:00:00+00:00")
    assert reasons(store) == {("a", OLD): staleness.DATA}


def test_notes_that_cannot_be_read_or_are_of_no_run_do_not_count(store):
    store.guess("a", RIGHT, manifest="before", created=OLD)
    path = store.guess("a", RIGHT, manifest="after", created=NEW)
    for text in ("", "before", "gone 2999-01-01T00:00:00+00:00", "a b c"):
        (path.parent / "manifest.txt").write_text(text)
        assert reasons(store) == {("a", OLD): staleness.DATA}


def test_embeddings_of_changed_code_are_stale_those_of_other_weights_are_not(store):
    for version, digits, created in ((1, "a", OLD), (2, "b", NEW)):
        store.guess("net", RIGHT, created=created, source=source(digits, version=version, w="x"))
    store.guess("net", RIGHT, created=OLD, source=source("c", version=2, w="random"))
    store.guess("own", RIGHT, created=OLD, source=source("d", module={"source": "1"}))
    store.guess("own", RIGHT, created=NEW, source=source("e", module={"source": "2"}))
    store.guess("table", RIGHT, created=OLD, source=source("1"))  # of unknown origin
    store.guess("table", RIGHT, created=NEW, source=source("2"))
    runs = store_module.list_results(store.root)
    stale = staleness.find_stale(runs)
    found = {r["sources"][0]["fingerprint"][0]: stale[p] for p, r in runs if p in stale}
    assert found == {"a": staleness.CODE, "d": staleness.CODE}


def test_seeds_on_fewer_clips_are_not_averaged_with_those_on_more(store):
    for seed in range(3):
        store.guess("a", RIGHT[:-1], seed=seed, probe="mlp", created=OLD)
    for seed in range(2):
        store.guess("a", RIGHT, seed=seed, probe="mlp", created=NEW)
    assert set(reasons(store).values()) == {staleness.REPEATED}
    found = groups.resolve_run("a/mlp", "mine", store.root)
    assert [(r["seed"], r["created"]) for r in found.results] == [(0, NEW), (1, NEW)]


@pytest.mark.parametrize("share", [{"fraction": 0.25}, {"shots": 4}])
def test_seeds_of_a_share_of_the_labels_draw_more_or_fewer_clips(store, share):
    """Whole groups are drawn, so that shares differ by some clips: all seeds count."""
    for seed, train in enumerate((58, 55, 58)):
        store.guess("a", RIGHT, seed=seed, probe="mlp", train=train, **share)
    assert reasons(store) == {}
    for seed, train in enumerate((58, 55)):
        store.guess("b", RIGHT, seed=seed, probe="mlp", train=train)
    assert set(reasons(store).values()) == {staleness.REPEATED}  # of all labels it is a change


def test_a_run_that_was_repeated_under_another_id_counts_once(store):
    store.guess("a", RIGHT, created=OLD, number="1")
    store.guess("a", RIGHT, created=NEW, number="2")
    assert reasons(store) == {("a", OLD): staleness.REPEATED}


def test_the_table_of_results_names_them_last(store):
    store.guess("a", RIGHT, manifest="before", created=OLD)
    store.guess("a", RIGHT[::-1], manifest="after", created=NEW)
    store.guess("b", [False] * 20, manifest="after", created=NEW)
    table = result_table.results(store.root)
    assert list(table["stale"]) == ["", "", staleness.DATA]
    assert list(table["created"]) == [NEW, NEW, OLD]


def test_the_command_lists_dates_and_stale_runs(store, main, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    store.guess("a", RIGHT, manifest="before", created=OLD)
    store.guess("b", RIGHT, manifest="after", created=NEW)
    lines = main("results", "ls", "--reports", store.root).stdout.splitlines()
    assert [("2026-02-02 04:12" in line, "stale" in line) for line in lines[1:3]] == [
        (True, False),
        (False, True),
    ]
    done = main("results", "ls", "--stale", "--json", "--reports", store.root)
    assert [one["embedding"] for one in json.loads(done.stdout)] == ["a"]
    done = main("results", "ls", "--stale", "--task", "none", "--reports", store.root)
    assert "no results" in done.stdout
