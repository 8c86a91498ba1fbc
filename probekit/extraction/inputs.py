"""Inputs of an extraction: the manifest of a task, a folder, a CSV or a Manifest object."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from probekit.cache import collisions
from probekit.data import readers
from probekit.data.manifest import Manifest, dataset_name
from probekit.errors import DataError, ProbekitError
from probekit.tasks.task import load_task, tasks_with_same_corpus

_INPUTS = "--task TASK --root DIR, --audio DIR, or --manifest FILE"


def resolve_clips(
    task: str | None,
    root: str | Path | None,
    audio: str | Path | None,
    manifest: str | Path | Manifest | None,
    name: str | None,
) -> tuple[Manifest, str]:
    """Return the requested clips, and the name of their dataset in the cache.

    Parameters are those of :func:`probekit.extraction.extract.extract`.

    Raises
    ------
    ProbekitError
        If none or several inputs are given, they contradict, or recordings were not found.
    """
    inputs = [value for value in (task, audio, manifest) if value is not None]
    if len(inputs) != 1:
        raise ProbekitError(f"give exactly one of {_INPUTS}, got {len(inputs)}")
    has_card = task is not None and not task.endswith(".csv")
    if name is not None and (has_card or name != dataset_name(name)):
        raise ProbekitError(
            f"--name must be lower case letters, digits, dots and dashes, and go with --audio, "
            f"--manifest or --task FILE.csv, got {name}"
        )
    folder = Path(root) if root is not None else None
    if audio is not None and folder is not None:
        raise ProbekitError("--root goes with --task or --manifest; leave it out with --audio")
    if folder is not None and not folder.is_dir():
        fault = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"--root {folder}: {fault}")
    if task is not None and name is None:
        loaded = load_task(task)
        if folder is None and not loaded.is_user_data:
            raise ProbekitError(
                f"--task {task} needs --root DIR: the dataset's folder. {loaded.card.download}"
            )
        return loaded.manifest(folder, audio=True), loaded.card.dataset
    if isinstance(manifest, Manifest):
        return manifest, manifest.name
    if audio is not None:
        clips = readers.from_folder(Path(audio), name)
    else:
        clips = readers.from_csv(Path(str(task or manifest)), root=folder, name=name)
    return clips, clips.name


def check_collision(manifest: Manifest, dataset: str, task: str | None, cache: Path) -> None:
    """Raise if the cache holds embeddings of other recordings under the same name and clip ids.

    Raises
    ------
    DataError
        If the name stands for other recordings that still exist.
    """
    collision = collisions.find_collision(cache, {dataset, manifest.name}, manifest)
    if collision is not None:
        if task is None or task.endswith(".csv"):
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
