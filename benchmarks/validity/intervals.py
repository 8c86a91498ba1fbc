"""Coverage of 95 % intervals of one score, by metric and design.

Test clips (or groups) are drawn again and again for fixed probes. An interval is right if it
contains the score that is expected of so many clips: the mean over all draws.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from scipy.special import expit, ndtri, softmax
from scipy.stats import norm
from scipy.stats import t as student

from probekit._typing import Array
from probekit.metrics import bootstrap, intervals, metrics
from probekit.metrics.bootstrap import ResamplingUnits
from probekit.metrics.metrics import Metric

Clips = tuple[Array, Array, Array, Array]
"""Targets, scores, folds and groups."""
Draw = Callable[[np.random.Generator], Clips]
Ends = tuple[float, float]
NOWHERE = (np.nan, np.nan)

SIMULATIONS, RESAMPLES = 300, 200
EXPECTED = 5  # draws for the expected score, for each with intervals
PERCENTILE, NOW = "percentile (before)", "now"
CANDIDATES = (PERCENTILE, "bias-corrected", "basic", "bootstrap t, scaled", "jackknife t", NOW)


# ---- what is drawn


def place(clips: int, folds: int = 1, groups: int = 0) -> tuple[Array, Array]:
    """Return folds and groups of equal size, one after the other."""
    rows = np.arange(clips)
    names = np.char.add("g", (rows * groups // clips).astype(str)) if groups else np.full(clips, "")
    return rows * folds // clips, names


def shared_noise(rng: np.random.Generator, clips: int, groups: int, columns: int) -> Array:
    """Return standard normal numbers, the same for the clips of a group; 0 without groups."""
    if not groups:
        return np.zeros((clips, columns))
    return rng.normal(size=(groups, columns))[np.arange(clips) * groups // clips]


def draw_right(rng: np.random.Generator, clips: int, share: float) -> Clips:
    """Draw clips that are right or wrong by chance."""
    targets = np.arange(clips) % 2
    right = rng.random(clips) < share
    return targets, np.eye(2)[np.where(right, targets, 1 - targets)], *place(clips)


def draw_groups(rng: np.random.Generator, clips: int, groups: int, folds: int = 1) -> Clips:
    """Draw groups with shares of right clips from a beta distribution: mean 0.8, ICC 0.5."""
    targets = np.arange(clips) % 2
    shares = rng.beta(0.8, 0.2, groups)[np.arange(clips) * groups // clips]
    right = rng.random(clips) < shares
    return targets, np.eye(2)[np.where(right, targets, 1 - targets)], *place(clips, folds, groups)


def draw_classes(
    rng: np.random.Generator,
    clips: int,
    priors: Sequence[float],
    distance: float = 2.5,
    folds: int = 1,
    groups: int = 0,
) -> Clips:
    """Draw one label a clip, and scores; in groups, difficulty is as much theirs as the clips'."""
    targets = rng.choice(len(priors), clips, p=priors)
    return label_scores(rng, targets, len(priors), distance, folds, groups)


def draw_fives(
    rng: np.random.Generator, classes: int, distance: float = 2.5, folds: int = 1
) -> Clips:
    """Draw classes of five clips each."""
    targets = rng.permutation(np.repeat(np.arange(classes), 5))
    return label_scores(rng, targets, classes, distance, folds)


def draw_pair(rng: np.random.Generator, rare: int, recalls: Sequence[float]) -> Clips:
    """Draw 100 clips of two classes, one of which has few."""
    targets = (np.arange(100) < rare).astype(int)
    right = rng.random(100) < np.asarray(recalls)[targets]
    return targets, np.eye(2)[np.where(right, targets, 1 - targets)], *place(100)


def label_scores(
    rng: np.random.Generator,
    targets: Array,
    classes: int,
    distance: float,
    folds: int,
    groups: int = 0,
) -> Clips:
    """Return normal scores, that of the true class higher, as probabilities."""
    clips = len(targets)
    scores = rng.normal(size=(clips, classes))
    ease = distance + np.sqrt(2) * shared_noise(rng, clips, groups, 1)[:, 0]
    scores[np.arange(clips), targets] += ease
    return targets, softmax(scores, axis=1), *place(clips, folds, groups)


