"""The nearest-neighbour probe: what the most similar training clips are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from probekit._typing import Array
from probekit.errors import ProbekitError
from probekit.probes.base import SelectedModel
from probekit.probes.grid_search import Fit, Settings, choose_all
from probekit.probes.registry import FitContext

COUNTS = (1, 2, 3, 5, 10, 20, 30, 50)
DISTANCES = ("cosine", "euclidean")


@dataclass(frozen=True)
class FittedKNN:
    """Training clips to be compared with.

    Attributes
    ----------
    model : NearestNeighbors
        scikit-learn's, with the training clips.
    values : numpy.ndarray, shape (training clips, classes)
        0 and 1, or numbers.
    count : int >= 1
        How many neighbours speak; fewer where there are not so many.
    probabilities : bool
        Whether ``values`` are classes.
    """

    model: Any
    values: Array
    count: int
    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return the mean over the neighbours, weighted by 1 / distance; shape (clips, classes)."""
        distance, rows = self.model.kneighbors(features, min(self.count, len(self.values)))
        near = distance <= 1e-12  # the very same features: these alone speak
        weight = np.where(near.any(axis=1, keepdims=True), near, 1 / np.maximum(distance, 1e-12))
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("ck,ckn->cn", weight, self.values[rows])

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the training clips are in the cache."""
        return {}


@dataclass(frozen=True)
class KNN:
    """The nearest-neighbour probe: number of neighbours and distance are chosen."""

    name: str = "knn"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return what is chosen from."""
        return {"version": 1, "solver": "scikit-learn", "grid": _grid()}

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Choose on validation clips or all inner divisions, and take the training clips."""
        return choose_all(job, _grid(), _Fitter(job.clips.target, len(job.clips.names)))


def parse(text: str) -> KNN:
    """Return the probe; there is nothing to say after ``knn``.

    Parameters
    ----------
    text : str
        Empty.

    Returns
    -------
    KNN
        Ready to fit.

    Raises
    ------
    ProbekitError
        If it is not empty.
    """
    if text:
        raise ProbekitError(f"--probe knn:{text}: knn takes no parameters; it chooses them")
    return KNN()


def _grid() -> list[Settings]:
    return [{"neighbours": k, "distance": d} for d in DISTANCES for k in reversed(COUNTS)]


@dataclass(frozen=True)
class _Fitter:
    """Takes the training clips."""

    target: str
    classes: int

    def __call__(
        self,
        features: Array,
        targets: Array,
        settings: Settings,
        seed: int,
        held: tuple[Array, Array] | None,
        epochs: int,
    ) -> Fit:
        model = NearestNeighbors(metric=settings["distance"], algorithm="brute").fit(features)
        values = np.eye(self.classes)[targets] if self.target == "single" else targets
        wide = np.asarray(values, np.float64)
        return Fit(FittedKNN(model, wide, settings["neighbours"], self.target != "regression"))
