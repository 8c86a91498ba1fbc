"""Training clips of a student and its sources: records of train-test contamination."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probekit.cache import training_clips
from probekit.cache.training_clips import TrainingClips
from probekit.cards.selector import STUDENT_PREFIX
from probekit.distillation.distillation_task import DistillationTask
from probekit.distillation.teachers import Teachers
from probekit.extractors.load import Spec
from probekit.tasks.splits import Split


def inherit_training_clips(
    clips: TrainingClips, teachers: Teachers | None, init_spec: Spec | None
) -> TrainingClips:
    """Return training clips with those of students that are teachers, or whose weights are used."""
    for _, folder in _source_students(teachers, init_spec):
        inherited = training_clips.load(folder)
        if inherited is not None:
            clips = clips.merged_with(inherited.as_inherited())
    return clips


def contamination_notes(
    task: DistillationTask,
    splits: Sequence[Split],
    teachers: Teachers | None,
    init_spec: Spec | None,
) -> list[str]:
    """Return how many of the test clips the students that it learns from were trained on."""
    rows = np.concatenate([split.test for split in splits])
    test_ids = set(map(str, task.clips.column("clip_id")[rows]))
    return [
        note
        for name, folder in _source_students(teachers, init_spec)
        for note in training_clips.contamination_notes(name, folder, task.card.dataset, test_ids)
    ]


def missing_record_notes(teachers: Teachers | None, init_spec: Spec | None) -> list[str]:
    """Return notes about the students that it learns from whose training clips are not known."""
    return [
        note
        for name, folder in _source_students(teachers, init_spec)
        for note in training_clips.missing_record_notes(name, folder)
    ]


def _source_students(teachers: Teachers | None, init_spec: Spec | None) -> list[tuple[str, Path]]:
    """Return the students that a student learns from, each with its folder."""
    members = teachers.members if teachers else ()
    sources = [(m.embeddings.layout.extractor, m.embeddings.folder.parent) for m in members]
    if init_spec is not None:
        weights = init_spec.sources.values()
        sources += [(init_spec.name, source.path.parent) for source in weights if source.path]
    return list(dict.fromkeys(source for source in sources if source[0].startswith(STUDENT_PREFIX)))
