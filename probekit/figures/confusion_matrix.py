"""Confusion matrices: all classes of up to about fifty, of more those most confused."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.confusion import Confusion
from probekit.figures import files, labels, style
from probekit.figures import text as text_module
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.heatmap import CELL, draw_heatmap, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0
_NAMES = 105.0  # points that a name may take
_BAR = 0.62  # inches for the scale at the right
_TALLEST = 7.2  # inches of the matrix
_WIDEST = 0.3  # inches of a cell
_LEAST = 1.0  # inches of a matrix of few classes: what stands beside it needs that
_NUMBERED = 0.165  # inches of a cell in which there is room for a number
_SIDE = 0.17  # inches for what rows and columns are


def draw(found: Confusion, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw how often clips of one class were taken for another.

    Where there is no room for all classes, those that take part in most confusions are shown, and
    that is said; the table has all.

    Parameters
    ----------
    found : Confusion
        From :func:`probekit.analysis.confusion.confusion`.
    width : float > 0, optional
        In inches; by default one column for up to about 15 classes, else two.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        Provenance is written below.
    """
    with style.style_context(look):
        return _draw(found, width)


save = files.Saver(draw)


def _draw(found: Confusion, width: float | None) -> "Figure":
    whole = [labels.fit_to_width(name, _NAMES, _SIZE) for name in found.names]
    beside = max(text_module.width(name, _SIZE) for name in whole) / 72 + 0.1
    if width is None:
        fits = _SIDE + beside + _BAR + _NUMBERED * len(whole) <= style.ONE_COLUMN
        width = style.ONE_COLUMN if fits else style.TWO_COLUMNS
    room = min(width - _SIDE - beside - _BAR, _TALLEST)
    order = _shown(found, max(1, int(room / CELL)))
    names = [whole[k] for k in order]
    cell = min(room / len(order), max(_WIDEST, _LEAST / len(order)))
    side = cell * len(order)
    said = [*found.provenance]
    if len(order) < len(whole):
        said.insert(0, f"shown: {len(order)} of {len(whole)} classes, those most confused")
    sheet = FigureLayout(width, 0.06 + side + beside + _SIDE, said)
    left = max(_SIDE + beside, (width - side - _BAR + beside + _SIDE) / 2)
    axes = sheet.add(left, 0.06, side, side)
    percent = 100 * found.proportions[np.ix_(order, order)]
    mesh = draw_heatmap(axes, percent, names, names, style.sequential(), (0, 100))
    if cell >= _NUMBERED:
        _numbers(axes, percent)
    bar = sheet.add(left + side + 0.08, 0.06, 0.07, min(side, 1.4))
    scale(bar, mesh, "% of the right class")
    rows = (left - beside - _SIDE / 2) / sheet.width, 1 - (0.06 + side / 2) / sheet.height
    below = (left + side / 2) / sheet.width, 1 - (0.06 + side + beside + _SIDE / 2) / sheet.height
    _named(sheet, "right class", rows, 90)
    _named(sheet, "predicted class", below, 0)
    return sheet.figure


def _named(sheet: FigureLayout, text: str, where: tuple[float, float], turned: float) -> None:
    """Write what rows or columns are."""
    sheet.figure.text(*where, text, rotation=turned, fontsize=7, ha="center", va="center")


def _shown(found: Confusion, most: int) -> list[int]:
    """Return the classes for which there is room, in their order."""
    apart = found.counts - np.diag(found.counts.diagonal())
    taking_part = apart.sum(axis=0) + apart.sum(axis=1)
    kept = set(np.argsort(-taking_part, kind="stable")[:most].tolist())
    return [k for k in found.order if k in kept]


def _numbers(axes: "Axes", percent: np.ndarray) -> None:
    """Write shares into their cells; nothing where it would be 0."""
    for (row, column), share in np.ndenumerate(percent):
        if np.isfinite(share) and round(share) > 0:
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{share:.0f}",
                fontsize=_SIZE,
                ha="center",
                va="center_baseline",
                color="white" if share > 50 else "black",
            )
