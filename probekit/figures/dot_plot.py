"""Two runs class by class: differences with their intervals, one line a class."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.class_differences import Differences
from probekit.figures import files, labels, style
from probekit.figures import text as text_module
from probekit.figures.axes_layout import FigureLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 60  # classes shown; of more, those at both ends
_LINE = 0.118  # inches from one class to the next
_SIZE = 6.0
_TOP, _AXIS = 0.3, 0.34  # inches above and below the lines
_BETTER, _WORSE = 0, 1  # places in the palette


def draw(
    found: Differences, width: float | None = None, look: str | Path | None = None
) -> "Figure":
    """Draw the difference of two runs in each class, sorted.

    Of more than 60 classes the 30 at each end are shown, and that is said; the table has all.

    Parameters
    ----------
    found : Differences
        From :func:`probekit.analysis.class_differences.differences`.
    width : float > 0, optional
        In inches; one column by default.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        Provenance is written below.
    """
    with style.style_context(look):
        return _draw(found, style.ONE_COLUMN if width is None else width)


save = files.Saver(draw)


def _draw(found: Differences, width: float) -> "Figure":
    order, said = list(found.order), [*found.provenance]
    left_out = len(order) - MOST
    if left_out > 0:
        order = [*order[: MOST // 2], *order[-(MOST // 2) :]]
        said.insert(0, f"shown: the {MOST // 2} classes at each end of {len(found.order)}")
    names = [labels.fit_to_width(found.names[k], 0.4 * 72 * width, _SIZE) for k in order]
    beside = max(text_module.width(name, _SIZE) for name in names) / 72 + 0.1
    place = np.arange(len(order), dtype=float)
    if left_out > 0:
        place[MOST // 2 :] += 1.6  # room for saying how many are between
    tall = _LINE * (place[-1] + 1.2)
    marks = found.significant[order]
    said.insert(0, f"filled: {'beyond chance' if marks.any() else 'none is beyond chance'}")
    sheet = FigureLayout(width, _TOP + tall + _AXIS, said)
    wide = width - beside - 0.12
    axes = sheet.add(beside, _TOP, wide, tall)
    _lines(axes, found, order, place)
    axes.set_ylim(place[-1] + 0.6, -0.6)
    axes.set_yticks(place, names, fontsize=_SIZE)
    axes.tick_params(axis="y", length=0, pad=2)
    axes.spines["left"].set_visible(False)
    _across(axes, found, order)
    axes.set_xlabel(f"difference in {found.scored}", labelpad=2)
    if left_out > 0:
        middle = (place[MOST // 2 - 1] + place[MOST // 2]) / 2
        axes.annotate(
            f"… {left_out} classes between …",
            (0.5, middle),
            xycoords=("axes fraction", "data"),
            fontsize=_SIZE,
            color=style.NOTE,
            ha="center",
            va="center",
        )
    _sides(sheet, found, beside, wide, (width - 0.1) / 2)
    return sheet.figure


def _lines(axes: "Axes", found: Differences, order: list[int], place: np.ndarray) -> None:
    """Draw a point and an interval for each class."""
    palette = style.categorical()
    sign = 1 if found.higher_is_better else -1
    axes.axvline(0, color="#999999", lw=0.6, zorder=0.5)
    for k, at in zip(order, place.tolist(), strict=True):
        value, beyond = found.difference[k], bool(found.significant[k])
        colour = palette[_BETTER if sign * value > 0 else _WORSE] if beyond else style.QUIET
        if np.isfinite(found.low[k]):
            axes.plot([found.low[k], found.high[k]], [at, at], color=colour, lw=1.0, zorder=2)
        axes.plot(
            value,
            at,
            "o",
            ms=3.4,
            color=colour,
            markerfacecolor=colour if beyond else "white",
            markeredgewidth=0.8,
            zorder=3,
        )


def _across(axes: "Axes", found: Differences, order: list[int]) -> None:
    """Set the limits; the same room on both sides of nothing is not needed, but zero is there."""
    ends = np.concatenate([found.low[order], found.high[order], found.difference[order], [0.0]])
    ends = ends[np.isfinite(ends)]
    pad = 0.04 * (np.ptp(ends) or 1.0)
    axes.set_xlim(ends.min() - pad, ends.max() + pad)
    axes.locator_params(axis="x", nbins=5)
    if not found.higher_is_better:
        axes.invert_xaxis()  # the first run's side is always the right one
    axes.grid(axis="x", zorder=0)


def _sides(sheet: FigureLayout, found: Differences, left: float, wide: float, most: float) -> None:
    """Write above at which side which run is better."""
    second = labels.fit_to_width(found.second.label, 72 * most - 40, _SIZE)
    first = labels.fit_to_width(found.first.label, 72 * most - 40, _SIZE)
    for text, x, side in (
        (f"← {second} better", 0.04, "left"),
        (f"{first} better →", left + wide + 0.04, "right"),
    ):
        sheet.figure.text(
            x / sheet.width,
            1 - 0.12 / sheet.height,
            text,
            fontsize=_SIZE,
            ha=side,
            va="center",
            color=style.NOTE,
        )
