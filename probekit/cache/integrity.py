"""Integrity checks of a cache: damaged or missing parts, and dimensions that are not the card's."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from probekit.cache import part
from probekit.cache.head import HEAD_FILE, load_head
from probekit.cache.index import Index, load_index, load_saved_index
from probekit.cache.layout import Layout, assign_bucket, load_layout, part_name
from probekit.cards import ExtractorCard
from probekit.data.manifest import Manifest
from probekit.errors import CacheError, CardError

QUARANTINE_PREFIX = ".damaged-"  # of the name of a part that waits for its replacement


def find_damaged(folder: Path, tick: Callable[[], None] | None = None) -> dict[str, str]:
    """Read every byte of a folder's parts, and compare with their digests.

    Parameters
    ----------
    folder : pathlib.Path
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
    layout = load_layout(folder)
    faults: dict[str, str] = {}
    for path in sorted(folder.glob("part-*.h5")):
        fault = part.verify_part(path) or _belongs_elsewhere(path, layout)
        if fault is not None:
            faults[path.name] = fault
        if tick:
            tick()
    return faults


def check_undamaged(
    folder: Path, tick: Callable[[], None] | None = None, hint: str = part.REPAIR_HINT
) -> None:
    """Raise a CacheError that names the first damaged part of a folder; see `find_damaged`."""
    for name, fault in find_damaged(folder, tick).items():
        raise CacheError(f"{folder / name}: {fault}. {hint}")


def find_damaged_head(folder: Path) -> str | None:
    """Return what is wrong with the ``head.h5`` of ``<extractor>-<fingerprint>``, if anything."""
    try:
        head = load_head(folder)
    except CacheError as error:
        return str(error).removeprefix(f"{folder / HEAD_FILE}: ")
    if head is not None and head.pooling == "attention" and head.attention is None:
        return "has no weights of the attention, since an earlier version wrote it"
    return None


def find_missing(
    folder: Path, manifests: Sequence[Manifest], damaged: Collection[str]
) -> dict[str, list[str]]:
    """Return the parts to compute again, with the clips that belong in them.

    These are the damaged parts, and the missing ones: recorded in the saved index, or quarantined
    by a repair that was interrupted, or expected by a saved manifest of which the other parts hold
    every clip. A manifest of which they do not is no evidence: the extraction may have been limited
    to a few clips.

    Parameters
    ----------
    folder : pathlib.Path
        A folder of a cache.
    manifests : sequence of Manifest
        The saved manifests of its clips, the newest first.
    damaged : collection of str
        From :func:`find_damaged`.

    Returns
    -------
    dict of str to list of str
        File name to sorted clip ids; no ids if nothing tells which they were.
    """
    layout = load_layout(folder)
    present = {path.name for path in folder.glob("part-*.h5")}
    quarantined = {
        path.name.removeprefix(QUARANTINE_PREFIX)
        for path in folder.glob(f"{QUARANTINE_PREFIX}part-*.h5")
    }
    names = [part_name(k) for k in range(layout.buckets)]
    if not damaged and not quarantined - present and set(names) <= present:
        return {}
    saved = load_saved_index(folder)
    index = load_index(folder, save=False, skip=damaged)
    certain: dict[str, set[str]] = {name: set() for name in {*damaged, *(quarantined - present)}}
    for name in saved.parts:
        if name in certain or name not in present:
            ids = saved.table["clip_id"][saved.table["part"] == name]
            certain.setdefault(name, set()).update(ids)
    possible: dict[str, set[str]] = {}
    indexed = {*(present - set(damaged)), *saved.parts}  # parts with known clips
    for manifest in manifests:
        groups = _group_by_part(manifest, names)
        target = certain if _is_complete(groups, indexed, (index, saved)) else possible
        for name, members in groups.items():
            if name in certain or name not in present:
                target.setdefault(name, set()).update(members)
    return {name: sorted(ids or possible.get(name, set())) for name, ids in sorted(certain.items())}


def _group_by_part(manifest: Manifest, names: Sequence[str]) -> dict[str, list[str]]:
    """Return which clips belong in which part."""
    groups: dict[str, list[str]] = {}
    for clip_id in manifest.table["clip_id"]:
        groups.setdefault(names[assign_bucket(clip_id, len(names))], []).append(clip_id)
    return groups


def _is_complete(
    groups: dict[str, list[str]], indexed: Collection[str], indexes: Sequence[Index]
) -> bool:
    """Return whether the indexed parts hold, or held, all of the clips that belong in them."""
    expected = [clip_id for name, ids in groups.items() if name in indexed for clip_id in ids]
    return bool(np.any([index.find(expected) >= 0 for index in indexes], axis=0).all())


def _belongs_elsewhere(path: Path, layout: Layout) -> str | None:
    """Return a message if a part has another fingerprint than its folder."""
    with suppress(CacheError), part.open_part(path) as file:
        fingerprint = part.read_meta(file)["fingerprint"]
        if fingerprint != layout.fingerprint:
            return f"of fingerprint {fingerprint[:16]}, not {layout.fingerprint[:16]}"
    return None


def check_dims(folder: Path, card: ExtractorCard, index: Index) -> None:
    """Raise a CardError if a card has other dimensions than embeddings that it describes.

    An extractor may change them by its parameters: the card is compared with that of a part, for
    the streams that the part holds. Which parts are damaged is for those who read them.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the embeddings.
    card : ExtractorCard
        As it is now, of the same version.
    index : Index
        Of the folder.
    """
    name = next((n for n, facts in index.parts.items() if any(facts["streams"].values())), "")
    if not name:
        return
    try:
        with part.open_part(folder / name) as file:
            before = part.read_meta(file)["card"].get("streams", {})
    except CacheError:
        return
    for stream in index.parts[name]["streams"]:
        current = card.streams.get(stream)
        if current and stream in before and before[stream]["dim"] != current.dim:
            raise CardError(
                f"{folder}: vectors of stream {stream!r} have dim {before[stream]['dim']}, the "
                f"card of {card.name} says dim {current.dim}. Correct the card; if the network has "
                "changed, raise its version and extract again"
            )
