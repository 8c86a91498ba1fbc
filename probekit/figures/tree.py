"""Dendrograms: few classes with all their names, many with their small clusters named."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.analysis.dendrogram import Dendrogram
from probekit.figures import cluster_tree, files, labels, style, text
from probekit.figures.axes_layout import FigureLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def dendrogram_lines(
    linkage: Array, order: Sequence[int], colours: Sequence[str]
) -> tuple[list[Array], list[str]]:
    """Return the lines of a tree.

    Parameters
    ----------
    linkage : numpy.ndarray, shape (leaves - 1, 4)
        As scipy defines it.
    order : sequence of int
        Leaves, as they stand in the figure.
    colours : sequence of str
        One a leaf; a fork whose leaves are of one colour has it, others are grey.

    Returns
    -------
    lines : list of numpy.ndarray, shape (4, 2)
        Of each fork: place among the leaves and height, from one branch over the fork to the other.
    colours : list of str
        Of each fork.
    """
    leaves = len(order)
    place = np.empty(2 * leaves - 1)
    place[list(order)] = np.arange(leaves)
    height, hue = np.zeros(2 * leaves - 1), [*colours, *([""] * (leaves - 1))]
    lines = []
    for node, (left, right, top, _) in enumerate(linkage, start=leaves):
        a, b = int(left), int(right)
        place[node], height[node] = (place[a] + place[b]) / 2, top
        hue[node] = hue[a] if hue[a] == hue[b] else style.QUIET
        corners = [(place[a], height[a]), (place[a], top), (place[b], top), (place[b], height[b])]
        lines.append(np.array(corners))
    return lines, hue[leaves:]


def branch_colors(clusters: Array) -> list[str]:
    """Return a colour for each leaf; clusters of one leaf are grey.

    Parameters
    ----------
    clusters : numpy.ndarray, shape (leaves,), int
        From :meth:`probekit.analysis.clustering.Tree.clusters`.

    Returns
    -------
    list of str
        Clusters that stand side by side differ.
    """
    palette = style.categorical()
    sizes = np.bincount(clusters)
    rank = np.cumsum(sizes > 1) - 1
    return [
        palette[rank[one] % len(palette)] if sizes[one] > 1 else style.QUIET for one in clusters
    ]


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
