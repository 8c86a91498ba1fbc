"""An MLP on segments of clips, whose scores are means over the segments (kim2018).

Each frame in the cache is a segment with the label of its clip. The MLP is the paper's: dropout,
one hidden layer with ELU, dropout, and a last layer; trained for a fixed number of epochs on the
segments of training clips, with nothing to select.

The code that the paper's authors published passes the segments of all clips to the MLP, those of
test clips with their labels among them. ``mlp-segments:clips=all`` does, too, and every score says
so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probekit._typing import Array
from probekit.cache.embeddings import Embeddings
from probekit.errors import DataError, ProbekitError
from probekit.parallel import resources
from probekit.probes import transforms
from probekit.probes.base import FitContext, SelectedModel
from probekit.probes.features import Features
from probekit.probes.model_selection import fit_splits
from probekit.solvers.partial_labels import tag_loss
from probekit.tasks.splits import Split

NAME = "mlp-segments"
TRAINED_ON_TEST_CLIPS = (
    "the MLP was trained on the test clips, too (clips=all, as kim2018's published code): no test"
)
_BLOCK = 8192  # segments that are scored at once
_DROPOUT = 0.5


class Segments:
    """Frames of some clips, one after the other.

    Parameters
    ----------
    frames : numpy.ndarray, shape (segments, dim)
        All segments, as in the cache.
    edges : numpy.ndarray of int, shape (clips + 1,)
        Where those of each clip begin.
    rows : numpy.ndarray of int, optional
        Clips that are meant, by number; by default all.
    """

    def __init__(self, frames: Array, edges: Array, rows: Array | None = None) -> None:
        self.frames, self.edges = frames, edges
        self.rows = np.arange(len(edges) - 1) if rows is None else rows
        self.shape = (len(self.rows), frames.shape[1])

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.rows)

    def __getitem__(self, rows: Any, /) -> "Segments":
        """Return the segments of some of the clips, by slice or by array of row numbers."""
        return Segments(self.frames, self.edges, np.asarray(self.rows[rows]))

    @property
    def counts(self) -> Array:
        """Segments of each clip."""
        return np.asarray(np.diff(self.edges)[self.rows])

    @property
    def places(self) -> Array:
        """Rows of the clips' segments among all, clip by clip."""
        starts = self.edges[self.rows]
        return np.concatenate(
            [
                np.arange(start, start + count)
                for start, count in zip(starts, self.counts, strict=True)
            ]
        )


def read_segments(features: Features, probe: str = NAME) -> Segments:
    """Read the frames of all clips; those of several extractors side by side.

    Parameters
    ----------
    features : Features
        Streams whose frames are in the cache.
    probe : str
        What needs them, for messages.

    Raises
    ------
    ProbekitError
        If frames are not in the cache, a stream has one vector a clip, two streams have different
        grids, a clip has no frame, or numbers are not finite.
    """
    features.check_frames(probe)
    ids = features.clips.clip_ids
    blocks, counts, grids = [], [], []
    for selector, embeddings in features.members:
        stream = selector.stream or embeddings.default_stream
        grid = embeddings.stream_info[stream]
        grids.append((str(grid["hop"]), str(grid["first_center"])))
        frames, lengths = _read_member(embeddings, stream, ids)
        blocks.append(frames)
        counts.append(lengths)
    for other, lengths in zip(grids[1:], counts[1:], strict=True):
        if other != grids[0] or not np.array_equal(lengths, counts[0]):
            raise DataError(
                f"{features.label}: {probe} joins frames of the same times only, and these streams "
                f"have a frame every {grids[0][0]} and every {other[0]} s"
            )
    joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
    return Segments(joined, np.concatenate([[0], np.cumsum(counts[0])]))


def _read_member(embeddings: Embeddings, stream: str, ids: Sequence[str]) -> tuple[Array, Array]:
    """Return the frames of clips, one after the other, and how many each has."""
    probe = embeddings.crops(ids, 1.0, stream, "stored")
    counts = np.asarray(probe.counts)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise DataError(
            f"{embeddings.folder}: {len(empty):,} of {len(ids):,} clips have no frame of {stream}, "
            f"for example {ids[empty[0]]!r}: they are shorter than a segment"
        )
    reader = embeddings.crops(ids, float(counts.max()) * probe.hop, stream, "stored")
    frames = np.empty((int(counts.sum()), probe.dim), probe.dtype)
    start = 0
    for k, count in enumerate(counts):
        frames[start : start + count] = reader.read([k], [0])[0, :count]
        start += count
    bad = np.flatnonzero(~np.isfinite(frames).all(1))
    if len(bad):
        clip = int(np.searchsorted(np.cumsum(counts), bad[0], side="right"))
        raise DataError(
            f"{embeddings.folder}: {len(bad):,} frames of {stream} hold NaN or infinite values, "
            f"for example one of {ids[clip]!r}"
        )
    return frames, counts


