"""Which source classes a target class resembles: weights of a probe beside a network's own.

kumar2021, section 5.2: cosine similarity of the rows of two linear layers that read the same
embedding, after mean-variance normalization.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from probekit._typing import Array
from probekit.analysis import base, clustering
from probekit.analysis import class_weights as class_weights_module
from probekit.analysis.class_weights import ClassWeights, apply_preset, class_weights
from probekit.cache import embeddings as embeddings_module
from probekit.cache import layout
from probekit.cache.embeddings import Embeddings
from probekit.cache.head import SavedHead
from probekit.cards.selector import EmbeddingSelector, parse_joined
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.probes.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

PERMUTATIONS = 1000
_BINS = 1 << 16


def permutation_test(
    one: Array, other: Array, permutations: int, seed: int
) -> tuple[Array, Array, Array]:
    """Test each cosine of two sets of rows against permuted dimensions, two-sided.

    Parameters
    ----------
    one, other : numpy.ndarray, shapes (n, dim) and (m, dim)
        Rows of unit length.
    permutations : int >= 1
        How many; no p is below 1 / (permutations + 1) where it is for all pairs together.
    seed : int >= 0
        Of the permutations.

    Returns
    -------
    cosine : numpy.ndarray, shape (n, m)
        Similarities.
    beyond : numpy.ndarray, shape (n, m)
        p of each pair, corrected for all pairs.
    p : numpy.ndarray, shape (n, m)
        p of each pair alone; its null distribution is that of the permuted pairs of all rows.
    """
    rng = np.random.default_rng(seed)
    cosine = one @ other.T
    size = np.abs(cosine)
    # single precision is plenty for chance; the rows in memory as the product wants them
    left, right = one.astype(np.float32), np.ascontiguousarray(other.T, np.float32)
    largest = np.empty(permutations)
    counts = np.zeros(_BINS + 1, np.int64)
    with resources.single_threaded():  # threads of BLAS wait for one another on a busy machine
        for k in range(permutations):
            drawn = np.abs(left @ right[rng.permutation(len(right))])
            largest[k] = drawn.max()
            counts += np.bincount(_bin(drawn).ravel(), minlength=_BINS + 1)
    # as many or more in the same bin or above: rounding makes p larger, never smaller
    above = counts[::-1].cumsum()[::-1]
    p = (1 + above[_bin(size)]) / (1 + permutations * cosine.size)
    reached = permutations - np.searchsorted(np.sort(largest), size - 1e-6)
    return cosine, (1 + reached) / (1 + permutations), p


def false_discovery(p: Array) -> Array:
    """Return false discovery rates (Benjamini and Hochberg, 1995).

    Parameters
    ----------
    p : numpy.ndarray
        Of any shape.

    Returns
    -------
    numpy.ndarray, of the same shape
        The least rate at which each is called a discovery.
    """
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p, axis=None).reshape(p.shape))


def _bin(size: Array) -> Array:
    """Return the bins of absolute cosines."""
    return np.minimum(size * _BINS, _BINS).astype(np.int32)


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
        return base.filename_stem(
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
        """Which pairs are beyond chance at 0.05, corrected for all pairs."""
        return self.p_corrected <= LEVEL

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
            f"Cosine similarity of class weights: {w.description()}, and the {len(self.sources)} "
            "source classes of the network's own head, which reads the same stream "
            f"({self.stream}){frames}. Before: {class_weights_module.SAID[how]}. Rows and columns are "
            f"ordered by {self.linkage} linkage of cosine distances. Dots: {found:,} of {pairs:,} "
            f"pairs beyond chance (p ≤ {LEVEL} for all pairs together, two-sided: "
            f"{self.permutations:,} permutations of the embedding's dimensions on one side, "
            f"largest absolute cosine of all pairs). {rate:,} pairs at a false discovery rate of "
            f"{LEVEL} (Benjamini and Hochberg).{class_weights_module.WARNED[how]} kumar2021 does not "
            "state the axis of its mean-variance normalization, C, distance and linkage, and has "
            f"no test.{base.as_sentence(w.provenance)}"
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
        numbers = [one[s, t].tolist() for one in (self.cosine, self.p, self.q, self.p_corrected)]
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
    permutations: int = PERMUTATIONS,
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
    if normalize not in class_weights_module.KINDS:
        raise unknown_name_error("normalization", normalize, class_weights_module.KINDS)
    clustering.check_linkage("cosine", linkage)
    chosen, where = (
        _resolve_head_selector(apply_preset(extractor, preset, probe)[0]),
        layout.cache_root(cache),
    )
    card, _ = resolve_clips(task, where, root)
    head = _head(chosen, embeddings_module.find_embeddings(where, chosen, card.dataset))
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
    targets = class_weights_module.l2_normalize_rows(
        weights.matrix, weights.names, normalize, weights.task
    )
    sources = class_weights_module.l2_normalize_rows(
        head.weight, head.classes, normalize, "the head"
    )
    cosine, beyond, p = permutation_test(sources, targets, permutations, seed)
    return Correlation(
        weights=weights,
        sources=head.classes,
        stream=head.stream,
        pooling=head.pooling,
        normalize=normalize,
        linkage=linkage,
        cosine=cosine,
        p_corrected=beyond,
        p=p,
        q=false_discovery(p),
        source_order=_order(sources, linkage),
        target_order=_order(targets, linkage),
        permutations=permutations,
        seed=seed,
    )


def _resolve_head_selector(extractor: str) -> EmbeddingSelector:
    """Return the one embedding whose head is meant; of several, a probe reads more than a head."""
    found = parse_joined(extractor)
    if len(found) > 1:
        raise DataError(f"{extractor}: the head is that of one extractor, not of several")
    if len(found[0].pool) > 1 or found[0].pool == ("std",):
        raise DataError(
            f"{extractor}: the head reads the embedding itself; use pool=mean, or pool=max"
        )
    return found[0]


def _head(chosen: EmbeddingSelector, embeddings: Embeddings) -> SavedHead:
    """Return the head, if it reads what the probe reads."""
    head, name = embeddings.head, embeddings.layout.extractor
    if head is None:
        raise DataError(
            f"{name}: no head is kept with {embeddings.folder}: the network has none (probekit "
            f"extractors show {name}), or the embeddings were not made by extraction"
        )
    own = chosen.stream or embeddings.default_stream
    if own != head.stream:
        there = head.stream in embeddings.stream_info
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
    return clustering.linkage_tree(pdist(rows, metric), linkage).order
