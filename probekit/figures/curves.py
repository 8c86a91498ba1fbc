"""Curves: scores by training labels or layers; and learning curves by epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probekit.analysis.combinations import TargetCounts
from probekit.analysis.label_efficiency import EfficiencyCurve, LabelEfficiency
from probekit.analysis.layer_curve import LayerCurve, Layers
from probekit.analysis.learning_curve import LearningCurve, Series
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout, log_ticks, spread_labels
from probekit.figures.labels import fit_to_width, text_width
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 16
_SIZE = 6.0  # points
_NAME_STEP = 0.105  # inches from one name to the next, at least
_HEIGHT = 2.1  # inches of the axes, at least
_LEFT, _TOP, _BOTTOM = 0.5, 0.08, 0.36  # inches
_LEADER_WIDTH = 0.2  # inches for the lines that lead to names
_LINE_STYLES = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)))
_LEGEND_STEP, _PANEL_GAP = 0.125, 0.12  # inches
_RIGHT, _LAYERS_HEIGHT, _WEIGHTS_HEIGHT = 0.06, 1.9, 0.8  # inches
_PLACE = 0.45  # inches of each column at the right of layers
_TICK = 0.24  # inches from the number of one layer to the next, at least


@style.styled
def draw_label_efficiency(
    label_efficiency: LabelEfficiency, width: float | None = None
) -> "Figure":
    """Draw scores by training labels, one column wide by default.

    Of more than 16 lines the best are shown, and a note says so; the table has all.
    """
    width = style.ONE_COLUMN if width is None else width
    lines = label_efficiency.curves[:MOST_LINES]
    notes = [*label_efficiency.provenance]
    if len(lines) < len(label_efficiency.curves):
        notes.insert(0, f"shown: the best {len(lines)} of {len(label_efficiency.curves)}")
    names = [fit_to_width(line.label, 0.34 * 72 * width, _SIZE) for line in lines]
    names_width = max(text_width(name, _SIZE) for name in names) / 72 + 0.06
    axes_width = width - _LEFT - _LEADER_WIDTH - names_width
    axes_height = max(_HEIGHT, _NAME_STEP * len(lines) + 0.1)
    layout = FigureLayout(width, _TOP + axes_height + _BOTTOM, notes)
    axes = layout.add(_LEFT, _TOP, axes_width, axes_height)
    for k, line in enumerate(lines):
        _draw_line(axes, line, k, len(lines))
    for text in label_efficiency.texts:
        if text.curve < len(lines):
            color, _ = style.color_and_marker(text.curve)
            axes.axhline(text.group.score, color=color, lw=1.0, ls=(0, (4, 2)), zorder=1)
    labels = [point.labels for line in lines for point in line.points]
    low, high = min(labels) / 1.15, max(labels) * 1.15
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = log_ticks(low, high, max(2, int(axes_width / 0.38)))
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_ylabel(metrics.get_metric(label_efficiency.metric).title, labelpad=3)
    axes.set_xlabel("training clips with labels", labelpad=2)
    _write_names(axes, lines, names, axes_width, axes_height)
    return layout.figure


def _draw_line(axes: "Axes", line: EfficiencyCurve, k: int, lines: int) -> None:
    """Draw means, one standard deviation, and single runs."""
    color, marker = style.color_and_marker(k)
    x = np.array([point.labels for point in line.points])
    shift = 1 + 0.012 * (k - (lines - 1) / 2)  # so that bars do not hide each other
    deviation = [point.spread for point in line.points]
    axes.errorbar(
        x * shift,
        [point.mean for point in line.points],
        yerr=np.nan_to_num(deviation) if np.isfinite(deviation).any() else None,
        color=color,
        marker=marker,
        ms=3.2,
        lw=1.0,
        elinewidth=0.8,
        capsize=0,
        zorder=3,
    )
    for point in line.points:
        if len(point.scores) > 1:
            axes.plot(
                np.full(len(point.scores), point.labels * shift),
                point.scores,
                ".",
                ms=2.2,
                mec="none",
                color=color,
                alpha=0.6,
                zorder=2,
            )


def _write_names(
    axes: "Axes", lines: Sequence[EfficiencyCurve], names: list[str], width: float, height: float
) -> None:
    """Write names at the right, apart from each other, with lines from the curves' ends."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    right = axes.get_xlim()[1]
    scores = np.array([line.points[-1].mean for line in lines])
    ends = (scores - low) / (high - low)
    positions = spread_labels(ends * height, _NAME_STEP, 0.04, height - 0.04) / height
    for k, (name, score, end, y) in enumerate(zip(names, scores, ends, positions, strict=True)):
        color, _ = style.color_and_marker(k)
        last = lines[k].points[-1].labels
        axes.plot([last, right], [score, score], color=color, lw=0.4, zorder=1)
        axes.plot(
            [1, 1 + (_LEADER_WIDTH - 0.05) / width],
            [end, y],
            transform=axes.transAxes,
            color=color,
            lw=0.5,
            clip_on=False,
        )
        axes.text(
            1 + _LEADER_WIDTH / width,
            y,
            name,
            transform=axes.transAxes,
            fontsize=_SIZE,
            va="center_baseline",
        )


