"""From imported embeddings to a result that is kept, and everything that a result has to say."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from probekit.cache import embeddings, import_export
from probekit.cache import index as index_module
from probekit.cache import manifests as kept
from probekit.data import manifest as manifests
from probekit.errors import CacheError, CardError, DataError, UnknownNameError
from probekit.metrics import bootstrap, metrics
from probekit.probes import evaluate, linear, model_selection
from probekit.probes import features as features_module
from probekit.scores import result_table, store
from probekit.solvers import objective

NOTES = [  # of done
    "imported embeddings",
    "groups with clips in training and in test: 10 of 10",
    "training data: not established",
]
CLASSES = ("Domestic animals, pets", "rain; heavy", "ünïcode")


class Place:
    """A cache, a results store and a task of a user's own, in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache, self.reports = root, root / "cache", root / "reports"
        self.csv = root / "mine.csv"

    def task(self, clips: manifests.Manifest) -> None:
        clips.write(self.csv)

    def embed(self, clips, features, name="made"):
        np.save(self.root / f"{name}.npy", features)
        return import_export.import_arrays(
            name, clips, [self.root / f"{name}.npy"], cache=self.cache, dataset="mine"
        )

    def evaluate(self, extractors="made", task=None, **others):
        task = str(self.csv) if task is None else task
        return evaluate.evaluate(task, extractors, cache=self.cache, reports=self.reports, **others)

    def files(self, ending="*"):
        return sorted(self.reports.glob(f"results/*/{ending}"))

    def arrays(self, number=0) -> dict[str, np.ndarray]:
        found = {}
        with h5py.File(self.files("*.h5")[number]) as file:
            file.visititems(
                lambda name, item: (
                    found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
                )
            )
        return found


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def draw(clips=90, dim=5, classes=CLASSES, seed=0, noise=1.5, **columns):
    """Clips whose classes take turns, in folds of three, and noisy features."""
    rng = np.random.default_rng(seed)
    targets = np.arange(clips) % len(classes)
    features = rng.normal(size=(len(classes), dim))[targets] + noise * rng.normal(size=(clips, dim))
    columns = columns or {"fold": [str(k // len(classes) % 3 + 1) for k in range(clips)]}
    rows = [
        {
            "clip_id": f"clip {k:03d}",
            "path": f"{k}.wav",
            "labels": (classes[targets[k]],),
            **{name: values[k] for name, values in columns.items()},
        }
        for k in range(clips)
    ]
    return manifests.from_rows("mine", rows), features.astype(np.float32)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One run that many tests look at, and what went into it."""
    place = Place(tmp_path_factory.mktemp("done"))
    clips, features = draw(
        fold=[f"fold {k // 3 % 3}" for k in range(90)], group=[f"g{k // 9}" for k in range(90)]
    )
    place.task(clips)
    place.embed(clips, features)
    (result,) = place.evaluate()
    return place, clips, features, result


# ---- one run from end to end


def test_score_follows_from_the_stored_predictions_to_the_last_digit(done):
    place, _, _, result = done
    arrays = place.arrays()
    fold = arrays["predictions/fold"]
    metric = metrics.get_metric("accuracy")
    own = [
        metric.score(
            arrays["predictions/target"][fold == name], arrays["predictions/scores"][fold == name]
        )
        for name in (b"fold 0", b"fold 1", b"fold 2")
    ]
    assert [one["score"] for one in result["folds"]] == own
    assert result["score"] == np.mean(own)
    assert result["spread"] == np.std(own)
    assert 0.4 < result["score"] < 0.95


def test_predictions_are_kept_by_clip(done):
    place, clips, _, result = done
    arrays = place.arrays()
    ids = [clip_id.decode() for clip_id in arrays["predictions/clip_id"]]
    assert sorted(ids) == clips.clip_ids
    for clip_id, fold, target in zip(
        ids, arrays["predictions/fold"], arrays["predictions/target"], strict=True
    ):
        number = int(clip_id[5:])
        assert fold.decode() == f"fold {number // 3 % 3}"
        assert target == number % 3
    assert result["classes"] == list(CLASSES)


def test_stored_probes_give_the_stored_scores(done):
    place, clips, features, _ = done
    arrays = place.arrays()
    ids = [clip_id.decode() for clip_id in arrays["predictions/clip_id"]]
    own = dict(zip(clips.clip_ids, features.astype(np.float64), strict=True))
    for name in (b"fold 0", b"fold 1", b"fold 2"):
        rows = np.flatnonzero(arrays["predictions/fold"] == name)
        probe = {
            part: arrays[f"probe/{name.decode()}/{part}"]
            for part in ("coef", "intercept", "mean", "scale")
        }
        wide = (np.array([own[ids[k]] for k in rows]) - probe["mean"]) / probe["scale"]
        np.testing.assert_allclose(
            wide @ probe["coef"].T + probe["intercept"],
            arrays["predictions/scores"][rows],
            rtol=1e-12,
            atol=1e-12,
        )


def test_probe_of_a_fold_is_standardized_on_its_training_clips_alone(done):
    place, clips, features, _ = done
    for name in ("fold 0", "fold 1", "fold 2"):
        train = features[clips.column("fold") != name].astype(np.float64)
        np.testing.assert_allclose(
            place.arrays()[f"probe/{name}/mean"], train.mean(axis=0), rtol=1e-12
        )
        np.testing.assert_allclose(
            place.arrays()[f"probe/{name}/scale"], train.std(axis=0), rtol=1e-12
        )


def test_result_says_what_was_done(done):
    _, clips, _, result = done
    assert (result["metric"], result["dim"], result["probe"]) == ("accuracy", 5, "linear")
    assert result["clips"] == {"used": 90, "of": 90, "missing": {}, "missing_count": 0}
    assert result["manifest"] == clips.digest()
    assert result["provenance"] == NOTES
    assert result["interval"]["unit"] == "groups across folds"
    assert result["interval"]["low"] < result["score"] < result["interval"]["high"]
    assert result["grid"] == [{"C": c} for c in linear.GRID]
    for one in result["folds"]:
        assert (one["train"], one["test"], len(one["curve"])) == (60, 30, len(linear.GRID))
        assert one["params"]["C"] in linear.GRID and one["converged"]
        assert one["at_edge"] == (one["params"]["C"] in (linear.GRID[0], linear.GRID[-1]))
    assert result["solver"]["fits"] == 3 * (2 * 12 + 1)  # two inner divisions, and the refit
    assert set(result["versions"]) == {"probekit", "numpy", "scipy", "scikit-learn"}


def test_scores_of_classes_and_groups_follow_from_the_predictions(done):
    place, clips, _, result = done
    arrays = place.arrays()
    right = arrays["predictions/scores"].argmax(axis=1) == arrays["predictions/target"]
    fold, target = arrays["predictions/fold"], arrays["predictions/target"]
    for k, name in enumerate(CLASSES):
        own = [right[(fold == f) & (target == k)].mean() for f in sorted(set(fold))]
        assert result["per_class"][name] == {"score": pytest.approx(np.mean(own)), "clips": 30}
    groups = dict(zip(clips.clip_ids, clips.column("group"), strict=True))
    of = np.array([groups[clip_id.decode()] for clip_id in arrays["predictions/clip_id"]])
    assert set(result["per_group"]) == set(of)
    for name, one in result["per_group"].items():
        assert one == {"score": pytest.approx(right[of == name].mean()), "clips": 9}


def test_result_is_plain_json_that_reads_back(done):
    place, _, _, result = done

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    (path,) = place.files("*.json")
    text = path.read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == result == store.load(path)
    assert set(result) == set(store.Result.__required_keys__)
    assert all(set(one) == set(store.Fold.__annotations__) for one in result["folds"])
    assert CLASSES[0] in text and CLASSES[2] in text  # labels as they are, with their commas


def test_table_of_results_has_the_run(done):
    place, _, _, result = done
    (row,) = result_table.results(place.reports).to_dict("records")
    assert (row["task"], row["embedding"], row["run"]) == ("mine", "made", result["run"])
    assert (row["low"], row["high"]) == (result["interval"]["low"], result["interval"]["high"])
    assert (row["clips"], row["of"], row["provenance"]) == (90, 90, "; ".join(NOTES))


def test_two_processes_give_the_same_as_one(done):
    place, _, _, result = done
    other = Place(place.root)
    other.reports = place.root / "by two"
    (again,) = other.evaluate(jobs=2)
    moving = {"seconds", "created"}
    assert {k: v for k, v in again.items() if k not in moving} == {
        k: v for k, v in result.items() if k not in moving
    }
    ours, theirs = place.arrays(), other.arrays()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


# ---- what is missing or strange is said


def test_clips_lacking_in_the_cache_are_counted(place, small_grid):
    clips, features = draw()
    place.task(clips)
    some = np.delete(np.arange(90), [3, 50, 77])
    place.embed(clips.subset(some), features[some])
    (result,) = place.evaluate()
    assert result["clips"] == {
        "used": 87,
        "of": 90,
        "missing_count": 3,
        "missing": dict.fromkeys(["clip 003", "clip 050", "clip 077"], "not extracted"),
    }
    assert "87 of 90 clips" in result["provenance"]
    assert len(place.arrays()["predictions/clip_id"]) == 87


def test_clips_that_the_card_counts_but_the_table_lacks_are_missing_too(place, small_grid):
    clips, features = draw()
    place.embed(clips, features)
    place.csv = place.root / "mine.parquet"
    kept.save_manifest(place.cache, replace(clips, expected=100))
    (result,) = place.evaluate(task="mine")
    assert (result["clips"]["used"], result["clips"]["of"]) == (90, 100)
    assert "90 of 100 clips" in result["provenance"]


def test_made_folds_do_not_depend_on_which_clips_are_missing(place, small_grid):
    clips, features = draw(other=[""] * 90)
    place.task(clips)
    place.embed(clips, features)
    some = np.delete(np.arange(90), [3, 50, 77])
    place.embed(clips.subset(some), features[some], "partial")
    place.evaluate(["made", "partial"])
    whole, partial = (
        dict(zip(arrays["predictions/clip_id"], arrays["predictions/fold"], strict=True))
        for arrays in (place.arrays(0), place.arrays(1))
    )
    assert len(partial) == 87
    assert all(whole[clip_id] == fold for clip_id, fold in partial.items())


def test_no_clip_in_common_shows_both_kinds_of_ids(place):
    clips, features = draw()
    place.embed(clips, features)
    renamed = clips.table.assign(clip_id=[f"other {k}" for k in range(90)])
    place.task(clips.with_table(renamed))
    with pytest.raises(DataError, match=r"none of the 90 clips .*'clip 0.*'other 0'"):
        place.evaluate()


def test_stand_in_data_and_random_weights_are_shown(place, small_grid):
    clips, features = draw()
    place.task(clips)
    described = place.embed(clips, features).folder / "dataset.json"
    settled = json.loads(described.read_text())
    settled["provenance"] = ["random weights (seed 0)"]
    described.write_text(json.dumps(settled))
    (place.root / "mine.yaml").write_text(
        "{name: mine, title: T, dataset: mine, module: table, options: {csv: mine.csv}, "
        "stand_in: synthetic corpus, protocol: {kind: folds}, metric: accuracy}"
    )
    (result,) = place.evaluate(task=str(place.root / "mine.yaml"), root=place.root)
    notes = ["synthetic corpus", "random weights (seed 0)", "training data: not established"]
    assert result["provenance"] == notes


@pytest.mark.parametrize("refit", [True, False])
def test_label_never_in_training_is_said(place, refit, small_grid):
    split = ["train", "valid", "test"] * 30
    clips, features = draw(split=[part if k >= 30 else "train" for k, part in enumerate(split)])
    table = clips.table.copy()
    labels = [CLASSES[k % 2] for k in range(90)]
    labels[31] = labels[34] = "valid only"  # clips of the validation part
    labels[32] = labels[35] = "test only"
    labels[38] = "valid only"
    table["labels"] = [(label,) for label in labels]
    clips = manifests.from_rows("mine", table.to_dict("records"))
    place.task(clips)
    place.embed(clips, features)
    (place.root / "mine.yaml").write_text(
        "{name: mine, title: T, dataset: mine, module: table, options: {csv: mine.csv}, "
        f"protocol: {{kind: split, refit: {refit}}}, metric: accuracy}}"
    )
    (result,) = place.evaluate(task=str(place.root / "mine.yaml"), root=place.root)
    expected = "test only" if refit else "test only, valid only"
    assert f"never in training: {expected}" in result["provenance"]
    assert result["per_class"]["test only"] == {"score": 0.0, "clips": 2}
    assert result["folds"][0]["train"] == (70 if refit else 50)


def test_many_labels_never_in_training_are_counted(place, small_grid):
    names = [f"rare {k}" for k in range(8)]
    clips, features = draw(split=["train", "test"] * 45)
    table = clips.table.copy()
    table["labels"] = [
        (names[k // 2],) if k % 2 and k < 16 else (CLASSES[k // 2 % 3],) for k in range(90)
    ]
    clips = manifests.from_rows("mine", table.to_dict("records"))
    place.task(clips)
    place.embed(clips, features)
    (result,) = place.evaluate()
    assert (
        "never in training: rare 0, rare 1, rare 2, rare 3, rare 4 and 3 more"
        in (result["provenance"])
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_training_clips_of_one_class_are_one_error_that_names_the_fold(place, jobs):
    rng = np.random.default_rng(0)
    # with fold 4, which has all clips of b, held out, nothing is left to tell apart
    labels = ["b" if k % 4 == 3 else "a" for k in range(40)]
    rows = [
        {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": (labels[k],), "fold": str(k % 4 + 1)}
        for k in range(40)
    ]
    clips = manifests.from_rows("mine", rows)
    place.task(clips)
    place.embed(clips, rng.normal(size=(40, 4)))
    fold = "1" if jobs == 1 else "[123]"  # of two processes, either may be the first to fail
    with pytest.raises(DataError) as caught:
        place.evaluate(jobs=jobs)
    assert re.fullmatch(
        f"mine, split '{fold}', choosing C on 3 divisions of the training clips: "
        "all training clips have the same label; need at least two classes",
        str(caught.value),
    )
    assert not place.files()


def test_fixed_split_that_trains_on_one_class_is_named(place, small_grid):
    clips, features = draw(split=["train", "test", "test"] * 30)
    place.task(clips)
    place.embed(clips, features)
    with pytest.raises(DataError, match=r"mine, split 'test'.*all training clips have the same"):
        place.evaluate()


# ---- other kinds of targets


def draw_tags(clips=90):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(clips, 4)).astype(np.float32)
    rows = [
        {
            "clip_id": f"c{k}",
            "path": f"{k}.wav",
            "fold": str(k % 3),
            "group": f"g{k}",
            "labels": tuple(f"tag, {j}" for j in range(3) if features[k, j] + rng.normal() > 0),
        }
        for k in range(clips)
    ]
    return rows, features


def test_several_labels_with_commas(place, monkeypatch, small_grid):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)  # a thousand areas take seconds
    rows, features = draw_tags()
    rows[3]["labels"] = ("once; only", *rows[3]["labels"])  # in fold 0, so never in its training
    clips = manifests.from_rows("mine", rows, target="multi")
    place.task(clips)
    place.embed(clips, features)
    (result,) = place.evaluate()
    assert result["metric"] == "pr-auc"
    assert result["classes"] == ["once; only", "tag, 0", "tag, 1", "tag, 2"]
    assert "never in training: once; only" in result["provenance"]
    assert result["per_class"]["once; only"]["clips"] == 1
    assert result["per_class"]["once; only"]["score"] == pytest.approx(1 / 30)  # chance
    assert result["score"] > 0.5
    arrays = place.arrays()
    own = [
        metrics.get_metric("pr-auc").score(
            arrays["predictions/target"][rows], arrays["predictions/scores"][rows]
        )
        for rows in (arrays["predictions/fold"] == name for name in (b"0", b"1", b"2"))
    ]
    assert result["score"] == np.mean(own)
    # one clip a group: neither precision nor recall is defined, and null is what JSON has for it
    assert {one["score"] for one in result["per_group"].values()} == {None}
    assert "NaN" not in place.files("*.json")[0].read_text()


def test_numbers(place, small_grid):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    values = features[:, :2] * 3 - 10 + 0.5 * rng.normal(size=(60, 2))
    rows = [
        {"clip_id": f"c{k}", "path": f"{k}.wav", "labels": tuple(values[k]), "fold": str(k % 3)}
        for k in range(60)
    ]
    clips = manifests.from_rows(
        "mine", rows, target="regression", class_names=["arousal", "valence"]
    )
    place.task(clips)
    place.embed(clips, features)
    (result,) = place.evaluate()
    assert result["metric"] == "r2"
    assert result["score"] > 0.9
    assert [one["clips"] for one in result["per_class"].values()] == [60, 60]


def test_fold_that_cannot_be_scored_is_named_before_anything_is_fitted(place, monkeypatch):
    rows, features = draw_tags()
    for row in rows:
        if row["fold"] == "1":
            row["labels"] = ()
    clips = manifests.from_rows("mine", rows, target="multi")
    place.task(clips)
    place.embed(clips, features)
    monkeypatch.setattr(model_selection, "_choose", None)
    with pytest.raises(DataError, match=r"mine, split '1': PR-AUC .* not defined on its 30 test"):
        place.evaluate()


def test_metric_for_another_kind_of_target_is_refused(place):
    clips, features = draw()
    place.task(clips)
    place.embed(clips, features)
    (place.root / "mine.yaml").write_text(
        "{name: mine, title: T, dataset: mine, module: table, options: {csv: mine.csv}, "
        "protocol: {kind: folds}, metric: roc-auc}"
    )
    with pytest.raises(DataError, match="metric 'roc-auc' is for multi targets, the clips have si"):
        place.evaluate(task=str(place.root / "mine.yaml"), root=place.root)


# ---- what is kept, and what makes another run


@pytest.fixture
def small(place):
    clips, features = draw(30, 3, CLASSES[:2])
    place.task(clips)
    place.embed(clips, features)
    return place, clips, features


@pytest.fixture
def calls(monkeypatch):
    """Count fits."""
    made, choose = [], model_selection._choose
    monkeypatch.setattr(
        model_selection, "_choose", lambda *a, **k: made.append(1) or choose(*a, **k)
    )
    return made


def test_same_run_is_not_computed_twice(small, calls, small_grid):
    place, _, _ = small
    first = place.evaluate()
    assert len(calls) == 3
    assert place.evaluate() == first
    assert len(calls) == 3
    (again,) = place.evaluate(again=True)
    assert len(calls) == 6
    assert again["run"] == first[0]["run"]
    assert len(place.files("*.json")) == 1


def test_recordings_that_changed_under_the_same_fingerprint_are_another_run(
    small, monkeypatch, small_grid
):
    """They are embedded again: the index has their hashes."""
    place, _, _ = small
    (first,) = place.evaluate()
    load = index_module.load_index

    def changed(where, **options):
        found = load(where, **options)
        table = found.table.copy()
        table.loc[0, "sha256"] = "0" * 64
        return index_module.Index(table, found.parts)

    monkeypatch.setattr("probekit.cache.embeddings.load_index", changed)
    (second,) = place.evaluate()
    assert second["sources"] == first["sources"]
    assert second["run"] != first["run"]


def test_other_clips_folds_labels_or_solver_are_another_run(small, small_grid):
    place, clips, _ = small
    runs = [place.evaluate()[0]["run"]]
    place.task(clips.subset(range(27)))
    runs.append(place.evaluate()[0]["run"])
    place.task(clips.with_table(clips.table.assign(fold=[str(k % 5) for k in range(30)])))
    runs.append(place.evaluate()[0]["run"])
    place.task(clips.with_table(clips.table.assign(labels=clips.table["labels"][::-1].values)))
    runs.append(place.evaluate()[0]["run"])
    place.task(clips)
    runs.append(place.evaluate(solver="scikit-learn")[0]["run"])
    assert len(set(runs)) == 5
    assert place.evaluate()[0]["run"] == runs[0]


def test_result_of_another_format_is_computed_again(small, calls, small_grid):
    place, _, _ = small
    (first,) = place.evaluate()
    (path,) = place.files("*.json")
    path.write_text(json.dumps({**first, "format": 0}))
    with pytest.warns(
        UserWarning, match=r"mine/made-.*\.json: result format must be 2 .*got 0.*evaluate ag"
    ):
        assert store.load_results(place.reports) == []
    assert place.evaluate()[0]["run"] == first["run"]
    assert len(calls) == 6
    assert len(store.load_results(place.reports)) == 1


def test_file_that_is_no_result_is_named(small, small_grid):
    place, _, _ = small
    place.evaluate()
    (path,) = place.files("*.json")
    for text in ("", "[]", "{}", "null"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"\.json: not a result of probekit"):
            store.load(path)


@pytest.mark.parametrize(
    ("commits", "point"),
    [
        (1, "before-rename"),
        pytest.param(2, "before-flush", marks=pytest.mark.slow),
        (2, "before-rename"),
    ],
)
def test_killed_write_leaves_no_half_result(small, write_hook, commits, point, small_grid):
    """A process that is gone at once, while it writes the arrays (1) or the JSON (2)."""
    place, _, _ = small
    kill = f"""
import os

points = []
def at_point(point):
    points.append(point)
    if points.count("before-write") == {commits} and point == {point!r}:
        os._exit(9)
"""
    save = f"""
from pathlib import Path
from probekit.scores import store

path = store.result_path(Path({str(place.reports)!r}), "mine", "made", "0" * 64)
store.save(path, {{"format": store.FORMAT}}, {{"predictions/scores": [1.0, 2.0]}})
"""
    ended = subprocess.run([sys.executable, "-c", write_hook.source(kill) + save], check=False)
    assert ended.returncode == 9
    assert not place.files("*.json")
    assert store.load_results(place.reports) == []
    (result,) = place.evaluate()
    assert store.load_results(place.reports) == [result]


# ---- which task, which embedding


def test_task_kept_in_the_cache_is_found_by_its_name(small, small_grid):
    place, clips, _ = small
    kept.save_manifest(place.cache, clips)
    assert place.evaluate(task="mine")[0]["clips"]["used"] == 30
    with pytest.raises(UnknownNameError, match=r"unknown task 'mien'.*Clip tables in .*: mine\."):
        place.evaluate(task="mien")


@pytest.mark.parametrize("task", ["/nowhere/clips.csv", "clips.csv", "[a-", "../mine", ""])
def test_task_that_is_not_there_is_an_error_and_no_pattern(small, task, corpus, monkeypatch):
    place, clips, _ = small
    monkeypatch.chdir(corpus)  # a folder of recordings is no task unless it is named
    kept.save_manifest(place.cache, clips)
    with pytest.raises((DataError, UnknownNameError)):
        place.evaluate(task=task)


def test_faulty_card_is_not_passed_over_for_a_kept_table(small, monkeypatch):
    place, clips, _ = small
    kept.save_manifest(place.cache, clips)
    (place.root / "mine.yaml").write_text("{name: mine, titel: T}")
    monkeypatch.setenv("PROBEKIT_CARDS", str(place.root))
    with pytest.raises(CardError, match="titel: unknown field"):
        place.evaluate(task="mine")


def test_task_without_its_clip_table_says_where_it_was_looked_for(place):
    with pytest.raises(DataError, match=r"no manifest in .*--root DIR"):
        place.evaluate(task="fsdd")


def test_embedding_that_is_not_there_names_those_that_are(small):
    place, _, _ = small
    with pytest.raises(CacheError, match=r"no embeddings of 'maid' for 'mine'.*\bmade\b"):
        place.evaluate("maid")
    with pytest.raises(UnknownNameError, match="unknown solver 'sklern'"):
        place.evaluate(solver="sklern")


def test_embedding_with_nan_names_a_clip(small, monkeypatch):
    place, clips, _ = small
    vectors = embeddings.Embeddings.vectors

    def spoilt(self, clip_ids, *others):
        found = vectors(self, clip_ids, *others)
        found[clips.clip_ids.index("clip 007")] = np.nan
        return found

    monkeypatch.setattr(embeddings.Embeddings, "vectors", spoilt)
    with pytest.raises(DataError, match=r"1 of 30 embeddings .* NaN .* that of 'clip 007'"):
        place.evaluate()


def test_nothing_warns(small, small_grid):
    place, _, _ = small
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        place.evaluate()


def test_large_embeddings_are_read_block_by_block(place, monkeypatch, small_grid):
    clips, features = draw()
    place.task(clips)
    place.embed(clips, features)
    place.embed(clips, features[:, ::-1].copy(), name="other")
    whole = place.evaluate("made+other")
    monkeypatch.setattr(features_module, "OUT_OF_CORE_BYTES", 0.0)
    monkeypatch.setattr(features_module.Features, "matrix", None)
    blockwise = place.evaluate("made+other", again=True)
    for one, other in zip(whole, blockwise, strict=True):
        # the inner divisions are drawn over clips in the order of the cache: other ones
        assert other["score"] == pytest.approx(one["score"], abs=0.1)
        assert other["solver"]["unconverged"] == 0 and other["dim"] == one["dim"]
        assert other["clips"] == one["clips"]


@pytest.mark.slow
def test_a_cluster_sums_over_large_embeddings(place, monkeypatch, small_grid):
    pytest.importorskip("distributed")
    parts = [("train", "train", "train", "valid", "test")[k // 3 % 5] for k in range(90)]
    clips, features = draw(split=parts)  # one path: each pass waits for the workers
    place.task(clips)
    place.embed(clips, features)
    monkeypatch.setattr(features_module, "OUT_OF_CORE_BYTES", 0.0)
    (alone,) = place.evaluate()
    sent = []
    by_cluster = objective.Objective._cluster_sums

    def spy(self, *given):
        found = by_cluster(self, *given)
        sent.append(found)
        return found

    monkeypatch.setattr(objective.Objective, "_cluster_sums", spy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own
        (spread,) = place.evaluate(again=True, dask="local", jobs=2)
    assert sent  # the workers summed: this process did not fit alone
    assert spread["run"] == alone["run"]
    assert spread["score"] == pytest.approx(alone["score"], abs=1e-9)
    for one, other in zip(alone["folds"], spread["folds"], strict=True):
        assert one["params"] == other["params"] and other["converged"]


def test_all_cores_work_where_it_takes_longer(monkeypatch):
    monkeypatch.setattr(evaluate.resources, "cpu_count", lambda: 6)
    folds = SimpleNamespace(kind="made-folds")

    def run(work, name="linear", protocol=folds):
        probe, card = SimpleNamespace(name=name), SimpleNamespace(protocol=protocol)
        return SimpleNamespace(work=work, probe=probe, card=card)

    jobs = evaluate._default_jobs
    assert jobs([run(1e7)]) == 1 and jobs([run(1e9)]) == 6
    assert jobs([run(1e7, "mlp:hear")]) == 6  # an MLP's fits take longer
    assert jobs([run(1e9, protocol=SimpleNamespace(kind="split"))]) == 1  # nothing to divide
    assert jobs([run(6e7), run(6e7)]) == 6
