"""Unlabeled clips: a second stream of sound beside the labeled one, and what it must not share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from probekit._typing import Array
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.tasks.splits import Split
from probekit.tasks.task_clips import resolve_clips
from probekit.training import task_data
from probekit.training.audio_store import AudioStore
from probekit.training.task_data import TrainingTask
from probekit.utils.text import summarize_ids

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
        Whether test clips may be among them.
    dataset : str
        Dataset of their task; empty for tables and folders.
    """

    name: str
    clips: Manifest
    audio: AudioStore
    allow_overlap: bool = False
    dataset: str = ""

    @cached_property
    def rows(self) -> Array:
        """Rows of the clips that have audio."""
        return np.flatnonzero(self.audio.lengths > 0)

    def overlap(self, task: TrainingTask, splits: Sequence[Split]) -> list[str]:
        """Return the test clips, by id, whose recordings are among the unlabeled clips."""
        rows = np.unique(np.concatenate([split.test for split in splits]))
        files = _recordings(task.clips)
        unlabeled = set(_recordings(self.clips))
        return [task.clips.clip_ids[row] for row in rows if files[row] in unlabeled]

    def shared_groups(self, task: TrainingTask, splits: Sequence[Split]) -> int:
        """Return how many test clips have a group that unlabeled clips of the same dataset have.

        ESC-10 and ESC-40, for example, have excerpts of the same recordings.
        """
        if not self.dataset or self.dataset != task.card.dataset:
            return 0
        rows = np.unique(np.concatenate([split.test for split in splits]))
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
        shared = self.overlap(task, splits)
        if shared and not self.allow_overlap:
            raise DataError(
                f"--unlabeled {self.name}: {len(shared):,} test clips of {task.card.name} are "
                f"among its clips: {summarize_ids(shared, 3)}. Leave them out, or train on them "
                "with --allow-overlap, which is noted with the score"
            )
        if shared:
            notes.append(f"{len(shared):,} test clips are among the unlabeled clips")
        related = self.shared_groups(task, splits) - len(shared)
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
        Whether test clips may be among them.
    progress : callable, optional
        Called with the number of decoded clips and of all clips.

    Raises
    ------
    ProbekitError
        If the name is unknown, or no recording can be read.
    """
    if Path(name).is_dir():
        clips, dataset = readers.from_folder(Path(name)), ""  # folders need not be labels
    else:
        card, clips = resolve_clips(name, cache, root)
        dataset = card.dataset
    audio = task_data.open_audio(name, clips, sr, cache, progress)
    unlabeled = UnlabeledClips(name, clips, audio, allow_overlap, dataset)
    if not len(unlabeled.rows):
        raise DataError(f"--unlabeled {name}: none of its {len(clips):,} recordings could be read")
    return unlabeled


def _recordings(clips: Manifest) -> list[tuple[str, float, float]]:
    """Return file, start and end of each clip."""
    table, root = clips.table, clips.root or Path()
    files = [str((root / path).resolve()) for path in table["path"]]
    ends = table["end"].astype(float).fillna(np.inf)
    return list(zip(files, table["start"].astype(float).fillna(0.0), ends, strict=True))
