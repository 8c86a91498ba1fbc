"""Level and power of tests of two runs where the clips of a group (an artist, a place) agree.

Both runs have the same chance in all; groups favor one or the other. Each clip's gain is 1 where
the first run alone is right, -1 where the second is.
"""

import numpy as np
from scipy.stats import t as student

from probekit._typing import Array
from probekit.metrics.significance import corrected_t, unit_test, variance_components

CLIPS = 20  # of a group
RESAMPLES = 1000


def draw_gains(groups: int, effect: float, rng: np.random.Generator, spread: float = 0.2) -> Array:
    """Return the gains of the clips of each group, shape (groups, 20)."""
    bias = effect + spread * rng.normal(size=(groups, 1))
    first = rng.random((groups, CLIPS)) < np.clip(0.7 + bias / 2, 0, 1)
    second = rng.random((groups, CLIPS)) < np.clip(0.7 - bias / 2, 0, 1)
    return first.astype(float) - second


def bootstrap_p(means: Array, rng: np.random.Generator) -> float:
    """Return p of the paired bootstrap of groups as it was before: the share of changed signs."""
    drawn = means[rng.integers(0, len(means), (RESAMPLES, len(means)))].mean(axis=1)
    crossings = min((drawn <= 0).sum(), (drawn >= 0).sum())
    counted = min(1.0, 2 * (crossings + 1) / (RESAMPLES + 1))
    spread = drawn.std()
    if crossings >= 10 or spread == 0:
        return float(counted)
    by_t = 2 * student.sf(abs(drawn.mean()) / spread, max(1, len(means) - 1))
    return min(counted, float(by_t))


def flip_p(means: Array, rng: np.random.Generator) -> float:
    """Return p of the flips of the groups' signs: all of them, or 2,000."""
    groups = len(means)
    if groups <= 11:
        bits = np.arange(2**groups)[:, None] >> np.arange(groups) & 1
        flips = np.abs((1 - 2 * bits) @ means)
        return float((flips >= abs(means.sum()) - 1e-9).mean())
    flips = np.abs(rng.choice([-1.0, 1.0], (2000, groups)) @ means)
    return float((1 + (flips >= abs(means.sum()) - 1e-9).sum()) / 2001)


def main(simulations: int) -> None:
    simulations = simulations or 2000
    print(f"One split. Share of {simulations:,} pairs told apart at .05 (.01).\n")
    heads = ("bootstrap (before)", "exact flip", "t over groups (now)")
    print("| groups | difference |", " | ".join(heads), "|\n| ---: | ---: | ---: | ---: | ---: |")
    for groups in (3, 4, 5, 10, 20, 50, 200):
        for effect in (0.0, 0.6 / np.sqrt(groups)):
            rng = np.random.default_rng(0)
            p = []
            for _ in range(simulations):
                means = draw_gains(groups, effect, rng).mean(axis=1)
                test = unit_test(means.var(ddof=1) / groups, means.mean(keepdims=True), groups - 1)
                p.append((bootstrap_p(means, rng), flip_p(means, rng), test.p))
            _print_row(f"{groups} | {effect:.2f}", np.array(p))
    print("\nFolds, whole groups in each.\n")
    heads = ("corrected t", "plain t", "groups alone", "components (now)")
    print("| folds, groups a fold | difference |", " | ".join(heads), "|")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for folds, groups in ((10, 1), (24, 1), (5, 1), (10, 2), (5, 4), (5, 20)):
        for effect in (0.0, 0.6 / np.sqrt(folds * groups)):
            rng = np.random.default_rng(0)
            p = []
            for _ in range(simulations):
                gains = draw_gains(folds * groups, effect, rng).reshape(folds, groups, CLIPS)
                p.append(_fold_p_values(gains))
            _print_row(f"{folds}, {groups} | {effect:.2f}", np.array(p))


def _fold_p_values(gains: Array) -> list[float]:
    folds, groups, _ = gains.shape
    # of a fold of one group, clips are drawn
    units = gains.mean(axis=2) if groups > 1 else gains[:, 0]
    differences, variances = units.mean(axis=1), units.var(axis=1, ddof=1) / units.shape[1]
    degrees, ratio = units.size - folds, 1 / (folds - 1)
    return [
        corrected_t(differences, ratio).p,
        corrected_t(differences, 0.0).p,
        unit_test(variances.mean() / folds, differences, degrees).p,
        variance_components(differences, variances, degrees, ratio).p,
    ]


def _print_row(head: str, p: Array) -> None:
    cells = [
        f"{often:.3f} ({rarely:.3f})"
        for often, rarely in zip((p < 0.05).mean(axis=0), (p < 0.01).mean(axis=0), strict=True)
    ]
    print(f"| {head} |", " | ".join(cells), "|", flush=True)
