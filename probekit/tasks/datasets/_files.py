"""Folders of datasets: where their files are, what is not unpacked, which recordings exist."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from probekit.audio import archives
from probekit.audio.recording import PYAV_SUFFIXES, SUFFIXES
from probekit.cards import TaskCard
from probekit.data.readers import walk_folders
from probekit.errors import DataError
from probekit.utils import lfs_pointer
from probekit.utils.text import summarize_ids

_ARCHIVES = (".zip", ".zip.001", ".tar.gz", ".tgz", ".tar", ".7z", ".7z.001")
_PREFERENCE = {suffix: k for k, suffix in enumerate(sorted(SUFFIXES) + sorted(PYAV_SUFFIXES))}


def locate(root: Path | None, *candidates: str, card: TaskCard) -> Path:
    """Return a file or folder of a dataset, or raise an error that says what was looked for.

    Parameters
    ----------
    root : pathlib.Path or None
        The dataset's folder, as the user gave it.
    *candidates : str
        Files or folders, one of which must be in ``root``.
    card : TaskCard
        Card of the task, for its name and layout in messages.

    Returns
    -------
    pathlib.Path
        The first of ``candidates`` that exists.

    Raises
    ------
    DataError
        If no root was given or none of them exists; names what is in the folder, a sub-folder or
        the parent folder if that would fit, and how to unpack archives.
    """
    download = f" {card.download.strip()}" if card.download else ""
    if root is None:
        raise DataError(f"{card.name}: give the dataset's folder with --root DIR.{download}")
    for name in candidates:
        if (root / name).exists():
            return root / name
    entries = sorted(path.name for path in root.iterdir())
    listing = f"{', '.join(entries[:6])}{' …' if len(entries) > 6 else ''}" or "nothing"
    text = (
        f"{root}: not the folder of {card.name}: expected {' or '.join(candidates)}, found "
        f"{listing}.{layout_hint(card)}"
    )
    parent = root.absolute().parent
    deeper = [entry for entry in entries if any((root / entry / c).exists() for c in candidates)]
    commands = unpack_commands(root)
    if deeper:
        text += f" Did you mean --root {root / deeper[0]}?"
    elif any((parent / name).exists() for name in candidates):
        text += f" Did you mean its parent folder, --root {parent}?"
    elif commands:
        text += f" Not unpacked yet? In that folder: {'; '.join(commands)}"
    else:
        text += download
    raise DataError(text)


def layout_hint(card: TaskCard) -> str:
    """Return the layout of a card's dataset as the end of a message; nothing if it names none."""
    return f" Expected layout: {card.layout.strip().rstrip('.')}." if card.layout else ""


def unpack_commands(root: Path) -> list[str]:
    """Return the shell commands that unpack a folder's archives, to be run in that folder."""
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    split = {name.removesuffix(".z01") for name in names if name.endswith(".z01")}
    commands = []
    for name in names:
        if name.endswith(_ARCHIVES) and lfs_pointer.is_pointer_file(root / name):
            commands.append(f"git lfs pull --include '{name}'")
        elif name.endswith(".zip.001"):
            joined = name.removesuffix(".001")
            commands.append(f"cat '{joined}'.* > 'all-{joined}' && unzip 'all-{joined}'")
        elif name.endswith(".zip") and name.removesuffix(".zip") in split:
            commands.append(f"zip -s 0 '{name}' --out 'all-{name}' && unzip 'all-{name}'")
        elif name.endswith(".zip"):
            commands.append(f"unzip '{name}'")
        elif name.endswith((".tar.gz", ".tgz", ".tar")):
            commands.append(f"tar xf '{name}'")
        elif name.endswith((".7z", ".7z.001")):
            commands.append(f"7z x '{name}'")
    return commands


def index_recordings(root: Path) -> dict[str, str]:
    """Return all recordings below a folder, by their names; one walk, no file is opened.

    Datasets that are collected from YouTube have no layout of their own: everybody has another
    share of the videos, in other folders.

    Parameters
    ----------
    root : pathlib.Path
        The folder; see :func:`probekit.data.readers.walk_folders`.

    Returns
    -------
    dict of str to str
        File name without suffix to the path relative to ``root``, with ``/``; also names of
        recordings inside of HDF5, Parquet and tar files (:mod:`probekit.audio.archives`), whose
        paths are ``FILE::NAME``. Files go before those. Of two files of one
        name, formats of sound alone (wav, flac …) go before those that may be video, then the path
        that comes first in alphabetical order.
    """
    best: dict[str, tuple[int, str]] = {}
    for folder, names in walk_folders(root):
        prefix = "" if folder == "." else f"{folder}/"
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 (millions of names)
            if suffix in archives.SUFFIXES:
                for member in archives.list_members(root / (prefix + name)):
                    candidate = (len(_PREFERENCE), f"{prefix}{name}{archives.MARK}{member}")
                    if member not in best or candidate < best[member]:
                        best[member] = candidate
                continue
            rank = _PREFERENCE.get(suffix.lower())
            if rank is not None:
                candidate = (rank, prefix + name)
                if stem not in best or candidate < best[stem]:
                    best[stem] = candidate
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
    rows : list of dict
        Rows with the path of the recording, in the same order.
    absent : tuple of str
        Names of the recordings of all other clips, without suffix, each the first it may have.

    Raises
    ------
    DataError
        If there are recordings, but none of the dataset's.
    """
    recordings = index_recordings(root)
    rows = []
    absent: list[str] = []
    for row, names in clips:
        first = ""
        for name in names:
            first = first or name
            if name in recordings:
                rows.append({**row, "path": recordings[name]})
                break
            if not recordings:
                rows.append({"path": f"{name}.wav", **row})
                break
        else:
            absent.append(first)
    if not rows:
        raise DataError(
            f"{root}: none of its {len(recordings):,} recordings is one of {card.name}. Expected "
            f"are names such as {next(iter(absent), '')!r} with any suffix, found are "
            f"{summarize_ids(sorted(recordings.values()), 3)}"
        )
    return rows, tuple(absent)
