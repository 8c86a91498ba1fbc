"""A task's clips: from its folder, or as extraction kept them in the cache."""

from pathlib import Path

from probekit import cards
from probekit.cache import collisions
from probekit.cache import manifests as kept
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError, UnknownNameError
from probekit.tasks import task as tasks
from probekit.tasks.task import Task
from probekit.utils.suggest import unknown_name_error


def resolve_clips(task: str, cache: Path, root: str | Path | None) -> tuple[TaskCard, Manifest]:
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
    found = resolve_task(task, cache)
    if root is not None or task.endswith(".csv"):
        own = found.manifest(Path(root) if root is not None else None)
        said = (
            collisions.find_collision(cache, {found.name}, own) if task.endswith(".csv") else None
        )
        if said is not None:
            raise DataError(
                f"{said}. If these were extracted with --name NAME, evaluate with --task NAME; "
                "otherwise extract them so"
            )
        return found.card, own
    clips = kept.latest_manifest(cache, found.name)
    if clips is None:
        try:
            clips = found.manifest(None)  # some tasks know their clips without a folder
        except DataError as error:
            raise DataError(
                f"{task}: its clip table is not in {cache} (extraction keeps it there). {error}"
            ) from error
    return found.card, clips


def resolve_task(text: str, cache: Path) -> Task:
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
    known, also = cards.card_paths("tasks"), kept.saved_names(cache)
    clips = kept.latest_manifest(cache, text) if text in also and text not in known else None
    if clips is not None:
        return tasks.task_from_manifest(clips)
    try:
        return tasks.load_task(text)
    except UnknownNameError as error:
        hint = f"Clip tables in {cache}: {', '.join(also)}." if also else ""
        raise unknown_name_error("task", text, {*known, *also}, hint) from error
