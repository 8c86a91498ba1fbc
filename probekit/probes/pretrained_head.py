"""A network's own classifier as a probe: nothing is fitted (kumar2021, Table 1)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy  # loads scipy.special when it is used, which takes a while

from probekit._typing import Array
from probekit.cache.embeddings import Embeddings
from probekit.cache.head import HEAD_FILE, SavedHead
from probekit.errors import DataError
from probekit.probes.base import FitContext, SelectedModel
from probekit.probes.features import Features

# how networks pool frames into clips: TALNet's "linear softmax", mean, maximum and "exponential
# softmax" (Wang et al., 2019)
_POOLING = {
    "lin": lambda p: (p * p).sum(axis=0) / np.maximum(p.sum(axis=0), 1e-12),
    "mean": lambda p: p.mean(axis=0),
    "max": lambda p: p.max(axis=0),
    "exp": lambda p: (p * np.exp(p)).sum(axis=0) / np.exp(p).sum(axis=0),
}


@dataclass(frozen=True)
class Head:
    """The network's own classifier; a run reads its scores from the cache."""

    name: str = "head"
    seeded: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the version: there are no settings."""
        return {"version": 1}

    def choose_all(self, context: FitContext) -> list[SelectedModel]:
        """Raise: there is nothing to fit; see :func:`passthrough`."""
        raise NotImplementedError


def get_head(embeddings: Embeddings) -> SavedHead:
    """Return the head of the network that made some embeddings.

    Raises
    ------
    DataError
        If there is none, or it pools over time in a way that needs more than the cache holds.
    """
    head = embeddings.head
    name = embeddings.layout.extractor
    if head is None:
        raise DataError(
            f"{name}: no head in {embeddings.folder}: the network has none (probekit extractors "
            f"show {name}), or the embeddings were imported"
        )
    if head.pooling not in ("none", "attention", *_POOLING):
        raise DataError(
            f"{name}: its head pools frames by {head.pooling}, which needs the network itself"
        )
    if head.pooling == "attention" and head.attention is None:
        raise DataError(
            f"{embeddings.folder.parent / HEAD_FILE}: has no weights of the attention, since an "
            f"earlier version wrote it: probekit cache repair {name}@"
            f"{embeddings.layout.fingerprint[:8]} {embeddings.layout.dataset} writes it again"
        )
    return head


def head_scores(
    embeddings: Embeddings, clip_ids: list[str], classes: tuple[str, ...], vectors: Array
) -> Array:
    """Return the head's scores for a task's classes.

    Parameters
    ----------
    embeddings : Embeddings
        Embeddings with the stream that the head reads; with frames, if it reads frames.
    clip_ids : list of str
        Clips to score.
    classes : tuple of str
        The task's classes; each must be one of the head's, by name.
    vectors : numpy.ndarray, shape (clips, dim)
        The clips' vectors of the head's stream; not used if the head reads frames.

    Returns
    -------
    numpy.ndarray, shape (clips, classes)
        Logits, or probabilities if the network pools these over time.

    Raises
    ------
    ProbekitError
        If a class is not one of the head's, or the stream or its frames are not in the cache.
    """
    head = get_head(embeddings)
    unknown = sorted(set(classes) - set(head.classes))
    if unknown:
        raise DataError(
            f"the head of {embeddings.layout.extractor} has {len(head.classes)} classes; "
            f"{len(unknown)} of the task's {len(classes)} are not among them, for example "
            f"{unknown[0]!r}"
        )
    rows = [head.classes.index(name) for name in classes]
    weight, bias = head.weight[rows].astype(np.float64), head.bias[rows].astype(np.float64)
    if head.pooling == "none":
        return np.asarray(vectors @ weight.T + bias)
    attention = None
    if head.attention is not None:
        attention = tuple(array[rows].astype(np.float64) for array in head.attention)

    def score(clip_id: str) -> Array:
        frames = embeddings.frames(clip_id, head.stream)
        probabilities = scipy.special.expit(frames @ weight.T + bias)
        if attention is not None:
            weights = scipy.special.softmax(frames @ attention[0].T + attention[1], axis=0)
            return np.asarray((probabilities * weights).sum(axis=0))
        return _POOLING[head.pooling](probabilities)

    return np.stack([score(clip_id) for clip_id in clip_ids])


@dataclass(frozen=True)
class Passthrough:
    """A fitted probe whose features are its scores.

    Attributes
    ----------
    probabilities : bool
        Whether the head's scores are probabilities.
    """

    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return ``features``."""
        return features

    def predictions(self, features: Array) -> None:
        """Return None: the class of the highest score is predicted."""

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the weights are the network's own."""
        return {}


def passthrough(embeddings: Embeddings) -> SelectedModel:
    """Return the head of some embeddings as a probe without settings."""
    probe = Passthrough(get_head(embeddings).pooling != "none")
    return SelectedModel(probe, selected_on="nothing: the network's own head")


def restrict_stream(features: Features) -> Features:
    """Return the features that the head reads.

    Raises
    ------
    DataError
        If there are several extractors, another stream was selected, or it was not extracted.
    """
    if len(features.members) > 1:
        raise DataError(f"{features.label}: --probe head needs a single extractor")
    [(selector, embeddings)] = features.members
    stream = get_head(embeddings).stream
    if selector.stream not in ("", stream):
        raise DataError(
            f"{selector.name}: its head reads the stream {stream!r}, not {selector.stream!r}"
        )
    if stream not in embeddings.stream_info:
        raise DataError(
            f"{selector.name}: its head reads the stream {stream!r}, which is not in "
            f"{embeddings.folder} (it contains {', '.join(embeddings.stream_info)}): extract again "
            f"with --streams {stream}"
        )
    return replace(features, members=((replace(selector, stream=stream), embeddings),))
