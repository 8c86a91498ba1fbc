"""The folder of one student, ``<reports>/students/<run>[-<fold>]``: in training, and trained."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probekit.cache import commit, heard
from probekit.cache.heard import Heard
from probekit.errors import DataError
from probekit.extractors.networks import student as extractor
from probekit.extractors.students import Student
from probekit.manifest import dataset_name

LOCK = ".lock"
BEGUN = "run.json"  # beside a checkpoint: what is being trained


def name(run: str, fold: str, folds: int) -> str:
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
def alone(where: Path) -> Iterator[None]:
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
    lock = FileLock(where / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"{where}: another process is training this run") from error
    except (NotImplementedError, OSError):  # file systems without locks
        pass
    try:
        yield
    finally:
        lock.release()


def begin(where: Path, facts: dict[str, Any], named: Sequence[str]) -> None:
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
    commit.commit_text(path, text)


def finish(where: Path, leftovers: Sequence[str]) -> None:
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


def forget(where: Path) -> None:
    """Take away what is in a student's folder, to train it again."""
    for one in where.iterdir() if where.is_dir() else ():
        if one.is_dir():
            shutil.rmtree(one)
        elif one.name != LOCK:
            one.unlink()


def keep(
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
    learnt: Heard,
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
    heard.keep(where, learnt)
    counts = {
        name: sum(len(ids) for (own, _), ids in learnt.clips.items() if own == use)
        for name, use in (("trained_on", heard.TRAINED), ("chosen_on", heard.CHOSE))
    }
    extractor.keep(
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
