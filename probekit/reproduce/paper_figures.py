"""A paper's figures, made by the analyses that its card names."""

from pathlib import Path
from typing import Any

import numpy as np

from probekit.cards.paper import Column, Figure
from probekit.probes.presets import apply_preset
from probekit.reproduce.runs import Runs
from probekit.scores.groups import RunGroup


def draw(figure: Figure, runs: Runs, folder: Path) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw a figure.

    Parameters
    ----------
    figure : Figure
        What the card says.
    runs : Runs
        Data, cache and weights, and the runs of its lines.
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
        If data or weights are missing, or do not do.
    """
    if figure.kind == "efficiency":
        return _efficiency(figure, runs, folder)
    return _weights(figure, runs, folder)


def missing_for_figure(figure: Figure, runs: Runs) -> list[str]:
    """Say what a figure needs that is not here, and how to get it.

    Parameters
    ----------
    figure : Figure
        What the card says.
    runs : Runs
        What is here.

    Returns
    -------
    list of str
        As :meth:`probekit.reproduce.assets.Resources.lacking`; some may be there twice.
    """
    if not figure.lines:
        return runs.supply.missing(figure.task, figure.embedding)
    return [text for line in figure.lines for text in runs.missing(_at(line, figure, 1.0))]


def _at(line: Column, figure: Figure, share: float) -> Column:
    """Return a line's setting for one share of the labels."""
    return line.model_copy(update={"task": figure.task, "fraction": share})


def _efficiency(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw scores by share of the training labels, of these very runs and no others."""
    from probekit.analysis.label_efficiency import LabelEfficiency, EfficiencyCurve, EfficiencyPoint
    from probekit.figures.curves import draw_label_efficiency
    from probekit.figures.files import save_drawing

    lines, metric = [], ""
    for one in figure.lines:
        points = []
        for share in sorted(figure.shares):
            result = runs.get_run(_at(one, figure, share), one.frames)
            labels = float(np.mean([fold["train"] for fold in result["folds"]]))
            points.append(
                EfficiencyPoint(share, labels, (result["score"],), RunGroup(one.label, (result,), ()))
            )
            metric = result["metric"]
        lines.append(EfficiencyCurve(one.label, tuple(points)))
    found = LabelEfficiency(figure.task, metric, tuple(lines), (figure.name,))
    return found.caption, tuple(save_drawing(draw_label_efficiency, found, folder)), tuple(found.provenance)


def _weights(
    figure: Figure, runs: Runs, folder: Path
) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Draw what the weights of a probe show."""
    from probekit.analysis import correlation, dendrogram, projection
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_correlation
    from probekit.figures.scatter import draw_projection
    from probekit.figures.tree import draw_dendrogram

    text = runs.supply.embedding(figure.task, apply_preset(figure.preset, figure.embedding)[0])
    places: dict[str, Any] = {
        "cache": runs.supply.cache,
        "root": runs.supply.root(figure.task),
        "preset": figure.preset,
    }
    options: dict[str, Any] = dict(figure.options)
    if figure.kind == "correlation":
        pairs = correlation.correlation(figure.task, text, **places, **options)
        files = save_drawing(draw_correlation, pairs, folder)
        return pairs.caption, tuple(files), tuple(pairs.weights.provenance)
    own = {} if figure.kind == "projection" else options
    tree = dendrogram.dendrogram(figure.task, text, **places, **own)
    said = tuple(tree.weights.provenance)
    if figure.kind == "projection":
        points = projection.project_classes(tree, **options)
        return points.caption, tuple(save_drawing(draw_projection, points, folder)), said
    return tree.caption, tuple(save_drawing(draw_dendrogram, tree, folder)), said
