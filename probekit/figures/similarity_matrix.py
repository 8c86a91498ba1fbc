"""How alike embeddings are: a matrix in the order of its tree, with the tree above."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.similarity import Similarity
from probekit.figures import files, labels, style
from probekit.figures import text as text_module
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.heatmap import CELL, draw_heatmap, scale
from probekit.figures.tree import dendrogram_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0
_NAMES = 110.0  # points that a name may take
_BAR = 0.62  # inches for the scale at the right
_TREE = 0.42  # inches for the tree above
_CELLS = (0.2, 0.42)  # inches of a cell in which there is a number: least, most


def draw(found: Similarity, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw how alike embeddings are, with the numbers in the cells where there is room.

    Parameters
    ----------
    found : Similarity
        From :func:`probekit.analysis.similarity.similarity`.
    width : float > 0, optional
        In inches; by default one column where numbers fit into its cells, else two.
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


def _draw(found: Similarity, width: float | None) -> "Figure":
    order = list(found.order)
    names = [labels.fit_to_width(found.names[k], _NAMES, _SIZE) for k in order]
    beside = max(text_module.width(name, _SIZE) for name in names) / 72 + 0.1
    if width is None:
        fits = beside + _BAR + _CELLS[0] * len(order) <= style.ONE_COLUMN
        width = style.ONE_COLUMN if fits else style.TWO_COLUMNS
    cell = float(np.clip((width - beside - _BAR) / len(order), CELL * 0.9, _CELLS[1]))
    side = cell * len(order)
    sheet = FigureLayout(width, _TREE + side + beside, found.provenance)
    left = max(beside, (width - side - _BAR + beside) / 2)
    axes = sheet.add(left, _TREE, side, side)
    shown = found.matrix[np.ix_(order, order)]
    mesh = draw_heatmap(axes, shown, names, names, style.sequential(), (0, 1))
    if cell >= _CELLS[0]:
        _numbers(axes, shown)
    _tree(sheet.add(left, 0.05, side, _TREE - 0.07), found)
    scale(sheet.add(left + side + 0.08, _TREE, 0.07, min(side, 1.4)), mesh, found.scale_label)
    return sheet.figure


def _numbers(axes: "Axes", shown: np.ndarray) -> None:
    """Write similarities into their cells; a cell's own 1 is left out."""
    for (row, column), value in np.ndenumerate(shown):
        if row != column:
            text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else "1"
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                fontsize=_SIZE,
                ha="center",
                va="center_baseline",
                color="white" if value > 0.5 else "black",
            )


def _tree(axes: "Axes", found: Similarity) -> None:
    """Draw the tree, each leaf above its column."""
    from matplotlib.collections import LineCollection

    lines, own = dendrogram_lines(found.tree.linkage, found.order, ["#333333"] * len(found.order))
    axes.add_collection(LineCollection(lines, colors=own, lw=0.7))
    axes.set_xlim(-0.5, len(found.order) - 0.5)
    axes.set_ylim(0, float(found.tree.linkage[:, 2].max()) * 1.02 or 1.0)
    axes.set_axis_off()
