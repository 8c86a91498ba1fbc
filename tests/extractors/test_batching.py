import pytest
import torch

from probekit.extractors import memory
from probekit.extractors.base import run_batched

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
