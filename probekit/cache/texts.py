"""Vectors of texts, saved beside the embeddings of a model of sound and text, as ``texts.h5``.

With them class names are scored as texts (``--probe zero-shot``) without the model.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from probekit._typing import Array
from probekit.errors import CacheError
from probekit.utils import atomic, locking

TEXTS_FILE = "texts.h5"
PACKED_GROUP = "texts"  # of a packed file
TEMPLATES = ("{}", "this is a sound of {}")
"""Sentences around a class name, of which the mean vector stands for the class."""


@dataclass(frozen=True)
class SavedTexts:
    """Texts and their vectors.

    Attributes
    ----------
    texts : tuple of str
        Sorted.
    vectors : numpy.ndarray, shape (texts, dim)
        Of length 1.
    scale : float
        Factor of cosines that makes them logits.
    stream : str
        The stream of sounds in the same space.
    """

    texts: tuple[str, ...]
    vectors: Array
    scale: float
    stream: str

    @property
    def digest(self) -> str:
        """SHA-256 of texts, vectors and scale."""
        digest = hashlib.sha256("\n".join([*self.texts, repr(self.scale), self.stream]).encode())
        digest.update(np.ascontiguousarray(self.vectors, np.float32).tobytes())
        return digest.hexdigest()

    def select(self, texts: Sequence[str]) -> Array:
        """Return the vectors of some texts; a KeyError names the first that is missing."""
        rows = {text: row for row, text in enumerate(self.texts)}
        return self.vectors[[rows[text] for text in texts]]


def fill_template(template: str, name: str) -> str:
    """Return a sentence with a class name, whose underscores become spaces."""
    return template.replace("{}", " ".join(name.replace("_", " ").split()))


def add_texts(folder: Path, texts: SavedTexts) -> None:
    """Save texts in ``<extractor>-<fingerprint>`` of a cache, with those that it has already."""
    path = folder / TEXTS_FILE
    with locking.write_lock(folder):
        saved = load_texts(folder)
        by_text = dict(zip(texts.texts, texts.vectors, strict=True))
        if saved is not None and (saved.scale, saved.stream) == (texts.scale, texts.stream):
            by_text |= dict(zip(saved.texts, saved.vectors, strict=True))
        ordered = sorted(by_text)

        def write(temp: Path) -> None:
            with h5py.File(temp, "w") as file:
                file["texts"] = [text.encode() for text in ordered]
                file["vectors"] = np.array([by_text[text] for text in ordered], np.float32)
                file.attrs["scale"], file.attrs["stream"] = texts.scale, texts.stream

        atomic.atomic_write(path, write)


def load_texts(folder: Path) -> SavedTexts | None:
    """Return the texts in ``<extractor>-<fingerprint>`` of a cache; None if there are none.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    path = folder / TEXTS_FILE
    return _read(path, "/") if path.exists() else None


def read_packed_texts(path: Path) -> SavedTexts | None:
    """Return the texts in a packed file; None if there are none.

    Raises
    ------
    CacheError
        If the file is damaged.
    """
    return _read(path, PACKED_GROUP)


def _read(path: Path, name: str) -> SavedTexts | None:
    """Read texts from a group of a file; None if there is no such group."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if name not in file:
                return None
            group = file[name]
            return SavedTexts(
                texts=tuple(text.decode() for text in group["texts"][:]),
                vectors=np.asarray(group["vectors"][:]),
                scale=float(group.attrs["scale"]),
                stream=str(group.attrs["stream"]),
            )
    except (OSError, KeyError, RuntimeError) as error:
        raise CacheError(f"{path}: damaged ({error}). Delete it and extract again") from error
