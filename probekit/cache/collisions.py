"""Identity of a user's data: a name in a cache stands for one set of recordings.

Names are given by folders and files, which can be called alike. What tells data apart are the
place that they were read from and their recordings; saved manifests and the cache know both.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache.index import recording_facts
from probekit.cache.layout import LAYOUT_FILE
from probekit.cache.manifests import all_paths, saved_name, saved_paths
from probekit.data.manifest import Manifest, dataset_name
from probekit.utils.hashing import sha256
from probekit.utils.text import slug

_MAX_HASHED = 1000  # recordings of equal size that are read
_MAX_LOOKED_UP = 20  # recordings of a former folder, to see whether it is still there
_RECORDING = ["clip_id", "path", "start", "end"]


@dataclass(frozen=True)
class _Saved:
    """A saved manifest, as far as it identifies recordings.

    Attributes
    ----------
    file : pathlib.Path
        The manifest.
    root, source : pathlib.Path or None
        Folder of its recordings; folder or table that it was read from.
    """

    file: Path
    root: Path | None
    source: Path | None

    @property
    def name(self) -> str:
        return saved_name(self.file)

    @property
    def location(self) -> Path | None:
        """Return the folder or table to name in messages."""
        return self.source or self.root

    def recordings(self) -> dict[str, tuple[str, float, float]]:
        """Return path, start and end by clip id; nothing if the file is damaged."""
        try:
            with pq.ParquetFile(self.file) as file:  # read_table imports pandas
                content = file.read(columns=_RECORDING)
        except (OSError, pa.ArrowInvalid):
            return {}
        return _by_clip(content)


def _by_clip(columns: pa.Table) -> dict[str, tuple[str, float, float]]:
    """Return path, start and end by clip id; infinite where there is none, to be compared."""
    ids, paths, *times = (columns[name].to_pylist() for name in _RECORDING)
    start, end = ([np.inf if t is None or np.isnan(t) else t for t in values] for values in times)
    return dict(zip(ids, zip(paths, start, end, strict=True), strict=True))


def find_collision(
    cache: Path, names: Iterable[str], manifest: Manifest, exclusive: bool = False
) -> str | None:
    """Compare a manifest's recordings with those that saved manifests have under the same name.

    Recordings of the same clip ids are compared; the newest saved manifests count first. A file at
    the same path may have been edited: that is no collision. Within one folder, a manifest that
    names other files for less than half of its clips is one that was corrected. Where the former
    folder is gone, recordings are compared with what was embedded: if most are the same, it was
    moved. Of recordings of equal size, at most 1,000 are read.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    names : iterable of str
        Of the dataset and its task, as their manifests are saved.
    manifest : Manifest
        The clips to be extracted or evaluated under that name.
    exclusive : bool
        Whether it is a collision, too, if none of the clips of the other folder or table is in this
        one: of a user's data, but not of built-in datasets, of which everybody may have a part.

    Returns
    -------
    str or None
        A message that names the two sets of recordings; None if there is no conflict.
    """
    if manifest.root is None:
        return None
    names = set(names)
    paths = {clip_id: path for clip_id, (path, *_) in _by_clip(manifest.columns).items() if path}
    total, rival = len(paths), None
    for saved in _saved_manifests(saved_paths(cache, names)):
        if saved.root is None or not total:
            continue
        same_root = _is_same_location(saved.root, manifest.root)
        former = {clip_id: path for clip_id, (path, *_) in saved.recordings().items()}
        shared = [clip_id for clip_id in former if clip_id in paths]
        if same_root:
            exclusive = False  # the name is this folder's already
        if not shared:
            rival = rival or (None if same_root or not any(former.values()) else saved)
            continue
        exclusive = False
        new, old = ({clip_id: table[clip_id] for clip_id in shared} for table in (paths, former))
        differ = _differ(manifest.root, new.values(), saved.root, old.values(), same_root)
        if not same_root and not _any_exists(saved.root, old.values()):
            differ = _differ_from_cache(cache, names, manifest.root, new)
            same_root = True  # it was moved, unless most recordings are others
        collides = 2 * differ.sum() > len(differ) if same_root else differ.any()
        if collides:
            clip_id = shared[int(np.flatnonzero(differ)[0])]
            return (
                f"{cache}: the name {saved.name!r} belongs to other recordings: clip "
                f"{clip_id!r} was {saved.root / old[clip_id]}, now it is "
                f"{manifest.root.absolute() / new[clip_id]} ({differ.sum():,} of {len(differ):,} "
                "clips differ)"
            )
        paths = {clip_id: path for clip_id, path in paths.items() if clip_id not in former}
    if exclusive and rival is not None:
        return (
            f"{cache}: the name {rival.name!r} belongs to other recordings: those of "
            f"{rival.location}, of which none is in {(manifest.source or manifest.root).absolute()}"
        )
    return None


def find_saved_name(cache: Path, source: Path) -> str:
    """Return the name under which a folder or table was extracted into a cache; empty if none.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    source : pathlib.Path
        The folder or the table.

    Returns
    -------
    str
        That of its own name if it has several, else the newest.
    """
    stem = source.resolve().name if source.is_dir() else source.stem
    default = dataset_name(stem)
    names = []
    for saved in _saved_manifests(all_paths(cache)):
        if saved.source is not None:
            matches = _is_same_location(saved.source, source)
        else:  # saved before sources were: under the name that the folder or table had then
            folder = source if source.is_dir() else source.parent
            matches = (
                saved.name in (default, slug(stem))
                and saved.root is not None
                and _is_same_location(saved.root, folder)
            )
        if matches:
            names.append((saved.name != default, -saved.file.stat().st_mtime_ns, saved.name))
    return min(names)[2] if names else ""


def find_rival(cache: Path, name: str) -> str | None:
    """Return a message if a name stands for several sets of recordings in a cache, else None.

    Earlier versions of probekit allowed this, as long as no clip id was the same.
    """
    newest: tuple[_Saved, set[str]] | None = None
    for saved in _saved_manifests(saved_paths(cache, [name])):
        if saved.root is None:
            continue
        ids = set(saved.recordings())
        if newest is None:
            newest = saved, ids
            continue
        first, first_ids = newest
        assert first.root is not None
        if not _is_same_location(first.root, saved.root) and not first_ids & ids:
            return (
                f"{cache}: the name {name!r} stands for two sets of recordings: those of "
                f"{first.location} and those of {saved.location}. Give the folder or table itself "
                f"as the task, or delete {saved.file} if the latter is not needed"
            )
    return None


def find_dataset(cache: Path, clips: Manifest) -> str:
    """Return the dataset of a cache that holds a user's clips.

    That is the one of their own name, or if there are no embeddings under it, one with the same
    recordings under the same clip ids: another table of them need not be extracted again.
    """
    if _has_embeddings(cache, clips.name) or clips.root is None:
        return clips.name
    requested = _absolute(clips.root, _by_clip(clips.columns))
    if not all(clips.columns["path"].to_pylist()):
        return clips.name
    for saved in _saved_manifests(sorted(all_paths(cache))):
        if saved.root is None or not _has_embeddings(cache, saved.name):
            continue
        if pq.read_metadata(saved.file).num_rows < len(requested):
            continue
        recordings = _absolute(saved.root, saved.recordings())
        if requested.items() <= recordings.items():
            return saved.name
    return clips.name


def _has_embeddings(cache: Path, dataset: str) -> bool:
    return any(cache.glob(f"*/{dataset}/{LAYOUT_FILE}"))


def _absolute(
    root: Path, recordings: dict[str, tuple[str, float, float]]
) -> dict[str, tuple[str, float, float]]:
    """Return recordings with absolute paths."""
    prefix = f"{os.path.realpath(root)}/"
    return {
        clip_id: (prefix + path, start, end) for clip_id, (path, start, end) in recordings.items()
    }


def _saved_manifests(files: Iterable[Path]) -> Iterator[_Saved]:
    """Yield the saved manifests that can be read."""
    for file in files:
        try:
            facts = json.loads((pq.read_schema(file).metadata or {})[b"probekit"])
            root, source = facts["root"], facts.get("source")
        except (OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError):
            continue
        yield _Saved(file, Path(root) if root else None, Path(source) if source else None)


def _is_same_location(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _differ_from_cache(
    cache: Path, names: Iterable[str], root: Path, paths: dict[str, str]
) -> npt.NDArray[np.bool_]:
    """Return which recordings exist and are not those that were embedded."""
    facts: dict[Any, tuple[int, int, str]] = {}
    for name in names:
        table = recording_facts(cache, name)
        facts |= dict(zip(table.index, table.itertuples(index=False), strict=True))
    differ = np.zeros(len(paths), bool)
    unsure = []
    for k, (clip_id, path) in enumerate(paths.items()):
        if clip_id not in facts:
            continue
        try:
            stat = (root / path).stat()
        except OSError:
            continue
        size, mtime, digest = facts[clip_id]
        differ[k] = stat.st_size != size
        if stat.st_size == size and stat.st_mtime_ns != mtime:
            unsure.append((k, root / path, digest))
    for k, file, expected in _spread(unsure):
        differ[k] = sha256(file) != expected
    return differ


def _any_exists(root: Path, paths: Iterable[str]) -> bool:
    """Return whether some recordings of a folder are still there."""
    return any((root / path).exists() for path in _spread(list(paths), _MAX_LOOKED_UP))


def _spread(items: list[Any], most: int = _MAX_HASHED) -> list[Any]:
    """Return at most so many items, spread evenly."""
    positions = np.linspace(0, len(items) - 1, min(most, len(items)))
    return [items[k] for k in np.unique(positions.astype(int))]


def _differ(
    new_root: Path,
    new: Iterable[str],
    old_root: Path,
    old: Iterable[str],
    same_root: bool,
) -> npt.NDArray[np.bool_]:
    """Return which recordings exist in both folders and are not the same."""
    pairs = list(zip(new, old, strict=True))
    unique = {pair for pair in pairs if not (same_root and pair[0] == pair[1])}
    differ = {(a, b): _differ_by_stat(new_root / a, old_root / b) for a, b in unique}
    for pair in _spread(sorted(pair for pair, answer in differ.items() if answer is None)):
        differ[pair] = sha256(new_root / pair[0]) != sha256(old_root / pair[1])
    return np.array([bool(differ.get(pair)) for pair in pairs], bool)


def _differ_by_stat(first: Path, second: Path) -> bool | None:
    """Return whether two files differ; None if that takes reading them."""
    try:
        a, b = first.stat(), second.stat()
    except OSError:  # one of them was moved
        return False
    if a.st_size != b.st_size:
        return True
    return False if a.st_mtime_ns == b.st_mtime_ns else None
