"""Scores against what they cost: one panel a kind of cost, names beside the points."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.cost import COSTS, Cost, CostPoint
from probekit.figures import axes_layout, files, labels, style, text
from probekit.figures.axes_layout import FigureLayout
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0
_TALL = 2.3  # inches of a panel
_LEFT, _TOP, _BELOW, _GAP = 0.5, 0.08, 0.36, 0.14
_NAMES = 100.0  # points that a name may take
_STEPS = 12  # places along a bar that names keep off
_KEY = 0.13  # inches of a line of the key
_FORMS = "osD^vPX<"


def draw(found: Cost, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw scores against parameters, GFLOP and seconds, as far as they are known.

    Embeddings are named once, at their best score; several probes have colours and forms.

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
    with style.style_context(look):
        if width is None:
            width = style.ONE_COLUMN if len(found.axes) == 1 else style.TWO_COLUMNS
        return _draw(found, width)


save = files.Saver(draw)


def _draw(found: Cost, width: float) -> "Figure":
    probes = list(dict.fromkeys(one.probe for one in found.points))
    key = _lines(probes, width) if len(probes) > 1 else []
    top = _TOP + _KEY * len(key)
    room = "; ".join(f"{COSTS[kind]}: 100 of 100 names left out" for kind in found.axes)
    sheet = FigureLayout(width, top + _TALL + _BELOW, [room, *found.provenance])
    _key(sheet, key)
    count = len(found.axes)
    wide = (width - _LEFT - 0.06 - _GAP * (count - 1)) / count
    low, high = _limits(found.points)
    said = []
    for k, kind in enumerate(found.axes):
        axes = sheet.add(_LEFT + k * (wide + _GAP), top, wide, _TALL)
        axes.set_ylim(low, high)
        axes.locator_params(axis="y", nbins=6)
        axes.grid(axis="y")
        known = [one for one in found.points if kind in one.costs]
        named, names = _panel(axes, known, kind, probes, wide)
        if named < names:
            said.append(f"{COSTS[kind]}: {names - named} of {names} names left out")
        axes.set_xlabel(COSTS[kind], labelpad=2)
        if k:
            axes.tick_params(axis="y", labelleft=False)
        else:
            axes.set_ylabel(metrics.get_metric(found.metric).title, labelpad=3)
    sheet.text([*said, *found.provenance])
    return sheet.figure


def _limits(points: tuple[CostPoint, ...]) -> tuple[float, float]:
    """Return the ends of the axis of scores, with room for names."""
    ends = [value for one in points for value in (*one.interval, one.entry.score)]
    there = np.array([value for value in ends if np.isfinite(value)])
    pad = 0.08 * (np.ptp(there) or 0.1)
    return float(there.min() - pad), float(there.max() + pad)


def _panel(
    axes: "Axes", known: list[CostPoint], kind: str, probes: list[str], wide: float
) -> tuple[int, int]:
    """Draw one kind of cost; return how many names found room, of how many."""
    costs = np.array([one.costs[kind] for one in known])
    some = costs[costs > 0]
    low, high = float(some.min()), float(some.max())
    span = np.log10(high / low)
    if span < 1:  # so that there are round numbers to name
        middle, span = (low * high) ** 0.5, 1.0
        low, high = middle / 10**0.5, middle * 10**0.5
    zero = low / 10 ** (0.28 * span)  # where what costs nothing stands
    free = bool((costs == 0).any())
    begin, end = (zero if free else low) / 10 ** (0.12 * span), high * 10 ** (0.12 * span)
    axes.set_xscale("log")
    axes.set_xlim(begin, end)
    _ticks(axes, low, high, zero if free else None, wide)
    # probes of one embedding stand side by side, two points apart
    aside = (end / begin) ** (2 / 72 / wide)
    places, bars = [], []
    for one, at in zip(known, np.where(costs > 0, costs, zero).tolist(), strict=True):
        place = probes.index(one.probe)
        x, score = at * aside ** (place - (len(probes) - 1) / 2), one.entry.score
        colour, form = _look(place)
        axes.plot([x, x], one.interval, color=colour, lw=0.8, alpha=0.6, zorder=2)
        axes.plot(x, score, form, ms=3.4, color=colour, mew=0, zorder=3)
        places.append((x, score))
        if np.isfinite(one.interval).all():
            bars.append(np.stack([np.full(_STEPS, x), np.linspace(*one.interval, _STEPS)], axis=1))
    first = {one.embedding: k for k, one in reversed(list(enumerate(known)))}  # the best of each
    room = min(_NAMES, 0.3 * 72 * wide)
    names = [labels.fit_to_width(name, room, _SIZE) for name in first]
    points = np.array(places)
    others = np.concatenate([points, *bars])
    written = axes_layout.place_labels(
        axes, points[list(first.values())], names, _SIZE, others=others
    )
    return len(written), len(names)


def _look(place: int) -> tuple[str, str]:
    """Return colour and form of a probe."""
    palette = style.categorical()
    return palette[place % len(palette)], _FORMS[place % len(_FORMS)]


def _lines(probes: list[str], width: float) -> list[list[tuple[float, str]]]:
    """Return the lines of the key: where each probe's name begins, in inches, and the name."""
    lines: list[list[tuple[float, str]]] = [[]]
    at = _LEFT
    for probe in probes:
        name = labels.fit_to_width(probe, 100.0, _SIZE)
        wide = text.width(name, _SIZE) / 72 + 0.25
        if lines[-1] and at + wide > width:
            lines.append([])
            at = _LEFT
        lines[-1].append((at, name))
        at += wide
    return lines


def _key(sheet: FigureLayout, lines: list[list[tuple[float, str]]]) -> None:
    """Write above which colour is which probe."""
    if not lines:
        return
    axes = sheet.add(0, 0.04, sheet.width, _KEY * len(lines))
    axes.set(xlim=(0, sheet.width), ylim=(len(lines), 0))
    axes.set_axis_off()
    placed = [(x, row, name) for row, line in enumerate(lines) for x, name in line]
    for place, (x, row, name) in enumerate(placed):
        colour, form = _look(place)
        axes.plot(x + 0.05, row + 0.5, form, ms=3.4, color=colour, mew=0)
        axes.text(x + 0.12, row + 0.5, name, fontsize=_SIZE, va="center_baseline")


def _ticks(axes: "Axes", low: float, high: float, zero: float | None, wide: float) -> None:
    """Name round costs; what costs nothing stands apart, at the left of a dotted line."""
    begin, end = axes.get_xlim()
    if zero is not None:
        begin = (zero * low) ** 0.5
        axes.axvline(begin, color="#999999", lw=0.6, ls=":")
    places = labels.factors(begin, end, max(2, int(wide / 0.36)))
    names = [labels.short(place) for place in places]
    if zero is not None:
        places, names = [zero, *places], ["0", *names]
    axes.set_xticks(places, names)
    axes.minorticks_off()
