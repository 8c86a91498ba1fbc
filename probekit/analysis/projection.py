"""Projection of class weights and clips to two dimensions: t-SNE (kumar2021, Figure 3) and PCA."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.dendrogram import CENTERING_TEXT, Dendrogram, dendrogram
from probekit.cache import layout
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.probes.features import find_features
from probekit.solvers.scaler import standardize
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

METHODS = ("tsne", "pca")
COLORS = ("auto", "label", "cluster")
MAX_LABELS = 24  # of more labels, colors are clusters by default
MAX_CLIPS = 2000
MIN_POINTS = 4  # rows that t-SNE needs
_N_COMPONENTS = 50  # principal components that t-SNE reads


@dataclass(frozen=True)
class Projection:
    """Points in a plane.

    Attributes
    ----------
    kind : {"classes", "clips"}
        What a point is.
    points : numpy.ndarray, shape (n, 2)
        Coordinates.
    names : tuple of str
        Classes, or clip ids.
    group : numpy.ndarray, shape (n,), int
        Index into ``groups``, shown as color; -1 for none.
    groups : tuple of str
        Names of the groups.
    axes : (str, str)
        Labels of the axes.
    color_text : str
        Meaning of the colors, for the caption.
    origin : dict
        The embedding and, where there is one, the probe; part of :meth:`facts`.
    choices : dict
        Method, perplexity, seed and further settings.
    title : str
        What was projected, for the caption.
    provenance : tuple of str
        Notes that every figure must show.
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
        """Caption for a paper."""
        how, warning = "First two principal components", ""
        if self.choices["method"] == "tsne":
            how = (
                f"t-SNE (perplexity {self.choices['perplexity']:.3g}, started from PCA, seed "
                f"{self.choices['seed']})"
            )
            warning = " Distances between clusters and sizes of clusters mean little in t-SNE."
        if "instead" in self.choices:
            how += f" ({self.choices['instead']})"
        notes = as_sentence(self.provenance)
        return f"{how} of {self.title}. {self.color_text}.{warning}{notes}"

    def facts(self) -> dict[str, Any]:
        """Return embedding, probe where there is one, and choices."""
        return {**self.origin, "points": self.kind, **self.choices, "groups": list(self.groups)}

    def rows(self) -> list[dict[str, Any]]:
        """Return the points: name, both coordinates, group."""
        key = "class" if self.kind == "classes" else "clip_id"
        return [
            {
                key: name,
                "x": float(x),
                "y": float(y),
                "group": self.groups[k] if k >= 0 else "",
            }
            for name, (x, y), k in zip(self.names, self.points, self.group.tolist(), strict=True)
        ]


