"""kim2018: combinations, numbers of its card, a sweep in small, and one combination that fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.analysis.combinations import TargetCounts, shared_notes
from probekit.cards.paper import Column
from probekit.errors import DataError, ProbekitError
from probekit.figures.curves import draw_target_counts
from probekit.reproduce import artist_networks
from probekit.reproduce.artist_networks import (
    ArtistNetworks,
    NetworkSettings,
    clipped_log_loss,
    estimate_cost,
    list_combinations,
    mean_result,
)
from probekit.reproduce.runs import split_targets

torch.set_num_threads(1)
SMALL = NetworkSettings(
    width=16, words=8, topics=3, epochs=1, batch=8, crop=0.4, probe="mlp-segments:epochs=1,hidden=8"
)


def test_31_combinations_and_57_scores_of_table_4():
    combinations = list_combinations()
    assert len(combinations) == len(set(combinations)) == 31
    card = cards.load_paper_card("kim2018")
    table = next(table for table in card.tables if table.name == "table-4")
    assert sorted(row.targets for row in table.rows) == sorted(combinations)
    cells = table.cells()
    assert len(cells) == 114  # two metrics of 31 STN and 26 MTN
    settings = {(cell.targets, cell.sharing) for cell in cells}
    assert len(settings) == 57
    published = sum(cell.value is not None for t in card.tables for cell in t.cells())
    assert published == 146


def test_means_of_table_3_follow_from_table_4():
    """The card's combinations, averaged over the published Table 4, give the published Table 3."""
    card = cards.load_paper_card("kim2018")
    third, fourth, _ = card.tables
    values = {(c.targets, c.sharing, c.metric): c.value for c in fourth.cells()}
    for cell in third.cells():
        parts = [values[each, cell.sharing, cell.metric] for each in split_targets(cell)]
        expected = {"log loss, STN": 0.9677, "F1, STN": 0.5253}
        if cell.value is None:  # the reading of equal rows; derived in the fact sheet
            if cell.column in expected:
                assert np.mean(parts) == pytest.approx(expected[cell.column], abs=1e-4)
        else:
            assert np.mean(parts) == pytest.approx(cell.value, abs=1.1e-4), cell.row


def test_mtn_has_at_least_two_targets():
    setting = Column(label="x", targets="g gs s", sharing="mtn")
    assert split_targets(setting) == ["gs"]


def test_log_loss_is_clipped_as_in_the_code():
    scores = np.array([[0.0, 1.0], [0.5, 0.5]])
    expected = (-np.log(1e-8) - np.log(0.5)) / 2
    assert clipped_log_loss(scores, np.array([0, 1])) == pytest.approx(expected)


def test_work():
    estimate = estimate_cost(21_250)
    assert estimate.networks == 35  # 5, 26 and 4
    assert estimate.target_epochs == (80 + 4) * 200
    # the fact sheet: about 1e15 for one network of 200 epochs
    assert estimate.operations / (80 + 14) == pytest.approx(1e15, rel=0.1)
    assert "assumed, not measured" in estimate.describe()


# ---- a sweep


@pytest.fixture(scope="module")
def networks(corpus, tmp_path_factory):
    base = tmp_path_factory.mktemp("sweep")
    rows = ["clip_id,path,label,split,group"]
    for k, path in enumerate(sorted(corpus.rglob("*.*"))[:16]):
        split = "test" if k % 4 == 3 else "train"
        place = path.relative_to(corpus).as_posix()
        rows.append(f"{path.stem},{place},{'ab'[k // 2 % 2]},{split},artist{k % 3}")
    (base / "clips.csv").write_text("\n".join(rows) + "\n")

    def make(**options):
        options = {"sources": {"m": "mfcc", "d": "d"}, "settings": SMALL, **options}
        task = str(base / "clips.csv")
        return ArtistNetworks(
            task, base / "cache", base / "reports", corpus, device="cpu", **options
        )

    return make


