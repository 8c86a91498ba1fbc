"""Linear axes for SVG drawings: round ticks, and positions in percent."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_ROUND_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Axis:
    """A range of numbers, low < high, with round ticks inside."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def position(self, value: float) -> float:
        """Return where a number stands, from 0 to 1; at an end if it is outside."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def format_tick(self, tick: float) -> str:
        """Return a tick as text, with as many digits as ticks need."""
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return f"{tick:.{digits}f}"


def nice_axis(values: Iterable[float], most_ticks: int = 5) -> Axis:
    """Return an axis a little longer than some numbers need; from 0 to 1 if there are none.

    Numbers that are not finite are ignored. Scores far below zero (R² has no lower end) do not
    stretch the axis where others are above zero. ``most_ticks``, an int >= 2, is approximate.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if high > 0:
        low = max(low, -high)
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05
    padding = 0.04 * (high - low)
    share = low >= 0 and high <= 1  # stays within 0 and 1
    low, high = low - padding, high + padding
    if share:
        low, high = max(0.0, low), min(1.0, high)
    step = _round_up((high - low) / most_ticks)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(round(k * step, 10) for k in range(first, last + 1)))


def _round_up(step: float) -> float:
    """Return the next round number."""
    scale = 10.0 ** math.floor(math.log10(step))
    return next(scale * k for k in _ROUND_STEPS if scale * k >= step * (1 - 1e-9))


def format_percent(share: float) -> str:
    """Return a share from 0 to 1 as an SVG length."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def text_anchor(share: float, margin: float) -> str:
    """Return the SVG text-anchor with which a text at a position stays inside of the drawing."""
    return "start" if share < margin else "end" if share > 1 - margin else "middle"
