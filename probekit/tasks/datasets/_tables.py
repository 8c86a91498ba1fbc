"""Metadata files of datasets, read strictly: what is not as expected is named with its line."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from probekit.cards import TaskCard
from probekit.errors import DataError

_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "spaces"}


def rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool = True,
    skip: int = 0,
    skipinitialspace: bool = False,
) -> list[dict[str, str]]:
    """Read a table of text, UTF-8 with or without a byte order mark.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    columns : sequence of str
        With a header, the columns that must be in it, in any order; others are kept, too. Without
        one, the names of all columns in their order.
    delimiter : str
        The one character between fields.
    header : bool
        Whether the first line (after ``skip``) names the columns.
    skip : int >= 0
        Lines to leave out at the beginning.
    skipinitialspace : bool
        Whether spaces after a delimiter are left out.

    Returns
    -------
    list of dict of str to str
        One a row, column name to text, in the file's order; empty lines are left out.

    Raises
    ------
    DataError
        If the file is missing, empty or not UTF-8, has another separator, lacks a column, or has a
        row of another length; names the file, the line and what was expected.
    """
    lines = list(io.StringIO(_text(path), newline=""))[skip:]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=skipinitialspace, strict=True)
    names = list(columns)
    if header and not any(line.strip() for line in lines):
        raise DataError(f"{path}: empty; expected a header with {', '.join(columns)}")
    found: list[dict[str, str]] = []
    first = True
    try:
        for cells in reader:
            if not cells:
                continue
            if first and header:
                names = [cell.strip() for cell in cells]
                _check_header(path, names, columns, delimiter, lines[: reader.line_num])
            elif len(cells) != len(names):
                line = skip + reader.line_num
                hint = _other_separator(lines[reader.line_num - 1], len(names), delimiter)
                raise DataError(
                    f"{path}, line {line}: {len(cells)} fields where {len(names)} are expected "
                    f"({', '.join(names[:8])}{' …' if len(names) > 8 else ''}){hint}"
                )
            else:
                found.append(dict(zip(names, cells, strict=True)))
            first = False
    except csv.Error as error:
        raise DataError(f"{path}, line {skip + reader.line_num}: {error}") from error
    if not found:
        raise DataError(f"{path}: {'empty' if first else 'a header, but no rows'}")
    return found


def locate(root: Path | None, *places: str, card: TaskCard) -> Path:
    """Return a file or folder of a dataset, or raise an error that says what was looked for.

    Parameters
    ----------
    root : pathlib.Path or None
        The dataset's folder, as the user gave it.
    *places : str
        Files or folders, one of which must be in ``root``.
    card : TaskCard
        The task.

    Returns
    -------
    pathlib.Path
        The first of ``places`` that exists.

    Raises
    ------
    DataError
        If no root was given or none of them is there; names what is there instead, a sub-folder
        or the parent folder if that would fit, and how to unpack archives.
    """
    get = f" {card.download.strip()}" if card.download else ""
    if root is None:
        raise DataError(f"{card.name}: give the dataset's folder with --root DIR.{get}")
    for name in places:
        if (root / name).exists():
            return root / name
    if not root.is_dir():
        raise DataError(
            f"--root {root}: {'is not a folder' if root.exists() else 'no such folder'}"
        )
    there = sorted(path.name for path in root.iterdir())
    said = f"{', '.join(there[:6])}{' …' if len(there) > 6 else ''}" or "nothing"
    text = (
        f"{root}: not the folder of {card.name}: looked for {' or '.join(places)}, found {said}. "
        f"Expected layout: {card.layout.strip().rstrip('.')}."
    )
    above = root.absolute().parent
    deeper = [one for one in there if any((root / one / name).exists() for name in places)]
    commands = unpack_commands(root)
    if deeper:
        text += f" Did you mean --root {root / deeper[0]}?"
    elif any((above / name).exists() for name in places):
        text += f" Did you mean its parent folder, --root {above}?"
    elif commands:
        text += f" Not unpacked yet? In that folder: {'; '.join(commands)}"
    else:
        text += get
    raise DataError(text)


def unpack_commands(root: Path) -> list[str]:
    """Return the commands that unpack the archives lying in a folder.

    Parameters
    ----------
    root : pathlib.Path
        The folder.

    Returns
    -------
    list of str
        Shell commands, to be run in that folder; empty where there are no archives.
    """
    names = sorted(path.name for path in root.iterdir() if path.is_file())
    split = {name.removesuffix(".z01") for name in names if name.endswith(".z01")}
    found = []
    for name in names:
        stem = name.removesuffix(".zip")
        if name.endswith(".zip.001"):
            whole = name.removesuffix(".001")
            found.append(f"cat '{whole}'.* > 'all-{whole}' && unzip 'all-{whole}'")
        elif name.endswith(".zip") and stem in split:
            found.append(f"zip -s 0 '{name}' --out 'all-{name}' && unzip 'all-{name}'")
        elif name.endswith(".zip"):
            found.append(f"unzip '{name}'")
        elif name.endswith((".tar.gz", ".tgz", ".tar")):
            found.append(f"tar xf '{name}'")
        elif name.endswith((".7z", ".7z.001")):
            found.append(f"7z x '{name}'")
    return found


def _text(path: Path) -> str:
    """Return a file's text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not text in UTF-8 ({error.reason}); save it as UTF-8, or get "
            "the original file again"
        ) from error


def _check_header(
    path: Path, names: list[str], columns: Sequence[str], delimiter: str, lines: list[str]
) -> None:
    """Refuse a header that lacks a column or names one twice."""
    missing = [name for name in columns if name not in names]
    if missing:
        hint = ""
        for other, word in _SEPARATORS.items():
            own = [cell.strip() for row in csv.reader(lines, delimiter=other) for cell in row]
            if other != delimiter and set(columns) <= set(own):
                hint = _separated(word, delimiter)
        raise DataError(
            f"{path}: no column {', '.join(missing)}; the header is {', '.join(names)}{hint}"
        )
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: the header names {', '.join(twice)} more than once")


def _other_separator(line: str, count: int, delimiter: str) -> str:
    """Say which other separator would give a line the number of fields expected."""
    for other, word in _SEPARATORS.items():
        cells = next(csv.reader(io.StringIO(line), delimiter=other), [])
        if other != delimiter and len(cells) == count > 1:
            return _separated(word, delimiter)
    return ""


def _separated(found: str, delimiter: str) -> str:
    return (
        f". Its fields are separated by {found}, expected are "
        f"{_SEPARATORS.get(delimiter, repr(delimiter))}: get the original file again"
    )
