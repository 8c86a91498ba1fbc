"""Scores of layers by depth, and what choosing one costs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from probekit.analysis.layer_curve import layer_curves
from probekit.data import manifest as manifests
from probekit.errors import ProbekitError
from probekit.probes import evaluate
from probekit.scores import comparison


@pytest.fixture(scope="module")
def net(tmp_path_factory, layered, few_settings):
    """A network whose layer 2 tells three classes apart, and layer 0 a little; and its curves."""
    folder = tmp_path_factory.mktemp("net")
    rng = np.random.default_rng(3)
    classes = np.arange(72) % 3
    centers = rng.normal(size=(3, 4))
    layers = {depth: rng.normal(size=(72, 4)) for depth in (0, 2, 5)}
    layers[2] += 2 * centers[classes]
    layers[0] += centers[classes]
    ids = [f"clip {k:03d}" for k in range(72)]
    rows = [
        {"clip_id": clip_id, "path": "", "labels": (f"class {classes[k]}",),
         "fold": str(k // 3 % 3 + 1)}
        for k, clip_id in enumerate(ids)
    ]  # fmt: skip
    table = folder / "mine.csv"
    manifests.from_rows("mine", rows).write(table)
    layered(folder / "cache", ids, layers)
    layered(folder / "cache", ids, layers, model="ear")
    places = {"cache": folder / "cache", "reports": folder / "reports"}
    with few_settings():
        without = layer_curves(str(table), ["net"], **places)
        curves = layer_curves(str(table), ["net"], learned=True, **places)
        apart = {**places, "reports": folder / "apart"}
        model = layer_curves(str(table), ["hf:/where/ear"], **apart)
    return SimpleNamespace(
        task=str(table), places=places, without=without, curves=curves, model=model
    )


@pytest.fixture(autouse=True)
def nothing_is_computed_again(net, small_grid, monkeypatch):
    monkeypatch.setattr(evaluate, "_compute", None)


def test_curve_price_and_weights(net):
    curves = net.curves
    [curve] = curves.curves
    runs = evaluate.evaluate(net.task, "net:layer=all", **net.places)
    assert curve.depths == (0, 2, 5) and curve.streams == ("block0", "block2", "block5")
    assert [g.score for g in curve.layers] == [r["score"] for r in runs]
    assert curve.best == 1 and curve.selected == {"0": 0, "2": 3, "5": 0}
    [same] = comparison.compare(runs[1]["run"], curve.auto.results[0]["run"],
                                reports=net.places["reports"])  # fmt: skip
    assert curve.price.difference == same.difference and curve.price.p == same.p
    assert curve.price.difference == pytest.approx(curve.layers[1].score - curve.auto.score)
    assert sum(curve.weights) == pytest.approx(1) and np.argmax(curve.weights) == 1
    rows = curves.rows()
    assert [row["kind"] for row in rows] == ["layer"] * 3 + ["selected", "learned"]
    assert rows[1]["selected_in_folds"] == 3 and rows[1]["layer"] == 2
    assert "Price of choosing" in curves.caption and "never on test clips" in curves.caption
    assert "layers by number of folds: 2 (3)" in curves.caption
    [choice] = curves.facts()["choices"]
    assert choice["best_on_test"] == 2 and choice["price"] == curve.price.difference


def test_learned_weights_are_shown_once_they_are_stored(net):
    [curve] = net.without.curves
    assert curve.learned is None and curve.weights is None and "Learned" not in net.without.caption
    again = layer_curves(net.task, ["net"], **net.places)
    assert [g.paths for g in again.groups] == [g.paths for g in net.curves.groups]
    assert [g.paths for g in again.groups[:4]] == [g.paths for g in net.without.groups]


@pytest.mark.parametrize("text", ["net:stream=block0", "net:layer=2", "net+net:layer=0"])
def test_a_network_is_named_without_stream_or_layer(net, text):
    with pytest.raises(ProbekitError, match="name one network without stream= or layer="):
        layer_curves(net.task, [text], **net.places)


def test_command(net, main):
    options = [f"--{key}={value}" for key, value in net.places.items()]
    done = main("analyze", "layers", "--task", net.task, "-e", "net", *options)
    assert done.returncode == 0, done.stderr
    assert "selected by folds" in done.stdout and "Price of choosing" in done.stdout
    [entry] = json.loads(
        main("analyze", "layers", "--task", net.task, "-e", "net", *options, "--json").stdout
    )
    assert len(entry["layers"]) == 5 and len(entry["files"]) == 5


def test_models_of_transformers_are_named_without_their_path(net):
    """As results name them; the numbers are those of the same arrays under another name."""
    [curve], [same] = net.model.curves, net.curves.curves
    assert curve.label == "hf:ear" and curve.depths == (0, 2, 5)
    assert [g.score for g in curve.layers] == [g.score for g in same.layers]
    assert curve.auto.score == same.auto.score
