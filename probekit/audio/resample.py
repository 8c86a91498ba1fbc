"""Resampling with resampy's Kaiser-windowed sinc filters on CPU and GPU, and by blocks."""

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
_FRAMED_SAMPLES = 1 << 22  # samples in frames at once: limits the memory of long clips

Weights = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class KaiserFilter:
    """Parameters of a windowed-sinc filter, as in resampy.

    Attributes
    ----------
    zero_crossings : int >= 1
        Zero crossings of the sinc on each side.
    precision : int >= 1
        Table entries per zero crossing.
    rolloff : float, 0 < rolloff <= 1
        Cut-off as a fraction of the lower rate's Nyquist frequency.
    beta : float >= 0
        Shape of the Kaiser window.
    """

    zero_crossings: int
    precision: int
    rolloff: float
    beta: float


RESAMPY_0_2 = KaiserFilter(
    zero_crossings=64, precision=512, rolloff=0.9475937167399596, beta=14.769656459379492
)
"""``kaiser_best`` of resampy 0.2.1 and 0.2.2, used by openl3."""

RESAMPY_0_4 = KaiserFilter(
    zero_crossings=50, precision=8192, rolloff=0.9173473712608761, beta=12.9846
)
"""``kaiser_best`` of resampy 0.4.3, used by torchvggish."""

KAISER_FILTERS = {"kaiser_best": RESAMPY_0_2, "kaiser_best_0.4": RESAMPY_0_4}
"""Filters by the ``resampler`` of extractor cards."""


