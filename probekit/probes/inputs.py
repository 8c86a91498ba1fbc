"""A task's clips: from its folder, or as extraction kept them in the cache."""

from pathlib import Path

from probekit import cards
from probekit.cache import claims
from probekit.cache import manifests as kept
from probekit.cards import TaskCard
from probekit.errors import DataError, UnknownNameError
from probekit.manifest import Manifest
from probekit.registry import unknown
from probekit.tasks import base as tasks
from probekit.tasks.base import Task


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
    found = task_of(task, cache)
    if root is not None or task.endswith(".csv"):
        own = found.manifest(Path(root) if root is not None else None)
        said = claims.clash(cache, {found.name}, own) if task.endswith(".csv") else None
        if said is not None:
            raise DataError(
                f"{said}. If these were extracted with --name NAME, evaluate with --task NAME; "
                "otherwise extract them so"
            )
        return found.card, own
    clips = kept.newest(cache, found.name)
    if clips is None:
        try:
            clips = found.manifest(None)  # some tasks know their clips without a folder
        except DataError as error:
            raise DataError(
                f"{task}: its clip table is not in {cache} (extraction keeps it there). {error}"
            ) from error
    return found.card, clips


def task_of(text: str, cache: Path) -> Task:
    """Return a task, or what was extracted without one.

    Parameters
    ----------
    text : str
        A task's name, card or table, the name of a dataset that was extracted, or a folder.
    cache : pathlib.Path
        The cache's folder.

    Returns
    -------
    Task
        Of a dataset that was extracted: with the clips as they were kept.

    Raises
    ------
    ProbekitError
        If the task is not known.
    """
    known, also = cards.names("tasks"), kept.names(cache)
    clips = kept.newest(cache, text) if text in also and text not in known else None
    if clips is not None:
        return tasks.kept_task(clips)
    try:
        return tasks.load_task(text)
    except UnknownNameError as error:
        hint = f"Clip tables in {cache}: {', '.join(also)}." if also else ""
        raise unknown("task", text, {*known, *also}, hint) from error