def draw_tags(
    rng: np.random.Generator,
    clips: int,
    tags: int,
    prevalence: float,
    folds: int = 1,
    groups: int = 0,
) -> Clips:
    """Draw tags and scores; in groups, 0.3 of the variation of both is theirs."""
    part = 0.3 if groups else 0.0
    noise = rng.normal(size=(2, clips, tags)) * np.sqrt(1 - part)
    noise += np.sqrt(part) * shared_noise(rng, clips, groups, 2 * tags).reshape(
        clips, 2, tags
    ).swapaxes(0, 1)
    targets = (noise[0] < ndtri(prevalence)).astype(int)
    return targets, expit(noise[1] + 1.5 * targets - 2), *place(clips, folds, groups)


def draw_numbers(
    rng: np.random.Generator, clips: int, folds: int = 1, groups: int = 0, heavy: bool = False
) -> Clips:
    """Draw numbers and estimates; in groups, half of the variation of both is theirs."""
    part = 0.5 if groups else 0.0
    noise = rng.normal(size=(clips, 2))
    if heavy:
        noise[:, 1] = rng.standard_t(3, clips)
    noise = np.sqrt(1 - part) * noise + np.sqrt(part) * shared_noise(rng, clips, groups, 2)
    return noise[:, :1], noise[:, :1] + 0.7 * noise[:, 1:], *place(clips, folds, groups)


TEN = (0.1,) * 10
UNEQUAL = (0.4, 0.3, 0.15, 0.05, 0.03, 0.03, 0.01, 0.01, 0.01, 0.01)
LABEL = ("accuracy", "balanced-accuracy", "top-3", "f1-macro", "f1-weighted", "log-loss")
AREAS = ("pr-auc", "roc-auc", "d-prime")
TAGS = (*AREAS, "lwlrap", "log-loss", "f1-samples@0.2", "f1-macro@0.2")
NUMBERS = ("r2", "mae")


