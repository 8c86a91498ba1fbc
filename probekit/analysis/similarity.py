"""Similarity of embeddings over the same clips: linear CKA, and nearest neighbors in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.class_weights import has_variance
from probekit.analysis.clustering import Tree, linkage_tree
from probekit.cache import layout
from probekit.errors import DataError
from probekit.probes.features import Features, find_features
from probekit.scores.groups import merge_provenance
from probekit.solvers.scaler import standardize
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

MEASURES = ("cka", "neighbours")
NORMALIZATIONS = ("none", "columns")
MAX_CLIPS = 10_000
N_NEIGHBORS = 10
_BLOCK = 1024  # columns of a product in memory at once
_CHUNK = 1 << 24  # cosines in memory at once


@dataclass(frozen=True)
class Similarity:
    """Similarity of embeddings, each with each.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal.
    names : tuple of str
        The embeddings, as the user wrote them.
    tree : Tree
        Of 1 less similarity, average linkage.
    measure : {"cka", "neighbours"}
        Measure of similarity.
    choices : dict
        Debiased or not, the number of neighbors, normalization of features.
    dims : tuple of int
        Features of each embedding.
    clips, common, expected : int
        Clips that were compared; that all embeddings have; that the task should have.
    origin : dict
        Task, fingerprints, manifest; part of :meth:`facts`.
    provenance : tuple of str
        Notes that every figure must show.
    name : str
        Stem of the files.
    """

    matrix: Array
    names: tuple[str, ...]
    tree: Tree
    measure: str
    choices: dict[str, Any]
    dims: tuple[int, ...]
    clips: int
    common: int
    expected: int
    origin: dict[str, Any]
    provenance: tuple[str, ...]
    name: str

    @property
    def order(self) -> tuple[int, ...]:
        """Embeddings in the order of the tree."""
        return self.tree.order

    @property
    def scale_label(self) -> str:
        """Label of the color scale."""
        if self.measure == "cka":
            return f"linear CKA{', debiased' if self.choices['debiased'] else ''}"
        return f"share of {self.choices['k']} nearest neighbors"

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        if self.measure == "cka":
            what = "Linear CKA"
            if self.choices["debiased"]:
                what += " (with the unbiased estimate of HSIC)"
        else:
            k = self.choices["k"]
            what = (
                f"Share of the {k} nearest neighbors (cosine) that two embeddings have in common "
                f"(by chance {k / (self.clips - 1):.2g})"
            )
        drawn = "" if self.clips == self.common else f" drawn at random from {self.common:,}"
        scaled = ", each dimension standardized" if self.choices["normalize"] == "columns" else ""
        return (
            f"{what} of embeddings of {self.origin['task']} over the same {self.clips:,} clips"
            f"{drawn}{scaled}. Rows, columns and tree: average linkage of 1 minus similarity, "
            f"optimal leaf order.{as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return task, embeddings with fingerprints, choices, and order."""
        return {
            **self.origin,
            "measure": self.measure,
            **self.choices,
            "clips": self.clips,
            "clips_in_common": self.common,
            "order": [self.names[k] for k in self.order],
            "cophenetic": self.tree.cophenetic,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the pairs, the most similar first."""
        pairs = [
            {"first": self.names[i], "second": self.names[j], self.measure: self.matrix[i, j]}
            for i, j in combinations(range(len(self.names)), 2)
        ]
        return sorted(pairs, key=lambda pair: -pair[self.measure])


def similarity(
    task: str,
    embeddings: Sequence[str],
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    measure: str = "cka",
    debiased: bool = False,
    k: int = N_NEIGHBORS,
    normalize: str = "none",
    max_clips: int = MAX_CLIPS,
    seed: int = 0,
) -> Similarity:
    """Compare embeddings over the clips that all of them have.

    Parameters
    ----------
    task : str
        As for :func:`probekit.evaluate`.
    embeddings : sequence of str, at least two
        As for :func:`probekit.evaluate`.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    measure : {"cka", "neighbours"}
        Linear CKA, or the share of nearest neighbors in common.
    debiased : bool
        Of CKA; see :func:`linear_cka`.
    k : int >= 1
        Number of nearest neighbors.
    normalize : {"none", "columns"}
        ``columns``: each dimension to mean 0 and variance 1 first, as probes see them. With
        ``none``, dimensions of large values decide.
    max_clips : int >= 4
        Of more clips, so many are drawn at random.
    seed : int >= 0
        Of that draw.

    Returns
    -------
    Similarity
        To be drawn by :func:`probekit.figures.heatmap.draw_similarity`.

    Raises
    ------
    ProbekitError
        If task or embeddings are missing, or fewer than four clips have all embeddings.
    """
    if measure not in MEASURES:
        raise unknown_name_error("measure", measure, MEASURES)
    if normalize not in NORMALIZATIONS:
        raise unknown_name_error("normalization", normalize, NORMALIZATIONS)
    names = tuple(embeddings)
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(
            f"similarity needs two or more different embeddings, got {', '.join(names) or 'none'}"
        )
    cache_root = layout.cache_root(cache)
    card, all_clips = resolve_clips(task, cache_root, root)
    features = [find_features(cache_root, name, card.dataset, all_clips) for name in names]
    ids = set.intersection(*(set(member.clips.clip_ids) for member in features))
    common = np.array([row for row, i in enumerate(all_clips.clip_ids) if i in ids], np.int64)
    if len(common) < 4:
        raise DataError(
            f"{card.name}: similarity needs at least 4 clips with all {len(names)} embeddings, got "
            f"{len(common)}"
        )
    rows = common
    if len(rows) > max_clips:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_clips, replace=False))
    clips = all_clips.subset(rows.tolist())
    arrays = [replace(member, clips=clips).matrix() for member in features]
    for name, array in zip(names, arrays, strict=True):
        if not has_variance(array):
            raise DataError(
                f"{name}: constant over all {len(array):,} clips of {card.name}, so that its "
                "similarity is undefined; leave it out"
            )
    if normalize == "columns":
        arrays = [standardize(array) for array in arrays]
    dims = tuple(array.shape[1] for array in arrays)
    matrix = _similarities(arrays, measure, debiased, k)
    notes = list(
        merge_provenance(
            {name: member.provenance for name, member in zip(names, features, strict=True)}
        )
    )
    expected = max(member.expected for member in features)
    if len(common) < expected:
        notes.append(f"{len(common):,} of {expected:,} clips")
    if measure == "cka" and not debiased and max(dims) > len(rows):
        notes.append("fewer clips than dimensions: plain CKA is too high, debiased is not")
    distances = np.clip(1 - matrix[np.triu_indices(len(names), 1)], 0, None)
    return Similarity(
        matrix=matrix,
        names=names,
        tree=linkage_tree(distances),
        measure=measure,
        choices={
            "normalize": normalize,
            "seed": seed,
            **({"debiased": debiased} if measure == "cka" else {"k": k}),
        },
        dims=dims,
        clips=len(rows),
        common=len(common),
        expected=expected,
        origin=_origin(card.name, names, features, all_clips.digest(), notes),
        provenance=tuple(notes),
        name=filename_stem(
            f"similarity-{measure}",
            card.name,
            *names,
            debiased=(debiased and measure == "cka", False),
            k=(k if measure == "neighbours" else N_NEIGHBORS, N_NEIGHBORS),
            normalize=(normalize, "none"),
            most=(max_clips, MAX_CLIPS),
            seed=(seed, 0),
        ),
    )


def _similarities(arrays: Sequence[Array], measure: str, debiased: bool, k: int) -> Array:
    """Return the similarity of each with each."""
    if measure == "cka":
        return linear_cka(arrays, debiased)
    neighbors = [k_nearest(array, k) for array in arrays]
    matrix = np.eye(len(neighbors))
    for i, j in combinations(range(len(neighbors)), 2):
        matrix[i, j] = matrix[j, i] = neighbor_overlap(neighbors[i], neighbors[j])
    return matrix


def _origin(
    task: str,
    names: Sequence[str],
    features: Sequence[Features],
    digest: str,
    notes: Sequence[str],
) -> dict[str, Any]:
    return {
        "task": task,
        "embeddings": [
            {"embedding": name, "fingerprints": [s["fingerprint"] for s in member.sources]}
            for name, member in zip(names, features, strict=True)
        ],
        "manifest": digest,
        "provenance": list(notes),
    }


def linear_cka(arrays: Sequence[Array], debiased: bool = False) -> Array:
    """Return linear CKA of each with each (Kornblith et al., ICML 2019).

    It is invariant to rotation, translation and scale. Products of features are computed, not of
    clips, so that the time grows with the number of clips and not its square.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray, each of shape (clips, its own dim)
        Row i of each is of the same clip; any scale.
    debiased : bool
        With the unbiased estimate of HSIC (Song et al., JMLR 13, 2012). Without it CKA grows as
        clips get few for the number of dimensions, even of unrelated embeddings.

    Returns
    -------
    numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal; from 0 to 1, debiased also a little below 0. Products are
        rounded to float32, CKA by less than 1e-5.

    Raises
    ------
    DataError
        If one is constant over the clips, or clips are too few for the unbiased estimate.
    """
    clips = len(arrays[0])
    if clips < (4 if debiased else 2):
        raise DataError(f"CKA needs at least {4 if debiased else 2} clips, got {clips}")
    centered = [_center(array) for array in arrays]
    lengths = [np.square(x, dtype=np.float64).sum(axis=1) for x in centered]
    hsic = np.empty((len(centered), len(centered)))
    for i, x in enumerate(centered):
        for j in range(i + 1):
            value = _squared_product(x, centered[j])
            if debiased:
                value += lengths[i].sum() * lengths[j].sum() / ((clips - 1) * (clips - 2))
                value -= clips / (clips - 2) * float(lengths[i] @ lengths[j])
            hsic[i, j] = hsic[j, i] = value
    diagonal = hsic.diagonal().copy()
    if (diagonal <= 0).any():
        raise DataError(
            f"{clips} clips are too few for the unbiased estimate; use more, or plain CKA"
        )
    cka: Array = hsic / np.sqrt(np.outer(diagonal, diagonal))
    np.fill_diagonal(cka, 1.0)
    return cka


def _center(array: Array) -> Array:
    """Return rows with mean zero and an overall scale of one."""
    centered = array - array.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(centered).mean())
    if not scale > 1e-7 * np.abs(array).max():
        raise DataError("an embedding is constant over all clips; its CKA is undefined")
    return np.asarray(centered / scale, np.float32)


def _squared_product(x: Array, y: Array) -> float:
    """Return the sum of the squares of ``x.T @ y``."""
    total = 0.0
    for start in range(0, x.shape[1], _BLOCK):
        block = x[:, start : start + _BLOCK].T
        if x is not y:
            total += _squared_sum(block @ y)
            continue
        # x.T @ x is symmetric: one side of the diagonal is enough
        total += _squared_sum(block @ block.T) + 2 * _squared_sum(block @ x[:, start + _BLOCK :])
    return total


def _squared_sum(block: Array) -> float:
    return float(np.square(block, dtype=np.float64).sum())


def k_nearest(rows: Array, k: int = N_NEIGHBORS) -> Array:
    """Return the nearest other clips of each clip, by cosine.

    Faster than ``sklearn.neighbors.NearestNeighbors`` by a factor of about 1.8.

    Parameters
    ----------
    rows : numpy.ndarray, shape (clips, dim)
        A row of zeros has the same distance to all others.
    k : int, 1 <= k < clips
        Number of neighbors.

    Returns
    -------
    numpy.ndarray of int, shape (clips, k)
        In no particular order.

    Raises
    ------
    DataError
        If there are fewer than ``k`` other clips.
    """
    clips = len(rows)
    if not 1 <= k < clips:
        raise DataError(f"--k must be from 1 to {clips - 1} for {clips:,} clips, got {k}")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.asarray(rows / np.where(norm > 0, norm, 1), np.float32)
    nearest = np.empty((clips, k), np.int64)
    step = max(1, _CHUNK // clips)
    for start in range(0, clips, step):
        distances = -(unit[start : start + step] @ unit.T)
        chunk = np.arange(len(distances))
        distances[chunk, start + chunk] = np.inf  # a clip is not its own neighbor
        nearest[start : start + step] = np.argpartition(distances, k - 1, axis=1)[:, :k]
    return nearest


def neighbor_overlap(a: Array, b: Array) -> float:
    """Return the share of neighbors that two results of :func:`k_nearest` have in common.

    From 0 to 1; by chance k / (clips - 1).
    """
    return float((a[:, :, None] == b[:, None, :]).sum() / a.size)
