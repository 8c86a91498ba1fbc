"""Draw the figures of the site's pages on concepts, from simulations with fixed seeds.

Run it in the checkout: ``python scripts/concept_figures.py``. It writes docs/figures/concept-*.svg.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.cluster import hierarchy
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold

from probekit import LinearProbe
from probekit.metrics.intervals import confidence_interval
from probekit.metrics.metrics import get_metric

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "figures"
BLUE, RED, GREY = "#1b6ca8", "#c8323f", "#666666"


def draw_intervals(axes: Axes) -> None:
    """Draw the intervals of 40 studies of a probe that is right on 80 % of all clips."""
    rng = np.random.default_rng(3)
    accuracy = get_metric("accuracy")
    for study in range(40):
        right = rng.random(100) < 0.8
        scores = np.eye(2)[np.where(right, 0, 1)]
        interval = confidence_interval(
            accuracy, np.zeros(100, int), scores, np.zeros(100, int), np.full(100, "")
        )
        low, high = interval.low, interval.high
        assert low is not None and high is not None
        color = BLUE if low <= 0.8 <= high else RED
        axes.plot([low, high], [study, study], color=color, lw=1.5)
        axes.plot(right.mean(), study, "o", color=color, ms=3)
    axes.axvline(0.8, color=GREY, lw=1, ls="--")
    axes.set(xlabel="accuracy on 100 test clips", ylabel="study", yticks=[0, 10, 20, 30, 39])


def draw_groups(axes: Axes) -> None:
    """Draw what random and grouped folds say of a probe, and its accuracy on new speakers."""
    rng = np.random.default_rng(0)
    estimates: dict[str, list[float]] = {
        "random folds": [],
        "folds of speakers": [],
        "new speakers": [],
    }
    for _ in range(20):
        words = rng.normal(size=(2, 20)) * 0.25  # what two words have in common for all speakers
        x, y, speakers = _record(rng, words, 12)
        probe = LogisticRegression(C=1.0)
        estimates["random folds"].append(
            _cross_validate(probe, x, y, KFold(5, shuffle=True, random_state=0), speakers)
        )
        estimates["folds of speakers"].append(_cross_validate(probe, x, y, GroupKFold(6), speakers))
        others = _record(rng, words, 100)
        estimates["new speakers"].append(float(probe.fit(x, y).score(others[0], others[1])))
    for place, values in enumerate(estimates.values()):
        color = {0: RED, 1: BLUE, 2: GREY}[place]
        axes.plot(
            values, place + rng.uniform(-0.12, 0.12, len(values)), "o", color=color, ms=4, alpha=0.6
        )
        axes.plot(np.mean(values), place, "|", color=color, ms=26, mew=2.5)
        axes.text(
            1.02, place, f"{np.mean(values):.2f}", transform=axes.get_yaxis_transform(), va="center"
        )
    axes.set(yticks=range(3), yticklabels=estimates, xlabel="accuracy", ylim=(-0.6, 2.6))
    axes.invert_yaxis()


def _record(rng: np.random.Generator, words: np.ndarray, speakers: int) -> tuple[np.ndarray, ...]:
    """Return clips of two words, of speakers who each mostly say one of them."""
    who = np.repeat(np.arange(speakers), 10)
    mostly = rng.integers(2, size=speakers)
    y = np.where(rng.random(len(who)) < 0.9, mostly[who], 1 - mostly[who])
    voices = rng.normal(size=(speakers, 20))
    return words[y] + voices[who] + rng.normal(size=(len(who), 20)) * 0.3, y, who


def _cross_validate(
    probe: LogisticRegression,
    x: np.ndarray,
    y: np.ndarray,
    folds: KFold | GroupKFold,
    groups: np.ndarray,
) -> float:
    scores = [probe.fit(x[a], y[a]).score(x[b], y[b]) for a, b in folds.split(x, y, groups)]
    return float(np.mean(scores))


def draw_certificate(axes: Axes) -> None:
    """Draw how far fits are from the minimum, and what the certificate says of it."""
    rng = np.random.default_rng(1)
    scales = np.logspace(0, -3, 60)  # as of an embedding: few strong directions
    x = rng.normal(size=(400, 60)) * scales
    y = rng.integers(3, size=400)
    x = np.asarray((x - x.mean(0)) / x.std())
    x[np.arange(400), y] += 0.5
    grid = np.logspace(-4, 6, 11)
    ours, theirs, bounds = [], [], []
    for c in grid:
        tight = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=2000).fit(
            x, y
        )
        least = _objective(tight, x, y, c)
        probe = LinearProbe(C=float(c), standardize=False).fit(x, y)
        usual = LogisticRegression(C=c, max_iter=100).fit(x, y)
        values = [_objective(fit, x, y, c) for fit in (probe, usual)]
        least = min(least, *values)
        ours.append(max((values[0] - least) / values[0], 1e-16))
        theirs.append(max((values[1] - least) / values[1], 1e-16))
        bounds.append(probe.gap_)
    axes.plot(grid, theirs, "s-", color=RED, ms=4, label="scikit-learn, 100 steps: distance")
    axes.plot(grid, bounds, "v-", color=BLUE, ms=4, label="probekit: proven bound")
    axes.plot(grid, ours, "o--", color=BLUE, ms=4, mfc="white", label="probekit: distance")
    axes.axhline(1e-5, color=GREY, lw=1, ls=":")
    axes.set(xscale="log", yscale="log", ylim=(1e-22, 1), xlabel="C")
    axes.set_ylabel("distance to the minimum / objective")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _objective(
    fit: LogisticRegression | LinearProbe, x: np.ndarray, y: np.ndarray, c: float
) -> float:
    """Return ½‖w‖² + C · Σ loss, in float64."""
    logits = x @ np.asarray(fit.coef_, float).T + fit.intercept_
    losses = np.logaddexp.reduce(logits, 1) - logits[np.arange(len(y)), y]
    return float(0.5 * np.sum(np.asarray(fit.coef_, float) ** 2) + c * losses.sum())


def draw_dendrogram(axes: Axes) -> None:
    """Draw a tree of six classes, with what to read where."""
    names = ["violin", "viola", "cello", "trumpet", "trombone", "drum"]
    distances = np.array(
        [
            [0, 0.3, 0.5, 0.9, 0.95, 1.1],
            [0.3, 0, 0.45, 0.9, 0.9, 1.1], [0.5, 0.45, 0, 0.85, 0.9, 1.05],
            [0.9, 0.9, 0.85, 0, 0.4, 1.1],
            [0.95, 0.9, 0.9, 0.4, 0, 1.1],
            [1.1, 1.1, 1.05, 1.1, 1.1, 0],
        ]
    )  # fmt: skip
    tree = hierarchy.linkage(distances[np.triu_indices(6, 1)], "average", optimal_ordering=True)
    hierarchy.dendrogram(
        tree,
        labels=names,
        orientation="right",
        ax=axes,
        color_threshold=0,
        above_threshold_color=GREY,
        leaf_font_size=9,
    )
    axes.axvline(1, color=RED, lw=1, ls=":")
    axes.axvline(0.7, color=BLUE, lw=1, ls="--")
    axes.text(
        0.685, 65, "cut here: three clusters", color=BLUE, fontsize=8, ha="right", va="center"
    )
    axes.text(1.015, 65, "a right angle: nothing in common", color=RED, fontsize=8, va="center")
    axes.set(xlabel="cosine distance at which two branches join", ylim=(0, 70), xlim=(0, 1.6))


def main() -> None:
    """Draw all figures."""
    plt.rcParams.update(
        {
            "svg.hashsalt": "probekit",
            "svg.fonttype": "path",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    drawings = {
        "intervals": (draw_intervals, 4.2),
        "groups": (draw_groups, 2.2),
        "certificate": (draw_certificate, 3.2),
        "dendrogram": (draw_dendrogram, 2.8),
    }
    for name, (draw, height) in drawings.items():
        figure, axes = plt.subplots(figsize=(6, height), layout="constrained")
        draw(axes)
        figure.savefig(FOLDER / f"concept-{name}.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
