"""The MLP probe: scikit-learn's, with early stopping on the clips that the protocol holds out.

scikit-learn's own ``early_stopping`` holds out random clips, which splits groups; here epochs are
run one by one, and the protocol's held-out clips decide when to stop.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from probekit._typing import Array
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.model_selection import Fit, GridSearch, Pair, choose_all, score_probe
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
    model : MLPClassifier or MLPRegressor
        scikit-learn's.
    mean, scale : numpy.ndarray or None
        Statistics of the target numbers, which are standardized for the fit; None for classes.
    single_tag : bool
        Whether there is a single tag, for which the model has two classes.
    """

    model: Any
    mean: Array | None = None
    scale: Array | None = None
    single_tag: bool = False

    @property
    def probabilities(self) -> bool:
        """Whether scores are probabilities: those of classes are."""
        return self.mean is None

    def scores(self, features: Array) -> Array:
        """Return probabilities of classes, or predicted numbers; shape (clips, classes)."""
        if self.mean is None:
            probs = np.asarray(self.model.predict_proba(features), np.float64)
            return probs[:, 1:] if self.single_tag else probs
        predictions = self.model.predict(features).reshape(len(features), -1)
        return np.asarray(predictions * self.scale + self.mean, np.float64)

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return weights and biases of each layer."""
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
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
            context, recipe.grid(), GridSearch(partial(_fit, recipe)), max_inner_splits=1
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
    common = {
        "hidden_layer_sizes": tuple(settings["hidden"]),
        "learning_rate_init": settings["rate"],
        "alpha": settings["decay"],
        "batch_size": min(recipe.batch, len(features)),
        # not an int: scikit-learn would restart from it in every epoch, and draw the same batches
        "random_state": np.random.RandomState(context.seed),
    }
    if context.clips.target == "regression":
        mean, scale = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-12)
        network = FittedMLP(MLPRegressor(**common), mean, scale)
        options: dict[str, Any] = {}
        # scikit-learn expects a single column as a vector
        values = ((targets - mean) / scale).squeeze(axis=1 if targets.shape[1] == 1 else ())
    else:
        single_tag = targets.ndim == 2 and targets.shape[1] == 1
        network = FittedMLP(MLPClassifier(**common), single_tag=single_tag)
        values = targets[:, 0] if single_tag else targets
        options = {"classes": np.arange(2 if single_tag else len(context.clips.class_names))}
    best_weights, best_score, best_epoch, waited = None, -np.inf, 0, 0
    for epoch in range(1, (epochs or recipe.epochs) + 1):
        network.model.partial_fit(features, values, **options)
        if held_out is None or epoch % recipe.every:
            continue
        score = score_probe(context, network, *held_out) * (
            1 if context.metric.higher_is_better else -1
        )
        if score > best_score or best_weights is None:
            best_weights, best_score = _copy_weights(network.model), score
            best_epoch, waited = epoch, 0
        else:
            waited += 1
        if waited >= recipe.patience:
            break
    if best_weights is not None:
        network.model.coefs_, network.model.intercepts_ = best_weights
        # a score that still improves at the last epoch was stopped by the limit
        return Fit(network, converged=waited > 0, iterations=best_epoch)
    return Fit(network, iterations=epochs or recipe.epochs)


def _copy_weights(model: Any) -> tuple[list[Array], list[Array]]:
    return [a.copy() for a in model.coefs_], [a.copy() for a in model.intercepts_]
