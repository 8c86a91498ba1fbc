"""Correlation of a task's classes with a network's source classes, by their weights.

kumar2021, section 5.2: cosine similarity of the rows of two linear layers that read the same
embedding, after mean-variance normalization.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from scipy.stats import false_discovery_control

from probekit._typing import Array
from probekit.analysis.base import as_sentence, filename_stem
from probekit.analysis.class_weights import (
    NORMALIZATION_TEXT,
    NORMALIZATION_WARNINGS,
    NORMALIZATIONS,
    ClassWeights,
    apply_linear_preset,
    class_weights,
    l2_normalize_rows,
)
from probekit.analysis.clustering import check_linkage, linkage_tree
from probekit.cache import layout
from probekit.cache.embeddings import Embeddings, find_embeddings
from probekit.cache.head import SavedHead
from probekit.cards.selector import EmbeddingSelector, parse_selectors
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

PERMUTATIONS = 1000
LEVEL = 0.05
_BINS = 1 << 16


@dataclass(frozen=True)
class Correlation:
    """Cosine similarities of target classes and source classes.

    Attributes
    ----------
    weights : ClassWeights
        Rows of the target classes.
    sources : tuple of str
        Source classes: those of the network's head.
    stream, pooling : str
        Stream that the head reads, and how the network pools frames.
    normalize : {"columns", "rows", "none"}
        Normalization of both matrices.
    linkage : str
        Of the trees that order rows and columns.
    cosine : numpy.ndarray, shape (sources, targets)
        The similarities.
    p_corrected : numpy.ndarray, shape (sources, targets)
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
    p_corrected: Array
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
        return filename_stem(
            "correlation",
            w.task,
            w.embedding,
            normalize=(self.normalize, "columns"),
            linkage=(self.linkage, "average"),
            permutations=(self.permutations, PERMUTATIONS),
            seed=(self.seed, 0),
            **w.filename_choices(),
        )

    @property
    def significant(self) -> Array:
        """Which pairs are beyond chance at the 5 % level, corrected for all pairs."""
        return self.p_corrected <= LEVEL

    @property
    def caption(self) -> str:
        """Caption for a paper."""
        pairs, weights = self.cosine.size, self.weights
        frames = {
            "none": "",
            "mean": ", which averages over frames",
        }.get(self.pooling, ", which acts on frames")
        significant, discoveries = int(self.significant.sum()), int((self.q <= LEVEL).sum())
        return (
            f"Cosine similarity of class weights: {weights.description()}, and the "
            f"{len(self.sources)} source classes of the network's own head, which reads the same "
            f"stream ({self.stream}){frames}. Before: {NORMALIZATION_TEXT[self.normalize]}. Rows "
            f"and columns are ordered by {self.linkage} linkage of cosine distances. Dots: "
            f"{significant:,} of {pairs:,} pairs beyond chance (p ≤ {LEVEL} for all pairs "
            f"together, two-sided: {self.permutations:,} permutations of the embedding's "
            f"dimensions on one side, largest absolute cosine of all pairs). {discoveries:,} pairs "
            f"at a false discovery rate of {LEVEL} (Benjamini and Hochberg)."
            f"{NORMALIZATION_WARNINGS[self.normalize]} kumar2021 does not state the axis of its "
            "mean-variance normalization, C, distance and linkage, and has no test."
            f"{as_sentence(weights.provenance)}"
        )

    def facts(self) -> dict[str, Any]:
        """Return probe, head, choices and test for the JSON beside the figure."""
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
        """Return all pairs, the strongest first; see :meth:`strongest`."""
        return self.strongest(self.cosine.size)

    def strongest(self, count: int) -> list[dict[str, Any]]:
        """Return the ``count`` pairs of the largest absolute cosine.

        Keys: target and source class, cosine, p of the pair, its false discovery rate, p corrected
        for all pairs, and whether that is at most 0.05.
        """
        ranked = np.argsort(-np.abs(self.cosine), axis=None, kind="stable")[:count]
        s, t = np.unravel_index(ranked, self.cosine.shape)
        columns = [m[s, t].tolist() for m in (self.cosine, self.p, self.q, self.p_corrected)]
        return [
            {
                "target": self.weights.names[target],
                "source": self.sources[source],
                "cosine": cosine,
                "p": p,
                "q": q,
                "p_all_pairs": p_corrected,
                "beyond_chance": p_corrected <= LEVEL,
            }
            for target, source, cosine, p, q, p_corrected in zip(
                t.tolist(), s.tolist(), *columns, strict=True
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
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    probe: str = "linear",
    preset: str = "",
) -> Correlation:
    """Compare a task's classes with those of the network's own head, by their weights.

    The probe must read the stream that the head reads, from the same cache: both sets of weights
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
        As for :func:`probekit.analysis.class_weights.class_weights`.

    Returns
    -------
    Correlation
        To be drawn by :func:`probekit.figures.heatmap.draw_correlation`.

    Raises
    ------
    ProbekitError
        If the network has no head, or the head reads another stream than the probe.
    """
    if normalize not in NORMALIZATIONS:
        raise unknown_name_error("normalization", normalize, NORMALIZATIONS)
    check_linkage("cosine", linkage)
    selector = _resolve_head_selector(apply_linear_preset(extractor, preset, probe)[0])
    cache_root = layout.cache_root(cache)
    card, _ = resolve_clips(task, cache_root, root)
    head = _head(selector, find_embeddings(cache_root, selector, card.dataset))
    return cosine_correlation(
        class_weights(task, extractor, cache=cache, root=root, c=c, probe=probe, preset=preset),
        head,
        normalize=normalize,
        linkage=linkage,
        permutations=permutations,
        seed=seed,
    )


def cosine_correlation(
    weights: ClassWeights,
    head: SavedHead,
    *,
    normalize: str = "columns",
    linkage: str = "average",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Correlation:
    """Compare class weights with those of a head; see :func:`correlation`.

    Parameters
    ----------
    weights : ClassWeights
        On the embedding as the head reads it.
    head : SavedHead
        The network's classifier.
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
    targets = l2_normalize_rows(weights.matrix, weights.names, normalize, weights.task)
    sources = l2_normalize_rows(head.weight, head.classes, normalize, "the head")
    cosine, p_corrected, p = permutation_test(sources, targets, permutations, seed)
    return Correlation(
        weights=weights,
        sources=head.classes,
        stream=head.stream,
        pooling=head.pooling,
        normalize=normalize,
        linkage=linkage,
        cosine=cosine,
        p_corrected=p_corrected,
        p=p,
        q=false_discovery_control(p, axis=None).reshape(p.shape),
        source_order=_order(sources, linkage),
        target_order=_order(targets, linkage),
        permutations=permutations,
        seed=seed,
    )


def permutation_test(
    x: Array, y: Array, permutations: int, seed: int
) -> tuple[Array, Array, Array]:
    """Test each cosine of two sets of rows against permuted dimensions, two-sided.

    Parameters
    ----------
    x, y : numpy.ndarray, shapes (n, dim) and (m, dim)
        Rows of unit length.
    permutations : int >= 1
        Number of permutations; ``p_corrected`` is at least 1 / (permutations + 1).
    seed : int >= 0
        Random seed.

    Returns
    -------
    cosine : numpy.ndarray, shape (n, m)
        Similarities.
    p_corrected : numpy.ndarray, shape (n, m)
        p of each pair, corrected for all pairs.
    p : numpy.ndarray, shape (n, m)
        p of each pair alone; its null distribution is that of the permuted pairs of all rows.
    """
    rng = np.random.default_rng(seed)
    cosine = x @ y.T
    size = np.abs(cosine)
    # single precision is enough for the null distribution; rows laid out as the product reads them
    left, right = x.astype(np.float32), np.ascontiguousarray(y.T, np.float32)
    largest = np.empty(permutations)
    counts = np.zeros(_BINS + 1, np.int64)
    with resources.single_threaded():  # threads of BLAS wait for one another on a busy machine
        for k in range(permutations):
            permuted = np.abs(left @ right[rng.permutation(len(right))])
            largest[k] = permuted.max()
            counts += np.bincount(_bin(permuted).ravel(), minlength=_BINS + 1)
    # as many or more in the same bin or above: rounding makes p larger, never smaller
    above = counts[::-1].cumsum()[::-1]
    p = (1 + above[_bin(size)]) / (1 + permutations * cosine.size)
    reached = permutations - np.searchsorted(np.sort(largest), size - 1e-6)
    return cosine, (1 + reached) / (1 + permutations), p


def _bin(size: Array) -> Array:
    """Return the bins of absolute cosines."""
    return np.minimum(size * _BINS, _BINS).astype(np.int32)


def _resolve_head_selector(extractor: str) -> EmbeddingSelector:
    """Return the one embedding that a head can read; of several, a probe reads more."""
    selectors = parse_selectors(extractor)
    if len(selectors) > 1:
        raise DataError(
            f"{extractor}: must be one extractor, to compare with its head, got several"
        )
    if len(selectors[0].pool) > 1 or selectors[0].pool == ("std",):
        raise DataError(
            f"{extractor}: the head reads the embedding itself; use pool=mean, or pool=max"
        )
    return selectors[0]


def _head(selector: EmbeddingSelector, embeddings: Embeddings) -> SavedHead:
    """Return the head, if it reads the stream that the probe reads."""
    head, name = embeddings.head, embeddings.layout.extractor
    if head is None:
        raise DataError(
            f"{name}: no head found in {embeddings.folder}: the network has none (probekit "
            f"extractors show {name}), or the embeddings were not made by extraction"
        )
    stream = selector.stream or embeddings.default_stream
    if stream != head.stream:
        advice = f"-e {name}:stream={head.stream}"
        if head.stream not in embeddings.stream_info:
            advice = f"extract it: --streams {stream},{head.stream}, then {advice}"
        else:
            advice = f"write {advice}"
        raise DataError(
            f"{name}: the probe reads the stream {stream!r}, the network's head {head.stream!r}. "
            f"Weights on different numbers cannot be compared: {advice}"
        )
    return head


def _order(rows: Array, linkage: str) -> tuple[int, ...]:
    """Return the order of rows by their dendrogram."""
    if len(rows) < 3:
        return tuple(range(len(rows)))
    # of rows of unit length, euclidean distance orders as cosine does, and ward is defined for it
    metric = "euclidean" if linkage == "ward" else "cosine"
    return linkage_tree(pdist(rows, metric), linkage).order
