"""A scale for numbers, shared by all drawings of a task."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers.

    Attributes
    ----------
    low, high : float
        Its ends; ``low`` is less.
    ticks : tuple of float
        Round numbers inside of it.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return where a number stands, from 0 to 1; at an end if it is outside."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def format_tick(self, tick: float) -> str:
        """Return a tick as text, with as many digits as ticks need."""
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{tick:.{digits}f}"


def nice_axis(values: Iterable[float], most: int = 5) -> Axis:
    """Return an axis on which all of some numbers have a place.

    Scores far below zero (R² has no lower end) do not stretch it where others are above zero.

    Parameters
    ----------
    values : iterable of float
        Numbers; those that are not finite do not count.
    most : int >= 2
        About how many ticks at most.

    Returns
    -------
    Axis
        A little longer than the numbers need; from 0 to 1 where there are none.
    """
    there = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(there), max(there)
    if high > 0:
        low = max(low, -high)
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05
    pad = 0.04 * (high - low)
    within = low >= 0 and high <= 1  # a share stays one
    low, high = low - pad, high + pad
    if within:
        low, high = max(0.0, low), min(1.0, high)
    step = _step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(k * step, 10) for k in range(first, last + 1)))


def _step(least: float) -> float:
    """Return the next round number."""
    scale = 10.0 ** math.floor(math.log10(least))
    return next(scale * one for one in _STEPS if scale * one >= least * (1 - 1e-9))
