"""Unlabeled clips: a second stream of sound beside the labeled one, and what it must not share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks import freesound
from probekit.tasks.splits import Split
from probekit.tasks.task_clips import resolve_clips
from probekit.training import task_data
from probekit.training.audio_store import AudioStore
from probekit.training.task_data import TrainingTask
from probekit.utils.text import summarize_ids

_TOUCHING = 1e-3  # seconds of overlap that rounded times can have

OWN_CLIPS = "train"
"""Name of the task's own training clips as unlabeled ones."""


@dataclass(frozen=True)
class UnlabeledClips:
    """Clips whose labels are not read.

    Attributes
    ----------
    name : str
        As the user wrote it.
    clips : Manifest
        All of them.
    audio : AudioStore
        Their audio, in the same order.
    allow_overlap : bool
        Whether test clips, or excerpts of their recordings, may be among them.
    card : TaskCard or None
        Their task; None for folders.
    """

    name: str
    clips: Manifest
    audio: AudioStore
    allow_overlap: bool = False
    card: TaskCard | None = None

    @cached_property
    def rows(self) -> Array:
        """Rows of the clips that have audio."""
        return np.flatnonzero(self.audio.lengths > 0)

    def overlap(self, task: TrainingTask, splits: Sequence[Split]) -> list[str]:
        """Return the test clips, by id, that are among the unlabeled clips: by file or by sound.

        Of the same file they share some seconds, or their decoded samples are the same; silence
        does not count.
        """
        rows, sounds = _test_rows(splits), task.audio.hashes[task.audio_rows]
        unlabeled = set(self.audio.hashes[self.rows])
        segments = _segments(self.clips)
        shared = []
        for row, (file, start, end) in zip(rows, _recordings(task.clips.subset(rows)), strict=True):
            pieces = segments.get(file, ())
            is_shared = any(
                begin < end - _TOUCHING and start < stop - _TOUCHING for begin, stop in pieces
            )
            if not is_shared and sounds[row] in unlabeled:
                audio_row = task.audio_rows[row]
                length = int(task.audio.lengths[audio_row])
                is_shared = bool(task.audio.crops([audio_row], [0], length).any())
            if is_shared:
                shared.append(task.clips.clip_ids[row])
        return shared

    def shared_recordings(self, task: TrainingTask, splits: Sequence[Split]) -> list[str]:
        """Return the test clips, by id, of Freesound recordings that unlabeled clips are of."""
        ids = np.asarray(task.clips.clip_ids)[_test_rows(splits)]
        numbers = freesound.freesound_ids(self.clips.subset(self.rows), self.card)
        return freesound.of_shared_recordings(
            freesound.freesound_ids(task.clips, task.card), ids, numbers
        )

    def shared_groups(self, task: TrainingTask, splits: Sequence[Split]) -> int:
        """Return how many test clips have a group that unlabeled clips of the same dataset have."""
        if self.card is None or self.card.dataset != task.card.dataset:
            return 0
        rows = _test_rows(splits)
        groups = set(self.clips.column("group")[self.rows]) - {""}
        return sum(group in groups for group in task.clips.column("group")[rows])

    def notes(self, task: TrainingTask, splits: Sequence[Split]) -> list[str]:
        """Return notes about clips without audio and test clips among them.

        Raises
        ------
        DataError
            If test clips are among them, and that is not allowed.
        """
        notes = [f"unlabeled clips: {note}" for note in self.clips.provenance]
        missing = len(self.clips) - len(self.rows)
        if missing:
            notes.append(f"{len(self.rows):,} of {len(self.clips):,} unlabeled clips could be read")
        shared, recordings = self.overlap(task, splits), self.shared_recordings(task, splits)
        further = sorted(set(recordings) - set(shared))
        if (shared or further) and not self.allow_overlap:
            raise DataError(
                f"--unlabeled {self.name}: {_describe(task, shared, further)}. Leave them out, or "
                "train on them with --allow-overlap, which is noted with the score"
            )
        if shared:
            notes.append(f"{len(shared):,} test clips are among the unlabeled clips")
        if further:
            notes.append(
                f"{len(further):,} test clips have Freesound recordings in common with unlabeled "
                "clips"
            )
        related = self.shared_groups(task, splits) - len({*shared, *recordings})
        if related > 0:
            notes.append(f"{related:,} test clips share their groups with unlabeled clips")
        return notes


def open_unlabeled(
    name: str,
    sr: int,
    *,
    cache: Path,
    root: str | Path | None = None,
    allow_overlap: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> UnlabeledClips:
    """Resolve unlabeled clips and decode what is not decoded yet.

    Parameters
    ----------
    name : str
        A task, a table or a folder of recordings.
    sr : int
        Sample rate of the network in Hz.
    cache : pathlib.Path
        The cache's folder.
    root : str or pathlib.Path, optional
        The recordings' folder.
    allow_overlap : bool
        Whether test clips, or excerpts of their recordings, may be among them.
    progress : callable, optional
        Called with the number of decoded clips and of all clips.

    Raises
    ------
    ProbekitError
        If the name is unknown, or no recording can be read.
    """
    if Path(name).is_dir():
        card, clips = None, readers.from_folder(Path(name))  # folders need not be labels
    else:
        card, clips = resolve_clips(name, cache, root)
    audio = task_data.open_audio(name, clips, sr, cache, progress)
    unlabeled = UnlabeledClips(name, clips, audio, allow_overlap, card)
    if not len(unlabeled.rows):
        raise DataError(f"--unlabeled {name}: none of its {len(clips):,} recordings could be read")
    return unlabeled


def _recordings(clips: Manifest) -> list[tuple[str, float, float]]:
    """Return file, start and end of each clip."""
    table, root = clips.table, clips.root or Path()
    files = [str((root / path).resolve()) for path in table["path"]]
    ends = table["end"].astype(float).fillna(np.inf)
    return list(zip(files, table["start"].astype(float).fillna(0.0), ends, strict=True))


def _segments(clips: Manifest) -> dict[str, list[tuple[float, float]]]:
    """Return start and end of the clips of each file."""
    segments: dict[str, list[tuple[float, float]]] = {}
    for file, start, end in _recordings(clips):
        segments.setdefault(file, []).append((start, end))
    return segments


def _test_rows(splits: Sequence[Split]) -> Array:
    """Return the test clips of all folds."""
    return np.unique(np.concatenate([split.test for split in splits]))


def _describe(task: TrainingTask, shared: list[str], further: list[str]) -> str:
    """Say which test clips an error is about."""
    texts = []
    if shared:
        texts.append(
            f"{len(shared):,} test clips of {task.card.name} are among its clips: "
            f"{summarize_ids(shared, 3)}"
        )
    if further:
        texts.append(
            f"{len(further):,} test clips of {task.card.name} have Freesound recordings in common "
            f"with its clips: {summarize_ids(further, 3)}"
        )
    return "; ".join(texts)
