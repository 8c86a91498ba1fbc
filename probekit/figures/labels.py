"""Round numbers along an axis whose steps are factors."""

import math
import textwrap
import unicodedata
from collections.abc import Iterator

from probekit.figures import text as text_module


def ellipsize(label: str, longest: int = 40) -> str:
    """Return a label on one line; from a long one, its beginning and its end.

    Parameters
    ----------
    label : str
        Of any length; line breaks and control characters become blanks.
    longest : int >= 8
        In widths of a Latin letter; a Chinese character takes two.

    Returns
    -------
    str
        At most that wide.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    if width(plain) <= longest:
        return plain
    tail = _taken(plain[::-1], longest // 3)[::-1].lstrip()
    return f"{_taken(plain, longest - 1 - width(tail)).rstrip()}…{tail}"


def fit_to_width(label: str, room: float, points: float) -> str:
    """Return a label that is no wider than there is room for, in the style in force.

    Parameters
    ----------
    label : str
        Of any length.
    room : float > 0
        In points.
    points : float > 0
        Size of the letters.

    Returns
    -------
    str
        As :func:`ellipsize` makes it, at least 8 letters of it.
    """
    longest = max(8, int(room / (0.4 * points)))  # no text is narrower than that
    shown = ellipsize(label, longest)
    while longest > 8 and (wide := text_module.width(shown, points)) > room:
        longest = max(8, min(longest - 1, int(width(shown) * room / wide)))
        shown = ellipsize(label, longest)
    return shown


def width(text: str) -> int:
    """Return how wide a text is, in widths of a Latin letter.

    Parameters
    ----------
    text : str
        On one line.

    Returns
    -------
    int
        Chinese, Japanese and Korean characters count two, accents that stand alone none.
    """
    return sum(_width(c) for c in text)


def wrapped(text: str, inches: float, points: float = 6.0) -> str:
    """Return a text on lines that fit into a figure.

    Parameters
    ----------
    text : str
        What stands below a figure, for example.
    inches : float > 0
        The figure's width.
    points : float > 0
        Size of the letters.

    Returns
    -------
    str
        With line breaks.
    """
    # a letter of DejaVu Sans is 0.6 of its size wide on average
    return "\n".join(textwrap.wrap(text, max(20, int(inches * 72 / (0.6 * points)))))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _taken(text: str, room: int) -> str:
    """Return the beginning of a text that is at most so wide."""
    used = 0
    for place, character in enumerate(text):
        used += _width(character)
        if used > room:
            return text[:place]
    return text


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
