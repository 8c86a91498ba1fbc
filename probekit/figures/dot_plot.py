"""Dot plot of two runs class by class: differences with their intervals."""

from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.analysis.class_differences import ClassDifferences
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.labels import fit_to_width, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 60
_LINE_STEP = 0.118  # inches from one class to the next
_SIZE = 6.0  # points
_TOP, _BOTTOM = 0.3, 0.34  # inches above and below the lines
_BETTER, _WORSE = 0, 1  # colors of the palette


@style.styled
def draw_class_differences(differences: ClassDifferences, width: float | None = None) -> "Figure":
    """Draw the difference of two runs in each class, sorted; one column wide by default.

    Of more than 60 classes the 30 at each end are shown, and a note says so; the table has all.
    """
    width = style.ONE_COLUMN if width is None else width
    order, notes = list(differences.order), [*differences.provenance]
    half, omitted = MOST_CLASSES // 2, len(order) - MOST_CLASSES
    if omitted > 0:
        order = [*order[:half], *order[-half:]]
        notes.insert(0, f"shown: the {half} classes at each end of {len(differences.order)}")
    names = [fit_to_width(differences.names[k], 0.4 * 72 * width, _SIZE) for k in order]
    names_width = max(text_width(name, _SIZE) for name in names) / 72 + 0.1
    y = np.arange(len(order), dtype=float)
    if omitted > 0:
        y[half:] += 1.6  # room for how many are between
    axes_width, axes_height = width - names_width - 0.12, _LINE_STEP * (y[-1] + 1.2)
    any_significant = differences.significant[order].any()
    notes.insert(0, f"filled: {'beyond chance' if any_significant else 'none is beyond chance'}")
    layout = FigureLayout(width, _TOP + axes_height + _BOTTOM, notes)
    axes = layout.add(names_width, _TOP, axes_width, axes_height)
    _draw_points(axes, differences, order, y)
    axes.set_ylim(y[-1] + 0.6, -0.6)
    axes.set_yticks(y, names, fontsize=_SIZE)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.spines["left"].set_visible(False)
    _set_difference_axis(axes, differences, order)
    axes.set_xlabel(f"difference in {differences.score_name}", labelpad=2)
    if omitted > 0:
        axes.annotate(
            f"… {omitted} classes between …",
            (0.5, (y[half - 1] + y[half]) / 2),
            xycoords=("axes fraction", "data"),
            fontsize=_SIZE,
            color=style.NOTE_COLOR,
            ha="center",
            va="center",
        )
    _write_sides(layout, differences, names_width + axes_width)
    return layout.figure


def _draw_points(axes: "Axes", differences: ClassDifferences, order: list[int], y: Array) -> None:
    """Draw a point and an interval for each class."""
    palette = style.categorical()
    sign = 1 if differences.higher_is_better else -1
    axes.axvline(0, color="#999999", lw=0.6, zorder=0.5)
    for k, height in zip(order, y.tolist(), strict=True):
        value, significant = differences.difference[k], bool(differences.significant[k])
        better = palette[_BETTER if sign * value > 0 else _WORSE]
        color = better if significant else style.GRAY
        low, high = differences.low[k], differences.high[k]
        if np.isfinite(low):
            axes.plot([low, high], [height, height], color=color, lw=1.0, zorder=2)
        axes.plot(
            value,
            height,
            "o",
            ms=3.4,
            color=color,
            markerfacecolor=color if significant else "white",
            markeredgewidth=0.8,
            zorder=3,
        )


def _set_difference_axis(axes: "Axes", differences: ClassDifferences, order: list[int]) -> None:
    """Set limits that include zero; at the right the first run is better."""
    columns = (differences.low, differences.high, differences.difference)
    values = np.concatenate([*(column[order] for column in columns), [0.0]])
    values = values[np.isfinite(values)]
    margin = 0.04 * (np.ptp(values) or 1.0)
    axes.set_xlim(values.min() - margin, values.max() + margin)
    axes.locator_params(axis="x", nbins=5)
    if not differences.higher_is_better:
        axes.invert_xaxis()
    axes.grid(axis="x", zorder=0)


def _write_sides(layout: FigureLayout, differences: ClassDifferences, right: float) -> None:
    """Write above on which side which run is better."""
    room = 72 * (layout.width - 0.1) / 2 - 40
    first = fit_to_width(differences.first.label, room, _SIZE)
    second = fit_to_width(differences.second.label, room, _SIZE)
    for text, x, align in (
        (f"← {second} better", 0.04, "left"),
        (f"{first} better →", right + 0.04, "right"),
    ):
        layout.figure.text(
            x / layout.width,
            1 - 0.12 / layout.height,
            text,
            fontsize=_SIZE,
            ha=align,
            va="center",
            color=style.NOTE_COLOR,
        )
