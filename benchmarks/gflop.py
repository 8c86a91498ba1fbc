"""Arithmetic of each network: ``python -m benchmarks gflop``.

Counted are the multiply-adds of convolutions and matrix products, times two; Fourier transforms and
element-wise work are not. ``10 s`` is one clip of 10 s, divided by 10. ``long`` is what a further
second costs (240 s after the first 10, a whole number of hops of every network): this is the card's
``gflop_per_second``. For a network that sees only the first part of a clip, both are of one clip of
that length. Only shapes matter, so nothing is computed: torch gets tensors without content.
"""

from importlib import import_module

import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import table
from probekit import cards
from probekit.cards import ExtractorCard
from probekit.extractors.base import Extractor

SHORT, MORE = 10.0, 240.0


def build(card: ExtractorCard) -> Extractor:
    """Return an extractor with all streams and default parameters."""
    module = import_module(f"probekit.extractors.networks.{card.module}")
    params = {name: facts.default for name, facts in card.parameters.items()}
    extractor: Extractor = module.build(card, params, tuple(card.streams))
    return extractor.eval()


def gflop(extractor: Extractor, seconds: float) -> float:
    """Return GFLOP for one clip."""
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False) as counter:
        extractor([torch.empty(round(seconds * extractor.card.sample_rate))])
    return counter.get_total_flops() / 1e9


def rates(extractor: Extractor) -> tuple[float, float]:
    """Return GFLOP per second of audio: of a clip of 10 s, and in a long one."""
    card = extractor.card
    if card.long_audio == "cropped":
        seconds = card.max_seconds or SHORT
        return (gflop(extractor, seconds) / seconds,) * 2
    short = gflop(extractor, SHORT)
    return short / SHORT, (gflop(extractor, SHORT + MORE) - short) / MORE


def main() -> None:
    rows: list[tuple[object, ...]] = [
        ("extractor", "GFLOP/s of audio: 10 s", "long", "in the card", "parameters")
    ]
    for name in cards.card_paths("extractors"):
        card = cards.load_extractor_card(name)
        if not card.weights:
            continue
        extractor = build(card)
        short, long = rates(extractor)
        parameters = sum(tensor.numel() for tensor in extractor.network.parameters())
        rows.append(
            (name, f"{short:.3g}", f"{long:.3g}", card.gflop_per_second or "–", f"{parameters:,}")
        )
    table("Arithmetic", rows)


if __name__ == "__main__":
    main()
