"""Listening logs: triplets of user, item and count, from text files and playlists."""

import bz2
import gzip
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import scipy.sparse

from probekit.errors import DataError
from probekit.utils.hashing import sha256

_CHUNK = 1 << 20  # lines at once
_SEPARATORS = ("\t", ",", ";", " ")
_ROLES = {
    "user": ("user", "user_id", "userid", "listener"),
    "item": ("item", "item_id", "song", "song_id", "track", "track_id", "artistid", "artist"),
    "count": ("count", "play_count", "plays", "playcount", "weight", "listens"),
}
_PLAYLIST_KEYS = ("id", "songs")
_JSON_CHARACTERS = 1 << 22  # read at once
_MANGLED = re.compile(r"\d([.,]\d+)?E\+\d+")  # as spreadsheets write long numbers


@dataclass(frozen=True)
class ListeningLogs:
    """Counts of users and items.

    Attributes
    ----------
    counts : scipy.sparse.csr_matrix, shape (users, items), float32
        Equal pairs are summed.
    users, items : numpy.ndarray of str
        Their ids, as text.
    digest : str
        SHA-256 of the file.
    """

    counts: scipy.sparse.csr_matrix
    users: np.ndarray[Any, Any]
    items: np.ndarray[Any, Any]
    digest: str

    def subset(self, users: Any, items: Any) -> "ListeningLogs":
        """Return some rows and columns, given by masks or numbers."""
        counts = self.counts[users][:, items]
        return ListeningLogs(counts, self.users[users], self.items[items], self.digest)

    def without_rare(self, user_items: int, item_users: int) -> "ListeningLogs":
        """Leave out users and items with few of each other, again and again until none is left.

        Raises
        ------
        DataError
            If nothing remains.
        """
        logs = self
        while True:
            users = logs.counts.getnnz(axis=1) >= user_items
            items = logs.counts.getnnz(axis=0) >= item_users
            if users.all() and items.all():
                return logs
            logs = logs.subset(np.flatnonzero(users), np.flatnonzero(items))
            if not logs.counts.nnz:
                raise DataError(
                    f"no user with at least {user_items} items and no item with at least "
                    f"{item_users} users remains; lower --min-items or --min-users"
                )


