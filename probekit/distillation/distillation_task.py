"""Data that several distillation runs share: task and audio, teachers and initial weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from probekit._typing import Array
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.distillation.teachers import ALIGNMENTS, Teachers
from probekit.extractors.students import zoo
from probekit.training import task_data
from probekit.training.task_data import TrainingTask
from probekit.utils.suggest import unknown_name_error


@dataclass(frozen=True, kw_only=True)
class DistillationTask(TrainingTask):
    """A task with its audio, and the settings that several runs share.

    Attributes
    ----------
    teachers : tuple of str
        As after ``--teacher``.
    alignment : {"time", "paper"}
        How the teachers' frames are aligned with the student's.
    cache : pathlib.Path
        The cache's folder.
    init : str
        Extractor of the student's initial weights; empty for none.
    weights : mapping of str to str
        That extractor's weights, as after ``--weights``.
    """

    teachers: tuple[str, ...]
    alignment: str
    cache: Path
    init: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def student(self) -> str:
        """The network, as after ``--student``, with every parameter."""
        return self.network

    def open_teachers(self, rows: Array) -> Teachers:
        """Open the teachers for some rows of :attr:`clips`, at the student's frames.

        Raises
        ------
        ProbekitError
            If a teacher is not in the cache, or lacks clips or frames.
        """
        student = zoo.build_student(self.student, len(self.clips.class_names))
        grid, steps = student.frames(self.crop_length)
        return Teachers.open(
            self.card,
            self.teachers,
            [self.clips.clip_ids[row] for row in rows],
            grid,
            steps,
            cache=self.cache,
            durations=self.audio.durations[self.audio_rows[rows]],
            alignment=self.alignment,
        )


def prepare_task(
    card: TaskCard,
    clips: Manifest,
    student: str,
    teachers: Sequence[str],
    *,
    cache: Path,
    crop: float | None = None,
    alignment: str = "time",
    init: str = "",
    weights: Mapping[str, str] | None = None,
    reports: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DistillationTask:
    """Check a task and a student, and decode the audio that is not decoded yet.

    See :func:`probekit.training.task_data.prepare_task`; the further parameters are attributes of
    :class:`DistillationTask`.
    """
    if alignment not in ALIGNMENTS:
        raise unknown_name_error("alignment", alignment, ALIGNMENTS)
    task = task_data.prepare_task(
        card, clips, student, cache=cache, crop=crop, reports=reports, progress=progress
    )
    return DistillationTask(
        **{field.name: getattr(task, field.name) for field in fields(task)},
        teachers=tuple(teachers),
        alignment=alignment,
        cache=cache,
        init=init,
        weights=dict(weights or {}),
    )
