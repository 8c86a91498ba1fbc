"""Where the frames of a stream lie in time, in exact seconds."""

from dataclasses import dataclass
from fractions import Fraction

from probekit.cards import Stream


@dataclass(frozen=True)
class FrameGrid:
    """A row of frames.

    Frame ``k`` is centred at ``first_center + k · hop`` and stands for the time half a hop to each
    side of it: its cell. It hears ``window`` around its centre, which may be more.

    Attributes
    ----------
    hop : fractions.Fraction
        Seconds from one centre to the next, more than 0.
    first_center : fractions.Fraction
        Seconds from the begin of the clip, or crop, to the first centre.
    window : fractions.Fraction
        Seconds that a frame hears, more than 0.
    """

    hop: Fraction
    first_center: Fraction
    window: Fraction

    @property
    def start(self) -> Fraction:
        """Where the first frame's cell begins, in seconds."""
        return self.first_center - self.hop / 2

    @classmethod
    def parse(cls, hop: object, first_center: object, window: object) -> "FrameGrid":
        """Return the grid of three numbers as they stand in caches and cards.

        Parameters
        ----------
        hop, first_center, window : str, int, float or fractions.Fraction
            Seconds, for example ``"24/25"`` or 0.96.

        Returns
        -------
        Grid
            Exactly as written: 0.96 is 24/25.

        Raises
        ------
        ValueError
            If one is not a number, or hop or window are not longer than 0 s.
        """
        made = cls(*(Fraction(str(value)) for value in (hop, first_center, window)))
        if made.hop <= 0 or made.window <= 0:
            raise ValueError(f"hop {made.hop} s and window {made.window} s: longer than 0 s needed")
        return made

    @classmethod
    def from_stream(cls, stream: Stream) -> "FrameGrid":
        """Return the grid of a card's stream of frames.

        Parameters
        ----------
        stream : Stream
            Of kind ``frames``.

        Returns
        -------
        Grid
            Its hop, first centre and window.

        Raises
        ------
        ValueError
            If the stream has no frames.
        """
        if stream.hop is None or stream.first_center is None or stream.window is None:
            raise ValueError("a stream of kind clip has no grid")
        return cls(stream.hop, stream.first_center, stream.window)
