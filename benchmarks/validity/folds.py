"""Level and power of tests of two embeddings over the folds of a cross-validation.

Two embeddings of the same clips are drawn, class means and independent noise; a learner is fitted
fold by fold on each. Where both have the same noise, every rejection is an error.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import t as student

from probekit._typing import Array
from probekit.metrics.significance import corrected_t, variance_components

CLASSES, DIM = 10, 20
Learner = Callable[[Array, Array, Array], Array]


def fixed(x: Array, y: Array, test: Array) -> Array:
    """Return the class with the nearest true mean: a probe that never changes."""
    return test[:, :CLASSES].argmax(axis=1)


def least_squares(x: Array, y: Array, test: Array) -> Array:
    """Linear discriminant by least squares, unstable where dimensions are many."""
    design = np.c_[np.ones(len(x)), x]
    weights = np.linalg.lstsq(design, np.eye(CLASSES)[y], rcond=None)[0]
    return (np.c_[np.ones(len(test)), test] @ weights).argmax(axis=1)


def nearest(x: Array, y: Array, test: Array) -> Array:
    """Return the class of the nearest neighbor: as unstable as a learner can be."""
    distances = (x**2).sum(axis=1) - 2 * test @ x.T
    return y[distances.argmin(axis=1)]


def few_labels(x: Array, y: Array, test: Array) -> Array:
    """Least squares on the first eighth of the training clips."""
    return least_squares(x[::8], y[::8], test)


LEARNERS: tuple[tuple[str, Learner], ...] = (
    ("fixed probe", fixed),
    ("linear", least_squares),
    ("linear, an eighth of the labels", few_labels),
    ("1 nearest neighbor", nearest),
)


def fold_differences(
    learner: Learner, noise: tuple[float, float], clips: int, folds: int, rng: np.random.Generator
) -> list[Array]:
    """Return which clips the first embedding alone has right (1) or wrong (-1), fold by fold."""
    y = rng.integers(0, CLASSES, clips)
    fold = rng.permutation(clips) % folds
    means = np.eye(CLASSES, DIM)[y] * 3
    gains = np.zeros(clips)
    for sign, scale in zip((1, -1), noise, strict=True):
        x = means + scale * rng.normal(size=means.shape)
        for k in range(folds):
            test, train = fold == k, fold != k
            gains[test] += sign * (learner(x[train], y[train], x[test]) == y[test])
    return [gains[fold == k] for k in range(folds)]


def p_values(gains: list[Array]) -> list[float]:
    """Return p of each candidate."""
    differences = np.array([g.mean() for g in gains])
    variances = np.array([g.var(ddof=1) / len(g) for g in gains])
    folds, clips = len(gains), sum(map(len, gains))
    ratio = 1 / (folds - 1)
    pooled = variances.mean() / folds
    bootstrap = 2 * student.sf(abs(differences.mean()) / np.sqrt(pooled), clips - folds)
    corrected = corrected_t(differences, ratio).p
    units = max(1, sum(int((g != 0).sum()) for g in gains) - folds)
    return [
        max(bootstrap, corrected),
        bootstrap,
        corrected,
        corrected_t(differences, 0.0).p,
        variance_components(differences, variances, units, ratio).p,
    ]


CANDIDATES = ("both (before)", "clips alone", "corrected t", "plain t", "components (now)")


def main(simulations: int) -> None:
    simulations = simulations or 1000
    print(f"Share of {simulations:,} pairs told apart at .05 (.01).\n")
    print("| learner | clips, folds | difference |", " | ".join(CANDIDATES), "|")
    print("| --- | --- | ---: |", " | ".join(["---:"] * len(CANDIDATES)), "|")
    for name, learner in LEARNERS:
        for clips, folds in ((500, 10), (500, 5)):
            for noise in ((1.3, 1.3), (1.3, 1.42)):
                rng = np.random.default_rng(0)
                drawn = [
                    fold_differences(learner, noise, clips, folds, rng) for _ in range(simulations)
                ]
                p = np.array([p_values(gains) for gains in drawn])
                gain = np.mean([np.mean([g.mean() for g in gains]) for gains in drawn])
                cells = [
                    f"{often:.3f} ({rarely:.3f})"
                    for often, rarely in zip(
                        (p < 0.05).mean(axis=0), (p < 0.01).mean(axis=0), strict=True
                    )
                ]
                shown = "0" if noise[0] == noise[1] else f"{gain:.3f}"
                print(
                    f"| {name} | {clips}, {folds} | {shown} |", " | ".join(cells), "|", flush=True
                )
