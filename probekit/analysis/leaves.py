"""The order of a dendrogram's leaves (Bar-Joseph, Gifford and Jaakkola, Bioinformatics 17, 2001).

A tree does not say which branch of a fork is drawn first. The best order has the smallest sum of
distances between neighbouring leaves. scipy's ``optimal_leaf_ordering`` often misses it (issue
11227 of scipy), so it is found here, by the paper's recursion: the best order of a subtree with
given leaves at its two ends follows from those of its two branches.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import squareform

Array = npt.NDArray[Any]


def turned(tree: Array, distances: Array) -> Array:
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
    forks = _Forks(tree, squareform(distances))
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


class _Forks:
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
            reached = _cheapest(self.ends(left), apart[np.ix_(a, b)])
            across = _cheapest(reached, self.ends(right))
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


def _cheapest(one: Array, other: Array) -> Array:
    """Return the cost of the cheapest way from i over any k to j, for all i and j."""
    return np.stack([(row[:, None] + other).min(axis=0) for row in one])
