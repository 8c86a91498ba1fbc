"""Which classes a probe finds alike: hierarchical clustering of class weights (kumar2021, 5.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from probekit.analysis.leaves import turned
from probekit.analysis.weights import ClassWeights, class_weights
from probekit.errors import DataError
from probekit.registry import unknown

Array = npt.NDArray[Any]
CENTERS = ("rows", "classes", "none")
METRICS = ("cosine", "euclidean")
LINKAGES = ("average", "complete", "single", "ward")


@dataclass(frozen=True)
class Dendrogram:
    """A clustering of class weights.

    Attributes
    ----------
    weights : ClassWeights
        What was clustered.
    linkage : numpy.ndarray, shape (classes - 1, 4)
        As scipy defines it, with optimal leaf order.
    order : tuple of int
        Classes from one end of the figure to the other.
    cophenetic : float
        Correlation of the distances in the tree with those between the classes.
    center, metric, method : str
        How rows were centred, compared and joined.
    """

    weights: ClassWeights
    linkage: Array
    order: tuple[int, ...]
    cophenetic: float
    center: str
    metric: str
    method: str

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        w = self.weights
        centred = {
            "rows": "each row centred",
            "classes": "the mean row subtracted",
            "none": "rows not centred",
        }[self.center]
        space = "embedding" if w.space == "embedding" else "standardized embedding"
        text = (
            f"Hierarchical clustering of the {len(w.names)} class weights of one linear probe on "
            f"{w.embedding} for {w.task}, fitted on {w.clips:,} clips (C = {w.c:.3g} for all "
            f"classes; weights on the {space}; {centred}; {self.metric} distance, {self.method} "
            f"linkage, optimal leaf order; cophenetic correlation {self.cophenetic:.2f})."
        )
        said = "; ".join(w.provenance)
        return f"{text} {said[0].upper()}{said[1:]}." if said else text


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

    Returns
    -------
    Dendrogram
        To be drawn by ``probekit.report.figures``.

    Raises
    ------
    ProbekitError
        If something asked for is not there, or fewer than two classes have weights.
    """
    return cluster(
        class_weights(task, extractor, cache=cache, root=root, c=c, space=space),
        center=center,
        metric=metric,
        linkage=linkage,
    )


def cluster(
    weights: ClassWeights, *, center: str = "rows", metric: str = "cosine", linkage: str = "average"
) -> Dendrogram:
    """Cluster class weights; see :func:`dendrogram`.

    Parameters
    ----------
    weights : ClassWeights
        The rows to cluster.
    center, metric, linkage : str
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
    for kind, value, known in (
        ("centring", center, CENTERS),
        ("distance", metric, METRICS),
        ("linkage", linkage, LINKAGES),
    ):
        if value not in known:
            raise unknown(kind, value, known)
    if linkage == "ward" and metric != "euclidean":
        raise DataError("ward linkage is defined for euclidean distance only")
    if len(weights.names) < 2:
        raise DataError(f"{weights.task}: a dendrogram needs at least two classes")
    rows = weights.matrix
    if center != "none":
        rows = rows - rows.mean(axis=1 if center == "rows" else 0, keepdims=True)
    norms = np.linalg.norm(rows, axis=1)
    nothing = norms <= 1e-12 * np.linalg.norm(weights.matrix, axis=1).max()  # but for rounding
    if metric == "cosine" and nothing.any():
        raise DataError(
            f"{weights.task}: the row of {weights.names[int(nothing.argmax())]!r} is zero"
            f"{' once centred' if center != 'none' else ''}, and has no cosine distance; try "
            "another centring, or euclidean distance"
        )
    distances = pdist(rows, metric)
    tree = turned(hierarchy.linkage(distances, linkage), distances)
    # where all distances are the same (two classes have one) there is nothing to correlate
    fit = hierarchy.cophenet(tree, distances)[0] if np.ptp(distances) > 0 else 1.0
    return Dendrogram(
        weights=weights,
        linkage=tree,
        order=tuple(int(k) for k in hierarchy.leaves_list(tree)),
        cophenetic=float(fit),
        center=center,
        metric=metric,
        method=linkage,
    )
