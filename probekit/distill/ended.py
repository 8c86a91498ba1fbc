"""Runs that were ended early, and what a new one does otherwise."""

import json
import re
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from probekit.distill.course import LOG
from probekit.distill.trained import BEGUN, LOCK

_SAME = ("distill", "task", "method", "fraction", "seed", "fold")  # else it is another experiment
_MOST = 3  # differences of runs that may have been meant to be one
_HASH = re.compile(r"[0-9a-f]{16,}")


def nearest(where: Path, facts: dict[str, Any]) -> str:
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
            said = ", ".join(_said(key, theirs.get(key), mine.get(key)) for key in differing)
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


def _said(key: str, before: Any, now: Any) -> str:
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
    for path in where.parent.glob(f"{where.name[:12]}*/{LOCK}"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        except (NotImplementedError, OSError):  # file systems without locks
            pass
    return False
