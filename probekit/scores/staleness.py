"""Stale runs: those of data or code that has changed since, which are not mixed with the others.

A task's present clip table is that of its newest run, or of the run that was last asked for
(:func:`note_clip_table`). A run is stale if

- its clips, labels or splits differ from the present table's (digest of the manifest),
- the same embedding was extracted again by another version of its code, and evaluated, or
- the same run was repeated: with more or fewer clips, or by a changed protocol.

Nothing is deleted: a stale run is meant where its id is written.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probekit.scores import store
from probekit.scores.store import Result, group_key
from probekit.utils import atomic

_Run = tuple[Path, Result]
_Time = tuple[str, int]  # as written, and the file's: several runs may be of one second
_TABLE = "manifest.txt"  # in the folder of a task's results: digest, and when it was asked for
_CODE = ("version", "module")  # parts of an identity that change with the extractor's code

DATA = "the dataset has changed since"
CODE = "the extractor has changed since"
REPEATED = "repeated since"


def find_stale(runs: Sequence[_Run]) -> dict[Path, str]:
    """Return the stale runs among all runs of some tasks, with the reason.

    Parameters
    ----------
    runs : sequence of (pathlib.Path, Result)
        From :func:`probekit.scores.store.list_results`: of a task all, or none.

    Returns
    -------
    dict of pathlib.Path to str
        Files of the stale runs. Of a single run of a task nothing is stale.
    """
    by_task: dict[tuple[Path, str], list[_Run]] = {}
    for path, result in runs:
        by_task.setdefault((path.parent, result["task"]), []).append((path, result))
    stale: dict[Path, str] = {}
    for of_task in by_task.values():
        digest = _present_digest(of_task)
        stale |= {path: DATA for path, result in of_task if result["manifest"] != digest}
        current = [(path, result) for path, result in of_task if path not in stale]
        stale |= _older(current, _embedding_key, _code, CODE)
        current = [(path, result) for path, result in current if path not in stale]
        stale |= _older(current, group_key, _clips_and_folds, REPEATED)
        current = [(path, result) for path, result in current if path not in stale]
        stale |= _older(current, lambda r: (*group_key(r), r["seed"]), lambda r: r["run"], REPEATED)
    return stale


def split_stale(runs: Sequence[_Run]) -> tuple[list[_Run], str]:
    """Return the runs that are not stale, and a line on those that are; empty if none is."""
    stale = find_stale(runs)
    if not stale:
        return list(runs), ""
    tasks = sorted({result["task"] for path, result in runs if path in stale})
    reasons = ", ".join(dict.fromkeys(stale.values()))
    count = f"{len(stale):,} stale run{'s' if len(stale) > 1 else ''} of {', '.join(tasks)}"
    line = f"{count} left out ({reasons}); see probekit results ls --stale"
    return [run for run in runs if run[0] not in stale], line


def note_clip_table(reports: Path, task: str, digest: str) -> None:
    """Note that a task's runs on this clip table were asked for, if newer runs are on another.

    Parameters
    ----------
    reports : pathlib.Path
        The reports folder; one that cannot be written is left as it is.
    task : str
        Name of the task.
    digest : str
        Of the manifest, whose runs are in the folder already.
    """
    runs = store.read_store(reports, task).results
    if not runs or _present_digest(runs) == digest:
        return
    path = runs[0][0].parent / _TABLE
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with suppress(OSError):
        atomic.atomic_write_text(path, f"{digest} {now}\n")


def _present_digest(runs: Sequence[_Run]) -> str:
    """Return the digest of the clip table of a task's newest run, or of that last asked for."""
    newest = max(runs, key=_time)
    path = newest[0].parent / _TABLE
    try:
        digest, written = path.read_text(encoding="utf-8").split()
        asked: _Time = (written, path.stat().st_mtime_ns)
    except (OSError, ValueError):
        return newest[1]["manifest"]
    is_known = any(result["manifest"] == digest for _, result in runs)
    return digest if is_known and asked > _time(newest) else newest[1]["manifest"]


def _time(run: _Run) -> _Time:
    path, result = run
    try:
        return result["created"], path.stat().st_mtime_ns
    except OSError:  # removed meanwhile
        return result["created"], 0


def _older(runs: Iterable[_Run], key: Any, variant: Any, reason: str) -> dict[Path, str]:
    """Return the runs of another variant than the newest run of their key."""
    by_key: dict[Any, list[_Run]] = {}
    for run in runs:
        by_key.setdefault(key(run[1]), []).append(run)
    stale: dict[Path, str] = {}
    for alike in by_key.values():
        newest = variant(max(alike, key=_time)[1])
        stale |= {path: reason for path, result in alike if variant(result) != newest}
    return stale


def _embedding_key(result: Result) -> str:
    """Return what embeddings have in common that differ in the extractor's code at most."""
    plain = [
        {k: v for k, v in source["identity"].items() if k not in _CODE}
        if source["identity"]
        else source["fingerprint"]
        for source in result["sources"]
    ]
    return json.dumps([result["embedding"], plain], sort_keys=True, default=str)


def _code(result: Result) -> list[str]:
    return [source["fingerprint"] for source in result["sources"]]


def _clips_and_folds(result: Result) -> str:
    """Return which clips a run had, in which folds.

    Without the number of training clips where a part of the labels is drawn: seeds draw more or
    fewer, since whole groups are drawn.
    """
    clips = result["clips"]
    missing = [clips["missing_count"], sorted(clips["missing"])]
    drawn = result["fraction"] != 1 or "shots" in result
    folds = [
        [fold["fold"], None if drawn else fold["train"], fold["test"]] for fold in result["folds"]
    ]
    return json.dumps([result["protocol"], clips["of"], missing, folds])
