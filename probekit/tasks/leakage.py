"""Leakage between splits: groups, and identical recordings, that are in several of them."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.tasks import splits, validation
from probekit.tasks.task import Task
from probekit.utils.hashing import sha256
from probekit.utils.text import summarize_ids

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Leak:
    """Clips that belong together and are in several splits (or folds).

    Attributes
    ----------
    what : str
        The group's name; of identical recordings the first digits of their hash.
    sides : dict of str to list of str
        Split or fold to the ids of its clips.
    named : bool
        Whether the task's card names it.
    """

    what: str
    sides: dict[str, list[str]]
    named: bool = False


def find_shared_groups(task: Task, clips: Manifest) -> list[Leak]:
    """Return the groups (artists, recordings) that are in several splits, by name.

    Parameters
    ----------
    task : Task
        The task.
    clips : Manifest
        All its clips.

    Returns
    -------
    list of Leak
        Empty where no group is divided.

    Raises
    ------
    DataError
        If the clips have no groups, or no split or folds can be made of them.
    """
    groups = clips.column("group")
    if not (groups != "").any():
        raise DataError(
            f"{task.name}: its clips have no groups, so none can be in two splits. --identical "
            "compares the recordings themselves"
        )
    return _find_leaks(task, clips, list(groups))


def find_duplicates(task: Task, clips: Manifest, progress: Progress | None = None) -> list[Leak]:
    """Return the recordings that are in several splits, byte for byte the same, by hash.

    Parameters
    ----------
    task : Task
        The task.
    clips : Manifest
        All its clips, with their root; every recording is read. Segments of one recording are
        the same only if they begin and end at the same times.
    progress : callable, optional
        Called with the numbers of recordings read and of all recordings.

    Returns
    -------
    list of Leak
        Empty where there are none.

    Raises
    ------
    DataError
        If recordings are missing, or no split or folds can be made of the clips.
    """
    missing = validation.missing_recordings(clips)
    if missing:
        raise DataError(
            f"{clips.root}: {len(missing):,} recordings are missing: {summarize_ids(missing)}. See "
            f"'probekit data check {task.name}'"
        )
    assert clips.root is not None
    paths = list(dict.fromkeys(clips.table["path"]))
    hashes = {}
    with ThreadPoolExecutor(resources.cpu_count()) as pool:
        digests = pool.map(sha256, [clips.root / path for path in paths])
        for done, (path, digest) in enumerate(zip(paths, digests, strict=True), 1):
            hashes[path] = digest
            if progress:
                progress(done, len(paths))
    columns = (clips.table[name] for name in ("path", "start", "end"))
    keys = [
        hashes[path][:16] + ("" if np.isnan(start) and np.isnan(end) else f" {start:g}-{end:g} s")
        for path, start, end in zip(*columns, strict=True)
    ]
    return _find_leaks(task, clips, keys)


def _find_leaks(task: Task, clips: Manifest, keys: list[str]) -> list[Leak]:
    """Return the keys (empty ones left out) whose clips are in more than one split."""
    assignments = splits.split_assignments(task.card.protocol, clips)
    table = pd.DataFrame({"key": keys, "split": assignments, "clip": clips.clip_ids})
    table = table[(table["key"] != "") & (table["split"] != "")]
    counts = table.groupby("key")["split"].nunique()
    table = table[table["key"].isin(counts[counts > 1].index)]
    leaks = []
    for key, rows in table.groupby("key"):
        ids = {
            name: list(rows.loc[rows["split"] == name, "clip"])
            for name in splits.sort_splits(rows["split"])
        }
        leaks.append(Leak(str(key), ids, _is_named(str(key), task.card.notes)))
    return leaks


def _is_named(group: str, notes: Iterable[str]) -> bool:
    """Tell whether a note of the card names a group as a word."""
    return any(re.search(rf"(?<!\w){re.escape(group)}(?!\w)", note) for note in notes)
