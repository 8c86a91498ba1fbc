"""Matrices with named rows and columns; the correlation of target and source classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.analysis.correlation import LEVEL, Correlation
from probekit.figures import files, labels, style, text
from probekit.figures.axes_layout import FigureLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


CELL = 0.105  # inches, the least with which names of 6 points do not touch
_WIDEST, _TALLEST = 0.32, 6.4  # inches of a cell, of all rows
_NAMES = 105.0  # points that a name may take
_BAR = 0.68  # inches for the scale at the right
_SIZE = 6.0


def draw_heatmap(
    axes: "Axes",
    values: Array,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: "Colormap",
    limits: tuple[float, float],
) -> "QuadMesh":
    """Draw a matrix as coloured cells, its first row at the top.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where; columns are named below, rows at the left.
    values : numpy.ndarray, shape (rows, columns)
        NaN is left white.
    rows, columns : sequence of str
        Names, already short enough.
    colours : matplotlib.colors.Colormap
        For example :func:`probekit.figures.style.sequential`.
    limits : (float, float)
        Values at the two ends of the colours.

    Returns
    -------
    matplotlib.collections.QuadMesh
        For a scale.
    """
    low, high = limits
    many = values.size > 40_000  # then a picture is smaller than its cells
    mesh = axes.pcolormesh(
        values, cmap=colours, vmin=low, vmax=high, rasterized=many, antialiased=False
    )
    axes.invert_yaxis()
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, fontsize=_SIZE)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=_SIZE)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    return mesh


def scale(axes: "Axes", mesh: "QuadMesh", label: str) -> None:
    """Draw what the colours mean, on axes of its own.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Narrow and upright.
    mesh : matplotlib.collections.QuadMesh
        From :func:`draw_heatmap`.
    label : str
        What the values are.
    """
    bar = axes.figure.colorbar(mesh, cax=axes)
    bar.outline.set_visible(False)
    bar.set_label(label, fontsize=_SIZE)
    axes.tick_params(length=2, labelsize=_SIZE)


def draw_correlation(
    found: Correlation, width: float | None = None, look: str | Path | None = None
) -> "Figure":
    """Draw cosine similarities, source classes as rows and target classes as columns.

    Where there is no room for all, those with the strongest pairs are shown, and what is left out
    is said; the table has all. Pairs beyond chance have a dot.

    Parameters
    ----------
    found : Correlation
        From :func:`probekit.analysis.correlation.correlation`.
    width : float > 0, optional
        In inches; by default one column where all target classes fit, else two.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        Provenance is written below.
    """
    with style.style_context(look):
        return _correlation(found, width)


save_correlation = files.Saver(draw_correlation)


def _correlation(found: Correlation, width: float | None) -> "Figure":
    strength = np.abs(found.cosine)
    most_rows = int(_TALLEST / CELL)
    rows = _strongest(strength.max(axis=1), found.source_order, most_rows)
    names = [labels.fit_to_width(found.sources[k], _NAMES, _SIZE) for k in rows]
    beside = _room(names) + 0.1
    if width is None:
        fits = beside + CELL * len(found.target_order) + _BAR <= style.ONE_COLUMN
        width = style.ONE_COLUMN if fits else style.TWO_COLUMNS
    wide = max(width - beside - _BAR, CELL)
    columns = _strongest(strength.max(axis=0), found.target_order, max(1, int(wide / CELL)))
    heads = [labels.fit_to_width(found.weights.names[k], _NAMES, _SIZE) for k in columns]
    wide = min(wide, _WIDEST * len(columns))
    tall = max(CELL * 1.1 * len(rows), 0.9)
    said = [*found.weights.provenance]
    if len(rows) < len(found.sources) or len(columns) < len(found.weights.names):
        said.insert(
            0,
            f"shown: {len(rows)} of {len(found.sources)} source and {len(columns)} of "
            f"{len(found.weights.names)} target classes, those with the strongest pairs",
        )
    marked = found.significant[np.ix_(rows, columns)]
    level = f"beyond chance (p ≤ {LEVEL}, all pairs together)"
    said.insert(0, f"dots: {level}" if found.significant.any() else f"no pair is {level}")
    below = _room(heads)
    sheet = FigureLayout(width, 0.06 + tall + below + 0.05, said)
    left = max(beside, (width - wide - _BAR + beside) / 2)
    axes = sheet.add(left, 0.06, wide, tall)
    limit = max(0.1, float(np.ceil(strength.max() * 10) / 10))
    shown = found.cosine[np.ix_(rows, columns)]
    mesh = draw_heatmap(axes, shown, names, heads, style.diverging(), (-limit, limit))
    for dark, ink in ((True, "white"), (False, "black")):
        r, c = np.nonzero(marked & ((shown > 0.45 * limit) == dark))
        axes.scatter(c + 0.5, r + 0.5, s=1.6, color=ink, linewidths=0)
    scale(sheet.add(left + wide + 0.08, 0.06, 0.07, min(tall, 1.4)), mesh, "cosine similarity")
    return sheet.figure


def _strongest(strength: Array, order: Sequence[int], most: int) -> list[int]:
    """Return the strongest ones, in their order."""
    kept = set(np.argsort(-strength, kind="stable")[:most].tolist())
    return [k for k in order if k in kept]


def _room(names: Sequence[str]) -> float:
    """Return the inches that names take."""
    return max(text.width(name, _SIZE) for name in names) / 72 + 0.05