@dataclass(frozen=True)
class SegmentRecipe:
    """How the MLP is trained.

    Attributes
    ----------
    hidden : int >= 1
        Width of the hidden layer.
    epochs, batch : int >= 1
        Passes over all segments of training clips; segments per step of Adam.
    rate : float > 0
        Learning rate.
    decay : float >= 0
        L2 penalty of weights, but not of biases, added to the gradient.
    clips : {"train", "all"}
        Clips whose segments are trained on. ``all`` includes test clips.
    """

    hidden: int = 1024
    epochs: int = 50
    batch: int = 64
    rate: float = 1e-3
    decay: float = 2e-5
    clips: str = "train"


class _Network(nn.Sequential):
    """The MLP, with Glorot's initial weights."""

    def __init__(self, dim: int, hidden: int, outputs: int) -> None:
        super().__init__(
            nn.Dropout(_DROPOUT),
            nn.Linear(dim, hidden),
            nn.ELU(),
            nn.Dropout(_DROPOUT),
            nn.Linear(hidden, outputs),
        )
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class FittedSegments:
    """A fitted MLP.

    Attributes
    ----------
    network : torch.nn.Module
        On the CPU.
    transform : Transform
        Applied to segments first.
    multi : bool
        Whether clips may have several classes.
    """

    network: nn.Module
    transform: transforms.Transform
    multi: bool
    probabilities: bool = True

    @torch.inference_mode()
    def scores(self, features: Any) -> Array:
        """Return means of the probabilities over :class:`Segments`, shape (clips, classes)."""
        self.network.eval()
        places, counts = features.places, features.counts
        parts = []
        for start in range(0, len(places), _BLOCK):
            block = self.transform(features.frames[places[start : start + _BLOCK]])
            logits = self.network(torch.from_numpy(block)).double()
            parts.append((logits.sigmoid() if self.multi else logits.softmax(1)).numpy())
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        sums = np.add.reduceat(np.concatenate(parts), starts, axis=0)
        return np.asarray(sums / counts[:, None])

    def predictions(self, features: Any) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return weights, biases and the statistics of the transform."""
        layers = {name: value.numpy() for name, value in self.network.state_dict().items()}
        statistics = {f"steps/{name}": getattr(self.transform, name) for name in ("mean", "scale")}
        return {**{name.replace(".", "/"): value for name, value in layers.items()}, **statistics}


@dataclass(frozen=True)
class MLPSegments:
    """The probe.

    Attributes
    ----------
    recipe : SegmentRecipe
        How it is trained.
    device : str
        Torch device of the training.
    seeded : bool
        True: weights, order and dropout are random.
    """

    recipe: SegmentRecipe = SegmentRecipe()
    device: str = "cpu"
    seeded: bool = True

    @property
    def name(self) -> str:
        """As after ``--probe``."""
        default = vars(SegmentRecipe())
        changed = [
            f"{k}={v}" if isinstance(v, str) else f"{k}={v:g}"
            for k, v in vars(self.recipe).items()
            if v != default[k]
        ]
        return NAME + (f":{','.join(changed)}" if changed else "")

    def facts(self) -> dict[str, Any]:
        """Return the training recipe."""
        recipe = dict(vars(self.recipe))
        if recipe["clips"] == SegmentRecipe.clips:
            del recipe["clips"]  # runs of before have no such setting
        return {"version": 1, "solver": "torch adam", "dropout": _DROPOUT, **recipe}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Fit the MLP of every split on the clips that the protocol allows."""
        if context.clips.target == "regression":
            raise ProbekitError(
                f"--probe {NAME} is for classes and tags; {context.clips.name} has "
                "numbers to predict"
            )
        return fit_splits(context, partial(_fit_split, replace(context, progress=None), self))


