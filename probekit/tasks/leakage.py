"""What is on two sides of a split: groups, and recordings that are identical."""

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
    """Clips that belong together and are on several sides of a split.

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
    """Return the groups (artists, recordings) that are on several sides of the task's split.

    Parameters
    ----------
    task : Task
        The task.
    clips : Manifest
        All its clips.

    Returns
    -------
    list of Leak
        By name; empty where no group crosses.

    Raises
    ------
    DataError
        If the clips have no groups, or no split or folds can be made of them.
    """
    if not (clips.column("group") != "").any():
        raise DataError(
            f"{task.name}: no groups are known for its clips, so none can be on two sides. "
            "--identical compares the recordings themselves"
        )
    return _crossing(task, clips, list(clips.column("group")))


def find_duplicates(task: Task, clips: Manifest, progress: Progress | None = None) -> list[Leak]:
    """Return the recordings that are on several sides of the task's split, byte for byte alike.

    Parameters
    ----------
    task : Task
        The task.
    clips : Manifest
        All its clips, with their root; every recording is read. Stretches of one recording are
        alike only where they begin and end alike.
    progress : callable, optional
        Called with recordings read and recordings in all.

    Returns
    -------
    list of Leak
        By hash.

    Raises
    ------
    DataError
        If recordings are missing, or no split or folds can be made of the clips.
    """
    gone = validation.missing(clips)
    if gone:
        raise DataError(
            f"{clips.root}: {len(gone):,} recordings are not there: {summarize_ids(gone)}. See "
            f"'probekit data check {task.name}'"
        )
    assert clips.root is not None
    paths = list(dict.fromkeys(clips.table["path"]))
    hashes = {}
    with ThreadPoolExecutor(resources.cpu_count()) as pool:
        found = pool.map(sha256, [clips.root / path for path in paths])
        for done, (path, own) in enumerate(zip(paths, found, strict=True), 1):
            hashes[path] = own
            if progress:
                progress(done, len(paths))
    columns = (clips.table[name] for name in ("path", "start", "end"))
    keys = [
        hashes[path][:16] + ("" if np.isnan(start) and np.isnan(end) else f" {start:g}-{end:g} s")
        for path, start, end in zip(*columns, strict=True)
    ]
    return _crossing(task, clips, keys)


def _crossing(task: Task, clips: Manifest, keys: list[str]) -> list[Leak]:
    """Return the keys (empty ones left out) whose clips are on more than one side."""
    table = pd.DataFrame(
        {
            "key": keys,
            "side": splits.split_assignments(task.card.protocol, clips),
            "clip": clips.clip_ids,
        }
    )
    table = table[(table["key"] != "") & (table["side"] != "")]
    several = table.groupby("key")["side"].nunique()
    table = table[table["key"].isin(several[several > 1].index)]
    return [
        Leak(
            str(key),
            {
                side: list(own.loc[own["side"] == side, "clip"])
                for side in splits.in_order(own["side"])
            },
            _is_named(str(key), task.card.notes),
        )
        for key, own in table.groupby("key")
    ]


def _is_named(group: str, notes: Iterable[str]) -> bool:
    """Tell whether a note of the card names a group, as a word of its own."""
    return any(re.search(rf"(?<!\w){re.escape(group)}(?!\w)", note) for note in notes)
