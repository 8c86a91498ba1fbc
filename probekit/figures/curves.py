"""Curves of label efficiency: scores by training labels, named at their ends."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.label_efficiency import EfficiencyCurve, LabelEfficiency
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout, log_ticks, spread_labels
from probekit.figures.labels import fit_to_width, text_width
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 16
_MARKERS = style.MARKERS[:8]
_SIZE = 6.0  # points
_NAME_STEP = 0.105  # inches from one name to the next, at least
_HEIGHT = 2.1  # inches of the axes, at least
_LEFT, _TOP, _BOTTOM = 0.5, 0.08, 0.36  # inches
_LEADER_WIDTH = 0.2  # inches for the lines that lead to names


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


def _color_and_marker(k: int) -> tuple[str, str]:
    palette = style.categorical()
    return palette[k % len(palette)], _MARKERS[(k + k // len(palette)) % len(_MARKERS)]


def _draw_line(axes: "Axes", line: EfficiencyCurve, k: int, lines: int) -> None:
    """Draw means, one standard deviation, and single runs."""
    color, marker = _color_and_marker(k)
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
        color, _ = _color_and_marker(k)
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