def designs() -> Iterator[tuple[str, Sequence[str], Draw]]:
    """Yield the title of each design, its metrics, and how it is drawn."""
    for clips, share in ((20, 0.9), (50, 0.95), (100, 0.99), (400, 0.99)):
        draw: Draw = partial(draw_right, clips=clips, share=share)
        yield f"{clips} clips, {share:g} right", ("accuracy",), draw
    for groups in (3, 4, 5, 10, 20, 50, 200):
        draw = partial(draw_groups, clips=max(200, 5 * groups), groups=groups)
        yield f"{groups} groups, ICC 0.5", ("accuracy",), draw
    for folds, groups in ((10, 20), (10, 10), (5, 5)):
        draw = partial(draw_groups, clips=200, groups=groups, folds=folds)
        yield f"{folds} folds of {groups // folds} groups, ICC 0.5", ("accuracy",), draw
    for groups in (5, 10, 20):
        draw = partial(draw_classes, clips=200, priors=TEN, groups=groups)
        yield f"10 classes, {groups} groups", LABEL, draw
    draw = partial(draw_classes, clips=200, priors=TEN, groups=20, folds=10)
    yield "10 classes, 10 folds of 2 groups", LABEL, draw
    for folds in (1, 5):
        draw = partial(draw_classes, clips=200, priors=TEN, folds=folds)
        yield f"10 classes, 200 clips, {folds} folds", LABEL, draw
        yield (
            f"10 classes of 5 clips, {folds} folds",
            LABEL,
            partial(draw_fives, classes=10, folds=folds),
        )
        draw = partial(draw_classes, clips=300, priors=UNEQUAL, folds=folds)
        yield f"10 unequal classes, 300 clips, {folds} folds", LABEL[1:4:2], draw
    draw = partial(draw_fives, classes=10, distance=4)
    yield "10 classes of 5 clips, hardly an error", LABEL, draw
    for rare in (2, 5, 20):
        for recalls in ((0.92, 0.92), (0.96, 0.64)):
            draw = partial(draw_pair, rare=rare, recalls=recalls)
            yield f"2 classes, {rare} of 100 clips, recalls {recalls}", ("balanced-accuracy",), draw
    for tags, prevalence, clips, folds in (
        (1, 0.05, 200, 1), (1, 0.2, 100, 1), (10, 0.2, 200, 1), (5, 0.2, 100, 5),
        (20, 0.05, 500, 5), (60, 0.02, 300, 1), (60, 0.02, 500, 1), (60, 0.01, 1500, 1),
    ):  # fmt: skip
        draw = partial(draw_tags, clips=clips, tags=tags, prevalence=prevalence, folds=folds)
        title = f"{tags} tags at {100 * prevalence:g} %, {clips:,} clips, {folds} folds"
        yield title, AREAS if tags in (1, 60) else TAGS, draw
    for groups in (5, 10, 20):
        draw = partial(draw_tags, clips=200, tags=10, prevalence=0.2, groups=groups)
        yield f"10 tags at 20 %, {groups} groups", TAGS, draw
    for clips, folds in ((30, 1), (100, 1), (50, 5), (100, 5), (500, 5)):
        yield (
            f"numbers, {clips} clips, {folds} folds",
            NUMBERS,
            partial(draw_numbers, clips=clips, folds=folds),
        )
    for groups, folds in ((5, 1), (10, 1), (20, 1), (20, 10)):
        draw = partial(draw_numbers, clips=200, groups=groups, folds=folds)
        yield f"numbers, {groups} groups, ICC 0.5, {folds} folds", NUMBERS, draw
    draw = partial(draw_numbers, clips=100, folds=5, heavy=True)
    yield "numbers, errors with t(3) tails, 5 folds", NUMBERS, draw


# ---- intervals


