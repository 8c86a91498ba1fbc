"""Tables of vectors or distributions as teachers: imported into the cache under their own name."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from probekit.cache.import_export import import_arrays
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError
from probekit.targets.target_file import SUFFIXES, read_targets
from probekit.utils.text import slug


def is_teacher_file(name: str) -> bool:
    """Tell whether a teacher is named by a file of targets, not as an embedding in the cache."""
    return name.endswith(SUFFIXES) and ":" not in Path(name).name


def import_teacher(
    name: str, card: TaskCard, clips: Manifest, cache: Path, *, as_logits: bool = False
) -> str:
    """Import a file of targets for the clips of a task, and return the embedding's name.

    Parameters
    ----------
    name : str
        As for :func:`probekit.targets.target_file.read_targets`.
    card : TaskCard
        The task's facts.
    clips : Manifest
        Its clips; those without a target are as clips without an embedding.
    cache : pathlib.Path
        The cache's folder.
    as_logits : bool
        Whether distributions are stored as logarithms, in the order of the task's classes.

    Raises
    ------
    DataError
        If the file cannot be read, no clip of the task has a target, or the classes are others.
    """
    path = Path(name)
    targets = read_targets(path)
    matches = targets.match(clips.clip_ids, card.dataset, f"--teacher {name}")
    rows = np.flatnonzero(matches >= 0)
    values = targets.values[matches[rows]]
    if as_logits and targets.kind == "distributions":
        if targets.names and set(targets.names) != set(clips.class_names):
            raise DataError(
                f"--teacher {name}: its columns ({', '.join(targets.names[:3])} …) are not the "
                f"classes of {card.name} ({', '.join(clips.class_names[:3])} …)"
            )
        if targets.names:
            values = values[:, [targets.names.index(label) for label in clips.class_names]]
        values = np.log(np.maximum(values, np.finfo(np.float32).tiny))
    with TemporaryDirectory() as folder:
        array = Path(folder) / "targets.npy"
        np.save(array, values)
        embeddings = import_arrays(
            slug(path.stem),
            clips.subset(rows),
            [array],
            cache=cache,
            dataset=card.dataset,
            note=f"targets of {path.name}",
        )
    return f"{slug(path.stem)}@{embeddings.layout.fingerprint[:8]}"
