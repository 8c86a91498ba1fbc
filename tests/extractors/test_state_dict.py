"""Weights that do not fit a network are refused with the names of what does not fit."""

import pytest
import torch
from torch import nn

from probekit.errors import WeightsError
from probekit.extractors.networks import cnn14, vggish
from probekit.extractors.weights.diagnosis import diagnose_mismatch
from probekit.extractors.weights.state_dict import MismatchError, load_strict


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_what_fits_is_loaded():
    given, taken = network(), network()
    load_strict(taken, given.state_dict(), "x")
    for key, value in given.state_dict().items():
        assert torch.equal(taken.state_dict()[key], value)


def test_every_fault_is_named_and_nothing_is_changed():
    net = network()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = network().state_dict()
    del state["0.bias"]
    state["0.weight"] = torch.zeros(3, 5)
    state["head.weight"] = torch.zeros(1)
    state["1.weight"] = [1, 2, 3]
    with pytest.raises(WeightsError) as raised:
        load_strict(net, state, "a/path.pth")
    text = str(raised.value)
    assert text.startswith("a/path.pth: ")
    assert "1 missing: 0.bias (3,)" in text
    assert "1 unexpected: head.weight" in text
    assert "0.weight: must be (3, 2), got (3, 5)" in text
    assert "1.weight: must be (3,), got a list" in text
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_long_lists_are_cut():
    with pytest.raises(WeightsError, match=r"7 missing: .*; and 3 more"):
        load_strict(network(), {}, "x")


def test_optional_keys_may_be_absent_but_not_misshapen():
    state = network().state_dict()
    count = state.pop("1.num_batches_tracked")
    with pytest.raises(WeightsError, match="num_batches_tracked"):
        load_strict(network(), state, "x")
    load_strict(network(), state, "x", optional=lambda key: key.endswith("num_batches_tracked"))
    state["1.num_batches_tracked"] = count.reshape(1)
    with pytest.raises(WeightsError, match=r"must be \(\), got \(1,\)"):
        load_strict(network(), state, "x", optional=lambda key: True)


def test_a_number_of_another_kind_is_converted():
    net = network()
    load_strict(net, {key: value.double() for key, value in network().state_dict().items()}, "x")
    assert net[0].weight.dtype == torch.float32


# --- what the names tell --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def names():
    """The names of CNN14's tensors; the tensors do not matter."""
    return [*cnn14.Network().state_dict()]


def refusal(state):
    with torch.device("meta"):  # it will not get any weights
        network = vggish.Network()
    with pytest.raises(MismatchError) as raised:
        load_strict(network, state, "vggish: main weights")
    hints = diagnose_mismatch(raised.value.network, raised.value.state)
    return "\n  ".join([str(raised.value), *hints])


def test_weights_of_another_network_are_recognised(names):
    text = refusal(dict.fromkeys(names, torch.zeros(1)))
    assert text.endswith("\n  it looks like weights of cnn14")
    other_classes = [key for key in names if not key.startswith("fc_audioset")]
    assert "weights of cnn14" in refusal(dict.fromkeys([*other_classes, "top.weight"], 0))


def test_unknown_names_tell_nothing(names):
    for keys in (["blocks.0.weight"], names[:4], [f"net.{key}" for key in names], []):
        text = refusal(dict.fromkeys(keys, torch.zeros(1)))
        assert "18 missing" in text and "looks like" not in text


def test_names_of_the_network_itself_tell_nothing():
    with torch.device("meta"):
        state = vggish.Network().state_dict()
    del state["features.0.bias"]
    assert "\n  1 missing: features.0.bias (64,)" in refusal(state)
    assert "looks like" not in refusal(state)


def test_names_from_data_parallel():
    with torch.device("meta"):
        state = vggish.Network().state_dict()
    text = refusal({f"module.{key}": value for key, value in state.items()})
    assert "its names begin with 'module.'" in text and "model.module.state_dict()" in text
    assert "looks like" not in text


@pytest.mark.parametrize("where", ["state_dict", "model"])
def test_a_state_dict_inside_another_dictionary(names, where):
    inner = {f"module.{key}": torch.zeros(1) for key in names}
    text = refusal({"epoch": 3, where: inner})
    assert f"its tensors are under '{where}'" in text
    assert "its names begin with 'module.'" in text
    assert "it looks like weights of cnn14" in text


def test_a_card_that_cannot_be_built_does_not_hide_the_fault(names, tmp_path, monkeypatch):
    (tmp_path / "broken.yaml").write_text("name: [")
    monkeypatch.setenv("PROBEKIT_CARDS", str(tmp_path))
    assert "weights of cnn14" in refusal(dict.fromkeys(names, torch.zeros(1)))
