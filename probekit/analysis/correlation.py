"""Correlation of a task's classes with a network's source classes, by their weights.

kumar2021, section 5.2: cosine similarity of the rows of two linear layers that read the same
embedding, after mean-variance normalization.
"""

from collections.abc import Callable, Iterable
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
    NORMALIZATIONS,
    ClassWeights,
    TrainingClips,
    apply_linear_preset,
    fit_class_weights,
    l2_normalize_rows,
    unit_rows,
)
from probekit.analysis.clustering import check_linkage, linkage_tree
from probekit.analysis.label_permutation import PermutedProbe
from probekit.cache import layout
from probekit.cache.embeddings import Embeddings, find_embeddings
from probekit.cache.head import SavedHead
from probekit.cards.selector import EmbeddingSelector, parse_selectors
from probekit.errors import DataError
from probekit.tasks.task_clips import resolve_clips
from probekit.utils.suggest import unknown_name_error

PERMUTATIONS = 199
LEVEL = 0.05
REFIT_ERROR = 0.002  # largest error of a cosine of a refit that has converged, as tested
_ROUNDING = 1e-5  # of cosines in float32
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
    p_labels, p_signs : numpy.ndarray, shape (sources, targets)
        p of each pair, corrected for all pairs by the largest values under both null hypotheses:
        exchanged labels, and random signs of the weights' principal components.
    p, q : numpy.ndarray, shape (sources, targets)
        p of each pair alone, the larger of both, and its false discovery rate (Benjamini and
        Hochberg).
    source_order, target_order : tuple of int
        As in the figure.
    permutations, seed : int
        Of the test.
    unit_name : {"clips", "groups"}
        What exchanged labels.
    units : int
        How many of these there are.
    repeats : int
        Permutations that gave the same labels as the task's, up to names of classes.
    failures : int
        Refits that did not converge.
    """

    weights: ClassWeights
    sources: tuple[str, ...]
    stream: str
    pooling: str
    normalize: str
    linkage: str
    cosine: Array
    p_labels: Array
    p_signs: Array
    p: Array
    q: Array
    source_order: tuple[int, ...]
    target_order: tuple[int, ...]
    permutations: int
    seed: int
    unit_name: str
    units: int
    repeats: int = 0
    failures: int = 0

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
    def p_corrected(self) -> Array:
        """Larger p of both tests for each pair, corrected for all pairs."""
        return np.maximum(self.p_labels, self.p_signs)

    @property
    def testable(self) -> bool:
        """Whether there are enough different labelings for p to reach the 5 % level."""
        return (1 + self.repeats) / (1 + self.permutations) <= LEVEL

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
            "together, two-sided, by the largest absolute cosine of all pairs, both with the probe "
            f"fitted to {self.permutations:,} permutations of the labels of {self.units:,} "
            f"{self.unit_name} and with random signs of its principal components). "
            f"{discoveries:,} pairs at a false discovery rate of {LEVEL} (Benjamini and Hochberg)."
            f"{self._warnings()} kumar2021 does not state the axis of its mean-variance "
            "normalization, C, distance and linkage, and has no test."
            f"{as_sentence(weights.provenance)}"
        )

    def _warnings(self) -> str:
        """Return what limits the test, as sentences."""
        text = ""
        if not self.testable:
            text += (
                f" The {self.units:,} {self.unit_name} have too few different arrangements of "
                "labels for any pair to be beyond chance."
            )
        if self.failures:
            text += f" {self.failures:,} of the fits to permuted labels did not converge."
        return text

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
            "permuted": self.unit_name,
            "permuted_units": self.units,
            "permutations_equal_to_labels": self.repeats,
            "permutations_not_converged": self.failures,
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
        for all pairs (the larger of those by labels and by signs), and whether that is at most
        0.05.
        """
        ranked = np.argsort(-np.abs(self.cosine), axis=None, kind="stable")[:count]
        s, t = np.unravel_index(ranked, self.cosine.shape)
        matrices = (self.cosine, self.p, self.q, self.p_corrected, self.p_labels, self.p_signs)
        columns = [matrix[s, t].tolist() for matrix in matrices]
        return [
            {
                "target": self.weights.names[target],
                "source": self.sources[source],
                "cosine": cosine,
                "p": p,
                "q": q,
                "p_all_pairs": p_corrected,
                "p_labels": p_labels,
                "p_signs": p_signs,
                "beyond_chance": p_corrected <= LEVEL,
            }
            for target, source, cosine, p, q, p_corrected, p_labels, p_signs in zip(
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
    progress: Callable[[int, int], None] | None = None,
) -> Correlation:
    """Compare a task's classes with those of the network's own head, by their weights.

    The probe must read the stream that the head reads, from the same cache: both sets of weights
    then act on the same numbers.

    kumar2021 does not say over which axis it normalizes. Over the classes (``columns``) it is what
    the paper does to features.

    A pair is beyond chance if it is so for two null hypotheses. *Labels*: the task's labels have
    nothing to do with the embedding. They are exchanged between clips, whole groups together, and
    the probe is fitted again at the same C. *Signs*: the embedding tells the classes apart, but
    along which of its principal directions has nothing to do with the source classes. Each
    principal component of all classes' weights is multiplied by a random sign. Either null alone
    finds too much: tasks that are decodable differ from random labels in the strength of their
    components, and signs of components are not independent where clips come in groups.

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
        Number of refits to exchanged labels, and of draws of signs.
    seed : int >= 0
        Of the permutations.
    probe, preset : str
        As for :func:`probekit.analysis.class_weights.class_weights`.
    progress : callable, optional
        Called with the number of refits done and the total.

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
    weights, training = fit_class_weights(
        task, extractor, cache=cache, root=root, c=c, probe=probe, preset=preset
    )
    return cosine_correlation(
        weights,
        training,
        head,
        normalize=normalize,
        linkage=linkage,
        permutations=permutations,
        seed=seed,
        progress=progress,
    )


def cosine_correlation(
    weights: ClassWeights,
    training: TrainingClips,
    head: SavedHead,
    *,
    normalize: str = "columns",
    linkage: str = "average",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Correlation:
    """Compare class weights with those of a head; see :func:`correlation`.

    Parameters
    ----------
    weights : ClassWeights
        On the embedding as the head reads it.
    training : TrainingClips
        What they were fitted to.
    head : SavedHead
        The network's classifier.
    normalize, linkage : str
        As for :func:`correlation`.
    permutations, seed : int
        As for :func:`correlation`.
    progress : callable, optional
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
    cosine = sources @ targets.T
    probe = PermutedProbe(training)
    refits = probe.refits(permutations, seed, progress)
    p_labels, p_by_labels = p_values(
        cosine, _null_cosines(refits, training, sources, normalize), REFIT_ERROR
    )
    flips = probe.flips(permutations, seed)
    p_signs, p_by_signs = p_values(
        cosine, _null_cosines(flips, training, sources, normalize), _ROUNDING
    )
    p = np.maximum(p_by_labels, p_by_signs)
    return Correlation(
        weights=weights,
        sources=head.classes,
        stream=head.stream,
        pooling=head.pooling,
        normalize=normalize,
        linkage=linkage,
        cosine=cosine,
        p_labels=p_labels,
        p_signs=p_signs,
        p=p,
        q=false_discovery_control(p, axis=None).reshape(p.shape),
        source_order=_order(sources, linkage),
        target_order=_order(targets, linkage),
        permutations=permutations,
        seed=seed,
        unit_name=probe.exchange.unit_name,
        units=probe.exchange.units,
        repeats=probe.repeats,
        failures=probe.failures,
    )


def p_values(cosine: Array, null: Array, slack: float) -> tuple[Array, Array]:
    """Return p of each pair, corrected for all pairs and alone, from values under a null.

    Parameters
    ----------
    cosine : numpy.ndarray, shape (sources, targets)
        Similarities.
    null : numpy.ndarray, shape (draws, sources, targets)
        Absolute similarities under the null hypothesis.
    slack : float >= 0
        Error of the null's values; those that are smaller by that much count as reached.

    Returns
    -------
    p_corrected : numpy.ndarray, shape (sources, targets)
        Share of draws whose largest value of all pairs reaches the pair's (Westfall and Young,
        1993), the observed one included.
    p : numpy.ndarray, shape (sources, targets)
        Of each pair alone. Values are divided by the root mean square of the pair's own null, and
        then compared with those of all pairs: draws are too few for a null of each pair.
    """
    draws = len(null)
    size = np.abs(cosine) - slack
    largest = np.sort(null.reshape(draws, -1).max(axis=1))
    p_corrected = (1 + draws - np.searchsorted(largest, size)) / (1 + draws)
    spread = np.sqrt(np.einsum("bst,bst->st", null, null, dtype=np.float64) / draws)
    spread = np.maximum(spread, 1e-12)
    ratio = size / spread
    top = max(float(ratio.max()), 1e-12)
    counts = np.zeros(_BINS + 1, np.int64)
    for values in null:
        counts += np.bincount(_bin(values / spread, top).ravel(), minlength=_BINS + 1)
    # as many or more in the same bin or above: rounding makes p larger, never smaller
    above = counts[::-1].cumsum()[::-1]
    return p_corrected, (1 + above[_bin(ratio, top)]) / (1 + null.size)


def _bin(ratio: Array, top: float) -> Array:
    """Return the bins of values from 0 to ``top``."""
    return np.clip(ratio / top * _BINS, 0, _BINS).astype(np.int32)


def _null_cosines(
    weights: Iterable[Array], training: TrainingClips, sources: Array, normalize: str
) -> Array:
    """Return absolute cosines of the sources with each of some sets of class weights."""
    left = sources.astype(np.float32)
    null = []
    for matrix in weights:
        rows = unit_rows(matrix / training.scale, normalize).astype(np.float32)
        null.append(np.abs(left @ rows.T))
    return np.stack(null)


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
