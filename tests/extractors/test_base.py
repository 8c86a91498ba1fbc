"""Windows of a clip, the samples that a range of them covers, and batches that fit into memory."""

from itertools import product

import pytest
import torch
from torch import nn

from probekit import cards
from probekit.extractors import memory
from probekit.extractors.base import WindowedExtractor, run_batched


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


# --- batches ---

CPU = "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: 9 bytes"
CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB"
ERRORS = [torch.OutOfMemoryError(CUDA), RuntimeError(CPU), MemoryError()]


def doubling(most, error, sizes):
    """A network that takes no more than so many pieces."""

    def run(pieces):
        sizes.append(len(pieces))
        if len(pieces) > most:
            raise error
        return {"double": 2 * pieces}

    return run


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_batches_are_halved_until_they_fit(error):
    pieces = torch.arange(21.0)[:, None]
    sizes = []
    found, fitted = run_batched(doubling(3, error, sizes), pieces, 16)
    assert torch.equal(found["double"], 2 * pieces)
    assert sizes == [16, 8, 4, *[2] * 10, 1]
    assert fitted == 2


def test_enough_memory():
    sizes = []
    _, fitted = run_batched(doubling(9, MemoryError(), sizes), torch.zeros(10, 1), 4)
    assert sizes == [4, 4, 2]
    assert fitted == 4


def test_a_single_piece_that_does_not_fit():
    with pytest.raises(MemoryError, match="out of memory on cpu with a single piece"):
        run_batched(doubling(0, ERRORS[0], []), torch.zeros(5, 1), 4)


def test_other_errors_are_not_tried_again():
    sizes = []
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run_batched(doubling(0, RuntimeError("shapes cannot be multiplied"), sizes), ones(5), 4)
    assert sizes == [4]


def ones(count):
    return torch.ones(count, 1)


def test_memory_for_real_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert memory.is_oom(caught.value)
    assert not memory.is_oom(RuntimeError("CUDA error: device-side assert triggered"))
    assert not memory.is_oom(ValueError("out of memory"))
