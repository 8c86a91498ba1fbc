"""Which clips are in the cache already, from the very recordings that are here now.

For millions of clips: tables are compared as columns, and each recording is looked at once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache.index import Index
from probekit.manifest import Manifest

Hash = Callable[[Path, int, int], str]
Numbers = npt.NDArray[np.int64]
_GONE = -2  # size of a recording that is not there; -1 is what the cache keeps where it was not


def find(
    clips: Manifest, index: Index, lacking: set[str], digest: Hash, *, verify_audio: bool = False
) -> Numbers:
    """Return where the clips stand in a cache's index, as far as they need not be embedded.

    Parameters
    ----------
    clips : Manifest
        The clips wanted.
    index : Index
        Of the parts that there are.
    lacking : set of str
        Parts that do not hold all that is wanted, and count for nothing.
    digest : callable
        Returns the SHA-256 of a recording, given path, size and time of change.
    verify_audio : bool
        Whether recordings are compared by hash even where size and time of change agree.

    Returns
    -------
    numpy.ndarray, shape (clips,)
        Numbers of rows of ``index.table``: of embeddings, or of failures that would fail again;
        -1 for clips that are not there, of another stretch, or of a recording that changed.
    """
    found = index.find(clips.table["clip_id"])
    if not (found >= 0).any():
        return found
    own = np.flatnonzero(found >= 0)  # what is compared; shrinks
    codes, names = index.homes
    whole = np.array([name not in lacking for name in names], bool)
    own = own[whole[codes[found[own]]]]
    for name in ("start", "end"):
        wanted, kept = clips.table[name].to_numpy()[own], index.table[name].to_numpy()[found[own]]
        own = own[(wanted == kept) | (np.isnan(wanted) & np.isnan(kept))]
    same = np.zeros(len(found), bool)
    same[own] = _same(clips, index, own, found[own], digest, verify_audio)
    return np.where(same, found, -1)


def _same(
    clips: Manifest, index: Index, own: Numbers, rows: Numbers, digest: Hash, verify_audio: bool
) -> npt.NDArray[np.bool_]:
    """Tell which clips come from recordings as they are now; those that are gone count as same."""
    paths = clips.table["path"].to_numpy(object)[own]
    root = clips.root or Path()
    size_now, mtime_now = _facts(root, paths)
    size, mtime = (index.table[name].to_numpy()[rows] for name in ("size", "mtime"))
    failed = index.failed[rows]
    gone, unknown = size_now == _GONE, size < 0
    # what was computed stays without its recording, and a failure stays a failure; a recording
    # that was not there and now is may be tried
    same = np.where(gone, ~failed | unknown, unknown & ~failed)
    compared = ~gone & ~unknown & (size == size_now)
    if not verify_audio:
        equal = compared & (mtime == mtime_now)
        same |= equal
        compared &= ~equal
    hashes = index.table["sha256"]
    for k in np.flatnonzero(compared):
        kept = hashes.iloc[rows[k]]
        try:
            same[k] = bool(kept) and kept == digest(
                root / paths[k], int(size_now[k]), int(mtime_now[k])
            )
        except OSError:
            same[k] = not failed[k]
    return same


def _facts(root: Path, paths: npt.NDArray[Any]) -> tuple[Numbers, Numbers]:
    """Return size and time of change of recordings, each looked at once."""
    size, mtime = np.full(len(paths), _GONE, np.int64), np.zeros(len(paths), np.int64)
    before = str(root) + os.sep
    last, known = None, (_GONE, 0)  # clips of one recording mostly stand together
    for k, path in enumerate(paths):
        if path != last:
            try:
                stat = os.stat(before + path)  # noqa: PTH116 - a Path costs more than the look
                known = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                known = (_GONE, 0)
            last = path
        size[k], mtime[k] = known
    return size, mtime
