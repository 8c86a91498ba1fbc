"""What a student has learnt from: clips of its own, and those of students that taught it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probekit.cache import training_clips
from probekit.cache.training_clips import TrainingClips
from probekit.cards.selector import STUDENT
from probekit.distillation.task_data import DistillationTask
from probekit.distillation.teachers import Teachers
from probekit.extractors.load import Spec
from probekit.tasks.splits import Split


def collect_training_clips(
    given: DistillationTask, split: Split, teachers: Teachers | None, first: Spec | None
) -> TrainingClips:
    """Return the clips that one fold's student learns from.

    Parameters
    ----------
    given : Given
        The task.
    split : Split
        The fold.
    teachers : Teachers or None
        Who teaches it.
    first : Spec or None
        The extractor whose weights come first.

    Returns
    -------
    Heard
        What it is trained on, what chooses its epoch, and what was heard before.
    """
    ids, dataset = given.clips.column("clip_id"), given.card.dataset
    found = TrainingClips(
        {
            (training_clips.TRAINED, dataset): frozenset(map(str, ids[split.train])),
            (training_clips.CHOSE, dataset): frozenset(map(str, ids[split.valid])),
        }
    )
    for _, folder in _inherited(teachers, first):
        own = training_clips.load(folder)
        if own is not None:
            found = found.merged_with(own.as_inherited())
    return found


def notes(
    given: DistillationTask,
    divisions: Sequence[Split],
    teachers: Teachers | None,
    first: Spec | None,
) -> list[str]:
    """Say which share of the test clips the students that teach have learnt from.

    Parameters
    ----------
    given : Given
        The task.
    divisions : sequence of Split
        Its folds.
    teachers : Teachers or None
        Who teaches.
    first : Spec or None
        The extractor whose weights come first.

    Returns
    -------
    list of str
        In words; none where no student teaches.
    """
    rows = np.concatenate([split.test for split in divisions])
    tested = set(map(str, given.clips.column("clip_id")[rows]))
    return [
        text
        for name, folder in _inherited(teachers, first)
        for text in training_clips.contamination_notes(name, folder, given.card.dataset, tested)
    ]


def unknown(teachers: Teachers | None, first: Spec | None) -> list[str]:
    """Say of which students that teach it is not known what they have learnt from."""
    return [
        text
        for one in _inherited(teachers, first)
        for text in training_clips.models_without_record(*one)
    ]


def _inherited(teachers: Teachers | None, first: Spec | None) -> list[tuple[str, Path]]:
    """Return the trained students that this one learns from, and where their clips are kept."""
    members = teachers.members if teachers else ()
    found = [(m.embeddings.layout.extractor, m.embeddings.where.parent) for m in members]
    if first is not None:
        found += [(first.name, s.path.parent) for s in first.sources.values() if s.path]
    return list(dict.fromkeys(one for one in found if one[0].startswith(STUDENT)))
