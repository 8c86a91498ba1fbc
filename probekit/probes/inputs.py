"""What a probe is given: a task's clips, and their embeddings from the cache."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.cache import manifests as kept
from probekit.cache.store import Embeddings
from probekit.cards import TaskCard
from probekit.errors import DataError, UnknownNameError
from probekit.manifest import Manifest
from probekit.selection import Selection
from probekit.tasks import base as tasks

Array = npt.NDArray[Any]


def clips_of(task: str, cache: Path, root: str | Path | None) -> tuple[TaskCard, Manifest]:
    """Return a task's card and clips: from its folder if given, else as kept in the cache.

    Parameters
    ----------
    task : str
        A task's name, card or table, or the name of a dataset that was extracted.
    cache : pathlib.Path
        The cache's folder.
    root : str or pathlib.Path, optional
        The dataset's folder.

    Returns
    -------
    card : TaskCard
        The task's facts.
    clips : Manifest
        Its clips.

    Raises
    ------
    ProbekitError
        If the task is not known, or its clips are neither in the cache nor in a folder.
    """
    try:
        found = tasks.load_task(task)
    except UnknownNameError as error:  # not a task, but a folder that was extracted
        also = kept.names(cache)
        clips = kept.newest(cache, task) if task in also else None
        if clips is None:
            hint = f" Clip tables in {cache}: {', '.join(also)}." if also else ""
            raise UnknownNameError(f"{error}{hint}") from error
        return tasks.infer_card(clips), clips
    if root is not None or task.endswith(".csv"):
        return found.card, found.manifest(Path(root) if root is not None else None)
    clips = kept.newest(cache, found.name)
    if clips is None:
        try:
            clips = found.manifest(None)  # some tasks know their clips without a folder
        except DataError as error:
            raise DataError(
                f"{task}: its clip table is not in {cache} (extraction keeps it there). {error}"
            ) from error
    return found.card, clips


def features_of(
    embeddings: Embeddings, clips: Manifest, chosen: Selection
) -> tuple[Array, Manifest, dict[str, str]]:
    """Return the embeddings of a manifest's clips, and which clips have none.

    Parameters
    ----------
    embeddings : Embeddings
        From the cache.
    clips : Manifest
        The task's clips.
    chosen : Selection
        Stream and pooling.

    Returns
    -------
    features : numpy.ndarray, shape (clips, dim), float32
        Of the clips that have an embedding.
    present : Manifest
        Those clips, in the same order.
    missing : dict of str to str
        The others, with the reason.

    Raises
    ------
    DataError
        If no clip has an embedding, or one holds NaN or infinite values.
    """
    there = set(embeddings.clip_ids)
    ids = clips.clip_ids
    rows = [k for k, clip_id in enumerate(ids) if clip_id in there]
    if not rows:
        raise DataError(
            f"none of the {len(ids)} clips of {clips.name} is in {embeddings.where}; clip ids "
            f"there look like {embeddings.clip_ids[:2]}, the task's like {ids[:2]}"
        )
    failures = embeddings.failures
    missing = {i: failures.get(i, "not extracted") for i in ids if i not in there}
    present = clips if len(rows) == len(ids) else clips.subset(rows)
    features = embeddings.vectors(present.clip_ids, chosen.stream, chosen.pool)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(rows)} embeddings in {embeddings.where} hold NaN or infinite "
            f"values, for example that of {present.clip_ids[bad[0]]!r}"
        )
    return features, present, missing
