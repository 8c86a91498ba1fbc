"""A network's own classifier as the probe: nothing is fitted (kumar2021, Table 1)."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from probekit._typing import Array
from probekit.cache.embeddings import Embeddings
from probekit.cache.head import SavedHead
from probekit.errors import DataError
from probekit.probes.base import SelectedModel
from probekit.probes.features import Features

# how networks make clips of frames: TALNet's "linear softmax" (Wang et al., 2019), and the mean
_OVER_TIME = {
    "lin": lambda p: (p * p).sum(axis=0) / np.maximum(p.sum(axis=0), 1e-12),
    "mean": lambda p: p.mean(axis=0),
}


def get_head(embeddings: Embeddings) -> SavedHead:
    """Return the head of the network that made these embeddings.

    Parameters
    ----------
    embeddings : Embeddings
        From the cache.

    Returns
    -------
    KeptHead
        With the stream that it reads.

    Raises
    ------
    DataError
        If the network has none, or its way over time needs more than the cache holds.
    """
    head = embeddings.head
    name = embeddings.layout.extractor
    if head is None:
        raise DataError(
            f"{name}: no head is kept with {embeddings.folder}: the network has none (probekit "
            f"extractors show {name}), or the embeddings were not made by extraction"
        )
    if head.pooling not in ("none", *_OVER_TIME):
        raise DataError(
            f"{name}: its head combines frames by {head.pooling}, which needs the network itself"
        )
    return head


def head_scores(
    embeddings: Embeddings, clip_ids: list[str], classes: tuple[str, ...], vectors: Array
) -> Array:
    """Return the head's scores for a task's classes.

    Parameters
    ----------
    embeddings : Embeddings
        Must hold the stream that the head reads; with frames, where the head reads frames.
    clip_ids : list of str
        Which clips.
    classes : tuple of str
        The task's classes, each of which must be one of the head's, by name.
    vectors : numpy.ndarray, shape (clips, dim)
        The clips' vectors of the head's stream; of no use where the head reads frames.

    Returns
    -------
    numpy.ndarray, shape (clips, classes)
        Logits, or probabilities where the network pools those over time.

    Raises
    ------
    ProbekitError
        If a class is not one of the head's, or the stream or its frames are not in the cache.
    """
    head = get_head(embeddings)
    lacking = sorted(set(classes) - set(head.classes))
    if lacking:
        raise DataError(
            f"the head of {embeddings.layout.extractor} tells {len(head.classes)} classes apart; "
            f"{len(lacking)} of the task's {len(classes)} are not among them, for example "
            f"{lacking[0]!r}"
        )
    rows = [head.classes.index(name) for name in classes]
    weight, bias = head.weight[rows].astype(np.float64), head.bias[rows].astype(np.float64)
    if head.pooling == "none":
        return np.asarray(vectors @ weight.T + bias)
    pool = _OVER_TIME[head.pooling]
    return np.stack(
        [pool(expit(embeddings.frames(i, head.stream) @ weight.T + bias)) for i in clip_ids]
    )


@dataclass(frozen=True)
class Passthrough:
    """A probe that hands scores through: there is nothing to choose or to fit.

    Attributes
    ----------
    probabilities : bool
        Whether the head's scores are probabilities.
    """

    probabilities: bool

    def scores(self, features: Array) -> Array:
        """Return the scores that it is given."""
        return features

    def arrays(self) -> dict[str, Array]:
        """Return nothing: there are no weights but the network's own."""
        return {}


def passthrough(embeddings: Embeddings) -> SelectedModel:
    """Return the head as a probe.

    Parameters
    ----------
    embeddings : Embeddings
        Whose head.

    Returns
    -------
    Chosen
        With an empty curve.
    """
    probe = Passthrough(get_head(embeddings).pooling != "none")
    return SelectedModel(probe, selected_on="nothing: the network's own head")


def restrict_stream(features: Features) -> Features:
    """Return the features that the head reads.

    Parameters
    ----------
    features : Features
        Of one extractor.

    Returns
    -------
    Features
        The stream that the head reads.

    Raises
    ------
    DataError
        If there are several extractors, another stream was asked for, or it was not extracted.
    """
    if len(features.members) > 1:
        raise DataError(f"{features.label}: the head is that of one extractor, not of several")
    [(chosen, embeddings)] = features.members
    own = get_head(embeddings).stream
    if chosen.stream not in ("", own):
        raise DataError(f"{chosen.name}: its head reads the stream {own!r}, not {chosen.stream!r}")
    if own not in embeddings.stream_info:
        raise DataError(
            f"{chosen.name}: its head reads the stream {own!r}, which is not in {embeddings.folder} "
            f"(it holds {', '.join(embeddings.stream_info)}): extract again with --streams {own}"
        )
    return replace(features, members=((replace(chosen, stream=own), embeddings),))
