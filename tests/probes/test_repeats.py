"""Folds that are made several times, and values of C that a user chooses."""

from types import SimpleNamespace

import numpy as np
import pytest

from probekit.cache import import_export
from probekit.cards import Protocol
from probekit.data import manifest as manifests
from probekit.errors import DataError, ProbekitError
from probekit.metrics import bootstrap, metrics
from probekit.metrics.intervals import confidence_interval
from probekit.metrics.significance import corrected_t
from probekit.probes.evaluate import evaluate
from probekit.report import misclassification
from probekit.report.leaderboard import build_leaderboards
from probekit.scores import comparison, groups, verification
from probekit.scores.predictions import load_predictions
from probekit.tasks import splits

QUICK = "sklearn.naive_bayes:GaussianNB"
MADE = Protocol(kind="made-folds", folds=4, grouped=True)


def make_clips(groups=None, fold=None, split=None):
    rows = [
        {
            "clip_id": f"c{k:02d}",
            "path": f"{k}.wav",
            "labels": (f"{k % 3}",),
            **({"group": groups[k]} if groups else {}),
            **({"fold": fold[k]} if fold else {}),
            **({"split": split[k]} if split else {}),
        }
        for k in range(48)
    ]
    return manifests.from_rows("mine", rows)


def test_the_first_time_is_that_without_repeats_and_every_clip_is_tested_once_each_time():
    clips = make_clips([f"g{k // 3}" for k in range(48)])
    once = splits.make_splits(MADE, clips)
    thrice = splits.make_repeated_splits(MADE, clips, repeats=3)
    assert [s.name for s in thrice[:5]] == ["1.1", "1.2", "1.3", "1.4", "2.1"]
    for a, b in zip(once, thrice[:4], strict=True):
        assert np.array_equal(a.test, b.test)
    for k in range(3):
        tests = [s.test for s in thrice[4 * k : 4 * k + 4]]
        assert np.array_equal(np.sort(np.concatenate(tests)), np.arange(48))
        for s in thrice[4 * k : 4 * k + 4]:  # groups stay whole
            group = clips.column("group")
            assert not set(group[s.test]) & set(group[s.train])
    assert any(
        not np.array_equal(a.test, b.test) for a, b in zip(thrice[:4], thrice[4:8], strict=True)
    )
    [single] = {s.name for s in splits.make_repeated_splits(MADE, clips)} - {"2", "3", "4"}
    assert single == "1"


@pytest.mark.parametrize(
    ("protocol", "reason"),
    [
        (Protocol(kind="split"), "it has one official split"),
        (Protocol(kind="folds"), "its folds are official"),
        (Protocol(kind="made-split", test_share=0.2), "its test clips are drawn once"),
    ],
)
def test_what_is_not_made_in_folds_is_refused_with_the_reason(protocol, reason):
    with pytest.raises(DataError, match=f"mine: {reason}"):
        splits.check_repeats(protocol, "mine", 2)
    splits.check_repeats(protocol, "mine", 1)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two embeddings, one of which tells more of the classes."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 50)
    clips = make_clips()
    clips.write(tmp_path / "mine.csv")
    rng = np.random.default_rng(0)
    for name, strength in (("good", 2.0), ("poor", 0.5)):
        values = rng.normal(size=(48, 3)) + strength * np.eye(3)[clips.targets()]
        np.save(tmp_path / "x.npy", values)
        import_export.import_arrays(
            name, clips, [tmp_path / "x.npy"], cache=tmp_path / "cache", dataset="mine"
        )

    def run(*names, **others):
        usual = {"cache": tmp_path / "cache", "reports": tmp_path / "reports", "probe": QUICK}
        return evaluate(str(tmp_path / "mine.csv"), names or ["good"], **{**usual, **others})

    return SimpleNamespace(run=run, reports=tmp_path / "reports", root=tmp_path)


def test_scores_are_means_over_all_folds_and_clips_count_once(place):
    [once] = place.run()
    [result] = place.run(repeats=2)
    assert result["run"] != once["run"] and len(result["folds"]) == 10
    assert result["protocol"].endswith(", made 2 times")
    assert result["score"] == pytest.approx(np.mean([fold["score"] for fold in result["folds"]]))
    assert [f["score"] for f in result["folds"][:5]] == [f["score"] for f in once["folds"]]
    assert result["clips"]["used"] == 48
    assert {name: row["clips"] for name, row in result["per_class"].items()} == {
        "0": 16,
        "1": 16,
        "2": 16,
    }
    assert all(not outcome.faults for outcome in verification.verify(place.reports))
    with pytest.raises(DataError, match="repeats must be >= 1, got 0"):
        place.run(repeats=0)


