"""The MLP probe: that of scikit-learn, with early stopping on clips that the protocol holds out.

scikit-learn's own ``early_stopping`` holds out random clips, which splits groups; here epochs are
run one by one, and the protocol's held-out clips decide when to stop. The weights are those of its
``MLPClassifier`` and ``MLPRegressor`` (see :mod:`probekit.probes.perceptron`).
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.metrics.metrics import is_known
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Fit, GridSearch, Pair, choose_all, score_probe
from probekit.probes.perceptron import Perceptron
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class MLPRecipe:
    """How an MLP is trained.

    Attributes
    ----------
    hidden : tuple of tuple of int
        Widths of the hidden layers to select from.
    rates : tuple of float > 0
        Adam's learning rates to select from.
    decay : tuple of float >= 0
        Weights of scikit-learn's L2 penalty to select from.
    batch, epochs : int >= 1
        Clips per step; maximum number of epochs.
    every, patience : int >= 1
        Epochs between evaluations of the held-out clips; evaluations without improvement to stop
        after.
    steps, wait : int >= 0
        With few clips an epoch is a few steps of Adam: ``epochs`` is raised until there are at
        least ``steps``, and ``patience`` until it spans at least ``wait`` steps.
    """

    hidden: tuple[tuple[int, ...], ...] = ((128,), (512,))
    rates: tuple[float, ...] = (1e-3, 3e-4)
    decay: tuple[float, ...] = (1e-4, 1e-2)
    batch: int = 200
    epochs: int = 200
    every: int = 1
    patience: int = 10
    steps: int = 4000
    wait: int = 400

    def with_schedule(self, clips: int) -> "MLPRecipe":
        """Return the recipe with epochs and patience for a number of training clips."""
        batches = -(-clips // self.batch)
        every = max(self.every, 8 // batches) if self.wait else self.every
        return replace(
            self,
            epochs=max(self.epochs, -(-self.steps // batches)),
            every=every,
            patience=max(self.patience, -(-self.wait // (every * batches))),
        )

    def grid(self) -> list[Settings]:
        """Return all settings, the smallest network first."""
        return [
            {"hidden": list(hidden), "rate": rate, "decay": decay}
            for hidden, rate, decay in product(self.hidden, self.rates, self.decay)
        ]


# heareval's grid as far as scikit-learn's MLP supports it: no dropout, no batch normalization, and
# one of the two initializations, so that its 16 settings are 8
RECIPES = {
    "": MLPRecipe(),
    "hear": MLPRecipe(
        hidden=((1024,), (1024, 1024)),
        rates=(1e-4, 3.2e-4, 1e-3, 3.2e-3),
        decay=(0.0,),
        batch=1024,
        epochs=500,
        every=3,
        patience=20,
        steps=0,
        wait=0,
    ),
}


@dataclass(frozen=True)
class FittedMLP:
    """A fitted MLP.

    Attributes
    ----------
    network : Perceptron
        The network.
    mean, scale : numpy.ndarray or None
        Statistics of the target numbers, which are standardized for the fit; None for classes.
    two_classes : bool
        Whether one output tells two classes of one label apart.
    """

    network: Perceptron
    mean: Array | None = None
    scale: Array | None = None
    two_classes: bool = False

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities: those of classes are."""
        return self.mean is None

    def scores(self, features: Array) -> Array:
        """Return probabilities of classes, or predicted numbers; shape (clips, classes)."""
        outputs = self.network(features)
        if self.two_classes:
            outputs = np.hstack([1 - outputs, outputs])
        if self.mean is not None:
            return np.asarray(outputs * self.scale + self.mean, np.float64)
        return np.asarray(outputs, np.float64)

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return weights and biases of each layer."""
        layers = zip(self.network.coefs, self.network.intercepts, strict=True)
        return {
            f"layer-{k}/{name}": value
            for k, pair in enumerate(layers)
            for name, value in zip(("weight", "bias"), pair, strict=True)
        }


@dataclass(frozen=True)
class MLP:
    """The MLP probe.

    Attributes
    ----------
    recipe : str
        Key of :data:`RECIPES`.
    seeded : bool
        True: weights and batches are random.
    """

    recipe: str = ""
    seeded: bool = True

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        return "mlp" + (f":{self.recipe}" if self.recipe else "")

    def facts(self) -> dict[str, Any]:
        """Return the grid and the training recipe."""
        recipe = RECIPES[self.recipe]
        names = ("batch", "epochs", "every", "patience", "steps", "wait")
        training = {name: getattr(recipe, name) for name in names}
        return {"version": 3, "solver": "scikit-learn adam", "grid": recipe.grid(), **training}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select settings on validation clips or one inner split, and fit."""
        recipe = RECIPES[self.recipe]
        return choose_all(
            context,
            recipe.grid(),
            GridSearch(partial(_fit, recipe), fits_unknown=True),
            max_inner_splits=1,
        )


def parse(parameters: str) -> MLP:
    """Return the probe for what follows ``mlp:``: nothing, or the name of a recipe."""
    if parameters not in RECIPES:
        raise unknown_name_error("recipe of mlp", parameters, [name for name in RECIPES if name])
    return MLP(parameters)


def _fit(
    recipe: MLPRecipe,
    context: FitContext,
    features: Array,
    targets: Array,
    settings: Settings,
    held_out: Pair | None,
    epochs: int,
) -> Fit:
    """Train until the score on held-out clips stops improving, or for a number of epochs."""
    recipe = recipe.with_schedule(len(features))
    classes, mean, scale = len(context.clips.class_names), None, None
    known: Array | None = is_known(targets)
    if known is not None and known.all():
        known = None
    two_classes = context.clips.target == "single" and classes == 2
    if context.clips.target == "regression":
        mean, scale = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-12)
        values, output = (targets - mean) / scale, "identity"
    elif context.clips.target == "multi" or two_classes:
        values, output = targets.reshape(len(targets), -1) == 1, "logistic"
    else:
        values, output = targets[:, np.newaxis] == np.arange(classes), "softmax"
    network = Perceptron(
        (features.shape[1], *settings["hidden"], values.shape[1]),
        output,
        rate=settings["rate"],
        decay=settings["decay"],
        batch=min(recipe.batch, len(features)),
        rng=np.random.RandomState(context.seed),
        dtype=features.dtype,
    )
    fitted = FittedMLP(network, mean, scale, two_classes)
    best_weights, best_score, best_epoch, waited = None, -np.inf, 0, 0
    for epoch in range(1, (epochs or recipe.epochs) + 1):
        network.train_epoch(features, values, known)
        if held_out is None or epoch % recipe.every:
            continue
        score = score_probe(context, fitted, *held_out) * (
            1 if context.metric.higher_is_better else -1
        )
        if score > best_score or best_weights is None:
            best_weights, best_score = network.weights(), score
            best_epoch, waited = epoch, 0
        else:
            waited += 1
        if waited >= recipe.patience:
            break
    if best_weights is not None:
        network.set_weights(*best_weights)
        # a score that still improves at the last epoch was stopped by the limit
        return Fit(fitted, converged=waited > 0, iterations=best_epoch)
    network.set_weights(network.coefs, network.intercepts)
    return Fit(fitted, iterations=epochs or recipe.epochs)
