"""Every number that follows from predictions is found again, and every change is noticed."""

import json
import warnings
from dataclasses import replace

import h5py
import numpy as np
import pytest

from probekit.errors import DataError
from probekit.metrics import bootstrap, metrics, per_class
from probekit.scores import groups as groups_module
from probekit.scores import result_table, scoring, verification
from probekit.scores import store as store_module
from probekit.scores.predictions import load_predictions

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 30)  # stores are verified many times over


@pytest.fixture
def kept(store):
    """Runs of classes, tags and numbers; the first is the one that is damaged."""
    fold, targets = np.arange(60) % 3, RNG.integers(0, 3, 60)
    groups = [f"g{k // 3}" for k in range(60)]
    scores = RNG.random((60, 3)) + 0.5 * np.eye(3)[targets]
    also = ["balanced-accuracy", "log-loss"]
    path = store.keep("a", scores, targets, fold, groups, also=also)
    tags = RNG.integers(0, 2, (60, 3))
    tags[:, 2] = 0
    tags[7, 2] = 1
    store.keep(
        "b", scores, tags, fold, target="multi", metric="roc-auc", also=["pr-auc", "d-prime"]
    )
    store.keep(
        "c", scores, RNG.normal(size=(60, 3)), target="regression", metric="r2", also=["mae"]
    )
    return store, path


def faults(store):
    return [text for one in verification.verify(store.root) for text in one.faults]


def test_what_was_kept_follows_to_the_last_digit(kept):
    store, path = kept
    found = verification.verify(store.root)
    assert [(one.embedding, one.task, one.faults) for one in found] == [
        (name, "mine", ()) for name in "abc"
    ]
    assert found[0].path == path


def test_class_scores_of_earlier_versions_are_verified_by_their_own_definition(kept):
    store, path = kept
    result = store_module.load(path)
    assert result["class_scores"] == "all test clips"
    run = load_predictions(path, result)
    metric = metrics.get_metric("accuracy")
    means = per_class.class_scores(
        metric,
        result["classes"],
        "single",
        run.targets,
        run.scores,
        run.fold,
        per_class.FOLD_MEANS,
    )
    assert means != result["per_class"]
    old = {**result, "per_class": means}
    del old["class_scores"]
    path.write_text(json.dumps(old))
    assert not faults(store)
    # what is shown has the same definition whoever stored it
    assert scoring.read_class_scores(path, store_module.load(path)) == result["per_class"]
    path.write_text(json.dumps({**result, "per_class": means}))  # they are not what it says
    assert all(fault.startswith("per_class: class") for fault in faults(store)) and faults(store)
    path.with_suffix(".h5").unlink()
    assert scoring.read_class_scores(path, result) == result["per_class"]
    with pytest.raises(DataError, match="not the predictions of a result"):
        scoring.read_class_scores(path, old)


def test_a_score_that_is_nan_counts_as_no_class(kept):
    store, path = kept
    with h5py.File(path.with_suffix(".h5"), "a") as file:
        file["predictions/scores"][5, 1] = np.nan
    words = "the scores of linear are NaN for 1 of 60 clips: 'c5'. They count as no class"
    assert any(words in fault for fault in faults(store))


def test_predicted_classes_are_stored_where_they_are_not_those_of_the_highest_scores(kept):
    store, path = kept
    result = store_module.load(path)
    run = load_predictions(path, result)
    assert run.own_classes is None
    np.testing.assert_array_equal(run.classes, run.scores.argmax(axis=1))
    own = (run.scores.argmax(axis=1) + 1) % 3
    run = replace(run, own_classes=own)
    with h5py.File(path.with_suffix(".h5"), "a") as file:
        file["predictions/class"] = run.arrays()["predictions/class"]
    again = load_predictions(path, result)
    np.testing.assert_array_equal(again.classes, own)
    np.testing.assert_array_equal(again.subset(np.arange(7)).classes, own[:7])
    # accuracy is that of the stored classes, log loss that of the scores
    changed = [fault for fault in faults(store) if "log-loss" not in fault]
    assert any(fault.startswith("score: stored") for fault in changed)
    assert changed == faults(store)


def numbers(value, path=()):
    """Yield the place of every number in what evaluate says of the predictions."""
    if isinstance(value, dict):
        for key in value:
            yield from numbers(value[key], (*path, key))
    elif isinstance(value, list):
        for k, one in enumerate(value):
            yield from numbers(one, (*path, k))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


