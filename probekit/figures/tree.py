"""Dendrograms: few classes with all their names, many with their small clusters named."""

from pathlib import Path
from typing import TYPE_CHECKING

from probekit.analysis.dendrogram import Dendrogram
from probekit.figures import cluster_tree, files, labels, style, text
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.cluster_tree import branch_colors, dendrogram_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ALL_NAMED = 80  # the most classes of which every name is shown
_LINE = 0.125  # inches from one name to the next
_SIZE = 6.5  # points


def draw(tree: Dendrogram, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw a dendrogram, coloured by cluster.

    Up to 80 classes, every one is named at its leaf. Of more, small clusters are numbered below the
    tree and listed with the names of their classes, as in Figure 2 of kumar2021.

    Parameters
    ----------
    tree : Dendrogram
        From :func:`probekit.analysis.dendrogram.dendrogram`.
    width : float > 0, optional
        In inches; one column for few classes, two for many by default.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        Provenance is written below.
    """
    with style.style_context(look):
        if len(tree.order) > ALL_NAMED:
            return cluster_tree.draw(tree, style.TWO_COLUMNS if width is None else width)
        return _all_named(tree, style.ONE_COLUMN if width is None else width)


save = files.Saver(draw)


def _all_named(tree: Dendrogram, width: float) -> "Figure":
    """Draw the tree with its leaves at the right, each with its name."""
    from matplotlib.collections import LineCollection

    names, order = tree.weights.names, tree.order
    shown = [labels.fit_to_width(names[leaf], 0.45 * 72 * width, _SIZE) for leaf in order]
    beside = max(text.width(name, _SIZE) for name in shown) / 72 + 0.13
    wide, tall = width - beside - 0.08, _LINE * len(names) + 0.03
    said = f"{tree.metric} distance{{}}({tree.method} linkage)"
    narrow = text.width(said, 7) / 72 > wide
    sheet = FigureLayout(width, tall + (0.52 if narrow else 0.4), tree.weights.provenance)
    axes = sheet.add(0.08, 0.05, wide, tall)
    colour = branch_colors(tree.clusters)
    lines, own = dendrogram_lines(tree.linkage, order, colour)
    axes.add_collection(LineCollection([line[:, ::-1] for line in lines], colors=own, lw=0.9))
    _horizontal_axes(axes, float(tree.linkage[:, 2].max()), len(names))
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(order)), shown, fontsize=_SIZE)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.set_xlabel(said.format("\n" if narrow else " "), labelpad=2)
    return sheet.figure


def _horizontal_axes(axes: "Axes", top: float, leaves: int) -> None:
    """Let heights grow to the left, with the leaves at zero."""
    axes.set_xlim(top * 1.01 or 1.0, 0)
    axes.set_ylim(-0.6, leaves - 0.4)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
