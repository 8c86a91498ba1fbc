"""Layout of figures: axes placed in inches, notes below, labels that do not overlap, log ticks."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import isotonic_regression

from probekit._typing import Array
from probekit.figures import style
from probekit.figures.labels import text_width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# where a label may stand: direction from the point, the preferred one first
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_NEAR, _FAR = 3.0, (9.0, 16.0, 24.0)  # points away; from the farther ones a line leads to the label
_LINE_STEP = 1.5  # points between the places of a line that are tested


class FigureLayout:
    """A figure of a fixed size, with notes below; axes are placed in inches from its upper left.

    Parameters
    ----------
    width, height : float > 0
        In inches; the notes are added to the height.
    notes : iterable of str
        What every figure must show, such as random weights; see :func:`style.drawn_notes`.
    """

    def __init__(self, width: float, height: float, notes: Iterable[str] = ()) -> None:
        from matplotlib.figure import Figure

        footer = _footer(notes, width)
        footer_height = 0.1 * (footer.count("\n") + 1) + 0.06 if footer else 0.0
        self.width, self.height = width, height + footer_height
        self.figure: Figure = Figure(figsize=(self.width, self.height))
        self._footer = self.figure.text(
            0.5,
            0.03 / self.height,
            footer,
            fontsize=style.SMALLEST_SIZE,
            color=style.NOTE_COLOR,
            ha="center",
            va="bottom",
        )

    def set_notes(self, notes: Iterable[str]) -> None:
        """Replace the notes; they must take no more lines than before."""
        self._footer.set_text(_footer(notes, self.width))

    def add(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Return new axes."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )


def _footer(notes: Iterable[str], width: float) -> str:
    """Return notes with line breaks."""
    return wrap("; ".join(style.drawn_notes(notes)), width, style.SMALLEST_SIZE)


def log_ticks(low: float, high: float, limit: int = 6) -> list[float]:
    """Return round numbers between two others, both > 0.

    1, 2, 5, 10 …, or 1, 3, 10 …, or powers of ten, every second or third if need be: at most
    ``limit``, an int >= 2.
    """
    from matplotlib.ticker import LogLocator

    ticks: list[float] = []
    for multiples in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        values = np.asarray(LogLocator(subs=multiples, numticks=1000).tick_values(low, high))
        ticks = [value for value in values.tolist() if low <= value <= high]
        if len(ticks) <= limit:
            return ticks
    return ticks[:: -(-len(ticks) // limit)]


def format_count(value: float) -> str:
    """Return a round number as text, for example ``"300k"``, ``"2M"``, ``"0.01"``."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(sep="")(value) if value >= 1 else f"{value:g}"


def spread_labels(positions: Array, gap: float, low: float, high: float) -> Array:
    """Return positions at least a gap apart, as near to the given ones as can be.

    Parameters
    ----------
    positions : numpy.ndarray, shape (n,)
        In any order, which stays.
    gap : float > 0
        The least distance.
    low, high : float
        Limits; at least ``(n - 1) * gap`` from one another.

    Returns
    -------
    numpy.ndarray, shape (n,)
        The least squares solution.
    """
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    shifted = isotonic_regression(positions[order] - steps).x
    spread = np.empty(len(positions))
    spread[order] = np.clip(shifted, low, high - steps[-1]) + steps
    return spread


def place_labels(
    axes: "Axes",
    points: Array,
    names: Sequence[str],
    size: float = 6.0,
    marker_size: float = 4.0,
    obstacles: Array | None = None,
) -> list[int]:
    """Write names beside points where there is room, the most crowded points first.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        At its final place; its limits are frozen.
    points : numpy.ndarray, shape (n, 2)
        In data coordinates.
    names : sequence of str
        One a point.
    size, marker_size : float
        Of the letters and of the markers, in points.
    obstacles : numpy.ndarray, shape (m, 2), optional
        Further places to keep off, in data coordinates: along bars, for example.

    Returns
    -------
    list of int
        Points whose names are shown.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    scale = 72 / axes.figure.dpi  # from pixels to points
    centers = axes.transData.transform(points) * scale
    frame = np.array([[axes.bbox.x0, axes.bbox.y0], [axes.bbox.x1, axes.bbox.y1]]) * scale
    half = marker_size / 2
    marker_boxes = np.concatenate([centers - half, centers + half], axis=1)
    label_boxes = np.empty((0, 4))
    if obstacles is not None:
        others = axes.transData.transform(obstacles) * scale
        others = np.concatenate([others - half, others + half], axis=1)
        marker_boxes = np.concatenate([marker_boxes, others])
    labeled = []
    for k in np.argsort(_nearest_distance(centers), kind="stable").tolist():
        extent = np.array([text_width(names[k], size) + 1, 1.25 * size])
        placement = _find_placement(centers[k], extent, frame, marker_boxes, label_boxes)
        if placement is None:
            continue
        box, line = placement
        label_boxes = np.concatenate([label_boxes, box[None]])
        marker_boxes = np.concatenate([marker_boxes, np.tile(line, 2)])  # labels keep off lines
        labeled.append(k)
        offset = (box[:2] + box[2:]) / 2 - centers[k]
        axes.annotate(
            names[k],
            points[k],
            xytext=(float(offset[0]), float(offset[1])),
            textcoords="offset points",
            fontsize=size,
            ha="center",
            va="center_baseline",
            annotation_clip=False,
        )
        if len(line):
            ends = axes.transData.inverted().transform(line[[0, -1]] / scale)
            axes.plot(*ends.T, color=style.GRAY, lw=0.4, zorder=1.5, scalex=False, scaley=False)
    return sorted(labeled)


def _find_placement(
    point: Array, extent: Array, frame: Array, marker_boxes: Array, label_boxes: Array
) -> tuple[Array, Array] | None:
    """Return the first free box for a label beside a point, and places along the line to it.

    All in points; a box is left, bottom, right, top.
    """
    reach = extent / 2
    for distance in (_NEAR, *_FAR):
        for direction in np.array(_DIRECTIONS, float):
            away = distance / max(1.0, float(np.linalg.norm(direction)))
            center = point + direction * (reach + away)
            box = np.concatenate([center - reach, center + reach])
            if (box[:2] < frame[0]).any() or (box[2:] > frame[1]).any():
                continue
            line = np.empty((0, 2))
            if distance > _NEAR:
                end = np.clip(point, box[:2], box[2:])
                count = 2 + int(np.linalg.norm(end - point) / _LINE_STEP)
                line = point + np.linspace(0, 1, count)[:, None] * (end - point)
            steps = np.tile(line, 2)
            blocked = _overlap(marker_boxes, box) or _overlap(label_boxes, box)
            # the line leaves its own marker in its first steps
            if not (blocked or _overlap(label_boxes, steps) or _overlap(marker_boxes, steps[3:])):
                return box, line
    return None


def _overlap(boxes: Array, others: Array) -> bool:
    """Return whether any box overlaps any other one."""
    a, b = boxes[:, None], np.atleast_2d(others)[None]
    apart = (a[..., 0] > b[..., 2]) | (b[..., 0] > a[..., 2])
    apart |= (a[..., 1] > b[..., 3]) | (b[..., 1] > a[..., 3])
    return bool((~apart).any())


def _nearest_distance(points: Array) -> Array:
    """Return the distance of each point to its nearest other one."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return np.zeros(len(points))
    return np.asarray(cKDTree(points).query(points, k=2)[0][:, 1])