def test_a_sweep_trains_each_network_once(networks):
    steps = []
    sweep = networks(report_step=steps.append)
    dims = {
        key: sweep.evaluate(*key)["dim"]
        for key in (("g", "stn"), ("gd", "stn"), ("gd", "mtn"), ("gd", "wstn"), ("dm", "mtn"))
    }
    wide = sweep.wide_width("gd")
    assert dims == {
        ("g", "stn"): 16, ("gd", "stn"): 32, ("gd", "mtn"): 32, ("gd", "wstn"): wide,
        ("dm", "mtn"): 32,
    }  # fmt: skip
    trained = [step for step in steps if "artist-net" in step]
    assert len(trained) == len(set(trained)) == 5  # g, d, gd, dm and the wide one
    result = sweep.evaluate("gd", "mtn")
    assert "1 epoch a target, the paper has 200" in result["provenance"]
    assert any("groups (group), from d" in note for note in result["provenance"])
    mean = mean_result([sweep.evaluate("g", "stn"), result])
    assert mean["score"] == pytest.approx(
        (sweep.evaluate("g", "stn")["score"] + result["score"]) / 2
    )
    assert mean["interval"]["low"] is None


@pytest.mark.slow
def test_networks_in_two_processes_are_those_of_one(networks, tmp_path):
    steps = []
    here = networks()
    there = replace(
        here, cache=tmp_path / "cache", reports=tmp_path / "reports", report_step=steps.append
    )
    there.prepare([("gd", "mtn"), ("gd", "stn"), ("gd", "stn")], jobs=2)
    assert steps[-4:] == [
        "networks: 2 of 3", "networks: 3 of 3", "combinations: 1 of 2", "combinations: 2 of 2"
    ]  # fmt: skip
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "reports").rglob("*.json")}
    for sharing in ("mtn", "stn"):
        assert there.evaluate("gd", sharing)["score"] == here.evaluate("gd", sharing)["score"]
    assert files == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "reports").rglob("*.json")
    }


def test_a_combination_that_fails_leaves_the_others(networks, monkeypatch):
    steps = []
    sweep = networks(sources={"e": "essentia", "m": "mfcc", "d": "d"}, report_step=steps.append)

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr("probekit.targets.clip_features.import_module", absent)
    for letters, sharing in (("e", "stn"), ("ge", "mtn"), ("ge", "stn")):
        with pytest.raises(DataError, match="pip install essentia"):
            sweep.evaluate(letters, sharing)
    assert sweep.evaluate("g", "stn")["dim"] == 16
    assert sum("from essentia" in step for step in steps) == 1  # not tried again
    replaced = networks(sources={"e": "essentia"}, stand_ins={"e": "mfcc"})
    notes = replaced.evaluate("e", "stn")["provenance"]
    assert "stand-in data: e from mfcc, not essentia" in notes


def test_unknown_letters(networks):
    with pytest.raises(ProbekitError, match="targets must be of gsedm, got 'gx'"):
        networks().evaluate("gx", "stn")
    assert artist_networks.LETTERS == "gsedm"


def test_figure():
    scores = {"g": 0.9, "s": 1.1, "gs": 0.8}
    lines = {"STN": {k: {"log-loss": v, "f1-macro": v / 2} for k, v in scores.items()}}
    counts = TargetCounts("fma-medium", lines, 1, ("stand-in data",))
    assert counts.scores("STN", "log-loss") == {1: [0.9, 1.1], 2: [0.8]}
    means = [row for row in counts.rows() if row["targets"] == "mean"]
    assert [row["log-loss"] for row in means] == pytest.approx([1.0, 0.8])
    assert "Without a score: 1 combination." in counts.caption
    assert len(draw_target_counts(counts).axes) >= 2


def test_notes_of_all_and_those_on_stand_ins():
    notes = [["stand-in data; targets m", "x"], ["x", "targets d"]]
    assert shared_notes(notes) == ("stand-in data", "x")
