"""Label efficiency: the same task with some of the training labels only."""

import hashlib
from dataclasses import replace

import numpy as np

from probekit._typing import Array
from probekit.data.manifest import Manifest
from probekit.errors import ProbekitError
from probekit.tasks.splits import Split


def check_fraction(fraction: float) -> float:
    """Return a fraction if it is above 0 and at most 1; raise a ProbekitError otherwise."""
    if not 0 < fraction <= 1:
        raise ProbekitError(f"--fraction {fraction:g}: above 0 and at most 1")
    return fraction


def subsample_labels(
    split: Split, fraction: float, targets: Array, clips: Manifest, seed: int
) -> Split:
    """Keep a share of the training clips, and of the validation clips; test clips stay.

    Validation clips are labelled clips, too: they choose settings, and with a refit are trained on.

    Clips are drawn at random: of each class that share, at least one, where a clip has one label
    (lee2021: 3 of 32 are 10 %); of all training clips otherwise (hung2022 draws training files). A
    smaller fraction's clips are among a larger one's, and a clip's luck depends on its id and the
    seed alone.

    Parameters
    ----------
    split : Split
        With all training clips.
    fraction : float, 0 < fraction <= 1
        The share to keep.
    targets : numpy.ndarray
        Of all clips.
    clips : Manifest
        The clips.
    seed : int
        Another seed draws other clips.

    Returns
    -------
    Split
        With fewer clips to learn from.
    """
    if fraction == 1:
        return split
    train, valid = (
        _drawn(rows, fraction, targets, clips, seed) for rows in (split.train, split.valid)
    )
    return replace(split, train=train, valid=valid)


def _drawn(rows: Array, fraction: float, targets: Array, clips: Manifest, seed: int) -> Array:
    if not len(rows):
        return rows
    ids = clips.column("clip_id")[rows]
    luck = np.array([hashlib.sha256(f"{seed} {i}".encode()).hexdigest() for i in ids])
    order = np.argsort(luck)
    kinds = targets[rows] if clips.target == "single" else np.zeros(len(ids), np.int64)
    keep = np.concatenate(
        [_leading_share(order[kinds[order] == k], fraction) for k in np.unique(kinds)]
    )
    return np.asarray(rows[np.sort(keep)])


def _leading_share(order: Array, fraction: float) -> Array:
    """Return the first part of an order, at least one."""
    return order[: max(1, round(fraction * len(order)))]
