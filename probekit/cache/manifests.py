"""Manifests saved in a cache, so that evaluating needs no audio and no dataset folder."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from probekit.cache.layout import not_writable_message
from probekit.data import manifest as manifest_files
from probekit.data.manifest import Manifest
from probekit.errors import CacheError, DataError
from probekit.utils import atomic


def save_manifest(cache: Path, manifest: Manifest) -> Path:
    """Save a manifest as ``manifests/<name>-<hash>.parquet`` and return the file.

    A manifest with the same content is stored once; its file becomes the newest.

    Raises
    ------
    CacheError
        If it cannot be written.
    """
    path = cache / "manifests" / f"{manifest.name}-{manifest.digest()[:12]}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.atomic_write(path, manifest.write)
    except OSError as error:
        raise CacheError(not_writable_message(path, error)) from error
    return path


def restore_manifest(cache: Path, name: str, content: bytes, mtime: int) -> None:
    """Write the file of a saved manifest with its time, unless a newer one is there.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    name : str
        Name of the file.
    content : bytes
        Of the file.
    mtime : int
        Time of its last change in nanoseconds: the newest manifest of a name is the one in use.

    Raises
    ------
    CacheError
        If it cannot be written.
    """
    path = cache / "manifests" / name

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        os.utime(temporary, ns=(mtime, mtime))

    if path.exists() and path.stat().st_mtime_ns >= mtime:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.atomic_write(path, write)
    except OSError as error:
        raise CacheError(not_writable_message(path, error)) from error


def saved_paths(cache: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the saved manifests of some tasks or datasets, the newest first."""
    requested = set(names)
    paths = [path for path in all_paths(cache) if saved_name(path) in requested]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def saved_name(path: Path) -> str:
    """Return the name of the task or dataset of a saved manifest's file."""
    return path.stem[:-13]


def latest_manifest(cache: Path, name: str) -> Manifest | None:
    """Return the manifest of a task or dataset that was saved last, or None."""
    paths = saved_paths(cache, [name])
    return manifest_files.read_manifest(paths[0]) if paths else None


def all_manifests(cache: Path, names: Iterable[str]) -> list[Manifest]:
    """Return the saved manifests of some tasks or datasets that can be read, the newest first."""
    manifests = []
    for path in saved_paths(cache, names):
        with suppress(DataError):
            manifests.append(manifest_files.read_manifest(path))
    return manifests


def is_readable(path: Path) -> bool:
    """Return whether a saved manifest can be read; False if it is damaged."""
    try:
        manifest_files.read_manifest(path)
    except DataError:
        return False
    return True


def saved_names(cache: Path) -> list[str]:
    """Return the names of all saved manifests, sorted."""
    return sorted({saved_name(path) for path in all_paths(cache)})


def all_paths(cache: Path) -> Iterable[Path]:
    """Return the files of all saved manifests."""
    return (cache / "manifests").glob("*.parquet")
