"""Card and clips of a task: from its folder, or from the manifest saved in the cache."""

import os
from functools import partial
from pathlib import Path

from probekit import cards
from probekit.cache import collisions
from probekit.cache.manifests import latest_manifest, saved_names
from probekit.cards import TaskCard
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import DataError, UnknownNameError
from probekit.tasks.task import (
    Task,
    is_user_data,
    load_task,
    load_user_task,
    task_from_manifest,
)
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
    task = resolve_task(name, cache, root)
    if root is not None or task.source is not None:
        clips = task.manifest(Path(root) if root is not None else None)
        if task.source is not None:
            names = {task.name, task.card.dataset}
            collision = collisions.find_collision(cache, names, clips, exclusive=True)
            if collision is not None:
                raise DataError(f"{collision}. Extract these with --name NAME")
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


def resolve_task(name: str, cache: Path, root: str | Path | None = None) -> Task:
    """Return a task by name, or an extracted dataset as a task.

    Parameters
    ----------
    name : str
        A task's name, card or table, the name of an extracted dataset, or a folder.
    cache : pathlib.Path
        Cache root.
    root : str or pathlib.Path, optional
        The dataset's folder.

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
        rival = collisions.find_rival(cache, name)
        if rival is not None:
            raise DataError(rival)
        _check_folder(name, clips)
        return task_from_manifest(clips, collisions.find_dataset(cache, clips))
    if is_user_data(name):
        saved_as = collisions.find_saved_name(cache, Path(name)) or None
        if root is None and saved_as is not None:  # a table's recordings may be elsewhere
            former = latest_manifest(cache, saved_as)
            root = former.root if former is not None else None
        return load_user_task(
            Path(name),
            saved_as,
            Path(root) if root is not None else None,
            partial(collisions.find_dataset, cache),
        )
    try:
        return load_task(name)
    except UnknownNameError as error:
        hint = f"Clip tables in {cache}: {', '.join(saved)}." if saved else ""
        raise unknown_name_error("task", name, {*known, *saved}, hint) from error


def _check_folder(name: str, clips: Manifest) -> None:
    """Raise if a name of extracted clips is also that of a folder here, with other recordings."""
    folder, origin = Path(name), clips.source or clips.root
    if not folder.is_dir() or origin is None:
        return
    if folder.resolve() in (origin.resolve(), clips.root and clips.root.resolve()):
        return
    first = next((path for path in clips.columns["path"].to_pylist() if path), "")
    inside = (clips.root or Path()) / first
    if not first or folder.resolve() in inside.resolve().parents or (folder / first).exists():
        return
    try:
        readers.from_folder(folder)
    except DataError:
        return  # it holds no recordings
    raise UnknownNameError(
        f"{name!r} is the name of clips that were extracted from {origin}, and a folder here with "
        f"other recordings. Give --task {name}{os.sep} for the folder, or --task {origin}"
    )
