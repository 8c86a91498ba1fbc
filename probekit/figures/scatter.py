"""Points in a plane: class weights with names, clips by colour."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probekit.analysis.projection import Projection
from probekit.figures import axes_layout, files, labels, style, text
from probekit.figures.axes_layout import FigureLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MARKERS = "osD^vPX<>*"  # with the colours' repetition, so that groups differ beyond eight
_LINE = 0.115  # inches from one line of the key to the next
_SIZE = 6.0
_KEY = 150.0  # points that the name of a group may take
_MOST = 48  # groups that the key has


def draw(found: Projection, width: float | None = None, look: str | Path | None = None) -> "Figure":
    """Draw points; classes with their names, as many as there is room for.

    Parameters
    ----------
    found : Projection
        From :mod:`probekit.analysis.projection`.
    width : float > 0, optional
        In inches; by default one column for clips and up to 30 classes, else two.
    look : str or pathlib.Path, optional
        A style file.

    Returns
    -------
    matplotlib.figure.Figure
        With a key of the groups, and provenance below.
    """
    with style.style_context(look):
        if width is None:
            named = found.kind == "classes" and len(found.names) > 30
            width = style.TWO_COLUMNS if named else style.ONE_COLUMN
        return _draw(found, width)


save = files.Saver(draw)


def _draw(found: Projection, width: float) -> "Figure":
    # classes have their names beside them; clips need a key
    keyed = found.kind == "clips"
    groups = _used(found) if keyed else []
    shown = groups[:_MOST]
    edge = 0.24
    widest = max((text.width(_name(found, k), _SIZE) for k in shown), default=0.0)
    columns = max(1, int(72 * (width - edge) / (widest + 18)))
    key = _LINE * -(-len(shown) // columns) + 0.08 if shown else 0.0
    tall = width * (0.8 if keyed else 0.72)
    said = [*found.provenance]
    if len(shown) < len(groups):
        said.insert(0, f"the key has {len(shown)} of {len(groups)} groups")
    names = [] if keyed else [labels.fit_to_width(name, 90, _SIZE) for name in found.names]
    # room for saying that some names are left out; which is known once they are placed
    room = f"{len(names)} of {len(names)} names shown"
    sheet = FigureLayout(width, 0.06 + tall + edge + key, [room, *said] if names else said)
    axes = sheet.add(edge, 0.06, width - edge - 0.06, tall)
    _points(axes, found)
    if names:
        written = axes_layout.place_labels(axes, found.points, names, _SIZE)
        less = f"{len(written)} of {len(names)} names shown"
        sheet.text(said if len(written) == len(names) else [less, *said])
    if shown:
        below = sheet.add(edge + 0.06, 0.06 + tall + edge, width - edge - 0.12, key)
        _key(below, found, shown, columns)
    return sheet.figure


def _points(axes: "Axes", found: Projection) -> None:
    """Draw the points, each group in its colour and form."""
    # many points are small and let others through
    size = 13.0 if found.kind == "classes" else float(np.clip(3000 / len(found.names), 3, 12))
    for group in (-1, *_used(found)):
        own = found.points[found.group == group]
        if len(own):
            axes.scatter(*own.T, alpha=0.85, linewidths=0, sizes=[size], **_look(found, group))
    low, high = found.points.min(axis=0), found.points.max(axis=0)
    room = np.maximum(0.07 * (high - low), 1e-9)
    axes.set_xlim(low[0] - room[0], high[0] + room[0])
    axes.set_ylim(low[1] - room[1], high[1] + room[1])
    axes.set_xticks([])  # neither method has units
    axes.set_yticks([])
    axes.set_xlabel(found.axes[0], labelpad=3)
    axes.set_ylabel(found.axes[1], labelpad=3)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#BBBBBB")


def _key(axes: "Axes", found: Projection, shown: list[int], columns: int) -> None:
    """Write what the colours are, in columns."""
    lines = -(-len(shown) // columns)
    axes.set_axis_off()
    axes.set_xlim(0, columns)
    axes.set_ylim(lines, 0)
    for place, group in enumerate(shown):
        column, line = divmod(place, lines)
        axes.scatter(
            column, line + 0.5, sizes=[11], linewidths=0, clip_on=False, **_look(found, group)
        )
        axes.annotate(
            _name(found, group),
            (column, line + 0.5),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=_SIZE,
            va="center_baseline",
        )


def _name(found: Projection, group: int) -> str:
    """Return the name of a group as the key has it."""
    return labels.fit_to_width(found.groups[group], _KEY, _SIZE)


def _look(found: Projection, group: int) -> dict[str, Any]:
    """Return colour and form of a group; those of no group, and clusters of one, are grey."""
    single = found.kind == "classes" and (found.group == group).sum() < 2
    if group < 0 or single:
        return {"color": style.QUIET, "marker": "o"}
    palette = style.categorical()
    rank = _used(found).index(group)
    marker = _MARKERS[rank // len(palette) % len(_MARKERS)]
    return {"color": palette[rank % len(palette)], "marker": marker}


def _used(found: Projection) -> list[int]:
    """Return the groups that have points."""
    return [k for k in np.unique(found.group).tolist() if k >= 0]
