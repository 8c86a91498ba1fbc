"""Audit: shifts against scipy and a closed form, pairs that change places, figure and table."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from probekit.analysis import audit as audits
from probekit.analysis.audit import Audit, ProtocolScores
from probekit.analysis.protocol_shift import measure_shift
from probekit.cache import import_export
from probekit.data import manifest as manifests
from probekit.errors import DataError, ProbekitError
from probekit.figures.protocol_plot import draw_audit
from probekit.metrics import metrics
from probekit.probes import evaluation_protocols
from probekit.probes.evaluation_protocols import PROTOCOLS
from probekit.probes.protocol_probes import EVAR, NetworkProbe
from probekit.scores.predictions import Predictions

ACCURACY = metrics.get_metric("accuracy")


def predict(right, targets, groups=None, ids=None, folds=1):
    """Predictions of three classes that are right for some clips."""
    right, targets = np.asarray(right), np.asarray(targets)
    count = len(targets)
    classes = np.where(right, targets, (targets + 1) % 3)
    return Predictions(
        clip_ids=np.array([f"c{k:03d}" for k in range(count)]) if ids is None else np.array(ids),
        fold=np.arange(count) % folds,
        folds=tuple(str(k) for k in range(folds)),
        targets=targets,
        scores=np.eye(3)[classes],
        groups=np.full(count, "") if groups is None else np.asarray(groups),
        target="single",
        probabilities=True,
    )


def outcomes(seed=0, count=120):
    rng = np.random.default_rng(seed)
    return rng.random(count) < 0.6, rng.random(count) < 0.8, rng.integers(0, 3, count)


def test_shift_of_single_clips_is_the_paired_t_test():
    before, after, targets = outcomes()
    shift = measure_shift([predict(before, targets)], [predict(after, targets, folds=5)], ACCURACY)
    reference = stats.ttest_rel(after.astype(float), before.astype(float))
    ends = reference.confidence_interval()
    assert shift.difference == pytest.approx(after.mean() - before.mean())
    assert (shift.low, shift.high) == pytest.approx((ends.low, ends.high))
    assert shift.p == pytest.approx(reference.pvalue) and shift.clips == 120


def test_shift_of_groups_of_one_size_is_the_t_test_of_their_means():
    before, after, targets = outcomes(1)
    groups = [f"g{k // 6}" for k in range(120)]
    shift = measure_shift(
        [predict(before, targets, groups)], [predict(after, targets, groups)], ACCURACY
    )
    means = (after.astype(float) - before).reshape(20, 6).mean(axis=1)
    ends = stats.ttest_1samp(means, 0).confidence_interval()
    assert (shift.low, shift.high) == pytest.approx((ends.low, ends.high))


def test_interval_of_a_shift_ends_at_the_greatest_difference():
    """Two groups: one degree of freedom."""
    before, _, targets = outcomes(1)
    after = before | (np.arange(120) < 60)  # higher in one of the two
    groups = [f"g{k // 60}" for k in range(120)]
    shift = measure_shift(
        [predict(before, targets, groups)], [predict(after, targets, groups)], ACCURACY
    )
    means = (after.astype(float) - before).reshape(2, 60).mean(axis=1)
    reference = stats.ttest_1samp(means, 0)
    ends = reference.confidence_interval()
    assert ends.high > 1 and (shift.low, shift.high) == pytest.approx((max(ends.low, -1), 1))
    assert shift.p == pytest.approx(reference.pvalue)


def test_shift_is_of_common_clips_and_the_mean_over_seeds():
    before, after, targets = outcomes(2)
    ids = [f"c{k:03d}" for k in range(120)]
    half = predict(after[:60], targets[:60], ids=ids[:60])
    other = predict(~after[:60], targets[:60], ids=ids[:60])
    shift = measure_shift([predict(before, targets)], [half, other], ACCURACY)
    assert shift.clips == 60
    assert shift.difference == pytest.approx(0.5 - before[:60].mean())


def test_shift_of_balanced_accuracy_weights_classes():
    before, after, targets = outcomes(3)
    metric = metrics.get_metric("balanced-accuracy")
    runs = [predict(right, targets) for right in (before, after)]
    shift = measure_shift([runs[0]], [runs[1]], metric)
    expected = [balanced_accuracy_score(targets, run.classes) for run in runs]
    assert shift.difference == pytest.approx(expected[1] - expected[0])


def test_shift_of_other_metrics_has_no_interval():
    before, after, targets = outcomes(4)
    runs = [predict(right, targets) for right in (before, after)]
    shift = measure_shift([runs[0]], [runs[1]], metrics.get_metric("f1-macro"))
    assert np.isnan(shift.low) and np.isnan(shift.p) and np.isfinite(shift.difference)


def test_protocols_without_a_common_clip():
    before, after, targets = outcomes(5)
    other = predict(after, targets, ids=[f"x{k}" for k in range(120)])
    with pytest.raises(DataError, match="no test clip in common"):
        measure_shift([predict(before, targets)], [other], ACCURACY)


# ---- from end to end


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A task of folds with two embeddings, whose order depends on the scale of features."""
    root = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    kind = np.arange(150) % 3
    rows = [
        {
            "clip_id": f"c{k:03d}",
            "path": f"{k}.wav",
            "labels": (f"class {kind[k]}",),
            "fold": str(k // 3 % 3 + 1),
            "group": f"g{k // 2}",
        }
        for k in range(150)
    ]
    clips = manifests.from_rows("mine", rows)
    clips.write(root / "mine.csv")
    centers = rng.normal(size=(3, 4))[kind]
    strong = centers + 0.6 * rng.normal(size=(150, 4))
    weak = centers + 1.2 * rng.normal(size=(150, 4))
    noise = 1000 * rng.normal(size=(150, 3))  # drowns all else in cosines
    for name, features in (("strong", np.hstack([strong, noise])), ("weak", weak)):
        np.save(root / f"{name}.npy", features.astype(np.float32))
        import_export.import_arrays(
            name, clips, [root / f"{name}.npy"], cache=root / "cache", dataset="mine"
        )
    return root


def run(place, *embeddings, **others):
    folders = {"cache": place / "cache", "reports": place / "reports", "jobs": 1}
    return audits.audit(str(place / "mine.csv"), embeddings, **folders, **others)


@pytest.fixture(scope="module")
def audited(place, few_settings):
    with few_settings():
        return run(place, "strong", "weak", protocols=["xares-knn", "fixed-c"])


def test_a_protocol_turns_the_order_round(audited):
    baseline, neighbors, _ = audited.protocols
    assert baseline.ranks == [1, 2] and neighbors.ranks == [2, 1]
    [reversal] = audited.reversals
    assert (reversal.protocol, reversal.first, reversal.second) == ("xares-knn", "strong", "weak")
    assert reversal.baseline.difference > 0 > reversal.other.difference
    assert reversal.strength == "both tests"
    scores = [group.score for group in neighbors.groups]
    assert reversal.other.difference == pytest.approx(scores[0] - scores[1])


def test_rows_have_the_numbers_of_the_runs(audited):
    rows = audited.rows()
    assert [(row["protocol"], row["embedding"]) for row in rows[:3]] == [
        ("task", "strong"), ("task", "weak"), ("xares-knn", "strong"),
    ]  # fmt: skip
    assert rows[0]["shift"] is None and rows[2]["shift"] < -0.3
    # scores are means over folds, shifts are of all clips: folds have 48 or 51
    assert rows[2]["shift"] == pytest.approx(rows[2]["score"] - rows[0]["score"], abs=2e-3)
    assert all(row["seconds"] >= 0 for row in rows)
    facts = audited.facts()
    assert facts["task"] == "mine" and len(facts["reversals"]) == 1
    assert "X-ARES 161f0ef" in audited.caption and "1" in audited.caption


def test_a_metric_that_is_no_mean_over_clips(place, small_grid):
    """Its differences have no interval, are not of the same clips; JSON has no NaN."""
    (place / "f1.yaml").write_text(
        "name: mine\ntitle: Mine\ndataset: mine\nmodule: table\noptions: {csv: mine.csv}\n"
        "protocol: {kind: folds}\nmetric: f1-macro\n"
    )
    folders = {"cache": place / "cache", "reports": place / "f1-reports", "root": place}
    result = audits.audit(str(place / "f1.yaml"), ["weak"], protocols=["fixed-c"], **folders)
    row = result.rows()[1]
    assert row["shift"] == pytest.approx(row["score"] - result.rows()[0]["score"])
    assert row["shift_low"] is row["shift_p"] is None
    json.dumps(result.facts(), allow_nan=False)
    assert "same test clips" not in result.caption and "its own test clips" in result.caption


def test_the_figure_shows_every_protocol(audited):
    figure = draw_audit(audited)
    texts = {text.get_text() for axes in figure.axes for text in axes.get_yticklabels()}
    assert {"task's own", "X-ARES, kNN", "selection: none, C = 1"} <= texts


def test_what_a_task_cannot_have_is_said(place, monkeypatch, small_grid):
    rules = {name: PROTOCOLS[name] for name in ("mteb", "mteb-draws", "xares", "evar")}
    probe = partial(NetworkProbe, "evar-linear", (dataclasses.replace(EVAR, epochs=3),))
    rules["evar"] = dataclasses.replace(rules["evar"], make_probe=probe)
    for module in (audits, evaluation_protocols):
        monkeypatch.setattr(module, "PROTOCOLS", rules)
    result = run(place, "weak")
    problems = {p.name: p.problem for p in result.protocols if p.problem}
    assert list(problems) == ["mteb-draws"] and "the task has 3 folds" in problems["mteb-draws"]
    assert result.pairs == 0 and result.reversals == []
    assert "Not possible: MTEB, 10 draws" in result.caption
    by_name = {protocol.name: protocol for protocol in result.protocols}
    assert "test clips choose the epoch" in by_name["xares"].leaks
    assert any("groups with clips" in leak for leak in by_name["mteb"].leaks)
    assert len(by_name["evar"].groups[0].results) == 3


def test_other_faults_than_the_protocol_s_end_an_audit(place, monkeypatch):
    def damaged(protocol, clips, all_clips, seed):
        raise DataError("mine: no clip has labels")

    broken = dataclasses.replace(PROTOCOLS["fixed-c"], divide=damaged)
    for module in (audits, evaluation_protocols):
        monkeypatch.setattr(module, "PROTOCOLS", {"fixed-c": broken})
    with pytest.raises(DataError, match=r"^mine: no clip has labels"):
        run(place, "weak")


def test_a_protocol_that_was_asked_for_must_be_possible(place):
    with pytest.raises(DataError, match="use --protocol mteb"):
        run(place, "weak", protocols=["mteb-draws"])
    with pytest.raises(ProbekitError, match="unknown protocol 'nothing'"):
        run(place, "weak", protocols=["nothing"])


def test_ranks_of_equal_scores_and_of_losses():
    class Group:
        def __init__(self, score, metric):
            self.score, self.results = score, [{"metric": metric}]

    def ranks(metric, *scores):
        groups = tuple(Group(score, metric) for score in scores)
        return ProtocolScores("x", "x", "x", "x", groups=groups).ranks

    assert ranks("accuracy", 0.5, 0.7, 0.7) == [3, 1, 1]
    assert ranks("log-loss", 0.5, 0.7, 0.7) == [1, 2, 2]


def test_an_audit_needs_no_pair():
    assert Audit("mine", "Mine", "accuracy", ("one",), ()).pairs == 0
