"""Dendrogram of a task's classes: hierarchical clustering of class weights (kumar2021, 5.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.class_weights import ClassWeights, class_weights
from probekit.analysis.clustering import Tree, check_linkage, linkage_tree
from probekit.errors import DataError
from probekit.utils.suggest import unknown_name_error

CENTERS = ("rows", "classes", "none")
CENTERING_TEXT = {
    "rows": "each row centered",
    "classes": "the mean row subtracted",
    "none": "rows not centered",
}


@dataclass(frozen=True)
class Dendrogram:
    """A clustering of class weights.

    Attributes
    ----------
    weights : ClassWeights
        The rows that were clustered.
    tree : Tree
        The clustering.
    center, metric, method : str
        Centering of the rows, distance, linkage.
    n_clusters : int, optional
        Number of clusters that the user set.
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
        """The cluster of each class, shown as its color."""
        return self.tree.clusters(self.n_clusters or max(2, round(len(self.order) ** 0.5)))

    def vectors(self) -> Array:
        """Return the centered rows, shape (classes, dim), in the order of the classes."""
        return center_weights(self.weights.matrix, self.center)

    @property
    def name(self) -> str:
        """Stem of the files."""
        w = self.weights
        return filename_stem(
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
        """Caption for a paper."""
        return (
            f"Hierarchical clustering of the class weights of {self.weights.description()}. "
            f"{CENTERING_TEXT[self.center].capitalize()}; {self.metric} distance, {self.method} "
            f"linkage, optimal leaf order; cophenetic correlation {self.cophenetic:.2f}. Colors: "
            f"the tree cut into {int(self.clusters.max()) + 1} clusters. kumar2021 does not state "
            "C, the space of the weights, centering, distance, linkage and the number of clusters."
            f"{as_sentence(self.weights.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return probe, choices, and the clusters in the order of the figure."""
        names, numbers = self.weights.names, self.clusters
        clusters: list[list[str]] = [[] for _ in range(int(numbers.max()) + 1)]
        for leaf in self.order:
            clusters[numbers[leaf]].append(names[leaf])
        return {
            **self.weights.facts(),
            "center": self.center,
            "metric": self.metric,
            "linkage": self.method,
            "cophenetic": self.cophenetic,
            "leaves": [names[k] for k in self.order],
            "clusters": clusters,
            "not_established": ["C", "space", "center", "metric", "linkage", "clusters"],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the merges: step, the two that were joined, their distance, and their classes."""
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
        """Return the name of a class, or of a cluster by its step."""
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

    kumar2021 does not establish centering, distance or linkage for its Figures 1 and 2, nor whether
    weights act on standardized features; those here are choices, and part of the caption.

    Parameters
    ----------
    task : str
        Name of a task, path of a task card (YAML) or of a CSV.
    extractor : str
        Embedding in the cache, for example ``"vggish:stream=relu,pool=mean"``.
    cache : str or pathlib.Path, optional
        The embedding cache; ``PROBEKIT_CACHE``, else ``cache`` by default.
    root : str or pathlib.Path, optional
        The dataset's folder; by default the manifest in the cache is used.
    c : float > 0, optional
        Inverse regularization strength of the probe; by default the value that scores best on
        held-out training clips.
    space : {"embedding", "standardized"}
        Weights on the embedding as it is, or on standardized features.
    center : {"rows", "classes", "none"}
        Subtract from each row its own mean, or the mean row, or nothing.
    metric : {"cosine", "euclidean"}
        Distance between rows.
    linkage : {"average", "complete", "single", "ward"}
        How clusters are joined; ward needs euclidean.
    clusters : int >= 1, optional
        Number of clusters, shown as colors; by default the root of the number of classes.
    probe : {"linear"}
        Other probes have no class weights.
    preset : str
        A paper whose stream, pooling and steps to use, for example ``"kumar2021"``.

    Returns
    -------
    Dendrogram
        With ``linkage`` (as scipy defines it), ``order``, ``clusters``, ``cophenetic`` and
        ``caption``.

    Raises
    ------
    ProbekitError
        If task or embeddings are missing, or fewer than two classes have weights.

    See Also
    --------
    probekit.figures.tree.draw_dendrogram : Draw it.
    probekit.evaluate : Score probes on embeddings.

    Examples
    --------
    >>> import probekit
    >>> from probekit.tasks.standin.corpus import write_corpus
    >>> _ = write_corpus("corpus", clips=24)
    >>> _ = probekit.extract("melstats", task="synth", root="corpus")
    >>> tree = probekit.dendrogram("synth", "melstats", c=0.01, space="standardized")
    >>> len(tree.weights.names), tree.linkage.shape
    (12, (11, 4))
    >>> int(tree.clusters.max()) + 1
    3
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
    check_linkage(metric, linkage)
    if clusters is not None and clusters < 1:
        raise DataError(f"--clusters must be >= 1, got {clusters}")
    if len(weights.names) < 2:
        raise DataError(
            f"{weights.task}: a dendrogram needs at least two classes with training clips; there "
            f"are weights of {weights.count_text}"
        )
    rows = center_weights(weights.matrix, center)
    norms = np.linalg.norm(rows, axis=1)
    zero = norms <= 1e-12 * np.linalg.norm(weights.matrix, axis=1).max()  # up to rounding
    if metric == "cosine" and zero.any():
        raise DataError(
            f"{weights.task}: the row of {weights.names[int(zero.argmax())]!r} is zero"
            f"{' once centered' if center != 'none' else ''}, and has no cosine distance; try "
            "another --center, or euclidean distance"
        )
    tree = linkage_tree(pdist(rows, metric), linkage)
    return Dendrogram(weights, tree, center, metric, linkage, clusters)


def center_weights(matrix: Array, center: str) -> Array:
    """Return rows less their own means, less the mean row ("classes"), or as they are ("none")."""
    if center == "none":
        return matrix
    return np.asarray(matrix - matrix.mean(axis=1 if center == "rows" else 0, keepdims=True))
