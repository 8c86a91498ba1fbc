"""Hierarchical clustering of anything with distances: the tree, its leaf order, its clusters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy

from probekit.analysis.leaves import turned
from probekit.errors import DataError
from probekit.registry import unknown

Array = npt.NDArray[Any]
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

    def families(self, largest: int) -> list[tuple[float, tuple[int, ...]]]:
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


def grow(distances: Array, linkage: str = "average") -> Tree:
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
        raise unknown("linkage", linkage, LINKAGES)
    found = turned(hierarchy.linkage(distances, linkage), distances)
    # where all distances are the same (two leaves have one) there is nothing to correlate
    fit = hierarchy.cophenet(found, distances)[0] if np.ptp(distances) > 0 else 1.0
    order = tuple(int(k) for k in hierarchy.leaves_list(found))
    return Tree(found, order, float(fit))


def check(metric: str, linkage: str) -> None:
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
        raise unknown("distance", metric, METRICS)
    if linkage not in LINKAGES:
        raise unknown("linkage", linkage, LINKAGES)
    if linkage == "ward" and metric != "euclidean":
        raise DataError("ward linkage is defined for euclidean distance only")
