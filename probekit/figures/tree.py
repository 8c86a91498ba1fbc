"""Dendrograms: every class named at its leaf, or small clusters numbered and listed below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.analysis.dendrogram import Dendrogram
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout, spread_labels
from probekit.figures.labels import fit_to_width, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALL_NAMED = 80  # up to so many classes, each has its name
LARGEST_LISTED = 6  # classes of a cluster that is listed

# classes named at their leaves
_LEAF_STEP = 0.125  # inches from one name to the next
_LEAF_SIZE = 6.5  # points

# clusters listed below the tree; all in inches
_TREE_HEIGHT, _NUMBERS_HEIGHT, _LIST_GAP = 2.4, 0.32, 0.12
_LEFT_MARGIN, _RIGHT_MARGIN, _TOP_MARGIN = 0.48, 0.06, 0.1
_NUMBER_GAP = 0.145  # from one number to the next, at least
_COLUMN_WIDTH = 2.2  # of the list, at least
_LINE_STEP, _LABEL_GAP = 0.1, 0.055  # from line to line, and more between clusters
_LIST_HEIGHT = 6.0  # at most
_LIST_SIZE = 6.0  # points


@dataclass(frozen=True)
class ClusterLabel:
    """A small cluster in the list below the tree."""

    leaves: tuple[int, ...]
    lines: tuple[str, ...]
    color: str

    @property
    def height(self) -> float:
        """Height in inches."""
        return _LINE_STEP * len(self.lines) + _LABEL_GAP


Columns = list[list[tuple[int, ClusterLabel]]]


@style.styled
def draw_dendrogram(tree: Dendrogram, width: float | None = None) -> "Figure":
    """Draw a dendrogram, colored by cluster.

    Up to 80 classes, every one is named at its leaf. Of more, the closest clusters of 2 to 6
    classes are numbered below the tree and listed with the names of their classes, as many as
    there is room for (Figure 2 of kumar2021). By default one column wide for few classes, two for
    many.
    """
    if len(tree.order) > ALL_NAMED:
        return _draw_listed(tree, style.TWO_COLUMNS if width is None else width)
    return _draw_named(tree, style.ONE_COLUMN if width is None else width)


def dendrogram_lines(
    linkage: Array, order: Sequence[int], colors: Sequence[str]
) -> tuple[list[Array], list[str]]:
    """Return the lines of a tree.

    Parameters
    ----------
    linkage : numpy.ndarray, shape (leaves - 1, 4)
        As scipy defines it.
    order : sequence of int
        Leaves in the order of the figure.
    colors : sequence of str
        One a leaf; a fork whose leaves are of one color has it, others are gray.

    Returns
    -------
    lines : list of numpy.ndarray, shape (4, 2)
        Of each fork: position among the leaves and height, from one branch over the fork to the
        other.
    colors : list of str
        Of each fork.
    """
    leaves = len(order)
    position, height = np.empty(2 * leaves - 1), np.zeros(2 * leaves - 1)
    position[list(order)] = np.arange(leaves)
    node_colors = [*colors, *([""] * (leaves - 1))]
    lines = []
    for node, (left, right, top, _) in enumerate(linkage, start=leaves):
        a, b = int(left), int(right)
        position[node], height[node] = (position[a] + position[b]) / 2, top
        same = node_colors[a] == node_colors[b]
        node_colors[node] = node_colors[a] if same else style.GRAY
        corners = [(a, height[a]), (a, top), (b, top), (b, height[b])]
        lines.append(np.array([(position[child], y) for child, y in corners]))
    return lines, node_colors[leaves:]


def branch_colors(clusters: Array) -> list[str]:
    """Return the color of each leaf's cluster; clusters of one leaf are gray."""
    palette = style.categorical()
    sizes = np.bincount(clusters)
    rank = np.cumsum(sizes > 1) - 1
    return [palette[rank[k] % len(palette)] if sizes[k] > 1 else style.GRAY for k in clusters]


# ---- every class named at its leaf


def _draw_named(tree: Dendrogram, width: float) -> "Figure":
    """Draw the tree with its leaves at the right, each with its name."""
    from matplotlib.collections import LineCollection

    class_names = tree.weights.names
    names = [fit_to_width(class_names[k], 0.45 * 72 * width, _LEAF_SIZE) for k in tree.order]
    names_width = max(text_width(name, _LEAF_SIZE) for name in names) / 72 + 0.13
    tree_width, tree_height = width - names_width - 0.08, _LEAF_STEP * len(names) + 0.03
    title = f"{tree.metric} distance{{}}({tree.method} linkage)"
    two_lines = text_width(title, 7) / 72 > tree_width
    layout = FigureLayout(
        width, tree_height + (0.52 if two_lines else 0.4), tree.weights.provenance
    )
    axes = layout.add(0.08, 0.05, tree_width, tree_height)
    lines, colors = dendrogram_lines(tree.linkage, tree.order, branch_colors(tree.clusters))
    axes.add_collection(LineCollection([line[:, ::-1] for line in lines], colors=colors, lw=0.9))
    axes.set_xlim(float(tree.linkage[:, 2].max()) * 1.01 or 1.0, 0)  # heights grow to the left
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)
    axes.yaxis.tick_right()
    axes.set_yticks(range(len(names)), names, fontsize=_LEAF_SIZE)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.set_xlabel(title.format("\n" if two_lines else " "), labelpad=2)
    return layout.figure


# ---- small clusters numbered and listed


