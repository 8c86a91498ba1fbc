"""Hierarchical clustering of anything with distances: the tree, its leaf order, its clusters."""

from dataclasses import dataclass

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from probekit._typing import Array
from probekit.errors import DataError
from probekit.utils.suggest import unknown_name_error


def optimal_leaf_order(tree: Array, distances: Array) -> Array:
    """Return a tree whose branches are turned so that neighbouring leaves are nearest.

    Parameters
    ----------
    tree : numpy.ndarray, shape (leaves - 1, 4)
        A linkage matrix as scipy defines it.
    distances : numpy.ndarray, shape (leaves * (leaves - 1) / 2,)
        Between the leaves, condensed as scipy's ``pdist`` gives them.

    Returns
    -------
    numpy.ndarray, shape (leaves - 1, 4)
        The same tree; in each row the branch that is drawn first comes first. Of an order and its
        mirror image, the one that begins with the lower number.
    """
    forks = _LeafOrderDP(tree, squareform(distances))
    found = tree.copy()
    first, last = forks.best_ends()
    todo = [(forks.root, min(first, last), max(first, last))]
    while todo:
        node, first, last = todo.pop()
        if node < forks.count:
            continue
        left, right, before, after = forks.opened(node, first, last)
        found[node - forks.count, :2] = left, right
        todo += [(left, first, before), (right, after, last)]
    return found


class _LeafOrderDP:
    """The cost of the best order below each fork, for each pair of leaves at its two ends."""

    def __init__(self, tree: Array, apart: Array) -> None:
        self.apart = apart
        self.count = len(apart)
        self.root = 2 * self.count - 2
        self.branches = tree[:, :2].astype(int)
        self.leaves = [np.array([k]) for k in range(self.count)]
        # two leaves meet at one fork only, so one matrix holds the costs of all forks
        self.cost = np.zeros_like(apart)
        for left, right in self.branches:
            a, b = self.leaves[left], self.leaves[right]
            reached = _min_plus_product(self.ends(left), apart[np.ix_(a, b)])
            across = _min_plus_product(reached, self.ends(right))
            self.cost[np.ix_(a, b)], self.cost[np.ix_(b, a)] = across, across.T
            self.leaves.append(np.concatenate([a, b]))

    def ends(self, node: int) -> Array:
        """Return the cost of a node for each first and last leaf; infinite where impossible."""
        own = self.leaves[node]
        if len(own) == 1:
            return np.zeros((1, 1))
        half = len(self.leaves[self.branches[node - self.count, 0]])
        found = np.full((len(own), len(own)), np.inf)
        found[:half, half:] = self.cost[np.ix_(own[:half], own[half:])]
        found[half:, :half] = found[:half, half:].T
        return found

    def best_ends(self) -> tuple[int, int]:
        """Return the first and last leaf of the best order of all."""
        whole = self.ends(self.root)
        first, last = np.unravel_index(int(whole.argmin()), whole.shape)
        return int(self.leaves[self.root][first]), int(self.leaves[self.root][last])

    def opened(self, node: int, first: int, last: int) -> tuple[int, int, int, int]:
        """Return the first and the second branch of a fork, and the two leaves that meet there."""
        left, right = (int(k) for k in self.branches[node - self.count])
        if first in self.leaves[right]:
            left, right = right, left
        a, b = self.leaves[left], self.leaves[right]
        total = (
            self.ends(left)[a == first].T
            + self.apart[np.ix_(a, b)]
            + self.ends(right)[:, b == last].T
        )
        before, after = np.unravel_index(int(total.argmin()), total.shape)
        return left, right, int(a[before]), int(b[after])


def _min_plus_product(one: Array, other: Array) -> Array:
    """Return the cost of the cheapest way from i over any k to j, for all i and j."""
    return np.stack([(row[:, None] + other).min(axis=0) for row in one])


METRICS = ("cosine", "euclidean")
LINKAGES = ("average", "complete", "single", "ward")


@dataclass(frozen=True)
class Tree:
    """A hierarchical clustering.

    Attributes
    ----------
    linkage : numpy.ndarray, shape (leaves - 1, 4)
        As scipy defines it, with optimal leaf order.
    order : tuple of int
        Leaves from one end of the figure to the other.
    cophenetic : float
        Correlation of the distances in the tree with those between the leaves.
    """

    linkage: Array
    order: tuple[int, ...]
    cophenetic: float

    def clusters(self, count: int) -> Array:
        """Return the cluster of each leaf where the tree is cut into so many.

        Parameters
        ----------
        count : int >= 1
            How many; fewer where forks are at the same height.

        Returns
        -------
        numpy.ndarray, shape (leaves,), int
            Numbered from 0 in the order of the leaves in the figure.
        """
        found = hierarchy.fcluster(self.linkage, count, "maxclust")
        numbers: dict[int, int] = {}
        for leaf in self.order:
            numbers.setdefault(int(found[leaf]), len(numbers))
        return np.array([numbers[int(one)] for one in found])

    def clusters_up_to(self, largest: int) -> list[tuple[float, tuple[int, ...]]]:
        """Return the clusters that are as large as they can be without exceeding a size.

        Parameters
        ----------
        largest : int >= 2
            The most leaves a family has; those of one leaf are left out.

        Returns
        -------
        list of (float, tuple of int)
            Height of its fork, and its leaves in the order of the figure; families in that order.
        """
        leaves = len(self.order)
        place = {leaf: k for k, leaf in enumerate(self.order)}
        below: list[list[int]] = [[k] for k in range(leaves)]
        found: dict[int, tuple[float, tuple[int, ...]]] = {}
        for step, (left, right, height, size) in enumerate(self.linkage):
            if size > largest:
                below.append([])
                continue
            below.append(below[int(left)] + below[int(right)])
            for branch in (int(left), int(right)):
                found.pop(branch, None)
            found[leaves + step] = (float(height), tuple(sorted(below[-1], key=place.__getitem__)))
        return sorted(found.values(), key=lambda one: place[one[1][0]])


def linkage_tree(distances: Array, linkage: str = "average") -> Tree:
    """Cluster by distances.

    Parameters
    ----------
    distances : numpy.ndarray, shape (leaves * (leaves - 1) / 2,)
        Condensed as scipy's ``pdist`` gives them; of at least two leaves.
    linkage : {"average", "complete", "single", "ward"}
        How clusters are joined.

    Returns
    -------
    Tree
        With optimal leaf order.

    Raises
    ------
    UnknownNameError
        If there is no such linkage.
    """
    if linkage not in LINKAGES:
        raise unknown_name_error("linkage", linkage, LINKAGES)
    found = optimal_leaf_order(hierarchy.linkage(distances, linkage), distances)
    # where all distances are the same (two leaves have one) there is nothing to correlate
    fit = hierarchy.cophenet(found, distances)[0] if np.ptp(distances) > 0 else 1.0
    order = tuple(int(k) for k in hierarchy.leaves_list(found))
    return Tree(found, order, float(fit))


def check_linkage(metric: str, linkage: str) -> None:
    """Refuse a distance or a linkage that is not known, or does not fit the other.

    Parameters
    ----------
    metric : {"cosine", "euclidean"}
        Distance between rows.
    linkage : {"average", "complete", "single", "ward"}
        How clusters are joined.

    Raises
    ------
    ProbekitError
        Naming what is wrong.
    """
    if metric not in METRICS:
        raise unknown_name_error("distance", metric, METRICS)
    if linkage not in LINKAGES:
        raise unknown_name_error("linkage", linkage, LINKAGES)
    if linkage == "ward" and metric != "euclidean":
        raise DataError("ward linkage is defined for euclidean distance only")
