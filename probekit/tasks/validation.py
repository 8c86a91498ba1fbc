"""Validation of a dataset's folder: counts, recordings, known faults, every sample if asked."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probekit.audio import recording
from probekit.cards import TaskCard
from probekit.data import folder_layout
from probekit.data.manifest import Manifest, missing_recordings
from probekit.errors import AudioError, DataError
from probekit.metrics import metrics
from probekit.metrics.metrics import Metric
from probekit.parallel import resources
from probekit.tasks import splits
from probekit.tasks.datasets import _files
from probekit.tasks.piece_names import check_pieces, name_pieces
from probekit.tasks.splits import ALL_CLIPS, Split
from probekit.tasks.task import Task
from probekit.utils import lfs_pointer

Progress = Callable[[int, int], None]

_POINTERS_SOUGHT = 100  # recordings that are looked at


@dataclass
class FolderCheck:
    """The state of a dataset's folder.

    Attributes
    ----------
    task : str
        The task's name.
    stand_in : bool
        Whether the folder holds stand-in data; counts are not compared then.
    counts : dict of str to dict
        ``clips``, each split or fold, and ``on no side`` for clips in none, to ``found`` and
        ``expected`` (None where the card does not say).
    labels : dict of str to int
        Each label, in the card's order, to its number of clips; for regression, each target to the
        number of clips that have a value.
    groups : int
        Number of groups (of a table's column ``group``, of a dataset's speakers …) that clips
        belong to.
    missing : list of str
        Paths of missing recordings, relative to the root; where they may lie anywhere, their names
        without suffix.
    known_bad : dict of str to str
        Clips of the task that are known to be faulty, with the reason.
    undecodable : dict of str to str
        Clips whose recording cannot be read, with the reason; None where nothing was decoded.
    seconds : float or None
        Duration of all clips, where they were decoded.
    left_out : list of str
        Files in a user's folder that are not recordings by their names.
    leaks : list of str
        What test clips share with training clips, as far as paths, segments, groups and known
        hashes of recordings say.
    hashed : bool
        Whether the hashes of recordings were known.
    unpack : list of str
        Commands for archives that lie in the folder, where recordings are missing.
    faults : list of str
        What deviates from the dataset as published, or keeps probes from being fitted; empty if
        nothing does.
    """

    task: str
    stand_in: bool = False
    counts: dict[str, dict[str, int | None]] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    groups: int = 0
    missing: list[str] = field(default_factory=list)
    known_bad: dict[str, str] = field(default_factory=dict)
    undecodable: dict[str, str] | None = None
    seconds: float | None = None
    left_out: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    hashed: bool = False
    unpack: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def check_folder(
    task: Task,
    root: str | Path | None = None,
    *,
    decode: bool = False,
    progress: Progress | None = None,
    hashes: Mapping[str, str] | None = None,
) -> FolderCheck:
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
        Called with the numbers of clips decoded and of all clips.
    hashes : mapping of str to str, optional
        SHA-256 of recordings by clip id, such as the cache has them.

    Returns
    -------
    FolderCheck
        ``faults`` lists what is wrong.

    Raises
    ------
    ProbekitError
        If the folder is not laid out as the card says, or its metadata cannot be read.
    """
    from probekit.tasks import leakage  # imports pandas

    clips = task.manifest(root, audio=True)
    card = task.card
    result = FolderCheck(task.name, stand_in=any("stand-in" in note for note in clips.provenance))
    counts = splits.count_clips(card, clips)
    expected: dict[str, int] = {}
    if not result.stand_in:
        if clips.expected is not None:
            expected[ALL_CLIPS] = clips.expected
        expected |= card.counts
        result.faults = splits.count_mismatches(card, clips)
    result.counts = {
        name: {"found": number, "expected": expected.get(name)} for name, number in counts.items()
    }
    divisions, reasons = _divide(card, clips)
    result.faults += reasons
    unused = len(clips) - sum(number for name, number in counts.items() if name != ALL_CLIPS)
    if 0 < unused < len(clips):
        result.counts["on no side"] = {"found": unused, "expected": None}
        if task.is_user_data and not reasons:
            result.faults.append(f"{unused:,} of {len(clips):,} clips have no split: not used")
    result.left_out = list(clips.other_files)
    result.faults += folder_layout.left_out_notes(clips.root or Path(), clips.other_files)
    result.hashed = bool(hashes)
    if task.is_user_data:
        result.faults += leakage.contradicting_labels_notes(clips, hashes)
    result.leaks = leakage.find_shared_clips(clips, divisions, hashes).notes()
    if task.is_user_data:
        result.faults += result.leaks
    with suppress(DataError):
        result.labels = _label_counts(clips)
    groups = clips.column("group")
    result.groups = len(set(groups[groups != ""]))
    result.missing = missing_recordings(clips)
    if result.missing:
        files = clips.table["path"].nunique()
        result.faults.append(f"{len(result.missing):,} of {files:,} recordings are missing")
    absent = (clips.expected or 0) - len(clips)
    if absent > 0 and (clips.absent or not result.faults):
        result.faults.append(f"{absent:,} of {clips.expected:,} clips have no recording")
        result.missing += clips.absent
    if result.missing:
        result.unpack = _files.unpack_commands(clips.root) if clips.root else []
    result.faults += _pointer_notes(clips, set(result.missing))
    ids = set(clips.clip_ids)
    if not result.stand_in:
        result.known_bad = {clip: why for clip, why in card.known_bad.items() if clip in ids}
    if decode:
        result.undecodable, result.seconds = _decode(clips, set(result.missing), progress)
        failed = len(result.undecodable)
        if failed:
            result.faults.append(f"{failed:,} of {len(ids):,} clips cannot be read")
    return result


