"""Leakage between splits: what test clips share with the clips that are trained on.

Two clips share a group (artist, recording …), a recording, some seconds of it, or all of their
sound. Recordings are the same if their paths are, or their bytes, by hash.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.data.manifest import Manifest, missing_recordings
from probekit.errors import DataError
from probekit.parallel import resources
from probekit.tasks import splits
from probekit.tasks.splits import Split
from probekit.tasks.task import Task
from probekit.utils import atomic
from probekit.utils.hashing import sha256
from probekit.utils.text import summarize_ids

_TOUCHING = 1e-3  # seconds of overlap that rounded times can have

Progress = Callable[[int, int], None]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


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

    @property
    def divided(self) -> bool:
        """Whether the clips are in several splits."""
        return len(self.sides) > 1


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


def find_shared_recordings(task: Task, clips: Manifest) -> list[Leak]:
    """Return the recordings of which segments are in several splits, by path; see :class:`Leak`."""
    return _find_leaks(task, clips, list(clips.column("path")))


def find_duplicates(
    task: Task, clips: Manifest, hashes: Mapping[str, str], *, undivided: bool = False
) -> list[Leak]:
    """Return the recordings that are in several splits, byte for byte the same, by hash.

    Parameters
    ----------
    task : Task
        The task.
    clips : Manifest
        All its clips. Segments of one recording are the same only if they begin and end at the same
        times.
    hashes : mapping of str to str
        What only the same recordings have in common, by path: :func:`hash_recordings`.
    undivided : bool
        Return those within one split as well.

    Returns
    -------
    list of Leak
        Empty where there are none.

    Raises
    ------
    DataError
        If no split or folds can be made of the clips.
    """
    columns = (clips.table[name] for name in ("path", "start", "end"))
    keys = [
        hashes[path][:16] + ("" if np.isnan(start) and np.isnan(end) else f" {start:g}-{end:g} s")
        for path, start, end in zip(*columns, strict=True)
    ]
    return _find_leaks(task, clips, keys, undivided=undivided)


def hash_recordings(
    task: Task,
    clips: Manifest,
    progress: Progress | None = None,
    *,
    known: pd.DataFrame | None = None,
) -> dict[str, str]:
    """Return what recordings have in common only if their bytes are the same, by path.

    Parameters
    ----------
    task : Task
        The task, for messages.
    clips : Manifest
        All its clips, with their root.
    progress : callable, optional
        Called with the numbers of recordings read and of those to read.
    known : pandas.DataFrame, optional
        Recordings as they were embedded, from :func:`probekit.cache.index.recording_facts`: those
        that did not change since are not read again.

    Returns
    -------
    dict of str to str
        The SHA-256; of a recording whose size no other has, which is not read, a text that no other
        has.

    Raises
    ------
    DataError
        If recordings are missing.
    """
    missing = missing_recordings(clips)
    if missing:
        raise DataError(
            f"{clips.root}: {len(missing):,} recordings are missing: {summarize_ids(missing)}. See "
            f"'probekit data check {task.name}'"
        )
    assert clips.root is not None
    root = clips.root
    facts: dict[str, tuple[int, int, str]] = {}
    if known is not None:
        facts = dict(zip(known.index, known.itertuples(index=False), strict=True))
    first_clip = clips.table.drop_duplicates("path")[["path", "clip_id"]]
    hashes: dict[str, str] = {}
    by_size: dict[int, list[str]] = {}
    for path, clip_id in first_clip.itertuples(index=False):
        stat = os.stat(root / path)  # noqa: PTH116
        size, mtime, digest = facts.get(clip_id, (-1, -1, ""))
        if (size, mtime) == (stat.st_size, stat.st_mtime_ns):
            hashes[path] = digest
        by_size.setdefault(stat.st_size, []).append(path)
    unread = []
    for size, paths in by_size.items():
        if len(paths) == 1:
            hashes.setdefault(paths[0], f"size {size} {paths[0]}")
        unread += [path for path in paths if path not in hashes]
    with ThreadPoolExecutor(resources.cpu_count()) as pool:
        digests = pool.map(sha256, [root / path for path in unread])
        for done, (path, digest) in enumerate(zip(unread, digests, strict=True), 1):
            hashes[path] = digest
            if progress:
                progress(done, len(unread))
    return hashes


def _find_leaks(
    task: Task, clips: Manifest, keys: list[str], undivided: bool = False
) -> list[Leak]:
    """Return the keys (empty ones left out) whose clips are in more than one split."""
    assignments = splits.split_assignments(task.card.protocol, clips)
    table = pd.DataFrame({"key": keys, "split": assignments, "clip": clips.clip_ids})
    table = table[(table["key"] != "") & ((table["split"] != "") | undivided)]
    by_key = table.groupby("key")["split"]
    counts = by_key.size() if undivided else by_key.nunique()
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


# ---- what a score must say


@dataclass(frozen=True)
class SharedTestClips:
    """How many test clips share something with clips that are trained on, in any fold.

    Each is counted once, under the first of the attributes that applies.

    Attributes
    ----------
    identical : int
        Same recording, by path or bytes, and same segment.
    overlapping : int
        Same recording, and some of the same seconds.
    recordings : int
        Same recording.
    groups : int
        Same group.
    tested : int
        All test clips.
    """

    identical: int
    overlapping: int
    recordings: int
    groups: int
    tested: int

    def notes(self) -> list[str]:
        """Return what is shared, in words; empty if nothing is."""
        phrases = {
            "are byte-identical to training clips": self.identical,
            "overlap in time with training clips": self.overlapping,
            "come from recordings that training clips come from": self.recordings,
            "belong to groups that training clips belong to": self.groups,
        }
        return [
            f"{count:,} of {self.tested:,} test clips {phrase}"
            for phrase, count in phrases.items()
            if count
        ]


def find_shared_clips(
    clips: Manifest, divisions: Sequence[Split], hashes: Mapping[str, str] | None = None
) -> SharedTestClips:
    """Count the test clips that share something with training or validation clips.

    Parameters
    ----------
    clips : Manifest
        The clips.
    divisions : sequence of Split
        Their splits, or folds.
    hashes : mapping of str to str, optional
        SHA-256 of recordings by clip id, such as the cache has them; recordings without one are
        told apart by their paths.

    Returns
    -------
    SharedTestClips
        Numbers of test clips.
    """
    recording = _recording_codes(clips, hashes or {})
    start = np.nan_to_num(clips.table["start"].to_numpy(float))
    end = clips.table["end"].to_numpy(float)
    end = np.where(np.isnan(end), np.inf, end)
    segment = _codes(pd.DataFrame({"recording": recording, "start": start, "end": end}))
    segment = np.where(recording < 0, -1, segment)
    group = _text_codes(clips.column("group"))
    levels = np.zeros(len(clips), np.int8)  # 0 nothing, 1 group, 2 recording, 3 overlap, 4 all
    tested = np.zeros(len(clips), bool)
    timeline = _Timeline(recording, start, end)
    for division in divisions:
        train = np.concatenate([division.train, division.valid])
        test = division.test
        tested[test] = True
        levels[test] = np.maximum(levels[test], _is_among(group[test], group[train]))
        same_recording = _is_among(recording[test], recording[train])
        levels[test] = np.maximum(levels[test], 2 * same_recording)
        if same_recording.any():
            levels[test] = np.maximum(levels[test], 3 * timeline.overlaps(test, train))
        levels[test] = np.maximum(levels[test], 4 * _is_among(segment[test], segment[train]))
    counts = np.bincount(levels[tested], minlength=5)
    return SharedTestClips(
        identical=int(counts[4]),
        overlapping=int(counts[3]),
        recordings=int(counts[2]),
        groups=int(counts[1]),
        tested=int(tested.sum()),
    )


def shared_clip_notes(
    clips: Manifest, divisions: Sequence[Split], hashes: Mapping[str, str] | None = None
) -> list[str]:
    """Return what must be shown beside a score: what test clips share with training clips.

    And that clips of different labels are the same segment. Parameters are those of
    :func:`find_shared_clips`. Groups that are not recordings are left out:
    :func:`probekit.scores.result_builder.torn_group_notes` counts them.
    """
    shared = find_shared_clips(clips, divisions, hashes)
    return [*replace(shared, groups=0).notes(), *contradicting_labels_notes(clips, hashes)]


def contradicting_labels_notes(
    clips: Manifest, hashes: Mapping[str, str] | None = None
) -> list[str]:
    """Return a note on clips of different labels that are the same segment, or no note."""
    recording = _recording_codes(clips, hashes or {})
    table = pd.DataFrame(
        {
            "recording": recording,
            "start": clips.table["start"].to_numpy(float),
            "end": clips.table["end"].to_numpy(float),
        }
    )
    segment = _codes(table.fillna(-1.0))
    labels = pd.factorize(clips.table["labels"])[0]
    pairs = pd.DataFrame({"segment": segment, "label": labels})[recording >= 0]
    distinct = pairs.drop_duplicates()["segment"]
    several = distinct[distinct.duplicated()]
    if several.empty:
        return []
    count = int(pairs["segment"].isin(several).sum())
    return [f"{count:,} clips have the segment of a clip with another label"]


def _is_among(values: Codes, others: Codes) -> npt.NDArray[np.int8]:
    """Return 1 for each value that is among others, 0 for the others and for -1."""
    present = np.zeros(max(values.max(initial=-1), others.max(initial=-1)) + 2, np.int8)
    present[others] = 1
    present[-1] = 0  # where -1 points to
    return present[values]


def _recording_codes(clips: Manifest, hashes: Mapping[str, str]) -> Codes:
    """Return a number for each clip's recording, the same for the same bytes; -1 if unknown."""
    paths = clips.column("path").astype(object)
    digests = pd.Series([hashes.get(clip_id) or "" for clip_id in clips.clip_ids], dtype=object)
    # one clip of a recording may lack the hash that another has
    named = pd.Series(paths).replace("", np.nan)
    shared = digests.replace("", np.nan).groupby(named).transform("first")
    keys = digests.replace("", np.nan).fillna(shared).fillna(named)
    return np.asarray(pd.factorize(keys)[0], np.int64)


