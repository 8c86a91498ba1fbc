"""Which source classes a target class resembles: weights of a probe beside a network's own.

kumar2021, section 5.2: cosine similarity of the rows of two linear layers that read the same
embedding, after mean-variance normalization.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from probekit.analysis import base, normalization, nulls, tree
from probekit.analysis.weights import ClassWeights, class_weights, followed
from probekit.cache import layout, store
from probekit.cache.heads import KeptHead
from probekit.cache.store import Embeddings
from probekit.errors import DataError
from probekit.probes.inputs import clips_of
from probekit.registry import unknown
from probekit.selection import Selection, parse_joined

Array = npt.NDArray[Any]
LEVEL = 0.05


@dataclass(frozen=True)
class Correlation:
    """Cosine similarities of target classes and source classes.

    Attributes
    ----------
    weights : ClassWeights
        The target classes' rows.
    sources : tuple of str
        The network's own classes.
    stream, pooling : str
        What the head reads, and how the network makes clips of frames.
    normalize : {"columns", "rows", "none"}
        What was done to both matrices first.
    linkage : str
        Of the trees that order rows and columns.
    cosine : numpy.ndarray, shape (sources, targets)
        The similarities.
    beyond : numpy.ndarray, shape (sources, targets)
        p of each pair, corrected for all pairs by the permutations' largest values.
    p, q : numpy.ndarray, shape (sources, targets)
        p of each pair alone, and its false discovery rate (Benjamini and Hochberg).
    source_order, target_order : tuple of int
        As in the figure.
    permutations, seed : int
        Of the test.
    """

    weights: ClassWeights
    sources: tuple[str, ...]
    stream: str
    pooling: str
    normalize: str
    linkage: str
    cosine: Array
    beyond: Array
    p: Array
    q: Array
    source_order: tuple[int, ...]
    target_order: tuple[int, ...]
    permutations: int
    seed: int

    @property
    def name(self) -> str:
        """Stem of the files."""
        w = self.weights
        return base.stem(
            "correlation",
            w.task,
            w.embedding,
            normalize=(self.normalize, "columns"),
            linkage=(self.linkage, "average"),
            permutations=(self.permutations, nulls.PERMUTATIONS),
            seed=(self.seed, 0),
            **w.choices(),
        )

    @property
    def significant(self) -> Array:
        """Which pairs are beyond chance at 0.05, corrected for all pairs."""
        return self.beyond <= LEVEL

    @property
    def caption(self) -> str:
        """What a paper's caption has to say about how the figure was made."""
        pairs, w = self.cosine.size, self.weights
        frames = {
            "none": "",
            "mean": ", which averages over frames",
        }.get(self.pooling, ", which acts on frames")
        how = self.normalize
        found, rate = int(self.significant.sum()), int((self.q <= LEVEL).sum())
        return (
            f"Cosine similarity of class weights: {w.described()}, and the {len(self.sources)} "
            "source classes of the network's own head, which reads the same stream "
            f"({self.stream}){frames}. Before: {normalization.SAID[how]}. Rows and columns are "
            f"ordered by {self.linkage} linkage of cosine distances. Dots: {found:,} of {pairs:,} "
            f"pairs beyond chance (p ≤ {LEVEL} for all pairs together, two-sided: "
            f"{self.permutations:,} permutations of the embedding's dimensions on one side, "
            f"largest absolute cosine of all pairs). {rate:,} pairs at a false discovery rate of "
            f"{LEVEL} (Benjamini and Hochberg).{normalization.WARNED[how]} kumar2021 does not "
            "state the axis of its mean-variance normalization, C, distance and linkage, and has "
            f"no test.{base.sentence(w.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what produced it.

        Returns
        -------
        dict
            The probe, the head, the choices, the test.
        """
        return {
            **self.weights.facts(),
            "head_stream": self.stream,
            "head_pooling": self.pooling,
            "source_classes": len(self.sources),
            "normalize": self.normalize,
            "linkage": self.linkage,
            "permutations": self.permutations,
            "seed": self.seed,
            "level": LEVEL,
            "pairs": self.cosine.size,
            "pairs_beyond_chance": int(self.significant.sum()),
            "pairs_false_discovery": int((self.q <= LEVEL).sum()),
            "sources_in_order": [self.sources[k] for k in self.source_order],
            "targets_in_order": [self.weights.names[k] for k in self.target_order],
            "not_established": ["normalize", "c", "metric", "linkage"],
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return all pairs, the strongest first.

        Returns
        -------
        list of dict
            Target and source class, cosine, p of the pair, false discovery rate, p corrected for
            all pairs, and whether that is beyond chance.
        """
        return self.strongest(self.cosine.size)

    def strongest(self, count: int) -> list[dict[str, Any]]:
        """Return the pairs of the largest absolute cosine.

        Parameters
        ----------
        count : int >= 0
            How many.

        Returns
        -------
        list of dict
            As :meth:`rows`.
        """
        ranked = np.argsort(-np.abs(self.cosine), axis=None, kind="stable")[:count]
        s, t = np.unravel_index(ranked, self.cosine.shape)
        numbers = [one[s, t].tolist() for one in (self.cosine, self.p, self.q, self.beyond)]
        return [
            {
                "target": self.weights.names[target],
                "source": self.sources[source],
                "cosine": cosine,
                "p": p,
                "q": q,
                "p_all_pairs": beyond,
                "beyond_chance": beyond <= LEVEL,
            }
            for target, source, cosine, p, q, beyond in zip(
                t.tolist(), s.tolist(), *numbers, strict=True
            )
        ]


def correlation(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    c: float | None = None,
    normalize: str = "columns",
    linkage: str = "average",
    permutations: int = nulls.PERMUTATIONS,
    seed: int = 0,
    probe: str = "linear",
    preset: str = "",
) -> Correlation:
    """Compare a task's classes with those of the network's own head, by their weights.

    The probe must read the stream that the head reads, from the same cache: the two sets of weights
    then act on the same numbers.

    kumar2021 does not say over which axis it normalizes. Over the classes (``columns``) it is what
    the paper does to features, and the only choice with which the test keeps its level where both
    sides have small weights for strong dimensions and large ones for weak dimensions, as weights
    on one embedding do.

    Parameters
    ----------
    task, extractor : str
        As for :func:`probekit.evaluate`; the extractor with the head's stream, for example
        ``convnet:stream=max5``.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    c : float > 0, optional
        The probe's C; chosen on held-out training clips by default.
    normalize : {"columns", "rows", "none"}
        Mean 0 and variance 1 for each dimension over the classes of a side, for each row, or none.
    linkage : {"average", "complete", "single"}
        Of the trees that order rows and columns.
    permutations : int >= 1
        Of the test.
    seed : int >= 0
        Of the permutations.
    probe, preset : str
        As for :func:`probekit.analysis.weights.class_weights`.

    Returns
    -------
    Correlation
        To be drawn by :func:`probekit.report.figures.matrix.draw_correlation`.

    Raises
    ------
    ProbekitError
        If the network has no head, or the head reads another stream than the probe.
    """
    if normalize not in normalization.KINDS:
        raise unknown("normalization", normalize, normalization.KINDS)
    tree.check("cosine", linkage)
    chosen, where = _only(followed(extractor, preset, probe)[0]), layout.root(cache)
    card, _ = clips_of(task, where, root)
    head = _head(chosen, store.find(where, chosen, card.dataset))
    return correlate(
        class_weights(task, extractor, cache=cache, root=root, c=c, probe=probe, preset=preset),
        head,
        normalize=normalize,
        linkage=linkage,
        permutations=permutations,
        seed=seed,
    )


def correlate(
    weights: ClassWeights,
    head: KeptHead,
    *,
    normalize: str = "columns",
    linkage: str = "average",
    permutations: int = nulls.PERMUTATIONS,
    seed: int = 0,
) -> Correlation:
    """Compare class weights with those of a head; see :func:`correlation`.

    Parameters
    ----------
    weights : ClassWeights
        On the embedding as the head reads it.
    head : KeptHead
        A network's own classifier.
    normalize, linkage : str
        As for :func:`correlation`.
    permutations, seed : int
        As for :func:`correlation`.

    Returns
    -------
    Correlation
        With the test.

    Raises
    ------
    DataError
        If the two do not act on the same dimensions, or a row is zero once normalized.
    """
    if weights.matrix.shape[1] != head.weight.shape[1]:
        raise DataError(
            f"{weights.embedding}: the probe reads {weights.matrix.shape[1]} numbers, the head "
            f"{head.weight.shape[1]}"
        )
    targets = normalization.unit_rows(weights.matrix, weights.names, normalize, weights.task)
    sources = normalization.unit_rows(head.weight, head.classes, normalize, "the head")
    cosine, beyond, p = nulls.test(sources, targets, permutations, seed)
    return Correlation(
        weights=weights,
        sources=head.classes,
        stream=head.stream,
        pooling=head.pooling,
        normalize=normalize,
        linkage=linkage,
        cosine=cosine,
        beyond=beyond,
        p=p,
        q=nulls.false_discovery(p),
        source_order=_order(sources, linkage),
        target_order=_order(targets, linkage),
        permutations=permutations,
        seed=seed,
    )


def _only(extractor: str) -> Selection:
    """Return the one embedding whose head is meant; of several, a probe reads more than a head."""
    found = parse_joined(extractor)
    if len(found) > 1:
        raise DataError(f"{extractor}: the head is that of one extractor, not of several")
    if len(found[0].pool) > 1 or found[0].pool == ("std",):
        raise DataError(
            f"{extractor}: the head reads the embedding itself; use pool=mean, or pool=max"
        )
    return found[0]


def _head(chosen: Selection, embeddings: Embeddings) -> KeptHead:
    """Return the head, if it reads what the probe reads."""
    head, name = embeddings.head, embeddings.layout.extractor
    if head is None:
        raise DataError(
            f"{name}: no head is kept with {embeddings.where}: the network has none (probekit "
            f"extractors show {name}), or the embeddings were not made by extraction"
        )
    own = chosen.stream or embeddings.default_stream
    if own != head.stream:
        there = head.stream in embeddings.grids
        what = (
            f"write -e {name}:stream={head.stream}"
            if there
            else f"extract it: --streams {own},{head.stream}, then -e {name}:stream={head.stream}"
        )
        raise DataError(
            f"{name}: the probe reads the stream {own!r}, the network's head {head.stream!r}. "
            f"Weights on different numbers cannot be compared: {what}"
        )
    return head


def _order(rows: Array, linkage: str) -> tuple[int, ...]:
    """Return the order of rows by their dendrogram."""
    if len(rows) < 3:
        return tuple(range(len(rows)))
    # rows have unit length, so that this is ward's linkage, too
    metric = "euclidean" if linkage == "ward" else "cosine"
    return tree.grow(pdist(rows, metric), linkage).order
