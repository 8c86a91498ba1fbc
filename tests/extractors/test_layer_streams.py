"""Streams of single layers: what the modules of the network put out, averaged once more."""

import numpy as np
import pytest
import torch
from torch import nn

from probekit import cards
from probekit.cards.selector import select_layers
from probekit.extractors import load

torch.set_num_threads(1)


def outputs_of(modules, run):
    """Run something; return what each module put out."""
    outputs = []
    hooks = [
        module.register_forward_hook(lambda _, __, output: outputs.append(output.clone().numpy()))
        for module in modules
    ]
    result = run()
    for hook in hooks:
        hook.remove()
    return outputs, result


def vggish(network):
    return [
        m
        for m in (*network.features, *network.embeddings)
        if isinstance(m, nn.MaxPool2d | nn.Linear)
    ]


def cnn14(network):
    return [network.get_submodule(f"conv_block{number}") for number in range(1, 7)]


def openl3(network):
    return [network.get_submodule(f"batch_normalization_{number}") for number in range(2, 9)]


def by_hand(name, number, output):
    """Return what the card says of a layer, from its module's output."""
    output = output.astype(np.float64)
    if output.ndim == 2:
        return np.maximum(output, 0)
    if name == "openl3":
        output = np.maximum(output, 0)
    if name != "cnn14":
        return output.mean((2, 3))
    steps, finer = 3, 2 ** max(0, 5 - number)
    bands = output.mean(3)
    parts = [bands[:, :, k * finer : (k + 1) * finer].mean(2) for k in range(steps)]
    return np.stack(parts, 1)[0]


@pytest.mark.parametrize(("name", "modules"), [(f.__name__, f) for f in (vggish, cnn14, openl3)])
def test_layers_are_outputs_of_modules(name, modules):
    card = cards.load_extractor_card(name)
    seeds = {f"{name}.{key.partition('/')[0]}": "random:0" for key in card.weights}
    extractor = load.build_extractor(load.resolve_spec(f"{name}:layer=all", weights=seeds))
    depths = {stream: facts.layer for stream, facts in card.streams.items()}
    streams = select_layers(name, depths, "all")
    assert set(extractor.stream_names) == set(streams)
    extractor.batch_seconds = 60.0  # one batch: each module is called once
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal(card.sample_rate)).float()
    outputs, [clip] = outputs_of(modules(extractor.network), lambda: extractor([wave]))
    compared = min(len(outputs), len(streams))
    assert compared >= len(streams) - 1  # the last layer of two networks has tests of its own
    for number, (stream, output) in enumerate(zip(streams, outputs, strict=False), start=1):
        expected = by_hand(name, number, output)
        assert depths[stream] == number and clip[stream].shape == expected.shape
        assert expected.shape[-1] == card.streams[stream].dim
        np.testing.assert_allclose(clip[stream], expected, rtol=1e-4, atol=1e-4 * expected.std())
