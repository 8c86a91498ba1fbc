"""A task's clips: from its folder, or as extraction kept them in the cache."""

from pathlib import Path

from probekit.cache import manifests as kept
from probekit.cards import TaskCard
from probekit.errors import DataError, UnknownNameError
from probekit.manifest import Manifest
from probekit.tasks import base as tasks


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
