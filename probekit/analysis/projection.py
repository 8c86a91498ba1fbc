"""Class weights and clips in two dimensions: t-SNE (kumar2021, Figure 3) and PCA."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis import base, dendrogram
from probekit.cache import layout
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.probes import features
from probekit.probes.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

METHODS = ("tsne", "pca")
FEWEST = 4  # rows of which t-SNE says anything
_AHEAD = 50  # dimensions that PCA leaves to t-SNE


def project_2d(
    rows: Array, method: str, perplexity: float | None, seed: int, what: str
) -> tuple[Array, tuple[str, str], dict[str, Any]]:
    """Put rows into a plane.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim)
        What to project.
    method : {"tsne", "pca", ""}
        How; t-SNE sees the first 50 principal components, and starts from the first two. Empty:
        t-SNE, but PCA of fewer than four rows, unless a perplexity is given.
    perplexity : float, optional
        Of t-SNE, at least 1 and less than n; by default 30, or a third of n if that is less.
    seed : int >= 0
        Of what is random.
    what : str
        What the rows are, for errors.

    Returns
    -------
    points : numpy.ndarray, shape (n, 2)
        Where.
    axes : (str, str)
        What the axes are.
    choices : dict
        Method, perplexity, seed; where PCA took the place of t-SNE, ``instead`` says why.

    Raises
    ------
    ProbekitError
        If there is no such method, there are fewer than four rows for t-SNE, or the perplexity is
        out of its range.
    """
    from sklearn.decomposition import PCA

    if method not in (*METHODS, ""):
        raise unknown_name_error("projection", method, METHODS)
    few = f"t-SNE needs at least {FEWEST}, here are {len(rows)}"
    instead = {}
    if not method:
        method = "tsne"
        if len(rows) < FEWEST and perplexity is None:
            method, instead = "pca", {"instead": few}
    count = min(rows.shape)
    with resources.single_threaded():
        pca = PCA(min(_AHEAD if method == "tsne" else 2, count), random_state=seed)
        ahead = pca.fit_transform(rows)
        if method == "pca":
            points = np.zeros((len(rows), 2))
            points[:, : ahead.shape[1]] = ahead[:, :2]
            share = [*pca.explained_variance_ratio_, 0.0][:2]
            axes = tuple(f"component {k + 1} ({100 * one:.0f} %)" for k, one in enumerate(share))
            return points, (axes[0], axes[1]), {"method": method, "seed": seed, **instead}
        if len(rows) < FEWEST:
            raise DataError(f"{what}: {few}; use --method pca")
        perplexity = min(30.0, (len(rows) - 1) / 3) if perplexity is None else perplexity
        if not 1 <= perplexity < len(rows):
            raise DataError(
                f"perplexity {perplexity:g}: must be at least 1 and less than {len(rows)}, the "
                "number of points"
            )
        from sklearn.manifold import TSNE

        made = TSNE(perplexity=perplexity, init=_start(ahead), random_state=seed)
        points = made.fit_transform(ahead)
    chosen = {"method": method, "perplexity": perplexity, "seed": seed}
    return np.asarray(points, np.float64), ("t-SNE 1", "t-SNE 2"), chosen


def _start(ahead: Array) -> Array:
    """Return where points start: the first two components, as small as scikit-learn makes them."""
    start = np.zeros((len(ahead), 2), np.float32)
    start[:, : ahead.shape[1]] = ahead[:, :2]
    return start / max(float(start[:, 0].std()), 1e-12) * 1e-4


def standardized(matrix: Array) -> Array:
    """Return features of mean 0 and variance 1.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (n, dim)
        Features.

    Returns
    -------
    numpy.ndarray, shape (n, dim)
        Constant features are 0.
    """
    wide = matrix.astype(np.float64)
    spread = wide.std(axis=0)
    constant = spread <= 1e-9 * np.abs(wide).max(axis=0, initial=0.0)
    return np.where(constant, 0.0, (wide - wide.mean(axis=0)) / np.where(constant, 1.0, spread))


COLOURS = ("auto", "label", "cluster")
MOST_LABELS = 24  # more than these are coloured by cluster, unless asked for
MOST_CLIPS = 2000


@dataclass(frozen=True)
class Projection:
    """Points in a plane.

    Attributes
    ----------
    kind : {"classes", "clips"}
        What a point is.
    points : numpy.ndarray, shape (n, 2)
        Where.
    names : tuple of str
        Classes, or clip ids.
    group : numpy.ndarray, shape (n,), int
        Which group, by whose colour a point is drawn; -1 for none.
    groups : tuple of str
        Their names.
    axes : (str, str)
        What the two axes are.
    coloured : str
        What the groups are, for the caption.
    origin : dict
        The embedding and, where there is one, the probe; goes to :meth:`facts`.
    choices : dict
        Method, perplexity, seed and what else was chosen.
    title : str
        What was projected, for the caption.
    provenance : tuple of str
        What every figure must show.
    name : str
        Stem of the files.
    """

    kind: str
    points: Array
    names: tuple[str, ...]
    group: Array
    groups: tuple[str, ...]
    axes: tuple[str, str]
    color_text: str
    origin: dict[str, Any]
    choices: dict[str, Any]
    title: str
    provenance: tuple[str, ...]
    name: str

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        how = (
            f"t-SNE (perplexity {self.choices['perplexity']:.3g}, started from PCA, seed "
            f"{self.choices['seed']})"
            if self.choices["method"] == "tsne"
            else "First two principal components"
        )
        if "instead" in self.choices:
            how += f" ({self.choices['instead']})"
        aside = (
            " Distances between clusters and sizes of clusters mean little in t-SNE."
            if self.choices["method"] == "tsne"
            else ""
        )
        return f"{how} of {self.title}. {self.color_text}.{aside}{base.as_sentence(self.provenance)}"

    def facts(self) -> dict[str, Any]:
        """Return what produced it: the embedding, the probe where there is one, the choices."""
        return {**self.origin, "points": self.kind, **self.choices, "groups": list(self.groups)}

    def rows(self) -> list[dict[str, Any]]:
        """Return the points: name, both coordinates, group."""
        what = "class" if self.kind == "classes" else "clip_id"
        return [
            {
                what: name,
                "x": float(x),
                "y": float(y),
                "group": self.groups[k] if k >= 0 else "",
            }
            for name, (x, y), k in zip(self.names, self.points, self.group.tolist(), strict=True)
        ]


def project_classes(
    tree: dendrogram.Dendrogram,
    *,
    method: str = "",
    perplexity: float | None = None,
    seed: int = 0,
) -> Projection:
    """Project class weights; colours are the clusters of their dendrogram.

    Parameters
    ----------
    tree : Dendrogram
        Of the same weights; rows are centred and compared as there.
    method : {"tsne", "pca"}, optional
        How; by default t-SNE, and PCA of fewer than four classes.
    perplexity : float, optional
        Of t-SNE, between 1 and the number of classes; 30 or a third of the classes by default.
    seed : int >= 0
        Of t-SNE.

    Returns
    -------
    Projection
        To be drawn by :func:`probekit.figures.scatter.draw_projection`.

    Raises
    ------
    ProbekitError
        If there is no such method, or t-SNE is asked for fewer than four classes.
    """
    w = tree.weights
    rows = tree.vectors()
    if tree.metric == "cosine":  # euclidean distances of unit rows are those of cosines
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    points, axes, choices = project_2d(rows, method, perplexity, seed, f"{w.task}: classes")
    clusters = tree.clusters
    return Projection(
        kind="classes",
        points=points,
        names=w.names,
        group=clusters,
        groups=_named([w.names[k] for k in tree.order], clusters[list(tree.order)]),
        axes=axes,
        color_text=(
            f"Colours: the {int(clusters.max()) + 1} clusters of their dendrogram "
            f"({tree.metric} distance, {tree.method} linkage)"
        ),
        origin=w.facts(),
        choices={
            **choices,
            "center": tree.center,
            "metric": tree.metric,
            "linkage": tree.method,
        },
        title=(
            f"the class weights of {w.description()}; {dendrogram.SAID[tree.center]}, "
            f"{'unit length' if tree.metric == 'cosine' else 'length kept'}"
        ),
        provenance=w.provenance,
        name=base.filename_stem(
            "projection-classes",
            w.task,
            w.embedding,
            method=(choices["method"], "tsne"),
            perplexity=(perplexity, None),
            seed=(seed, 0),
            center=(tree.center, "rows"),
            metric=(tree.metric, "cosine"),
            linkage=(tree.method, "average"),
            clusters=(tree.n_clusters, None),
            **w.filename_choices(),
        ),
    )


def project_clips(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    method: str = "",
    perplexity: float | None = None,
    color: str = "auto",
    max_clips: int = MOST_CLIPS,
    seed: int = 0,
) -> Projection:
    """Project the embeddings of a task's clips, standardized.

    Parameters
    ----------
    task, extractor : str
        As for :func:`probekit.evaluate`.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    method : {"tsne", "pca"}, optional
        How; by default t-SNE, which sees the first 50 principal components, and PCA of fewer than
        four clips.
    perplexity : float, optional
        Of t-SNE, between 1 and the number of clips; 30 by default.
    colour : {"auto", "label", "cluster"}
        Colours are labels, or clusters of class weights; by default labels up to 24 of them. A clip
        of several labels has the colour of the rarest.
    most : int >= 4
        Of more clips, so many are drawn at random.
    seed : int >= 0
        Of that draw and of t-SNE.

    Returns
    -------
    Projection
        To be drawn by :func:`probekit.figures.scatter.draw_projection`.

    Raises
    ------
    ProbekitError
        If something asked for is not there, or targets are numbers.
    """
    if color not in COLOURS:
        raise unknown_name_error("colouring", color, COLOURS)
    where = layout.cache_root(cache)
    card, clips = resolve_clips(task, where, root)
    found = features.find_features(where, extractor, card.dataset, clips)
    present, matrix = found.clips, found.matrix()
    if present.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to colour by")
    said = [*found.provenance]
    if len(present) < found.expected:
        said.append(f"{len(present):,} of {found.expected:,} clips")
    labels, names = _rarest_label(present), present.names
    coloured = "Colours: labels"
    if present.target == "multi":
        coloured += "; a clip of several has that of its rarest"
    if color == "cluster" or (color == "auto" and len(names) > MOST_LABELS):
        tree = dendrogram.dendrogram(task, extractor, cache=cache, root=root)
        said += tree.weights.provenance
        cluster = dict(zip(tree.weights.names, tree.clusters.tolist(), strict=True))
        labels = np.array([cluster.get(names[k], -1) if k >= 0 else -1 for k in labels])
        order = list(tree.order)
        names = _named([tree.weights.names[k] for k in order], tree.clusters[order])
        coloured = f"Colours: {len(names)} clusters of the labels by their probe's weights"
    drawn = np.arange(len(present))
    if len(drawn) > max_clips:
        drawn = np.sort(np.random.default_rng(seed).choice(len(present), max_clips, replace=False))
    points, axes, choices = project_2d(
        standardized(matrix[drawn]), method, perplexity, seed, f"{card.name}: clips"
    )
    said = list(dict.fromkeys(said))
    of = f" of {len(present):,}, drawn at random" if len(drawn) < len(present) else ""
    ids = present.clip_ids
    return Projection(
        kind="clips",
        points=points,
        names=tuple(ids[k] for k in drawn),
        group=labels[drawn],
        groups=tuple(names),
        axes=axes,
        color_text=coloured,
        origin={
            "task": card.name,
            "embedding": extractor,
            "fingerprint": "+".join(source["fingerprint"] for source in found.sources),
            "manifest": clips.digest(),
            "provenance": said,
        },
        choices={**choices, "colour": color, "clips": len(drawn), "clips_of": len(present)},
        title=f"{len(drawn):,} clips{of} of {card.name}: {extractor}, standardized",
        provenance=tuple(said),
        name=base.filename_stem(
            "projection-clips",
            card.name,
            extractor,
            method=(choices["method"], "tsne"),
            perplexity=(perplexity, None),
            colour=(color, "auto"),
            most=(max_clips, MOST_CLIPS),
            seed=(seed, 0),
        ),
    )


def _rarest_label(clips: Manifest) -> Array:
    """Return the rarest label of each clip; -1 for none."""
    targets = clips.targets()
    if clips.target == "single":
        return np.asarray(targets)
    often = targets.sum(axis=0)
    cost = np.where(targets > 0, often, np.iinfo(np.int64).max)
    return np.where(targets.any(axis=1), cost.argmin(axis=1), -1)


def _named(names: list[str], clusters: Array) -> tuple[str, ...]:
    """Name clusters by their classes, all of few, the first two of many."""
    found = []
    for k in range(int(clusters.max()) + 1):
        own = [name for name, one in zip(names, clusters.tolist(), strict=True) if one == k]
        more = f" and {len(own) - 2} more" if len(own) > 3 else ""
        found.append(", ".join(own[:2] if more else own) + more)
    return tuple(found)
