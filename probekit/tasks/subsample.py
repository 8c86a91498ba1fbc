"""Label efficiency: the same task with a fraction of its training labels."""

import hashlib
from dataclasses import replace

import numpy as np

from probekit._typing import Array
from probekit.cards import Protocol
from probekit.data.manifest import Manifest
from probekit.errors import ProbekitError
from probekit.tasks.splits import FIXED_SPLIT, Split


def check_fraction(fraction: float) -> float:
    """Return a fraction; raise a ProbekitError if it is not above 0 and at most 1."""
    if not 0 < fraction <= 1:
        raise ProbekitError(f"--fraction must be > 0 and <= 1, got {fraction:g}")
    return fraction


def subsample_labels(
    split: Split, fraction: float, targets: Array, clips: Manifest, seed: int
) -> Split:
    """Return a split with a fraction of its training and validation clips, and all test clips.

    Validation clips are subsampled, too: they are labeled clips that select settings, and with a
    refit are trained on.

    Clips are drawn at random: from each class that fraction, at least one, if clips have one label
    (lee2021: 3 of 32 are 10 %); from all training clips otherwise (hung2022 draws training files).
    Every fold draws anew: one draw for all folds would be one sample, not several. A smaller
    fraction's clips are a subset of a larger one's, since a clip's rank in a fold depends on its id
    and the seed only.

    Parameters
    ----------
    split : Split
        With all training clips.
    fraction : float, 0 < fraction <= 1
        Fraction of the clips.
    targets : numpy.ndarray
        Targets of all clips.
    clips : Manifest
        All clips.
    seed : int
        Seed of the draw.

    Returns
    -------
    Split
        The subsample.
    """
    if fraction == 1:
        return split
    draw = _name_draw(split, seed)
    train, valid = (
        _draw(rows, fraction, targets, clips, draw) for rows in (split.train, split.valid)
    )
    return replace(split, train=train, valid=valid)


def draw_shots(split: Split, shots: int, targets: Array, clips: Manifest, seed: int) -> Split:
    """Return a split with a number of training clips of each class, and all test clips.

    Clips are drawn as by :func:`subsample_labels`: those of fewer shots are a subset of those of
    more. Validation clips are left out: they would be further labels.

    Parameters
    ----------
    split : Split
        With all training clips.
    shots : int >= 1
        Clips of each class; a class with fewer has them all.
    targets : numpy.ndarray
        Targets of all clips.
    clips : Manifest
        All clips.
    seed : int
        Seed of the draw.

    Returns
    -------
    Split
        The subsample.
    """
    order, classes = _shuffle(split.train, targets, clips, _name_draw(split, seed))
    drawn = [order[classes[order] == k][:shots] for k in np.unique(classes)]
    train = np.asarray(split.train[np.sort(np.concatenate(drawn))])
    return replace(split, train=train, valid=split.valid[:0])


def draw_facts(fraction: float, protocol: Protocol) -> dict[str, str]:
    """Return what names the draw in a run's id; nothing for all labels and for a fixed split."""
    return {"draw": "each fold"} if fraction < 1 and "folds" in protocol.kind else {}


def _name_draw(split: Split, seed: int) -> str:
    """Return what a draw is named by: each fold has one of its own."""
    return f"{seed}" if split.name == FIXED_SPLIT else f"{seed} {split.name}"


def _draw(rows: Array, fraction: float, targets: Array, clips: Manifest, draw: str) -> Array:
    if not len(rows):
        return rows
    order, classes = _shuffle(rows, targets, clips, draw)
    drawn = np.concatenate(
        [_leading_share(order[classes[order] == k], fraction) for k in np.unique(classes)]
    )
    return np.asarray(rows[np.sort(drawn)])


def _shuffle(rows: Array, targets: Array, clips: Manifest, draw: str) -> tuple[Array, Array]:
    """Return a random order of rows by clip id, and their classes: one class of several labels."""
    ids = clips.column("clip_id")[rows]
    rank_keys = np.array([hashlib.sha256(f"{draw} {i}".encode()).hexdigest() for i in ids])
    classes = targets[rows] if clips.target == "single" else np.zeros(len(ids), np.int64)
    return np.argsort(rank_keys), classes


def _leading_share(order: Array, fraction: float) -> Array:
    """Return the leading fraction of an order, at least one element."""
    return order[: max(1, round(fraction * len(order)))]
