"""Which fonts are on this machine, and which labels they cannot draw."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

GENERIC = ("sans-serif", "serif", "monospace")
_SHAPED_SINCE = (3, 11)  # the first matplotlib that joins Arabic letters and writes from the right


def installed(families: Sequence[str]) -> list[str]:
    """Return those of some font families that are on this machine.

    Parameters
    ----------
    families : sequence of str
        Names, the preferred one first; ``sans-serif`` and its like are always kept.

    Returns
    -------
    list of str
        In the order given; ``["sans-serif"]`` if there are none.
    """
    there = _names()
    return [name for name in families if name in there or name in GENERIC] or ["sans-serif"]


def missing_glyphs(texts: Iterable[str]) -> list[str]:
    """Return the texts that the fonts of the style in force cannot draw.

    Parameters
    ----------
    texts : iterable of str
        Labels.

    Returns
    -------
    list of str
        Those with a character that no font has, or, below matplotlib 3.11, letters that must be
        joined or written from the right; in the order given, each once.
    """
    import matplotlib as mpl

    drawn = frozenset[int]().union(*(_characters(name) for name in mpl.rcParams["font.family"]))
    shaped = mpl.__version_info__[:2] >= _SHAPED_SINCE
    return [
        text
        for text in dict.fromkeys(texts)
        if any(
            (ord(c) not in drawn and unicodedata.category(c)[0] not in "CZ")
            or (not shaped and unicodedata.bidirectional(c) in ("R", "AL"))
            for c in text
        )
    ]


def width(text: str, points: float) -> float:
    """Return how wide a text is in the style in force.

    Parameters
    ----------
    text : str
        On one line.
    points : float > 0
        Size of the letters.

    Returns
    -------
    float
        In points.
    """
    import matplotlib as mpl

    return _measured(text, points, tuple(mpl.rcParams["font.family"]))


@lru_cache(maxsize=1 << 14)
def _measured(text: str, points: float, families: tuple[str, ...]) -> float:
    """Return how wide a text is in some fonts."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=list(families), size=points)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


@cache
def _names() -> frozenset[str]:
    """Return the names of all font families that matplotlib knows of."""
    from matplotlib import font_manager

    return frozenset(font_manager.get_font_names())


@cache
def _characters(family: str) -> frozenset[int]:
    """Return the characters that a font family has."""
    from matplotlib import font_manager

    path = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(path).get_charmap())
