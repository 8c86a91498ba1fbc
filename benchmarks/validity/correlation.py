"""Share of simulations in which pairs of classes of unrelated tasks are called beyond chance.

Embeddings are real ones; labels of the target task and of the head are unrelated by construction.
The head is a probe for 12 classes of its own labels on the same clips.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd

from probekit.analysis.class_weights import ClassWeights, TrainingClips, l2_normalize_rows
from probekit.analysis.correlation import REFIT_ERROR, Correlation, cosine_correlation
from probekit.analysis.label_permutation import LabelExchange, PermutedProbe
from probekit.analysis.similarity import (
    chance_cka,
    chance_overlap,
    k_nearest,
    linear_cka,
    neighbor_overlap,
)
from probekit.cache.head import SavedHead
from probekit.probes.linear import FittedLinear, fit_paths
from probekit.solvers.label_sets import LabelSetSolver

DATA = Path(__file__).resolve().parents[3] / "shared/data/choi2017"
SIMULATIONS = 100
PERMUTATIONS = 59  # p ≤ 0.05 is exact for 59 as for 199
GRID = tuple(10.0**k for k in range(-5, 2))
STRENGTH = 2.0  # of decodable labels: standard deviation of scores, beside Gumbel noise

Array = np.ndarray


@dataclass(frozen=True)
class Clips:
    """Embeddings with the principal components of their standardized features."""

    name: str
    rows: Array
    groups: Array
    variances: Array
    vectors: Array

    @property
    def features(self) -> Array:
        """Standardized rows."""
        return (self.rows - self.rows.mean(axis=0)) / self.rows.std(axis=0)


def read_embeddings() -> Iterator[Clips]:
    """Yield real embeddings: of songs by a convnet and MFCC, and of sounds with their sources."""
    layers = [np.load(DATA / f"gtzan_genre_layer_{k}.npy") for k in range(5)]
    yield make_clips("convnet, 160", np.concatenate(layers, axis=1))
    yield make_clips("MFCC, 120", np.load(DATA / "gtzan_genre_mfcc.npy"))
    yield make_clips("convnet, 32", layers[4])
    sounds = pd.read_csv(DATA / "urbansound.csv")
    source = np.array([Path(name).name.partition("-")[0] for name in sounds["filepath"]])
    layers = [np.load(DATA / f"urbansound_layer_{k}.npy") for k in range(5)]
    names, counts = np.unique(source, return_counts=True)
    for text, chosen in (
        ("120 sources", np.random.default_rng(0).choice(names, 120, replace=False)),
        ("20 large sources", names[np.argsort(-counts)[:20]]),
    ):
        some = np.isin(source, chosen)
        rows = np.concatenate(layers, axis=1)[some]
        yield make_clips(f"convnet, 160, {text}", rows, source[some])


def make_clips(name: str, rows: Array, groups: Array | None = None) -> Clips:
    """Return embeddings with their components."""
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    variances, vectors = np.linalg.eigh(scaled.T.astype(float) @ scaled / len(rows))
    groups = np.full(len(rows), "") if groups is None else groups
    return Clips(name, rows, groups, np.maximum(variances, 1e-9), vectors)


# ---- labels


def random_labels(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """Labels of equal frequency that have nothing to do with the clips."""
    return rng.permutation(np.arange(len(clips.rows)) % classes)


def unbalanced_labels(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """Random labels, each class half as frequent as the one before, at least 5 clips."""
    labels = np.minimum(rng.geometric(0.5, len(clips.rows)) - 1, classes - 1)
    labels[: 5 * classes] = np.arange(5 * classes) % classes
    return rng.permutation(labels)


def group_labels(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """One random label for each group."""
    names, group = np.unique(clips.groups, return_inverse=True)
    return rng.permutation(np.arange(len(names)) % classes)[group]


def labels_by_size(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """One label for each group, by its number of clips and chance."""
    _, group, sizes = np.unique(clips.groups, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(sizes * (1 + rng.random(len(sizes)))))
    return (rank * classes // len(sizes))[group]


def mixed_labels(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """One label for each group, and another one for 30 % of its clips."""
    labels = group_labels(rng, classes, clips)
    return np.where(rng.random(len(labels)) < 0.3, rng.integers(0, classes, len(labels)), labels)


def decodable_labels(power: float) -> Callable[[np.random.Generator, int, Clips], Array]:
    """Return labels of random directions, with components like variances to some power.

    -0.5: as strong along each component; 0: along each feature; 0.5: along strong components.
    """

    def draw(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
        size = (len(clips.variances), classes)
        scores = clips.features @ (
            clips.vectors @ (rng.normal(size=size) * clips.variances[:, None] ** power)
        )
        scores = STRENGTH * (scores - scores.mean(axis=0)) / scores.std(axis=0)
        return np.asarray((scores + rng.gumbel(size=scores.shape)).argmax(axis=1))

    return draw


def random_tags(rng: np.random.Generator, classes: int, clips: Clips) -> Array:
    """Tags of 2 to 50 % of the clips, at random."""
    shares = np.geomspace(0.02, 0.5, classes)
    return (rng.random((len(clips.rows), classes)) < shares).astype(np.int8)


# ---- fits


def fit(
    clips: Clips, labels: Array, c: float | None, classes: int
) -> tuple[ClassWeights, TrainingClips]:
    """Fit a probe; without C with the best of a grid on a quarter of the clips."""
    kind = "multi" if labels.ndim == 2 else "single"
    rows = np.arange(len(labels))
    if c is None:
        held_out = rows % 4 == 0
        [path] = fit_paths(clips.rows, labels, [rows[~held_out]], kind, classes, GRID)
        c = GRID[int(np.argmax([accuracy(p, clips, labels, held_out) for p in path]))]
    [[probe]] = fit_paths(clips.rows, labels, [rows], kind, classes, [c])
    scale = probe.scaler.scale
    matrix = probe.coef / scale
    names = tuple(f"class {k}" for k in range(classes))
    weights = ClassWeights(
        matrix, names, "task", clips.name, "embedding", c, len(rows), True, "", "", ()
    )
    features = probe.scaler(clips.rows).astype(np.float32)
    fitted = np.ones(classes, bool)
    return weights, TrainingClips(features, labels, clips.groups, probe.coef, scale, fitted, c)


def accuracy(probe: FittedLinear, clips: Clips, labels: Array, rows: Array) -> float:
    """Return the share of clips that a probe labels right."""
    return float((probe.scores(clips.rows[rows]).argmax(axis=1) == labels[rows]).mean())


def make_head(weights: ClassWeights) -> SavedHead:
    """Return class weights as those of a network's head."""
    matrix = weights.matrix.astype(np.float32)
    return SavedHead(weights.names, matrix, np.zeros(len(matrix)), "stream", "none")


