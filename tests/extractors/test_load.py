"""Weights laid out for speed: the same keys, shapes and numbers."""

import pytest
import torch
from torch import nn

from probekit import cards
from probekit.extractors import load
from probekit.extractors.load import resolve_spec

NAMES = ("talnet", "convnet", "weanet", "harmonic-cnn")  # a GRU; a dense head; a head of 1 x 1


def built(name, precision):
    roles = {key.partition("/")[0] for key in cards.load_extractor_card(name).weights}
    weights = {f"{name}.{role}": "random:0" for role in roles}
    streams = list(cards.load_extractor_card(name).streams)
    return load.build_extractor(
        resolve_spec(name, weights=weights, streams=streams, precision=precision)
    )


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    return built(request.param, "float32"), built(request.param, "bf16")


def clip(extractor):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3 * extractor.card.sample_rate, generator=generator) - 0.5


def products(extractor):
    kinds = (nn.Conv2d, nn.Linear)
    return [module for module in extractor.network.modules() if isinstance(module, kinds)]


def head_layers(extractor):
    head = extractor.head()
    return [head.weight, head.bias, *(head.attention or ())]


def test_kernels_are_channels_last(pair):
    for extractor in pair:
        kept = extractor.head().weight.data_ptr()
        kernels = [m.weight for m in products(extractor) if isinstance(m, nn.Conv2d)]
        assert kernels
        for weight in kernels:
            assert weight.data_ptr() == kept or weight.is_contiguous(
                memory_format=torch.channels_last
            )


def test_only_products_are_rounded_and_the_head_is_not(pair):
    single, half = pair
    rounded = {id(module.weight) for module in products(half)}
    for (name, own), (_, other) in zip(
        half.network.named_parameters(), single.network.named_parameters(), strict=True
    ):
        is_head = own.data_ptr() in {layer.data_ptr() for layer in head_layers(half)}
        if id(own) in rounded and not is_head:
            assert own.dtype == torch.bfloat16, name
            assert torch.equal(own, other.bfloat16()), name
        elif own.ndim > 1 or "bn" in name or "batch_norm" in name:
            assert own.dtype == torch.float32, name
            assert torch.equal(own, other), name
    for own, other in zip(head_layers(half), head_layers(single), strict=True):
        assert own.dtype == torch.float32
        assert torch.equal(own, other)


def test_rounding_once_gives_what_autocast_gives(pair):
    single, half = pair
    wave = clip(half)
    [found] = half([wave])
    features = single.frontend(single.split(wave))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = single.embed(features)
    for name, values in found.items():
        other = expected[name].float().reshape(values.shape)
        scale = float(other.abs().max())
        # the same rounding; sums may be taken in another order, and then round once more (2^-8)
        assert float((values - other).abs().max()) <= 2**-7 * scale, name
