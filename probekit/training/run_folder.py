"""Folder of a training run: lock, settings of an unfinished run, and the trained extractor."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from probekit.cache import training_clips
from probekit.cache.training_clips import TrainingClips
from probekit.errors import DataError
from probekit.extractors.students import extractor
from probekit.extractors.students.base import Student
from probekit.training.state import LOG
from probekit.utils import atomic, locking
from probekit.utils.text import slug

TRAINING_CARD = "training.json"  # of weak labels: data, counts, scores
STARTED = "run.json"  # beside the checkpoint of an unfinished run: its settings
_MAX_DIFFERENCES = 3  # of runs that may have been meant to be one
_HASH = re.compile(r"[0-9a-f]{16,}")


def folder_name(run: str, fold: str, n_folds: int) -> str:
    """Return the folder's name for one fold of a run: NAME of the extractor ``runs/NAME``.

    Parameters
    ----------
    run : str
        Id of the run; its first twelve digits are used.
    fold : str
        Fold that is scored; part of the name if there are several.
    n_folds : int >= 1
        Number of folds.
    """
    return run[:12] if n_folds == 1 else f"{run[:12]}-{slug(fold)}"


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Lock a folder, created if missing; raise a DataError if another process trains in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locking.folder_lock(folder, timeout=0))
        except TimeoutError as error:
            raise DataError(f"{folder}: another process is training this run") from error
        yield


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that was started and not finished.

    Attributes
    ----------
    folder : pathlib.Path
        Folder of the run.
    facts : dict
        All that names it, as read from JSON.
    names : list of str
        Its embeddings as the user wrote them.
    mtime : float
        When it was started.
    """

    folder: Path
    facts: dict[str, Any]
    names: list[str]
    mtime: float


def list_unfinished(root: Path) -> list[UnfinishedRun]:
    """Return the unfinished runs in the folders of ``root``; unreadable ones are left out."""
    runs = []
    for path in sorted(root.glob(f"*/{STARTED}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            facts, names = dict(content["facts"]), list(content["named"])
            runs.append(UnfinishedRun(path.parent, facts, names, path.stat().st_mtime))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return runs


def is_started(folder: Path) -> bool:
    """Tell whether a folder has an unfinished run."""
    return (folder / STARTED).exists()


def mark_started(folder: Path, facts: dict[str, Any], names: Sequence[str]) -> None:
    """Record a run's facts, and its embeddings as the user wrote them, if not done before."""
    if is_started(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"facts": facts, "named": list(names)}, indent=1, ensure_ascii=False)
    atomic.atomic_write_text(folder / STARTED, text)


def clean_up(folder: Path, temporary: Sequence[str]) -> None:
    """Remove what only an unfinished run needs; ``temporary`` are names of further files."""
    for name in (*temporary, STARTED):
        (folder / name).unlink(missing_ok=True)


def clear(folder: Path) -> None:
    """Remove all content of a folder but its lock, to train again."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != locking.NAME:
            path.unlink()


def save_extractor(
    folder: Path,
    network: Student,
    *,
    classes: Sequence[str],
    target: Any,
    crop: Fraction,
    description: str,
    run: str,
    provenance: Sequence[str],
    origin: Mapping[str, Any],
    clips: TrainingClips,
) -> None:
    """Save a trained network as an extractor.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the run.
    network : Student
        Trained network.
    classes : sequence of str
        Target labels in order.
    target : {"single", "multi", "regression"}
        Kind of target.
    crop : fractions.Fraction
        Length of its input in s.
    description : str
        One line for tables.
    run : str
        Id of the result.
    provenance : sequence of str
        Notes that every score from it must show.
    origin : mapping of str to object
        ``task``, ``dataset`` and ``fold`` of the training.
    clips : TrainingClips
        Clips that it was trained and selected on.
    """
    training_clips.save(folder, clips)
    counts = {
        name: sum(len(ids) for (clip_use, _), ids in clips.clip_ids.items() if clip_use == use)
        for name, use in (
            ("trained_on", training_clips.TRAINED),
            ("chosen_on", training_clips.SELECTED),
        )
    }
    extractor.save_student(
        folder,
        network,
        classes=classes,
        target=target,
        crop=crop,
        description=description,
        result=run,
        caveat="; ".join(provenance),
        origin={**origin, **counts},
    )


def save_training_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write what a network was trained on, and its scores."""
    content = json.dumps(facts, ensure_ascii=False, indent=1)
    atomic.atomic_write_text(folder / TRAINING_CARD, content + "\n")


def find_similar_interrupted_run(
    folder: Path, facts: dict[str, Any], identity: Sequence[str]
) -> str:
    """Return a sentence about the interrupted run that is most similar to a new one.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the new run, among those of all runs.
    facts : dict
        All that names the new run.
    identity : sequence of str
        Facts in which similar runs agree.

    Returns
    -------
    str
        Empty if the new run itself was interrupted, or none is similar. Runs that another process
        is training now do not count.
    """
    if is_started(folder):
        return ""
    new = _flatten(json.loads(json.dumps(facts)))  # as read from JSON
    candidates = []
    for run in list_unfinished(folder.parent):
        try:
            old = _flatten(run.facts)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            continue
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        is_similar = 0 < len(changed) <= _MAX_DIFFERENCES and not set(changed) & set(identity)
        epochs = _count_epochs(run.folder)
        if is_similar and epochs and not _is_training(run.folder):
            differences = ", ".join(
                _format_difference(key, old.get(key), new.get(key)) for key in changed
            )
            candidates.append((len(changed), -run.mtime, epochs, run.folder, differences))
    if not candidates:
        return ""
    _, _, epochs, similar, differences = min(candidates)
    return (
        f"an interrupted run (epoch {epochs}) has different settings ({differences}) and is not "
        f"resumed: {similar}"
    )


def _flatten(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts with the recipe's settings beside the others.

    Of the recipe's phases, the number of epochs and the first learning rate remain.
    """
    recipe = dict(facts["recipe"])
    phases = recipe.pop("phases")
    recipe.pop("unchosen")  # follows from the number of epochs
    recipe_name = recipe.pop("name")
    return {
        **{key: value for key, value in facts.items() if key != "recipe"},
        **recipe,
        "recipe": recipe_name,
        "epochs": sum(phase["epochs"] for phase in phases),
        "lr": phases[0]["lr"],
    }


def _format_difference(key: str, old: Any, new: Any) -> str:
    """Return ``key old → new``; the key alone for hashes, lists and mappings."""
    is_short = all(isinstance(value, str | int | float) for value in (old, new))
    if is_short and not any(_HASH.fullmatch(str(value)) for value in (old, new)):
        return f"{key} {old} → {new}"
    return key


def _count_epochs(folder: Path) -> int:
    """Return the number of finished epochs in a folder's log."""
    try:
        return len((folder / LOG).read_text(encoding="utf-8").splitlines()) - 1
    except OSError:
        return 0


def _is_training(folder: Path) -> bool:
    """Tell whether a process trains a run: it holds the lock of the run's first fold."""
    folders = folder.parent.glob(f"{folder.name[:12]}*/{locking.NAME}")
    return any(locking.is_locked(path.parent) for path in folders)
