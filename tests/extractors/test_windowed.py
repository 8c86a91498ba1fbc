"""Where windows lie in a clip, and which samples a run of them needs."""

from itertools import product

import pytest
import torch
from torch import nn

from probekit import cards
from probekit.extractors.base import WindowedExtractor


def windowed(window, hop, lead, keep_tail):
    extractor = WindowedExtractor(cards.load_extractor_card("vggish"), {}, ())
    extractor.window, extractor.hop, extractor.lead = window, hop, lead
    extractor.keep_tail = keep_tail
    return extractor


def expected(wave, window, hop, lead, keep_tail):
    """Windows one after another, as their definition says."""
    samples = [0.0] * lead + wave
    found = []
    start = 0
    while True:
        cut = samples[start : start + window]
        covered = start + window - hop if start else 0  # by the windows before
        if start and (covered >= len(samples) if keep_tail else len(cut) < window):
            return found
        found.append(cut + [0.0] * (window - len(cut)))
        start += hop


@pytest.mark.parametrize(
    ("window", "hop", "lead", "keep_tail"),
    [(4, 4, 0, True), (5, 2, 0, False), (5, 2, 2, True), (4, 3, 3, False), (3, 1, 1, True)],
)
def test_windows_of_clips_of_every_length(window, hop, lead, keep_tail):
    extractor = windowed(window, hop, lead, keep_tail)
    for samples in range(1, 20):
        wave = torch.arange(1.0, samples + 1)
        whole = extractor.split(wave)
        assert whole.tolist() == expected(wave.tolist(), window, hop, lead, keep_tail)
        assert extractor.windows(samples) == len(whole)
        for first, count in product(range(len(whole)), range(1, len(whole) + 1)):
            if first + count > len(whole):
                continue
            start, stop, before, after = extractor.extent(first, count, samples)
            assert 0 <= start <= stop <= samples and before >= 0 and after >= 0
            piece = nn.functional.pad(wave[start:stop], (before, after))
            assert len(piece) == (count - 1) * hop + window
            run = piece.unfold(0, window, hop)
            assert torch.equal(run, whole[first : first + count])


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (0, 4), (3, 1), (2, 2)])
def test_windows_that_are_not_there(first, count):
    extractor = windowed(4, 4, 0, True)
    with pytest.raises(ValueError, match="a clip of 12 samples has 3"):
        extractor.extent(first, count, 12)
