"""Card and clips of a task: from its folder, or from the manifest saved in the cache."""

from pathlib import Path

from probekit import cards
from probekit.cache.collisions import find_collision
from probekit.cache.manifests import latest_manifest, saved_names
from probekit.cards import TaskCard
from probekit.data.manifest import Manifest
from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import Task, load_task, task_from_manifest
from probekit.utils.suggest import unknown_name_error


def resolve_clips(name: str, cache: Path, root: str | Path | None) -> tuple[TaskCard, Manifest]:
    """Return a task's card and clips: from its folder, or as saved in the cache.

    Parameters
    ----------
    name : str
        A task's name, card or table, or the name of an extracted dataset.
    cache : pathlib.Path
        Cache root.
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
        If the task is unknown, or its clips are neither in the cache nor in a folder.
    """
    task = resolve_task(name, cache)
    if root is not None or name.endswith(".csv"):
        clips = task.manifest(Path(root) if root is not None else None)
        collision = find_collision(cache, {task.name}, clips) if name.endswith(".csv") else None
        if collision is not None:
            raise DataError(
                f"{collision}. If these were extracted with --name NAME, evaluate with --task "
                "NAME; otherwise extract them with --name NAME"
            )
        return task.card, clips
    saved = latest_manifest(cache, task.name)
    if saved is not None:
        return task.card, saved
    try:
        return task.card, task.manifest(None)  # some tasks know their clips without a folder
    except DataError as error:
        raise DataError(
            f"{name}: no manifest in {cache} (extraction saves one there). {error}"
        ) from error


def resolve_task(name: str, cache: Path) -> Task:
    """Return a task by name, or an extracted dataset as a task.

    Parameters
    ----------
    name : str
        A task's name, card or table, the name of an extracted dataset, or a folder.
    cache : pathlib.Path
        Cache root.

    Returns
    -------
    Task
        An extracted dataset has the clips of its saved manifest.

    Raises
    ------
    ProbekitError
        If the task is unknown.
    """
    known, saved = cards.card_paths("tasks"), saved_names(cache)
    clips = latest_manifest(cache, name) if name in saved and name not in known else None
    if clips is not None:
        return task_from_manifest(clips)
    try:
        return load_task(name)
    except UnknownNameError as error:
        hint = f"Clip tables in {cache}: {', '.join(saved)}." if saved else ""
        raise unknown_name_error("task", name, {*known, *saved}, hint) from error
