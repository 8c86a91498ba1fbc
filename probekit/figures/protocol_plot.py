"""Dot plot of scores by protocol: each row one protocol, each embedding a point with interval."""

from typing import TYPE_CHECKING

import numpy as np

from probekit.analysis.audit import Audit, ProtocolScores
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout
from probekit.figures.labels import fit_to_width, text_width
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0  # points
_DODGE = 0.075  # inches from one embedding to the next in a row, at most
_MOST_HEIGHT = 7.6  # inches of all rows
_ROW_GAP = 0.1  # inches between rows
_HEAD = 0.16  # inches of a heading
_BOTTOM, _RIGHT = 0.34, 0.42  # inches
_LEGEND_STEP = 0.125  # inches
_TURNED = "turned"


@style.styled
def draw_audit(audit: Audit, width: float | None = None) -> "Figure":
    """Draw the scores of an audit, two columns wide for more than four embeddings, else one."""
    if width is None:
        width = style.TWO_COLUMNS if len(audit.embeddings) > 4 else style.ONE_COLUMN
    rows = _rows(audit)
    titles = [fit_to_width(row.title, 0.4 * 72 * width, _SIZE) if row else "" for row in rows]
    left = max(text_width(title, _SIZE) for title in titles) / 72 + 0.1
    room = _MOST_HEIGHT / len(rows) - _ROW_GAP
    dodge = min(_DODGE, room / len(audit.embeddings))
    row_height = dodge * len(audit.embeddings) + _ROW_GAP
    heights = np.array([row_height if row else _HEAD for row in rows])
    legend = _legend_lines(audit, width)
    top = _LEGEND_STEP * len(legend) + 0.16
    layout = FigureLayout(width, top + heights.sum() + _BOTTOM, audit.provenance)
    axes = layout.add(left, top, width - left - _RIGHT, heights.sum())
    ends = np.cumsum(heights)
    centers = ends - heights / 2
    _draw_rows(axes, audit, rows, centers, dodge)
    axes.set_ylim(ends[-1], 0)
    shown = [(c, t) for c, t, row in zip(centers, titles, rows, strict=True) if row]
    axes.set_yticks([c for c, _ in shown], [t for _, t in shown], fontsize=_SIZE)
    axes.tick_params(axis="y", length=0, pad=3)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", zorder=0)
    axes.set_xlabel(metrics.get_metric(audit.metric).title, labelpad=2)
    if audit.pairs:
        _write_reversals(axes, audit, rows, centers)
    _write_legend(layout, audit, legend)
    return layout.figure


def _rows(audit: Audit) -> list[ProtocolScores | None]:
    """Return the protocols from top to bottom; None for a gap between kinds."""
    baseline, *others = audit.scored
    peers = [protocol for protocol in others if not protocol.is_departure]
    departures = [protocol for protocol in others if protocol.is_departure]
    rows: list[ProtocolScores | None] = [baseline]
    for kind in (peers, departures):
        rows += [None, *kind] if kind else []
    return rows


def _draw_rows(
    axes: "Axes", audit: Audit, rows: list[ProtocolScores | None], centers: np.ndarray, dodge: float
) -> None:
    """Draw a point and an interval for each protocol and embedding, and lines at the task's own."""
    count = len(audit.embeddings)
    for k, group in enumerate(audit.baseline.groups):
        color, _ = style.color_and_marker(k)
        axes.axvline(group.score, color=color, lw=0.5, ls=(0, (4, 2)), alpha=0.6, zorder=1)
    for row, center in zip(rows, centers, strict=True):
        if row is None:
            axes.axhline(center, color="#BBBBBB", lw=0.5, zorder=0.5)
            continue
        for k, group in enumerate(row.groups):
            color, marker = style.color_and_marker(k)
            y = center + dodge * (k - (count - 1) / 2)
            low, high = group.interval
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [y, y], color=color, lw=0.9, zorder=2)
            axes.plot(group.score, y, marker, ms=3.0, color=color, mec="none", zorder=3)


def _write_reversals(
    axes: "Axes", audit: Audit, rows: list[ProtocolScores | None], centers: np.ndarray
) -> None:
    """Write at the right how many pairs change places."""
    transform = axes.get_yaxis_transform()
    for row, center in zip(rows, centers, strict=True):
        if row is None or row is audit.baseline:
            continue
        turned = sum(reversal.protocol == row.name for reversal in audit.reversals)
        axes.text(
            1.02, center, str(turned), transform=transform, fontsize=_SIZE, va="center_baseline"
        )
    axes.text(1.02, centers[0], _TURNED, transform=transform, fontsize=_SIZE, va="center_baseline")


def _legend_lines(audit: Audit, width: float) -> list[list[tuple[int, str]]]:
    """Return the embeddings of each line of the legend."""
    room = 72 * (width - 0.2)
    lines: list[list[tuple[int, str]]] = [[]]
    used = 0.0
    for k, label in enumerate(audit.embeddings):
        text = fit_to_width(label, room - 12, _SIZE)
        extent = text_width(text, _SIZE) + 20
        if used + extent > room and lines[-1]:
            lines.append([])
            used = 0.0
        lines[-1].append((k, text))
        used += extent
    return lines


def _write_legend(layout: FigureLayout, audit: Audit, lines: list[list[tuple[int, str]]]) -> None:
    """Write the names of embeddings above, each beside its marker."""
    for number, line in enumerate(lines):
        x, y = 0.1, 0.1 + _LEGEND_STEP * number
        for k, text in line:
            color, marker = style.color_and_marker(k)
            axes = layout.add(x, y - 0.04, 0.08, 0.08)
            axes.set_axis_off()
            axes.plot(0, 0, marker, ms=3.4, color=color, mec="none", clip_on=False)
            layout.figure.text(
                (x + 0.11) / layout.width,
                1 - y / layout.height,
                text,
                fontsize=_SIZE,
                va="center_baseline",
            )
            x += (text_width(text, _SIZE) + 20) / 72