def _draw_listed(tree: Dendrogram, width: float) -> "Figure":
    """Draw the tree with its leaves below, and the names of its small clusters in columns."""
    colors = branch_colors(tree.clusters)
    columns = max(1, int(width / _COLUMN_WIDTH))
    tree_width = width - _LEFT_MARGIN - _RIGHT_MARGIN
    clusters = _select_clusters(tree, colors, width, columns)
    filled = _fill_columns(clusters, columns)
    list_height = max((sum(c.height for _, c in column) for column in filled), default=0.0)
    list_top = _TOP_MARGIN + _TREE_HEIGHT + _NUMBERS_HEIGHT + _LIST_GAP
    layout = FigureLayout(width, list_top + list_height, tree.weights.provenance)
    _draw_tree(layout.add(_LEFT_MARGIN, _TOP_MARGIN, tree_width, _TREE_HEIGHT), tree, colors)
    below = layout.add(_LEFT_MARGIN, _TOP_MARGIN + _TREE_HEIGHT, tree_width, _NUMBERS_HEIGHT)
    _draw_numbers(below, tree, clusters, tree_width)
    if list_height:
        _draw_list(layout.add(0, list_top, width, list_height), filled, width, list_height)
    return layout.figure


def _select_clusters(
    tree: Dendrogram, colors: list[str], width: float, columns: int
) -> list[ClusterLabel]:
    """Return the closest small clusters that fit below the tree, in the order of the leaves."""
    line_width = 72 * (width / columns - 0.34)
    limit = int((width - _LEFT_MARGIN - _RIGHT_MARGIN) / _NUMBER_GAP)
    free_height = _LIST_HEIGHT * columns * 0.94  # columns are not filled evenly
    names = tree.weights.names
    selected: list[ClusterLabel] = []
    for _, leaves in sorted(tree.tree.clusters_up_to(LARGEST_LISTED)):
        lines = _pack_names([names[k] for k in leaves], line_width)
        cluster = ClusterLabel(leaves, lines, colors[leaves[0]])
        if len(selected) < limit and cluster.height <= free_height:
            selected.append(cluster)
            free_height -= cluster.height
    position = {leaf: k for k, leaf in enumerate(tree.order)}
    return sorted(selected, key=lambda cluster: position[cluster.leaves[0]])


def _pack_names(names: list[str], line_width: float) -> tuple[str, ...]:
    """Put names side by side on lines of a width in points."""
    lines: list[str] = []
    for name in names:
        short = fit_to_width(name, line_width - 6, _LIST_SIZE)
        longer = f"{lines[-1]} · {short}" if lines else short
        if lines and text_width(longer, _LIST_SIZE) <= line_width:
            lines[-1] = longer
        else:
            lines.append(short)
    return tuple(lines)


def _fill_columns(clusters: list[ClusterLabel], columns: int) -> Columns:
    """Divide numbered clusters over columns of about the same height."""
    filled: Columns = [[] for _ in range(columns)]
    column_height, used = sum(cluster.height for cluster in clusters) / columns, 0.0
    for number, cluster in enumerate(clusters, 1):
        column = min(columns - 1, int((used + cluster.height / 2) / column_height))
        filled[column].append((number, cluster))
        used += cluster.height
    return filled


def _draw_tree(axes: "Axes", tree: Dendrogram, leaf_colors: list[str]) -> None:
    from matplotlib.collections import LineCollection

    lines, colors = dendrogram_lines(tree.linkage, tree.order, leaf_colors)
    axes.add_collection(LineCollection(lines, colors=colors, lw=0.5))
    axes.set_xlim(-0.6, len(tree.order) - 0.4)
    axes.set_ylim(0, float(tree.linkage[:, 2].max()) * 1.02 or 1.0)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel(f"{tree.metric} distance ({tree.method} linkage)")


def _draw_numbers(
    axes: "Axes", tree: Dendrogram, clusters: list[ClusterLabel], width: float
) -> None:
    """Write the clusters' numbers below their leaves, moved aside where they touch."""
    axes.set_axis_off()
    axes.set_xlim(-0.6, len(tree.order) - 0.4)
    axes.set_ylim(0, 1)
    if not clusters:
        return
    position = {leaf: k for k, leaf in enumerate(tree.order)}
    leaf_width = width / len(tree.order)
    centers = np.array([np.mean([position[k] for k in c.leaves]) for c in clusters])
    spread = spread_labels(centers * leaf_width, _NUMBER_GAP, 0.0, width - leaf_width) / leaf_width
    numbered = zip(clusters, centers, spread, strict=True)
    for number, (cluster, center, x) in enumerate(numbered, 1):
        ends = [position[k] for k in cluster.leaves]
        span = [min(ends) - 0.4, max(ends) + 0.4]
        axes.plot(span, [0.93, 0.93], color=cluster.color, lw=1.4, solid_capstyle="butt")
        axes.plot([center, center, x], [0.9, 0.8, 0.42], color=style.GRAY, lw=0.35)
        axes.text(x, 0.36, str(number), fontsize=_LIST_SIZE, ha="center", va="top")


def _draw_list(axes: "Axes", filled: Columns, width: float, height: float) -> None:
    """Write the clusters' names in columns, with a bar of the cluster's color."""
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for k, column in enumerate(filled):
        left, top = k * width / len(filled) + 0.06, 0.0
        for number, cluster in column:
            bottom = top + _LINE_STEP * len(cluster.lines)
            axes.plot([left, left], [top, bottom], color=cluster.color, lw=1.6)
            rows = [(left + 0.17, top + _LINE_STEP / 2, str(number), "right", "bold")]
            rows += [
                (left + 0.21, top + _LINE_STEP * (line + 0.5), names, "left", "normal")
                for line, names in enumerate(cluster.lines)
            ]
            for x, y, shown, align, weight in rows:
                axes.text(
                    x,
                    y,
                    shown,
                    ha=align,
                    fontsize=_LIST_SIZE,
                    fontweight=weight,
                    va="center_baseline",
                )
            top += cluster.height
