"""Alignment of a teacher's frames with the frames of a student's embedding.

Each frame stands for its cell: half a hop to each side of its center. A frame of the student gets
the mean of the teacher's frames, weighted by the time that the two cells share: features of the
same seconds that the student reads, for any two hops and any start of a crop. Times are exact
fractions; only the weights are rounded.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.audio.timegrid import FrameGrid

Seconds = float | Fraction
_INT64_LIMIT = 1 << 62  # times in the common unit below this are int64, others Python integers


def overlap_weights(
    teacher: FrameGrid,
    student: FrameGrid,
    steps: int,
    starts: Sequence[Seconds] | Array,
    *,
    rate: int = 1,
    counts: Sequence[int] | Array | None = None,
) -> tuple[Array, Array]:
    """Return the weights of a teacher's frames for several crops.

    Parameters
    ----------
    teacher : FrameGrid
        Teacher's frames, in seconds of the clip.
    student : FrameGrid
        Student's frames, in seconds of the crop.
    steps : int >= 1
        Number of the student's frames.
    starts : sequence of float, int or fractions.Fraction, shape (B,)
        Starts of the crops in their clips, in units of ``1 / rate`` s; floats are rounded to
        1e-9.
    rate : int >= 1
        1 for seconds; the sample rate if ``starts`` are whole samples, which is exact.
    counts : sequence of int, shape (B,), optional
        Number of the teacher's frames of each crop's clip; by default unlimited.

    Returns
    -------
    first : numpy.ndarray, shape (B,), int64
        Teacher's frame of the first column.
    weights : numpy.ndarray, shape (B, steps, n), float32
        ``weights[i] @ frames[first[i] : first[i] + n]`` are the features of crop i, where ``n`` is
        what the widest crop needs. Rows add up to 1, or to 0 if the teacher has no frame there.
    """
    exact_starts = [_to_fraction(start) / rate for start in starts]
    times = (teacher.start, teacher.hop, student.start, student.hop)
    unit = lcm(
        *(time.denominator for time in times), *{start.denominator for start in exact_starts}
    )
    origin, hop, offset, step = (int(time * unit) for time in times)
    latest = max(map(abs, exact_starts), default=Fraction(0)) * unit + abs(offset) + abs(origin)
    fits = 4 * (latest + (steps + 1) * step + 4 * hop) < _INT64_LIMIT
    dtype: Any = np.int64 if fits else object

    edges = np.array([int(start * unit) for start in exact_starts], dtype) + offset
    low = edges[:, None] + np.arange(steps).astype(dtype) * step  # (B, steps)
    high = low + step
    first = np.maximum((low[:, 0] - origin) // hop, 0)
    stop = -(-(high[:, -1] - origin) // hop)
    n = max(1, int((stop - first).max(initial=1)))
    frames = first[:, None] + np.arange(n).astype(dtype)
    left = (origin + frames * hop)[:, None, :]
    shared = np.minimum(high[..., None], left + hop) - np.maximum(low[..., None], left)
    weights = np.maximum(shared, 0).astype(np.float64)
    if counts is not None:
        weights *= (frames < np.asarray(counts)[:, None])[:, None, :]
    total = weights.sum(-1, keepdims=True)
    weights /= np.where(total > 0, total, 1)
    return first.astype(np.int64), weights.astype(np.float32)


def rounded_grid(grid: FrameGrid) -> FrameGrid:
    """Return the grid that hung2022 assumes for a teacher's frames: its hop is rounded.

    The paper repeats each frame of VGGish ten times beside OpenL3's hop of 0.1 s (section II.B):
    it takes 0.96 s for 1 s, so that the frames drift by 4 % of the elapsed time, 1.2 s at the end
    of a clip of 30 s. The rounded hop is the nearest whole number of seconds, or the nearest 1/n s;
    the first cell starts at 0.
    """
    hop = Fraction(max(1, round(grid.hop)))
    if grid.hop < Fraction(3, 4):  # half-way between 1/2 s and 1 s
        hop = Fraction(1, max(2, round(1 / grid.hop)))
    return FrameGrid(hop, hop / 2, hop)


def _to_fraction(start: Any) -> Fraction:
    """Return seconds or samples as a fraction; a float to nine decimals."""
    if isinstance(start, float | np.floating):
        return Fraction(round(float(start) * 10**9), 10**9)
    return start if isinstance(start, Fraction) else Fraction(int(start))