def permuted_dimensions(pairs: Correlation, head: SavedHead, seed: int) -> float:
    """Return the smallest p of the former test, which permuted dimensions of one side."""
    rng = np.random.default_rng(seed)
    targets = l2_normalize_rows(pairs.weights.matrix, pairs.weights.names, "columns", "")
    sources = l2_normalize_rows(head.weight, head.classes, "columns", "")
    largest = np.abs(pairs.cosine).max()
    null = [
        np.abs(sources @ targets[:, rng.permutation(targets.shape[1])].T).max()
        for _ in range(PERMUTATIONS)
    ]
    return float((1 + np.sum(null >= largest)) / (1 + PERMUTATIONS))


# ---- tables


def simulate(
    clips: Clips,
    draw: Callable[[np.random.Generator, int, Clips], Array],
    c: float | None,
    simulations: int,
    classes: int = 8,
    normalize: str = "columns",
) -> list[float]:
    """Return shares of simulations with any pair beyond chance, by each test; and of pairs."""
    counts = np.zeros(6)
    for seed in range(simulations):
        rng = np.random.default_rng(seed)
        weights, training = fit(clips, draw(rng, classes, clips), c, classes)
        others = draw(rng, 12, clips) if draw is not random_tags else random_labels(rng, 12, clips)
        head = make_head(fit(clips, others, c or 0.01, 12)[0])
        pairs = cosine_correlation(
            weights, training, head, normalize=normalize, permutations=PERMUTATIONS, seed=seed
        )
        counts += (
            permuted_dimensions(pairs, head, seed) <= 0.05,
            (pairs.p_labels <= 0.05).any(),
            (pairs.p_signs <= 0.05).any(),
            pairs.significant.any(),
            (pairs.p <= 0.05).mean(),
            (pairs.q <= 0.05).any(),
        )
    return list(counts / simulations)


