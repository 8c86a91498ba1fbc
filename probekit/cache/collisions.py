"""Collisions: a dataset's name and clip ids stand for one set of recordings in a cache."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache.manifests import saved_name, saved_paths
from probekit.data.manifest import Manifest
from probekit.utils.hashing import sha256

_COLUMNS = ["clip_id", "path"]
_MAX_HASHED = 1000  # pairs of recordings of equal size that are read


def find_collision(cache: Path, names: Iterable[str], manifest: Manifest) -> str | None:
    """Compare a manifest's recordings with those that saved manifests have under the same ids.

    The newest saved manifests count first. A recording that is not in its former folder was moved,
    and a file at the same path may have been edited: neither is a collision. Within one folder, a
    manifest that names other files for less than half of its clips is one that was corrected. Of
    recordings of equal size, at most 1,000 are read.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    names : iterable of str
        Of the dataset and its task, as their manifests are saved.
    manifest : Manifest
        The clips to be extracted or evaluated under that name.

    Returns
    -------
    str or None
        A message that names the two sets of recordings; None if there is no conflict.
    """
    if manifest.root is None:
        return None
    paths = pd.Series(manifest.table["path"].to_numpy(object), index=manifest.table["clip_id"])
    paths = paths[paths != ""]  # those not compared yet
    for file in saved_paths(cache, names):
        saved, root = _read_paths(file)
        shared = saved.index.intersection(paths.index)
        if root is None or not len(shared):
            continue
        new, old = paths[shared], saved[shared]
        same_root = os.path.abspath(root) == os.path.abspath(manifest.root)  # noqa: PTH100
        differ = _differ(manifest.root, new, root, old, same_root)
        if 2 * differ.sum() > len(differ) if same_root else differ.any():
            k = int(np.flatnonzero(differ)[0])
            return (
                f"{cache}: the name {saved_name(file)!r} belongs to other recordings: clip "
                f"{shared[k]!r} was {root / old.iloc[k]}, now it is "
                f"{manifest.root.absolute() / new.iloc[k]} ({differ.sum():,} of {len(differ):,} "
                "clips differ)"
            )
        paths = paths.drop(shared)
    return None


def _read_paths(file: Path) -> tuple["pd.Series[str]", Path | None]:
    """Return each clip's path in a saved manifest, and their root; nothing if it is damaged."""
    try:
        content = pq.read_table(file, columns=_COLUMNS)
        root = json.loads((content.schema.metadata or {})[b"probekit"])["root"]
    except (OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError):
        return pd.Series(dtype=object), None
    ids, paths = (content[name].to_pandas().to_numpy(object) for name in _COLUMNS)
    return pd.Series(paths, index=ids), Path(root) if root else None


def _differ(
    new_root: Path,
    new: "pd.Series[str]",
    old_root: Path,
    old: "pd.Series[str]",
    same_root: bool,
) -> npt.NDArray[np.bool_]:
    """Return which recordings exist in both folders and are not the same."""
    pairs = list(zip(new, old, strict=True))
    unique = {pair for pair in pairs if not (same_root and pair[0] == pair[1])}
    differ = {(a, b): _differ_by_stat(new_root / a, old_root / b) for a, b in unique}
    unsure = sorted(pair for pair, answer in differ.items() if answer is None)
    for k in np.unique(np.linspace(0, len(unsure) - 1, min(_MAX_HASHED, len(unsure))).astype(int)):
        first, second = unsure[k]
        differ[unsure[k]] = sha256(new_root / first) != sha256(old_root / second)
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
