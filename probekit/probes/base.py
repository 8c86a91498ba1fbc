"""What all probes share: the context of a fit, and the interfaces of probes and fitted probes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from probekit._typing import Array
from probekit.cards import Protocol as TaskProtocol
from probekit.data.manifest import Manifest
from probekit.metrics.metrics import Metric
from probekit.tasks.splits import Split

Settings = dict[str, Any]


class FittedProbe(Protocol):
    """A probe fitted to training clips."""

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities; otherwise they are logits, or numbers."""
        ...

    def scores(self, features: Array) -> Array:
        """Return scores, shape (clips, classes), of untransformed features, (clips, dim)."""
        ...

    def predictions(self, features: Array) -> Array | None:
        """Return the class of each clip that the probe predicts, shape (clips,).

        None where it predicts the class of the highest score, as most probes do, and where clips
        have tags or numbers.
        """
        ...

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that are stored beside the result, by name; may be empty."""
        ...


@dataclass(frozen=True)
class SelectedModel:
    """A fitted probe, and the evidence on which its settings were selected.

    Attributes
    ----------
    probe : FittedProbe
        Fitted on all clips that the protocol allows.
    params : dict
        Selected settings, for example ``{"C": 0.1}``; empty if there was no choice.
    grid : list of dict
        All settings that were tried.
    curve : list of float
        Metric on held-out training or validation clips, for each of ``grid``; shorter where the
        path ended before its last values.
    at_edge : bool
        Whether a selected setting is at an end of its range.
    selected_on : str
        Clips that the settings were selected on.
    fits, unconverged : int
        Number of fits, and of those that stopped before their tolerance.
    converged : bool
        Whether ``probe`` converged.
    gap : float
        Upper bound of (objective - minimum) / objective of ``probe``; NaN if not certified.
    iterations : int
        Iterations of the solver for ``probe``.
    notes : tuple of str
        What must be shown beside the score.
    """

    probe: FittedProbe
    params: Settings = field(default_factory=dict)
    grid: list[Settings] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    at_edge: bool = False
    selected_on: str = ""
    fits: int = 0
    unconverged: int = 0
    converged: bool = True
    gap: float = float("nan")
    iterations: int = 0
    notes: tuple[str, ...] = ()

    @property
    def selected_score(self) -> float:
        """Metric of the selected settings on the clips that selected them; NaN for none."""
        if not self.curve:
            return float("nan")
        return self.curve[self.grid.index(self.params)]


@dataclass(frozen=True)
class FitContext:
    """What a probe is fitted on; one for all folds of a run.

    A copy in another process has neither ``progress`` nor ``client``: they belong to this one.

    Attributes
    ----------
    features : numpy.ndarray or probekit.solvers.row_blocks.RowSource, shape (clips, dim), float32
        As in the cache; for the linear probe also rows that are read on demand.
    targets : numpy.ndarray
        As returned by :meth:`probekit.data.manifest.Manifest.targets`.
    clips : Manifest
        The clips, row by row.
    splits : list of Split
        One for a fixed split, else one per fold; test rows are used for scoring only.
    protocol : Protocol
        Protocol of the task's card.
    metric : Metric
        Metric that selects settings.
    steps : tuple of str
        Transforms of the features; see :mod:`probekit.probes.transforms`.
    seed : int
        Random seed.
    jobs : int
        Number of processes.
    progress : callable, optional
        Called with the number of finished folds and the total.
    client : distributed.Client, optional
        Dask cluster that sums over rows read on demand.
    probe : str
        Name of the probe, for messages.
    pieces : numpy.ndarray of str, shape (clips,), optional
        Piece of each clip, where clips of one piece are scored as one: settings are selected by the
        scores of clips that have the mean probabilities of their piece.
    shared : pathlib.Path, optional
        Folder in which fits are stored that several splits need.
    """

    features: Any
    targets: Array
    clips: Manifest
    splits: list[Split]
    protocol: TaskProtocol
    metric: Metric
    steps: tuple[str, ...] = ("standardize",)
    seed: int = 0
    jobs: int = 1
    progress: Callable[[int, int], None] | None = None
    client: Any = None
    probe: str = "the probe"
    pieces: Array | None = None
    shared: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields that another process can use."""
        return {**self.__dict__, "progress": None, "client": None}


class Probe(Protocol):
    """A kind of probe."""

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether the seed changes the fit."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what determines the fit besides the data; part of the run's id."""
        ...

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select settings and fit, for every split, without its test clips."""
        ...


def best_index(curve: list[float], higher: bool, tie: float = 1e-9) -> int:
    """Return the index of the best value, the first of those that differ by at most ``tie``."""
    values = np.asarray(curve) if higher else -np.asarray(curve)
    return int(np.argmax(values > values.max() - tie))
