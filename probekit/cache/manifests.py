"""Manifests kept in a cache, so that evaluating needs no audio and no dataset folder."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from probekit.cache import layout
from probekit.data import manifest as manifests
from probekit.data.manifest import Manifest
from probekit.errors import CacheError, DataError
from probekit.utils import atomic


def save_manifest(cache: Path, clips: Manifest) -> Path:
    """Keep a manifest as ``manifests/<name>-<hash>.parquet``.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    clips : Manifest
        What to keep; one with the same content is kept once.

    Returns
    -------
    pathlib.Path
        The file; its time of change is now, so that the newest is the one used last.

    Raises
    ------
    CacheError
        If it cannot be written.
    """
    path = cache / "manifests" / f"{clips.name}-{clips.digest()[:12]}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.atomic_write(path, clips.write)
    except OSError as error:
        raise CacheError(layout.not_writable(path, error)) from error
    return path


def latest_manifest(cache: Path, name: str) -> Manifest | None:
    """Return the manifest of a task or dataset that was kept last, or None.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    name : str
        Of the task or dataset.

    Returns
    -------
    Manifest or None
        As it was kept.
    """
    found = [
        path for path in (cache / "manifests").glob(f"{name}-*.parquet") if path.stem[:-13] == name
    ]
    if not found:
        return None
    return manifests.read(max(found, key=lambda path: path.stat().st_mtime_ns))


def all_manifests(cache: Path, names: Iterable[str]) -> list[Manifest]:
    """Return all manifests of some names that were kept, the newest first.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    names : iterable of str
        Of tasks or datasets.

    Returns
    -------
    list of Manifest
        Those that can be read.
    """
    wanted = set(names)
    found = [path for path in (cache / "manifests").glob("*.parquet") if path.stem[:-13] in wanted]
    kept = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        with suppress(DataError):
            kept.append(manifests.read(path))
    return kept


def readable(path: Path) -> bool:
    """Tell whether a kept manifest can be read.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    bool
        False if it is damaged.
    """
    try:
        manifests.read(path)
    except DataError:
        return False
    return True


def names(cache: Path) -> list[str]:
    """Return the names of all kept manifests."""
    return sorted({path.stem[:-13] for path in (cache / "manifests").glob("*.parquet")})
