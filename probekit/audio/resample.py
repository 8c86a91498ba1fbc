"""Change a recording's sample rate block by block: the same samples as of the whole at once."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

from probekit.audio.recording import Waveform

_LARGEST_MATRIX = 1 << 22  # weights; a ratio that needs more is resampled without a matrix
_AT_ONCE = 1 << 22  # samples in stretches at once: bounds the memory that long clips take

Weights = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Kaiser:
    """A windowed-sinc filter.

    Attributes
    ----------
    zeros : int >= 1
        Zero crossings on each side.
    table : int >= 1
        Entries of the table for each zero crossing.
    rolloff : float, 0 < rolloff <= 1
        Cut-off, as a share of the lower rate's Nyquist frequency.
    beta : float >= 0
        Shape of the Kaiser window.
    """

    zeros: int
    table: int
    rolloff: float
    beta: float


RESAMPY_0_2 = Kaiser(zeros=64, table=512, rolloff=0.9475937167399596, beta=14.769656459379492)
"""``kaiser_best`` of resampy 0.2.1 and 0.2.2, which openl3 asks for."""

RESAMPY_0_4 = Kaiser(zeros=50, table=8192, rolloff=0.9173473712608761, beta=12.9846)
"""``kaiser_best`` of resampy 0.4.3, which torchvggish gets today."""

KAISER = {"kaiser_best": RESAMPY_0_2, "kaiser_best_0.4": RESAMPY_0_4}
"""By the name that cards give to a resampler."""


def resample(wave: Tensor, source: int, target: int, kaiser: Kaiser = RESAMPY_0_2) -> Tensor:
    """Change the sample rate of waveforms.

    Parameters
    ----------
    wave : Tensor, shape (..., samples), samples >= 1
        Waveforms; taken as zero before and after.
    source : int > 0
        Their sample rate, in Hz.
    target : int > 0
        The sample rate of the result, in Hz.
    kaiser : Kaiser
        The filter; ``kaiser_best`` of resampy 0.2 by default.

    Returns
    -------
    Tensor, shape (..., max(1, samples * target // source)), float32
        On the device of ``wave``; its first sample lies where the input's first sample lies.

    Raises
    ------
    ValueError
        If a rate is not positive, or there are no samples.

    Notes
    -----
    A simplification of resampy is kept, since networks were trained with it: the table is read in
    steps of ``int(scale * table)``, where ``scale`` is ``min(1, target / source)``. Where the rate
    falls, steps are too short by a fraction, and the signal comes out that much louder (0.4 % from
    44,100 to 16,000 Hz).

    Three things differ. Positions are whole numbers here; resampy 0.2 adds rounded steps, and
    where it resamples downwards and a position that is a whole number comes out just below it,
    that sample differs by up to about 0.002 (1 sample in 160 from 44,100 to 16,000 Hz). resampy
    0.2 loses the last sample of some lengths to rounding (its issue 111). And an input too short
    for one output sample gives one here, an error there.
    """
    if source < 1 or target < 1:
        raise ValueError(f"cannot resample from {source} to {target} Hz: rates are positive")
    if wave.shape[-1] < 1:
        raise ValueError("cannot resample a waveform of no samples")
    wave = wave.float()
    if source == target:
        return wave.clone()
    length = max(1, wave.shape[-1] * target // source)
    common = math.gcd(source, target)
    down, up = source // common, target // common
    rows = wave.reshape(-1, wave.shape[-1])
    plan = _plan(down, up, kaiser)
    if (plan.advance + 2 * plan.reach) * plan.phases <= _LARGEST_MATRIX:
        result = _by_matrix(rows, length, plan)
    else:
        result = _resample_per_output(rows, length, plan)
    return result.reshape(*wave.shape[:-1], length)


@dataclass(frozen=True)
class _Plan:
    """How a ratio is dealt with: ``phases`` outputs for every ``advance`` inputs."""

    down: int
    up: int
    kaiser: Kaiser
    reach: int  # input samples on each side that an output may depend on
    advance: int
    phases: int


def _plan(down: int, up: int, kaiser: Kaiser) -> _Plan:
    """Choose blocks about as long as the filter, so that few weights are zero."""
    step = _step(down, up, kaiser)
    reach = (kaiser.zeros * kaiser.table + 1) // step
    repeat = max(1, round(2 * reach / down))
    return _Plan(down, up, kaiser, reach, down * repeat, up * repeat)


def _step(down: int, up: int, kaiser: Kaiser) -> int:
    """Return how many entries of the table lie between neighbouring input samples."""
    return max(1, int(min(1.0, up / down) * kaiser.table))


def _by_matrix(rows: Tensor, length: int, plan: _Plan) -> Tensor:
    """Resample as a product of stretches of the waveform with a matrix of weights."""
    matrix = _matrix(plan, rows.device)
    width = matrix.shape[0]
    stretches = -(-length // plan.phases)
    needed = (stretches - 1) * plan.advance + width
    before = plan.reach - 1
    padded = torch.nn.functional.pad(rows, (before, max(0, needed - before - rows.shape[1])))
    frames = padded.unfold(1, width, plan.advance)[:, :stretches]
    at_once = max(1, _AT_ONCE // (width * len(rows)))
    parts = [part @ matrix for part in frames.split(at_once, dim=1)]
    return torch.cat(parts, 1).flatten(1)[:, :length]


@lru_cache(maxsize=16)
def _matrix(plan: _Plan, device: torch.device) -> Tensor:
    """Return weights of shape (input samples of a stretch, phases); all phases' taps in place."""
    start, weights = _weights(np.arange(plan.phases), plan)
    matrix = np.zeros((int(start.max()) + 2 * plan.reach, plan.phases))
    rows = start[:, None] + np.arange(2 * plan.reach)
    matrix[rows, np.arange(plan.phases)[:, None]] = weights
    with torch.inference_mode(False):  # it is kept, and may serve where gradients are wanted
        return torch.from_numpy(matrix.astype(np.float32)).to(device)


def _resample_per_output(rows: Tensor, length: int, plan: _Plan) -> Tensor:
    """Resample with weights of its own for every output: for ratios of large numbers."""
    taps = 2 * plan.reach
    padded = torch.nn.functional.pad(rows, (plan.reach - 1, plan.reach))
    parts = []
    at_once = max(1, _AT_ONCE // (taps * len(rows)))
    for first in range(0, length, at_once):
        start, weights = _weights(np.arange(first, min(first + at_once, length)), plan)
        frames = padded.unfold(1, taps, 1)[:, torch.from_numpy(start).to(rows.device)]
        parts.append((frames * torch.from_numpy(weights).to(frames)).sum(2))
    return torch.cat(parts, 1)


def _weights(outputs: Whole, plan: _Plan) -> tuple[Whole, Weights]:
    """Return the weights of input samples in some outputs.

    Parameters
    ----------
    outputs : numpy.ndarray of int, shape (n,)
        Indices of output samples.
    plan : _Plan
        Ratio and filter.

    Returns
    -------
    start : numpy.ndarray of int, shape (n,)
        Index of the last input sample at or before each output.
    weights : numpy.ndarray, shape (n, 2 * reach)
        Weights of the input samples ``start - reach + 1`` to ``start + reach``.
    """
    start, rest = np.divmod(outputs.astype(np.int64) * plan.down, plan.up)
    behind = rest / plan.up  # how far the output lies after ``start``, in input samples
    scale = min(1.0, plan.up / plan.down)
    left = _filter_half(scale * behind, plan)[:, ::-1]
    right = _filter_half(scale - scale * behind, plan)
    return start, np.concatenate([left, right], axis=1)


def _filter_half(distance: Weights, plan: _Plan) -> Weights:
    """Read the table at a distance and at every step beyond it: shape (n, reach)."""
    table = _interp_window(plan.kaiser)
    if plan.up < plan.down:
        table = table * (plan.up / plan.down)
    slope = np.diff(table, append=table[-1])
    step = _step(plan.down, plan.up, plan.kaiser)
    place = distance * plan.kaiser.table
    first = place.astype(np.int64)
    index = np.minimum(first[:, None] + np.arange(plan.reach) * step, len(table) - 1)
    read: Weights = table[index] + (place - first)[:, None] * slope[index]
    return read


@lru_cache(maxsize=4)
def _interp_window(kaiser: Kaiser) -> Weights:
    """Return the right wing of the filter, ``zeros * table + 1`` entries."""
    entries = kaiser.zeros * kaiser.table
    sinc = np.sinc(kaiser.rolloff * np.linspace(0, kaiser.zeros, entries + 1))
    window = np.kaiser(2 * entries + 1, kaiser.beta)[entries:]
    table: Weights = kaiser.rolloff * sinc * window
    return table


def resample_blocks(
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