def print_level(simulations: int) -> None:
    """Print how often unrelated tasks have pairs beyond chance."""
    songs, features, small, sources, large = read_embeddings()
    print("| embedding | labels of both sides | C | permuted dimensions (before) "
          "| labels only | signs only | **both** | pairs p ≤ .05 | any q ≤ .05 |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    cases: list[tuple[str, Callable[..., Array], list[tuple[Clips, float | None]]]] = [
        ("random", random_labels,
         [(songs, 1e-3), (songs, 0.1), (features, 1e-3), (small, 1e-3)]),
        ("random, C selected", random_labels, [(songs, None)]),
        ("random, unbalanced", unbalanced_labels, [(songs, 0.01)]),
        ("random tags", random_tags, [(songs, 0.01)]),
        ("decodable, any component", decodable_labels(-0.5), [(songs, 1e-3), (small, 0.1)]),
        ("decodable, along features", decodable_labels(0),
         [(songs, 1e-3), (songs, 0.1), (features, 1e-3), (small, 1e-3)]),
        ("decodable, strong components", decodable_labels(0.5),
         [(songs, 1e-3), (songs, 0.1), (features, 1e-3), (small, 0.1)]),
        ("decodable, C selected", decodable_labels(0), [(songs, None)]),
        ("random, of groups", group_labels, [(sources, 1e-3), (sources, 0.1), (large, 1e-3)]),
        ("random, of groups, by size", labels_by_size, [(sources, 0.01)]),
        ("random, of groups, 30 % of clips", mixed_labels, [(sources, 0.01)]),
    ]  # fmt: skip
    for text, draw, settings in cases:
        for clips, c in settings:
            row = simulate(clips, draw, c, simulations, 4 if clips is large else 8)
            print_row(clips.name, text, "selected" if c is None else f"{c:g}", row)
    for normalize in ("rows", "none"):
        for text, draw in (("random", random_labels), ("decodable", decodable_labels(0))):
            row = simulate(songs, draw, 1e-2, simulations, 8, normalize)
            print_row(songs.name, f"{text}, --normalize {normalize}", "0.01", row)


def print_row(name: str, text: str, c: str, shares: list[float]) -> None:
    old, labels, signs, both, pairs, discoveries = (f"{share:.2f}" for share in shares)
    print(f"| {name} | {text} | {c} | {old} | {labels} | {signs} | **{both}** | {pairs} "
          f"| {discoveries} |", flush=True)  # fmt: skip


def print_power(simulations: int) -> None:
    """Print how many genres are found to resemble themselves, in other clips."""
    print("\nThe ten genres of GTZAN on both sides, each side with half of the clips:\n")
    print("| embedding | C | dots on the diagonal, of 10 | other dots, of 90 | by labels only |")
    print("| --- | --- | --- | --- | --- |")
    genre = np.arange(1000) // 100
    for clips in list(read_embeddings())[:3]:
        for c in (1e-3, 1e-1):
            counts = np.zeros(3)
            for seed in range(simulations):
                order = np.random.default_rng(seed).permuted(
                    np.arange(1000).reshape(10, 100), axis=1
                )
                halves = [order[:, :50].ravel(), order[:, 50:].ravel()]
                (weights, training), (head, _) = (
                    fit(make_clips(clips.name, clips.rows[rows]), genre[rows], c, 10)
                    for rows in halves
                )
                pairs = cosine_correlation(
                    weights, training, make_head(head), permutations=PERMUTATIONS, seed=seed
                )
                same = np.eye(10, dtype=bool)
                dots = pairs.significant
                counts += dots[same].sum(), dots[~same].sum(), (pairs.p_labels <= 0.05)[same].sum()
            diagonal, others, by_labels = counts / simulations
            print(f"| {clips.name} | {c:g} | {diagonal:.1f} | {others:.2f} | {by_labels:.1f} |",
                  flush=True)  # fmt: skip


