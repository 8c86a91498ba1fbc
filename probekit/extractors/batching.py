"""Pieces go through a network some at a time: fewer, where memory does not suffice."""

from collections.abc import Callable

import torch
from torch import Tensor

from probekit.extractors import memory


def in_batches(
    run: Callable[[Tensor], dict[str, Tensor]], pieces: Tensor, size: int
) -> tuple[dict[str, Tensor], int]:
    """Apply a function to pieces, a batch at a time.

    Parameters
    ----------
    run : callable
        Takes pieces, shape (n, …), and returns tensors of which the first axis is that of pieces.
    pieces : Tensor, shape (pieces, …), pieces >= 1
        On the device where ``run`` computes.
    size : int >= 1
        Pieces at once. Where memory does not suffice, half of them are tried, and so on.

    Returns
    -------
    dict of str to Tensor
        What ``run`` returned, put together.
    int
        How many pieces at once were possible in the end.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single piece.
    """
    found: list[dict[str, Tensor]] = []
    rest = pieces
    while len(rest):
        batch = rest[:size]
        try:
            found.append(run(batch))
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
        else:
            rest = rest[size:]
            continue
        # only here, where the error is gone, nothing holds what did not fit
        memory.release(pieces.device)
        if len(batch) == 1:
            raise MemoryError(f"out of memory on {pieces.device} with a single piece")
        size = len(batch) // 2
    return {name: torch.cat([own[name] for own in found]) for name in found[0]}, size
