"""Label efficiency as curves: scores by training labels, named at their ends."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.label_efficiency import LabelEfficiency, Line
from probekit.figures import files, labels, style, text
from probekit.figures.axes_layout import FigureLayout
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 16  # lines shown
_MARKERS = "osD^vPX<"
_SIZE = 6.0
_LINE = 0.105  # inches from one name to the next, at least
_TALL = 2.1  # inches of the axes, at least
_LEFT, _TOP, _BELOW = 0.5, 0.08, 0.36
_LEAD = 0.2  # inches for the lines that lead to names


def draw(
    found: LabelEfficiency, width: float | None = None, look: str | Path | None = None
) -> "Figure":
    """Draw scores by training labels.

    Of more than 16 lines the best are shown, and that is said; the table has all.

    Parameters
    ----------
    found : Efficiency
        From :func:`probekit.analysis.label_efficiency.efficiency`.
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


def _draw(found: LabelEfficiency, width: float) -> "Figure":
    lines, said = found.lines[:MOST], [*found.provenance]
    if len(lines) < len(found.lines):
        said.insert(0, f"shown: the best {len(lines)} of {len(found.lines)}")
    names = [labels.fit_to_width(line.label, 0.34 * 72 * width, _SIZE) for line in lines]
    beside = max(text.width(name, _SIZE) for name in names) / 72 + 0.06
    tall = max(_TALL, _LINE * len(lines) + 0.1)
    sheet = FigureLayout(width, _TOP + tall + _BELOW, said)
    wide = width - _LEFT - _LEAD - beside
    axes = sheet.add(_LEFT, _TOP, wide, tall)
    for k, line in enumerate(lines):
        _line(axes, line, k, len(lines))
    _across(axes, lines, wide)
    axes.grid(axis="y")
    axes.set_ylabel(metrics.get_metric(found.metric).title, labelpad=3)
    axes.set_xlabel("training clips with labels", labelpad=2)
    _names(axes, lines, names, tall, wide)
    return sheet.figure


def _look(k: int) -> tuple[str, str]:
    """Return colour and marker of a line."""
    palette = style.categorical()
    return palette[k % len(palette)], _MARKERS[(k + k // len(palette)) % len(_MARKERS)]


def _line(axes: "Axes", line: Line, k: int, lines: int) -> None:
    """Draw means, one standard deviation, and single runs."""
    colour, marker = _look(k)
    x = np.array([point.labels for point in line.points])
    shift = 1 + 0.012 * (k - (lines - 1) / 2)  # so that bars do not hide each other
    mean = [point.mean for point in line.points]
    spread = [point.spread for point in line.points]
    axes.errorbar(
        x * shift,
        mean,
        yerr=np.nan_to_num(spread) if np.isfinite(spread).any() else None,
        color=colour,
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
                color=colour,
                alpha=0.6,
                zorder=2,
            )


def _across(axes: "Axes", lines: tuple[Line, ...], wide: float) -> None:
    """Let steps along the axis be factors."""
    x = [point.labels for line in lines for point in line.points]
    low, high = min(x) / 1.15, max(x) * 1.15
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    places = labels.factors(low, high, max(2, int(wide / 0.38)))
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.minorticks_off()


def _names(
    axes: "Axes", lines: tuple[Line, ...], names: list[str], tall: float, wide: float
) -> None:
    """Write names at the right, apart from each other, with lines from the curves' ends."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = np.array([line.points[-1].mean for line in lines])
    wanted = (ends - low) / (high - low) * tall
    places = _apart(wanted, _LINE, 0.04, tall - 0.04) / tall
    right = axes.get_xlim()[1]
    for k, (name, at) in enumerate(zip(names, places, strict=True)):
        colour, _ = _look(k)
        axes.plot(
            [lines[k].points[-1].labels, right],
            [ends[k], ends[k]],
            color=colour,
            lw=0.4,
            zorder=1,
        )
        axes.plot(
            [1, 1 + (_LEAD - 0.05) / wide],
            [(ends[k] - low) / (high - low), at],
            transform=axes.transAxes,
            color=colour,
            lw=0.5,
            clip_on=False,
        )
        axes.text(
            1 + _LEAD / wide,
            at,
            name,
            transform=axes.transAxes,
            fontsize=_SIZE,
            va="center_baseline",
        )


def _apart(wanted: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Return places near those wanted, at least a gap apart, between two ends.

    Places that are too near are moved apart around their middle.
    """
    order = np.argsort(wanted, kind="stable")
    groups: list[list[float]] = []  # middle, number of places
    for value in wanted[order]:
        groups.append([float(value), 1.0])
        while True:
            middle, count = groups[-1]
            reach = gap * (count - 1) / 2
            groups[-1][0] = middle = float(np.clip(middle, low + reach, max(low, high - reach)))
            if len(groups) < 2:
                break
            before, others = groups[-2]
            if middle - reach - (before + gap * (others - 1) / 2) >= gap - 1e-9:
                break
            groups[-2:] = [[(before * others + middle * count) / (others + count), others + count]]
    places = [m + gap * (i - (n - 1) / 2) for m, n in groups for i in range(int(n))]
    found = np.empty(len(wanted))
    found[order] = places
    return found
