"""Figures of a paper, drawn by the analyses that its card names."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards.paper import Column, Figure
from probekit.errors import ProbekitError
from probekit.probes.presets import apply_preset
from probekit.reproduce.runs import Runs, split_targets
from probekit.scores.groups import RunGroup


def draw_figure(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw a figure.

    Parameters
    ----------
    figure : Figure
        Of the paper's card.
    runs : Runs
        Assets, and runs of an efficiency figure.
    folder : pathlib.Path
        Where files go.

    Returns
    -------
    caption : str
        How it was made.
    files : tuple of pathlib.Path
        PDF, SVG, PNG, CSV, JSON.
    provenance : tuple of str
        What must be shown beside it.

    Raises
    ------
    ProbekitError
        If data or weights are missing or cannot be used.
    """
    if figure.kind == "efficiency":
        return _draw_efficiency(figure, runs, folder)
    if figure.kind == "curve":
        return _draw_curves(figure, runs, folder)
    if figure.kind == "combinations":
        return _draw_combinations(figure, runs, folder)
    return _draw_class_weights(figure, runs, folder)


def run_settings(figure: Figure) -> list[Column]:
    """Return the settings of the runs that the lines of a figure show."""
    return [
        _with_fraction(line, figure, fraction)
        for line in figure.lines
        for fraction in sorted(figure.shares or [1.0])
    ]


def missing_for_figure(figure: Figure, runs: Runs) -> list[str]:
    """Say what a figure needs that is missing, and how to get it; may repeat itself."""
    if not figure.lines:
        return runs.assets.missing(figure.task, figure.embedding)
    return [
        message
        for line in figure.lines
        for message in runs.missing(_with_fraction(line, figure, 1.0))
    ]


def _with_fraction(line: Column, figure: Figure, fraction: float) -> Column:
    """Return the setting of a line for a fraction of the training labels."""
    return line.model_copy(update={"task": figure.task, "fraction": fraction})


def _draw_efficiency(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw scores by fraction of the training labels, of the card's runs and no others."""
    from probekit.analysis.label_efficiency import EfficiencyCurve, EfficiencyPoint, LabelEfficiency
    from probekit.figures.curves import draw_label_efficiency
    from probekit.figures.files import save_drawing

    curves, metric = [], ""
    for line in figure.lines:
        points = []
        for fraction in sorted(figure.shares):
            result = runs.get_run(_with_fraction(line, figure, fraction), line.frames)
            labels = float(np.mean([fold["train"] for fold in result["folds"]]))
            group = RunGroup(line.label, (result,), ())
            points.append(EfficiencyPoint(fraction, labels, (result["score"],), group))
            metric = result["metric"]
        curves.append(EfficiencyCurve(line.label, tuple(points)))
    efficiency = LabelEfficiency(figure.task, metric, tuple(curves), (figure.name,))
    files = save_drawing(draw_label_efficiency, efficiency, folder)
    return efficiency.caption, tuple(files), tuple(efficiency.provenance)


def _draw_curves(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw training and test scores by epoch, of the card's runs and no others."""
    from probekit.analysis.learning_curve import curve_of_groups
    from probekit.figures.curves import draw_learning_curve
    from probekit.figures.files import save_drawing

    lines = zip(figure.lines, run_settings(figure), strict=True)
    groups = [RunGroup(line.label, (runs.get_run(setting),), ()) for line, setting in lines]
    curve = curve_of_groups(groups, ("train_score", "test_score"))
    files = save_drawing(draw_learning_curve, curve, folder)
    return curve.caption, tuple(files), tuple(curve.provenance)


def _draw_combinations(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw scores by the number of targets; combinations that fail are counted and left out."""
    from probekit.analysis.combinations import TargetCounts, shared_notes
    from probekit.figures.curves import draw_target_counts
    from probekit.figures.files import save_drawing

    lines: dict[str, dict[str, dict[str, float]]] = {}
    notes, error, failed = [], None, 0
    for line, setting in zip(figure.lines, run_settings(figure), strict=True):
        scores: dict[str, dict[str, float]] = {}
        for letters in split_targets(setting):
            try:
                result = runs.get_run(setting.model_copy(update={"targets": letters}))
            except ProbekitError as problem:
                error, failed = problem, failed + 1
                continue
            others = {name: result["also"][name]["score"] for name in ("f1-macro",)}
            scores[letters] = {
                result["metric"]: result["score"],
                **{name: value for name, value in others.items() if value is not None},
            }
            notes.append(result["provenance"])
        lines[line.label] = scores
    if error is not None and not notes:
        raise error
    counts = TargetCounts(figure.task, lines, failed, shared_notes(notes))
    files = save_drawing(draw_target_counts, counts, folder)
    return counts.caption, tuple(files), counts.provenance


def _draw_class_weights(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw what the class weights of a probe show."""
    from probekit.analysis.correlation import correlation
    from probekit.analysis.dendrogram import dendrogram
    from probekit.analysis.projection import project_classes
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_correlation
    from probekit.figures.scatter import draw_projection
    from probekit.figures.tree import draw_dendrogram

    assets = runs.assets
    selector, _ = apply_preset(figure.preset, figure.embedding)
    embedding = assets.embedding(figure.task, selector)
    inputs: dict[str, Any] = {
        "cache": assets.cache,
        "root": assets.root(figure.task),
        "preset": figure.preset,
    }
    options: dict[str, Any] = dict(figure.options)
    if figure.kind == "correlation":
        pairs = correlation(figure.task, embedding, **inputs, **options)
        files = save_drawing(draw_correlation, pairs, folder)
        return pairs.caption, tuple(files), tuple(pairs.weights.provenance)
    tree_options = {} if figure.kind == "projection" else options
    tree = dendrogram(figure.task, embedding, **inputs, **tree_options)
    provenance = tuple(tree.weights.provenance)
    if figure.kind == "projection":
        points = project_classes(tree, **options)
        return points.caption, tuple(save_drawing(draw_projection, points, folder)), provenance
    return tree.caption, tuple(save_drawing(draw_dendrogram, tree, folder)), provenance
