"""Class weights of a probe for labels that have nothing to do with the embedding.

Labels are exchanged between the training clips, whole groups together, and the probe is fitted to
them again: same clips, features and C. That is the null hypothesis of a test of class weights:
Winkler et al., Multi-level block permutation, NeuroImage 123, 2015.
"""

from collections.abc import Callable, Iterator

import numpy as np

from probekit._typing import Array
from probekit.analysis.class_weights import TrainingClips
from probekit.probes.linear import fit_paths

MIN_GROUPS = 10  # in a stratum of sizes, if there are as many
_DRAW_BYTES = 2e8  # of labels in memory at once


def unit_numbers(groups: Array) -> Array:
    """Return the number of each clip's group, from 0; without a group (empty text) it is one."""
    # no group has the name of a number after a line feed
    names = np.where(groups != "", groups, np.char.add("\n", np.arange(len(groups)).astype(str)))
    return np.asarray(np.unique(names, return_inverse=True)[1])


class LabelExchange:
    """Random exchanges of labels between clips, whole groups together.

    Every group takes the labels of another one, in random order. Groups of one size, and clips
    without a group, exchange what they have. With groups of unequal sizes, partners are of similar
    size (within a factor of two, or more where fewer than ten groups would be left to choose from):
    the larger repeats labels of the smaller. So clips of one group with one label still have one
    label, classes keep about their number of clips, and classes of large groups stay classes of
    large groups.

    Parameters
    ----------
    groups : numpy.ndarray of str, shape (clips,)
        Empty text for a clip of its own.

    Attributes
    ----------
    units : int
        Number of groups, and of clips without one.
    unit_name : {"clips", "groups"}
        What is exchanged: groups if any has two clips.
    """

    def __init__(self, groups: Array) -> None:
        clips, self._group = len(groups), unit_numbers(groups)
        self._sizes = np.bincount(self._group)
        self.units = len(self._sizes)
        self.unit_name = "groups" if self.units < clips else "clips"
        self._starts = np.cumsum(self._sizes) - self._sizes
        order = np.argsort(self._group, kind="stable")
        self._position = np.empty(clips, np.int64)
        self._position[order] = np.arange(clips) - self._starts[self._group[order]]
        stratum = np.floor(np.log2(self._sizes)).astype(np.int64)
        while stratum.max() > 0 and (stratum == stratum.max()).sum() < MIN_GROUPS:
            stratum = np.minimum(stratum, stratum.max() - 1)
        self._stratum = stratum

    def draw(self, rng: np.random.Generator) -> Array:
        """Return, for each clip, the row of the clip whose labels it takes."""
        if self.unit_name == "clips":
            return rng.permutation(len(self._group))
        partner = np.empty(self.units, np.int64)
        partner[np.argsort(self._stratum, kind="stable")] = np.lexsort(
            (rng.random(self.units), self._stratum)
        )
        shuffled = np.lexsort((rng.random(len(self._group)), self._group))
        source = partner[self._group]
        return np.asarray(shuffled[self._starts[source] + self._position % self._sizes[source]])


class PermutedProbe:
    """A probe, to be fitted to exchanged labels.

    Parameters
    ----------
    training : TrainingClips
        Clips and C.

    Attributes
    ----------
    exchange : LabelExchange
        Of the clips' labels.
    repeats : int
        Draws of :meth:`refits` that gave the labels as they are, up to names of classes.
    failures : int
        Fits of :meth:`refits` that did not converge.
    """

    def __init__(self, training: TrainingClips) -> None:
        from probekit.solvers.label_sets import LabelSetSolver  # torch takes a second to load

        self.training = training
        self.exchange = LabelExchange(training.groups)
        self._solver = LabelSetSolver(training.features, training.c)
        self.repeats = self.failures = 0

    def refits(
        self, permutations: int, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Iterator[Array]:
        """Yield class weights on the features for exchanged labels.

        Parameters
        ----------
        permutations : int >= 1
            Number of exchanges.
        seed : int >= 0
            Random seed.
        progress : callable, optional
            Called with the number of finished fits and the total.

        Yields
        ------
        numpy.ndarray, shape (fitted classes, dim)
            Zeros for a class that the exchange left without clips. Fits that the solver of label
            sets does not finish are done by the probe's own.
        """
        rng = np.random.default_rng(seed)
        self.repeats = self.failures = 0
        classes = int(self.training.has_weights.sum())
        batch = self._solver.batch_size(classes)
        batch = max(1, min(batch, int(_DRAW_BYTES / self.training.targets.nbytes)))
        for start in range(0, permutations, batch):
            count = min(batch, permutations - start)
            labels = [self.training.targets[self.exchange.draw(rng)] for _ in range(count)]
            self.repeats += sum(is_relabeling(self.training.targets, row) for row in labels)
            yield from self._fit(labels, classes)
            if progress:
                progress(start + count, permutations)

    def flips(self, count: int, seed: int) -> Iterator[Array]:
        """Yield class weights with random signs of their principal components.

        In the basis of the principal components of the features, each component of all classes'
        weights is multiplied by the same random sign: as strong along each direction, decodable as
        before, but for or against a class by chance.

        Parameters
        ----------
        count : int >= 1
            Number of draws.
        seed : int >= 0
            Random seed.

        Yields
        ------
        numpy.ndarray, shape (fitted classes, dim)
            Weights on the features.
        """
        rng = np.random.default_rng((seed, 1))
        vectors = self._solver.vectors.numpy()
        components = self.training.coef.astype(np.float32) @ vectors
        for _ in range(count):
            signs = rng.integers(0, 2, len(vectors.T)).astype(np.float32) * 2 - 1
            yield (components * signs) @ vectors.T

    def _fit(self, labels: list[Array], classes: int) -> list[Array]:
        """Return the weights for some sets of labels."""
        fitted = np.flatnonzero(self.training.has_weights)
        if labels[0].ndim == 2:
            tags = np.concatenate([targets.T[fitted] != 0 for targets in labels])
            coef, converged = self._solver.tags(tags)
            coef = coef.reshape(len(labels), classes, -1)
            converged = np.asarray(converged.reshape(len(labels), classes).all(axis=1))
        elif classes == 2:  # the difference of the two rows is what is fitted
            difference, converged = self._solver.tags(np.stack(labels) == fitted[1])
            coef = np.stack([-difference, difference], axis=1) / 2
        else:
            numbers = np.searchsorted(fitted, np.stack(labels))
            coef, converged = self._solver.softmax(numbers, classes)
        return [
            rows if done else self._fit_exactly(targets)
            for rows, done, targets in zip(coef, converged, labels, strict=True)
        ]

    def _fit_exactly(self, targets: Array) -> Array:
        """Fit by the solver of the probe."""
        features, has_weights = self.training.features, self.training.has_weights
        rows = np.arange(len(features))
        kind = "multi" if targets.ndim == 2 else "single"
        [[probe]] = fit_paths(
            features, targets, [rows], kind, len(has_weights), [self.training.c], standardize=False
        )
        self.failures += not probe.converged
        return np.asarray(probe.coef[has_weights])


def is_relabeling(first: Array, second: Array) -> bool:
    """Tell whether two arrays of targets are the same up to the names of their classes."""
    if first.ndim == 2:
        columns = [targets[:, np.lexsort(targets)] for targets in (first, second)]
        return bool(np.array_equal(columns[0], columns[1]))
    classes = 1 + int(max(first.max(), second.max()))
    both = len(np.unique(first.astype(np.int64) * classes + second))
    return both == len(np.unique(first)) == len(np.unique(second))
