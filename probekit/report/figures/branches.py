"""The lines of a tree, and the colours of its clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.report import style

Array = npt.NDArray[Any]


def branches(
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


def hues(clusters: Array) -> list[str]:
    """Return a colour for each leaf; clusters of one leaf are grey.

    Parameters
    ----------
    clusters : numpy.ndarray, shape (leaves,), int
        From :meth:`probekit.analysis.tree.Tree.clusters`.

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
