"""Change a recording's sample rate block by block: the same samples as of the whole at once."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr
import torch
from torch import Tensor

from probekit.audio import Waveform
from probekit.extractors.resampling import KAISER, Kaiser, resample


def resampled(
    blocks: Iterable[Waveform], source: int, target: int, resampler: str
) -> Iterator[Tensor]:
    """Resample blocks that follow one another.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray, each of shape (n,), float32
        A waveform, piece by piece.
    source, target : int > 0
        Its sample rate, and that of the result, in Hz.
    resampler : {"soxr_hq", "kaiser_best", "kaiser_best_0.4"}
        As a card names it.

    Yields
    ------
    Tensor, shape (m,), m >= 1, float32
        The result, piece by piece: equal to resampling at once within float32 rounding.
    """
    if source == target:
        pieces: Iterator[Tensor] = map(torch.from_numpy, blocks)
    elif resampler == "soxr_hq":
        pieces = _by_soxr(blocks, source, target)
    else:
        pieces = _by_kaiser(blocks, source, target, KAISER[resampler])
    return (piece for piece in pieces if len(piece))


def _by_soxr(blocks: Iterable[Waveform], source: int, target: int) -> Iterator[Tensor]:
    """Resample by soxr, which keeps what it needs of earlier blocks."""
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield torch.from_numpy(stream.resample_chunk(block))
    yield torch.from_numpy(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _by_kaiser(
    blocks: Iterable[Waveform], source: int, target: int, kaiser: Kaiser
) -> Iterator[Tensor]:
    """Resample with a margin on both sides, as long as the filter at least, and drop it again.

    Places are counted in units of ``down`` input samples, which are ``up`` output samples.
    """
    common = math.gcd(source, target)
    down, up = source // common, target // common
    # the filter's reach; twice, as its table is read in steps that are rounded down
    margin = math.ceil(2 * kaiser.zeros * max(1.0, source / target) / down) + 1
    kept, begin, done = torch.zeros(0), 0, 0
    for block in blocks:
        kept = torch.cat([kept, torch.from_numpy(block)])
        ready = begin + len(kept) // down - margin
        if ready <= done:
            continue
        whole = resample(kept[: (ready + margin - begin) * down], source, target, kaiser)
        yield whole[(done - begin) * up : (ready - begin) * up]
        done = ready
        kept, begin = kept[(max(0, done - margin) - begin) * down :], max(0, done - margin)
    if len(kept):
        yield resample(kept, source, target, kaiser)[(done - begin) * up :]
