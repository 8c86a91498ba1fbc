"""Is a dataset's folder whole: counts, recordings, known faults, and, if asked, every sample."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probekit.audio import recording
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import AudioError, DataError
from probekit.metrics import metrics
from probekit.parallel import resources
from probekit.tasks import clip_counts, splits
from probekit.tasks.datasets import _tables
from probekit.tasks.task import Task

Progress = Callable[[int, int], None]


@dataclass
class Check:
    """What was found in a dataset's folder.

    Attributes
    ----------
    task : str
        The task's name.
    stand_in : bool
        Whether the folder holds stand-in data; counts are not compared then.
    counts : dict of str to dict
        ``clips``, each split or fold, and ``on no side`` where clips are left over, to ``found``
        and ``expected`` (None where the card does not say).
    labels : dict of str to int
        Each label, in the card's order, and how many clips have it; for regression, each target
        and how many clips have a number.
    missing : list of str
        Paths of recordings that are not there, relative to the root; where they may lie anywhere,
        their names without suffix.
    known_bad : dict of str to str
        Clips that are known to be faulty and are among the task's, with the reason.
    undecodable : dict of str to str
        Clips whose recording cannot be read, with the reason; None where nothing was decoded.
    seconds : float or None
        Duration of all clips, where they were decoded.
    unpack : list of str
        Commands for archives that lie in the folder, where recordings are missing.
    faults : list of str
        What deviates from the dataset as published, or keeps probes from being fitted; empty where
        all is well.
    """

    task: str
    stand_in: bool = False
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    known_bad: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, str] | None = None
    seconds: float | None = None
    unpack: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check(
    task: Task,
    root: str | Path | None = None,
    *,
    decode: bool = False,
    progress: Progress | None = None,
) -> Check:
    """Compare a dataset's folder with the task's card.

    Parameters
    ----------
    task : Task
        The task.
    root : str or pathlib.Path, optional
        The dataset's folder; not needed for a table that names recordings beside itself.
    decode : bool
        Read every recording, in parallel threads.
    progress : callable, optional
        Called with clips decoded and clips in all.

    Returns
    -------
    Check
        What was found.

    Raises
    ------
    ProbekitError
        If the folder is not laid out as the card says, or its metadata cannot be read.
    """
    clips = task.manifest(root, audio=True)
    card = task.card
    found = Check(task.name, stand_in=any("stand-in" in said for said in clips.provenance))
    counts = clip_counts.count(card, clips)
    whole = {} if clips.expected is None else {clip_counts.ALL: clips.expected}
    expected = {} if found.stand_in else {**whole, **card.counts}
    found.counts = {
        side: {"found": number, "expected": expected.get(side)} for side, number in counts.items()
    }
    found.faults = [] if found.stand_in else clip_counts.count_mismatches(card, clips)
    idle = len(clips) - sum(number for side, number in counts.items() if side != clip_counts.ALL)
    if 0 < idle < len(clips):
        found.counts["on no side"] = {"found": idle, "expected": None}
    found.faults += _why_not_fittable(card, clips)
    with suppress(DataError):
        found.labels = _label_counts(clips)
    found.missing = missing(clips)
    if found.missing:
        files = clips.table["path"].nunique()
        found.faults.append(f"{len(found.missing):,} of {files:,} recordings are not there")
    lacking = (clips.expected or 0) - len(clips)
    if lacking > 0 and (clips.absent or not found.faults):
        found.faults.append(f"{lacking:,} of {clips.expected:,} clips have no recording")
        found.missing += clips.absent
    if found.missing:
        found.unpack = _tables.unpack_commands(clips.root) if clips.root else []
    ids = set(clips.clip_ids)
    if not found.stand_in:
        found.known_bad = {clip: why for clip, why in card.known_bad.items() if clip in ids}
    if decode:
        found.undecodable, found.seconds = _decode(clips, set(found.missing), progress)
        if found.undecodable:
            found.faults.append(f"{len(found.undecodable):,} of {len(ids):,} clips cannot be read")
    return found


def missing(clips: Manifest) -> list[str]:
    """Return the recordings of a manifest that are not there.

    Parameters
    ----------
    clips : Manifest
        The clips, with their root.

    Returns
    -------
    list of str
        Paths relative to the root, each once, in the manifest's order.

    Raises
    ------
    DataError
        If the manifest has no root.
    """
    if clips.root is None:
        raise DataError(f"{clips.name}: where are the recordings? Give their folder with --root")
    there: dict[str, set[str]] = {}  # a folder is listed once: millions of clips may lie in it
    gone = []
    for path in dict.fromkeys(clips.table["path"]):
        folder, _, name = path.rpartition("/")
        if folder not in there:
            place = clips.root / folder
            there[folder] = set(os.listdir(place)) if place.is_dir() else set()  # noqa: PTH208
        if name not in there[folder]:
            gone.append(path)
    return gone


def _why_not_fittable(card: TaskCard, clips: Manifest) -> list[str]:
    """Say why a probe could not be fitted on the clips; empty where it could."""
    said = []
    for attempt in (clips.targets, partial(splits.make, card.protocol, clips)):
        try:
            attempt()
        except DataError as error:
            said.append(str(error))
    metric = metrics.get_metric(card.metric)
    if clips.target not in ("none", *metric.targets):
        said.append(
            f"{card.metric} is for {' or '.join(metric.targets)} targets; these are {clips.target}"
        )
    return list(dict.fromkeys(said))


def _label_counts(clips: Manifest) -> dict[str, int]:
    if clips.target == "none":
        return {}
    targets = clips.targets()
    if clips.target == "single":
        counts = np.bincount(targets, minlength=len(clips.names))
    elif clips.target == "multi":
        counts = targets.sum(axis=0)
    else:
        counts = np.isfinite(targets).sum(axis=0)
    return {name: int(counts[k]) for k, name in enumerate(clips.names)}


def _decode(
    clips: Manifest, gone: set[str], progress: Progress | None
) -> tuple[dict[str, str], float]:
    """Read all clips whose recording is there; return the failures, and the seconds of audio."""
    assert clips.root is not None
    root = clips.root
    rows = [
        row
        for row in clips.table[["clip_id", "path", "start", "end"]].itertuples(index=False)
        if row.path not in gone
    ]

    def read(row: Any) -> str | float:
        start, end = (None if np.isnan(value) else value for value in (row.start, row.end))
        try:
            decoded = recording.load(root / row.path, start=start, end=end)
        except AudioError as error:
            return str(error)
        return decoded.seconds

    failed, seconds = {}, 0.0
    with ThreadPoolExecutor(resources.cpu_count()) as pool:
        for done, (row, said) in enumerate(zip(rows, pool.map(read, rows), strict=True), 1):
            if isinstance(said, str):
                failed[row.clip_id] = said
            else:
                seconds += said
            if progress:
                progress(done, len(rows))
    return failed, seconds
