"""The one weight matrix of a task: a probe fitted once on all training clips, one C for all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache import layout
from probekit.errors import DataError
from probekit.probes import features, linear, selection
from probekit.probes.inputs import clips_of
from probekit.registry import unknown
from probekit.tasks import metrics, splits
from probekit.tasks.splits import Split

Array = npt.NDArray[Any]
SPACES = ("embedding", "standardized")


@dataclass(frozen=True)
class ClassWeights:
    """Class weights, and how they came about.

    Attributes
    ----------
    matrix : numpy.ndarray, shape (classes, dim)
        Rows of the linear probe, by default mapped back through the standardization.
    names : tuple of str
        The classes.
    task, embedding : str
        What was probed.
    space : {"embedding", "standardized"}
        What the rows act on.
    c : float
        The regularization, one value for all classes.
    clips : int
        Training clips.
    converged : bool
        Whether the solver reached its tolerance.
    fingerprint, manifest : str
        Of the embeddings and the clip table.
    provenance : tuple of str
        What every figure must show.
    """

    matrix: Array
    names: tuple[str, ...]
    task: str
    embedding: str
    space: str
    c: float
    clips: int
    converged: bool
    fingerprint: str
    manifest: str
    provenance: tuple[str, ...]


def class_weights(
    task: str,
    extractor: str,
    *,
    cache: str | Path | None = None,
    root: str | Path | None = None,
    c: float | None = None,
    space: str = "embedding",
) -> ClassWeights:
    """Fit a linear probe on all training clips of a task and return its class weights.

    For a fixed split these are the training and validation clips; with folds, all clips. C is the
    one that scores best on held-out training clips, as in an evaluation, unless it is given.

    Parameters
    ----------
    task, extractor : str
        As for :func:`probekit.evaluate`.
    cache, root : str or pathlib.Path, optional
        As for :func:`probekit.evaluate`.
    c : float > 0, optional
        Use this C.
    space : {"embedding", "standardized"}
        Whether rows act on the embedding as it is, or on standardized features. A head's weights
        can be compared in the first only; features of unlike scales, as statistics are, compare
        better in the second.

    Returns
    -------
    ClassWeights
        In the order of the task's classes; classes without training clips are left out.

    Raises
    ------
    ProbekitError
        If the task or the embeddings are not there, or there are fewer than two classes.
    """
    if space not in SPACES:
        raise unknown("space", space, SPACES)
    where = layout.root(cache)
    card, clips = clips_of(task, where, root)
    found = features.find(where, extractor, card.dataset, clips)
    present = found.clips
    targets = present.targets()
    if present.target == "regression":
        raise DataError(f"{card.name}: its targets are numbers, there are no classes to compare")
    if card.protocol.kind == "split":
        first = splits.make(card.protocol, present)[0]
        whole = Split("all training clips", first.train, first.valid, first.test)
    else:
        none = np.array([], np.int64)
        whole = Split("all clips", np.arange(len(present)), none, none)
    grid = linear.GRID if c is None else (c,)
    one = selection.choose(
        found.matrix(), targets, present, whole, card.protocol, metrics.get(card.metric), grid
    ).probe
    assert isinstance(one, linear.Probe)
    there = np.isfinite(one.intercept) & (one.coef != 0).any(axis=1)
    said = [*found.provenance]
    if len(present) < found.expected:
        said.append(f"{len(present):,} of {found.expected:,} clips")
    if not one.converged:
        said.append("not converged")
    return ClassWeights(
        matrix=(one.coef / one.scaler.scale if space == "embedding" else one.coef)[there],
        names=tuple(name for name, keep in zip(present.names, there, strict=True) if keep),
        task=card.name,
        embedding=extractor,
        space=space,
        c=one.c,
        clips=len(whole.fitted(card.protocol)),
        converged=one.converged,
        fingerprint="+".join(source["fingerprint"] for source in found.sources),
        manifest=clips.digest(),
        provenance=tuple(said),
    )
