"""Probes by the rules of other tools, for :mod:`probekit.probes.evaluation_protocols`.

Networks are trained by torch as the tools do it. Nothing is refitted: the scored probe is the one
whose epoch was best on the validation clips of its split.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError, ProtocolError
from probekit.metrics import metrics
from probekit.parallel import resources
from probekit.probes.base import FitContext, SelectedModel, Settings, best_index
from probekit.probes.model_selection import fit_splits, score_probe
from probekit.solvers.scaler import fit_scaler
from probekit.tasks.splits import Rows, Split

_NEIGHBORS, _TEMPERATURE = 10, 0.07
_LOGISTIC_STEPS = 100


# ---- networks trained by gradients


@dataclass(frozen=True)
class TrainingRules:
    """How a tool trains a network on embeddings; by Adam, with its usual momenta.

    Attributes
    ----------
    hidden : tuple of int
        Widths of hidden layers, each with batch normalization, dropout and ReLU; none: linear.
    dropout : float
        Of hidden layers.
    initialization : {"", "xavier_uniform", "xavier_normal"}
        Of weights; empty for torch's own.
    layer_norm : bool
        Whether a layer normalization with learned scale and offset comes first.
    standardize : bool
        Whether features are standardized on training clips, and the validation clips that were
        drawn from them; not on official ones.
    rate, last_rate : float > 0
        Learning rate; where it ends by cosine decay, epoch by epoch.
    decay : float >= 0
        Weight of the L2 penalty.
    batch, epochs : int >= 1
        Clips a step; epochs at most.
    shuffle : bool
        Whether batches are drawn anew in each epoch; otherwise in one random order.
    every, patience : int >= 1
        Epochs between validations; validations without improvement after which training ends.
    last_of_equal : bool
        Whether of equally good epochs the last one is taken.
    mean_over_classes : bool
        Whether the cross-entropy of single labels is divided by the number of classes; that of tags
        is their mean already.
    """

    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    initialization: str = ""
    layer_norm: bool = False
    standardize: bool = False
    rate: float = 1e-3
    last_rate: float | None = None
    decay: float = 0.0
    batch: int = 32
    epochs: int = 10
    shuffle: bool = True
    every: int = 1
    patience: int = 1_000_000
    last_of_equal: bool = False
    mean_over_classes: bool = False

    def rates(self) -> Iterator[float]:
        """Yield the learning rate of each epoch."""
        for epoch in range(self.epochs):
            if self.last_rate is None:
                yield self.rate
            else:
                turn = 1 - math.cos(math.pi * epoch / self.epochs)
                yield self.rate + (self.last_rate - self.rate) / 2 * turn


XARES = TrainingRules(layer_norm=True, last_rate=1e-4)
EVAR = TrainingRules(
    standardize=True,
    rate=3e-4,
    decay=1e-8,
    batch=200,
    epochs=200,
    patience=20,
    last_of_equal=True,
    mean_over_classes=True,
)
HEAR = TrainingRules(dropout=0.1, batch=1024, epochs=500, shuffle=False, every=3, patience=20)
_HEAR_GRID = {
    "hidden": ((1024,), (1024, 1024)),
    "rate": (3.2e-3, 1e-3, 3.2e-4, 1e-4),
    "initialization": ("xavier_uniform", "xavier_normal"),
}


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network.

    Attributes
    ----------
    module : torch.nn.Module
        Returns logits.
    mean, scale : numpy.ndarray, shape (dim,)
        Subtracted and divided by first.
    """

    module: Any
    mean: Array
    scale: Array

    @property
    def probabilities(self) -> bool:
        """False: scores are logits."""
        return False

    def scores(self, features: Array) -> Array:
        """Return logits, shape (clips, classes)."""
        import torch

        with torch.inference_mode():
            scaled = (features - self.mean) / self.scale
            logits = self.module.eval()(torch.from_numpy(np.asarray(scaled, np.float32)))
        return np.asarray(logits.numpy(), np.float64)

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return the parameters, and the scaler."""
        state = {f"network/{k}": v.numpy() for k, v in self.module.state_dict().items()}
        return {**state, "mean": self.mean, "scale": self.scale}


@dataclass(frozen=True)
class NetworkProbe:
    """A network trained by one set of rules, or the best of several on the first split.

    Attributes
    ----------
    name : str
        For tables.
    rules : tuple of TrainingRules
        Of several, those that score best on the first split's validation clips train all.
    seeded : bool
        True: weights and batches are random; seeds are the protocol's.
    """

    name: str
    rules: tuple[TrainingRules, ...]
    seeded: bool = True

    def facts(self) -> dict[str, Any]:
        """Return the rules."""
        return {"version": 1, "solver": "torch adam", "grid": [asdict(r) for r in self.rules]}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Train a network for every split."""
        first, *others = context.splits
        progress, context = context.progress, replace(context, progress=None)
        candidates = [_train(context, rules, first) for rules in self.rules]
        scores = [model.selected_score for model in candidates]
        index = best_index(scores, context.metric.higher_is_better)
        rules = self.rules[index]
        if progress:
            progress(1, len(context.splits))

        def show_rest(done: int, total: int) -> None:
            if progress:
                progress(done + 1, total + 1)

        rest = replace(context, splits=others, progress=show_rest)
        train = partial(_train, replace(rest, progress=None), rules)
        models = fit_splits(rest, train) if others else []
        models = [replace(candidates[index], fits=len(candidates)), *models]
        if len(self.rules) == 1:
            return models
        grid: list[Settings] = [{**_choices(r), "epoch": 0} for r in self.rules]
        return [_with_grid(model, grid, scores, index) for model in models]


