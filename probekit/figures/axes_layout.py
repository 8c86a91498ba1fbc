"""A figure laid out by hand: parts placed in inches from its upper left corner."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from probekit._typing import Array
from probekit.figures import labels, style, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# where a name may stand: direction from the point, the preferred one first
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_NEAR, _FAR = 3.0, (9.0, 16.0, 24.0)  # points away; with a line from the farther ones
_STEP = 1.5  # points from one place of a line to the next, where it is looked at


def place_labels(
    axes: "Axes",
    points: Array,
    names: Sequence[str],
    size: float = 6.0,
    dot: float = 4.0,
    others: Array | None = None,
) -> list[int]:
    """Write names beside points where there is room.

    Names of points that stand alone are placed last: there is room for them anyway.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        With its final place, which the layout must not change afterwards; its limits stay.
    points : numpy.ndarray, shape (n, 2)
        In data coordinates.
    names : sequence of str
        One a point.
    size : float
        Of the letters, in points.
    dot : float
        Of the markers, in points.
    others : numpy.ndarray, shape (m, 2), optional
        Further places that names keep off, in data coordinates: along bars, for example.

    Returns
    -------
    list of int
        Points that have their names.
    """
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # they are final now
    scale = 72 / axes.figure.dpi  # from pixels to points
    where = axes.transData.transform(points) * scale
    frame = np.array([[axes.bbox.x0, axes.bbox.y0], [axes.bbox.x1, axes.bbox.y1]]) * scale
    half = dot / 2
    dots, own = np.concatenate([where - half, where + half], axis=1), np.empty((0, 4))
    if others is not None:
        there = axes.transData.transform(others) * scale
        dots = np.concatenate([dots, np.concatenate([there - half, there + half], axis=1)])
    shown = []
    for k in np.argsort(_nearest(where), kind="stable").tolist():
        extent = np.array([text.width(names[k], size) + 1, 1.25 * size])
        found = _free(where[k], extent, frame, dots, own)
        if found is None:
            continue
        box, line = found
        own = np.concatenate([own, box[None]])
        dots = np.concatenate([dots, np.tile(line, 2)])  # names keep off lines, too
        shown.append(k)
        offset = (box[:2] + box[2:]) / 2 - where[k]
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
            axes.plot(*ends.T, color=style.QUIET, lw=0.4, zorder=1.5, scalex=False, scaley=False)
    return sorted(shown)


def _free(
    point: Array, extent: Array, frame: Array, dots: Array, own: Array
) -> tuple[Array, Array] | None:
    """Return the first place beside a point where a name fits, and the line that leads there."""
    reach = extent / 2
    for distance in (_NEAR, *_FAR):
        for direction in np.array(_AROUND, float):
            away = distance / max(1.0, float(np.linalg.norm(direction)))
            middle = point + direction * (reach + away)
            box = np.concatenate([middle - reach, middle + reach])
            if (box[:2] < frame[0]).any() or (box[2:] > frame[1]).any():
                continue
            line = np.empty((0, 2))
            if distance > _NEAR:
                end = np.clip(point, box[:2], box[2:])
                count = 2 + int(np.linalg.norm(end - point) / _STEP)
                line = point + np.linspace(0, 1, count)[:, None] * (end - point)
            steps = np.tile(line, 2)
            # a line leaves its own dot first
            if not (_hit(dots, box) or _hit(own, box) or _hit(own, steps) or _hit(dots, steps[3:])):
                return box, line
    return None


def _hit(boxes: Array, others: Array) -> bool:
    """Return whether a box overlaps one of some others: left, bottom, right, top."""
    a, b = boxes[:, None], np.atleast_2d(others)[None]
    apart = (a[..., 0] > b[..., 2]) | (b[..., 0] > a[..., 2])
    apart |= (a[..., 1] > b[..., 3]) | (b[..., 1] > a[..., 3])
    return bool((~apart).any())


def _nearest(where: Array) -> Array:
    """Return the distance of each point to its nearest other one."""
    from scipy.spatial import cKDTree

    if len(where) < 2:
        return np.zeros(len(where))
    return np.asarray(cKDTree(where).query(where, k=2)[0][:, 1])


class FigureLayout:
    """A figure of a fixed size, with provenance below.

    Parameters
    ----------
    width, height : float > 0
        In inches; what must be said below is added to the height.
    said : iterable of str
        Provenance.

    Attributes
    ----------
    figure : matplotlib.figure.Figure
        What is drawn on.
    """

    def __init__(self, width: float, height: float, said: Iterable[str] = ()) -> None:
        from matplotlib.figure import Figure

        below = format_footer(said, width)
        self.width, self.height = width, height + foot_height(below)
        self.figure: Figure = Figure(figsize=(self.width, self.height))
        self._below = self.figure.text(
            0.5,
            0.03 / self.height,
            below,
            fontsize=style.SMALLEST,
            color=style.NOTE,
            ha="center",
            va="bottom",
        )

    def text(self, said: Iterable[str]) -> None:
        """Write something else below; it must take no more lines than what was there.

        Parameters
        ----------
        said : iterable of str
            Provenance.
        """
        self._below.set_text(format_footer(said, self.width))

    def add(self, left: float, top: float, wide: float, tall: float) -> "Axes":
        """Return new axes at a place.

        Parameters
        ----------
        left, top : float
            Inches from the left and the upper edge.
        wide, tall : float > 0
            In inches.

        Returns
        -------
        matplotlib.axes.Axes
            Empty.
        """
        low = self.height - top - tall
        rect = (left / self.width, low / self.height, wide / self.width, tall / self.height)
        return self.figure.add_axes(rect)


def format_footer(said: Iterable[str], width: float) -> str:
    """Return provenance on lines that fit below a figure.

    Parameters
    ----------
    said : iterable of str
        What every figure must show: random weights, stand-in data, missing clips.
    width : float > 0
        The figure's, in inches.

    Returns
    -------
    str
        With line breaks; empty if there is nothing to say.
    """
    return labels.wrapped("; ".join(dict.fromkeys(said)), width, style.SMALLEST)


def foot_height(below: str) -> float:
    """Return how much room lines take.

    Parameters
    ----------
    below : str
        From :func:`format_footer`.

    Returns
    -------
    float
        In inches; zero for nothing.
    """
    return 0.1 * (below.count("\n") + 1) + 0.06 if below else 0.0


def write_foot(figure: "Figure", below: str) -> None:
    """Write lines below a figure with constrained layout, which makes room.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Of any kind.
    below : str
        From :func:`format_footer`.
    """
    if below:
        figure.supxlabel(below, fontsize=style.SMALLEST, color=style.NOTE)
