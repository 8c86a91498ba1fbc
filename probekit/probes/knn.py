"""The nearest-neighbor probe."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import ProbekitError
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Fit, GridSearch, choose_all

COUNTS = (1, 2, 3, 5, 10, 20, 30, 50)
DISTANCES = ("cosine", "euclidean")
_SAME = 1e-12  # distance below which features are identical


@dataclass(frozen=True)
class FittedKNN:
    """Training clips, and how they vote.

    Attributes
    ----------
    model : NearestNeighbors
        scikit-learn's, with the training clips.
    values : numpy.ndarray, shape (training clips, classes)
        0 and 1, or numbers.
    count : int >= 1
        Number of neighbors; at most the number of training clips is used.
    probabilities : bool
        Whether ``values`` are classes.
    """

    model: Any
    values: Array
    count: int
    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return the mean over the neighbors, weighted by 1 / distance; shape (clips, classes)."""
        distance, rows = self.model.kneighbors(features, min(self.count, len(self.values)))
        same = distance <= _SAME  # identical features: only these count
        weight = np.where(same.any(axis=1, keepdims=True), same, 1 / np.maximum(distance, _SAME))
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("ck,ckn->cn", weight, self.values[rows])

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the training clips are in the cache."""
        return {}


@dataclass(frozen=True)
class KNN:
    """The nearest-neighbor probe: number of neighbors and distance are selected."""

    name: str = "knn"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the grid."""
        return {"version": 1, "solver": "scikit-learn", "grid": _grid()}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select settings on validation clips or all inner splits."""
        return choose_all(context, _grid(), GridSearch(_fit))


def parse(parameters: str) -> KNN:
    """Return the probe; raise a ProbekitError if there are parameters after ``knn:``."""
    if parameters:
        raise ProbekitError(
            f"--probe knn:{parameters}: knn takes no parameters, it selects them; use --probe knn"
        )
    return KNN()


def _grid() -> list[Settings]:
    return [{"neighbours": k, "distance": d} for d in DISTANCES for k in reversed(COUNTS)]


def _fit(context: FitContext, features: Array, targets: Array, settings: Settings, *_: Any) -> Fit:
    """Store the training clips."""
    from sklearn.neighbors import NearestNeighbors  # takes long, and not if the run is stored

    model = NearestNeighbors(metric=settings["distance"], algorithm="brute").fit(features)
    target, classes = context.clips.target, len(context.clips.class_names)
    one_hot = np.eye(classes)[targets] if target == "single" else targets
    values = np.asarray(one_hot, np.float64)
    return Fit(FittedKNN(model, values, settings["neighbours"], target != "regression"))
