"""From a network's layers in a cache to runs: each layer, the selected one, a weighted sum."""

import numpy as np
import pytest

from probekit.cache.embeddings import Embeddings, find_embeddings
from probekit.data import manifest as manifests
from probekit.errors import CacheError, DataError, ProbekitError
from probekit.probes import evaluate, features
from probekit.scores import verification

CLIPS = 60


@pytest.fixture
def net(tmp_path, layered):
    """A network with layers 0, 2 and 10, whose second layer tells three classes apart."""
    rng = np.random.default_rng(0)
    classes = np.arange(CLIPS) % 3
    centers = rng.normal(size=(3, 4))
    layers = {depth: rng.normal(size=(CLIPS, 4)) for depth in (0, 2, 10)}
    layers[2] += 2 * centers[classes]
    ids = [f"clip {k:03d}" for k in range(CLIPS)]
    rows = [
        {
            "clip_id": clip_id,
            "path": f"{k}.wav",
            "labels": (f"class {classes[k]}",),
            "fold": str(k // 3 % 3 + 1),
        }
        for k, clip_id in enumerate(ids)
    ]
    clips = manifests.from_rows("mine", rows)
    clips.write(tmp_path / "mine.csv")

    class Net:
        cache, reports, depths = tmp_path / "cache", tmp_path / "reports", layers
        table = clips

        def write(self, **options):
            return layered(self.cache, ids, layers, **options)

        def evaluate(self, *names, **options):
            options = {"grid": (0.01, 1.0), **options}
            return evaluate.evaluate(str(tmp_path / "mine.csv"), names, cache=self.cache,
                                     reports=self.reports, **options)  # fmt: skip

    return Net()


def test_all_layers_are_the_runs_of_their_streams_by_depth(net):
    net.write()
    everything = net.evaluate("net:layer=all")
    assert [r["embedding"] for r in everything] == [f"net:stream=block{k}" for k in (0, 2, 10)]
    assert [r["run"] for r in net.evaluate(*(f"net:stream=block{k}" for k in (0, 2, 10)))] == [
        r["run"] for r in everything
    ]
    [one] = net.evaluate("net:layer=2")
    assert one["run"] == everything[1]["run"]
    assert max(everything, key=lambda r: r["score"]) is everything[1]


def test_the_selected_layer_has_a_run_of_its_own(net):
    net.write()
    joined, auto = net.evaluate("net:stream=block0+net:stream=block2+net:stream=block10",
                                "net:layer=auto")  # fmt: skip
    assert auto["embedding"] == "net:layer=auto" and auto["run"] != joined["run"]
    assert [f["params"]["layer"] for f in auto["folds"]] == [2, 2, 2]
    [layer] = net.evaluate("net:layer=2")
    assert auto["score"] == layer["score"]  # each fold selects the same C on the same clips
    assert [s["stream"] for s in auto["sources"]] == ["block0", "block2", "block10"]
    verified = verification.verify(net.reports)
    assert len(verified) == 3 and not any(v.faults for v in verified)


@pytest.mark.parametrize("probe", ["knn", "sklearn.naive_bayes:GaussianNB"])
def test_other_probes_select_a_layer_too(net, few_neighbors, probe):
    net.write()
    [auto] = net.evaluate("net:layer=auto", probe=probe, grid=())
    assert {f["params"]["layer"] for f in auto["folds"]} == {2}


def test_features_read_on_demand_select_the_same(net, monkeypatch):
    net.write()
    [small] = net.evaluate("net:layer=auto")
    read = []
    monkeypatch.setattr(features, "OUT_OF_CORE_BYTES", 1.0)
    monkeypatch.setattr(
        features.CachedRows, "member", lambda self, k: read.append(k) or
        features.CachedRows([self.members[k]], self.clip_ids),
    )  # fmt: skip
    [large] = net.evaluate("net:layer=auto", again=True)
    assert read == [0, 1, 2]
    assert [f["params"] for f in large["folds"]] == [f["params"] for f in small["folds"]]
    assert large["score"] == small["score"]


def test_learned_weights_are_stored_and_shown(net, main):
    net.write()
    [run] = net.evaluate("net:layer=learned")
    weights = run["solver"]["layer_weights"]
    assert list(weights) == ["0", "2", "10"] and weights["2"] > 0.6
    assert sum(weights.values()) == pytest.approx(1)
    shown = main("results", "show", run["run"][:12], "--reports", str(net.reports))
    assert shown.returncode == 0 and f"2: {weights['2']:.2f}" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    "selector, message",
    [
        ("net:layer=1", "net: no layer 1; its layers are 0, 2, 10"),
        ("net:layer=auto+net", "layer=all, auto and learned are for one network alone"),
        ("net:layer=all+net", "layer=all, auto and learned are for one network alone"),
    ],
)
def test_wrong_layers_are_refused(net, selector, message):
    net.write()
    with pytest.raises(ProbekitError, match=message):
        net.evaluate(selector)


def test_layers_that_were_not_extracted_are_named(net):
    net.write(absent=["block2", "block10"])
    net.evaluate("net:layer=0")
    for selector, names in (("net:layer=2", "2"), ("net:layer=auto", "2, 10")):
        with pytest.raises(CacheError, match=f"layer {names} of net is not in the cache"):
            net.evaluate(selector)
    with pytest.raises(CacheError, match="probekit extract -e net:layer=all"):
        net.evaluate("net:layer=all")


def test_networks_without_layers_are_refused(net):
    net.write(depths=False)
    with pytest.raises(ProbekitError, match=r"its card states no layers; .*stream=block0"):
        net.evaluate("net:layer=auto")


def test_layers_of_a_depth_twice_need_their_stream(net):
    net.write()
    folder = next(net.cache.glob("net-*/mine"))
    embeddings = Embeddings(folder)
    embeddings.__dict__["layer_depths"] = {"block0": 3, "block2": 3, "block10": 4}
    found = features.load_features(
        [(features.parse_selectors(f"net:stream=block{k}")[0], embeddings) for k in (0, 2, 10)],
        net.table,
    )
    assert found.layers == ["block0", "block2", 4]


def test_other_commands_need_one_layer(net):
    net.write()
    with pytest.raises(CacheError, match="one stream is needed here; write net:stream=block2"):
        find_embeddings(net.cache, "net:layer=2", "mine")
    with pytest.raises(CacheError, match="evaluate and analyze layers take layer="):
        find_embeddings(net.cache, "net:layer=auto", "mine")
    with pytest.raises(DataError, match="one layer is needed here, such as layer=3"):
        features.find_features(net.cache, "net:layer=learned", "mine", net.table)
    found = features.find_features(net.cache, "net:layer=10", "mine", net.table)
    assert np.allclose(found.matrix(), net.depths[10], atol=1e-6)
