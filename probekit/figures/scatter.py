"""Scatter plots: projections of classes or clips, and scores against costs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from probekit._typing import Array
from probekit.analysis.cost import COSTS, Cost, CostPoint
from probekit.analysis.projection import Projection
from probekit.figures import style
from probekit.figures.axes_layout import FigureLayout, format_count, log_ticks, place_labels
from probekit.figures.labels import fit_to_width, text_width
from probekit.metrics import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 6.0  # points

# projection
_AXIS_MARGIN = 0.24  # inches left of and below the axes
_KEY_LINE = 0.115  # inches from one line of the key to the next
_GROUP_NAME_WIDTH = 150.0  # points that the name of a group may take
_KEY_LENGTH = 48  # groups in the key, at most

# cost; inches
_PANEL_HEIGHT, _STACKED_HEIGHT = 2.3, 1.6
_TITLE_SIZE = 7.0  # points, of the titles of axes
_LEFT, _TOP, _BOTTOM, _PANEL_GAP = 0.5, 0.08, 0.36, 0.14
_PROBE_LINE = 0.13  # from one line of the key to the next
_EMBEDDING_NAME_WIDTH = 100.0  # points
_BAR_STEPS = 12  # places along a bar that names keep off


# ---- projection


@style.styled
def draw_projection(projection: Projection, width: float | None = None) -> "Figure":
    """Draw points in a plane: classes with names, as many as there is room for; clips with a key.

    By default one column wide for clips and up to 30 classes, else two.
    """
    of_clips = projection.kind == "clips"
    if width is None:
        narrow = of_clips or len(projection.names) <= 30
        width = style.ONE_COLUMN if narrow else style.TWO_COLUMNS
    groups = _nonempty_groups(projection) if of_clips else []
    key = groups[:_KEY_LENGTH]
    widest = max((text_width(_group_name(projection, k), _SIZE) for k in key), default=0.0)
    columns = max(1, int(72 * (width - _AXIS_MARGIN) / (widest + 18)))
    key_height = _KEY_LINE * -(-len(key) // columns) + 0.08 if key else 0.0
    height = width * (0.8 if of_clips else 0.72)
    notes = [*projection.provenance]
    if len(key) < len(groups):
        notes.insert(0, f"the key has {len(key)} of {len(groups)} groups")
    names = [] if of_clips else [fit_to_width(name, 90, _SIZE) for name in projection.names]
    # how many names find room is known once they are placed: reserve a line for that
    reserved = [f"{len(names)} of {len(names)} names shown"] if names else []
    layout = FigureLayout(width, 0.06 + height + _AXIS_MARGIN + key_height, [*reserved, *notes])
    axes = layout.add(_AXIS_MARGIN, 0.06, width - _AXIS_MARGIN - 0.06, height)
    _draw_points(axes, projection)
    if names:
        shown = len(place_labels(axes, projection.points, names, _SIZE))
        omitted = [f"{shown} of {len(names)} names shown"] if shown < len(names) else []
        layout.set_notes([*omitted, *notes])
    if key:
        left, top = _AXIS_MARGIN + 0.06, 0.06 + height + _AXIS_MARGIN
        below = layout.add(left, top, width - _AXIS_MARGIN - 0.12, key_height)
        _draw_group_key(below, projection, key, columns)
    return layout.figure


def _draw_points(axes: "Axes", projection: Projection) -> None:
    """Draw the points, each group in its color and marker."""
    # many points are small and let others through
    of_classes = projection.kind == "classes"
    size = 13.0 if of_classes else float(np.clip(3000 / len(projection.names), 3, 12))
    for group in (-1, *_nonempty_groups(projection)):
        points = projection.points[projection.group == group]
        if len(points):
            marker = _group_marker(projection, group)
            axes.scatter(*points.T, alpha=0.85, linewidths=0, sizes=[size], **marker)
    low, high = projection.points.min(axis=0), projection.points.max(axis=0)
    margin = np.maximum(0.07 * (high - low), 1e-9)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set_xticks([])  # neither method has units
    axes.set_yticks([])
    axes.set_xlabel(projection.axes[0], labelpad=3)
    axes.set_ylabel(projection.axes[1], labelpad=3)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")


def _draw_group_key(axes: "Axes", projection: Projection, key: list[int], columns: int) -> None:
    """Write which color and marker is which group, in columns."""
    lines = -(-len(key) // columns)
    axes.set_axis_off()
    axes.set_xlim(0, columns)
    axes.set_ylim(lines, 0)
    for k, group in enumerate(key):
        column, line = divmod(k, lines)
        marker = _group_marker(projection, group)
        axes.scatter(column, line + 0.5, sizes=[11], linewidths=0, clip_on=False, **marker)
        axes.annotate(
            _group_name(projection, group),
            (column, line + 0.5),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=_SIZE,
            va="center_baseline",
        )


def _group_name(projection: Projection, group: int) -> str:
    return fit_to_width(projection.groups[group], _GROUP_NAME_WIDTH, _SIZE)


def _group_marker(projection: Projection, group: int) -> dict[str, Any]:
    """Return color and marker; points of no group, and clusters of one class, are gray."""
    single = projection.kind == "classes" and (projection.group == group).sum() < 2
    if group < 0 or single:
        return {"color": style.GRAY, "marker": "o"}
    color, marker = style.color_and_marker(_nonempty_groups(projection).index(group))
    return {"color": color, "marker": marker}


def _nonempty_groups(projection: Projection) -> list[int]:
    return [k for k in np.unique(projection.group).tolist() if k >= 0]


# ---- cost


@style.styled
def draw_cost(cost: Cost, width: float | None = None) -> "Figure":
    """Draw scores against parameters, GFLOP and seconds, as far as they are known.

    A panel for each kind of cost, side by side where their titles fit, else one above the other. An
    embedding is named once, at its best score; several probes differ in color and marker. By
    default one column wide for one kind of cost, else two.
    """
    if width is None:
        width = style.ONE_COLUMN if len(cost.axes) == 1 else style.TWO_COLUMNS
    columns = _count_columns(cost, width)
    lines = -(-len(cost.axes) // columns)
    panel_height = _PANEL_HEIGHT if lines == 1 else _STACKED_HEIGHT
    probes = list(dict.fromkeys(point.probe for point in cost.points))
    key = _arrange_probes(probes, width) if len(probes) > 1 else []
    top = _TOP + _PROBE_LINE * len(key)
    # how many names find room is known once they are placed: reserve lines for that
    reserved = "; ".join(f"{COSTS[kind]}: 100 of 100 names left out" for kind in cost.axes)
    line_height = panel_height + _BOTTOM
    layout = FigureLayout(width, top + lines * line_height, [reserved, *cost.provenance])
    _draw_probe_key(layout, key)
    panel_width = (width - _LEFT - 0.06 - _PANEL_GAP * (columns - 1)) / columns
    notes = []
    for k, kind in enumerate(cost.axes):
        line, column = divmod(k, columns)
        left = _LEFT + column * (panel_width + _PANEL_GAP)
        axes = layout.add(left, top + line * line_height, panel_width, panel_height)
        axes.set_ylim(*_score_limits(cost.points))
        axes.locator_params(axis="y", nbins=6)
        axes.grid(axis="y")
        points = [point for point in cost.points if kind in point.costs]
        shown, names = _draw_panel(axes, points, kind, probes, panel_width)
        if shown < names:
            notes.append(f"{COSTS[kind]}: {names - shown} of {names} names left out")
        axes.set_xlabel(COSTS[kind], labelpad=2)
        if column:
            axes.tick_params(axis="y", labelleft=False)
        else:
            axes.set_ylabel(metrics.get_metric(cost.metric).title, labelpad=3)
    layout.set_notes([*notes, *cost.provenance])
    return layout.figure


def _count_columns(cost: Cost, width: float) -> int:
    """Return how many panels stand side by side: all if their titles fit, else one."""
    title = max(text_width(COSTS[kind], _TITLE_SIZE) for kind in cost.axes) / 72
    needed = _LEFT + 0.06 + len(cost.axes) * (title + _PANEL_GAP)
    return len(cost.axes) if width >= needed else 1


def _score_limits(points: tuple[CostPoint, ...]) -> tuple[float, float]:
    """Return the ends of the axis of scores, with room for names."""
    values = [value for p in points for value in (*p.interval, p.group.score)]
    finite = np.array([value for value in values if np.isfinite(value)])
    margin = 0.08 * (np.ptp(finite) or 0.1)
    return float(finite.min() - margin), float(finite.max() + margin)


def _draw_panel(
    axes: "Axes", points: list[CostPoint], kind: str, probes: list[str], width: float
) -> tuple[int, int]:
    """Draw one kind of cost; return how many names found room, and how many there are."""
    costs = np.array([point.costs[kind] for point in points])
    zero = _set_cost_axis(axes, costs, width)
    left, right = axes.get_xlim()
    # probes of one embedding stand side by side, two points apart
    shift = (right / left) ** (2 / 72 / width)
    positions, bars = [], []
    for point, x in zip(points, np.where(costs > 0, costs, zero).tolist(), strict=True):
        k = probes.index(point.probe)
        x, score = x * shift ** (k - (len(probes) - 1) / 2), point.group.score
        color, marker = style.color_and_marker(k)
        axes.plot([x, x], point.interval, color=color, lw=0.8, alpha=0.6, zorder=2)
        axes.plot(x, score, marker, ms=3.4, color=color, mew=0, zorder=3)
        positions.append((x, score))
        if np.isfinite(point.interval).all():
            heights = np.linspace(*point.interval, _BAR_STEPS)
            bars.append(np.stack([np.full(_BAR_STEPS, x), heights], axis=1))
    best = {point.embedding: k for k, point in reversed(list(enumerate(points)))}
    room = min(_EMBEDDING_NAME_WIDTH, 0.3 * 72 * width)
    names = [fit_to_width(name, room, _SIZE) for name in best]
    places = np.array(positions)
    obstacles = np.concatenate([places, *bars])
    shown = place_labels(axes, places[list(best.values())], names, _SIZE, obstacles=obstacles)
    return len(shown), len(names)


def _set_cost_axis(axes: "Axes", costs: Array, width: float) -> float:
    """Set a logarithmic axis; return where a cost of zero stands, left of a dotted line."""
    positive = costs[costs > 0]
    low, high = float(positive.min()), float(positive.max())
    decades = np.log10(high / low)
    if decades < 1:  # so that there are round numbers to name
        center, decades = (low * high) ** 0.5, 1.0
        low, high = center / 10**0.5, center * 10**0.5
    zero = low / 10 ** (0.28 * decades)
    has_zero = bool((costs == 0).any())
    margin = 10 ** (0.12 * decades)
    left, right = (zero if has_zero else low) / margin, high * margin
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    if has_zero:
        left = (zero * low) ** 0.5
        axes.axvline(left, color="#999999", lw=0.6, ls=":")
    ticks = log_ticks(left, right, max(2, int(width / 0.36)))
    names = [format_count(tick) for tick in ticks]
    axes.set_xticks([zero, *ticks] if has_zero else ticks, ["0", *names] if has_zero else names)
    axes.minorticks_off()
    return zero


def _arrange_probes(probes: list[str], width: float) -> list[list[tuple[float, str]]]:
    """Return the lines of the key: names of probes, each with its left edge in inches."""
    lines: list[list[tuple[float, str]]] = [[]]
    left = _LEFT
    for probe in probes:
        name = fit_to_width(probe, 100.0, _SIZE)
        name_width = text_width(name, _SIZE) / 72 + 0.25
        if lines[-1] and left + name_width > width:
            lines.append([])
            left = _LEFT
        lines[-1].append((left, name))
        left += name_width
    return lines


def _draw_probe_key(layout: FigureLayout, lines: list[list[tuple[float, str]]]) -> None:
    """Write above the panels which color and marker is which probe."""
    if not lines:
        return
    axes = layout.add(0, 0.04, layout.width, _PROBE_LINE * len(lines))
    axes.set(xlim=(0, layout.width), ylim=(len(lines), 0))
    axes.set_axis_off()
    entries = [(x, row, name) for row, line in enumerate(lines) for x, name in line]
    for k, (x, row, name) in enumerate(entries):
        color, marker = style.color_and_marker(k)
        axes.plot(x + 0.05, row + 0.5, marker, ms=3.4, color=color, mew=0)
        axes.text(x + 0.12, row + 0.5, name, fontsize=_SIZE, va="center_baseline")
