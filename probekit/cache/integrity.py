"""Is a cache whole: every byte of every part, and every part that should be there."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from probekit.cache import head, layout, part
from probekit.cache import index as index_module
from probekit.cache.index import Index
from probekit.data.manifest import Manifest
from probekit.errors import CacheError

ASIDE = ".damaged-"  # begins the name of a part that was set aside to be replaced


def find_damaged(where: Path, tick: Callable[[], None] | None = None) -> dict[str, str]:
    """Read every byte of a folder's parts, and compare with their digests.

    Parameters
    ----------
    where : pathlib.Path
        A folder of a cache.
    tick : callable, optional
        Called after each part.

    Returns
    -------
    dict of str to str
        File names of parts that are damaged, or of another fingerprint, with what is wrong.

    Raises
    ------
    CacheError
        If the folder's ``dataset.json`` is missing or not readable.
    """
    settled = layout.load(where)
    found: dict[str, str] = {}
    for path in sorted(where.glob("part-*.h5")):
        fault = part.verify(path) or _belongs_elsewhere(path, settled)
        if fault is not None:
            found[path.name] = fault
        if tick:
            tick()
    return found


def find_damaged_head(folder: Path) -> str | None:
    """Check the network's own classifier that is kept beside embeddings.

    Parameters
    ----------
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.

    Returns
    -------
    str or None
        What is wrong; None if it can be read, or there is none.
    """
    try:
        head.load(folder)
    except CacheError as error:
        return str(error).removeprefix(f"{folder / head.NAME}: ")
    return None


def find_missing(
    where: Path, manifests: Sequence[Manifest], damaged: Collection[str]
) -> dict[str, list[str]]:
    """Return the parts to make anew, with the clips that belong in them.

    These are the damaged parts, and those that are gone: known to the kept index, or set aside by
    a repair that did not end, or expected by a kept manifest of which the other parts hold every
    clip. A manifest of which they do not is no evidence: only a few clips were asked for.

    Parameters
    ----------
    where : pathlib.Path
        A folder of a cache.
    manifests : sequence of Manifest
        The kept manifests of its clips, the newest first.
    damaged : collection of str
        From :func:`find_damaged`.

    Returns
    -------
    dict of str to list of str
        File name to clip ids, in order; no ids where nothing says which there were.
    """
    settled = layout.load(where)
    there = {path.name for path in where.glob("part-*.h5")}
    asides = {path.name.removeprefix(ASIDE) for path in where.glob(f"{ASIDE}part-*.h5")}
    names = [layout.part_name(k) for k in range(settled.buckets)]
    if not damaged and not asides - there and set(names) <= there:
        return {}
    old = index_module.load_saved(where)
    index = index_module.load(where, keep=False, without=damaged)
    sure: dict[str, set[str]] = {name: set() for name in {*damaged, *(asides - there)}}
    for name in old.parts:
        if name in sure or name not in there:
            held = old.table["clip_id"][old.table["part"] == name]
            sure.setdefault(name, set()).update(held)
    maybe: dict[str, set[str]] = {}
    told = {*(there - set(damaged)), *old.parts}  # parts of which it is known what they hold
    for clips in manifests:
        homes = _homes(clips, names)
        known = sure if _complete(homes, told, (index, old)) else maybe
        for name, own in homes.items():
            if name in sure or name not in there:
                known.setdefault(name, set()).update(own)
    return {name: sorted(ids or maybe.get(name, set())) for name, ids in sorted(sure.items())}


def _homes(clips: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """Return which clips belong in which part."""
    found: dict[str, list[str]] = {}
    for clip_id in clips.table["clip_id"]:
        found.setdefault(names[layout.bucket(clip_id, len(names))], []).append(clip_id)
    return found


def _complete(homes: dict[str, list[str]], told: Collection[str], indexes: Sequence[Index]) -> bool:
    """Tell whether parts hold, or held, all of the clips that belong in them."""
    expected = [clip_id for name, ids in homes.items() if name in told for clip_id in ids]
    return bool(np.any([index.find(expected) >= 0 for index in indexes], axis=0).all())


def _belongs_elsewhere(path: Path, settled: layout.Layout) -> str | None:
    """Say if a part belongs to another fingerprint than its folder."""
    with suppress(CacheError), part.open_part(path) as file:
        found = part.meta(file)
        if found["fingerprint"] != settled.fingerprint:
            return f"of fingerprint {found['fingerprint'][:16]}, not {settled.fingerprint[:16]}"
    return None
