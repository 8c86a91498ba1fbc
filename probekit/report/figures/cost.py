"""Scores against what they cost: one panel a kind of cost, names beside the points."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.cost import COSTS, Cost, Priced
from probekit.report import labels, placing, saving, style, ticks
from probekit.report.figures.sheet import Sheet
from probekit.tasks import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0
_TALL = 2.3  # inches of a panel
_LEFT, _TOP, _BELOW, _GAP = 0.5, 0.08, 0.36, 0.14
_NAMES = 100.0  # points that a name may take
_STEPS = 12  # places along a bar that names keep off


def draw(found: Cost, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw scores against parameters, GFLOP and seconds, as far as they are known.

    Parameters
    ----------
    found : Cost
        From :func:`probekit.analysis.cost.cost`.
    width : float > 0, optional
        In inches; one column for one kind of cost, else two.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        What is not known, and provenance, is written below.
    """
    with style.applied(look):
        if width is None:
            width = style.ONE_COLUMN if len(found.axes) == 1 else style.TWO_COLUMNS
        return _draw(found, width)


def save(
    found: Cost,
    folder: Path,
    width: float | None = None,
    look: str | Path | None = None,
) -> list[Path]:
    """Draw scores against what they cost and write them with their data.

    Parameters
    ----------
    found : Cost
        What to draw.
    folder : pathlib.Path
        Where.
    width : float > 0, optional
        In inches.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    list of pathlib.Path
        PDF, SVG, PNG, CSV and JSON.
    """
    return saving.save(draw(found, width, look), found, folder, look)


def _draw(found: Cost, width: float) -> "Figure":
    room = f"{len(found.points)} of {len(found.points)} names shown in each panel"
    sheet = Sheet(width, _TOP + _TALL + _BELOW, [room, *found.provenance])
    count = len(found.axes)
    wide = (width - _LEFT - 0.06 - _GAP * (count - 1)) / count
    low, high = _limits(found.points)
    said = []
    for k, kind in enumerate(found.axes):
        axes = sheet.add(_LEFT + k * (wide + _GAP), _TOP, wide, _TALL)
        axes.set_ylim(low, high)
        axes.locator_params(axis="y", nbins=6)
        axes.grid(axis="y")
        known = [one for one in found.points if kind in one.costs]
        left_out = _panel(axes, known, kind, wide)
        if left_out:
            said.append(f"{COSTS[kind]}: {left_out} of {len(known)} points without a name")
        axes.set_xlabel(COSTS[kind], labelpad=2)
        if k:
            axes.tick_params(axis="y", labelleft=False)
        else:
            axes.set_ylabel(metrics.get(found.metric).title, labelpad=3)
    sheet.say([*said[:1], *found.provenance])
    return sheet.figure


def _limits(points: tuple[Priced, ...]) -> tuple[float, float]:
    """Return the ends of the axis of scores, with room for names."""
    ends = [value for one in points for value in (*one.interval, one.entry.score)]
    there = np.array([value for value in ends if np.isfinite(value)])
    pad = 0.08 * (np.ptp(there) or 0.1)
    return float(there.min() - pad), float(there.max() + pad)


def _panel(axes: "Axes", known: list[Priced], kind: str, wide: float) -> int:
    """Draw one kind of cost; return how many names found no room."""
    costs = np.array([one.costs[kind] for one in known])
    some = costs[costs > 0]
    low, high = float(some.min()), float(some.max())
    span = np.log10(high / low)
    if span < 1:  # so that there are round numbers to name
        middle, span = (low * high) ** 0.5, 1.0
        low, high = middle / 10**0.5, middle * 10**0.5
    zero = low / 10 ** (0.28 * span)  # where what costs nothing stands
    x = np.where(costs > 0, costs, zero)
    free = bool((costs == 0).any())
    axes.set_xscale("log")
    axes.set_xlim((zero if free else low) / 10 ** (0.12 * span), high * 10 ** (0.12 * span))
    _ticks(axes, low, high, zero if free else None, wide)
    palette = style.categorical()
    kinds = list(dict.fromkeys(one.entry.results[0]["probe"] for one in known))
    bars = []
    for one, at in zip(known, x.tolist(), strict=True):
        first, score = kinds.index(one.entry.results[0]["probe"]), one.entry.score
        colour = palette[first % len(palette)]
        axes.plot([at, at], one.interval, color=colour, lw=0.8, alpha=0.6, zorder=2)
        axes.plot(at, score, "osD^vPX<"[first % 8], ms=3.6, color=colour, mew=0, zorder=3)
        if np.isfinite(one.interval).all():
            bars.append(np.stack([np.full(_STEPS, at), np.linspace(*one.interval, _STEPS)], axis=1))
    points = np.stack([x, [one.entry.score for one in known]], axis=1)
    room = min(_NAMES, 0.55 * 72 * wide)
    names = [labels.fitted(one.entry.label, room, _SIZE) for one in known]
    others = np.concatenate(bars) if bars else None
    return len(names) - len(placing.place(axes, points, names, _SIZE, others=others))


def _ticks(axes: "Axes", low: float, high: float, zero: float | None, wide: float) -> None:
    """Name round costs; what costs nothing stands apart, at the left of a dotted line."""
    begin, end = axes.get_xlim()
    if zero is not None:
        begin = (zero * low) ** 0.5
        axes.axvline(begin, color="#999999", lw=0.6, ls=":")
    places = ticks.factors(begin, end, max(2, int(wide / 0.36)))
    names = [ticks.short(place) for place in places]
    if zero is not None:
        places, names = [zero, *places], ["0", *names]
    axes.set_xticks(places, names)
    axes.minorticks_off()