def test_one_changed_digit_of_any_score_is_found(kept):
    store, path = kept
    for other in path.parent.glob("[bc]-*"):
        other.unlink()
    whole = path.read_text()
    result = json.loads(whole)
    places = [
        place
        for key in ("score", "spread", "interval", "also", "per_class", "per_group")
        for place in numbers(result[key], (key,))
    ] + [("folds", k, "score") for k in range(3)]
    assert len(places) > 60
    for place in places:
        changed = json.loads(whole)
        inner = changed
        for step in place[:-1]:
            inner = inner[step]
        value = inner[place[-1]]
        inner[place[-1]] = value + 1 if isinstance(value, int) else np.nextafter(value, 2)
        path.write_text(json.dumps(changed))
        [one] = [one for one in verification.verify(store.root) if one.faults]
        assert one.path == path and place[0] in one.faults[0], place
    path.write_text(whole)
    assert not faults(store)


def test_one_changed_score_of_a_clip_is_found(kept):
    store, path = kept
    with h5py.File(path.with_suffix(".h5"), "r+") as file:
        file["predictions/scores"][11, 1] += 1e-9  # no other class wins, but the log loss moves
    assert any("log-loss" in text and "from the predictions" in text for text in faults(store))
    with h5py.File(path.with_suffix(".h5"), "r+") as file:
        file["predictions/scores"][11] = file["predictions/scores"][11][::-1] * 9
    assert any(text.startswith("score: ") for text in faults(store))


def test_one_changed_label_is_found(kept):
    store, path = kept
    with h5py.File(path.with_suffix(".h5"), "r+") as file:
        file["predictions/target"][0] = (file["predictions/target"][0] + 1) % 3
    assert faults(store)


def delete(name):
    def damage(path):
        with h5py.File(path, "r+") as file:
            del file[name]

    return damage


def shorten(path):
    with h5py.File(path, "r+") as file:
        scores = file["predictions/scores"][:]
        del file["predictions/scores"]
        file["predictions/scores"] = scores[:-1]


def rename_fold(path):
    with h5py.File(path, "r+") as file:
        file["predictions/fold"][0] = b"9"


def no_text(path):
    with h5py.File(path, "r+") as file:
        file["predictions/clip_id"][0] = b"\xff\xfe"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:600]),
        lambda path: path.write_bytes(b""),
        delete("predictions/scores"),
        delete("predictions"),
        shorten,
        rename_fold,
        no_text,
    ],
)
def test_predictions_that_are_missing_or_damaged_are_named(kept, damage):
    store, path = kept
    damage(path.with_suffix(".h5"))
    [text] = faults(store)
    assert text.startswith(f"{path.with_suffix('.h5')}: not the predictions of a result")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: {**r, "format": 1},
            "result format must be 2 for this version of probekit, got 1",
        ),
        (lambda r: {"format": r["format"]}, "not in the format of a result"),
        (lambda r: {**r, "folds": 3}, "not in the format of a result"),
        (lambda r: {**r, "folds": r["folds"][:2]}, "not the predictions of a result"),
        (lambda r: {**r, "metric": "acuracy"}, "unknown metric 'acuracy'"),
        (lambda r: {**r, "also": {}}, ""),
        (lambda r: {**r, "per_class": None}, "per_class: stored None"),
        (lambda r: {**r, "classes": []}, "per_class"),
        (lambda r: [r], "not a result of probekit"),
    ],
)
def test_results_that_are_not_as_written_are_named(kept, change, words):
    store, path = kept
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    found = faults(store)
    assert words in found[0] if words else not found  # fewer metrics are no fault


def test_results_that_cannot_be_read_are_left_out_with_one_warning_and_are_faults(kept):
    store, path = kept
    whole = store_module.list_results(store.root)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    said = (
        rf"1 result cannot be read: {path}: result format must be 2.*Delete it, or evaluate again"
    )
    with pytest.warns(UserWarning, match=said) as caught:
        assert store_module.list_results(store.root) == [pair for pair in whole if pair[0] != path]
    assert len(caught) == 1
    other = next(one for one, _ in whole if one != path)
    other.write_text(other.read_text()[:500])
    with pytest.warns(
        UserWarning, match=rf"2 results cannot be read; the first: {path}: "
    ) as caught:
        assert len(store_module.list_results(store.root)) == len(whole) - 2
    assert len(caught) == 1
    assert {one.path for one in verification.verify(store.root) if one.faults} == {path, other}


def test_damaged_results_of_another_task_are_no_matter(kept):
    store, path = kept
    store.guess("lone", [True, False] * 6, task="other")
    path.write_text("{")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [r["embedding"] for _, r in store_module.list_results(store.root, "other")] == [
            "lone"
        ]
        assert groups_module.resolve_run("lone", "other", store.root).label == "lone"
    assert list(result_table.results(store.root, "other")["embedding"]) == ["lone"]


def test_an_empty_store_has_nothing_to_verify(tmp_path):
    assert verification.verify(tmp_path) == []