def print_accuracy() -> None:
    """Print the error of a refit's cosines, against the certified solver."""
    print("\nLargest error of a cosine of 8 refits (tolerated: "
          f"{REFIT_ERROR:g}), and of those that converged:\n")  # fmt: skip
    print("| embedding | labels | C | converged | error |")
    print("| --- | --- | --- | --- | --- |")
    rng = np.random.default_rng(0)
    for clips in list(read_embeddings())[:3]:
        head = make_head(fit(clips, random_labels(rng, 12, clips), 0.01, 12)[0])
        sources = l2_normalize_rows(head.weight, head.classes, "columns", "")
        for text, draw in (("balanced", random_labels), ("unbalanced", unbalanced_labels)):
            for c in (1e-4, 1e-2, 1.0, 1e2):
                labels = np.stack([draw(rng, 10, clips) for _ in range(8)])
                coef, converged = LabelSetSolver(clips.features, c).softmax(labels, 10)
                errors = []
                for refit, row in zip(coef, labels, strict=True):
                    weights, _ = fit(clips, row, c, 10)
                    unit = [
                        l2_normalize_rows(matrix, weights.names, "columns", "")
                        for matrix in (refit / clips.rows.std(axis=0), weights.matrix)
                    ]
                    errors.append(np.abs(sources @ (unit[0] - unit[1]).T).max())
                error = max((e for e, done in zip(errors, converged, strict=True) if done),
                            default=float("nan"))  # fmt: skip
                print(f"| {clips.name} | {text} | {c:g} | {converged.sum()} of 8 | {error:.1e} |")


def print_chance(simulations: int) -> None:
    """Print similarity after sources were exchanged in one embedding, and what is expected."""
    print("\nSimilarity of two embeddings of 800 clips from 200 sources of 4 clips each, after the "
          "sources, and their clips, were exchanged in one of them:\n")  # fmt: skip
    print("| measure | mean over exchanges | expected without groups (before) | expected now |")
    print("| --- | --- | --- | --- |")
    sounds = pd.read_csv(DATA / "urbansound.csv")
    source = np.array([Path(name).name.partition("-")[0] for name in sounds["filepath"]])
    names, counts = np.unique(source, return_counts=True)
    some = np.isin(source, names[counts == 4])
    first, second = (np.load(DATA / f"urbansound_layer_{k}.npy")[some] for k in (0, 4))
    groups, alone = source[some], np.full(some.sum(), "")
    exchange = LabelExchange(groups)
    orders = [exchange.draw(np.random.default_rng(seed)) for seed in range(simulations)]
    for debiased in (False, True):
        mean = np.mean([linear_cka([first, second[rows]], debiased)[0, 1] for rows in orders])
        chance = [chance_cka([first, second], units, debiased)[0, 1] for units in (alone, groups)]
        text = "linear CKA, debiased" if debiased else "linear CKA"
        before = chance[0] if debiased else float("nan")
        print(f"| {text} | {mean:.4f} | {before + 0.0:.4f} | {chance[1]:.4f} |")
    near = k_nearest(first)
    others = [k_nearest(second[rows]) for rows in orders]
    mean = np.mean([neighbor_overlap(near, other) for other in others])
    expected = np.mean([chance_overlap(near, other, groups) for other in others])
    before = chance_overlap(near, others[0], alone)
    print(f"| share of 10 nearest neighbors | {mean:.4f} | {before:.4f} | {expected:.4f} |")


def print_time() -> None:
    """Print the time of 200 permutations of a probe of 10 classes on 8,000 clips of 1,024."""
    print("\n200 permutations, 10 classes, 8,000 × 1,024:\n")
    print("| C | seconds | CPU seconds |")
    print("| --- | --- | --- |")
    rng = np.random.default_rng(0)
    mixing = np.arange(1, 1025)[:, None] ** -0.7 * np.linalg.qr(rng.normal(size=(1024, 1024)))[0]
    rows = rng.normal(size=(8000, 1024)) @ mixing
    rows = ((rows - rows.mean(axis=0)) / rows.std(axis=0)).astype(np.float32)
    labels, fitted = np.arange(8000) % 10, np.ones(10, bool)
    for c in (1e-3, 1e-2, 1.0):
        training = TrainingClips(rows, labels, np.full(8000, ""), np.ones((10, 1024)), 1.0,
                                 fitted, c)  # fmt: skip
        start, cpu = perf_counter(), process_time()
        list(PermutedProbe(training).refits(200, 0))
        seconds, cpu = perf_counter() - start, process_time() - cpu
        print(f"| {c:g} | {seconds:.1f} | {cpu:.1f} |", flush=True)


def main(simulations: int) -> None:
    """Print all tables; 0 simulations for the default."""
    if not DATA.exists():
        print(f"skipped: the embeddings of choi2017 are not in {DATA}")
        return
    simulations = simulations or SIMULATIONS
    print(f"{simulations} simulations a row, {PERMUTATIONS} permutations.\n")
    print_level(simulations)
    print_power(max(1, simulations // 10))
    print_accuracy()
    print_chance(simulations)
    print_time()
