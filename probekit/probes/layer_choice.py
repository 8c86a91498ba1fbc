"""The layer of a network as one more setting that a probe selects on held-out clips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import ProbekitError
from probekit.probes import registry
from probekit.probes.base import FitContext, FittedProbe, Probe, SelectedModel, Settings, best_index
from probekit.probes.features import CachedRows, Features
from probekit.probes.linear import Linear

_SELECTING = ("linear", "mlp", "knn")  # probes of clip vectors, besides scikit-learn's


@dataclass(frozen=True)
class FittedLayer:
    """A fitted probe of one layer, among the features of all layers.

    Attributes
    ----------
    probe : FittedProbe
        Reads the layer's features.
    columns : slice
        Where they are among all.
    layer : int or str
        Depth of the layer.
    """

    probe: FittedProbe
    columns: slice
    layer: int | str

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities."""
        return self.probe.probabilities

    def scores(self, features: Array) -> Array:
        """Return the probe's scores of the features of all layers."""
        return self.probe.scores(features[:, self.columns])

    def predictions(self, features: Array) -> Array | None:
        """Return the probe's predictions for the features of all layers, if it makes its own."""
        return self.probe.predictions(features[:, self.columns])

    def arrays(self) -> dict[str, Array]:
        """Return the probe's arrays, and the layer."""
        return {**self.probe.arrays(), "layer": np.asarray(self.layer)}


@dataclass(frozen=True)
class LayerChoice:
    """A probe that selects the layer together with its own settings.

    Attributes
    ----------
    inner : Probe
        Fitted to each layer.
    layers : tuple of int or str
        Depth of each layer.
    widths : tuple of int
        Number of features of each layer; they stand side by side.
    """

    inner: Probe
    layers: tuple[int | str, ...]
    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """That of the inner probe."""
        return self.inner.name

    @property
    def seeded(self) -> bool:
        """Whether the seed changes the fit."""
        return self.inner.seeded

    def facts(self) -> dict[str, Any]:
        """Return the inner probe's facts and the layers."""
        choice = {"version": 1, "selected": "auto", "among": list(self.layers)}
        return {**self.inner.facts(), "layers": choice}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select layer and settings of every split, without its test clips."""
        by_layer: list[list[SelectedModel]] = []
        total = len(context.splits)
        for k, columns in enumerate(layer_columns(self.widths)):
            features = context.features
            features = (
                features.member(k) if isinstance(features, CachedRows) else features[:, columns]
            )
            by_layer.append(
                self.inner.choose_all(replace(context, features=features, progress=None))
            )
            if context.progress:
                context.progress(total * (k + 1) // len(self.layers), total)
        return [self._choose(context, models) for models in zip(*by_layer, strict=True)]

    def _choose(self, context: FitContext, models: Sequence[SelectedModel]) -> SelectedModel:
        """Return the model of the best layer; of equal ones the first."""
        best = best_index(
            [model.selected_score for model in models], context.metric.higher_is_better
        )
        grid: list[Settings] = []
        curve: list[float] = []
        for layer, model in zip(self.layers, models, strict=True):
            grid += [{"layer": layer, **settings} for settings in model.grid]
            missing = len(model.grid) - len(model.curve)
            curve += [*model.curve, *([float("nan")] * missing)]  # where its path of C ended
        model = models[best]
        columns = layer_columns(self.widths)[best]
        return replace(
            model,
            probe=FittedLayer(model.probe, columns, self.layers[best]),
            params={"layer": self.layers[best], **model.params},
            grid=grid,
            curve=curve,
            fits=sum(m.fits for m in models),
            unconverged=sum(m.unconverged for m in models),
        )


def layer_columns(widths: Sequence[int]) -> list[slice]:
    """Return where the features of each layer are, side by side."""
    edges = np.cumsum([0, *widths]).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


def wrap_probe(probe: Probe, features: Features) -> Probe:
    """Return the probe that chooses or weights the layers of some features.

    Raises
    ------
    ProbekitError
        If the probe cannot, or layers to be weighted have different numbers of features.
    """
    layers, widths = features.layers, features.widths
    if features.layer == "auto":
        if probe.name.partition(":")[0] in set(registry.NAMES) - set(_SELECTING):
            raise ProbekitError(
                f"-e {features.label}: --probe {probe.name} cannot select a layer; use "
                f"{', '.join(_SELECTING)} or a scikit-learn estimator"
            )
        return LayerChoice(probe, tuple(layers), tuple(widths))
    if type(probe) is not Linear:  # C is not selected on a subsample there
        raise ProbekitError(
            f"-e {features.label}: layers are weighted by the linear probe only, got --probe "
            f"{probe.name}; use layer=auto"
        )
    if len(set(widths)) > 1:
        sizes = ", ".join(f"{w:,} (layer {name})" for w, name in zip(widths, layers, strict=True))
        raise ProbekitError(
            f"-e {features.label}: layers must have equal numbers of features to be weighted, got "
            f"{sizes}; use layer=auto"
        )
    from probekit.probes import layer_weights

    return layer_weights.LayerWeights(tuple(layers), widths[0], probe.grid, probe.full)