def _with_grid(
    model: SelectedModel, grid: list[Settings], scores: list[float], index: int
) -> SelectedModel:
    """Return a model with the settings that were tried on the first split, and its own epoch."""
    params = {**grid[index], **model.params}
    curve = [*scores, model.selected_score]
    return replace(model, params=params, grid=[*grid, params], curve=curve)


def hear_probe() -> NetworkProbe:
    """Return HEAR's: eight of sixteen settings, drawn with a seed."""
    points = [dict(zip(_HEAR_GRID, p, strict=True)) for p in product(*_HEAR_GRID.values())]
    drawn = np.random.RandomState(42).permutation(len(points))[:8]
    return NetworkProbe("hear-mlp", tuple(replace(HEAR, **points[k]) for k in drawn))


def _choices(rules: TrainingRules) -> Settings:
    """Return what HEAR's settings differ in."""
    return {
        "hidden": list(rules.hidden),
        "rate": rules.rate,
        "initialization": rules.initialization,
    }


def _train(context: FitContext, rules: TrainingRules, split: Split) -> SelectedModel:
    """Train on a split's training clips, and return the network of the best epoch."""
    with resources.single_threaded():
        return _train_network(context, rules, split)


def _train_network(context: FitContext, rules: TrainingRules, split: Split) -> SelectedModel:
    import torch

    features, targets = context.features, context.targets
    mean, scale = np.zeros(features.shape[1]), np.ones(features.shape[1])
    if rules.standardize:
        scaler = fit_scaler(features[_scaler_rows(context, split)])
        mean, scale = scaler.mean, scaler.scale
    classes = len(context.clips.class_names)
    multi = context.clips.target == "multi"
    _check_known(context)
    x = torch.from_numpy(np.asarray((features[split.train] - mean) / scale, np.float32))
    y = torch.from_numpy(np.asarray(targets[split.train], np.float32 if multi else np.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        module = build_network(features.shape[1], classes, rules)
        fitted = FittedNetwork(module, mean, scale)
        optimizer = torch.optim.Adam(module.parameters(), lr=rules.rate, weight_decay=rules.decay)
        order = torch.randperm(len(x))
        higher = context.metric.higher_is_better
        best, state, waited, chosen = -math.inf, None, 0, 0
        epochs: list[int] = []
        scores: list[float] = []
        held_out = features[split.valid]
        for epoch, rate in enumerate(rules.rates(), 1):
            optimizer.param_groups[0]["lr"] = rate
            if rules.shuffle:
                order = torch.randperm(len(x))
            module.train()
            for rows in order.split(rules.batch):
                if len(rows) < 2 and rules.hidden:  # batch normalization needs two clips
                    continue
                loss = _loss(module(x[rows]), y[rows], multi)
                optimizer.zero_grad()
                (loss / classes if rules.mean_over_classes and not multi else loss).backward()
                optimizer.step()
            if epoch % rules.every:
                continue
            scores.append(score_probe(context, fitted, held_out, split.valid))
            epochs.append(epoch)
            value = scores[-1] if higher else -scores[-1]
            if value > best or (rules.last_of_equal and value == best):
                best, waited = value, 0
                chosen = len(scores) - 1
                state = {k: v.clone() for k, v in module.state_dict().items()}
            else:
                waited += 1
            if waited >= rules.patience:
                break
    if state is None:
        raise ProtocolError(
            f"{context.clips.name}, split {split.name!r}: {context.metric.title} is not defined on "
            "the validation clips, so that no epoch can be chosen"
        )
    module.load_state_dict(state)
    tested = np.array_equal(split.valid, split.test)
    grid: list[Settings] = [{"epoch": epoch} for epoch in epochs]
    return SelectedModel(
        probe=fitted,
        params=grid[chosen],
        grid=grid,
        curve=scores,
        selected_on="the test clips" if tested else f"{len(split.valid)} validation clips",
        fits=1,
        iterations=epochs[-1],
    )


def _scaler_rows(context: FitContext, split: Split) -> Rows:
    """Return the rows for mean and variance: official validation clips are not among them."""
    sides = context.clips.column("split")[split.valid]
    if context.protocol.kind == "split" and (sides == "valid").all():
        return split.train
    return np.concatenate([split.train, split.valid])


def build_network(dim: int, classes: int, rules: TrainingRules) -> Any:
    """Return an untrained network.

    Hidden layers are linear, batch normalization, dropout, ReLU, in this order, as HEAR has them.
    """
    from torch import nn

    def linear(fan_in: int, width: int, gain: float) -> nn.Module:
        layer = nn.Linear(fan_in, width)
        if rules.initialization:
            getattr(nn.init, f"{rules.initialization}_")(layer.weight, gain=gain)
        return layer

    layers: list[nn.Module] = [nn.LayerNorm(dim)] if rules.layer_norm else []
    gain = nn.init.calculate_gain("linear")
    for width in rules.hidden:
        layers += [linear(dim, width, gain), nn.BatchNorm1d(width)]
        layers += [nn.Dropout(rules.dropout), nn.ReLU()]
        dim, gain = width, nn.init.calculate_gain("relu")
    return nn.Sequential(*layers, linear(dim, classes, gain))


def _loss(logits: Any, targets: Any, multi: bool) -> Any:
    """Return cross-entropy: of classes, or the mean over tags."""
    from torch.nn import functional

    if multi:
        return functional.binary_cross_entropy_with_logits(logits, targets)
    return functional.cross_entropy(logits, targets)


# ---- logistic regression, nearest neighbors


@contextmanager
def _errors_of(context: FitContext, split: Split) -> Iterator[None]:
    """Raise what scikit-learn has against the data as a DataError that names the split."""
    try:
        yield
    except ValueError as error:
        raise DataError(f"{context.clips.name}, split {split.name!r}: {error}") from error


@dataclass(frozen=True)
class RawLogistic:
    """MTEB's: scikit-learn's logistic regression on features as they are, 100 iterations at most.

    Of several labels a clip, one for each.

    Attributes
    ----------
    name : str
        For tables.
    seeded : bool
        False: draws of clips are the protocol's.
    """

    name: str = "mteb-logistic"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the settings."""
        return {"version": 1, "solver": "scikit-learn lbfgs", "C": 1.0, "max_iter": 100}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Fit every split's training clips."""
        return fit_splits(context, partial(_fit_logistic, context))


def _fit_logistic(context: FitContext, split: Split) -> SelectedModel:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier

    from probekit.probes.sklearn_probe import FittedEstimator

    _check_known(context)
    target, targets = context.clips.target, context.targets[split.train]
    if target == "multi":
        _check_both(context, split, targets)
    model = LogisticRegression(max_iter=_LOGISTIC_STEPS, random_state=42)
    if target == "multi" and targets.shape[1] > 1:
        model = MultiOutputClassifier(model)
    with resources.single_threaded(), warnings.catch_warnings(), _errors_of(context, split):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(context.features[split.train], np.squeeze(targets))
    fits = getattr(model, "estimators_", [model])
    steps = [int(np.max(fit.n_iter_)) for fit in fits]
    unconverged = sum(count >= _LOGISTIC_STEPS for count in steps)
    classes = len(context.clips.class_names)
    return SelectedModel(
        probe=FittedEstimator(model, target, classes, probabilities=True),
        params={"C": 1.0},
        grid=[{"C": 1.0}],
        selected_on="nothing: one C",
        fits=len(fits),
        unconverged=unconverged,
        converged=not unconverged,
        iterations=max(steps),
    )


def _check_known(context: FitContext) -> None:
    """Raise if labels are unknown: the tools have no rules for them."""
    if not metrics.is_known(context.targets).all():
        raise ProtocolError(
            f"{context.clips.name}: some labels are unknown, and the rules of {context.probe} are "
            "for labels that are all known"
        )


def _check_both(context: FitContext, split: Split, targets: Array) -> None:
    """Raise if all of the clips to fit on have a label, or none: nothing can be fitted."""
    share = targets.mean(axis=0)
    if len(constant := np.flatnonzero((share == 0) | (share == 1))):
        name, amount = context.clips.class_names[constant[0]], share[constant[0]]
        raise ProtocolError(
            f"{context.clips.name}, split {split.name!r}: {'all' if amount else 'none'} of the "
            f"{len(targets)} labeled clips that are drawn have label {name!r}; use another "
            "--protocol"
        )


@dataclass(frozen=True)
class FittedNeighbors:
    """Training clips, and how the nearest ones vote.

    Attributes
    ----------
    model : NearestNeighbors
        scikit-learn's, with the training clips.
    votes : numpy.ndarray, shape (training clips, classes)
        0 and 1.
    """

    model: Any
    votes: Array

    @property
    def probabilities(self) -> bool:
        """True: votes are weighted by weights that sum to 1."""
        return True

    def scores(self, features: Array) -> Array:
        """Return the vote of ten neighbors, weighted by softmax(cosine / 0.07)."""
        from scipy.special import softmax

        distance, rows = self.model.kneighbors(features, _NEIGHBORS)
        weight = softmax((1 - distance) / _TEMPERATURE, axis=1)
        return np.einsum("ck,ckn->cn", weight, self.votes[rows])

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the training clips are in the cache."""
        return {}


@dataclass(frozen=True)
class SoftNeighbors:
    """X-ARES's nearest neighbors: ten, by cosine, weighted by a softmax.

    Attributes
    ----------
    name : str
        For tables.
    seeded : bool
        False: nothing is random.
    """

    name: str = "xares-neighbors"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the settings."""
        facts = {"neighbors": _NEIGHBORS, "temperature": _TEMPERATURE, "distance": "cosine"}
        return {"version": 1, "solver": "scikit-learn", **facts}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Store every split's training clips."""
        return fit_splits(context, partial(_fit_neighbors, context))


def _fit_neighbors(context: FitContext, split: Split) -> SelectedModel:
    from sklearn.neighbors import NearestNeighbors

    if len(split.train) < _NEIGHBORS:
        raise ProtocolError(
            f"{context.clips.name}, split {split.name!r}: {_NEIGHBORS} neighbors need as many "
            f"training clips, got {len(split.train)}"
        )
    model = NearestNeighbors(metric="cosine", algorithm="brute")
    with _errors_of(context, split):
        model.fit(context.features[split.train])
    votes = np.eye(len(context.clips.class_names))[context.targets[split.train]]
    return SelectedModel(FittedNeighbors(model, votes), selected_on="nothing", fits=1)
