"""Which kept runs a name means."""

import pytest

from probekit.errors import DataError
from probekit.scores import groups, result_table
from probekit.scores import store as store_module

RIGHT = [True, True, False, True] * 5


@pytest.fixture
def store(store):
    store.guess("net", RIGHT)
    store.guess("net", RIGHT, probe="mlp", seed=1)
    store.guess("net", RIGHT, probe="mlp", seed=0)
    store.guess("net", RIGHT, fraction=0.1, seed=0)
    store.guess("net", RIGHT, preset="kumar2021", steps=["unit-l2"])
    store.guess("net:stream=deep", RIGHT)
    store.guess("net", RIGHT, task="other")
    return store


def called(store, name, task="mine"):
    found = groups.resolve_run(name, task, store.root)
    return found.label, [r["seed"] for r in found.results]


def test_an_embedding_means_its_plain_run(store):
    assert called(store, "net") == ("net", [0])
    assert called(store, "net:stream=deep") == ("net:stream=deep", [0])


def test_another_probe_is_named_and_its_seeds_are_one(store):
    assert called(store, "net/mlp") == ("net / mlp", [0, 1])


def test_labels_as_tables_print_them_are_understood(store):
    for name in ("net / mlp", "net / kumar2021", "net / 10 % of labels"):
        assert called(store, name)[0] == name


def test_first_digits_mean_one_run(store):
    for _, result in store_module.list_results(store.root):
        found = groups.resolve_run(result["run"][:9], "", store.root)
        assert found.results == (result,)


def test_an_embedding_named_like_digits_is_found(store):
    store.guess("facade", RIGHT)
    assert called(store, "facade") == ("facade", [0])


def test_what_only_exists_with_a_preset_or_few_labels_is_found(store):
    store.guess("few", RIGHT, fraction=0.3)
    store.guess("set", RIGHT, preset="hear", probe="mlp:hear")
    assert called(store, "few")[0] == "few / 30 % of labels"
    assert called(store, "set")[0] == "set / mlp:hear / hear"


def sources(fingerprint):
    return [
        {
            "extractor": "net",
            "fingerprint": fingerprint * 64,
            "identity": {},
            "stream": "s",
            "pool": ["mean"],
            "dim": 2,
        }
    ]


def test_fingerprints_tell_caches_of_one_name_apart(store):
    store.guess("net", RIGHT, sources=sources("a"), probe="knn")
    store.guess("net", RIGHT[::-1], sources=sources("b"), probe="knn")
    with pytest.warns(UserWarning, match="net / knn: the newest run is taken, .*others by their"):
        called(store, "net/knn")
    found = groups.resolve_run("net@bb/knn", "mine", store.root)
    assert found.results[0]["sources"] == sources("b")
    labels = [one.label for one in groups.load_groups("mine", store.root)]
    assert {"net@aaaaaaaa / knn", "net@bbbbbbbb / knn", "net", "net / mlp"} <= set(labels)
    assert len(set(labels)) == len(labels)


def test_of_runs_of_one_seed_on_other_clips_the_newest_counts(store):
    store.guess("more", RIGHT[:-1], created="2026-02-01T00:00:00+00:00")
    store.guess("more", RIGHT, created="2026-02-02T00:00:00+00:00")
    found = groups.resolve_run("more", "mine", store.root)
    assert found.results[0]["clips"]["used"] == 20
    with pytest.warns(UserWarning, match=r"1 stale run of mine left out \(repeated since\)"):
        loaded = groups.load_groups("mine", store.root)
    assert [one.results for one in loaded if one.label == "more"] == [found.results]


def test_of_runs_with_other_settings_the_newest_is_meant(store):
    old = store.guess("grid", RIGHT, settings={"grid": [1]}, created="2026-02-01T00:00:00+00:00")
    store.guess("grid", RIGHT[::-1], settings={"grid": [2]}, created="2026-02-02T00:00:00+00:00")
    digits = old.stem[-12:]
    with pytest.warns(UserWarning, match=f"grid: the newest run is taken.*{digits}"):
        found = groups.resolve_run("grid", "mine", store.root)
    assert found.results[0]["settings"] == {"grid": [2]}
    assert groups.resolve_run(digits, "mine", store.root).results[0]["settings"] == {"grid": [1]}
    with pytest.warns(UserWarning, match=f"grid: the newest run is taken.*{digits}"):
        loaded = groups.load_groups("mine", store.root)
    assert [one.results for one in loaded if one.label == "grid"] == [found.results]


def test_the_task_is_asked_for_where_names_do_not_tell(store):
    with pytest.raises(DataError, match=r"'net' matches several runs(.|\n)*  other  net, seed 0"):
        called(store, "net", task="")
    assert called(store, "net", task="other") == ("net", [0])


def test_a_name_that_is_none_lists_those_there_are(store):
    with pytest.raises(
        DataError, match=r"no run 'nte' of mine; results exist for net, net:stream=deep"
    ):
        called(store, "nte")
    with pytest.raises(DataError, match="no run 'net/knn'"):
        called(store, "net/knn")
    with pytest.raises(
        DataError,
        match="no results of nothing yet; make them with: probekit evaluate --task nothing -e NAME",
    ):
        called(store, "net", task="nothing")


def test_the_score_of_an_entry_is_the_mean_over_its_seeds(store):
    store.guess("many", [True] * 10, seed=0)
    store.guess("many", [True] * 5 + [False] * 5, seed=1)
    assert groups.resolve_run("many", "mine", store.root).score == 0.75


def test_a_single_seed_is_noted_where_chance_matters(store):
    """Of an MLP, of a drawn share of the labels, of a forest; not of two seeds, nor of a path."""
    store.guess("net", RIGHT, probe="sklearn.ensemble:RandomForestClassifier")
    store.guess("net", RIGHT, probe="student:short-chunk", provenance=["random weights"])
    store.guess("net", RIGHT, probe="sklearn.svm:SVC")
    table = result_table.results(store.root, "mine")
    noted = {
        (row.probe, row.fraction)
        for row in table.itertuples()
        if store_module.ONE_SEED in row.provenance
    }
    assert noted == {
        ("linear", 0.1),
        ("sklearn.ensemble:RandomForestClassifier", 1),
        ("student:short-chunk", 1),
    }
    student = groups.resolve_run("net/student:short-chunk", "mine", store.root)
    assert student.provenance == ["random weights", store_module.ONE_SEED]
    both = groups.resolve_run("net/mlp", "mine", store.root)
    assert both.provenance == []
    one, other = both.results
    assert store_module.shown_notes([one]) == [[store_module.ONE_SEED]]
    assert store_module.shown_notes([one, other]) == [[], []]
    assert groups.collect_provenance([both, student]) == (
        "random weights (net / student:short-chunk)",
        f"{store_module.ONE_SEED} (net / student:short-chunk)",
    )
