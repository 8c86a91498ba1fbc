"""A dendrogram of many classes: its small clusters are numbered, and listed below with names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import isotonic_regression

from probekit._typing import Array
from probekit.analysis.dendrogram import Dendrogram
from probekit.figures import labels, style, text
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


LARGEST = 6  # classes of a cluster that is named
_TREE, _NUMBERS, _BELOW = 2.4, 0.32, 0.12  # inches
_EDGE, _GAP = 0.48, 0.145  # inches beside the tree, and from one number to the next
_COLUMN = 2.2  # inches a column is wide, at least
_LINE, _BETWEEN = 0.1, 0.055  # inches from line to line, and more between entries
_TALLEST = 6.0  # inches of the list
_SIZE = 6.0  # points


@dataclass(frozen=True)
class ClusterLabel:
    """A small cluster as it is listed."""

    leaves: tuple[int, ...]
    lines: tuple[str, ...]
    colour: str

    @property
    def height(self) -> float:
        """Inches that it takes."""
        return _LINE * len(self.lines) + _BETWEEN


def draw(tree: Dendrogram, width: float) -> "Figure":
    """Draw a tree with its leaves below and its small clusters listed.

    Named are the closest clusters of 2 to 6 classes, as many as there is room for.

    Parameters
    ----------
    tree : Dendrogram
        Of any number of classes; the style in force is used.
    width : float > 0
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        Provenance is written below.
    """
    columns = max(1, int(width / _COLUMN))
    colour = branch_colors(tree.clusters)
    entries = _chosen(tree, colour, width, columns)
    stacks = _stacked(entries, columns)
    listed = max((sum(e.height for _, e in stack) for stack in stacks), default=0.0)
    top = 0.1 + _TREE + _NUMBERS + _BELOW
    sheet = FigureLayout(width, top + listed, tree.weights.provenance)
    wide = width - _EDGE - 0.06
    _tree(sheet.add(_EDGE, 0.1, wide, _TREE), tree, colour)
    _numbers(sheet.add(_EDGE, 0.1 + _TREE, wide, _NUMBERS), tree, entries, wide)
    if listed:
        _list(sheet.add(0, top, width, listed), stacks, width, listed)
    return sheet.figure


def _chosen(tree: Dendrogram, colour: list[str], width: float, columns: int) -> list[ClusterLabel]:
    """Return the closest small clusters for which there is room, in the order of the leaves."""
    room = 72 * (width / columns - 0.34)
    most = int((width - _EDGE - 0.06) / _GAP)
    left = _TALLEST * columns * 0.94  # columns are not filled evenly
    names = tree.weights.names
    taken: list[ClusterLabel] = []
    for _, leaves in sorted(tree.tree.clusters_up_to(LARGEST)):
        entry = ClusterLabel(leaves, _packed([names[k] for k in leaves], room), colour[leaves[0]])
        if len(taken) < most and entry.height <= left:
            taken.append(entry)
            left -= entry.height
    place = {leaf: k for k, leaf in enumerate(tree.order)}
    return sorted(taken, key=lambda entry: place[entry.leaves[0]])


def _packed(names: list[str], room: float) -> tuple[str, ...]:
    """Put names side by side on lines of so many points."""
    lines: list[str] = []
    for name in names:
        short = labels.fit_to_width(name, room - 6, _SIZE)
        longer = f"{lines[-1]} · {short}" if lines else short
        if lines and text.width(longer, _SIZE) <= room:
            lines[-1] = longer
        else:
            lines.append(short)
    return tuple(lines)


def _stacked(entries: list[ClusterLabel], columns: int) -> list[list[tuple[int, ClusterLabel]]]:
    """Divide numbered entries over columns that are about as tall as one another."""
    stacks: list[list[tuple[int, ClusterLabel]]] = [[] for _ in range(columns)]
    share, used = sum(entry.height for entry in entries) / columns, 0.0
    for number, entry in enumerate(entries, 1):
        column = min(columns - 1, int((used + entry.height / 2) / share))
        stacks[column].append((number, entry))
        used += entry.height
    return stacks


def _tree(axes: "Axes", tree: Dendrogram, colour: list[str]) -> None:
    """Draw the tree with its leaves below."""
    from matplotlib.collections import LineCollection

    lines, own = dendrogram_lines(tree.linkage, tree.order, colour)
    axes.add_collection(LineCollection(lines, colors=own, lw=0.5))
    axes.set_xlim(-0.6, len(tree.order) - 0.4)
    axes.set_ylim(0, float(tree.linkage[:, 2].max()) * 1.02 or 1.0)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel(f"{tree.metric} distance ({tree.method} linkage)")


def _numbers(axes: "Axes", tree: Dendrogram, entries: list[ClusterLabel], wide: float) -> None:
    """Write the numbers of the named clusters below the leaves, moved aside where they touch."""
    axes.set_axis_off()
    axes.set_xlim(-0.6, len(tree.order) - 0.4)
    axes.set_ylim(0, 1)
    if not entries:
        return
    place = {leaf: k for k, leaf in enumerate(tree.order)}
    leaf = wide / len(tree.order)  # inches
    centres = np.array([np.mean([place[k] for k in e.leaves]) for e in entries])
    spread = spread_labels(centres * leaf, _GAP, 0.0, wide - leaf) / leaf
    for number, (entry, centre, shown) in enumerate(zip(entries, centres, spread, strict=True), 1):
        ends = [place[k] for k in entry.leaves]
        span = [min(ends) - 0.4, max(ends) + 0.4]
        axes.plot(span, [0.93, 0.93], color=entry.colour, lw=1.4, solid_capstyle="butt")
        axes.plot([centre, centre, shown], [0.9, 0.8, 0.42], color=style.QUIET, lw=0.35)
        axes.text(shown, 0.36, str(number), fontsize=_SIZE, ha="center", va="top")


def spread_labels(places: Array, gap: float, low: float, high: float) -> Array:
    """Return places that keep a distance from one another, as near as can be to where they were.

    Parameters
    ----------
    places : numpy.ndarray, shape (n,)
        Ascending.
    gap : float > 0
        The least distance.
    low, high : float
        Where they may be; at least ``(n - 1) * gap`` from one another.

    Returns
    -------
    numpy.ndarray, shape (n,)
        The least squares solution.
    """
    steps = gap * np.arange(len(places))
    free = isotonic_regression(places - steps).x
    return np.asarray(np.clip(free, low, high - steps[-1]) + steps)


def _list(
    axes: "Axes", stacks: list[list[tuple[int, ClusterLabel]]], width: float, height: float
) -> None:
    """Write the names of the numbered clusters in columns, with a bar of the cluster's colour."""
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for column, stack in enumerate(stacks):
        left, top = column * width / len(stacks) + 0.06, 0.0
        for number, entry in stack:
            tall = _LINE * len(entry.lines)
            axes.plot([left, left], [top, top + tall], color=entry.colour, lw=1.6)
            for k, line in enumerate(entry.lines):
                y = top + _LINE * (k + 0.5)
                if k == 0:
                    axes.text(left + 0.17, y, str(number), ha="right", **_STYLE, fontweight="bold")
                axes.text(left + 0.21, y, line, **_STYLE)
            top += entry.height


_STYLE: dict[str, Any] = {"fontsize": _SIZE, "va": "center_baseline"}
