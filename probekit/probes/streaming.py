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
    embeddings : Embeddings
        From the cache.
    clip_ids : sequence of str
        Row i is the embedding of ``clip_ids[i]``. In the order of the cache
        (:attr:`probekit.cache.store.Embeddings.clip_ids`) each part is read once a pass.
    stream : str
        Which stream; the extractor's default one if empty.
    pool : sequence of {"mean", "std", "max"}
        How frames are pooled.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        clip_ids: Sequence[str],
        stream: str = "",
        pool: Sequence[str] = ("mean",),
    ) -> None:
        self.embeddings, self.stream, self.pool = embeddings, stream, tuple(pool)
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
        return self.embeddings.vectors(ids, self.stream, self.pool, dtype="stored")

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to a worker, which opens the cache itself."""
        return {
            "where": self.embeddings.where,
            "rest": (self.clip_ids, self.stream, self.pool, self.shape),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the cache again."""
        self.embeddings = Embeddings(state["where"])
        self.clip_ids, self.stream, self.pool, self.shape = state["rest"]
