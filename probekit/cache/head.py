"""A network's own classifier, saved beside its embeddings as ``head.h5``.

With it, a network's class weights can be compared with a probe's, and its scores computed, without
the network.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import CacheError
from probekit.utils import atomic

HEAD_FILE = "head.h5"
_ATTENTION = ("attention_weight", "attention_bias")


@dataclass(frozen=True)
class SavedHead:
    """A network's own classifier.

    Attributes
    ----------
    classes : tuple of str
        Source classes, one a row of ``weight``.
    weight : numpy.ndarray, shape (classes, dim)
        Rows of the last linear layer.
    bias : numpy.ndarray, shape (classes,)
        Its intercepts.
    stream : str
        The stream that the layer reads.
    pooling : str
        How the network pools frame probabilities into a clip's; ``none`` for a stream of kind
        ``clip``.
    attention : tuple of numpy.ndarray, optional
        For the pooling ``attention``: weight and bias of the layer, on the same stream, whose
        softmax over time weighs the frames. None in files of earlier versions.
    """

    classes: tuple[str, ...]
    weight: Array
    bias: Array
    stream: str
    pooling: str
    attention: tuple[Array, Array] | None = None

    def arrays(self) -> dict[str, Array]:
        """Return the arrays of a file, by name."""
        arrays = {"weight": self.weight, "bias": self.bias}
        return arrays | dict(zip(_ATTENTION, self.attention or (), strict=False))


def save_head(folder: Path, head: SavedHead) -> None:
    """Save a head in ``<extractor>-<fingerprint>`` of a cache, unless there is one."""
    path = folder / HEAD_FILE
    if path.exists():
        return

    def write(temp: Path) -> None:
        with h5py.File(temp, "w") as file:
            file["classes"] = [name.encode() for name in head.classes]
            for name, array in head.arrays().items():
                file[name] = array
            file.attrs["stream"], file.attrs["pooling"] = head.stream, head.pooling

    atomic.atomic_write(path, write)


def load_head(folder: Path) -> SavedHead | None:
    """Return the head in ``<extractor>-<fingerprint>`` of a cache; None if the network has none.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    path = folder / HEAD_FILE
    return _read(path, "/") if path.exists() else None


def read_packed_head(path: Path) -> SavedHead | None:
    """Return the head in a packed file; None if the network has none.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    return _read(path, "head")


def _read(path: Path, name: str) -> SavedHead | None:
    """Read a head from a group of a file; None if there is no such group."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if name not in file:
                return None
            group = file[name]
            attention = [np.asarray(group[name][:]) for name in _ATTENTION if name in group]
            return SavedHead(
                classes=tuple(name.decode() for name in group["classes"][:]),
                weight=np.asarray(group["weight"][:]),
                bias=np.asarray(group["bias"][:]),
                stream=str(group.attrs["stream"]),
                pooling=str(group.attrs["pooling"]),
                attention=(attention[0], attention[1]) if len(attention) == 2 else None,
            )
    except (OSError, KeyError, RuntimeError) as error:
        raise CacheError(f"{path}: damaged ({error}). Delete it and extract again") from error