def test_the_interval_does_not_shrink_with_repeats():
    """Of clips that are right each time or never, it is that of one cross-validation."""
    rng = np.random.default_rng(1)
    right = rng.random(60) < 0.8
    targets, fold = np.zeros(60, int), np.arange(60) % 5
    scores = np.eye(2)[np.where(right, 0, 1)]
    ids = np.array([f"c{k}" for k in range(60)])
    metric, ungrouped = metrics.get_metric("accuracy"), np.full(60, "")
    once = confidence_interval(metric, targets, scores, fold, ungrouped, ids)
    again = [np.concatenate([a] * 4) for a in (targets, scores)]
    folds = np.concatenate([fold + 5 * k for k in range(4)])
    four = confidence_interval(metric, *again, folds, np.full(240, ""), np.tile(ids, 4))
    assert (four.low, four.high) == pytest.approx((once.low, once.high), rel=1e-12)
    assert (four.units, four.method) == (60, once.method)


def test_the_comparison_takes_all_folds_and_corrects_for_their_overlap(place):
    """Nadeau and Bengio (2003) over n repeats of k folds, as Bouckaert and Frank (2004) use it."""
    good, poor = place.run("good", "poor", repeats=2)
    names = [f"{name}/{QUICK}" for name in ("good", "poor")]
    [one] = comparison.compare(*names, task="mine", reports=place.reports)
    differences = np.array(
        [a["score"] - b["score"] for a, b in zip(good["folds"], poor["folds"], strict=True)]
    )
    ratio = np.mean([fold["test"] / fold["train"] for fold in good["folds"]])
    expected = corrected_t(differences, ratio)
    assert (one.p, one.standard_error) == pytest.approx((expected.p, expected.standard_error))
    assert (one.test, one.degrees_of_freedom, one.repeats) == ("folds, corrected", 9, 10)


@pytest.mark.slow
def test_clips_alone_vary_as_in_one_cross_validation(place):
    """Repeats are no new clips: their standard error is not divided by the number of repeats."""
    names = [f"{name}/{QUICK}" for name in ("good", "poor")]
    errors = []
    for repeats in (1, 6):
        place.run("good", "poor", repeats=repeats)
        [one] = comparison.compare(*names, task="mine", test="units", reports=place.reports)
        errors.append(one.standard_error)
        assert one.degrees_of_freedom <= 48
    assert errors[1] == pytest.approx(errors[0], rel=0.3)  # divided, it would be 0.41 of it


def test_the_page_lists_each_misclassified_clip_once(place):
    place.run("poor", repeats=2)
    [board] = build_leaderboards(groups.load_groups("mine", place.reports))
    [found] = misclassification.find_misclassified(board.rows)
    assert found.total == 48 and len(set(found.clip_ids)) == len(found.clip_ids) == found.wrong


def test_single_and_repeated_folds_are_not_mixed(place):
    place.run("good")
    [group] = groups.load_groups("mine", place.reports)
    [repeated] = place.run("good", repeats=2)
    with pytest.warns(UserWarning, match=r"1 stale run of mine left out \(repeated since\)"):
        [group] = groups.load_groups("mine", place.reports)
    assert group.results == (repeated,)
    assert load_predictions(group.paths[0], repeated).repeats == 2


def test_values_of_c(place):
    [result] = place.run(probe="linear", grid=[1, 0.1, 0.1])
    assert [entry["C"] for entry in result["grid"]] == [0.1, 1.0]
    assert {fold["params"]["C"] for fold in result["folds"]} <= {0.1, 1.0}
    [single] = place.run(probe="linear", grid=[0.3])
    assert {fold["params"]["C"] for fold in single["folds"]} == {0.3}
    assert not any(fold["at_edge"] for fold in single["folds"])


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"probe": "linear", "grid": [0, 1]}, "values of C must be > 0 and finite, got 0"),
        (
            {"probe": "linear", "grid": [float("nan")]},
            "values of C must be > 0 and finite, got nan",
        ),
        ({"probe": "knn", "grid": [1]}, "for the linear probe, got knn; knn has no C"),
        (
            {"probe": "sklearn.svm:SVC", "grid": [1]},
            "write the values in --probe, such as sklearn.svm:SVC:C=0.1|1|10",
        ),
    ],
)
def test_values_that_no_probe_can_use_are_refused(place, others, message):
    with pytest.raises(ProbekitError) as caught:
        place.run(**others)
    assert message in str(caught.value)
    assert not place.reports.exists()


def test_the_command_takes_both(place, main):
    common = ("evaluate", "--task", place.root / "mine.csv", "-e", "good", "--cache")
    common = (*common, place.root / "cache", "--reports", place.reports)
    done = main(*common, "--grid", "1,x")
    assert done.returncode == 2
    assert done.stderr == "error: --grid must be numbers separated by commas, got 1,x\n"
    done = main(*common, "--grid", "0.1,1", "--repeats", "2")
    assert done.returncode == 0 and "made 2 times" in done.stdout
    [group] = groups.load_groups("mine", place.reports)
    assert len(group.results[0]["folds"]) == 10 and len(group.results[0]["grid"]) == 2
