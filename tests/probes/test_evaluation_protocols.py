"""Protocols of other tools and departures: splits, stores, and what a task cannot have."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score
from sklearn.model_selection import KFold
from sklearn.multioutput import MultiOutputClassifier

from probekit.cache import import_export
from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.errors import DataError, ProbekitError, ProtocolError
from probekit.probes import evaluate, evaluation_protocols, protocol_probes, protocol_splits
from probekit.probes.evaluation_protocols import PEERS, PROTOCOLS
from probekit.scores import staleness, store
from probekit.scores.verification import verify
from probekit.tasks.splits import inner_cv

pytestmark = pytest.mark.usefixtures("small_grid")


class Place:
    """A user's own task of five folds, with embeddings in a cache, in a temporary folder."""

    def __init__(self, root):
        self.root, self.reports = root, root / "reports"

    def draw(self, tags=False):
        rng = np.random.default_rng(3)
        clips = of_folds(make_clips())
        if tags:
            rows = clips.table.assign(labels=[("a", "b"), ("b",), ("a",)] * 50, split="")
            clips = manifests.from_rows("mine", rows.to_dict("records"), target="multi")
        kind = np.arange(150) % 3
        features = 5 + 4 * rng.normal(size=(3, 5))[kind] + 9 * rng.normal(size=(150, 5))
        features = features.astype(np.float32)
        clips.write(self.root / "mine.csv")
        np.save(self.root / "made.npy", features)
        import_export.import_arrays(
            "made", clips, [self.root / "made.npy"], cache=self.root / "cache", dataset="mine"
        )
        return clips, features

    def evaluate(self, **others):
        folders = {"cache": self.root / "cache", "reports": self.reports, "jobs": 1}
        return evaluate.evaluate(str(self.root / "mine.csv"), "made", **folders, **others)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


FOLDS = Protocol(kind="folds")
SPLIT = Protocol(kind="split")


