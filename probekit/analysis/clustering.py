"""Hierarchical clustering with optimal leaf order."""

from dataclasses import dataclass

import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from probekit._typing import Array
from probekit.errors import DataError
from probekit.utils.suggest import unknown_name_error

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
        """Return the cluster of each leaf where the tree is cut.

        Parameters
        ----------
        count : int >= 1
            Number of clusters; fewer where forks are at the same height.

        Returns
        -------
        numpy.ndarray, shape (leaves,), int
            Numbered from 0 in the order of the leaves in the figure.
        """
        labels = hierarchy.fcluster(self.linkage, count, "maxclust")
        numbers: dict[int, int] = {}
        for leaf in self.order:
            numbers.setdefault(int(labels[leaf]), len(numbers))
        return np.array([numbers[int(label)] for label in labels])

    def clusters_up_to(self, largest: int) -> list[tuple[float, tuple[int, ...]]]:
        """Return the largest clusters of 2 to ``largest`` leaves.

        Parameters
        ----------
        largest : int >= 2
            The most leaves a cluster has.

        Returns
        -------
        list of (float, tuple of int)
            Height of the cluster's fork, and its leaves; all in the order of the figure.
        """
        leaves = len(self.order)
        position = {leaf: k for k, leaf in enumerate(self.order)}
        members: list[list[int]] = [[k] for k in range(leaves)]
        clusters: dict[int, tuple[float, tuple[int, ...]]] = {}
        for step, (left, right, height, size) in enumerate(self.linkage):
            if size > largest:
                members.append([])
                continue
            members.append(members[int(left)] + members[int(right)])
            for branch in (int(left), int(right)):
                clusters.pop(branch, None)
            ordered = tuple(sorted(members[-1], key=position.__getitem__))
            clusters[leaves + step] = (float(height), ordered)
        return sorted(clusters.values(), key=lambda cluster: position[cluster[1][0]])


def linkage_tree(distances: Array, linkage: str = "average") -> Tree:
    """Cluster by distances.

    Parameters
    ----------
    distances : numpy.ndarray, shape (leaves * (leaves - 1) / 2,)
        Condensed, as returned by scipy's ``pdist``; of at least two leaves.
    linkage : {"average", "complete", "single", "ward"}
        Linkage method.

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
    tree = optimal_leaf_order(hierarchy.linkage(distances, linkage), distances)
    # where all distances are the same (two leaves have one) the correlation is not defined
    cophenetic = hierarchy.cophenet(tree, distances)[0] if np.ptp(distances) > 0 else 1.0
    order = tuple(int(k) for k in hierarchy.leaves_list(tree))
    return Tree(tree, order, float(cophenetic))


def check_linkage(metric: str, linkage: str) -> None:
    """Raise ProbekitError if distance or linkage is unknown, or ward is not with euclidean."""
    if metric not in METRICS:
        raise unknown_name_error("distance", metric, METRICS)
    if linkage not in LINKAGES:
        raise unknown_name_error("linkage", linkage, LINKAGES)
    if linkage == "ward" and metric != "euclidean":
        raise DataError("ward linkage is defined for euclidean distance only")


def optimal_leaf_order(tree: Array, distances: Array) -> Array:
    """Return a tree with the branches swapped so that neighboring leaves are nearest.

    The sum of distances between neighbors is the least possible (Bar-Joseph et al., 2001). That of
    ``scipy.cluster.hierarchy.optimal_leaf_ordering`` often is not (scipy 1.17: up to a third more
    for random leaves).

    Parameters
    ----------
    tree : numpy.ndarray, shape (leaves - 1, 4)
        A linkage matrix as scipy defines it.
    distances : numpy.ndarray, shape (leaves * (leaves - 1) / 2,)
        Between the leaves, condensed, as returned by scipy's ``pdist``.

    Returns
    -------
    numpy.ndarray, shape (leaves - 1, 4)
        The same tree; in each row the branch that is drawn first comes first. Of an order and its
        mirror image, the one that starts with the lower number.
    """
    costs = _LeafOrderDP(tree, squareform(distances))
    ordered = tree.copy()
    first, last = costs.best_ends()
    stack = [(costs.root, min(first, last), max(first, last))]
    while stack:
        node, first, last = stack.pop()
        if node < costs.count:
            continue
        left, right, before, after = costs.split(node, first, last)
        ordered[node - costs.count, :2] = left, right
        stack += [(left, first, before), (right, after, last)]
    return ordered


class _LeafOrderDP:
    """The cost of the best order below each fork, for each pair of leaves at its two ends."""

    def __init__(self, tree: Array, distances: Array) -> None:
        self.distances = distances
        self.count = len(distances)
        self.root = 2 * self.count - 2
        self.branches = tree[:, :2].astype(int)
        self.leaves = [np.array([k]) for k in range(self.count)]
        # two leaves meet at one fork only, so one matrix holds the costs of all forks
        self.cost = np.zeros_like(distances)
        for left, right in self.branches:
            a, b = self.leaves[left], self.leaves[right]
            reached = _min_plus_product(self.end_costs(left), distances[np.ix_(a, b)])
            across = _min_plus_product(reached, self.end_costs(right))
            self.cost[np.ix_(a, b)], self.cost[np.ix_(b, a)] = across, across.T
            self.leaves.append(np.concatenate([a, b]))

    def end_costs(self, node: int) -> Array:
        """Return the cost of a node for each first and last leaf; infinite where impossible."""
        leaves = self.leaves[node]
        if len(leaves) == 1:
            return np.zeros((1, 1))
        half = len(self.leaves[self.branches[node - self.count, 0]])
        costs = np.full((len(leaves), len(leaves)), np.inf)
        costs[:half, half:] = self.cost[np.ix_(leaves[:half], leaves[half:])]
        costs[half:, :half] = costs[:half, half:].T
        return costs

    def best_ends(self) -> tuple[int, int]:
        """Return the first and last leaf of the best order of all."""
        costs = self.end_costs(self.root)
        first, last = np.unravel_index(int(costs.argmin()), costs.shape)
        return int(self.leaves[self.root][first]), int(self.leaves[self.root][last])

    def split(self, node: int, first: int, last: int) -> tuple[int, int, int, int]:
        """Return the first and the second branch of a fork, and the two leaves that meet."""
        left, right = (int(k) for k in self.branches[node - self.count])
        if first in self.leaves[right]:
            left, right = right, left
        a, b = self.leaves[left], self.leaves[right]
        total = (
            self.end_costs(left)[a == first].T
            + self.distances[np.ix_(a, b)]
            + self.end_costs(right)[:, b == last].T
        )
        before, after = np.unravel_index(int(total.argmin()), total.shape)
        return left, right, int(a[before]), int(b[after])


def _min_plus_product(x: Array, y: Array) -> Array:
    """Return the least ``x[i, k] + y[k, j]`` over k, for all i and j."""
    return np.stack([(row[:, None] + y).min(axis=0) for row in x])
