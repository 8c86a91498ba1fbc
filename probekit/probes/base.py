"""What every probe is: something fitted that scores clips, and how its settings were chosen."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from probekit._typing import Array


class FittedProbe(Protocol):
    """A probe that was fitted.

    Attributes
    ----------
    probabilities : bool
        Whether :meth:`scores` are probabilities; otherwise they are logits, or numbers for
        regression.
    """

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities."""
        ...

    def scores(self, features: Array) -> Array:
        """Return one score for each clip and class.

        Parameters
        ----------
        features : numpy.ndarray, shape (clips, dim)
            As in the cache: what the probe does to them first is its own matter.

        Returns
        -------
        numpy.ndarray, shape (clips, classes)
            Logits, probabilities, or predicted numbers for regression.
        """
        ...

    def arrays(self) -> dict[str, Array]:
        """Return what is kept of the probe beside its result, by name; may be empty."""
        ...


@dataclass(frozen=True)
class SelectedModel:
    """A fitted probe, and the evidence on which its settings were chosen.

    Attributes
    ----------
    probe : Fitted
        Fitted on all clips that the protocol allows.
    params : dict
        The settings that were chosen, for example ``{"C": 0.1}``; empty where there was no choice.
    grid : list of dict
        All settings that were tried.
    curve : list of float
        The metric on held-out training or validation clips, for each of ``grid``.
    at_edge : bool
        Whether the chosen setting is at an end of its range.
    selected_on : str
        Which clips chose it.
    fits, unconverged : int
        Solver runs, and those that stopped before their tolerance.
    converged : bool
        Of the probe that is scored.
    gap : float
        Upper bound of (objective - minimum) / objective for the scored probe; NaN where nothing is
        proven.
    iterations : int
        Of the scored probe.
    """

    probe: FittedProbe
    params: dict[str, Any] = field(default_factory=dict)
    grid: list[dict[str, Any]] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    at_edge: bool = False
    selected_on: str = ""
    fits: int = 0
    unconverged: int = 0
    converged: bool = True
    gap: float = float("nan")
    iterations: int = 0

    @property
    def selected_score(self) -> float:
        """The metric that the chosen settings had on the clips that chose them; NaN for none."""
        if not self.curve:
            return float("nan")
        return self.curve[self.grid.index(self.params)]


def best_index(curve: list[float], higher: bool, tie: float = 1e-9) -> int:
    """Return the place of the best value, the first of those that are equal but for rounding.

    Parameters
    ----------
    curve : list of float
        Scores; finite.
    higher : bool
        Whether higher is better.
    tie : float
        Differences below this are none.

    Returns
    -------
    int
        A place in ``curve``.
    """
    values = np.asarray(curve) if higher else -np.asarray(curve)
    return int(np.argmax(values > values.max() - tie))
