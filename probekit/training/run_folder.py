"""Runs that were ended early, and what a new one does otherwise."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from probekit.cache import training_clips
from probekit.cache.training_clips import TrainingClips
from probekit.data.manifest import dataset_name
from probekit.errors import DataError
from probekit.extractors.students import extractor
from probekit.extractors.students.zoo import Student
from probekit.training.state import LOG
from probekit.utils import atomic, locking

BEGUN = "run.json"  # beside a checkpoint: what is being trained


def student_id(run: str, fold: str, folds: int) -> str:
    """Return what a trained student is called: ``-e runs/<name>``.

    Parameters
    ----------
    run : str
        Its run's id.
    fold : str
        The fold that it has not heard.
    folds : int >= 1
        How many there are; of a single one nothing is said.

    Returns
    -------
    str
        Twelve digits of the run, and the fold.
    """
    return run[:12] if folds == 1 else f"{run[:12]}-{dataset_name(fold)}"


@contextmanager
def exclusive_lock(where: Path) -> Iterator[None]:
    """Hold a student's folder, so that no other process trains the same one meanwhile.

    Parameters
    ----------
    where : pathlib.Path
        Its folder; made if it is not there.

    Raises
    ------
    DataError
        If another process holds it.
    """
    where.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locking.folder_lock(where, timeout=0))
        except TimeoutError as error:
            raise DataError(f"{where}: another process is training this run") from error
        yield


def mark_started(where: Path, facts: dict[str, Any], named: Sequence[str]) -> None:
    """Note what is being trained in a folder, if nothing else of the kind is.

    Parameters
    ----------
    where : pathlib.Path
        The student's folder, ``<reports>/students/`` and :func:`name`; made if it is not there.
    facts : dict
        All that names the run; ``teachers`` among it.
    named : sequence of str
        The teachers as the user named them.

    Raises
    ------
    DataError
        If a run that was ended early had the same names, but other fingerprints: going on with it
        is most likely what was meant.
    """
    path = where / BEGUN
    if path.exists():
        return
    mine = json.loads(json.dumps(facts))  # as it is read again
    for other in sorted(where.parent.glob(f"*/{BEGUN}")):
        try:
            theirs = json.loads(other.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        same = {**theirs["facts"], "teachers": None} == {**mine, "teachers": None}
        if same and theirs["named"] == list(named):
            before, now = (", ".join(f["teachers"]["are"]) for f in (theirs["facts"], mine))
            raise DataError(
                f"{other.parent}: a run of the same settings was ended early; its teachers were "
                f"{before}, now they are {now}. Name those of before (--teacher NAME@FINGERPRINT) "
                "to go on with it, or delete that folder"
            )
    where.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"facts": facts, "named": list(named)}, indent=1, ensure_ascii=False)
    atomic.atomic_write_text(path, text)


def clean_up(where: Path, leftovers: Sequence[str]) -> None:
    """Take away what only an unfinished training needs.

    Parameters
    ----------
    where : pathlib.Path
        The student's folder.
    leftovers : sequence of str
        Names of files in it.
    """
    for one in (*leftovers, BEGUN):
        (where / one).unlink(missing_ok=True)


def clear(where: Path) -> None:
    """Take away what is in a student's folder, to train it again."""
    for one in where.iterdir() if where.is_dir() else ():
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != locking.NAME:
            one.unlink()


