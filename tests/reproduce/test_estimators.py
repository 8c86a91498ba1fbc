"""Trained CF estimators in lee2019's tables: rows, means over seeds of the factors, refusals."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from probekit import cards
from probekit.cards.paper import Cell
from probekit.errors import ProbekitError, UnknownNameError
from probekit.extractors.students import extractor, zoo
from probekit.reproduce import estimators, reproduction
from probekit.reproduce.estimators import Estimator, open_estimators, with_estimators
from probekit.reproduce.reproduction import COMPUTED, FAILED, MISSING, Score

SEEDS = (Estimator("runs/aaa", "cf-net:width=8"), Estimator("runs/bbb", "cf-net:width=8"))


def save(reports, name, network="cf-net:width=8", target="regression"):
    torch.manual_seed(0)
    extractor.save_student(
        reports / "students" / name,
        zoo.build_student(network, 4),
        classes=[f"factor {k}" for k in range(4)],
        target=target,
        crop=Fraction(8),
    )


def test_one_estimator_replaces_the_network():
    card = with_estimators(cards.load_paper_card("lee2019"), SEEDS[:1])
    transfer, capacity = card.tables
    assert [row.label for row in transfer.rows] == ["base", "fix", "init", "kd"]
    cells = {(c.row, c.column): c for c in transfer.cells()}
    kd, init = cells["kd", "genre (GTZAN)"], cells["init", "genre (GTZAN)"]
    assert (kd.embedding, kd.method) == ("runs/aaa:stream=logits", "cf-reg")
    assert (init.init, init.student) == ("runs/aaa", "cf-net:width=8")
    assert cells["base", "genre (GTZAN)"].student == "cf-net:width=8"  # the same network
    assert cells["kd", "gain over base"].value == 2.26
    assert {cell.student for cell in capacity.cells() if cell.task} == {
        "cf-net:width=32", "cf-net:width=64", "cf-net"
    }  # fmt: skip
    assert "runs/aaa (cf-net:width=8)" in transfer.notes[-1]
    assert not estimators.uses_estimator(card)


def test_several_estimators_have_rows_and_a_mean():
    transfer = with_estimators(cards.load_paper_card("lee2019"), SEEDS).tables[0]
    labels = [row.label for row in transfer.rows]
    assert labels[-3:] == ["kd, estimator 1", "kd, estimator 2", "kd"] and len(labels) == 10
    cells = {(c.row, c.column): c for c in transfer.cells()}
    mean, gain = cells["kd", "emotion (EmoMusic)"], cells["kd", "gain over base"]
    assert mean.average == ["kd, estimator 1", "kd, estimator 2"] and not mean.init
    assert gain.value == 2.26 and gain.over == "base"
    assert cells["kd, estimator 2", "gain over base"].value is None


def score(row, value, status=COMPUTED, note="n"):
    cell = Cell(row=row, column="c", value=None)
    return Score(cell, status, value, provenance=(note, "stand-in data"))


def test_means_and_what_is_missing():
    cell = Cell(row="kd", column="c", value=None, average=["a", "b"])
    scores = {("a", "c"): score("a", 0.5), ("b", "c"): score("b", 0.7, note="m")}
    mean = reproduction._compute_mean(cell, scores)
    assert mean.value == pytest.approx(0.6) and mean.status == COMPUTED
    deviation = f"{np.std([0.5, 0.7], ddof=1):.3f}"
    assert mean.provenance == (
        f"mean of 2 estimators, standard deviation {deviation}", "stand-in data"
    )  # fmt: skip
    for status in (MISSING, FAILED):
        scores["b", "c"] = score("b", None, status)
        found = reproduction._compute_mean(cell, scores)
        assert (found.value, found.status) == (None, status)


def test_estimators_are_trained_networks(tmp_path):
    save(tmp_path, "aaa")
    save(tmp_path, "ccc", target="single")
    save(tmp_path, "ddd", "cf-net:width=16")
    assert open_estimators(["runs/aaa"], tmp_path) == [SEEDS[0]]
    for names, message in (
        (["runs/ccc"], "predicts classes .factor 0"),
        (["runs/aaa", "runs/aaa"], "named twice"),
        (["runs/aaa", "runs/ddd"], "networks must be the same"),
    ):
        with pytest.raises(ProbekitError, match=message):
            open_estimators(names, tmp_path)
    with pytest.raises(UnknownNameError, match="unknown trained student 'runs/eee'"):
        open_estimators(["runs/eee"], tmp_path)


def test_papers_without_an_estimator():
    with pytest.raises(ProbekitError, match="no row needs a CF estimator; leave --estimator out"):
        with_estimators(cards.load_paper_card("lee2021"), SEEDS)


@pytest.mark.slow
def test_rehearsed_estimators_beat_their_lower_bounds(tmp_path):
    lines = []
    names = estimators.rehearse_estimators(
        tmp_path, tmp_path / "cache", tmp_path / "reports", seeds=1, device="cpu", step=lines.append
    )
    assert open_estimators(names, tmp_path / "reports")[0].student == "cf-net:width=8"
    areas = dict(
        word.rsplit(" ", 1) for word in lines[-1].partition(": ")[2].partition(";")[0].split(", ")
    )
    network, *_ = (float(areas[name]) for name in ("network", "mean"))
    assert network > max(float(areas[name]) for name in ("mean", "popularity", "random")) + 0.05
