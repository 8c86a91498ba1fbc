"""The layer as a setting that is selected on held-out clips."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from probekit.errors import ProbekitError
from probekit.probes import knn, layer_choice, linear
from probekit.probes.layer_choice import LayerChoice
from probekit.probes.registry import get_probe


def layers_job(make_job, dims=(3, 4, 3), good=1, **others):
    """Clips whose classes only the layer at ``good`` tells apart."""
    job = make_job(dim=dims[good], **others)
    rng = np.random.default_rng(1)
    blocks = [rng.normal(size=(len(job.features), dim)).astype(np.float32) for dim in dims]
    blocks[good] = job.features
    return replace(job, features=np.concatenate(blocks, axis=1)), blocks


@pytest.mark.parametrize("protocol", ["split", "split without refit", "folds"])
@pytest.mark.parametrize("inner", [linear.Linear(grid=(0.01, 1.0)), knn.KNN()])
def test_the_chosen_layer_is_the_inner_probe_on_that_layer(
    make_job, few_neighbors, protocol, inner
):
    job, blocks = layers_job(make_job, protocol=protocol)
    chosen = LayerChoice(inner, (0, 4, 9), (3, 4, 3)).choose_all(job)
    alone = inner.choose_all(replace(job, features=blocks[1]))
    for split, model, same in zip(job.splits, chosen, alone, strict=True):
        assert model.params == {"layer": 4, **same.params}
        assert model.selected_score == same.selected_score  # on the same held-out clips
        assert len(model.grid) == 3 * len(same.grid) == len(model.curve)
        assert model.grid[len(same.grid)] == {"layer": 4, **same.grid[0]}
        assert np.array_equal(
            model.probe.scores(job.features[split.test]), same.probe.scores(blocks[1][split.test])
        )
        assert model.probe.arrays()["layer"] == 4


def test_test_clips_choose_nothing(make_job, blanked):
    job, _ = layers_job(make_job, protocol="folds")
    probe = LayerChoice(linear.Linear(grid=(0.1,)), (1, 2, 3), (3, 4, 3))
    [split] = job.splits[:1]
    seen = probe.choose_all(replace(job, splits=[split]))
    unseen = probe.choose_all(blanked(job, split))
    assert seen[0].params == unseen[0].params and seen[0].curve == unseen[0].curve


def test_the_best_layer_on_held_out_clips_wins_and_of_equal_ones_the_first(make_job):
    job, blocks = layers_job(make_job, dims=(3, 3), good=0)
    job = replace(job, features=np.concatenate([blocks[0], blocks[0]], axis=1))
    [model] = LayerChoice(linear.Linear(grid=(0.1,)), (5, 6), (3, 3)).choose_all(job)
    assert model.params["layer"] == 5
    [lower] = LayerChoice(linear.Linear(grid=(0.1,)), (5, 6), (3, 3)).choose_all(
        replace(job, metric=replace(job.metric, higher_is_better=False))
    )
    assert lower.params["layer"] == 5


def test_a_path_that_ends_leaves_its_last_values_open(make_job, monkeypatch):
    monkeypatch.setattr(linear, "path_ends", lambda curve, *_: len(curve) == 2)
    job, _ = layers_job(make_job, protocol="split")
    probe = LayerChoice(linear.Linear(grid=(0.1, 1.0, 10.0)), (1, 2, 3), (3, 4, 3))
    [model] = probe.choose_all(job)
    assert len(model.curve) == 9
    assert [k for k, value in enumerate(model.curve) if np.isnan(value)] == [2, 5, 8]


def test_facts_name_the_layers():
    probe = LayerChoice(linear.Linear(), (0, 1), (3, 3))
    assert probe.facts()["layers"] == {"version": 1, "selected": "auto", "among": [0, 1]}
    assert probe.facts()["grid"] == linear.Linear().facts()["grid"]
    assert probe.name == "linear" and not probe.seeded


@pytest.mark.parametrize("name", ["head", "mlp-segments"])
def test_probes_without_selection_are_refused(name):
    features = SimpleNamespace(layer="auto", layers=[1, 2], widths=[3, 3], label="net:layer=auto")
    with pytest.raises(ProbekitError, match=f"--probe {name} cannot select a layer"):
        layer_choice.wrap_probe(get_probe(name), features)


def test_weights_need_the_linear_probe_and_equal_dims():
    features = SimpleNamespace(
        layer="learned", layers=[1, 2], widths=[3, 4], label="net:layer=learned"
    )
    with pytest.raises(ProbekitError, match=r"equal numbers of features .* 3 \(layer 1\), 4"):
        layer_choice.wrap_probe(get_probe("linear"), features)
    with pytest.raises(ProbekitError, match="by the linear probe only, got --probe knn"):
        layer_choice.wrap_probe(get_probe("knn"), features)
    with pytest.raises(ProbekitError, match="linear probe only, got --probe linear:subsample=500"):
        layer_choice.wrap_probe(get_probe("linear:subsample=500"), features)
