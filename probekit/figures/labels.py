"""Labels of figures: their width, cutting them to fit, and characters that fonts lack."""

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

from rich.cells import cell_len, chop_cells

GENERIC_FAMILIES = ("sans-serif", "serif", "monospace")
_ARABIC_SINCE = (3, 11)  # the first matplotlib that joins Arabic letters and writes right to left


def text_width(text: str, points: float) -> float:
    """Return the width of a line of text in points, in the style in force.

    Parameters
    ----------
    text : str
        On one line.
    points : float > 0
        Font size.
    """
    import matplotlib as mpl

    return _text_width(text, points, tuple(mpl.rcParams["font.family"]))


@lru_cache(maxsize=1 << 14)
def _text_width(text: str, points: float, families: tuple[str, ...]) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=list(families), size=points)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def ellipsize(label: str, longest: int = 40) -> str:
    """Return a label on one line; of a long one, its beginning and its end.

    Parameters
    ----------
    label : str
        Line breaks and control characters become blanks.
    longest : int >= 8
        In widths of a Latin letter; a Chinese character takes two.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in label).split())
    if cell_len(plain) <= longest:
        return plain
    tail = chop_cells(plain[::-1], longest // 3)[0][::-1].lstrip()
    head = chop_cells(plain, longest - 1 - cell_len(tail))[0].rstrip()
    return f"{head}…{tail}"


def fit_to_width(label: str, room: float, points: float) -> str:
    """Return a label that is no wider than some room, in the style in force.

    Parameters
    ----------
    label : str
        Of any length; it is cut as by :func:`ellipsize`, to no less than 8 letters.
    room : float > 0
        In points.
    points : float > 0
        Font size.
    """
    longest = max(8, int(room / (0.4 * points)))  # no text is narrower than that
    fitted = ellipsize(label, longest)
    while longest > 8 and (width := text_width(fitted, points)) > room:
        longest = max(8, min(longest - 1, int(cell_len(fitted) * room / width)))
        fitted = ellipsize(label, longest)
    return fitted


def wrap(text: str, inches: float, points: float) -> str:
    """Return a text with line breaks, so that it fits a figure of that width."""
    # a letter of DejaVu Sans is 0.6 of its size wide on average
    return "\n".join(textwrap.wrap(text, max(20, int(inches * 72 / (0.6 * points)))))


def installed(families: Sequence[str]) -> list[str]:
    """Return the installed ones of some font families, and generic ones such as ``sans-serif``.

    The order stays; ``["sans-serif"]`` if there are none.
    """
    available = _installed_families()
    return [f for f in families if f in available or f in GENERIC_FAMILIES] or ["sans-serif"]


def missing_glyphs(texts: Iterable[str]) -> list[str]:
    """Return the texts that the fonts of the style in force cannot draw, each once.

    These are texts with a character that no font has, or, below matplotlib 3.11, with letters that
    must be joined or written from right to left.
    """
    import matplotlib as mpl

    glyphs = frozenset[int]().union(*(_glyphs(name) for name in mpl.rcParams["font.family"]))
    arabic = mpl.__version_info__[:2] >= _ARABIC_SINCE
    return [
        text
        for text in dict.fromkeys(texts)
        if any(
            (ord(c) not in glyphs and unicodedata.category(c)[0] not in "CZ")
            or (not arabic and unicodedata.bidirectional(c) in ("R", "AL"))
            for c in text
        )
    ]


@cache
def _installed_families() -> frozenset[str]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font_names())


@cache
def _glyphs(family: str) -> frozenset[int]:
    """Return the characters that a font family has."""
    from matplotlib import font_manager

    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(path).get_charmap())