def read_logs(
    path: str | Path,
    columns: Sequence[str] = (),
    exclude: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> ListeningLogs:
    """Read listening logs.

    Parameters
    ----------
    path : str or pathlib.Path
        Text with one pair a line, separated by tabs, commas, semicolons or spaces, with a header or
        without; or playlists as a JSON list of ``{"id": …, "songs": […]}``. Plain, ``.gz``,
        ``.bz2``, or a ``.zip`` with one file.
    columns : sequence of str
        Names of the columns of user, item and count, or their places from 1 on; by default by
        their names, else the first three. Without a count every line counts 1.
    exclude : sequence of str
        Ids of items to leave out.
    progress : callable, optional
        Called with the number of pairs that were read.

    Returns
    -------
    ListeningLogs
        Ids are text: ``"007"`` stays. Users and items are in the order in which they occur.

    Raises
    ------
    DataError
        If the file cannot be read, a line has too few columns, or a count is no number above 0;
        names file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file of listening logs")
    users, items, counts = _Codes(), _Codes(frozenset(exclude)), []
    try:
        for chunk in _read_playlists(path) if _is_json(path) else _read_triplets(path, columns):
            codes = items.encode(chunk["item"])
            rows = np.flatnonzero(codes >= 0)
            users.add(users.encode(chunk["user"].iloc[rows]))
            items.add(codes[rows])
            counts.append(chunk["count"].to_numpy(np.float32)[rows])
            if progress:
                progress(sum(map(len, counts)))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged or not text ({error})") from error
    values = np.concatenate(counts) if counts else np.zeros(0, np.float32)
    counts.clear()
    if not len(values):
        raise DataError(f"{path}: no pair of user and item")
    matrix = scipy.sparse.coo_matrix(
        (values, (users.joined(), items.joined())), (len(users.ids), len(items.ids))
    ).tocsr()  # equal pairs are summed
    for name, ids in (("user", users.ids), ("item", items.ids)):
        if len(ids) < 2:
            raise DataError(f"{path}: one {name} only ({next(iter(ids))!r}); check --columns")
    return ListeningLogs(matrix, users.as_array(), items.as_array(), sha256(path))


class _Codes:
    """Numbers of ids in the order in which they occur."""

    def __init__(self, excluded: frozenset[str] = frozenset()) -> None:
        self.ids: dict[str, int] = {}
        self._excluded = excluded
        self._parts: list[np.ndarray[Any, Any]] = []

    def encode(self, texts: pd.Series) -> np.ndarray[Any, Any]:
        """Return the number of each id, -1 for an excluded one."""
        codes, unique = pd.factorize(texts)
        known = [
            -1 if text in self._excluded else self.ids.setdefault(text, len(self.ids))
            for text in unique
        ]
        return np.asarray(known, np.int32)[codes] if len(codes) else np.zeros(0, np.int32)

    def add(self, codes: np.ndarray[Any, Any]) -> None:
        """Add numbers of some lines."""
        self._parts.append(codes)

    def joined(self) -> np.ndarray[Any, Any]:
        """Return the numbers of all lines, which are then no longer in parts."""
        parts, self._parts = self._parts, []
        return np.concatenate(parts)

    def as_array(self) -> np.ndarray[Any, Any]:
        """Return all ids."""
        return np.asarray(list(self.ids), str)


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """Open a file that may be compressed."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise DataError(f"{path}: must hold one file, got {len(names)}; unpack it")
            with archive.open(names[0]) as member:
                yield io.TextIOWrapper(member, "utf-8-sig")
        return
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8-sig") as stream:
        yield stream


def _is_json(path: Path) -> bool:
    with _open_text(path) as stream:
        return stream.read(64).lstrip()[:1] == "["


def _read_playlists(path: Path) -> Iterator[pd.DataFrame]:
    """Read playlists, some at once; each is a user who has each of its songs once."""
    number = 0
    with _open_text(path) as stream:
        for playlists in _parse_list(path, stream):
            for number, playlist in enumerate(playlists, start=number + 1):  # noqa: B020
                if not isinstance(playlist, dict) or not set(_PLAYLIST_KEYS) <= playlist.keys():
                    raise DataError(f"{path}: entry {number} must have the keys id and songs")
                if not isinstance(playlist["songs"], list):
                    raise DataError(f"{path}: entry {number}: songs must be a list")
            songs = [list(dict.fromkeys(map(str, playlist["songs"]))) for playlist in playlists]
            users = np.repeat(
                [str(playlist["id"]) for playlist in playlists], list(map(len, songs))
            )
            items = [song for row in songs for song in row]
            yield pd.DataFrame({"user": users, "item": items, "count": np.ones(len(items))})


def _parse_list(path: Path, stream: IO[str]) -> Iterator[list[Any]]:
    """Yield the entries of a JSON list in parts, so that no more than a part is in memory."""
    decoder, end = json.JSONDecoder(), False
    entries: list[Any] = []
    text = stream.read(_JSON_CHARACTERS).lstrip()[1:]  # after the bracket
    while not end:
        part = stream.read(_JSON_CHARACTERS)
        is_last, text, place = not part, text + part, 0
        while True:
            while place < len(text) and text[place] in " \t\r\n,":
                place += 1
            if place < len(text) and text[place] == "]":
                end = True
                break
            try:
                entry, place = decoder.raw_decode(text, place)
            except ValueError as error:  # cut off by the end of the part
                if is_last:
                    raise DataError(
                        f"{path}: not JSON, or cut off, after entry {len(entries):,} of the last "
                        f"part ({error})"
                    ) from error
                break
            entries.append(entry)
        text = text[place:]
        if entries:
            yield entries
        entries = []


def _read_triplets(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Read text in chunks."""
    with _open_text(path) as stream:
        first = stream.readline().rstrip("\r\n")
    if not first:
        raise DataError(f"{path}: empty")
    separator = next((s for s in _SEPARATORS if s in first), "")
    if not separator:
        raise DataError(
            f"{path}: line 1 has one column; must be user, item and count, separated by tabs, "
            "commas, semicolons or spaces"
        )
    names = [name.strip() for name in first.split(separator)]
    places, has_header = _find_columns(path, names, columns)
    line = 2 if has_header else 1
    with _open_text(path) as stream:
        reader = pd.read_csv(
            stream,
            sep=separator,
            header=None,
            skiprows=1 if has_header else 0,
            names=list(range(len(names))),
            dtype=str,
            keep_default_na=False,
            quoting=0 if separator in ",;" else 3,
            chunksize=_CHUNK,
            on_bad_lines="error",
        )
        try:
            for chunk in reader:
                yield _check_chunk(path, chunk, places, line)
                line += len(chunk)
        except pd.errors.ParserError as error:
            raise DataError(f"{path}: lines of different numbers of columns ({error})") from error


def _find_columns(
    path: Path, names: list[str], columns: Sequence[str]
) -> tuple[dict[str, int], bool]:
    """Return the place of each role's column, and whether line 1 is a header."""
    lowered = [name.lower() for name in names]
    if columns:
        roles = list(_ROLES)[: len(columns)]
        if len(columns) not in (2, 3):
            raise DataError(f"--columns must be user,item or user,item,count, got {len(columns)}")
        if all(column.isdecimal() for column in columns):
            places = [int(column) - 1 for column in columns]
            if max(places) >= len(names) or min(places) < 0:
                raise DataError(f"{path}: line 1 has {len(names)} columns, no {max(places) + 1}")
            is_header = len(places) == 3 and not _is_number(names[places[2]])
            return dict(zip(roles, places, strict=True)), is_header
        missing = [column for column in columns if column.lower() not in lowered]
        if missing:
            raise DataError(f"{path}: no column {missing[0]!r}; line 1 has {', '.join(names)}")
        found = [lowered.index(column.lower()) for column in columns]
        return dict(zip(roles, found, strict=True)), True
    by_name = {
        role: lowered.index(name)
        for role, known in _ROLES.items()
        for name in known
        if name in lowered
    }
    if {"user", "item"} <= by_name.keys():
        others = [name for place, name in enumerate(names) if place not in by_name.values()]
        if others and "count" not in by_name:
            raise DataError(
                f"{path}: line 1 has no column of counts ({', '.join(names)}). Name it with "
                f"--columns {names[by_name['user']]},{names[by_name['item']]},COUNT; or, if every "
                f"line is one play, --columns {names[by_name['user']]},{names[by_name['item']]}"
            )
        return by_name, True
    if lowered in ([str(k) for k in range(len(names))], ["", *map(str, range(len(names) - 1))]):
        raise DataError(
            f"{path}: line 1 ({', '.join(names)}) looks like a header of numbers, not like data. "
            "Remove it, or name the columns in it"
        )
    if len(names) >= 3 and not _is_number(names[2]):
        raise DataError(
            f"{path}: line 1 ({_first_fields(names)}) is neither a header with columns user, item "
            "and count nor a line of counts; name them with --columns user,item,count"
        )
    return {role: place for place, role in enumerate(list(_ROLES)[: len(names)])}, False


def _check_chunk(
    path: Path, chunk: pd.DataFrame, places: dict[str, int], first_line: int
) -> pd.DataFrame:
    """Return user, item and count of some lines; DataError with the first bad line."""
    table = pd.DataFrame({role: chunk[place] for role, place in places.items()})
    for role in ("user", "item"):
        for text in table[role].unique():  # of which there are fewer than lines
            if not isinstance(text, str) or not text.strip():
                line = first_line + np.flatnonzero((table[role] == text) | table[role].isna())[0]
                raise DataError(f"{path}, line {line}: no {role}")
            if text[0].isdigit() and _MANGLED.fullmatch(text):
                line = first_line + np.flatnonzero(table[role] == text)[0]
                raise DataError(
                    f"{path}, line {line}: {role} {text!r} is a number that a spreadsheet has "
                    "shortened, so that different ids may be one now. Export the ids as text"
                )
    if "count" not in table:
        return table.assign(count=1.0)
    counts = pd.to_numeric(table["count"], errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~(np.isfinite(counts) & (counts > 0)))
    if len(bad):
        raise DataError(
            f"{path}, line {first_line + bad[0]}: the count must be a number above 0, got "
            f"{table['count'].iloc[bad[0]]!r}"
        )
    return table.assign(count=counts)


def _first_fields(names: Sequence[str]) -> str:
    """Return the first three fields of a line for a message."""
    return ", ".join(repr(name) for name in names[:3])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
