"""Layout of a cache: names of folders and files, and the part that a clip belongs to."""

import hashlib
import json
import math
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probekit.cards.selector import HF, MODEL, ONNX
from probekit.errors import CacheError
from probekit.utils import atomic

LAYOUT_FILE = "dataset.json"
_MAX_PART_BYTES = 256 << 20
_MIN_PART_CLIPS, _MAX_PART_CLIPS = 64, 1024
_MAX_MODEL = 60  # characters of a model's name in that of a folder
_PARTS = 16  # parts of a small dataset, so that little is lost by a kill


@dataclass(frozen=True)
class Layout:
    """What all parts of one folder share; written once, as ``dataset.json``.

    Attributes
    ----------
    extractor, fingerprint : str
        Of the embeddings.
    identity : dict
        What the fingerprint covers.
    dataset : str
        Name of the dataset.
    buckets : int
        The number of parts.
    dtype : {"float32", "float16"}
        How numbers are stored.
    provenance : list of str
        Notes that every result from these embeddings must show.
    """

    extractor: str
    fingerprint: str
    identity: dict[str, Any]
    dataset: str
    buckets: int
    dtype: str
    provenance: list[str]

    @property
    def label(self) -> str:
        """The extractor's name, with the model of ``hf:`` and ``onnx:``."""
        model = self.params.get(MODEL, "") if self.extractor in (HF, ONNX) else ""
        return f"{self.extractor}:{model}" if model else self.extractor

    @property
    def params(self) -> dict[str, str]:
        """The extractor's parameters as text, as a selector has them."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.identity.get("params", {}).items()
        }


def cache_root(cache: str | Path | None = None) -> Path:
    """Return the cache root: ``cache`` if given, else ``PROBEKIT_CACHE``, else ``./cache``."""
    return Path(cache or os.environ.get("PROBEKIT_CACHE") or "cache")


def dataset_folder(
    cache: Path, extractor: str, fingerprint: str, dataset: str, model: str = ""
) -> Path:
    """Return ``<cache>/<extractor>-<fingerprint[:8]>/<dataset>``, which need not exist.

    The name of the model of ``hf:`` and ``onnx:`` comes after the extractor's, with a hyphen for
    each character that a folder should not have.

    Raises
    ------
    CacheError
        If a name cannot be the name of a folder.
    """
    readable = re.sub(r"[^A-Za-z0-9._]+", "-", model).strip("-.")[:_MAX_MODEL]
    name = "-".join([extractor, *[readable] * bool(readable), fingerprint[:8]])
    for kind, text in (("extractor", name), ("dataset", dataset)):
        if not text.strip(". ") or any(c in text for c in "/\\\0"):
            raise CacheError(f"{kind} must be a name without slashes like 'my-clips', got {text!r}")
    return cache / name / dataset


def assign_bucket(clip_id: str, buckets: int) -> int:
    """Return the number of the part that a clip belongs to, from its id alone."""
    first = hashlib.sha256(clip_id.encode()).digest()[:8]
    return int.from_bytes(first, "big") % buckets


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.h5"


def choose_buckets(clips: int, bytes_per_clip: float) -> int:
    """Return the number of parts of a dataset of ``clips`` >= 1 clips.

    Parts hold at most about 256 MB and 1,024 clips; small datasets have up to 16 parts.
    """
    limit = min(_MAX_PART_CLIPS, math.ceil(clips / _PARTS), int(_MAX_PART_BYTES // bytes_per_clip))
    return max(1, math.ceil(clips / max(_MIN_PART_CLIPS, limit)))


def create_or_load_layout(folder: Path, requested: Layout) -> Layout:
    """Write a folder's layout if it is new, and return the one in force.

    Parameters
    ----------
    folder : pathlib.Path
        From :func:`dataset_folder`; created if missing.
    requested : Layout
        Written unless the folder has a layout already.

    Returns
    -------
    Layout
        That of the first extraction into this folder.

    Raises
    ------
    CacheError
        If the folder holds embeddings of another fingerprint or dataset, or cannot be written.
    """
    content = json.dumps(asdict(requested), indent=1, sort_keys=True).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.create_exclusive(folder / LAYOUT_FILE, content)
    except OSError as error:
        raise CacheError(not_writable_message(folder, error)) from error
    layout = load_layout(folder)
    if layout.dataset != requested.dataset:  # of file systems to which capitals are the same
        raise CacheError(
            f"{folder}: holds the dataset {layout.dataset!r}, not {requested.dataset!r}: this file "
            "system does not tell the two names apart. Name one of them with --name NAME"
        )
    check_fingerprint(
        folder, layout.fingerprint, layout.identity, requested.fingerprint, requested.identity
    )
    return layout


def load_layout(folder: Path) -> Layout:
    """Read a folder's layout; a CacheError if ``dataset.json`` is missing or not readable."""
    path = folder / LAYOUT_FILE
    try:
        return Layout(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise CacheError(
            f"{path}: not the description of a cache ({error}). Move {folder} out of the cache, or "
            "restore the file"
        ) from error


def check_fingerprint(
    folder: Path,
    existing: str,
    existing_identity: dict[str, Any],
    requested: str,
    requested_identity: dict[str, Any],
) -> None:
    """Raise a CacheError if two fingerprints differ, with both and what differs."""
    if existing == requested:
        return
    differences = [
        f"{key}: {existing_identity.get(key)!r} in the cache, "
        f"{requested_identity.get(key)!r} requested"
        for key in sorted(set(existing_identity) | set(requested_identity))
        if existing_identity.get(key) != requested_identity.get(key)
    ]
    raise CacheError(
        f"{folder}: contains embeddings of fingerprint {existing[:16]}, not {requested[:16]}: "
        f"fingerprints must not mix. {'; '.join(differences)}"
    )


def not_writable_message(path: Path, error: OSError) -> str:
    """Return the message that something in a cache cannot be written, and what to do."""
    reason = (error.strerror or str(error)).lower()
    return f"{path}: cannot be written ({reason}). Choose another folder with --cache"
