"""Overlapping text boxes of a figure, and texts that are cut off or too small."""

import warnings
from typing import TYPE_CHECKING

from probekit.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

PAGE_HEIGHT = 9.2  # inches
_TOUCH = 0.5  # pixels; boxes that share an edge do not overlap


def boxes(figure: "Figure") -> list[tuple["Text", "Bbox"]]:
    """Return the texts that a figure shows, with their places.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Its layout is made final first, once: it must not change between two calls.

    Returns
    -------
    list of (matplotlib.text.Text, matplotlib.transforms.Bbox)
        Boxes in pixels; that of a text that stands askew is the upright one around it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    if "text boxes" in vars(figure):
        return list(vars(figure)["text boxes"])
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # whoever saves the figure is told which labels no font can draw
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from", UserWarning)
        figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    hidden = _hidden(figure)
    found = [
        (text, text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text().strip() and id(text) not in hidden
    ]
    shown = [(text, box) for text, box in found if box.width > 0 and box.height > 0]
    vars(figure)["text boxes"] = shown
    return shown


def find_overlaps(figure: "Figure", points: float = 6.0) -> list[str]:
    """Return what keeps the texts of a figure from being read in print.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        At the width at which it is printed.
    points : float > 0
        The smallest size allowed.

    Returns
    -------
    list of str
        Texts that overlap, are cut off by the figure's edge, or are too small; empty if all is
        well.
    """
    found = sorted(boxes(figure), key=lambda one: one[1].x0)
    page, said = figure.bbox, []
    for k, (text, box) in enumerate(found):
        name = text.get_text()
        size = float(text.get_fontsize())
        if size < points - 1e-6:
            said.append(f"{name!r} has {size:g} points")
        inside = page.x0 - 1 <= box.x0 and page.y0 - 1 <= box.y0
        if not (inside and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1):
            said.append(f"{name!r} is cut off")
        for other, beside in found[k + 1 :]:
            if beside.x0 >= box.x1 - _TOUCH:
                break
            if box.y0 < beside.y1 - _TOUCH and beside.y0 < box.y1 - _TOUCH:
                said.append(f"{name!r} overlaps {other.get_text()!r}")
    return said


def texts(figure: "Figure") -> list[str]:
    """Return the texts that a figure shows, each on one line."""
    return [text.get_text().replace("\n", " ") for text, _ in boxes(figure)]


def problems(figure: "Figure") -> list[str]:
    """Return what is wrong with a figure's texts or its size."""
    width, height = figure.get_size_inches()
    fits = width <= style.TWO_COLUMNS and height <= PAGE_HEIGHT
    return find_overlaps(figure) + ([] if fits else [f"{width} × {height}"])


def _hidden(figure: "Figure") -> set[int]:
    """Return the texts that are not drawn: invisible, in invisible parts, or ticks out of view."""
    from matplotlib.artist import Artist
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    hidden: set[int] = set()

    def hide(artist: Artist) -> None:
        hidden.update(id(text) for text in artist.findobj(Text))

    for artist in figure.findobj(Artist):
        if not artist.get_visible():
            hide(artist)
        elif isinstance(artist, Axis):
            shown = {id(tick) for tick in artist._update_ticks()}  # type: ignore[attr-defined]
            for tick in [*artist.majorTicks, *artist.minorTicks]:
                if id(tick) not in shown:
                    hide(tick)
    for axes in figure.axes:
        if not axes.axison:
            hide(axes.xaxis)
            hide(axes.yaxis)
    return hidden
