"""Round numbers along an axis whose steps are factors."""

import math
from collections.abc import Iterator

_STEPS = ((1, 2, 5), (1, 3), (1,))


def factors(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two others.

    Parameters
    ----------
    low, high : float > 0
        Ends of the axis.
    most : int >= 2
        How many at most.

    Returns
    -------
    list of float
        1, 2, 5, 10 …, or 1, 3, 10 …, or powers of ten, every second or third if need be.
    """
    for steps in _STEPS:
        found = list(_between(low, high, steps))
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


def short(value: float) -> str:
    """Return a number with k, M or G for thousands, millions and thousands of millions.

    Parameters
    ----------
    value : float >= 0
        A round number.

    Returns
    -------
    str
        For example ``"300k"``, ``"0.01"``.
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _between(low: float, high: float, steps: tuple[int, ...]) -> Iterator[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for power in range(first, last + 1):
        for step in steps:
            value = float(f"{step}e{power}")  # exactly the round number
            if low <= value <= high:
                yield value
