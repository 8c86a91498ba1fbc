"""Probes that learn how to pool a clip's frames, where the others read their mean.

``attention``: the pooled frame is a weighted mean, with weights ``softmax(q · frame)`` over the
clip, one ``q`` for all classes or one a class; a linear classifier follows. ``q`` starts at zero,
which is the mean. ``prototypes``: each class has one or several; a clip's features are the largest
cosines of its frames with each prototype; a linear classifier follows. The first prototype of a
class starts at the mean of its frames, others at frames of its clips. Both probes are trained by
AdamW on clips; the number of steps is selected as learning rate and weight decay are.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probekit._typing import Array
from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.probes import transforms
from probekit.probes.base import FitContext, SelectedModel, Settings
from probekit.probes.mlp_segments import Segments
from probekit.probes.model_selection import Curve, Fit, Pair, choose_all
from probekit.solvers.partial_labels import tag_loss
from probekit.utils.suggest import unknown_name_error

_STEPS = (100, 300, 1000)  # of AdamW, to select from
_BATCH = 32  # clips of a step
_INNER_SPLITS = 2  # on which settings are selected: all would take more than twice as long
_BLOCK = 4_000_000  # values that are scored at once
_SHARPNESS = 10.0  # of prototypes: a cosine of 1 with one of a class is a logit of this at first
_GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "attention": {"rate": (1e-3, 1e-2), "decay": (0.1, 0.01)},
    "prototypes": {"prototypes": (1, 4), "rate": (1e-3, 1e-2), "decay": (0.1,)},
}


class Frames:
    """Frames of some clips, which are put into batches with a mask.

    Parameters
    ----------
    segments : Segments
        The clips.
    transform : Transform
        Applied to every frame.
    """

    def __init__(self, segments: Segments, transform: transforms.Transform) -> None:
        frames = transform(np.asarray(segments.frames[segments.places], np.float32))
        self.frames = torch.from_numpy(frames)
        self.counts = torch.as_tensor(segments.counts.astype(np.int64))
        self.starts = self.counts.cumsum(0) - self.counts

    def batch(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames, shape (clips, time, dim), and a mask of those that are not padding."""
        counts = self.counts[clips]
        steps = torch.arange(int(counts.max()))
        valid = steps < counts[:, None]
        rows = self.starts[clips][:, None] + torch.minimum(steps, counts[:, None] - 1)
        return self.frames[rows], valid


