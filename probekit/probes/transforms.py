"""Transforms of features before a probe: standardization, scaling to unit length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError
from probekit.probes.base import FittedProbe
from probekit.solvers.scaler import fit_scaler
from probekit.utils.suggest import unknown_name_error

STEPS = ("standardize", "unit-l2")
STANDARD = ("standardize",)


@dataclass(frozen=True)
class Transform:
    """Steps fitted to training clips.

    Attributes
    ----------
    steps : tuple of {"standardize", "unit-l2"}
        In their order; ``standardize`` first.
    mean, scale : numpy.ndarray, shape (dim,)
        Statistics of the training clips; used by ``standardize``.
    """

    steps: tuple[str, ...]
    mean: Array
    scale: Array

    def __call__(self, features: Array) -> Array:
        """Return transformed features, float32 of the same shape."""
        for step in self.steps:
            if step == "standardize":
                features = (features - self.mean) / self.scale
            else:
                length = np.linalg.norm(features, axis=1, keepdims=True)
                features = features / np.maximum(length, 1e-12)
        return np.asarray(features, np.float32)


def check_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """Return steps if all are known and ``standardize`` comes first.

    Raises
    ------
    UnknownNameError
        If a step is not known.
    DataError
        If ``standardize`` is not the first step: its statistics are those of raw features.
    """
    for step in steps:
        if step not in STEPS:
            raise unknown_name_error("step", step, STEPS)
    if "standardize" in steps[1:]:
        raise DataError(
            f"steps must have standardize first and once, got {', '.join(steps)}: its mean and "
            "scale are those of the features as extracted"
        )
    return tuple(steps)


def fit_transform(steps: Sequence[str], features: Array) -> Transform:
    """Return the transform fitted to training features, shape (clips, dim)."""
    scaler = fit_scaler(features)
    return Transform(check_steps(steps), scaler.mean, scaler.scale)


@dataclass(frozen=True)
class Pipeline:
    """A fitted probe behind a transform.

    Attributes
    ----------
    transform : Transform
        Applied to features first.
    probe : FittedProbe
        Scores the transformed features.
    """

    transform: Transform
    probe: FittedProbe

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities."""
        return self.probe.probabilities

    def scores(self, features: Array) -> Array:
        """Return the probe's scores of untransformed features."""
        return self.probe.scores(self.transform(features))

    def predictions(self, features: Array) -> Array | None:
        """Return the probe's predictions for untransformed features, if it makes its own."""
        return self.probe.predictions(self.transform(features))

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of the probe and of the transform."""
        statistics = {f"steps/{name}": getattr(self.transform, name) for name in ("mean", "scale")}
        return {**self.probe.arrays(), **statistics}
