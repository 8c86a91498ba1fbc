"""Which of a teacher's frames belong to which frame of a student's embedding.

Every frame stands for its cell: half a hop to each side of its centre. A frame of the student takes
the mean of the teacher's frames, weighted by the seconds that the two cells share. So the teacher's
frames belong to the very seconds that the student hears, for any two hops and any begin of a crop.
Times are exact fractions; only the weights are rounded.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.extractors.timegrid import FrameGrid

Seconds = float | Fraction
_ROOM = 1 << 62  # times in the common unit below this are int64, others Python's integers


def overlap(
    teacher: FrameGrid, student: FrameGrid, steps: int, start: Seconds, count: int | None = None
) -> tuple[int, Array]:
    """Return the weights of a teacher's frames for one crop.

    Parameters
    ----------
    teacher : Grid
        Of the teacher's frames, in seconds of the clip.
    student : Grid
        Of the student's frames, in seconds of the crop.
    steps : int >= 1
        Frames of the student.
    start : float or fractions.Fraction
        Where in the clip the crop begins, in seconds; a float counts to the nanosecond.
    count : int >= 0, optional
        How many frames the teacher has of this clip; endlessly many where not given.

    Returns
    -------
    first : int >= 0
        The teacher's frame that the first column is for.
    weights : numpy.ndarray, shape (steps, n), float32
        ``weights @ frames[first : first + n]`` are the student's targets. Rows add up to 1, or to
        0 where no frame of the teacher shares any time with the student's.
    """
    counts = None if count is None else [count]
    first, weights = overlap_weights(teacher, student, steps, [start], counts=counts)
    return int(first[0]), weights[0]


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
    teacher, student : Grid
        As for :func:`overlap`.
    steps : int >= 1
        Frames of the student.
    starts : sequence of float, int or fractions.Fraction, shape (B,)
        Where in their clips the crops begin, in units of ``1 / rate`` seconds.
    rate : int >= 1
        1 for seconds; the sample rate where ``starts`` are whole samples, which is exact.
    counts : sequence of int, shape (B,), optional
        How many frames the teacher has of each crop's clip.

    Returns
    -------
    first : numpy.ndarray, shape (B,), int64
        As for :func:`overlap`.
    weights : numpy.ndarray, shape (B, steps, n), float32
        As for :func:`overlap`; ``n`` is what the widest crop needs.
    """
    begins = [_exact(start) / rate for start in starts]
    facts = (teacher.begin, teacher.hop, student.begin, student.hop)
    unit = lcm(*(fact.denominator for fact in facts), *{b.denominator for b in begins})
    origin, hop, offset, step = (int(fact * unit) for fact in facts)
    far = max(map(abs, begins), default=Fraction(0)) * unit + abs(offset) + abs(origin)
    kind: Any = np.int64 if 4 * (far + (steps + 1) * step + 4 * hop) < _ROOM else object

    edges = np.array([int(begin * unit) for begin in begins], kind) + offset
    low = edges[:, None] + np.arange(steps).astype(kind) * step  # (B, steps)
    high = low + step
    first = np.maximum((low[:, 0] - origin) // hop, 0)
    last = -(-(high[:, -1] - origin) // hop)  # one behind the last frame that is touched
    n = max(1, int((last - first).max(initial=1)))
    frames = first[:, None] + np.arange(n).astype(kind)
    left = (origin + frames * hop)[:, None, :]
    shared = np.minimum(high[..., None], left + hop) - np.maximum(low[..., None], left)
    weights = np.maximum(shared, 0).astype(np.float64)
    if counts is not None:
        weights *= (frames < np.asarray(counts)[:, None])[:, None, :]
    total = weights.sum(-1, keepdims=True)
    weights /= np.where(total > 0, total, 1)
    return first.astype(np.int64), weights.astype(np.float32)


def rounded_grid(grid: FrameGrid) -> FrameGrid:
    """Return the grid that hung2022 takes a teacher's frames to have.

    The paper repeats each frame of VGGish ten times beside OpenL3's hop of 0.1 s (section II.B):
    0.96 s count as 1 s, so that the frames drift by 4 % of the time gone by, 1.2 s at the end of a
    clip of 30 s. Frames lie side by side from the clip's begin.

    Parameters
    ----------
    grid : Grid
        The true one.

    Returns
    -------
    Grid
        Its hop is a whole number of seconds, or a whole part of one: the nearest that there is.
    """
    hop = Fraction(max(1, round(grid.hop)))
    if grid.hop < Fraction(3, 4):  # half-way between 1/2 s and 1 s
        hop = Fraction(1, max(2, round(1 / grid.hop)))
    return FrameGrid(hop, hop / 2, hop)


def _exact(start: Any) -> Fraction:
    """Return seconds or samples as a fraction; of a float the first nine decimals."""
    if isinstance(start, float | np.floating):
        return Fraction(round(float(start) * 10**9), 10**9)
    return start if isinstance(start, Fraction) else Fraction(int(start))
