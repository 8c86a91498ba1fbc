"""Where things lie in a cache, and which part a clip belongs to."""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probekit.errors import CacheError
from probekit.utils import atomic

NAME = "dataset.json"
_PART_BYTES = 256 << 20
_PART_CLIPS = (64, 1024)  # fewest and most clips of a part
_PARTS = 16  # how many parts a small dataset is cut into, so that little is lost by a kill


def root(given: str | Path | None = None) -> Path:
    """Return the cache's folder: the one given, else ``PROBEKIT_CACHE``, else ``./cache``."""
    return Path(given or os.environ.get("PROBEKIT_CACHE") or "cache")


def folder(cache: Path, extractor: str, fingerprint: str, dataset: str) -> Path:
    """Return the folder of one extractor's embeddings of one dataset.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    extractor : str
        The extractor's name.
    fingerprint : str
        Its first eight digits go into the folder's name.
    dataset : str
        Whose clips.

    Returns
    -------
    pathlib.Path
        It need not exist yet.

    Raises
    ------
    CacheError
        If a name is none that a folder can have.
    """
    home = f"{extractor}-{fingerprint[:8]}"
    for kind, name in (("extractor", home), ("dataset", dataset)):
        if not name.strip(". ") or any(c in name for c in "/\\\0"):
            raise CacheError(f"{kind} {name!r}: a name without slashes, such as 'my-clips'")
    return cache / home / dataset


def bucket(clip_id: str, buckets: int) -> int:
    """Return the number of the part that a clip belongs to, from its id alone."""
    first = hashlib.sha256(clip_id.encode()).digest()[:8]
    return int.from_bytes(first, "big") % buckets


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.h5"


def choose_buckets(clips: int, bytes_per_clip: float) -> int:
    """Return into how many parts to cut a dataset.

    Parameters
    ----------
    clips : int >= 1
        Clips of the whole dataset.
    bytes_per_clip : float > 0
        Stored size of one clip.

    Returns
    -------
    int >= 1
        So that parts hold at most about 256 MB and 1,024 clips, and small datasets have up to 16.
    """
    fewest, most = _PART_CLIPS
    share = max(fewest, min(most, math.ceil(clips / _PARTS), int(_PART_BYTES // bytes_per_clip)))
    return max(1, math.ceil(clips / share))


@dataclass(frozen=True)
class Layout:
    """What all parts of one folder share; written once, as ``dataset.json``.

    Attributes
    ----------
    extractor, fingerprint : str
        Which embeddings these are.
    identity : dict
        What the fingerprint covers.
    dataset : str
        Whose clips.
    buckets : int
        The number of parts.
    dtype : {"float32", "float16"}
        How numbers are stored.
    provenance : list of str
        What every result from these embeddings must show.
    """

    extractor: str
    fingerprint: str
    identity: dict[str, Any]
    dataset: str
    buckets: int
    dtype: str
    provenance: list[str]


def create_or_load_layout(where: Path, wanted: Layout) -> Layout:
    """Write a folder's layout if it is new, and return the one in force.

    Parameters
    ----------
    where : pathlib.Path
        From :func:`folder`; made if missing.
    wanted : Layout
        What this extraction would like.

    Returns
    -------
    Layout
        What the first extraction here settled.

    Raises
    ------
    CacheError
        If the folder holds embeddings of another fingerprint, or cannot be written.
    """
    content = json.dumps(asdict(wanted), indent=1, sort_keys=True).encode()
    try:
        where.mkdir(parents=True, exist_ok=True)
        atomic.create_exclusive(where / NAME, content)
    except OSError as error:
        raise CacheError(not_writable(where, error)) from error
    found = load(where)
    check_fingerprint(where, found.fingerprint, found.identity, wanted.fingerprint, wanted.identity)
    return found


def not_writable(path: Path, error: OSError) -> str:
    """Say that something in a cache cannot be written, and what to do."""
    reason = (error.strerror or str(error)).lower()
    return f"{path}: cannot be written ({reason}). Name another folder with --cache"


def load(where: Path) -> Layout:
    """Read a folder's layout.

    Parameters
    ----------
    where : pathlib.Path
        From :func:`folder`.

    Returns
    -------
    Layout
        As it was settled.

    Raises
    ------
    CacheError
        If ``dataset.json`` is missing or not readable.
    """
    path = where / NAME
    try:
        return Layout(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise CacheError(
            f"{path}: not the description of a cache ({error}). Move {where} out of the cache, or "
            "put the file back"
        ) from error


def check_fingerprint(
    where: Path, there: str, identity: dict[str, Any], own: str, wanted: dict[str, Any]
) -> None:
    """Raise if two fingerprints differ, naming both and what differs."""
    if there == own:
        return
    keys = sorted(set(identity) | set(wanted))
    differ = [
        f"{key}: {identity.get(key)!r} there, {wanted.get(key)!r} asked for"
        for key in keys
        if identity.get(key) != wanted.get(key)
    ]
    raise CacheError(
        f"{where}: holds embeddings of fingerprint {there[:16]}, not {own[:16]}: two fingerprints "
        f"never mix. {'; '.join(differ)}"
    )