def project_classes(
    tree: Dendrogram,
    *,
    method: str = "",
    perplexity: float | None = None,
    seed: int = 0,
) -> Projection:
    """Project class weights; colors are the clusters of their dendrogram.

    Parameters
    ----------
    tree : Dendrogram
        Of the same weights; rows are centered and compared as in the tree.
    method : {"tsne", "pca"}, optional
        By default t-SNE, and PCA of fewer than four classes.
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
        If there is no such method, or fewer than four classes for t-SNE.
    """
    weights = tree.weights
    rows = tree.vectors()
    if tree.metric == "cosine":  # euclidean distances of unit rows are those of cosines
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    points, axes, choices = project_2d(rows, method, perplexity, seed, f"{weights.task}: classes")
    clusters = tree.clusters
    return Projection(
        kind="classes",
        points=points,
        names=weights.names,
        group=clusters,
        groups=_name_clusters([weights.names[k] for k in tree.order], clusters[list(tree.order)]),
        axes=axes,
        color_text=(
            f"Colors: the {int(clusters.max()) + 1} clusters of their dendrogram "
            f"({tree.metric} distance, {tree.method} linkage)"
        ),
        origin=weights.facts(),
        choices={
            **choices,
            "center": tree.center,
            "metric": tree.metric,
            "linkage": tree.method,
        },
        title=(
            f"the class weights of {weights.description()}; {CENTERING_TEXT[tree.center]}, "
            f"{'unit length' if tree.metric == 'cosine' else 'length unchanged'}"
        ),
        provenance=weights.provenance,
        name=filename_stem(
            "projection-classes",
            weights.task,
            weights.embedding,
            method=(choices["method"], "tsne"),
            perplexity=(perplexity, None),
            seed=(seed, 0),
            center=(tree.center, "rows"),
            metric=(tree.metric, "cosine"),
            linkage=(tree.method, "average"),
            clusters=(tree.n_clusters, None),
            **weights.filename_choices(),
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
    max_clips: int = MAX_CLIPS,
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
        By default t-SNE of the first 50 principal components, and PCA of fewer than four clips.
    perplexity : float, optional
        Of t-SNE, between 1 and the number of clips; 30 by default.
    color : {"auto", "label", "cluster"}
        Colors are labels, or clusters of class weights; by default labels, up to 24 of them. A clip
        of several labels has the color of the rarest.
    max_clips : int >= 4
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
        If task or embeddings are missing, or targets are numbers.
    """
    if color not in COLORS:
        raise unknown_name_error("coloring", color, COLORS)
    cache_root = layout.cache_root(cache)
    card, all_clips = resolve_clips(task, cache_root, root)
    features = find_features(cache_root, extractor, card.dataset, all_clips)
    clips, matrix = features.clips, features.matrix()
    if clips.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to color by")
    notes = [*features.provenance]
    if len(clips) < features.expected:
        notes.append(f"{len(clips):,} of {features.expected:,} clips")
    group, groups = _rarest_label(clips), clips.class_names
    color_text = "Colors: labels"
    if clips.target == "multi":
        color_text += "; a clip of several has that of its rarest"
    if color == "cluster" or (color == "auto" and len(groups) > MAX_LABELS):
        tree = dendrogram(task, extractor, cache=cache, root=root)
        notes += tree.weights.provenance
        cluster = dict(zip(tree.weights.names, tree.clusters.tolist(), strict=True))
        group = np.array([cluster.get(groups[k], -1) if k >= 0 else -1 for k in group])
        order = list(tree.order)
        groups = _name_clusters([tree.weights.names[k] for k in order], tree.clusters[order])
        color_text = f"Colors: {len(groups)} clusters of the labels by their probe's weights"
    rows = np.arange(len(clips))
    if len(rows) > max_clips:
        rows = np.sort(np.random.default_rng(seed).choice(len(clips), max_clips, replace=False))
    points, axes, choices = project_2d(
        standardize(matrix[rows]), method, perplexity, seed, f"{card.name}: clips"
    )
    notes = list(dict.fromkeys(notes))
    of = f" of {len(clips):,}, drawn at random" if len(rows) < len(clips) else ""
    ids = clips.clip_ids
    return Projection(
        kind="clips",
        points=points,
        names=tuple(ids[k] for k in rows),
        group=group[rows],
        groups=tuple(groups),
        axes=axes,
        color_text=color_text,
        origin={
            "task": card.name,
            "embedding": extractor,
            "fingerprint": "+".join(source["fingerprint"] for source in features.sources),
            "manifest": all_clips.digest(),
            "provenance": notes,
        },
        choices={**choices, "colour": color, "clips": len(rows), "clips_of": len(clips)},
        title=f"{len(rows):,} clips{of} of {card.name}: {extractor}, standardized",
        provenance=tuple(notes),
        name=filename_stem(
            "projection-clips",
            card.name,
            extractor,
            method=(choices["method"], "tsne"),
            perplexity=(perplexity, None),
            colour=(color, "auto"),
            most=(max_clips, MAX_CLIPS),
            seed=(seed, 0),
        ),
    )


def project_2d(
    rows: Array, method: str, perplexity: float | None, seed: int, subject: str
) -> tuple[Array, tuple[str, str], dict[str, Any]]:
    """Project rows to two dimensions.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim)
        What to project.
    method : {"tsne", "pca", ""}
        t-SNE reads the first 50 principal components, and starts from the first two. Empty: t-SNE,
        but PCA of fewer than four rows, unless a perplexity is set.
    perplexity : float, optional
        Of t-SNE, at least 1 and less than n; by default 30, or a third of n if that is less.
    seed : int >= 0
        Random seed.
    subject : str
        What the rows are, for errors.

    Returns
    -------
    points : numpy.ndarray, shape (n, 2)
        Coordinates.
    axes : (str, str)
        Labels of the axes.
    choices : dict
        Method, perplexity, seed; if PCA replaced t-SNE, ``instead`` says why.

    Raises
    ------
    ProbekitError
        If there is no such method, there are fewer than four rows for t-SNE, or the perplexity is
        out of its range.
    """
    from sklearn.decomposition import PCA

    if method not in (*METHODS, ""):
        raise unknown_name_error("projection", method, METHODS)
    too_few = f"t-SNE needs at least {MIN_POINTS} points, got {len(rows)}"
    instead = {}
    if not method:
        method = "tsne"
        if len(rows) < MIN_POINTS and perplexity is None:
            method, instead = "pca", {"instead": too_few}
    count = min(rows.shape)
    with resources.single_threaded():
        pca = PCA(min(_N_COMPONENTS if method == "tsne" else 2, count), random_state=seed)
        components = pca.fit_transform(rows)
        if method == "pca":
            points = np.zeros((len(rows), 2))
            points[:, : components.shape[1]] = components[:, :2]
            shares = [*pca.explained_variance_ratio_, 0.0][:2]
            axes = [f"component {k} ({100 * share:.0f} %)" for k, share in enumerate(shares, 1)]
            return points, (axes[0], axes[1]), {"method": method, "seed": seed, **instead}
        if len(rows) < MIN_POINTS:
            raise DataError(f"{subject}: {too_few}; use --method pca")
        perplexity = min(30.0, (len(rows) - 1) / 3) if perplexity is None else perplexity
        if not 1 <= perplexity < len(rows):
            raise DataError(
                f"--perplexity must be >= 1 and < {len(rows)}, the number of points, got "
                f"{perplexity:g}"
            )
        from sklearn.manifold import TSNE

        tsne = TSNE(perplexity=perplexity, init=_start(components), random_state=seed)
        points = tsne.fit_transform(components)
    choices = {"method": method, "perplexity": perplexity, "seed": seed}
    return np.asarray(points, np.float64), ("t-SNE 1", "t-SNE 2"), choices


def _start(components: Array) -> Array:
    """Return the initial points: two components, scaled as scikit-learn scales them."""
    start = np.zeros((len(components), 2), np.float32)
    start[:, : components.shape[1]] = components[:, :2]
    return start / max(float(start[:, 0].std()), 1e-12) * 1e-4


def _rarest_label(clips: Manifest) -> Array:
    """Return the rarest label of each clip; -1 for none."""
    if clips.target == "single":
        return np.asarray(clips.targets())
    targets = clips.targets() > 0
    frequency = np.where(targets, targets.sum(axis=0), np.iinfo(np.int64).max)
    return np.where(targets.any(axis=1), frequency.argmin(axis=1), -1)


def _name_clusters(names: list[str], clusters: Array) -> tuple[str, ...]:
    """Name clusters by their classes: up to three, the first two of more."""
    labels = []
    for k in range(int(clusters.max()) + 1):
        members = [name for name, c in zip(names, clusters.tolist(), strict=True) if c == k]
        more = f" and {len(members) - 2} more" if len(members) > 3 else ""
        labels.append(", ".join(members[:2] if more else members) + more)
    return tuple(labels)
