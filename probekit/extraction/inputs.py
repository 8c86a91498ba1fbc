"""Which recordings an extraction is asked for."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from probekit.cache import collisions
from probekit.data import manifest as manifests
from probekit.data import readers
from probekit.data.manifest import Manifest
from probekit.errors import DataError, ProbekitError
from probekit.tasks import task as tasks


def resolve_clips(
    task: str | None,
    root: str | Path | None,
    audio: str | Path | None,
    manifest: str | Path | Manifest | None,
    name: str | None,
) -> tuple[Manifest, str]:
    """Return the clips that are meant, and the name of their dataset.

    Parameters
    ----------
    task, root, audio, manifest, name : optional
        As :func:`probekit.extraction.extract.extract` takes them.

    Returns
    -------
    Manifest
        The clips.
    str
        The dataset's name in the cache.

    Raises
    ------
    ProbekitError
        If it is not said, or said twice, which recordings are meant, or they are not there.
    """
    given = [value for value in (task, audio, manifest) if value is not None]
    ways = "--task TASK --root DIR, or --audio DIR, or --manifest FILE"
    if not given:
        raise ProbekitError(f"say which recordings: {ways}")
    if len(given) > 1:
        raise ProbekitError(f"give only one of {ways}; here are {len(given)}")
    table = task is not None and task.endswith(".csv")
    named = task is not None and not table
    if name is not None and (named or name != manifests.dataset_name(name)):
        raise ProbekitError(
            f"--name {name}: for --audio, --manifest and --task FILE.csv; lower case letters, "
            "digits, dots, dashes"
        )
    folder = Path(root) if root is not None else None
    if audio is not None and folder is not None:
        raise ProbekitError("--root belongs to --task or --manifest; leave it out with --audio")
    if folder is not None and not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise DataError(f"--root {folder}: {what}")
    if task is not None and name is None:
        found = tasks.load_task(task)
        if folder is None and not found.is_user_data:
            raise ProbekitError(
                f"--task {task} needs --root DIR: the dataset's folder. {found.card.download}"
            )
        return found.manifest(folder, audio=True), found.card.dataset
    if isinstance(manifest, Manifest):
        return manifest, manifest.name
    if audio is not None:
        listed = readers.from_folder(Path(audio), name)
    else:
        listed = readers.from_csv(Path(str(task or manifest)), root=folder, name=name)
    return listed, listed.name


def check_collision(clips: Manifest, dataset: str, task: str | None, cache: Path) -> None:
    """Refuse to replace the embeddings of other recordings under the same name and clip ids.

    Parameters
    ----------
    clips : Manifest
        All clips of the task, folder or table.
    dataset : str
        Their dataset's name.
    task : str, optional
        As :func:`probekit.extraction.extract.extract` takes it.
    cache : pathlib.Path
        The cache's folder.

    Raises
    ------
    DataError
        If the name stands for recordings that are still there, and are not these.
    """
    said = collisions.find_collision(cache, {dataset, clips.name}, clips)
    if said is not None:
        rename = "Rename the table or folder, or give these clips a name of their own: --name NAME"
        own = task is None or task.endswith(".csv")
        raise DataError(f"{said}. {rename if own else 'Use another --cache for one of the two'}")


def manifests_to_save(
    clips: Manifest, dataset: str, task: str | None, root: str | Path | None
) -> list[Manifest]:
    """Return the manifests to keep: this one, and those of other tasks on the same dataset.

    Parameters
    ----------
    clips : Manifest
        All clips of the task, folder or table.
    dataset : str
        Their dataset's name.
    task, root : optional
        As :func:`probekit.extraction.extract.extract` takes them.

    Returns
    -------
    list of Manifest
        ``clips`` is the first.
    """
    if task is None or root is None:
        return [clips]
    found = [clips]
    for own in tasks.tasks_with_same_corpus(dataset):
        if own.name != clips.name:
            with suppress(ProbekitError):  # the folder need not hold what another task needs
                found.append(own.manifest(Path(root)))
    return found


def subsample_evenly(clips: Manifest, limit: int) -> Manifest:
    """Return a few clips, spread evenly over the manifest.

    Parameters
    ----------
    clips : Manifest
        Of which.
    limit : int >= 1
        How many.

    Returns
    -------
    Manifest
        At most that many clips.

    Raises
    ------
    ProbekitError
        If the limit is below 1.
    """
    if limit < 1:
        raise ProbekitError(f"--limit {limit}: at least 1")
    count = min(limit, len(clips))
    return clips.subset(np.unique(np.linspace(0, len(clips) - 1, count).round().astype(int)))