def check_classes(clips: Manifest) -> None:
    """Raise a DataError if there is nothing to tell apart: one class, or no label at all."""
    labels = {label for row in clips.labels for label in row}
    if clips.target == "single" and len(labels) == 1:
        raise DataError(
            f"{clips.name}: all clips have the label {min(labels)!r}: there is nothing to tell "
            "apart. In a folder, the sub-folders are the labels"
        )
    if clips.target == "multi" and not labels:
        raise DataError(f"{clips.name}: no clip has a label")


def check_metrics(card: TaskCard, clips: Manifest) -> None:
    """Raise a DataError if clips have no labels, or labels that the task's metrics do not fit."""
    check_classes(clips)
    for name in (card.metric, *card.also):
        metric = metrics.get_metric(name)
        targets = metric.targets
        if metric.check_classes is not None:
            try:
                metric.check_classes(clips.class_names)
            except DataError as error:
                raise DataError(f"{card.name}: metric {name!r}: {error}") from error
        if clips.target not in targets:
            clips.targets()  # raises if there are no labels at all
            raise DataError(
                f"{card.name}: metric {name!r} is for {' or '.join(targets)} targets, the clips "
                f"have {clips.target}"
            )


def _divide(card: TaskCard, clips: Manifest) -> tuple[list[Split], list[str]]:
    """Return the splits or folds, and the reasons why no probe can be fitted and scored on them."""
    divisions: list[Split] = []
    reasons = []
    for attempt in (clips.targets, partial(check_classes, clips)):
        try:
            attempt()
        except DataError as error:
            reasons.append(str(error))
    try:
        divisions = splits.make_splits(card.protocol, clips)
    except DataError as error:
        reasons.append(str(error))
    metric = metrics.get_metric(card.metric)
    if clips.target not in ("none", *metric.targets):
        reasons.append(
            f"{card.metric} is for {' or '.join(metric.targets)} targets, got {clips.target}"
        )
    if not reasons:
        reasons = _why_not_scored(card, clips, divisions, metric)
    return divisions, list(dict.fromkeys(reasons))


def _why_not_scored(
    card: TaskCard, clips: Manifest, divisions: Sequence[Split], metric: Metric
) -> list[str]:
    """Return the reasons why a probe cannot be scored on a fold, or its settings not selected."""
    try:
        pieces = name_pieces(card, clips)
        check_pieces(card, pieces, divisions)
        splits.check_inner_cv(card.protocol, clips, divisions, pieces)
    except DataError as error:
        return [str(error)]
    targets = clips.targets()
    return [
        f"split {division.name!r}: {metric.title} is not defined on its {len(division.test)} test "
        "clips"
        for division in divisions
        if np.isnan(
            metric.score(
                targets[division.test], np.full((len(division.test), len(clips.class_names)), 0.5)
            )
        )
    ]


def _pointer_notes(clips: Manifest, missing: set[str]) -> list[str]:
    """Return a note if recordings are pointers of Git LFS; an even choice of them is looked at."""
    paths = [path for path in dict.fromkeys(clips.table["path"]) if path not in missing]
    looked_at = paths[:: max(1, len(paths) // _POINTERS_SOUGHT)]
    root = clips.root or Path()
    pointers = [path for path in looked_at if lfs_pointer.is_pointer_file(root / path)]
    if not pointers:
        return []
    share = "all" if len(pointers) == len(looked_at) else f"{len(pointers)} of"
    return [
        f"{share} {len(looked_at)} recordings looked at are Git LFS pointers, not audio, such as "
        f"{pointers[0]}: {lfs_pointer.ADVICE}"
    ]


def _label_counts(clips: Manifest) -> dict[str, int]:
    if clips.target == "none":
        return {}
    targets = clips.targets()
    if clips.target == "single":
        counts = np.bincount(targets, minlength=len(clips.class_names))
    elif clips.target == "multi":
        counts = np.nansum(targets, axis=0)
    else:
        counts = np.isfinite(targets).sum(axis=0)
    return {name: int(counts[k]) for k, name in enumerate(clips.class_names)}


def _decode(
    clips: Manifest, missing: set[str], progress: Progress | None
) -> tuple[dict[str, str], float]:
    """Read all clips that have a recording; return the failures, and the seconds of audio."""
    assert clips.root is not None
    root = clips.root
    rows = [
        row
        for row in clips.table[["clip_id", "path", "start", "end"]].itertuples(index=False)
        if row.path not in missing
    ]

    def read(row: Any) -> str | float:
        start, end = (None if np.isnan(value) else value for value in (row.start, row.end))
        try:
            return recording.load(root / row.path, start=start, end=end).duration
        except AudioError as error:
            return str(error)

    failures, seconds = {}, 0.0
    with ThreadPoolExecutor(resources.cpu_count()) as pool:
        for done, (row, result) in enumerate(zip(rows, pool.map(read, rows), strict=True), 1):
            if isinstance(result, str):
                failures[row.clip_id] = result
            else:
                seconds += result
            if progress:
                progress(done, len(rows))
    return failures, seconds
