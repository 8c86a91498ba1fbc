"""What a cache holds that nothing needs any more: unfinished files, embeddings of former cards."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from probekit import cards
from probekit.cache import embeddings, head, integrity, training_clips
from probekit.cache.embeddings import Embeddings
from probekit.cards.selector import HEAR, parse
from probekit.errors import CacheError, ProbekitError
from probekit.extractors import load
from probekit.extractors.load import Spec
from probekit.extractors.weights.source import INITIALIZATION
from probekit.utils import atomic
from probekit.utils.suggest import unknown_name_error

_OLD = 3600.0  # seconds after which a file that is not finished was given up
_GOING = ".removed-"  # begins the name of a folder that is being removed


@dataclass(frozen=True)
class GarbageItem:
    """Something that could be removed.

    Attributes
    ----------
    path : pathlib.Path
        A file, or the folder of one extractor's embeddings of one dataset.
    bytes : int
        What it takes.
    clips : int
        Clips whose embeddings are in it.
    reason : str
        Why it is of no use.
    """

    path: Path
    bytes: int
    clips: int
    reason: str


def find(cache: Path, names: Sequence[str] = ()) -> list[GarbageItem]:
    """Find what could be removed; nothing is changed.

    Imported embeddings, and those of extractors of which no card is found, are left alone unless
    they are named.

    Parameters
    ----------
    cache : pathlib.Path
        The cache's folder.
    names : sequence of str
        Embeddings that are not wanted any more, whatever the cards say: as after ``-e``.

    Returns
    -------
    list of Leftover
        Files first.

    Raises
    ------
    CacheError
        If the folder does not exist.
    ProbekitError
        If nothing has a name that was given.
    """
    if not cache.is_dir():
        raise CacheError(f"{cache}: no such folder; name the cache with --cache DIR")
    entries = embeddings.list_embeddings(cache)
    named: set[Path] = set()
    for text in names:
        chosen = parse(text)
        fitting = [
            entry.where
            for entry in entries
            if entry.layout.extractor == chosen.name and embeddings.matches(entry, chosen)
        ]
        if not fitting:
            raise unknown_name_error(
                "embedding in the cache", text, {e.layout.extractor for e in entries}
            )
        named.update(fitting)
    found = list(_files(cache))
    for entry in entries:
        reason = "named" if entry.where in named else why_outdated(entry)
        if reason:
            clips = _clips(entry)
            found.append(GarbageItem(entry.where, _size(entry.where), clips, reason))
    return found


def remove(leftover: GarbageItem) -> None:
    """Remove something; a folder at once, so that no half of it is ever taken for a cache.

    Parameters
    ----------
    leftover : Leftover
        From :func:`find`.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    if not leftover.path.is_dir():
        leftover.path.unlink(missing_ok=True)
        return
    going = leftover.path
    if not going.name.startswith(_GOING):
        home = going.parent
        going = home.with_name(f"{_GOING}{uuid.uuid4().hex[:8]}")
        leftover.path.rename(going)
        if {path.name for path in home.iterdir()} <= {head.NAME, training_clips.NAME}:
            for name in (head.NAME, training_clips.NAME):
                (home / name).unlink(missing_ok=True)
            home.rmdir()
    shutil.rmtree(going)


def why_outdated(entry: Embeddings) -> str:
    """Say why no card produces some embeddings any more.

    Parameters
    ----------
    entry : Embeddings
        Of a cache.

    Returns
    -------
    str
        What differs; empty where the present card makes the same ones, given the same weights, or
        where nothing can be said: no card has the name, or they were imported, or come from a
        module that would have to be run.
    """
    identity, name = entry.layout.identity, entry.layout.extractor
    if "imported" in identity or name == HEAR or name not in cards.card_paths("extractors"):
        return ""
    card = cards.load_extractor_card(name)
    given = {
        key: str(value).lower() if isinstance(value, bool) else str(value)
        for key, value in identity["params"].items()
    }
    try:
        params = load.parse_parameters(card, given)
    except ProbekitError as error:
        return str(error)
    spec = Spec(card, params, (card.default_stream,), identity["precision"], {})
    now = {**spec.identity, "weights": identity["weights"]}
    differ = [
        f"{key} {identity.get(key)!r} there, {now.get(key)!r} in the card"
        for key in sorted(set(now) | set(identity))
        if now.get(key) != identity.get(key)
    ]
    for role, text in identity["weights"].items():
        if text.startswith("random:") and not text.endswith(f"(initialization {INITIALIZATION})"):
            differ.append(f"{role} weights {text}; seeds give other weights now")
        elif role not in {key.partition("/")[0] for key in card.weights}:
            differ.append(f"{role} weights, which the card does not know")
    return "; ".join(differ)


def _files(cache: Path) -> Iterator[GarbageItem]:
    """Yield files that were never finished, and what was replaced or half removed."""
    for path in sorted(cache.rglob(f".*{atomic.TEMPORARY}")):
        reason = _is_abandoned(path)
        if reason:
            yield GarbageItem(path, path.stat().st_size, 0, reason)
    for path in sorted(cache.glob(f"*/*/{integrity.ASIDE}*")):
        if path.with_name(path.name.removeprefix(integrity.ASIDE)).exists():
            yield GarbageItem(path, path.stat().st_size, 0, "damaged, and replaced since")
    for path in sorted(cache.glob(f"{_GOING}*")):
        yield GarbageItem(path, _size(path), 0, "its removal did not end")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_abandoned(path: Path) -> str:
    """Say why an unfinished file will never be finished; empty if it may still be."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:  # finished meanwhile
        return ""
    process = atomic.temp_owner_pid(path)
    if process is not None and not _alive(process):
        return "unfinished; its process has ended"
    return f"unfinished for {age / 3600:.0f} h" if age > _OLD else ""


def _alive(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    if os.name == "nt":  # where signal 0 is no question, but Control-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _clips(entry: Embeddings) -> int:
    """Return how many clips an entry holds; 0 where its parts cannot be read."""
    try:
        return len(entry.clip_ids)
    except CacheError:
        return 0
