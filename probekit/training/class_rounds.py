"""Rounds over the classes: one clip of each in turn, however rare it is.

TALNet's training reads clips this way: every round has one recording of each class, in a new random
order, so that common classes do not hide rare ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.errors import DataError
from probekit.utils.text import summarize_ids

Rows = npt.NDArray[np.int64]

BLOCK = 101
"""Neighboring clips of a class that are shuffled among themselves; Wang's files have as many."""
_ROUND, _PASS = 11, 12  # apart from the seeds of crops


class ClassRounds:
    """An endless sequence of clips that follows from a seed: any part of it can be drawn at once.

    Each round has one clip of each class, in a new order. The clips of a class are read to the end
    before the first comes again: blocks of neighbors in random order, and the clips of a block in
    random order, so that stored spectra are read in few places at a time. A clip of several classes
    is one of each of them.

    Parameters
    ----------
    targets : numpy.ndarray, shape (clips, classes)
        0 and 1.
    seed : int >= 0
        Of all orders.
    places : numpy.ndarray of int, shape (clips,), optional
        Where clips are stored; by default in their order.
    block : int >= 1
        Clips of a block.

    Attributes
    ----------
    n_classes : int
        Classes with clips, and so the clips of a round.
    """

    def __init__(
        self, targets: Array, seed: int, places: Array | None = None, block: int = BLOCK
    ) -> None:
        order = np.arange(len(targets)) if places is None else np.argsort(places, kind="stable")
        members = (order[np.asarray(targets)[order, c] > 0.5] for c in range(targets.shape[1]))
        self._members: list[Rows] = [rows.astype(np.int64) for rows in members if len(rows)]
        self._seed, self._block = seed, block
        self._passes: dict[int, tuple[int, Rows]] = {}
        self._order: tuple[int, Rows] | None = None

    @property
    def n_classes(self) -> int:
        """Classes with clips."""
        return len(self._members)

    def draw(self, start: int, count: int) -> Rows:
        """Return the clips at some positions of the sequence, shape (count,)."""
        result = np.empty(count, np.int64)
        for k in range(count):
            number, position = divmod(start + k, self.n_classes)
            result[k] = self._clip(int(self._round(number)[position]), number)
        return result

    def _round(self, number: int) -> Rows:
        """Return the order of the classes in a round."""
        if self._order is None or self._order[0] != number:
            rng = np.random.default_rng([self._seed, _ROUND, number])
            self._order = (number, rng.permutation(self.n_classes))
        return self._order[1]

    def _clip(self, member: int, number: int) -> int:
        """Return the clip of a class in a round."""
        rows = self._members[member]
        reading, position = divmod(number, len(rows))
        if self._passes.get(member, (-1,))[0] != reading:
            self._passes[member] = (reading, self._shuffle(member, reading))
        return int(rows[self._passes[member][1][position]])

    def _shuffle(self, member: int, reading: int) -> Rows:
        """Return the order of the clips of a class when it is read for the n-th time."""
        rng = np.random.default_rng([self._seed, _PASS, member, reading])
        positions = np.arange(len(self._members[member]))
        blocks = np.split(positions, range(self._block, len(positions), self._block))
        return np.concatenate([rng.permutation(blocks[k]) for k in rng.permutation(len(blocks))])


def refuse_unlabeled(clip_ids: Sequence[str] | Array, targets: Array, recipe: str) -> None:
    """Raise a DataError if training clips have no label, so that no class would read them."""
    empty = np.flatnonzero(~(np.asarray(targets) > 0.5).any(1))
    if len(empty):
        names = summarize_ids([str(clip_ids[int(row)]) for row in empty], 3)
        raise DataError(
            f"{len(empty):,} of {len(targets):,} training clips have no label, such as {names}; "
            f"recipe {recipe!r} reads clips by their classes, and would never read these. Leave "
            "them out, or take a recipe that reads every clip once (--recipe default)"
        )
