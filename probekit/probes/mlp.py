"""The MLP probe: scikit-learn's, stopped early on the protocol's own validation clips.

scikit-learn's ``early_stopping`` holds out clips at random, which tears groups apart; here the
epochs are run one by one, and the clips that the protocol holds out say when to stop.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from probekit._typing import Array
from probekit.probes.base import SelectedModel
from probekit.probes.grid_search import Fit, Settings, choose_all, scored
from probekit.probes.registry import FitContext
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True)
class MLPRecipe:
    """How an MLP is trained.

    Attributes
    ----------
    hidden : tuple of tuple of int
        Widths of the hidden layers to choose from.
    rates : tuple of float > 0
        Adam's learning rates to choose from.
    decay : tuple of float >= 0
        Weights of scikit-learn's L2 penalty to choose from.
    batch, epochs : int >= 1
        Clips a step; epochs at most.
    every, patience : int >= 1
        Epochs between two looks at the held-out clips; looks without a better score to stop after.
    steps, wait : int >= 0
        With few clips an epoch is a few steps of Adam: epochs are at least so many that there are
        ``steps``, and looks without a better score so many that there were ``wait`` between.
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
        """Return the recipe with epochs, looks and patience for a number of training clips."""
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
            {"hidden": list(h), "rate": r, "decay": d}
            for h, r, d in product(self.hidden, self.rates, self.decay)
        ]


# heareval's grid as far as scikit-learn's MLP goes: no dropout, no batch normalization, and one of
# the two initializations, so that its 16 settings are 8
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
        Of the numbers to predict, for regression: the model was fitted to standardized ones.
    single_tag : bool
        Whether there is one tag only, so that the model tells its two classes apart.
    """

    model: Any
    mean: Array | None = None
    scale: Array | None = None
    single_tag: bool = False

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities: those of classes are."""
        return self.mean is None

    def scores(self, features: Array) -> Array:
        """Return probabilities of classes, or predicted numbers; shape (clips, classes)."""
        if self.mean is None:
            found = np.asarray(self.model.predict_proba(features), np.float64)
            return found[:, 1:] if self.single_tag else found
        found = self.model.predict(features).reshape(len(features), -1)
        return np.asarray(found * self.scale + self.mean, np.float64)

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
        Yes: weights and batches are drawn.
    """

    recipe: str = ""
    seeded: bool = True

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        return "mlp" + (f":{self.recipe}" if self.recipe else "")

    def facts(self) -> dict[str, Any]:
        """Return the grid and how training goes."""
        own = RECIPES[self.recipe]
        names = ("batch", "epochs", "every", "patience", "steps", "wait")
        training = {name: getattr(own, name) for name in names}
        return {"version": 3, "solver": "scikit-learn adam", "grid": own.grid(), **training}

    def choose_all(self, job: FitContext) -> list[SelectedModel]:
        """Choose settings on one division of the training clips (or validation clips), and fit."""
        own = RECIPES[self.recipe]
        return choose_all(job, own.grid(), partial(_fit, job, own), divisions=1)


def parse(text: str) -> MLP:
    """Return the probe of what stands after ``mlp:``.

    Parameters
    ----------
    text : str
        Empty, or the name of a recipe: ``hear``.

    Returns
    -------
    MLP
        Ready to fit.

    Raises
    ------
    UnknownNameError
        If there is no such recipe.
    """
    if text not in RECIPES:
        raise unknown_name_error("recipe of mlp", text, [name for name in RECIPES if name])
    return MLP(text)


def _fit(
    job: FitContext,
    recipe: MLPRecipe,
    features: Array,
    targets: Array,
    settings: Settings,
    seed: int,
    held: tuple[Array, Array] | None,
    epochs: int,
) -> Fit:
    """Train until the held-out clips' score stays, or for a number of epochs."""
    recipe = recipe.with_schedule(len(features))
    common = {
        "hidden_layer_sizes": tuple(settings["hidden"]),
        "learning_rate_init": settings["rate"],
        "alpha": settings["decay"],
        "batch_size": min(recipe.batch, len(features)),
        # not the number: scikit-learn would start from it in every epoch, and draw the same batches
        "random_state": np.random.RandomState(seed),
    }
    if job.clips.target == "regression":
        mean, scale = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-12)
        network = FittedMLP(MLPRegressor(**common), mean, scale)
        more: dict[str, Any] = {}
        # scikit-learn wants one column flat
        wanted = ((targets - mean) / scale).squeeze(axis=1 if targets.shape[1] == 1 else ())
    else:
        single_tag = targets.ndim == 2 and targets.shape[1] == 1
        network = FittedMLP(MLPClassifier(**common), single_tag=single_tag)
        wanted = targets[:, 0] if single_tag else targets
        more = {"classes": np.arange(2 if single_tag else len(job.clips.names))}
    kept, top, since, at = None, -np.inf, 0, 0
    for epoch in range(1, (epochs or recipe.epochs) + 1):
        network.model.partial_fit(features, wanted, **more)
        if held is None or epoch % recipe.every:
            continue
        score = scored(job, network, *held) * (1 if job.metric.higher_is_better else -1)
        if score > top or kept is None:
            kept, top, since, at = _copy(network.model), score, 0, epoch
        else:
            since += 1
        if since >= recipe.patience:
            break
    if kept is not None:
        network.model.coefs_, network.model.intercepts_ = kept
        # a score that still rises at the last epoch was stopped by the limit
        return Fit(network, converged=since > 0, iterations=at)
    return Fit(network, iterations=epochs or recipe.epochs)


def _copy(model: Any) -> tuple[list[Array], list[Array]]:
    return [a.copy() for a in model.coefs_], [a.copy() for a in model.intercepts_]
