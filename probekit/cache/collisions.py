"""A dataset's name stands for one set of recordings in a cache, whoever uses it next."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.data.manifest import Manifest
from probekit.utils.hashing import sha256

_PLACE = ["clip_id", "path"]
_HASHED = 1000
Flags = npt.NDArray[np.bool_]


def find_collision(cache: Path, names: Iterable[str], clips: Manifest) -> str | None:
    """Say whether the clips' recordings are others than those that the cache knows by their ids.

    Ids are compared with the clip tables that were kept, the newest first. A recording that is
    gone from where it was has moved, and one at the same place may have changed: neither is
    another. Within one folder, a table that names other files for less than half of its clips is
    a table that was corrected. Of recordings of equal size, a thousand at most are read.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    names : iterable of str
        Of the dataset and its task, as their clip tables are kept.
    clips : Manifest
        The clips to be extracted or evaluated under that name.

    Returns
    -------
    str or None
        What is known by the name, and what is not the same; None where nothing speaks against it.
    """
    if clips.root is None:
        return None
    wanted = set(names)
    found = [path for path in (cache / "manifests").glob("*.parquet") if path.stem[:-13] in wanted]
    open_ = pd.Series(clips.table["path"].to_numpy(object), index=clips.table["clip_id"])
    open_ = open_[open_ != ""]  # clips that no kept table has spoken of yet
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        known, root = _places(path)
        shared = known.index.intersection(open_.index)
        if root is None or not len(shared):
            continue
        here, there = open_[shared], known[shared]
        at_home = os.path.abspath(root) == os.path.abspath(clips.root)  # noqa: PTH100
        other = _differ(clips.root, here, root, there, at_home)
        if 2 * other.sum() > len(other) if at_home else other.any():
            k = int(np.flatnonzero(other)[0])
            return (
                f"the cache {cache} knows {path.stem[:-13]!r} as other recordings: clip "
                f"{shared[k]!r} there is {root / there.iloc[k]}, here it is "
                f"{clips.root.absolute() / here.iloc[k]} ({other.sum():,} of {len(other):,} clips "
                "differ)"
            )
        open_ = open_.drop(shared)
    return None


def _places(path: Path) -> tuple["pd.Series[str]", Path | None]:
    """Return the path of each clip in a kept table, and their root; nothing if it is damaged."""
    try:
        content = pq.read_table(path, columns=_PLACE)
        root = json.loads((content.schema.metadata or {})[b"probekit"])["root"]
    except (OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError):
        return pd.Series(dtype=object), None
    ids, paths = (content[name].to_pandas().to_numpy(object) for name in _PLACE)
    return pd.Series(paths, index=ids), Path(root) if root else None


def _differ(
    root: Path, here: "pd.Series[str]", before: Path, there: "pd.Series[str]", at_home: bool
) -> Flags:
    """Tell which recordings are there in both places and are not the same."""
    pairs = list(zip(here, there, strict=True))
    own = {pair for pair in pairs if not (at_home and pair[0] == pair[1])}  # many clips may be one
    said = {pair: _sizes_or_times(root / pair[0], before / pair[1]) for pair in own}
    alike = sorted(pair for pair, other in said.items() if other is None)
    for k in np.unique(np.linspace(0, len(alike) - 1, min(_HASHED, len(alike))).astype(int)):
        first, second = alike[k]
        said[alike[k]] = sha256(root / first) != sha256(before / second)
    return np.array([bool(said.get(pair)) for pair in pairs], bool)


def _sizes_or_times(one: Path, two: Path) -> bool | None:
    """Tell whether two files differ; None where only their bytes can tell."""
    try:
        a, b = one.stat(), two.stat()
    except OSError:  # one of them is gone
        return False
    if a.st_size != b.st_size:
        return True
    return False if a.st_mtime_ns == b.st_mtime_ns else None