@style.styled
def draw_target_counts(counts: TargetCounts, width: float | None = None) -> "Figure":
    """Draw scores by the number of targets, a panel for each metric, one column wide by default."""
    width = style.ONE_COLUMN if width is None else width
    names = counts.metrics
    panel = (width - _LEFT * len(names) - 0.06) / len(names)
    key = _LEGEND_STEP + 0.05
    layout = FigureLayout(width, _TOP + key + _HEIGHT + _BOTTOM, list(counts.provenance))
    for index, name in enumerate(names):
        axes = layout.add(_LEFT + index * (panel + _LEFT), _TOP + key, panel, _HEIGHT)
        for k, line in enumerate(counts.lines):
            color, marker = style.color_and_marker(k)
            scores = counts.scores(line, name)
            shift = 0.08 * (k - (len(counts.lines) - 1) / 2)  # so that they do not hide each other
            for count, values in scores.items():
                axes.plot([count + shift] * len(values), values, ".", ms=2.2, mec="none", c=color)
            means = [float(np.mean(values)) for values in scores.values()]
            x = [count + shift for count in scores]
            axes.plot(x, means, color=color, marker=marker, ms=3.2, lw=1.0, label=line)
        axes.set_xticks(sorted({len(c) for line in counts.lines.values() for c in line}))
        axes.set_xlabel("targets", labelpad=2)
        axes.set_ylabel(metrics.get_metric(name).title, labelpad=3)
        axes.grid(axis="y")
        if not index:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(counts.lines), fontsize=_SIZE,
                frameon=False, borderaxespad=0.2,
            )  # fmt: skip
    return layout.figure


