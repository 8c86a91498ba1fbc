"""A network's own classifier, kept beside its embeddings as ``head.h5``.

So its class weights can be compared with a probe's, and its scores computed, without the network.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import CacheError
from probekit.utils import atomic

NAME = "head.h5"


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
        How the network makes a clip's probabilities of those of frames; ``none`` where the stream
        is one vector a clip.
    """

    classes: tuple[str, ...]
    weight: Array
    bias: Array
    stream: str
    pooling: str


def save_head(folder: Path, head: SavedHead) -> None:
    """Keep a head in the folder of an extractor's embeddings, once.

    Parameters
    ----------
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.
    head : KeptHead
        Of the very weights that the fingerprint covers.
    """
    path = folder / NAME
    if path.exists():
        return

    def fill(aside: Path) -> None:
        with h5py.File(aside, "w") as file:
            file["classes"] = [name.encode() for name in head.classes]
            file["weight"], file["bias"] = head.weight, head.bias
            file.attrs["stream"], file.attrs["pooling"] = head.stream, head.pooling

    atomic.atomic_write(path, fill)


def load(folder: Path) -> SavedHead | None:
    """Return the head that is kept in a folder, or None.

    Parameters
    ----------
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.

    Returns
    -------
    KeptHead or None
        None where the network has no head.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    path = folder / NAME
    return _read(path) if path.exists() else None


def read_packed_head(path: Path) -> SavedHead | None:
    """Return the head in a packed file, or None.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`probekit.cache.pack.pack`.

    Returns
    -------
    KeptHead or None
        None where the network has no head.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    return _read(path, "head")


def _read(path: Path, group: str = "/") -> SavedHead | None:
    """Read a head from a group of a file; None where there is no such group."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if group not in file:
                return None
            found = file[group]
            return SavedHead(
                classes=tuple(name.decode() for name in found["classes"][:]),
                weight=np.asarray(found["weight"][:]),
                bias=np.asarray(found["bias"][:]),
                stream=str(found.attrs["stream"]),
                pooling=str(found.attrs["pooling"]),
            )
    except (OSError, KeyError, RuntimeError) as error:
        raise CacheError(f"{path}: damaged ({error}). Delete it and extract again") from error
