"""How often some equal run of a leaderboard is called worse than the best.

The best is chosen on the clips on which it is then compared. All runs have the same chance on each
clip, except, for power, one that is better than the rest.
"""

from itertools import combinations

import numpy as np
from scipy.stats import t as student

from probekit._typing import Array
from probekit.metrics.significance import holm

CLIPS = 400


def pair_p_values(right: Array) -> tuple[list[float], list[float]]:
    """Return p of the best against each other run, and of all other pairs."""
    order = np.argsort(-right.mean(axis=1), kind="stable")
    right = right[order].astype(float)

    def p(a: int, b: int) -> float:
        gains = right[a] - right[b]
        error = gains.std(ddof=1) / np.sqrt(CLIPS)
        if error == 0:
            return 1.0
        return float(2 * student.sf(abs(gains.mean()) / error, CLIPS - 1))

    runs = range(1, len(right))
    return [p(0, k) for k in runs], [p(a, b) for a, b in combinations(runs, 2)]


def main(simulations: int) -> None:
    simulations = simulations or 1000
    print(f"{CLIPS} clips, {simulations:,} leaderboards.\n")
    print("| runs | with the best alone (before) | all pairs (now) | power before | power now |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for runs in (2, 3, 5, 10, 20):
        rng = np.random.default_rng(0)
        wrong, power = np.zeros(2), np.zeros(2)
        for gain in (0.0, 0.6):
            for _ in range(simulations):
                hard = rng.normal(size=CLIPS)
                level = 1.0 + gain * (np.arange(runs) == 0)
                right = hard + rng.normal(size=(runs, CLIPS)) < level[:, None]
                best, rest = pair_p_values(right)
                adjusted = np.array([holm(best), holm([*best, *rest])[: len(best)]])
                if gain:
                    power += (adjusted < 0.05).mean(axis=1)
                else:
                    wrong += (adjusted < 0.05).any(axis=1)
        shown = " | ".join(f"{value / simulations:.3f}" for value in (*wrong, *power))
        print(f"| {runs} | {shown} |", flush=True)
    print("\nLevels: the share of leaderboards in which any run is called worse, at .05.")
    print("Power: the share of the equal others that one better run is told from.")