@style.styled
def draw_learning_curve(curve: LearningCurve, width: float | None = None) -> "Figure":
    """Draw losses and scores by epoch side by side, two columns wide by default.

    A color is a run, a line style a quantity; bands are one standard deviation over folds and
    seeds. Dotted vertical lines are the starts of phases.
    """
    from matplotlib.ticker import MaxNLocator

    width = style.TWO_COLUMNS if width is None else width
    panels = [
        [series for series in curve.series if series.is_score == is_score]
        for is_score in (False, True)
    ]
    panels = [panel for panel in panels if panel]
    runs = [group.label for group in curve.groups][:MOST_LINES]
    notes = [*curve.provenance]
    if len(runs) < len(curve.groups):
        notes.insert(0, f"shown: the first {len(runs)} of {len(curve.groups)} runs")
    colors = [style.color_and_marker(k)[0] for k in range(len(runs))]
    entries = [(run, {"color": color, "lw": 1.4}) for run, color in zip(runs, colors, strict=True)]
    quantities = list(dict.fromkeys((s.quantity, s.title) for panel in panels for s in panel))
    styles = {name: _LINE_STYLES[k % len(_LINE_STYLES)] for k, (name, _) in enumerate(quantities)}
    entries += [
        (title, {"color": "0.35", "lw": 1.0, "ls": styles[name]}) for name, title in quantities
    ]
    legend_height = _LEGEND_STEP * len(entries) + 0.06
    axes_width = width / len(panels) - _LEFT - _PANEL_GAP
    layout = FigureLayout(width, _TOP + _HEIGHT + _BOTTOM + legend_height, notes)
    for number, panel in enumerate(panels):
        left = _LEFT + number * (axes_width + _PANEL_GAP + _LEFT)
        axes = layout.add(left, _TOP, axes_width, _HEIGHT)
        for series in panel:
            if series.run in runs:
                color = colors[runs.index(series.run)]
                _draw_series(axes, series, color, styles[series.quantity])
        for start in curve.phase_starts:
            axes.axvline(start - 0.5, color="0.6", lw=0.6, ls=":", zorder=1)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("epoch", labelpad=2)
        is_score = panel[0].is_score
        title = metrics.get_metric(curve.metric).title
        axes.set_ylabel(title if is_score else "loss", labelpad=3)
    _write_legend(layout, entries, width, _TOP + _HEIGHT + _BOTTOM, legend_height)
    return layout.figure


def _draw_series(axes: "Axes", series: Series, color: str, line_style: Any) -> None:
    """Draw the mean of a quantity, and a band of one standard deviation."""
    mean, deviation = series.statistics()
    epochs = np.arange(1, len(mean) + 1)
    marker = "o" if np.isfinite(mean).sum() == 1 else None
    axes.plot(epochs, mean, color=color, ls=line_style, lw=1.0, marker=marker, ms=3, zorder=3)
    if np.isfinite(deviation).any():
        axes.fill_between(
            epochs, mean - deviation, mean + deviation, color=color, alpha=0.15, lw=0, zorder=2
        )


def _write_legend(
    layout: FigureLayout,
    entries: Sequence[tuple[str, dict[str, Any]]],
    width: float,
    top: float,
    height: float,
) -> None:
    """Write the legend below the axes, a line each."""
    axes = layout.add(_LEFT, top, width - _LEFT, height)
    axes.set_axis_off()
    axes.set_xlim(0, width - _LEFT)
    axes.set_ylim(height, 0)
    for k, (text, line) in enumerate(entries):
        y = _LEGEND_STEP * (k + 0.5)
        axes.plot([0, 0.25], [y, y], **line)
        label = fit_to_width(text, 72 * (width - _LEFT - 0.35), _SIZE)
        axes.text(0.32, y, label, fontsize=_SIZE, va="center_baseline")