class Attention(nn.Module):
    """Weighted mean over time, then a linear classifier.

    Parameters
    ----------
    dim, classes : int >= 1
        Features of a frame; outputs.
    queries : int
        1 for weights that all classes share, else one query a class.
    """

    def __init__(self, dim: int, classes: int, queries: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(queries, dim))
        self.classifier = nn.Linear(dim, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return logits, shape (clips, classes); ``valid`` marks frames that count."""
        weights = (frames @ self.query.T).masked_fill(~valid[:, :, None], -torch.inf).softmax(1)
        # the classifier is linear: logits of frames, averaged, are those of the averaged frame
        return (weights * self.classifier(frames)).sum(1)


class Prototypes(nn.Module):
    """Largest cosine with each prototype over time, then a linear classifier.

    Parameters
    ----------
    prototypes : Tensor, shape (classes, count, dim)
        Initial prototypes.
    """

    def __init__(self, prototypes: Tensor) -> None:
        super().__init__()
        classes, count, _ = prototypes.shape
        self.prototypes = nn.Parameter(prototypes.flatten(0, 1).clone())
        self.classifier = nn.Linear(classes * count, classes)
        with torch.no_grad():
            of_class = torch.eye(classes).repeat_interleave(count, 1)
            self.classifier.weight.copy_(_SHARPNESS / count * of_class)
            self.classifier.bias.zero_()

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return logits, shape (clips, classes); ``valid`` marks frames that count."""
        cosines = functional.normalize(frames, dim=2) @ functional.normalize(self.prototypes).T
        return self.classifier(cosines.masked_fill(~valid[:, :, None], -torch.inf).amax(1))


@dataclass(frozen=True)
class FittedPooling:
    """A fitted probe.

    Attributes
    ----------
    network : torch.nn.Module
        :class:`Attention` or :class:`Prototypes`.
    transform : Transform
        Applied to frames first.
    multi : bool
        Whether clips may have several classes.
    """

    network: nn.Module
    transform: transforms.Transform
    multi: bool
    probabilities: bool = True

    @torch.inference_mode()
    def scores(self, features: Any) -> Array:
        """Return probabilities of the clips of :class:`Segments`, shape (clips, classes)."""
        order = np.argsort(features.counts, kind="stable")  # clips of like lengths together
        longest = int(features.counts.max())
        step = max(1, _BLOCK // (longest * features.shape[1]))
        scores = None
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            frames, valid = Frames(features[rows], self.transform).batch(torch.arange(len(rows)))
            logits = self.network(frames, valid).double()
            block = (logits.sigmoid() if self.multi else logits.softmax(1)).numpy()
            if scores is None:
                scores = np.empty((len(order), block.shape[1]))
            scores[rows] = block
        assert scores is not None
        return scores

    def predictions(self, features: Any) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return queries or prototypes, the classifier, and the statistics of the transform."""
        state = {k.replace(".", "/"): v.numpy() for k, v in self.network.state_dict().items()}
        statistics = {f"steps/{name}": getattr(self.transform, name) for name in ("mean", "scale")}
        return {**state, **statistics}


@dataclass(frozen=True)
class FramePooling:
    """The probe.

    Attributes
    ----------
    kind : {"attention", "prototypes"}
        How frames are pooled.
    weights : {"shared", "class"}
        Of attention: for all classes, or for each.
    seeded : bool
        True: the order of clips and the first prototypes are random.
    """

    kind: str
    weights: str = "shared"
    seeded: bool = field(default=True, init=False)

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        return self.kind + (":weights=class" if self.weights == "class" else "")

    def grid(self) -> list[Settings]:
        """Return all settings, the fewest steps first."""
        values = {"steps": _STEPS, **_GRIDS[self.kind]}
        return [dict(zip(values, point, strict=True)) for point in product(*values.values())]

    def facts(self) -> dict[str, Any]:
        """Return the grid and the training recipe."""
        facts = {
            "version": 1,
            "solver": "torch adamw",
            "grid": self.grid(),
            "batch": _BATCH,
        }
        return facts | ({"weights": self.weights} if self.kind == "attention" else {})

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Select settings on validation clips or two inner splits, and fit."""
        if context.clips.target == "regression":
            raise ProbekitError(
                f"--probe {self.kind} is for classes and tags; {context.clips.name} has numbers to "
                "predict"
            )
        search = PoolingSearch(self)
        return choose_all(context, self.grid(), search, max_inner_splits=_INNER_SPLITS)


@dataclass(frozen=True)
class PoolingSearch:
    """Trains once for all numbers of steps, on transformed frames.

    Attributes
    ----------
    probe : FramePooling
        The probe.
    choice, errors
        See :class:`probekit.probes.model_selection.Search`.
    """

    probe: FramePooling
    choice: str = "settings"
    errors: tuple[type[Exception], ...] = (DataError, ValueError)

    def fit_grid(
        self,
        context: FitContext,
        grid: Sequence[Settings],
        pairs: Sequence[Pair],
        curve: Curve,
    ) -> list[list[Fit]]:
        """Fit every grid point on every pair."""
        with resources.single_threaded():
            return [self._fit_pair(context, rows, grid) for rows, _ in pairs]

    def _fit_pair(self, context: FitContext, rows: Array, grid: Sequence[Settings]) -> list[Fit]:
        """Return a fit for each grid point; those that differ in steps are of one training."""
        fits: list[Fit | None] = [None] * len(grid)
        alike: dict[str, list[int]] = {}
        for k, settings in enumerate(grid):
            alike.setdefault(str({**settings, "steps": 0}), []).append(k)
        for places in alike.values():
            steps = [int(grid[k]["steps"]) for k in places]
            for k, fit in zip(
                places, self._train(context, rows, grid[places[0]], steps), strict=True
            ):
                fits[k] = fit
        return [fit for fit in fits if fit is not None]

    def refit(
        self, context: FitContext, path: Sequence[Settings], rows: Array, fits: Sequence[Fit]
    ) -> list[Fit]:
        """Fit the selected settings."""
        with resources.single_threaded():
            return self._train(context, rows, path[-1], [int(path[-1]["steps"])])

    def _train(
        self, context: FitContext, rows: Array, settings: Settings, steps: Sequence[int]
    ) -> list[Fit]:
        """Train, and return the probe after each number of steps, ascending."""
        segments: Segments = context.features[rows]
        transform = fit_frame_transform(context.steps, segments)
        frames = Frames(segments, transform)
        multi = context.clips.target == "multi"
        targets = torch.as_tensor(
            context.targets[rows], dtype=torch.float32 if multi else torch.int64
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            classes = len(context.clips.class_names)
            network = _build(self.probe, frames, targets, classes, settings, context.seed)
        matrices = [p for p in network.parameters() if p.ndim > 1]
        biases = [p for p in network.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices},
            {"params": biases, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings["rate"], weight_decay=settings["decay"])
        generator = torch.Generator().manual_seed(context.seed)
        fits: list[Fit] = []
        step = 0
        while step < steps[-1]:
            for clips in torch.randperm(len(targets), generator=generator).split(_BATCH):
                loss = _loss(network(*frames.batch(clips)), targets[clips], multi)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1
                if step in steps:
                    fits.append(Fit(FittedPooling(deepcopy(network), transform, multi), True, step))
                if step == steps[-1]:
                    break
        if not all(torch.isfinite(value).all() for value in network.parameters()):
            raise DataError(f"weights are not finite after {step} steps")
        return fits


def fit_frame_transform(steps: Sequence[str], segments: Segments) -> transforms.Transform:
    """Return the transform fitted to all frames of some clips."""
    return transforms.fit_transform(steps, np.asarray(segments.frames[segments.places], np.float32))


def _build(
    probe: FramePooling,
    frames: Frames,
    targets: Tensor,
    classes: int,
    settings: Settings,
    seed: int,
) -> nn.Module:
    """Return the network with its initial weights."""
    dim = frames.frames.shape[1]
    if probe.kind == "attention":
        return Attention(dim, classes, classes if probe.weights == "class" else 1)
    count = int(settings["prototypes"])
    owner = torch.repeat_interleave(torch.arange(len(frames.counts)), frames.counts)
    labels = functional.one_hot(targets, classes) if targets.ndim == 1 else targets
    rng = np.random.default_rng(seed)
    first = torch.randn(classes, count, dim)
    for k in range(classes):  # frames of the class's own clips, where it has some
        places = torch.nonzero(labels[owner, k] > 0)[:, 0].numpy()
        if len(places):
            chosen = rng.choice(places, count, replace=len(places) < count)
            first[k] = frames.frames[torch.from_numpy(chosen)]
            first[k, 0] = frames.frames[torch.from_numpy(places)].mean(0)
    return Prototypes(first)


def _loss(logits: Tensor, targets: Tensor, multi: bool) -> Tensor:
    if multi:
        return tag_loss(logits, targets)
    return functional.cross_entropy(logits, targets)


def parse(kind: str, parameters: str) -> FramePooling:
    """Return the probe for ``attention``, ``attention:weights=class`` or ``prototypes``."""
    if not parameters:
        return FramePooling(kind)
    name, _, value = parameters.partition("=")
    if kind != "attention" or name != "weights":
        what = "weights=shared or weights=class" if kind == "attention" else "no parameters"
        raise ProbekitError(f"--probe {kind}:{parameters}: {kind} takes {what}")
    if value not in ("shared", "class"):
        raise unknown_name_error("weights of attention", value, ("shared", "class"))
    return FramePooling(kind, value)
