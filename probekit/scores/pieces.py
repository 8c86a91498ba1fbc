"""Pieces: several clips that are scored as one, by the mean of their probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probekit._typing import Array
from probekit.utils.text import count_of

if TYPE_CHECKING:  # they import pydantic and pandas
    from probekit.cards import TaskCard
    from probekit.scores.result_builder import SplitRows


def id_facts(card: "TaskCard") -> dict[str, Any]:
    """Return what names the pieces of a task in a run's id; nothing where clips are scored."""
    # version 2: inner divisions of training clips do not divide pieces
    return {"aggregate": card.aggregate, "piece_version": 2} if card.aggregate else {}


def average(scores: Array, pieces: Array) -> Array:
    """Return scores in which each clip has the mean over its piece's clips, the same shape."""
    _, numbers, counts = np.unique(pieces, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), scores.shape[1]))
    np.add.at(sums, numbers, scores)
    return np.asarray((sums / counts[:, None])[numbers])


def describe(card: "TaskCard", pieces: Array | None, splits: Sequence["SplitRows"]) -> list[str]:
    """Return the note beside a score of pieces; nothing where clips are scored one by one."""
    if pieces is None:
        return []
    tested = np.unique(np.concatenate([split.test for split in splits]))
    return [
        f"scored by {card.aggregate}: mean probabilities of the {len(tested):,} clips of "
        f"{count_of(len(np.unique(pieces[tested])), card.aggregate or '')}"
    ]
