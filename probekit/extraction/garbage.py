"""Garbage in a cache: unfinished files, and embeddings that no card computes any more."""

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probekit import cards
from probekit.cache import embeddings, training_clips
from probekit.cache.embeddings import Embeddings
from probekit.cache.head import HEAD_FILE
from probekit.cache.integrity import QUARANTINE_PREFIX
from probekit.cache.texts import TEXTS_FILE
from probekit.cards.selector import HEAR, parse_selector
from probekit.errors import CacheError, ProbekitError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.weights.source import INITIALIZATION
from probekit.utils import atomic, locking
from probekit.utils.suggest import unknown_name_error

_MAX_AGE = 3600.0  # seconds after which an unfinished file counts as abandoned
_REMOVED_PREFIX = ".removed-"  # of the name of a folder that is being removed


@dataclass(frozen=True)
class GarbageItem:
    """Something that can be removed.

    Attributes
    ----------
    path : pathlib.Path
        A file, or the folder of one extractor's embeddings of one dataset.
    bytes : int
        Its size.
    clips : int
        Clips whose embeddings are in it.
    reason : str
        Why it is useless.
    """

    path: Path
    bytes: int
    clips: int
    reason: str


def find_garbage(cache: Path, names: Sequence[str] = ()) -> list[GarbageItem]:
    """Find what can be removed from a cache; nothing is changed.

    Imported embeddings, and those of extractors without a card, are left alone unless named.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    names : sequence of str
        Selectors of embeddings to remove, whatever the cards say.

    Returns
    -------
    list of GarbageItem
        Files first.

    Raises
    ------
    CacheError
        If the folder does not exist.
    ProbekitError
        If no embeddings match a name.
    """
    if not cache.is_dir():
        raise CacheError(f"{cache}: no such folder; name the cache with --cache DIR")
    entries = embeddings.list_embeddings(cache)
    named: set[Path] = set()
    for text in names:
        selector = parse_selector(text)
        fitting = [
            entry.folder
            for entry in entries
            if entry.layout.extractor == selector.name
            and embeddings.matches_selector(entry, selector)
        ]
        if not fitting:
            raise unknown_name_error(
                "embedding in the cache", text, {e.layout.extractor for e in entries}
            )
        named.update(fitting)
    items = list(_find_files(cache))
    for entry in entries:
        reason = "named" if entry.folder in named else why_outdated(entry)
        if reason:
            clips = _count_clips(entry)
            items.append(GarbageItem(entry.folder, _size(entry.folder), clips, reason))
    return items


def remove_garbage(item: GarbageItem) -> None:
    """Remove a file or folder; a folder is renamed first, so it is never half in the cache."""
    if not item.path.is_dir():
        item.path.unlink(missing_ok=True)
        return
    folder = item.path
    if not folder.name.startswith(_REMOVED_PREFIX):
        parent = folder.parent
        folder = parent.with_name(f"{_REMOVED_PREFIX}{uuid.uuid4().hex[:8]}")
        item.path.rename(folder)
        rest = (HEAD_FILE, TEXTS_FILE, training_clips.CLIPS_FILE, locking.NAME)
        if {path.name for path in parent.iterdir()} <= set(rest):
            for name in rest:
                (parent / name).unlink(missing_ok=True)
            parent.rmdir()
    shutil.rmtree(folder)


def why_outdated(entry: Embeddings) -> str:
    """Return why no card computes some embeddings any more.

    The reason is empty if the present card computes the same ones from the same weights, or if
    that is unknown: no card has the name, they were imported, or they come from a module that
    would have to be run.
    """
    identity, name = entry.layout.identity, entry.layout.extractor
    if "imported" in identity or name == HEAR or name not in cards.card_paths("extractors"):
        return ""
    card = cards.load_extractor_card(name)
    try:
        params = load.parse_parameters(card, entry.layout.params)
    except ProbekitError as error:
        return str(error)
    if embeddings.is_outdated(entry):
        return "the code that its card names has changed since"
    card = card.with_parameters(params)
    spec = Spec(card, params, (card.default_stream,), identity["precision"], {})
    current = {**spec.identity, "weights": identity["weights"]}
    if "module" in identity:  # a user's code, compared above
        current["module"] = identity["module"]
    differences = [
        f"{key} {identity.get(key)!r} in the cache, {current.get(key)!r} in the card"
        for key in sorted(set(current) | set(identity))
        if current.get(key) != identity.get(key)
    ]
    for role, text in identity["weights"].items():
        if text.startswith("random:") and not text.endswith(f"(initialization {INITIALIZATION})"):
            differences.append(f"{role} weights {text}; seeds give other weights now")
        elif role not in {key.partition("/")[0] for key in card.weights}:
            differences.append(f"{role} weights, which the card does not list")
    return "; ".join(differences)


def _find_files(cache: Path) -> Iterator[GarbageItem]:
    """Yield unfinished, replaced and half removed files and folders."""
    for path in sorted(cache.rglob(f".*{atomic.TEMPORARY}")):
        reason = _why_abandoned(path)
        if reason:
            yield GarbageItem(path, path.stat().st_size, 0, reason)
    for path in sorted(cache.glob(f"*/*/{QUARANTINE_PREFIX}*")):
        if path.with_name(path.name.removeprefix(QUARANTINE_PREFIX)).exists():
            yield GarbageItem(path, path.stat().st_size, 0, "damaged, and replaced since")
    for path in sorted(cache.glob(f"{_REMOVED_PREFIX}*")):
        yield GarbageItem(path, _size(path), 0, "its removal was interrupted")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _why_abandoned(path: Path) -> str:
    """Return why an unfinished file will never be finished; empty if it still may be."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished meanwhile
        return ""
    if atomic.owner_has_ended(path):
        return "unfinished; its process has ended"
    return f"unfinished for {age / 3600:.0f} h" if age > _MAX_AGE else ""


def _count_clips(entry: Embeddings) -> int:
    """Return the number of embedded clips; 0 if the parts cannot be read."""
    try:
        return len(entry.clip_ids)
    except CacheError:
        return 0
