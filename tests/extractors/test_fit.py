"""Weights that do not fit a network are refused with the names of what does not fit."""

import pytest
import torch
from torch import nn

from probekit.errors import WeightsError
from probekit.extractors.states import fit


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_what_fits_is_loaded():
    given, taken = network(), network()
    fit(taken, given.state_dict(), "x")
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
        fit(net, state, "a/path.pth")
    text = str(raised.value)
    assert text.startswith("a/path.pth: ")
    assert "1 missing: 0.bias (3,)" in text
    assert "1 unexpected: head.weight" in text
    assert "0.weight: (3, 5) given, (3, 2) needed" in text
    assert "1.weight: a list given, (3,) needed" in text
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_long_lists_are_cut():
    with pytest.raises(WeightsError, match=r"7 missing: .*; and 3 more"):
        fit(network(), {}, "x")


def test_optional_keys_may_be_absent_but_not_misshapen():
    state = network().state_dict()
    count = state.pop("1.num_batches_tracked")
    with pytest.raises(WeightsError, match="num_batches_tracked"):
        fit(network(), state, "x")
    fit(network(), state, "x", optional=lambda key: key.endswith("num_batches_tracked"))
    state["1.num_batches_tracked"] = count.reshape(1)
    with pytest.raises(WeightsError, match=r"\(1,\) given, \(\) needed"):
        fit(network(), state, "x", optional=lambda key: True)


def test_a_number_of_another_kind_is_converted():
    net = network()
    fit(net, {key: value.double() for key, value in network().state_dict().items()}, "x")
    assert net[0].weight.dtype == torch.float32