def save_student(
    where: Path,
    student: Student,
    *,
    classes: Sequence[str],
    target: Any,
    crop: Fraction,
    description: str,
    run: str,
    provenance: Sequence[str],
    origin: Mapping[str, Any],
    learnt: TrainingClips,
) -> None:
    """Keep a trained student as an extractor.

    Parameters
    ----------
    where : pathlib.Path
        Its folder.
    student : Student
        With its weights.
    classes : sequence of str
        The task's labels, in their order.
    target : {"single", "multi", "regression"}
        What the task asks for.
    crop : fractions.Fraction
        Seconds that it heard at once.
    description : str
        One line for tables.
    run : str
        The result's id.
    provenance : sequence of str
        What every number from it must show.
    origin : mapping of str to object
        ``task``, ``dataset`` and ``fold`` that it was trained for.
    learnt : Heard
        The clips that it has learnt from.
    """
    training_clips.save(where, learnt)
    counts = {
        name: sum(len(ids) for (own, _), ids in learnt.clips.items() if own == use)
        for name, use in (
            ("trained_on", training_clips.TRAINED),
            ("chosen_on", training_clips.CHOSE),
        )
    }
    extractor.save_student(
        where,
        student,
        classes=classes,
        target=target,
        crop=crop,
        description=description,
        result=run,
        caveat="; ".join(provenance),
        origin={**origin, **counts},
    )


_SAME = ("distill", "task", "method", "fraction", "seed", "fold")  # else it is another experiment
_MOST = 3  # differences of runs that may have been meant to be one
_HASH = re.compile(r"[0-9a-f]{16,}")


def find_similar_interrupted_run(where: Path, facts: dict[str, Any]) -> str:
    """Say which run that was ended early is the nearest to one that begins anew.

    Parameters
    ----------
    where : pathlib.Path
        The new one's folder among those of all students.
    facts : dict
        All that names the new one, and its ``fold``.

    Returns
    -------
    str
        A sentence; empty where the run goes on itself, or none is near. Runs that another process
        trains at this moment do not count.
    """
    if (where / BEGUN).exists():
        return ""
    mine = _plain(json.loads(json.dumps(facts)))  # as it is read again
    found = []
    for path in where.parent.glob(f"*/{BEGUN}"):
        try:
            theirs = _plain(json.loads(path.read_text(encoding="utf-8"))["facts"])
            changed = path.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
            continue
        differing = [key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key)]
        near = 0 < len(differing) <= _MOST and not set(differing) & set(_SAME)
        done = _epochs(path.parent)
        if near and done and not _trained_now(path.parent):
            said = ", ".join(
                _format_difference(key, theirs.get(key), mine.get(key)) for key in differing
            )
            found.append((len(differing), -changed, done, path.parent, said))
    if not found:
        return ""
    _, _, done, folder, said = min(found)
    return (
        f"a run that was ended at epoch {done} differs in: {said}; it is not gone on with "
        f"({folder})"
    )


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what names a run without nesting; of the phases, the epochs and the first rate."""
    own = {key: value for key, value in facts.items() if key not in ("recipe", "teachers")}
    recipe = dict(facts["recipe"])
    phases = recipe.pop("phases")
    # what follows from the number of epochs is no difference of its own
    kept = {key: value for key, value in recipe.items() if key not in ("name", "unchosen")}
    return {
        **own,
        **kept,
        "recipe": recipe["name"],
        "epochs": sum(phase["epochs"] for phase in phases),
        "lr": phases[0]["lr"],
        "teachers": [*facts["teachers"]["are"], facts["teachers"]["digest"]],
    }


def _format_difference(key: str, before: Any, now: Any) -> str:
    """Say one difference; of hashes and lists only where it is."""
    short = all(isinstance(value, str | int | float) for value in (before, now))
    if short and not any(_HASH.fullmatch(str(value)) for value in (before, now)):
        return f"{key} {before} → {now}"
    return key


def _epochs(where: Path) -> int:
    """Return how many whole epochs a folder's training has."""
    try:
        return len((where / LOG).read_text(encoding="utf-8").splitlines()) - 1
    except OSError:
        return 0


def _trained_now(where: Path) -> bool:
    """Tell whether a process trains a run: it holds the folder of the run's first fold."""
    folders = where.parent.glob(f"{where.name[:12]}*/{locking.NAME}")
    return any(locking.is_locked(path.parent) for path in folders)
