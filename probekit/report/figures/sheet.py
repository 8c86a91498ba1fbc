"""A figure laid out by hand: parts placed in inches from its upper left corner."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from probekit.report import labels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Sheet:
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

        below = foot(said, width)
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

    def say(self, said: Iterable[str]) -> None:
        """Write something else below; it must take no more lines than what was there.

        Parameters
        ----------
        said : iterable of str
            Provenance.
        """
        self._below.set_text(foot(said, self.width))

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


def foot(said: Iterable[str], width: float) -> str:
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
        From :func:`foot`.

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
        From :func:`foot`.
    """
    if below:
        figure.supxlabel(below, fontsize=style.SMALLEST, color=style.NOTE)
