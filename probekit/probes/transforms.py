"""What is done to features before a probe sees them: standardized, put to unit length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit._typing import Array
from probekit.probes.base import FittedProbe
from probekit.utils.suggest import unknown_name_error

STEPS = ("standardize", "unit-l2")


@dataclass(frozen=True)
class Transform:
    """Steps that were fitted on training clips.

    Attributes
    ----------
    steps : tuple of {"standardize", "unit-l2"}
        In their order.
    mean, scale : numpy.ndarray, shape (dim,)
        Of the training clips; of use where there is ``standardize``.
    """

    steps: tuple[str, ...]
    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        """Return features after all steps, float32 of the same shape."""
        for step in self.steps:
            if step == "standardize":
                features = (features - self.mean) / self.scale
            else:
                length = np.linalg.norm(features, axis=1, keepdims=True)
                features = features / np.maximum(length, 1e-12)
        return np.asarray(features, np.float32)


def check_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """Return steps if all are known and standardization, which has to be fitted, comes first.

    Parameters
    ----------
    steps : sequence of str
        Of :data:`STEPS`.

    Returns
    -------
    tuple of str
        The same.

    Raises
    ------
    UnknownNameError
        If one is not known.
    """
    for step in steps:
        if step not in STEPS:
            raise unknown_name_error("step", step, STEPS)
    return tuple(steps)


def fit_transform(steps: Sequence[str], features: Array) -> Transform:
    """Fit steps on training clips.

    Parameters
    ----------
    steps : sequence of str
        Of :data:`STEPS`; ``standardize`` first, where it is.
    features : numpy.ndarray, shape (clips, dim)
        Training clips only.

    Returns
    -------
    Transform
        To be applied to any clips.
    """
    wide = features.astype(np.float64)
    mean, spread = wide.mean(axis=0), wide.std(axis=0)
    constant = spread <= 1e-9 * np.abs(wide).max(axis=0, initial=0.0)
    return Transform(tuple(steps), mean, np.where(constant, 1.0, spread))


@dataclass(frozen=True)
class Pipeline:
    """A probe behind a transform.

    Attributes
    ----------
    transform : Transform
        Applied to features first.
    probe : Fitted
        What sees the result.
    """

    transform: Transform
    probe: FittedProbe

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities."""
        return self.probe.probabilities

    def scores(self, features: Array) -> Array:
        """Return the probe's scores of features as they are in the cache."""
        return self.probe.scores(self.transform(features))

    def arrays(self) -> dict[str, Array]:
        """Return the probe's arrays, and what the transform was fitted to."""
        own = {f"steps/{name}": getattr(self.transform, name) for name in ("mean", "scale")}
        return {**self.probe.arrays(), **own}
