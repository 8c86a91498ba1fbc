"""Recordings whose names are known, but not where in a folder they lie, or whether they are there.

Of datasets that are collected from YouTube everybody has another share, in folders of their own.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from probekit.audio.recording import FOREIGN, SUFFIXES
from probekit.cards import TaskCard
from probekit.errors import DataError
from probekit.utils.text import summarize_ids

_AUDIO = {suffix: rank for rank, suffix in enumerate(sorted(SUFFIXES) + sorted(FOREIGN))}


def index_recordings(root: Path) -> dict[str, str]:
    """Return all recordings below a folder, by their names; one walk, no file is opened.

    Parameters
    ----------
    root : pathlib.Path
        The folder. Links to folders are followed, hidden folders left out.

    Returns
    -------
    dict of str to str
        File name without suffix to the path relative to ``root``, with ``/``. Of two files of one
        name, formats of sound alone (wav, flac …) go before those that may be video, then the path
        that comes first in alphabetical order.
    """
    best: dict[str, tuple[int, str]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        stat = os.stat(folder)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:  # a link that leads back, or to the same place
            inner.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        place = Path(folder).relative_to(root).as_posix()
        prefix = "" if place == "." else f"{place}/"
        for name in files:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 (millions of names)
            rank = _AUDIO.get(suffix.lower())
            if rank is not None:
                found = (rank, prefix + name)
                if stem not in best or found < best[stem]:
                    best[stem] = found
    return {stem: path for stem, (_, path) in best.items()}


def match_recordings(
    card: TaskCard, root: Path, clips: Iterable[tuple[dict[str, Any], Iterable[str]]]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return the clips whose recording is in a folder; all of them where it has no recordings.

    Parameters
    ----------
    card : TaskCard
        The task, for the message.
    root : pathlib.Path
        The folder.
    clips : iterable of (dict, iterable of str)
        Rows of the manifest, and what each one's file may be called, without suffix: the first
        that exists counts. Where there are no recordings at all, ``path`` of a row is what it has,
        or the first name with ``.wav``.

    Returns
    -------
    kept : list of dict
        Rows with the path where the recording is, in the order given.
    absent : tuple of str
        Names of the recordings of all other clips, without suffix, each the first it may have.

    Raises
    ------
    DataError
        If there are recordings, but none of the dataset's.
    """
    there = index_recordings(root)
    kept = []
    absent: list[str] = []
    for row, names in clips:
        first = ""
        for name in names:
            first = first or name
            if name in there:
                kept.append({**row, "path": there[name]})
                break
            if not there:
                kept.append({"path": f"{name}.wav", **row})
                break
        else:
            absent.append(first)
    if not kept:
        wanted = next(iter(absent), "")
        raise DataError(
            f"{root}: none of its {len(there):,} recordings is one of {card.name}. Expected are "
            f"names such as {wanted!r} with any suffix, found are {summarize_ids(sorted(there.values()), 3)}"
        )
    return kept, tuple(absent)
