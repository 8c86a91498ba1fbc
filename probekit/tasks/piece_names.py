"""Names of pieces: several clips that are scored as one, and that no division may tear apart."""

from collections.abc import Sequence

import numpy as np

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.splits import Split
from probekit.utils.text import summarize_ids

COLUMNS = {"recording": "path", "group": "group"}
"""Values of a card's ``aggregate``: the column of the manifest that names a clip's piece."""


def name_pieces(card: TaskCard, clips: Manifest) -> Array | None:
    """Return the name of each clip's piece; None where clips are scored one by one.

    Parameters
    ----------
    card : TaskCard
        Its ``aggregate`` says what a piece is.
    clips : Manifest
        The clips. One without a group is a piece of its own.

    Raises
    ------
    DataError
        If no clip has a piece, or clips of one piece differ in their labels.
    """
    if card.aggregate is None:
        return None
    pieces = clips.column(COLUMNS[card.aggregate])
    if not (pieces != "").any():
        raise DataError(
            f"{card.name}: aggregate: {card.aggregate}: no clip has a {card.aggregate}; its clips "
            "cannot be scored by pieces"
        )
    pieces = np.where(pieces == "", clips.column("clip_id"), pieces)
    _, first, numbers = np.unique(pieces, return_index=True, return_inverse=True)
    targets = clips.targets()
    same = targets == targets[first][numbers]
    if targets.dtype.kind == "f":
        same |= np.isnan(targets) & np.isnan(targets[first][numbers])
    differ = ~same.reshape(len(targets), -1).all(axis=1)
    if differ.any():
        names = sorted(set(pieces[differ]))
        raise DataError(
            f"{card.name}: aggregate: {card.aggregate}: clips of one piece must have the same "
            f"labels; pieces whose clips differ, {len(names):,}: {summarize_ids(names, 3)}"
        )
    return pieces


def check_pieces(card: TaskCard, pieces: Array | None, splits: Sequence[Split]) -> None:
    """Raise a DataError that names pieces with clips in several folds."""
    if pieces is None:
        return
    for split in splits:
        train = set(pieces[np.concatenate([split.train, split.valid])])
        torn = sorted(set(pieces[split.test]) & train)
        if torn:
            made = card.protocol.kind.startswith("made")
            advice = (
                "Set protocol: grouped: true in the card"
                if made and not card.protocol.grouped
                else "Give all clips of a piece one split or fold"
            )
            raise DataError(
                f"{card.name}, split {split.name!r}: pieces with clips in training and in test, "
                f"{len(torn):,}: {summarize_ids(torn, 3)}. {advice}, or leave out aggregate: "
                f"{card.aggregate}"
            )
