"""How alike embeddings are over the same clips: linear CKA, and nearest neighbours in common."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.analysis import base, neighbours, normalization, planes, runs, tree
from probekit.analysis.cka import linear_cka
from probekit.cache import layout
from probekit.errors import DataError
from probekit.probes import features
from probekit.probes.features import Features
from probekit.probes.inputs import clips_of
from probekit.registry import unknown

Array = npt.NDArray[Any]
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
    tree : probekit.analysis.tree.Tree
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
    tree: tree.Tree
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
    def said(self) -> str:
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
            f"optimal leaf order.{base.sentence(self.provenance)}"
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
    most: int = MOST_CLIPS,
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
        Of CKA; see :func:`probekit.analysis.cka.linear_cka`.
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
        To be drawn by :func:`probekit.report.figures.similarity.draw`.

    Raises
    ------
    ProbekitError
        If something asked for is not there, or there is nothing to compare.
    """
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    if normalize not in NORMALIZE:
        raise unknown("normalization", normalize, NORMALIZE)
    names = tuple(embeddings)
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(
            "similarity compares two or more different embeddings; given: "
            f"{', '.join(names) or 'none'}"
        )
    where = layout.root(cache)
    card, clips = clips_of(task, where, root)
    found = [features.find(where, name, card.dataset, clips) for name in names]
    ids = set.intersection(*(set(one.clips.clip_ids) for one in found))
    rows = np.array([i for i, one in enumerate(clips.clip_ids) if one in ids], np.int64)
    if len(rows) < 4:
        raise DataError(
            f"{card.name}: {len(rows)} clips have all {len(names)} embeddings; similarity needs 4"
        )
    drawn = rows
    if len(rows) > most:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    present = clips.subset(drawn.tolist())
    arrays = [replace(one, clips=present).matrix() for one in found]
    for name, one in zip(names, arrays, strict=True):
        if not normalization.varies(one):
            raise DataError(
                f"{name}: the same for all {len(one):,} clips of {card.name}; it is like no other "
                "embedding. Leave it out"
            )
    if normalize == "columns":
        arrays = [planes.standardized(one) for one in arrays]
    dims = tuple(one.shape[1] for one in arrays)
    matrix = _compared(arrays, measure, debiased, k)
    said = list(
        runs.together({name: one.provenance for name, one in zip(names, found, strict=True)})
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
        tree=tree.grow(apart),
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
        name=base.stem(
            f"similarity-{measure}",
            card.name,
            *names,
            debiased=(debiased and measure == "cka", False),
            k=(k if measure == "neighbours" else NEIGHBOURS, NEIGHBOURS),
            normalize=(normalize, "none"),
            most=(most, MOST_CLIPS),
            seed=(seed, 0),
        ),
    )


def _compared(arrays: Sequence[Array], measure: str, debiased: bool, k: int) -> Array:
    """Return the similarity of each with each."""
    if measure == "cka":
        return linear_cka(arrays, debiased)
    near = [neighbours.nearest(one, k) for one in arrays]
    matrix = np.eye(len(near))
    for i, j in combinations(range(len(near)), 2):
        matrix[i, j] = matrix[j, i] = neighbours.shared(near[i], near[j])
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
