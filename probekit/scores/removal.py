"""Removal of runs: their files, and the trained networks that only they have."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit.cards.selector import STUDENT_PREFIX, display_name
from probekit.errors import DataError
from probekit.scores import store
from probekit.scores.groups import match_runs, no_results_error, resolve_run, run_label
from probekit.scores.staleness import find_stale
from probekit.scores.store import Result
from probekit.utils import locking

_DIGITS = 12  # of a run's id in the names of its files and folders


@dataclass(frozen=True)
class RemovableRun:
    """A run that can be removed.

    Attributes
    ----------
    path : pathlib.Path
        File of the result.
    result : Result
        Its content.
    reason : str
        Why it is stale; empty if it is not.
    students : tuple of pathlib.Path
        Folders of its trained networks.
    users : tuple of str
        Other runs that use its trained networks, and stay.
    """

    path: Path
    result: Result
    reason: str
    students: tuple[Path, ...]
    users: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """The existing files of the result, without its networks."""
        return [path for path in (self.path, self.path.with_suffix(".h5")) if path.exists()]

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        inside = [path for folder in self.students for path in folder.rglob("*")]
        return sum(path.stat().st_size for path in [*self.files, *inside] if path.is_file())


def find_removable(
    names: Sequence[str], *, stale: bool = False, task: str = "", reports: str | Path | None = None
) -> list[RemovableRun]:
    """Return the runs that names mean, or stale runs.

    Parameters
    ----------
    names : sequence of str
        As for :func:`probekit.scores.groups.resolve_run`.
    stale : bool
        Stale runs only: all, or those of the names.
    task : str
        Only of this task.
    reports : str or pathlib.Path, optional
        The reports folder.

    Returns
    -------
    list of RemovableRun
        Each once.

    Raises
    ------
    DataError
        If a name does not mean a run, or a named run has a trained network that others use, which
        are not removed with it (says which).
    """
    root, runs = store.reports_root(reports), store.list_results(reports, task)
    if not runs:
        raise no_results_error(task, reports)
    reasons = find_stale(runs)
    named: dict[Path, None] = {}
    for name in names:
        if stale:
            old = match_runs(name, [run for run in runs if run[0] in reasons])
            if not old:
                raise DataError(f"{root}: no stale run {name!r}; see probekit results ls --stale")
            named |= dict.fromkeys(path for path, _ in old)
        else:
            named |= dict.fromkeys(resolve_run(name, task, reports).paths)
    paths = list(reasons) if stale and not names else list(named)
    by_path, removed = dict(runs), set(paths)
    rest = [result for path, result in store.list_results(reports) if path not in removed]
    removable = []
    for path in paths:
        result = by_path[path]
        users = [_describe(other) for other in rest if _uses(other, result["run"])]
        if users and path in named:
            raise DataError(
                f"run {result['run'][:_DIGITS]} ({run_label(result)}) has a trained network that "
                f"others use: {'; '.join(users)}. Remove them first, or name them as well"
            )
        folders = root.joinpath("students").glob(f"{result['run'][:_DIGITS]}*")
        students = tuple(sorted(folder for folder in folders if folder.is_dir()))
        removable.append(RemovableRun(path, result, reasons.get(path, ""), students, tuple(users)))
    return removable


def remove_run(run: RemovableRun) -> None:
    """Remove a run; its result goes last, so that an interrupted removal can be repeated.

    Raises
    ------
    DataError
        If a process trains in one of its folders.
    """
    for folder in run.students:
        if locking.is_locked(folder):
            raise DataError(f"{folder}: a process is training this run")
        shutil.rmtree(folder)
    for path in reversed(run.files):
        path.unlink(missing_ok=True)


def _uses(result: Result, run: str) -> bool:
    """Tell whether a run has the network of another one as embedding, teacher or first weights."""
    name = f"{STUDENT_PREFIX}{run[:_DIGITS]}"
    values: list[Any] = [source["extractor"] for source in result["sources"]]
    values += [result["settings"].get("init"), *_as_list(result["settings"].get("teachers"))]
    shown = display_name(name)
    return any(str(value).startswith((name, shown)) for value in values if value)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _describe(result: Result) -> str:
    return f"{result['run'][:_DIGITS]} ({run_label(result)} on {result['task']})"