def candidates(metric: Metric, clips: Clips) -> dict[str, Ends]:
    """Return the ends of each candidate; NaN where there is none."""
    targets, scores, folds, groups = clips
    chosen = intervals.confidence_interval(metric, *clips)
    units = ResamplingUnits.from_groups(folds, groups)
    [drawn] = units.resample_folds(metric, targets, [scores])
    means = drawn.mean(axis=1)
    means = means[np.isfinite(means)]
    score = expected_score(metric, clips)
    if not np.isfinite(score) or len(means) < 2:
        return dict.fromkeys(CANDIDATES, NOWHERE) | {NOW: (chosen.low, chosen.high)}
    low, high = np.percentile(means, [2.5, 97.5])
    below = np.clip(((means < score).mean() + (means <= score).mean()) / 2, 0.005, 0.995)
    shifted = norm.cdf(2 * norm.ppf(below) + norm.ppf([0.025, 0.975]))
    counts = np.array(units.counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        corrected = np.nanvar(drawn, axis=0) * np.where(counts > 1, counts / (counts - 1), 1)
    reach = student.isf(0.025, units.degrees_of_freedom)
    return {
        PERCENTILE: (low, high),
        "bias-corrected": tuple(np.percentile(means, 100 * shifted)),
        "basic": (2 * score - high, 2 * score - low),
        "bootstrap t, scaled": _scaled(
            metric, score, reach * np.sqrt(corrected.sum()) / len(counts)
        ),
        "jackknife t": _plain_jackknife(metric, clips, score),
        NOW: (chosen.low, chosen.high),
    }


def _scaled(metric: Metric, score: float, error: float) -> Ends:
    scale = intervals._scale(intervals._kind(metric))
    if (scale == "logit" and not 0 < score < 1) or not np.isfinite(error):
        return score, score
    return intervals._ends(scale, score, error)


def _plain_jackknife(metric: Metric, clips: Clips, score: float) -> Ends:
    targets, scores, folds, groups = clips
    design = intervals._Design.from_groups(folds, groups, None)
    if design.degrees_of_freedom < 1:
        return NOWHERE
    deviations = intervals._jackknife(metric, targets, scores, design)
    error = student.isf(0.025, design.degrees_of_freedom) * np.sqrt((deviations**2).sum())
    return score - error, score + error


def expected_score(metric: Metric, clips: Clips) -> float:
    """Return the mean over folds."""
    targets, scores, folds, _ = clips
    rows = [folds == k for k in np.unique(folds)]
    return float(np.mean([metric.score(targets[r], scores[r]) for r in rows]))


def coverage(
    draw: Draw, name: str, simulations: int
) -> tuple[float, dict[str, float], float, float]:
    """Simulate one design and metric.

    Returns
    -------
    expected : float
        The score.
    covered : dict of str to float
        For each candidate, how many of its intervals contain it.
    given : float
        In how many draws an interval is given now.
    outside : float
        How many scores are outside of their own percentile interval.
    """
    metric = metrics.get_metric(name)
    draws = simulations * (1 + EXPECTED)
    scores = np.array(
        [expected_score(metric, draw(np.random.default_rng(k))) for k in range(draws)]
    )
    expected = float(np.nanmean(scores))
    ends = [candidates(metric, draw(np.random.default_rng(k))) for k in range(simulations)]
    covered: dict[str, float] = {}
    given = 0.0
    for candidate in CANDIDATES:
        low, high = np.array([e[candidate] for e in ends]).T
        finite = np.isfinite(low) & np.isfinite(high)
        inside = (low <= expected) & (expected <= high)
        covered[candidate] = float(inside[finite].mean()) if finite.any() else np.nan
        given = float(finite.mean())  # of the last
    low, high = np.array([e[PERCENTILE] for e in ends]).T
    outside = (scores[:simulations] < low) | (scores[:simulations] > high)
    return expected, covered, given, float(outside.mean())


def print_row(design: tuple[str, Sequence[str], Draw], simulations: int) -> None:
    """Print the rows of a design, one for each metric."""
    title, names, draw = design
    for name in names:
        expected, covered, given, outside = coverage(draw, name, simulations)
        cells = [_cell(covered[candidate]) for candidate in CANDIDATES]
        print(
            f"| {title} | {name} | {expected:.3f} |",
            " | ".join([*cells, f"{given:.2f}", f"{outside:.2f}"]),
            "|",
            flush=True,
        )


def print_bias(simulations: int) -> None:
    """Print what scores of few clips, which intervals cover, differ from those of many."""
    print(
        "\n| scores | metric | expected | of 100 times as many clips |\n| --- | --- | ---: | ---: |"
    )
    tags = partial(draw_tags, tags=60)
    for title, name, draw, clips in (
        ("60 tags at 2 %, 300 clips", "pr-auc", partial(tags, prevalence=0.02), 300),
        ("60 tags at 1 %, 1,500 clips", "pr-auc", partial(tags, prevalence=0.01), 1500),
        ("numbers, 100 clips, 5 folds", "r2", partial(draw_numbers, folds=5), 100),
    ):
        metric = metrics.get_metric(name)
        few, many = (
            np.mean(
                [expected_score(metric, draw(np.random.default_rng(k), n)) for k in range(count)]
            )
            for n, count in ((clips, simulations), (100 * clips, 5))
        )
        print(f"| {title} | {name} | {few:.3f} | {many:.3f} |", flush=True)


def main(simulations: int) -> None:
    simulations = simulations or SIMULATIONS
    bootstrap.RESAMPLES = RESAMPLES
    print(
        f"Coverage of 95 % intervals in {simulations:,} draws ({RESAMPLES} resamples each); "
        "given: share of draws with an interval now; outside: scores outside of their own "
        "percentile interval.\n"
    )
    print("| design | metric | score |", " | ".join(CANDIDATES), "| given | outside |")
    print("| --- | --- | ---: |", " | ".join(["---:"] * (len(CANDIDATES) + 2)), "|")
    for design in designs():
        print_row(design, simulations)
    print_bias(simulations)


def _cell(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.2f}"