def resample(
    wave: Tensor, orig_sr: int, target_sr: int, kaiser_filter: KaiserFilter = RESAMPY_0_2
) -> Tensor:
    """Resample waveforms.

    Parameters
    ----------
    wave : Tensor, shape (..., samples), samples >= 1
        Waveforms; zero-padded on both sides.
    orig_sr : int > 0
        Their sample rate in Hz.
    target_sr : int > 0
        Sample rate of the result in Hz.
    kaiser_filter : KaiserFilter
        The filter; ``kaiser_best`` of resampy 0.2 by default.

    Returns
    -------
    Tensor, shape (..., max(1, samples * target // source)), float32
        On the device of ``wave``; the first samples of input and result coincide in time.

    Raises
    ------
    ValueError
        If a sample rate is not positive, or there are no samples.

    Notes
    -----
    One simplification of resampy is reproduced, since networks were trained with it: the table is
    read in steps of ``int(scale * precision)``, where ``scale`` is ``min(1, target / orig)``. When
    downsampling, the steps are too short by a fraction, which makes the signal louder by as much
    (0.4 % from 44,100 to 16,000 Hz).

    Three things differ. Positions are exact integers here; resampy 0.2 sums rounded steps, and
    where a position that should be an integer comes out just below it when downsampling, that
    sample differs by up to about 0.002 (1 sample in 160 from 44,100 to 16,000 Hz). resampy 0.2
    loses the last sample of some lengths to rounding (its issue 111). And an input too short for
    one output sample gives one here, an error in resampy.
    """
    if orig_sr < 1 or target_sr < 1:
        raise ValueError(f"sample rates must be > 0 Hz, got {orig_sr} and {target_sr}")
    if wave.shape[-1] < 1:
        raise ValueError("cannot resample a waveform without samples")
    wave = wave.float()
    if orig_sr == target_sr:
        return wave.clone()
    length = max(1, wave.shape[-1] * target_sr // orig_sr)
    common = math.gcd(orig_sr, target_sr)
    down, up = orig_sr // common, target_sr // common
    rows = wave.reshape(-1, wave.shape[-1])
    plan = _plan(down, up, kaiser_filter)
    if (plan.advance + 2 * plan.reach) * plan.phases <= _LARGEST_MATRIX:
        result = _resample_by_matrix(rows, length, plan)
    else:
        result = _resample_per_output(rows, length, plan)
    return result.reshape(*wave.shape[:-1], length)


@dataclass(frozen=True)
class _Plan:
    """Blocks of a ratio: ``phases`` outputs for every ``advance`` inputs."""

    down: int
    up: int
    kaiser: KaiserFilter
    reach: int  # input samples on each side that an output may depend on
    advance: int
    phases: int


def _plan(down: int, up: int, kaiser: KaiserFilter) -> _Plan:
    """Choose blocks about as long as the filter, so that few weights are zero."""
    step = _step(down, up, kaiser)
    reach = (kaiser.zero_crossings * kaiser.precision + 1) // step
    repeat = max(1, round(2 * reach / down))
    return _Plan(down, up, kaiser, reach, down * repeat, up * repeat)


def _step(down: int, up: int, kaiser: KaiserFilter) -> int:
    """Return how many table entries lie between neighboring input samples."""
    return max(1, int(min(1.0, up / down) * kaiser.precision))


def _resample_by_matrix(rows: Tensor, length: int, plan: _Plan) -> Tensor:
    """Resample as a product of frames of the waveform and a matrix of weights."""
    matrix = _matrix(plan, rows.device)
    width = matrix.shape[0]
    n_frames = -(-length // plan.phases)
    needed = (n_frames - 1) * plan.advance + width
    before = plan.reach - 1
    padded = torch.nn.functional.pad(rows, (before, max(0, needed - before - rows.shape[1])))
    frames = padded.unfold(1, width, plan.advance)[:, :n_frames]
    block = max(1, _FRAMED_SAMPLES // (width * len(rows)))
    parts = [part @ matrix for part in frames.split(block, dim=1)]
    return torch.cat(parts, 1).flatten(1)[:, :length]


@lru_cache(maxsize=16)
def _matrix(plan: _Plan, device: torch.device) -> Tensor:
    """Return weights of shape (input samples of a frame, phases)."""
    start, weights = _weights(np.arange(plan.phases), plan)
    matrix = np.zeros((int(start.max()) + 2 * plan.reach, plan.phases))
    rows = start[:, None] + np.arange(2 * plan.reach)
    matrix[rows, np.arange(plan.phases)[:, None]] = weights
    with torch.inference_mode(False):  # it is cached, and may be used where gradients are needed
        return torch.from_numpy(matrix.astype(np.float32)).to(device)


def _resample_per_output(rows: Tensor, length: int, plan: _Plan) -> Tensor:
    """Resample with separate weights for every output: for ratios of large numbers."""
    taps = 2 * plan.reach
    padded = torch.nn.functional.pad(rows, (plan.reach - 1, plan.reach))
    parts = []
    block = max(1, _FRAMED_SAMPLES // (taps * len(rows)))
    for first in range(0, length, block):
        start, weights = _weights(np.arange(first, min(first + block, length)), plan)
        frames = padded.unfold(1, taps, 1)[:, torch.from_numpy(start).to(rows.device)]
        parts.append((frames * torch.from_numpy(weights).to(frames)).sum(2))
    return torch.cat(parts, 1)


def _weights(outputs: Integers, plan: _Plan) -> tuple[Integers, Weights]:
    """Return the weights of input samples for some output samples.

    Returns
    -------
    start : numpy.ndarray of int, shape (n,)
        Index of the last input sample at or before each output.
    weights : numpy.ndarray, shape (n, 2 * reach)
        Weights of the input samples ``start - reach + 1`` to ``start + reach``.
    """
    start, rest = np.divmod(outputs.astype(np.int64) * plan.down, plan.up)
    offset = rest / plan.up  # of the output after ``start``, in input samples
    scale = min(1.0, plan.up / plan.down)
    left = _filter_half(scale * offset, plan)[:, ::-1]
    right = _filter_half(scale - scale * offset, plan)
    return start, np.concatenate([left, right], axis=1)


def _filter_half(distance: Weights, plan: _Plan) -> Weights:
    """Read the table at a distance and at every step beyond it: shape (n, reach)."""
    table = _interp_window(plan.kaiser)
    if plan.up < plan.down:
        table = table * (plan.up / plan.down)
    slope = np.diff(table, append=table[-1])
    step = _step(plan.down, plan.up, plan.kaiser)
    position = distance * plan.kaiser.precision
    first = position.astype(np.int64)
    index = np.minimum(first[:, None] + np.arange(plan.reach) * step, len(table) - 1)
    read: Weights = table[index] + (position - first)[:, None] * slope[index]
    return read


@lru_cache(maxsize=4)
def _interp_window(kaiser: KaiserFilter) -> Weights:
    """Return the right half of the filter, ``zero_crossings * precision + 1`` entries."""
    entries = kaiser.zero_crossings * kaiser.precision
    sinc = np.sinc(kaiser.rolloff * np.linspace(0, kaiser.zero_crossings, entries + 1))
    window = np.kaiser(2 * entries + 1, kaiser.beta)[entries:]
    table: Weights = kaiser.rolloff * sinc * window
    return table


def resample_blocks(
    blocks: Iterable[Waveform], orig_sr: int, target_sr: int, resampler: str
) -> Iterator[Tensor]:
    """Resample consecutive blocks of a waveform.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray, each of shape (n,), float32
        The waveform.
    orig_sr, target_sr : int > 0
        Sample rates of waveform and result in Hz.
    resampler : {"soxr_hq", "kaiser_best", "kaiser_best_0.4"}
        As in extractor cards.

    Yields
    ------
    Tensor, shape (m,), m >= 1, float32
        The result; equal to resampling at once within float32 rounding.
    """
    if orig_sr == target_sr:
        resampled: Iterator[Tensor] = map(torch.from_numpy, blocks)
    elif resampler == "soxr_hq":
        resampled = _resample_by_soxr(blocks, orig_sr, target_sr)
    else:
        resampled = _resample_by_kaiser(blocks, orig_sr, target_sr, KAISER_FILTERS[resampler])
    return (block for block in resampled if len(block))


def _resample_by_soxr(blocks: Iterable[Waveform], source: int, target: int) -> Iterator[Tensor]:
    """Resample with soxr, which buffers what it needs of earlier blocks."""
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield torch.from_numpy(stream.resample_chunk(block))
    yield torch.from_numpy(stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _resample_by_kaiser(
    blocks: Iterable[Waveform], orig_sr: int, target_sr: int, kaiser_filter: KaiserFilter
) -> Iterator[Tensor]:
    """Resample with a margin on both sides, at least as long as the filter, and drop the margins.

    Positions are counted in units of ``down`` input samples, which are ``up`` output samples.
    """
    common = math.gcd(orig_sr, target_sr)
    down, up = orig_sr // common, target_sr // common
    # the filter's reach; twice, as its table is read in steps that are rounded down
    margin = math.ceil(2 * kaiser_filter.zero_crossings * max(1.0, orig_sr / target_sr) / down) + 1
    buffer, begin, done = torch.zeros(0), 0, 0
    for block in blocks:
        buffer = torch.cat([buffer, torch.from_numpy(block)])
        ready = begin + len(buffer) // down - margin
        if ready <= done:
            continue
        context = buffer[: (ready + margin - begin) * down]
        resampled = resample(context, orig_sr, target_sr, kaiser_filter)
        yield resampled[(done - begin) * up : (ready - begin) * up]
        done = ready
        buffer, begin = buffer[(max(0, done - margin) - begin) * down :], max(0, done - margin)
    if len(buffer):
        yield resample(buffer, orig_sr, target_sr, kaiser_filter)[(done - begin) * up :]
