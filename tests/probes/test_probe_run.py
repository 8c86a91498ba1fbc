"""One run: what names it, what it keeps, and data that is hard on a probe."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from probekit.cards import Protocol, Published, TaskCard
from probekit.data import manifest as manifests
from probekit.metrics import bootstrap
from probekit.probes import registry
from probekit.probes.probe_run import ProbeRun, _compared_notes
from probekit.scores import predictions, scoring, store

QUICK = "sklearn.naive_bayes:GaussianNB"  # where the probe is not the point
KINDS = ["linear", "mlp", "knn", "sklearn.svm:SVC", "sklearn.linear_model:LogisticRegression"]
pytestmark = pytest.mark.usefixtures("small_mlp", "small_grid", "few_neighbors")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)


def card(metric="accuracy", kind="folds", **others):
    rule = Protocol(kind=kind, inner_folds=3)
    return TaskCard(
        name="mine",
        title="Mine",
        dataset="mine",
        module="table",
        protocol=rule,
        metric=metric,
        **others,
    )


class RunFeatures(SimpleNamespace):
    """Features as far as a run looks at them."""

    out_of_core = False

    def matrix(self):
        return self.values


def features(values, clips, **others):
    found = {
        "values": np.asarray(values, np.float32),
        "clips": clips,
        "all_clips": clips,
        "missing": {},
        "label": "made",
        "expected": len(clips),
        "provenance": ["made up"],
        "sources": [],
        "digest": "d",
        "training_digests": [],
        "notes": lambda tested: [],
        "recording_hashes": {},
    }
    return RunFeatures(**{**found, **others})


def clips_of(labels, target="single", folds=3, groups=lambda k: "", **others):
    rows = [
        {
            "clip_id": f"c{k}",
            "path": "",
            "labels": own,
            "fold": str(k % folds),
            "split": part,
            "group": groups(k),
        }
        for k, (own, part) in enumerate(
            zip(labels, ["train", "train", "test", "valid"] * len(labels), strict=False)
        )
    ]
    return manifests.from_rows("mine", rows, target=target, **others)


def draw(clips=60, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.arange(clips) // 3 % 3
    labels = [(f"class, {k}",) for k in targets]
    return rng.normal(size=(clips, dim)) + 3 * np.eye(3, dim)[targets], labels


def run(values, labels, kind="linear", **others):
    own = {k: others.pop(k) for k in ("steps", "preset", "fraction", "seed") if k in others}
    used = others.pop("task", card())
    return ProbeRun(
        used, features(values, clips_of(labels, **others)), registry.get_probe(kind), **own
    )


# ---- what it keeps


@pytest.mark.parametrize("kind", ["linear", "mlp", "knn"])
def test_all_scores_follow_from_what_is_kept(tmp_path, kind):
    one = run(*draw(), kind, task=card(also=["log-loss", "balanced-accuracy", "top-2"]))
    result, arrays = one.compute()
    path = one.path(tmp_path)
    store.save(path, result, arrays)
    kept = store.load(path)
    assert set(kept) == set(store.Result.__required_keys__)
    own = predictions.load_predictions(path, kept)
    again = scoring.score_predictions(own, "accuracy", list(kept["also"]), kept["classes"])
    assert [f["score"] for f in kept["folds"]] == again.pop("folds")
    assert {k: kept[k] for k in again} == again
    assert kept["classes"] == ["class, 0", "class, 1", "class, 2"]
    assert kept["also"]["top-2"]["score"] >= kept["score"] > 0.5
    assert kept["also"]["log-loss"]["score"] < np.log(3)  # better than knowing nothing
    assert (kept["probe"], kept["settings"]) == (kind, one.probe.facts())


def test_published_scores_are_carried_along():
    said = Published(method="SVM", score=0.9, metric="accuracy", where="there", differs="folds")
    result, _ = run(*draw(), QUICK, task=card(published=[said])).compute()
    assert result["published"] == [said.model_dump()]


def test_a_share_of_the_labels_is_trained_on_and_all_tests_are_scored():
    values, labels = draw(120)
    whole, _ = run(values, labels, QUICK).compute()
    some, _ = run(values, labels, QUICK, fraction=0.3, seed=2).compute()
    assert [f["train"] for f in whole["folds"]] == [80, 80, 80]
    assert all(22 <= f["train"] <= 27 for f in some["folds"])
    assert [f["test"] for f in some["folds"]] == [40, 40, 40]
    assert (some["fraction"], some["seed"]) == (0.3, 2)
    assert "clips" not in " ".join(some["provenance"])  # none are missing


def test_missing_clips_are_counted_with_reasons():
    values, labels = draw()
    clips = clips_of(labels)
    some = features(
        values[:50],
        clips.subset(range(50)),
        all_clips=clips,
        missing={f"c{k}": "too short" for k in range(50, 60)},
        expected=70,
    )
    result, _ = ProbeRun(card(), some, registry.get_probe(QUICK)).compute()
    assert (result["clips"]["used"], result["clips"]["of"]) == (50, 70)
    assert result["clips"]["missing_count"] == 20
    assert result["clips"]["missing"]["c59"] == "too short"
    assert result["provenance"] == ["made up", "50 of 70 clips"]


# ---- what names it


def test_whatever_changes_the_outcome_changes_the_name():
    values, labels = draw()
    plain = run(values, labels)
    others = [
        run(values, labels, "knn"),
        run(values, labels, "sklearn.svm:SVC:C=1"),
        run(values, labels, "sklearn.svm:SVC:C=2"),
        run(values, labels, seed=1),
        run(values, labels, fraction=0.5),
        run(values, labels, steps=("unit-l2",)),
        run(values, labels, task=card(metric="balanced-accuracy")),
        run(values, labels, task=card(also=["top-2"])),
        run(values, labels, task=card(kind="split")),
        run(values, labels, folds=4),
        run(values, [*labels[:-1], ("class, 0",)]),
        replace(plain, features=features(values, plain.features.clips, digest="e")),
        replace(plain, features=features(values, plain.features.clips, expected=61)),
        replace(plain, features=features(values, plain.features.clips, provenance=["stand-in"])),
    ]
    assert len({one.id for one in [plain, *others]}) == len(others) + 1
    assert run(values, labels).id == plain.id


def test_words_for_people_do_not_change_the_name():
    values, labels = draw()
    said = Published(method="SVM", score=0.9, where="there")
    other = card(published=[said], notes=["a note"])
    assert run(values, labels, task=other).id == run(values, labels).id


def test_the_label_says_what_is_unusual():
    values, labels = draw()
    assert run(values, labels).label == "made"
    assert run(values, labels, fraction=0.05).label == "made, 5 % of the labels"


# ---- what is said beside the score


@pytest.mark.parametrize(
    ("folds", "groups", "note"),
    [
        (3, lambda k: f"g{k // 5}", "groups with clips in training and in test: 12 of 12"),
        (3, lambda k: f"g{k % 3}", None),
        (
            3,
            lambda k: "pair" if k in (7, 8) else "",
            "groups with clips in training and in test: 1 of 1",
        ),
        (3, lambda k: "", None),
    ],
)
def test_groups_that_folds_tear_are_counted(folds, groups, note):
    values, labels = draw()
    result, _ = run(values, labels, QUICK, folds=folds, groups=groups).compute()
    torn = [text for text in result["provenance"] if "groups" in text]
    assert torn == [note] * (note is not None)


def test_validation_clips_count_as_training():
    values, labels = draw()  # train, train, test, valid, in turn
    for rows, count in (((2, 3), 1), ((2, 6), 0), ((0, 3), 0)):
        own = run(
            values,
            labels,
            QUICK,
            task=card(kind="split"),
            groups=lambda k, rows=rows: "one" if k in rows else f"g{k}",
        )
        notes = own.compute()[0]["provenance"]
        assert sum("groups with clips in training" in note for note in notes) == count


def test_streams_that_were_chosen_on_the_dataset_are_noted():
    source = {"extractor": "convnet", "stream": "layers", "fingerprint": "f"}
    expected = "stream layers of convnet: its authors compared layers by scores of this dataset"
    assert _compared_notes([source], "gtzan") == [expected]
    assert _compared_notes([source], "fsdd") == []
    assert _compared_notes([{**source, "stream": "max5"}], "gtzan") == []
    assert _compared_notes([{**source, "extractor": "imported"}], "gtzan") == []


# ---- data that is hard


def sound(result):
    """A result that is whole: JSON without NaN, scores from 0 to 1."""
    json.loads(json.dumps(result), parse_constant=lambda word: pytest.fail(word))
    assert 0 <= result["interval"]["low"] <= result["score"] <= result["interval"]["high"] <= 1
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features(kind):
    values, labels = draw()
    values[:, 1:3] = 0.1, -7
    assert sound(run(values, labels, kind).compute()[0])["score"] > 0.4
    values[:] = 3.25  # nothing to learn from at all
    assert sound(run(values, labels, kind).compute()[0])["score"] < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_more_features_than_clips(kind):
    values, labels = draw(dim=150)
    assert sound(run(values, labels, kind).compute()[0])["dim"] == 150


@pytest.mark.parametrize("kind", KINDS)
def test_perfectly_separable_classes(kind):
    values, labels = draw()
    values = 100 * np.eye(3)[[int(own[0][-1]) for own in labels]] + 0.01 * values[:, :3]
    result = sound(run(values, labels, kind).compute()[0])
    if kind == "mlp":  # a few steps on forty clips
        assert result["score"] > 0.6
    else:
        assert result["score"] == 1
        assert result["interval"]["method"] == "exact binomial" and result["interval"]["low"] < 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_with_one_clip(kind):
    values, labels = draw()
    labels[30] = ("only once",)
    result = sound(run(values, labels, kind).compute()[0])
    assert "never in training: only once" in result["provenance"]
    assert result["per_class"]["only once"] == {"score": 0.0, "clips": 1}
    assert len(result["classes"]) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_tag_without_a_positive_in_training(kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 4))
    labels = [tuple(f"tag {j}" for j in range(3) if row[j] > 0) for row in values]
    for k in range(0, 12, 3):
        labels[k] = (*labels[k], "rare")  # all in fold 0
    used = card("pr-auc", also=["lwlrap", "f1-samples"])
    result = sound(run(values, labels, kind, target="multi", task=used).compute()[0])
    assert "never in training: rare" in result["provenance"]
    assert result["per_class"]["rare"]["clips"] == 4
    if kind != "mlp":  # whose scores are never all the same
        assert result["per_class"]["rare"]["score"] == pytest.approx(0.2)  # chance
    assert all(result["per_class"][f"tag {j}"]["score"] > 0.7 for j in range(3))


@pytest.mark.parametrize("kind", ["linear", "mlp", "knn"])
def test_a_single_tag(kind):
    values, _ = draw()
    labels = [("there",) if row[0] > 1 else () for row in values]
    used = card("roc-auc")
    result = sound(run(values, labels, kind, target="multi", task=used).compute()[0])
    assert result["score"] > 0.8 and result["classes"] == ["there"]
