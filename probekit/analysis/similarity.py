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
from probekit.analysis.label_permutation import unit_numbers
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
    chance : numpy.ndarray, shape (embeddings, embeddings)
        What embeddings would have that have nothing in common but the groups of clips: see
        :func:`chance_cka` and :func:`chance_overlap`.
    clips, common, expected : int
        Clips that were compared; that all embeddings have; that the task should have.
    groups : int
        Groups among the clips that were compared; 0 if no two clips are of one group.
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
    chance: Array
    clips: int
    common: int
    expected: int
    groups: int
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
            what = f"Share of the {k} nearest neighbors (cosine) that two embeddings have in common"
        drawn = "" if self.clips == self.common else f" drawn at random from {self.common:,}"
        scaled = ", each dimension standardized" if self.choices["normalize"] == "columns" else ""
        return (
            f"{what} of embeddings of {self.origin['task']} over the same {self.clips:,} clips"
            f"{drawn}{scaled}. {self._chance_text()} Rows, columns and tree: average linkage of 1 "
            f"minus similarity, optimal leaf order.{as_sentence(self.provenance)}"
        )

    def _chance_text(self) -> str:
        """Return what chance gives, as a sentence."""
        values = self.chance[np.triu_indices(len(self.names), 1)].round(4) + 0.0  # no -0
        low, high = (f"{value:.2g}" for value in (values.min(), values.max()))
        span = low if low == high else f"{low} to {high}"
        nothing = f"nothing but the {self.groups:,} groups of clips" if self.groups else "nothing"
        return f"Expected of embeddings with {nothing} in common: {span}."

    def facts(self) -> dict[str, Any]:
        """Return task, embeddings with fingerprints, choices, and order."""
        return {
            **self.origin,
            "measure": self.measure,
            **self.choices,
            "clips": self.clips,
            "clips_in_common": self.common,
            "groups": self.groups,
            "order": [self.names[k] for k in self.order],
            "cophenetic": self.tree.cophenetic,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the pairs, the most similar first."""
        pairs = [
            {
                "first": self.names[i],
                "second": self.names[j],
                self.measure: self.matrix[i, j],
                "chance": self.chance[i, j],
            }
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
    groups = clips.column("group")
    matrix, chance = _similarities(arrays, groups, measure, debiased, k)
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
        chance=chance,
        clips=len(rows),
        common=len(common),
        expected=expected,
        groups=_group_count(groups),
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


def _similarities(
    arrays: Sequence[Array], groups: Array, measure: str, debiased: bool, k: int
) -> tuple[Array, Array]:
    """Return the similarity of each with each, and what chance gives."""
    if measure == "cka":
        return linear_cka(arrays, debiased), chance_cka(arrays, groups, debiased)
    neighbors = [k_nearest(array, k) for array in arrays]
    matrix, chance = np.eye(len(neighbors)), np.eye(len(neighbors))
    for i, j in combinations(range(len(neighbors)), 2):
        matrix[i, j] = matrix[j, i] = neighbor_overlap(neighbors[i], neighbors[j])
        chance[i, j] = chance[j, i] = chance_overlap(neighbors[i], neighbors[j], groups)
    return matrix, chance


def _group_count(groups: Array) -> int:
    """Return the number of groups, clips without one included; 0 if none has two clips."""
    count = int(unit_numbers(groups).max()) + 1
    return count if count < len(groups) else 0


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
    hsic = np.empty((len(centered), len(centered)))
    for i, x in enumerate(centered):
        for j in range(i + 1):
            hsic[i, j] = hsic[j, i] = _hsic(x, centered[j], debiased)
    return _divide_by_diagonal(hsic, hsic.diagonal().copy(), clips)


def _hsic(x: Array, y: Array, debiased: bool) -> float:
    """Return HSIC of centered rows, without its constant."""
    value, clips = _squared_product(x, y), len(x)
    if debiased:
        lengths = [np.square(rows, dtype=np.float64).sum(axis=1) for rows in (x, y)]
        value += lengths[0].sum() * lengths[1].sum() / ((clips - 1) * (clips - 2))
        value -= clips / (clips - 2) * float(lengths[0] @ lengths[1])
    return value


def _divide_by_diagonal(hsic: Array, diagonal: Array, clips: int) -> Array:
    """Return CKA from HSIC, and HSIC of each with itself."""
    if (diagonal <= 0).any():
        raise DataError(
            f"{clips} clips are too few for the unbiased estimate; use more, or plain CKA"
        )
    cka: Array = hsic / np.sqrt(np.outer(diagonal, diagonal))
    np.fill_diagonal(cka, 1.0)
    return cka


def chance_cka(arrays: Sequence[Array], groups: Array, debiased: bool = False) -> Array:
    """Return the expected CKA of each with each, if clips were exchanged in one of them.

    Pairs of clips of one group change places with such pairs, and pairs of clips of different
    groups with such: as when groups of equal size are exchanged, and clips within them. So chance
    includes that both embeddings tell recordings apart, whatever each hears in them.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray, each of shape (clips, its own dim)
        Row i of each is of the same clip.
    groups : numpy.ndarray of str, shape (clips,)
        Empty text for a clip of its own.
    debiased : bool
        As for :func:`linear_cka`.

    Returns
    -------
    numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal. Debiased and without groups it is 0.
    """
    clips, number = len(groups), unit_numbers(groups)
    sizes = np.bincount(number)
    # pairs of a clip with itself, of two clips of one group, of clips of different groups
    same = float((sizes * (sizes - 1)).sum())
    pairs = np.array([clips, same, clips**2 - clips - same])
    sums, diagonal = [], []
    for array in arrays:
        x = _center(array)
        total = np.zeros((len(sizes), x.shape[1]))
        np.add.at(total, number, x)
        itself, within = np.square(x, dtype=np.float64).sum(), np.square(total).sum()
        sums.append([itself, within - itself, -within])  # columns are centered: 0 together
        diagonal.append(_hsic(x, x, debiased))
    by_kind = np.array(sums)
    expected = by_kind / np.maximum(pairs, 1) @ by_kind.T
    if debiased:
        trace = np.outer(by_kind[:, 0], by_kind[:, 0])
        expected -= trace / (clips - 1)  # what the estimate subtracts, on average
    return _divide_by_diagonal(expected, np.array(diagonal), clips)


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
    """Return the share of neighbors, 0 to 1, that two results of :func:`k_nearest` share."""
    return float((a[:, :, None] == b[:, None, :]).sum() / a.size)


def chance_overlap(a: Array, b: Array, groups: Array) -> float:
    """Return the expected overlap of embeddings that agree in nothing but which clips are a group.

    Each clip keeps its numbers of neighbors of its own group and of others, in both embeddings;
    which these are is chance.

    Parameters
    ----------
    a, b : numpy.ndarray of int, shape (clips, k)
        Results of :func:`k_nearest`.
    groups : numpy.ndarray of str, shape (clips,)
        Empty text for a clip of its own.

    Returns
    -------
    float
        Without groups k / (clips - 1).
    """
    number = unit_numbers(groups)
    mates = np.bincount(number)[number] - 1
    others = len(number) - 1 - mates
    inside = [(number[near] == number[:, None]).sum(axis=1) for near in (a, b)]
    outside = [a.shape[1] - count for count in inside]
    common = inside[0] * inside[1] / np.maximum(mates, 1)
    common += outside[0] * outside[1] / np.maximum(others, 1)
    return float(common.mean() / a.shape[1])
