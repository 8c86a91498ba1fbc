"""How alike embeddings are over the same clips: linear CKA, and nearest neighbours in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.analysis import base, class_weights, clustering, projection
from probekit.cache import layout
from probekit.errors import DataError
from probekit.probes import features
from probekit.probes.features import Features
from probekit.probes.task_clips import resolve_clips
from probekit.scores import groups
from probekit.utils.suggest import unknown_name_error

_BLOCK = 1024  # columns of a product held at once


def linear_cka(several: Sequence[Array], debiased: bool = False) -> Array:
    """Return linear CKA of each with each (Kornblith et al., ICML 2019).

    It does not change when one of them is rotated, moved or scaled. Products of features are
    computed, not of clips, so that the time grows with the number of clips and not its square.

    Parameters
    ----------
    several : sequence of numpy.ndarray, each of shape (clips, its own dim)
        Row i of each is of the same clip; any scale.
    debiased : bool
        With the unbiased estimate of HSIC (Song et al., JMLR 13, 2012). Without it CKA grows as
        clips get few for the number of dimensions, even of embeddings that have nothing in common.

    Returns
    -------
    numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal; from 0 to 1, debiased also a little below 0. Products are
        rounded to float32, CKA by less than 1e-5.

    Raises
    ------
    DataError
        If one is the same for all clips, or clips are too few for the unbiased estimate.
    """
    clips = len(several[0])
    if clips < (4 if debiased else 2):
        raise DataError(f"CKA needs {'4' if debiased else '2'} clips or more, here are {clips}")
    rows = [_centred(one) for one in several]
    length = [np.square(one, dtype=np.float64).sum(axis=1) for one in rows]
    alike = np.empty((len(rows), len(rows)))
    for i, one in enumerate(rows):
        for j in range(i + 1):
            value = _product(one, rows[j])
            if debiased:
                value += length[i].sum() * length[j].sum() / ((clips - 1) * (clips - 2))
                value -= clips / (clips - 2) * float(length[i] @ length[j])
            alike[i, j] = alike[j, i] = value
    own = alike.diagonal().copy()
    if (own <= 0).any():
        raise DataError(
            f"{clips} clips are too few for the unbiased estimate; more are needed, or plain CKA"
        )
    found: Array = alike / np.sqrt(np.outer(own, own))
    np.fill_diagonal(found, 1.0)
    return found


def _centred(rows: Array) -> Array:
    """Return rows with mean zero and an overall scale of one."""
    wide = rows - rows.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(np.square(wide).mean())
    if not scale > 1e-7 * np.abs(rows).max():
        raise DataError("an embedding is the same for all clips; it is like no other")
    return np.asarray(wide / scale, np.float32)


def _product(one: Array, other: Array) -> float:
    """Return the sum of the squares of all products of two columns."""
    total = 0.0
    for first in range(0, one.shape[1], _BLOCK):
        own = one[:, first : first + _BLOCK].T
        if one is not other:
            total += _squares(own @ other)
            continue
        # of itself the products on one side of the diagonal will do
        total += _squares(own @ own.T) + 2 * _squares(own @ one[:, first + _BLOCK :])
    return total


def _squares(block: Array) -> float:
    return float(np.square(block, dtype=np.float64).sum())


_HELD = 1 << 24  # similarities held at once


def k_nearest(rows: Array, k: int = 10) -> Array:
    """Return the nearest other clips of each clip, by cosine.

    Parameters
    ----------
    rows : numpy.ndarray, shape (clips, dim)
        A row of zeros is as far from all others.
    k : int, 1 <= k < clips
        How many.

    Returns
    -------
    numpy.ndarray of int, shape (clips, k)
        In no particular order.

    Raises
    ------
    DataError
        If there are not so many other clips.
    """
    clips = len(rows)
    if not 1 <= k < clips:
        raise DataError(f"{k} nearest neighbours: from 1 to {clips - 1} of {clips:,} clips")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.asarray(rows / np.where(norm > 0, norm, 1), np.float32)
    found = np.empty((clips, k), np.int64)
    step = max(1, _HELD // clips)
    for first in range(0, clips, step):
        far = -(unit[first : first + step] @ unit.T)
        own = np.arange(len(far))
        far[own, first + own] = np.inf  # a clip is not its own neighbour
        found[first : first + step] = np.argpartition(far, k - 1, axis=1)[:, :k]
    return found


def neighbor_overlap(one: Array, other: Array) -> float:
    """Return which share of the nearest neighbours two embeddings have in common.

    Parameters
    ----------
    one, other : numpy.ndarray of int, shape (clips, k)
        From :func:`k_nearest`.

    Returns
    -------
    float
        Mean over clips, from 0 to 1; by chance k / (clips - 1).
    """
    return float((one[:, :, None] == other[:, None, :]).sum() / one.size)


MEASURES = ("cka", "neighbours")
NORMALIZE = ("none", "columns")
MOST_CLIPS = 10_000
NEIGHBOURS = 10


@dataclass(frozen=True)
class Similarity:
    """How alike some embeddings are, each with each.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (embeddings, embeddings)
        Symmetric, 1 on the diagonal.
    names : tuple of str
        The embeddings, as the user wrote them.
    tree : probekit.analysis.clustering.Tree
        By 1 less similarity, average linkage.
    measure : {"cka", "neighbours"}
        What similarity is.
    choices : dict
        Debiased or not, the number of neighbours, what was done to features.
    dims : tuple of int
        Features of each embedding.
    clips, common, expected : int
        Compared; that all embeddings have; that the task should have.
    origin : dict
        Task, fingerprints, manifest; goes to :meth:`facts`.
    provenance : tuple of str
        What every figure must show.
    name : str
        Stem of the files.
    """

    matrix: Array
    names: tuple[str, ...]
    tree: clustering.Tree
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
        """What similarity is, for a scale."""
        if self.measure == "cka":
            return f"linear CKA{', debiased' if self.choices['debiased'] else ''}"
        return f"share of {self.choices['k']} nearest neighbours"

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        if self.measure == "cka":
            what = "Linear CKA"
            if self.choices["debiased"]:
                what += " (with the unbiased estimate of HSIC)"
        else:
            k = self.choices["k"]
            what = (
                f"Share of the {k} nearest neighbours (cosine) that two embeddings have in common "
                f"(by chance {k / (self.clips - 1):.2g})"
            )
        drawn = "" if self.clips == self.common else f" drawn at random from {self.common:,}"
        scaled = ", each dimension standardized" if self.choices["normalize"] == "columns" else ""
        return (
            f"{what} of embeddings of {self.origin['task']} over the same {self.clips:,} clips"
            f"{drawn}{scaled}. Rows, columns and tree: average linkage of 1 less similarity, "
            f"optimal leaf order.{base.as_sentence(self.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it: task, embeddings with fingerprints, choices, order."""
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
        """Return the pairs, the most alike first."""
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
    k: int = NEIGHBOURS,
    normalize: str = "none",
    max_clips: int = MOST_CLIPS,
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
        Linear CKA, or the share of nearest neighbours in common.
    debiased : bool
        Of CKA; see :func:`probekit.analysis.similarity.linear_cka`.
    k : int >= 1
        Of nearest neighbours.
    normalize : {"none", "columns"}
        What is done to features first; with ``columns`` each dimension has mean 0 and variance 1,
        as probes see them. Without it dimensions of large numbers decide.
    most : int >= 4
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
        If something asked for is not there, or there is nothing to compare.
    """
    if measure not in MEASURES:
        raise unknown_name_error("measure", measure, MEASURES)
    if normalize not in NORMALIZE:
        raise unknown_name_error("normalization", normalize, NORMALIZE)
    names = tuple(embeddings)
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(
            "similarity compares two or more different embeddings; given: "
            f"{', '.join(names) or 'none'}"
        )
    where = layout.cache_root(cache)
    card, clips = resolve_clips(task, where, root)
    found = [features.find_features(where, name, card.dataset, clips) for name in names]
    ids = set.intersection(*(set(one.clips.clip_ids) for one in found))
    rows = np.array([i for i, one in enumerate(clips.clip_ids) if one in ids], np.int64)
    if len(rows) < 4:
        raise DataError(
            f"{card.name}: {len(rows)} clips have all {len(names)} embeddings; similarity needs 4"
        )
    drawn = rows
    if len(rows) > max_clips:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, max_clips, replace=False))
    present = clips.subset(drawn.tolist())
    arrays = [replace(one, clips=present).matrix() for one in found]
    for name, one in zip(names, arrays, strict=True):
        if not class_weights.has_variance(one):
            raise DataError(
                f"{name}: the same for all {len(one):,} clips of {card.name}; it is like no other "
                "embedding. Leave it out"
            )
    if normalize == "columns":
        arrays = [projection.standardized(one) for one in arrays]
    dims = tuple(one.shape[1] for one in arrays)
    matrix = _compared(arrays, measure, debiased, k)
    said = list(
        groups.merge_provenance(
            {name: one.provenance for name, one in zip(names, found, strict=True)}
        )
    )
    expected = max(one.expected for one in found)
    if len(rows) < expected:
        said.append(f"{len(rows):,} of {expected:,} clips")
    if measure == "cka" and not debiased and max(dims) > len(drawn):
        said.append("fewer clips than dimensions: plain CKA is too high, debiased is not")
    apart = np.clip(1 - matrix[np.triu_indices(len(names), 1)], 0, None)
    return Similarity(
        matrix=matrix,
        names=names,
        tree=clustering.linkage_tree(apart),
        measure=measure,
        choices={
            "normalize": normalize,
            "seed": seed,
            **({"debiased": debiased} if measure == "cka" else {"k": k}),
        },
        dims=dims,
        clips=len(drawn),
        common=len(rows),
        expected=expected,
        origin=_origin(card.name, names, found, clips.digest(), said),
        provenance=tuple(said),
        name=base.filename_stem(
            f"similarity-{measure}",
            card.name,
            *names,
            debiased=(debiased and measure == "cka", False),
            k=(k if measure == "neighbours" else NEIGHBOURS, NEIGHBOURS),
            normalize=(normalize, "none"),
            most=(max_clips, MOST_CLIPS),
            seed=(seed, 0),
        ),
    )


def _compared(arrays: Sequence[Array], measure: str, debiased: bool, k: int) -> Array:
    """Return the similarity of each with each."""
    if measure == "cka":
        return linear_cka(arrays, debiased)
    near = [k_nearest(one, k) for one in arrays]
    matrix = np.eye(len(near))
    for i, j in combinations(range(len(near)), 2):
        matrix[i, j] = matrix[j, i] = neighbor_overlap(near[i], near[j])
    return matrix


def _origin(
    task: str, names: Sequence[str], found: Sequence[Features], digest: str, said: Sequence[str]
) -> dict[str, Any]:
    """Return what was compared."""
    return {
        "task": task,
        "embeddings": [
            {"embedding": name, "fingerprints": [s["fingerprint"] for s in one.sources]}
            for name, one in zip(names, found, strict=True)
        ],
        "manifest": digest,
        "provenance": list(said),
    }
