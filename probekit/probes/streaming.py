"""Rows that are read from the cache when they are asked for, for features beyond memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache.embeddings import Embeddings

Array = npt.NDArray[Any]


class CachedRows:
    """The embeddings of some clips, as rows of an array that is never whole in memory.

    Parameters
    ----------
    members : sequence of (Embeddings, str, sequence of str)
        From the cache, side by side: embeddings, stream (the default one if empty) and poolings.
    clip_ids : sequence of str
        Row i is the embedding of ``clip_ids[i]``. In the order of the cache
        (:attr:`probekit.cache.embeddings.Embeddings.clip_ids`) each part is read once a pass.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    """

    def __init__(
        self, members: Sequence[tuple[Embeddings, str, Sequence[str]]], clip_ids: Sequence[str]
    ) -> None:
        self.members = [(one, stream, tuple(pool)) for one, stream, pool in members]
        self.clip_ids = np.asarray(clip_ids, dtype=object)
        self.shape = (len(self.clip_ids), self._read(slice(0, 1)).shape[1])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> Array:
        """Return some rows, of the cache's type.

        Parameters
        ----------
        rows : slice or numpy.ndarray of int
            Which.

        Returns
        -------
        numpy.ndarray, shape (some, dim)
            float32 or float16.
        """
        return self._read(rows)

    def _read(self, rows: Any) -> Array:
        ids = [str(one) for one in self.clip_ids[rows]]
        blocks = [one.vectors(ids, stream, pool, "stored") for one, stream, pool in self.members]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to a worker, which opens the caches itself."""
        members = [(one.where, stream, pool) for one, stream, pool in self.members]
        return {"members": members, "clip_ids": self.clip_ids, "shape": self.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the caches again."""
        self.members = [(Embeddings(w), stream, pool) for w, stream, pool in state["members"]]
        self.clip_ids, self.shape = state["clip_ids"], state["shape"]
