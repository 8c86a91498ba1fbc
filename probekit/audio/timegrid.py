"""Time grid of a stream's frames, in exact seconds."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class FrameGrid:
    """Regular frames.

    Frame ``k`` is centered at ``first_center + k · hop`` and stands for the time half a hop to each
    side of it: its cell. It depends on ``window`` seconds around its center, which may be more.

    Attributes
    ----------
    hop : fractions.Fraction
        Seconds from one center to the next, > 0.
    first_center : fractions.Fraction
        Seconds from the start of the clip, or crop, to the first center.
    window : fractions.Fraction
        Seconds of sound that a frame depends on, > 0.
    """

    hop: Fraction
    first_center: Fraction
    window: Fraction

    @property
    def start(self) -> Fraction:
        """Start of the first frame's cell in seconds."""
        return self.first_center - self.hop / 2

    @classmethod
    def parse(cls, hop: object, first_center: object, window: object) -> "FrameGrid":
        """Return the grid of three numbers in seconds as in caches and cards, exactly as written.

        ``"24/25"`` and 0.96 are both 24/25. Raises ``ValueError`` if one is not a number, or hop or
        window are not > 0 s.
        """
        grid = cls(*(Fraction(str(value)) for value in (hop, first_center, window)))
        if grid.hop <= 0 or grid.window <= 0:
            raise ValueError(
                f"hop and window must be > 0 s, got hop {grid.hop} s and window {grid.window} s"
            )
        return grid