def _codes(table: pd.DataFrame) -> Codes:
    """Return a number for each row, the same for equal rows."""
    return np.asarray(table.groupby(list(table.columns), sort=False).ngroup(), np.int64)


def _text_codes(texts: npt.NDArray[np.str_]) -> Codes:
    """Return a number for each text; -1 for an empty one."""
    return np.asarray(pd.factorize(pd.Series(texts).replace("", np.nan))[0], np.int64)


class _Timeline:
    """Segments of all recordings in one row, so that overlaps are found by sorting.

    Parameters
    ----------
    recording : numpy.ndarray of int, shape (clips,)
        Number of each clip's recording; -1 if unknown.
    start, end : numpy.ndarray of float, shape (clips,)
        Seconds; infinite for the end of a recording.
    """

    def __init__(self, recording: Codes, start: npt.NDArray[Any], end: npt.NDArray[Any]) -> None:
        finite = end[np.isfinite(end)]
        length = max(start.max(initial=0.0), finite.max(initial=0.0)) + 1.0
        self._known = recording >= 0
        self._start = recording * length + start
        self._end = recording * length + np.minimum(end, length - 0.5)

    def overlaps(self, test: Codes, train: Codes) -> Flags:
        """Return which test clips have some seconds that a training clip has."""
        train = train[self._known[train]]
        order = np.argsort(self._start[train], kind="stable")
        starts = self._start[train][order]
        last_end = np.maximum.accumulate(self._end[train][order])
        # of the training clips that begin before a test clip ends, one ends after its start
        before = np.searchsorted(starts, self._end[test] - _TOUCHING)
        reached = np.where(before > 0, last_end[np.maximum(before, 1) - 1], -np.inf)
        return self._known[test] & (reached > self._start[test] + _TOUCHING)


