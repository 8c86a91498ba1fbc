"""Names beside points, so that none covers another name or a point."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probekit.report import fonts, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

# where a name may stand: direction from the point, the preferred one first
_AROUND = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_NEAR, _FAR = 3.0, (9.0, 16.0, 24.0)  # points away; with a line from the farther ones
_STEP = 1.5  # points from one place of a line to the next, where it is looked at


def place(
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
        extent = np.array([fonts.width(names[k], size) + 1, 1.25 * size])
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
