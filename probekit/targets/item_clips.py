"""Items of listening logs and their clips, artists, and items to leave out."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probekit._typing import Array
from probekit.errors import DataError
from probekit.targets.logs import ListeningLogs
from probekit.utils.text import summarize_ids

_ROLES = {
    "item": ("item", "item_id", "song", "song_id", "track", "track_id"),
    "clip": ("clip", "clip_id"),
    "artist": ("artist", "artist_id", "artist_name", "group"),
}
_MISMATCH = re.compile(r"^ERROR: <(\S+) (\S+)>")  # of the Echo Nest's list


@dataclass(frozen=True)
class ItemClips:
    """The clip and the artist of items.

    Attributes
    ----------
    clips : dict of str to str
        Clip of each item that has one.
    artists : dict of str to str
        Artist of each item whose artist is known.
    without_audio : int
        Number of items whose clips are not among those that exist.
    """

    clips: dict[str, str]
    artists: dict[str, str]
    without_audio: int = 0


def read_items(
    path: str | Path, logs: ListeningLogs, existing: Collection[str] | None = None
) -> ItemClips:
    """Read which clip an item is, and its artist.

    Parameters
    ----------
    path : str or pathlib.Path
        Table with tabs, commas or semicolons and a header: ``item`` and ``clip``, or either, and
        perhaps ``artist``. An item may have several rows: its first clip that exists is taken.
    logs : ListeningLogs
        Whose items these are.
    existing : collection of str, optional
        Ids of clips that have audio.

    Raises
    ------
    DataError
        If the file cannot be read, or its items are not those of the logs.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such table of items")
    try:
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table ({error})") from error
    lowered = {str(name).strip().lower(): name for name in table.columns}
    columns = {
        role: lowered[name] for role, names in _ROLES.items() for name in names[::-1]
        if name in lowered
    }  # fmt: skip
    if "item" not in columns or len(columns) < 2:
        raise DataError(
            f"{path}: line 1 must have a column item, and clip or artist or both, got "
            f"{', '.join(map(str, table.columns))}"
        )
    items = table[columns["item"]].str.strip().to_numpy(str)
    clips = table[columns["clip"]].str.strip().to_numpy(str) if "clip" in columns else items
    _check_items(path, items, clips, logs)
    artists: dict[str, str] = {}
    if "artist" in columns:
        names = table[columns["artist"]].str.strip()
        artists = {i: a for i, a in zip(items, names, strict=True) if a}
    known = None if existing is None else set(existing)
    first: dict[str, str] = {}
    for item, clip in zip(items, clips, strict=True):
        if item not in first and clip and (known is None or clip in known):
            first[str(item)] = str(clip)
    _check_clips(path, first)
    return ItemClips(first, artists, len(set(items) - set(first)))


def read_exclusions(path: str | Path) -> list[str]:
    """Read items to leave out: one id a line, or the Echo Nest's list of mismatches.

    Raises
    ------
    DataError
        If the file is missing, empty, or has lines of both kinds.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of items ({error})") from error
    lines = [line.strip() for line in lines if line.strip()]
    matches = [_MISMATCH.match(line) for line in lines]
    if not lines:
        raise DataError(f"{path}: empty; it must have one item a line")
    if any(matches):
        wrong = [number for number, match in enumerate(matches, start=1) if match is None]
        if wrong:
            raise DataError(
                f"{path}, line {wrong[0]}: must be like 'ERROR: <SONG TRACK> …', as other lines are"
            )
        return [match[1] for match in matches if match]
    return lines


def _check_items(path: Path, items: Array, clips: Array, logs: ListeningLogs) -> None:
    """Raise if a table is of other items than the logs; say so if it lists users."""
    known = np.isin(items, logs.items)
    if known.any():
        return
    hint = ""
    if np.isin(items, logs.users).any():
        hint = ": they are users of the logs. Is this the table of users, or are the columns of "
        hint += "--logs in another order (--columns)?"
    elif np.isin(clips, logs.items).any():
        hint = ": but its clips are. Are its columns item and clip swapped?"
    raise DataError(
        f"{path}: none of its {len(set(items)):,} items ({summarize_ids(list(items[:2]))}) is in "
        f"the logs ({summarize_ids([str(item) for item in logs.items[:2]])}){hint}"
    )


def _check_clips(path: Path, clips: dict[str, str]) -> None:
    """Raise if two items have one clip."""
    items: dict[str, str] = {}
    for item, clip in clips.items():
        if clip in items:
            raise DataError(
                f"{path}: clip {clip!r} belongs to two items, {items[clip]!r} and {item!r}; "
                "an item is to have clips of its own"
            )
        items[clip] = item