@style.styled
def draw_layers(layers: Layers, width: float | None = None) -> "Figure":
    """Draw scores by depth with intervals, one column wide by default; a color is a network.

    At the right are the scores with the layer selected on held-out clips, and with learned weights
    of all layers; their weights are in a second panel below.
    """
    width = style.ONE_COLUMN if width is None else width
    curves = layers.curves
    learned = any(curve.learned for curve in curves)
    legend_height = _LEGEND_STEP * len(curves) + 0.04
    weights_height = _WEIGHTS_HEIGHT + _PANEL_GAP if learned else 0.0
    axes_width = width - _LEFT - _RIGHT
    height = _TOP + _LAYERS_HEIGHT + weights_height + _BOTTOM + legend_height
    layout = FigureLayout(width, height, layers.provenance)
    axes = layout.add(_LEFT, _TOP, axes_width, _LAYERS_HEIGHT)
    deepest = max(curve.depths[-1] for curve in curves)
    first = min(curve.depths[0] for curve in curves)
    names = ["selected", "learned"] if learned else ["selected"]
    unit = (deepest - first + 1) / (axes_width - _PLACE * len(names))  # layers an inch
    step, edge = max(1.0, _PLACE * unit), deepest + 0.5
    places = {name: edge + (k + 0.5) * step for k, name in enumerate(names)}
    low, high = first - 0.5, edge + step * len(names)
    shifts = min(0.09, 0.05 * unit) * (np.arange(len(curves)) - (len(curves) - 1) / 2)
    for k, curve in enumerate(curves):
        _draw_curve(axes, curve, k, float(shifts[k]), places)
    axes.set_ylabel(metrics.get_metric(layers.metric).title, labelpad=3)
    lowest = axes
    if learned:
        lowest = layout.add(_LEFT, _TOP + _LAYERS_HEIGHT + _PANEL_GAP, axes_width, _WEIGHTS_HEIGHT)
        for k, curve in enumerate(curves):
            if curve.weights is not None:
                color, marker = style.color_and_marker(k)
                lowest.plot(curve.depths, curve.weights, color=color, marker=marker, ms=3, lw=0.9)
        lowest.set_ylim(bottom=0)
        lowest.set_ylabel("learned weight", labelpad=3)
        lowest.axvline(edge, color="0.8", lw=0.6)
    depths = sorted({depth for curve in curves for depth in curve.depths})
    every = int(np.ceil(_TICK * (high - low) / axes_width))
    ticks = [depth for depth in depths if depth % every == 0 or every == 1]
    for panel in {id(axes): axes, id(lowest): lowest}.values():
        panel.set_xlim(low, high)
        panel.grid(axis="y")
        shown = panel is lowest
        panel.set_xticks(ticks, [str(tick) if shown else "" for tick in ticks])
    axes.axvline(edge, color="0.8", lw=0.6)
    middle = ((first + deepest) / 2 - low) / (high - low)
    lowest.set_xlabel("layer, by depth", labelpad=2, x=middle)
    for name, place in places.items():
        axes.text(
            (place - low) / (high - low),
            0.02,
            name,
            transform=axes.transAxes,
            fontsize=_SIZE,
            ha="center",
            va="bottom",
        )
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom - 0.07 * (top - bottom), top)  # room for the names
    _write_prices(layout, layers, height - legend_height)
    return layout.figure


def _draw_curve(
    axes: "Axes", curve: LayerCurve, k: int, shift: float, places: dict[str, float]
) -> None:
    """Draw one network: its layers, and at the right what uses all of them."""
    color, marker = style.color_and_marker(k)
    x = np.array(curve.depths) + shift
    scores = np.array([group.score for group in curve.layers])
    bounds = np.array([group.interval for group in curve.layers])
    axes.plot(x, scores, color=color, marker=marker, ms=3.2, lw=1.0, zorder=3)
    axes.vlines(x, bounds[:, 0], bounds[:, 1], color=color, lw=0.8, zorder=2)
    axes.axhline(curve.auto.score, color=color, lw=0.6, ls="--", zorder=1)
    for name, group in (("selected", curve.auto), ("learned", curve.learned)):
        if group is not None and name in places:
            place = places[name] + 2 * shift
            axes.plot(place, group.score, color=color, marker=marker, ms=4.2, mfc="white", zorder=3)
            axes.vlines(place, *group.interval, color=color, lw=0.8, zorder=2)


def _write_prices(layout: FigureLayout, layers: Layers, top: float) -> None:
    """Write a line for each network: name, and the price of choosing on test clips."""
    width = layout.width - _LEFT - _RIGHT
    height = _LEGEND_STEP * len(layers.curves) + 0.04
    axes = layout.add(_LEFT, top, width, height)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    for k, curve in enumerate(layers.curves):
        color, marker = style.color_and_marker(k)
        y = _LEGEND_STEP * (k + 0.5)
        axes.plot([0, 0.25], [y, y], color=color, lw=1.0)
        axes.plot(0.125, y, color=color, marker=marker, ms=3.2)
        text = f"{curve.label}: best on test less selected {curve.price.difference:+.3f}"
        label = fit_to_width(text, 72 * (width - 0.35), _SIZE)
        axes.text(0.32, y, label, fontsize=_SIZE, va="center_baseline")