# ---- groups that keep together what belongs together


@dataclass(frozen=True)
class GroupTable:
    """A table of clips with groups, as :func:`write_groups` wrote it.

    Attributes
    ----------
    clips, groups : int
        Number of clips, and of groups with more than one.
    dropped : str
        Column of the splits or folds that is not in the table, since it divides groups.
    """

    clips: int
    groups: int
    dropped: str


def write_groups(clips: Manifest, hashes: Mapping[str, str], path: Path) -> GroupTable:
    """Write a table of clips in which all that belongs together is one group.

    Clips of one group, of one recording, and of recordings with the same bytes are joined. The
    table has the clips' labels, and their splits or folds if these divide none of the groups.

    Parameters
    ----------
    clips : Manifest
        The clips.
    hashes : mapping of str to str
        What recordings have in common if they are the same, by path: :func:`hash_recordings`.
    path : pathlib.Path
        A new file; its folder must contain the recordings.

    Returns
    -------
    GroupTable
        What was written.

    Raises
    ------
    DataError
        If the file exists or cannot be written, or its folder does not contain the recordings.
    """
    assert clips.root is not None
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path}: the table's name must end in .csv")
    if path.exists():
        raise DataError(f"{path}: exists already; choose another name, or remove it")
    try:
        folder = clips.root.resolve().relative_to(path.parent.resolve())
    except ValueError as error:
        raise DataError(
            f"{path}: its folder must contain the recordings, such as "
            f"{clips.root.absolute() / path.name}"
        ) from error
    groups = merge_groups(clips, hashes)
    table = clips.table.assign(group=groups)
    table["path"] = [(folder / name).as_posix() for name in table["path"]]
    dropped = ""
    for column in ("split", "fold"):
        divided = table[table["group"] != ""].groupby("group")[column].nunique() > 1
        if divided.any():
            table[column], dropped = "", column
    written = clips.with_table(table)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.atomic_write_text(path, written.to_csv())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({(error.strerror or str(error)).lower()})"
        ) from error
    sizes = table["group"][table["group"] != ""].value_counts()
    return GroupTable(len(clips), int((sizes > 1).sum()), dropped)


