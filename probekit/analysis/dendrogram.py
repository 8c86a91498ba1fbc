"""Which classes a probe finds alike: hierarchical clustering of class weights (kumar2021, 5.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from probekit._typing import Array
from probekit.analysis import base, clustering
from probekit.analysis.class_weights import ClassWeights, class_weights
from probekit.analysis.clustering import LINKAGES, METRICS, Tree
from probekit.errors import DataError
from probekit.utils.suggest import unknown_name_error

CENTERS = ("rows", "classes", "none")
SAID = {
    "rows": "each row centred",
    "classes": "the mean row subtracted",
    "none": "rows not centred",
}
__all__ = ["CENTERS", "LINKAGES", "METRICS", "Dendrogram", "cluster", "dendrogram"]


@dataclass(frozen=True)
class Dendrogram:
    """A clustering of class weights.

    Attributes
    ----------
    weights : ClassWeights
        What was clustered.
    tree : Tree
        The clustering.
    center, metric, method : str
        How rows were centred, compared and joined.
    asked : int, optional
        Clusters that were asked for.
    """

    weights: ClassWeights
    tree: Tree
    center: str
    metric: str
    method: str
    n_clusters: int | None = None

    @property
    def linkage(self) -> Array:
        """The tree as scipy defines it, with optimal leaf order."""
        return self.tree.linkage

    @property
    def order(self) -> tuple[int, ...]:
        """Classes from one end of the figure to the other."""
        return self.tree.order

    @property
    def cophenetic(self) -> float:
        """Correlation of the distances in the tree with those between the classes."""
        return self.tree.cophenetic

    @property
    def clusters(self) -> Array:
        """The cluster of each class, which the figure shows as its colour."""
        return self.tree.clusters(self.n_clusters or max(2, round(len(self.order) ** 0.5)))

    def vectors(self) -> Array:
        """Return the rows that were compared: those of the weights, centred as was chosen.

        Returns
        -------
        numpy.ndarray, shape (classes, dim)
            In the order of the classes.
        """
        return center_weights(self.weights.matrix, self.center)

    @property
    def name(self) -> str:
        """Stem of the files."""
        w = self.weights
        return base.filename_stem(
            "dendrogram",
            w.task,
            w.embedding,
            center=(self.center, "rows"),
            metric=(self.metric, "cosine"),
            linkage=(self.method, "average"),
            clusters=(self.n_clusters, None),
            **w.filename_choices(),
        )

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        return (
            f"Hierarchical clustering of the class weights of {self.weights.description()}. "
            f"{SAID[self.center].capitalize()}; {self.metric} distance, {self.method} linkage, "
            f"optimal leaf order; cophenetic correlation {self.cophenetic:.2f}. Colours: the tree "
            f"cut into {int(self.clusters.max()) + 1} clusters. kumar2021 does not state C, the "
            "space of the weights, centring, distance, linkage and the number of clusters."
            f"{base.as_sentence(self.weights.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it.

        Returns
        -------
        dict
            The probe, the choices, and the clusters from one end of the figure to the other.
        """
        names, found = self.weights.names, self.clusters
        groups: list[list[str]] = [[] for _ in range(int(found.max()) + 1)]
        for leaf in self.order:
            groups[found[leaf]].append(names[leaf])
        return {
            **self.weights.facts(),
            "center": self.center,
            "metric": self.metric,
            "linkage": self.method,
            "cophenetic": self.cophenetic,
            "leaves": [names[k] for k in self.order],
            "clusters": groups,
            "not_established": ["C", "space", "center", "metric", "linkage", "clusters"],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the merges.

        Returns
        -------
        list of dict
            Step, the two that were joined, their distance, and the classes below.
        """
        return [
            {
                "step": k,
                "left": self._member(int(left)),
                "right": self._member(int(right)),
                "distance": float(distance),
                "classes": int(size),
            }
            for k, (left, right, distance, size) in enumerate(self.linkage)
        ]

    def _member(self, number: int) -> str:
        """Name a class, or a cluster by the step that made it."""
        names = self.weights.names
        return names[number] if number < len(names) else f"step {number - len(names)}"


def dendrogram(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    c: float | None = None,
    space: str = "embedding",
    center: str = "rows",
    metric: str = "cosine",
    linkage: str = "average",
    clusters: int | None = None,
    probe: str = "linear",
    preset: str = "",
) -> Dendrogram:
    """Cluster the classes of a task by the weights of a probe fitted on all training clips.

    kumar2021 does not establish centring, distance or linkage for its Figures 1 and 2, nor whether
    weights act on standardized features; those here are choices, and part of the caption.

    Parameters
    ----------
    task, extractor : str
        As for :func:`probekit.evaluate`.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    c : float > 0, optional
        The probe's C; chosen on held-out training clips by default.
    space : {"embedding", "standardized"}
        Weights on the embedding as it is, or on standardized features.
    center : {"rows", "classes", "none"}
        Subtract from each row its own mean, or the mean row, or nothing.
    metric : {"cosine", "euclidean"}
        Distance between rows.
    linkage : {"average", "complete", "single", "ward"}
        How clusters are joined; ward needs euclidean.
    clusters : int >= 1, optional
        Clusters to be told apart by colour; by default the root of the number of classes.
    probe, preset : str
        As for :func:`probekit.analysis.class_weights.class_weights`.

    Returns
    -------
    Dendrogram
        To be drawn by :func:`probekit.figures.tree.draw_dendrogram`.

    Raises
    ------
    ProbekitError
        If something asked for is not there, or fewer than two classes have weights.
    """
    return cluster(
        class_weights(
            task,
            extractor,
            cache=cache,
            root=root,
            c=c,
            space=space,
            probe=probe,
            preset=preset,
        ),
        center=center,
        metric=metric,
        linkage=linkage,
        clusters=clusters,
    )


def cluster(
    weights: ClassWeights,
    *,
    center: str = "rows",
    metric: str = "cosine",
    linkage: str = "average",
    clusters: int | None = None,
) -> Dendrogram:
    """Cluster class weights; see :func:`dendrogram`.

    Parameters
    ----------
    weights : ClassWeights
        The rows to cluster.
    center, metric, linkage : str
        As for :func:`dendrogram`.
    clusters : int >= 1, optional
        As for :func:`dendrogram`.

    Returns
    -------
    Dendrogram
        With optimal leaf order.

    Raises
    ------
    DataError
        If there are fewer than two rows, or a choice does not fit another.
    """
    if center not in CENTERS:
        raise unknown_name_error("centring", center, CENTERS)
    clustering.check_linkage(metric, linkage)
    if clusters is not None and clusters < 1:
        raise DataError(f"{clusters} clusters: at least one is needed")
    if len(weights.names) < 2:
        raise DataError(
            f"{weights.task}: a dendrogram needs at least two classes with training clips; there "
            f"are weights of {weights.count_text}"
        )
    rows = center_weights(weights.matrix, center)
    norms = np.linalg.norm(rows, axis=1)
    nothing = norms <= 1e-12 * np.linalg.norm(weights.matrix, axis=1).max()  # but for rounding
    if metric == "cosine" and nothing.any():
        raise DataError(
            f"{weights.task}: the row of {weights.names[int(nothing.argmax())]!r} is zero"
            f"{' once centred' if center != 'none' else ''}, and has no cosine distance; try "
            "another centring, or euclidean distance"
        )
    found = clustering.linkage_tree(pdist(rows, metric), linkage)
    return Dendrogram(weights, found, center, metric, linkage, clusters)


def center_weights(matrix: Array, center: str) -> Array:
    """Return rows less their own means, or less the mean row, or as they are.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Class weights.
    center : {"rows", "classes", "none"}
        Which.

    Returns
    -------
    numpy.ndarray, shape (classes, dim)
        New, but for "none".
    """
    if center == "none":
        return matrix
    return np.asarray(matrix - matrix.mean(axis=1 if center == "rows" else 0, keepdims=True))