def _fit_split(context: FitContext, probe: MLPSegments, split: Split) -> SelectedModel:
    rows = split.fit_rows(context.protocol)
    notes: tuple[str, ...] = ()
    if probe.recipe.clips == "all":
        rows, notes = np.union1d(rows, split.test), (TRAINED_ON_TEST_CLIPS,)
    segments: Segments = context.features[rows]
    targets = np.repeat(context.targets[rows], segments.counts, axis=0)
    with resources.single_threaded():
        fitted = fit_segments(
            segments.frames,
            segments.places,
            targets,
            len(context.clips.class_names),
            probe.recipe,
            steps=context.steps,
            seed=context.seed,
            device=probe.device,
        )
    note = "nothing: the recipe is fixed"
    return SelectedModel(
        fitted, selected_on=note, fits=1, iterations=probe.recipe.epochs, notes=notes
    )


def fit_segments(
    frames: Array,
    rows: Array,
    targets: Array,
    classes: int,
    recipe: SegmentRecipe,
    *,
    steps: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
) -> FittedSegments:
    """Train the MLP on segments.

    Parameters
    ----------
    frames : numpy.ndarray, shape (all segments, dim)
        Of all clips.
    rows : numpy.ndarray of int, shape (segments,)
        Those of training clips.
    targets : numpy.ndarray
        Class of each of these, shape (segments,); or 0 and 1, shape (segments, classes).
    classes : int >= 1
        Number of outputs.
    recipe : SegmentRecipe
        Sizes and rates.
    steps : sequence of str
        Transforms, fitted to these segments; see :mod:`probekit.probes.transforms`.
    seed : int >= 0
        Of weights, order and dropout.
    device : str
        Torch device.
    """
    if "standardize" in steps:
        transform = transforms.fit_transform(steps, np.asarray(frames[rows], np.float32))
    else:  # nothing is estimated
        zeros = np.zeros(frames.shape[1], np.float32)
        transform = transforms.Transform(transforms.check_steps(steps), zeros, zeros + 1)
    multi = targets.ndim == 2
    values = torch.as_tensor(targets, dtype=torch.float32 if multi else torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _Network(frames.shape[1], recipe.hidden, classes).to(device)
        weights = [p for p in network.parameters() if p.ndim > 1]
        biases = [p for p in network.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": recipe.decay},
            {"params": biases},
        ]
        optimizer = torch.optim.Adam(groups, lr=recipe.rate)
        network.train()
        rng = np.random.default_rng(seed)
        for _ in range(recipe.epochs):
            order = rng.permutation(len(rows))
            for start in range(0, len(order), recipe.batch):
                chosen = order[start : start + recipe.batch]
                block = torch.from_numpy(transform(frames[rows[chosen]])).to(device)
                loss = _loss(network(block), values[chosen].to(device), multi)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        if not all(torch.isfinite(p).all() for p in network.parameters()):
            raise DataError(f"the weights are not finite after {recipe.epochs} epochs")
    return FittedSegments(network.cpu(), transform, multi)


def _loss(logits: Tensor, targets: Tensor, multi: bool) -> Tensor:
    if multi:
        return tag_loss(logits, targets)
    return functional.cross_entropy(logits, targets)


def parse(parameters: str, device: str = "cpu") -> MLPSegments:
    """Return the probe for what follows ``mlp-segments:``, such as ``epochs=20,clips=all``."""
    kinds = {name: type(value) for name, value in vars(SegmentRecipe()).items()}
    values: dict[str, Any] = {}
    for piece in filter(None, parameters.split(",")):
        name, _, text = piece.partition("=")
        if name not in kinds:
            raise ProbekitError(
                f"--probe {NAME}: {name!r} must be one of {', '.join(kinds)}, as in "
                f"{NAME}:epochs=20"
            )
        if name == "clips":
            if text not in ("train", "all"):
                raise ProbekitError(f"--probe {NAME}: clips must be train or all, got {text!r}")
            values[name] = text
            continue
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            raise ProbekitError(f"--probe {NAME}: {name} must be a number, got {text!r}") from error
        if not 0 < values[name] < np.inf and not (name == "decay" and values[name] == 0):
            raise ProbekitError(f"--probe {NAME}: {name} must be > 0, got {text}")
    return MLPSegments(SegmentRecipe(**values), device)
