"""Inputs of an extraction: the manifest of a task, a folder, a CSV or a Manifest object."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from probekit import cards
from probekit.cache import collisions
from probekit.data import readers
from probekit.data.manifest import Manifest, dataset_name
from probekit.errors import DataError, ProbekitError
from probekit.tasks.task import infer_card, is_user_data, load_task, tasks_with_same_corpus

_INPUTS = "--task TASK --root DIR, --audio DIR, or --manifest FILE"


def resolve_clips(
    task: str | None,
    root: str | Path | None,
    audio: str | Path | None,
    manifest: str | Path | Manifest | None,
    name: str | None,
    cache: Path,
) -> tuple[Manifest, str]:
    """Return the requested clips, and the name of their dataset in the cache.

    Parameters are those of :func:`probekit.extraction.extract.extract`. A folder or table that the
    cache knows under a name keeps it.

    Raises
    ------
    ProbekitError
        If none or several inputs are given, they contradict, or recordings were not found.
    """
    inputs = [value for value in (task, audio, manifest) if value is not None]
    if len(inputs) != 1:
        raise ProbekitError(f"give exactly one of {_INPUTS}, got {len(inputs)}")
    source = audio if audio is not None else task if task and is_user_data(task) else None
    if isinstance(manifest, (str, Path)):
        source = manifest
    if name is not None and source is None:
        raise ProbekitError(
            f"--name goes with --audio, --manifest or --task FILE.csv: data of your own, got {name}"
        )
    if name is not None and name != dataset_name(name):
        raise ProbekitError(
            f"--name must be a name that a folder can have, such as {dataset_name(name)!r}, got "
            f"{name!r}"
        )
    folder = Path(root) if root is not None else None
    if audio is not None and folder is not None:
        raise ProbekitError("--root goes with --task or --manifest; leave it out with --audio")
    if folder is not None and not folder.is_dir():
        fault = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"--root {folder}: {fault}")
    if task is not None and source is None:
        loaded = load_task(task)
        if folder is None and not loaded.is_user_data:
            raise ProbekitError(
                f"--task {task} needs --root DIR: the dataset's folder. {loaded.card.download}"
            )
        return loaded.manifest(folder, audio=True), loaded.card.dataset
    if isinstance(manifest, Manifest):
        if manifest.name != dataset_name(manifest.name):
            raise DataError(
                f"the manifest's name must be one like {dataset_name(manifest.name)!r}, got "
                f"{manifest.name!r}"
            )
        return manifest, manifest.name
    path = Path(str(source))
    saved_name = name or collisions.find_saved_name(cache, path) or None
    if path.is_dir():
        if folder is not None:
            raise DataError(f"--root {root}: {path} is a folder of recordings; leave out --root")
        clips = readers.from_folder(path, saved_name)
    elif audio is not None:
        raise DataError(f"{path}: {'not a folder' if path.exists() else 'no such folder'}")
    else:
        clips = readers.from_csv(path, root=folder, name=saved_name)
        infer_card(clips)  # raises for columns that contradict
    _check_not_reserved(clips.name)
    return clips, clips.name if name else collisions.find_dataset(cache, clips)


def _check_not_reserved(name: str) -> None:
    """Raise if a user's data would have the name of a task, or of its dataset."""
    all_cards = cards.load_valid_task_cards()
    reserved = {card.dataset.casefold(): card.name for card in all_cards}
    reserved |= {card.name.casefold(): card.name for card in all_cards}
    if name.casefold() in reserved:
        task = reserved[name.casefold()]
        raise DataError(
            f"{name!r} is the name of the task {task!r} or its dataset. Name clips of your own "
            f"with --name NAME; to extract that dataset, use --task {task} --root DIR"
        )


def check_collision(manifest: Manifest, dataset: str, task: str | None, cache: Path) -> None:
    """Raise if the cache holds embeddings of other recordings under the same name.

    Raises
    ------
    DataError
        If the name stands for other recordings that still exist.
    """
    user_data = manifest.source is not None
    collision = collisions.find_collision(
        cache, {dataset, manifest.name}, manifest, exclusive=user_data
    )
    if collision is not None:
        if task is None or user_data:
            hint = "Rename the CSV or folder, or name these clips with --name NAME"
        else:
            hint = "Use another --cache for one of the two"
        raise DataError(f"{collision}. {hint}")


def manifests_to_save(
    manifest: Manifest, dataset: str, task: str | None, root: str | Path | None
) -> list[Manifest]:
    """Return the manifests to save: this one, and those of other tasks on the same dataset."""
    if task is None or root is None:
        return [manifest]
    manifests = [manifest]
    for other in tasks_with_same_corpus(dataset):
        if other.name != manifest.name:
            with suppress(ProbekitError):  # the folder may lack files of another task
                manifests.append(other.manifest(Path(root)))
    return manifests


def subsample_evenly(manifest: Manifest, limit: int) -> Manifest:
    """Return at most ``limit`` clips, spread evenly over the manifest."""
    if limit < 1:
        raise ProbekitError(f"--limit must be >= 1, got {limit}")
    count = min(limit, len(manifest))
    return manifest.subset(np.unique(np.linspace(0, len(manifest) - 1, count).round().astype(int)))