def make_clips(count=150, classes=3, parts=("train", "train", "valid", "test"), **columns):
    rows = [
        {
            "clip_id": f"c{k:03d}",
            "path": f"{k}.wav",
            "labels": (f"class {k % classes}",),
            "fold": str(k // classes % 5 + 1),
            "split": parts[k // classes % len(parts)],
            "group": f"g{k // 3}",
            **{name: values[k] for name, values in columns.items()},
        }
        for k in range(count)
    ]
    return manifests.from_rows("mine", rows)


def of_folds(clips):
    table = clips.table.assign(split="")
    return manifests.from_rows("mine", table.to_dict("records"))


def mteb_experiments(features, targets):
    """Accuracies as the peer computes them, with its generators, clip by clip."""
    order, accuracies = None, []
    for train, test in KFold(5, shuffle=True, random_state=42).split(range(len(targets))):
        order = list(range(len(train))) if order is None else order
        np.random.RandomState(42).shuffle(order)
        counts, drawn = Counter(), []
        for k in order:
            if counts[targets[train[k]]] < 8:
                counts[targets[train[k]]] += 1
                drawn.append(train[k])
        model = LogisticRegression(max_iter=100, random_state=42)
        model.fit(features[drawn], targets[drawn])
        accuracies.append(accuracy_score(targets[test], model.predict(features[test])))
    return accuracies


# ---- from end to end


def test_mteb_is_the_peers_pipeline(place):
    clips, features = place.draw()
    (result,) = place.evaluate(protocol="mteb")
    targets = clips.targets()
    expected = mteb_experiments(features, targets)
    assert [fold["score"] for fold in result["folds"]] == pytest.approx(expected)
    assert result["score"] == pytest.approx(np.mean(expected))
    assert [fold["train"] for fold in result["folds"]] == [24] * 5
    assert (
        result["evaluation"]["protocol"] == "mteb" and "2.26.24" in result["evaluation"]["source"]
    )
    assert "groups and official folds are ignored" in result["provenance"]


def test_mteb_of_several_labels_is_the_peers_pipeline(tmp_path):
    """Against its draws on lists, scikit-learn's classifier of several outputs, and its metric."""
    rng, names = np.random.default_rng(8), ("a", "b", "c")
    tags = rng.random((200, 3)) < (0.5, 0.3, 0.2)
    parts = np.where(np.arange(200) % 2 == 0, "train", "test")
    rows = [
        {"clip_id": f"c{k:03d}", "path": f"{k}.wav", "labels": np.array(names)[tags[k]].tolist(),
         "split": parts[k]}
        for k in range(200)
    ]  # fmt: skip
    clips = manifests.from_rows("mine", rows, target="multi")
    features = (tags @ rng.normal(size=(3, 6)) + rng.normal(size=(200, 6))).astype(np.float32)
    clips.write(tmp_path / "mine.csv")
    np.save(tmp_path / "made.npy", features)
    import_export.import_arrays(
        "made", clips, [tmp_path / "made.npy"], cache=tmp_path / "cache", dataset="mine"
    )
    results = Place(tmp_path).evaluate(protocol="mteb-draws")
    train, test, generator = (
        np.flatnonzero(parts == "train"),
        parts == "test",
        np.random.default_rng(42),
    )
    for result in results:
        order, counts, drawn = list(np.arange(len(train))), Counter(), []
        generator.shuffle(order)
        for k in order:
            labels = np.flatnonzero(tags[train[k]])
            if any(counts[label] < 8 for label in labels):
                drawn.append(train[k])
                counts.update(labels)
        model = MultiOutputClassifier(LogisticRegression()).fit(features[drawn], tags[drawn])
        shares = np.stack([each[:, 1] for each in model.predict_proba(features[test])], axis=1)
        expected = average_precision_score(tags[test], shares, average="macro")
        assert result["metric"] == "pr-auc"
        assert result["score"] == pytest.approx(expected, abs=1e-6)
        assert result["folds"][0]["train"] == len(drawn)
    assert len(results) == 10 and len({result["score"] for result in results}) > 5


def test_labels_that_all_drawn_clips_have_are_named(place):
    clips, _ = place.draw(tags=True)  # every second label set has "b"
    rows = clips.table.assign(
        fold="", labels=[("a", "b"), ("b",)] * 75, split=["train", "train", "test"] * 50
    )
    manifests.from_rows("mine", rows.to_dict("records"), target="multi").write(
        place.root / "mine.csv"
    )
    with pytest.raises(ProtocolError, match=r"all of the \d+ labeled clips .* have label 'b'"):
        place.evaluate(protocol="mteb-draws")


def test_results_are_stored_apart(place):
    place.draw()
    (own,) = place.evaluate()
    (other,) = place.evaluate(protocol="mteb")
    (again,) = place.evaluate(protocol="mteb")
    assert own["run"] != other["run"] and again == other
    [path] = place.reports.glob("results/*/*.json")
    assert store.load(path)["run"] == own["run"]
    assert [r["run"] for r in store.load_results(place.reports)] == [own["run"]]
    root = store.protocol_root(place.reports, "mteb")
    assert [r["run"] for r in store.load_results(root)] == [other["run"]]
    assert staleness.find_stale(store.list_results(place.reports)) == {}
    verified = verify(place.reports)
    assert len(verified) == 2 and not any(outcome.faults for outcome in verified)
    assert store.group_key(own) != store.group_key(other)


def test_seeds_of_a_protocol_are_runs(place, monkeypatch):
    place.draw()
    short = replace(protocol_probes.EVAR, epochs=3)
    probe = partial(protocol_probes.NetworkProbe, "evar-linear", (short,))
    rules = replace(PROTOCOLS["evar"], make_probe=probe)
    monkeypatch.setitem(evaluation_protocols.PROTOCOLS, "evar", rules)
    results = place.evaluate(protocol="evar")
    assert [result["seed"] for result in results] == [42, 43, 44]
    assert [result["folds"][0]["selected_on"] for result in results] == ["12 validation clips"] * 3


@pytest.mark.parametrize("name", ["raw-features", "fixed-c", "eight-labels"])
def test_departures_are_linear_probes(place, name):
    place.draw()
    (result,) = place.evaluate(protocol=name)
    assert result["probe"] == "linear" and result["evaluation"]["source"] == ""
    assert result["steps"] == ([] if name == "raw-features" else ["standardize"])


def test_selecting_on_test_clips_takes_the_best_c_of_all(place):
    place.draw()
    (result,) = place.evaluate(protocol="test-selection")
    for fold in result["folds"]:
        assert fold["score"] == max(fold["curve"]) and fold["selected_on"].endswith("clips")
    assert "test clips choose C" in result["provenance"]
    # clips that only choose are not counted as trained on
    assert not any("identical" in note for note in result["provenance"])


def test_published_scores_are_not_shown_beside_another_protocol(place):
    place.draw()
    (result,) = place.evaluate(protocol="fixed-c")
    assert result["published"] == []


# ---- splits


def test_hear_validates_on_the_next_fold():
    clips = of_folds(make_clips())
    folds = protocol_splits.next_fold_validates(FOLDS, clips, clips, 0)
    for fold, following in zip(folds, [*folds[1:], folds[0]], strict=True):
        np.testing.assert_array_equal(fold.valid, following.test)
        parts = np.concatenate([fold.train, fold.valid, fold.test])
        np.testing.assert_array_equal(np.sort(parts), np.arange(150))


def test_xares_validates_on_the_test_fold():
    clips = of_folds(make_clips())
    for fold in protocol_splits.test_fold_validates(FOLDS, clips, clips, 0):
        np.testing.assert_array_equal(fold.valid, fold.test)
    clips = make_clips()
    [split] = protocol_splits.test_fold_validates(SPLIT, clips, clips, 0)
    assert not set(split.valid) & set(split.test)


def test_evar_validates_on_a_tenth_of_the_training_clips():
    clips = of_folds(make_clips())
    targets = clips.targets()
    for fold in protocol_splits.random_tenth_validates(FOLDS, clips, clips, 42):
        assert len(fold.valid) == 12 and set(targets[fold.valid]) == {0, 1, 2}
        assert not set(fold.valid) & set(fold.train) and len(fold.train) + 12 == 120
    clips = make_clips()
    [split] = protocol_splits.random_tenth_validates(SPLIT, clips, clips, 42)
    np.testing.assert_array_equal(split.valid, np.flatnonzero(clips.column("split") == "valid"))


def test_draws_are_of_eight_clips_and_differ():
    clips = make_clips()
    draws = [protocol_splits.draw_of_shots(SPLIT, clips, clips, k)[0] for k in range(3)]
    targets, trained = clips.targets(), set(np.flatnonzero(clips.column("split") == "train"))
    for draw in draws:
        assert np.bincount(targets[draw.train]).tolist() == [8, 8, 8]
        assert set(draw.train) <= trained
    assert len({tuple(draw.train) for draw in draws}) == 3


@pytest.mark.parametrize("kind", ["folds", "split"])
def test_shuffled_clips_change_folds_and_nothing_else(kind):
    """As many clips of each class on each side; validation clips and inner divisions as before."""
    clips = make_clips() if kind == "split" else of_folds(make_clips())
    protocol, targets = (
        PROTOCOLS["shuffled-folds"].adapt(Protocol(kind=kind), clips),
        clips.targets(),
    )
    before = protocol_splits.task_splits(protocol, clips, clips, 0)
    after = PROTOCOLS["shuffled-folds"].divide(protocol, clips, clips, 0)
    groups = clips.column("group")
    assert [split.name for split in after] == [split.name for split in before]
    for old, new in zip(before, after, strict=True):
        for name in ("train", "valid", "test"):
            sides = getattr(old, name), getattr(new, name)
            counts = [np.bincount(targets[rows], minlength=3).tolist() for rows in sides]
            assert counts[0] == counts[1]
        assert not set(new.train) & set(new.test) and not set(new.valid) & set(new.test)
        assert set(new.test) != set(old.test)
        assert set(groups[new.test]) & set(groups[new.train])
        assert not set(groups[old.test]) & set(groups[old.train])
    if kind == "folds":
        rows = after[0].train
        folds = clips.column("fold")
        for fit, scored in inner_cv(protocol, clips, rows):
            assert not set(folds[fit]) & set(folds[scored])


def test_clips_without_an_embedding_or_a_split_do_not_change_the_others():
    clips = make_clips()
    table = clips.table.copy()
    table.loc[:8, "split"] = ""
    clips = manifests.from_rows("mine", table.to_dict("records"))
    [of_all] = protocol_splits.shuffled_splits(SPLIT, clips, clips, 0)
    rows = np.arange(3, 150)
    [of_some] = protocol_splits.shuffled_splits(SPLIT, clips.subset(rows), clips, 0)
    for name in ("train", "valid", "test"):
        assert set(getattr(of_all, name)) & set(rows) == set(rows[getattr(of_some, name)])
        assert not set(getattr(of_all, name)) & set(range(9))


def test_groups_of_made_folds_are_ignored_by_tools():
    protocol = Protocol(kind="made-folds", folds=3, grouped=True)
    assert not protocol_splits.ungroup(protocol).grouped
    clips = make_clips()
    before = protocol_splits.task_splits(protocol, clips, clips, 0)
    after = protocol_splits.shuffled_splits(protocol, clips, clips, 0)
    assert [len(split.test) for split in before] == [len(split.test) for split in after]
    groups = clips.column("group")
    assert all(set(groups[split.test]) & set(groups[split.train]) for split in after)


def test_training_clips_of_one_c_include_validation_clips():
    clips = make_clips()
    [split] = protocol_splits.without_validation(SPLIT, clips, clips, 0)
    assert len(split.valid) == 0
    assert len(split.train) == (clips.column("split") != "test").sum()


# ---- what a task cannot have


def few(count):
    """Clips of three classes, of which one has this many, all for training or test."""
    labels = [("rare",) if k < count else (f"class {k % 2}",) for k in range(150)]
    return make_clips(labels=labels, split=["test" if k > 130 else "train" for k in range(150)])


def test_eight_clips_of_a_class_that_has_five():
    clips = few(5)
    for divide in (protocol_splits.draw_of_shots, protocol_splits.few_labels):
        with pytest.raises(DataError, match="'rare' has only 5 training clips"):
            divide(SPLIT, clips, clips, 0)
    with pytest.raises(DataError, match=r"draws 8 labeled clips of each class, but class 'rare'"):
        protocol_splits.shots_of_shuffled_folds(SPLIT, clips, clips, 0)


def test_validation_clips_of_all_classes_that_cannot_be_drawn():
    clips = of_folds(make_clips(classes=50))
    with pytest.raises(DataError, match="evar needs validation clips of all 50 classes"):
        protocol_splits.random_tenth_validates(FOLDS, clips, clips, 42)


@pytest.mark.parametrize("name", ["hear", "xares"])
def test_a_split_without_validation_clips(name):
    clips = make_clips(parts=("train", "test"))
    with pytest.raises(DataError, match=f"{name} chooses on official validation clips"):
        PROTOCOLS[name].divide(SPLIT, clips, clips, 0)


def test_two_folds_are_too_few_for_hear():
    clips = of_folds(make_clips(fold=[str(k % 2) for k in range(150)]))
    with pytest.raises(DataError, match="hear needs three folds or more"):
        protocol_splits.next_fold_validates(FOLDS, clips, clips, 0)


def test_draws_need_one_split():
    clips = of_folds(make_clips())
    with pytest.raises(DataError, match="the task has 5 folds; use --protocol mteb"):
        protocol_splits.draw_of_shots(FOLDS, clips, clips, 0)


def test_folds_that_are_random_clips_cannot_be_shuffled():
    with pytest.raises(DataError, match="random clips already"):
        protocol_splits.check_shuffle(Protocol(kind="made-folds", folds=3), make_clips())


def test_an_unknown_protocol_lists_all():
    with pytest.raises(ProbekitError, match=r"unknown protocol 'hera'.*Known: .*mteb.*xares"):
        evaluation_protocols.get_evaluation_protocol("hera")


@pytest.mark.parametrize(
    ("options", "named"),
    [({"probe": "mlp"}, "--probe"), ({"seeds": 2}, "--seeds"), ({"shots": [2]}, "--shots")],
)
def test_options_that_a_protocol_sets_itself(place, options, named):
    place.draw()
    with pytest.raises(ProbekitError, match=f"sets this itself; leave out {named}"):
        place.evaluate(protocol="mteb", **options)


def test_kinds_of_labels_without_rules(place):
    """MTEB's shuffled folds and X-ARES's neighbors are for one label: they say what is instead."""
    place.draw(tags=True)
    for name, instead in (("mteb", "mteb-draws"), ("xares-knn", "xares")):
        match = f"rules for clips of one label, and these have several.*use --protocol {instead}$"
        with pytest.raises(ProtocolError, match=match):
            place.evaluate(protocol=name)


def test_all_protocols_say_what_they_are():
    assert [p.name for p in PEERS] == ["hear", "mteb", "mteb-draws", "xares", "xares-knn", "evar"]
    for protocol in PROTOCOLS.values():
        assert protocol.source or protocol.is_departure
        assert protocol.fit in protocol.description and protocol.clips in protocol.description