def merge_groups(clips: Manifest, hashes: Mapping[str, str]) -> list[str]:
    """Return a group for each clip: those of its group, recording and bytes, joined.

    It is named after the first of the groups or recordings in it; empty for a clip that shares
    nothing.
    """
    from scipy.sparse import coo_matrix  # slow to import, and checks need none of it
    from scipy.sparse.csgraph import connected_components

    paths, groups = clips.column("path"), clips.column("group")
    keys = np.array([hashes.get(path, path) for path in paths], dtype=object)
    shared = [_text_codes(groups), np.asarray(pd.factorize(keys)[0], np.int64)]
    nodes, links, count = np.arange(len(clips)), [], len(clips)
    for codes in shared:
        rows = np.flatnonzero(codes >= 0)
        links.append(np.stack([nodes[rows], count + codes[rows]]))
        count += int(codes.max(initial=-1)) + 1
    first, second = np.concatenate(links, axis=1)
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), (count, count))
    _, components = connected_components(graph, directed=False)
    components = components[: len(clips)]
    sizes = np.bincount(components)
    names: dict[int, str] = {}
    for component, group, path in zip(components, groups, paths, strict=True):
        name = str(group or path)
        names[component] = min(names.get(component, name), name)
    return [
        names[component] if group or sizes[component] > 1 else ""
        for component, group in zip(components, groups, strict=True)
    ]
