"""The clip table: which stretch of which file is which clip, and what is known about it."""

import hashlib
import json
import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.audio import FOREIGN, SUFFIXES
from probekit.errors import DataError

Target = Literal["none", "single", "multi", "regression"]

COLUMNS = ("clip_id", "path", "start", "end", "split", "fold", "group", "labels")
_VALUE = "target:"  # CSV columns of numbers to predict are called target:NAME


@dataclass(frozen=True)
class Manifest:
    """A table of clips, keyed by ``clip_id``.

    Attributes
    ----------
    name : str
        Name of the dataset or task that the clips belong to.
    table : pandas.DataFrame
        Columns ``clip_id``, ``path`` (relative to ``root``, with ``/``), ``start``, ``end``
        (seconds, NaN for the whole file), ``split``, ``fold``, ``group`` (text, empty where not
        known) and ``labels`` (tuples: of text, or of numbers for regression).
    root : pathlib.Path or None
        The folder that ``path`` is relative to; None where there is no audio at hand.
    target : {"none", "single", "multi", "regression"}
        What ``labels`` holds: nothing, one name, any number of names, or numbers.
    names : tuple of str
        The classes in their order, or the names of the numbers.
    provenance : tuple of str
        What every result on these clips must show, for example ``"stand-in data"``.
    expected : int or None
        The number of clips that the dataset should have.
    """

    name: str
    table: pd.DataFrame
    root: Path | None = None
    target: Target = "none"
    names: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()
    expected: int | None = None

    def __post_init__(self) -> None:
        _check(self.name, self.table)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def clip_ids(self) -> list[str]:
        """The clips' ids, in the table's order."""
        return list(self.table["clip_id"])

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """Return a column of text, one entry a clip.

        Parameters
        ----------
        name : {"split", "fold", "group", "path", "clip_id"}
            Which column.

        Returns
        -------
        numpy.ndarray, shape (clips,)
            Text; empty where not known.
        """
        return self.table[name].to_numpy(dtype=str)

    def subset(self, keep: Sequence[int] | npt.NDArray[Any]) -> "Manifest":
        """Return the manifest of some of the clips.

        Parameters
        ----------
        keep : sequence of int
            Rows to keep, in the order wanted.

        Returns
        -------
        Manifest
            A new manifest; this one is unchanged.
        """
        return replace(self, table=self.table.iloc[list(keep)].reset_index(drop=True))

    def targets(self) -> npt.NDArray[Any]:
        """Return what a probe has to predict.

        Returns
        -------
        numpy.ndarray
            ``single``: class numbers, shape (clips,); ``multi``: 0 and 1, shape (clips, classes);
            ``regression``: numbers, shape (clips, targets).

        Raises
        ------
        DataError
            If the clips have no labels, or one has a label that is not in ``names``.
        """
        labels = list(self.table["labels"])
        if self.target == "none":
            raise DataError(
                f"{self.name}: the clips have no labels. A CSV needs a column 'label' (one name), "
                f"'labels' (several, separated by ';') or '{_VALUE}NAME' (numbers); a folder needs "
                "one sub-folder for each label"
            )
        if self.target == "regression":
            return np.array(labels, dtype=np.float64)
        where = {name: k for k, name in enumerate(self.names)}
        strange = sorted({label for row in labels for label in row} - set(where))
        if strange:
            raise DataError(
                f"{self.name}: labels that are not in the list of classes: {_some(strange)}"
            )
        if self.target == "single":
            return np.array([where[row[0]] for row in labels], dtype=np.int64)
        hot = np.zeros((len(labels), len(self.names)), np.int8)
        for i, row in enumerate(labels):
            hot[i, [where[label] for label in row]] = 1
        return hot

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of the clips and all that is known about them."""
        sha = hashlib.sha256(json.dumps([self.target, self.names]).encode())
        for row in self.table[list(COLUMNS)].itertuples(index=False):
            plain = [None if isinstance(v, float) and np.isnan(v) else v for v in row]
            sha.update(json.dumps(plain, ensure_ascii=False, default=list).encode())
        return sha.hexdigest()

    def write(self, path: Path) -> None:
        """Write the manifest to a Parquet or CSV file.

        Parameters
        ----------
        path : pathlib.Path
            Ends in ``.parquet`` or ``.csv``. Parquet also keeps name, root, target, class order
            and provenance; the folder must exist.
        """
        if path.suffix == ".csv":
            self._to_csv().to_csv(path, index=False)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table[list(COLUMNS)], preserve_index=False)
        facts = {
            "name": self.name,
            "root": str(self.root) if self.root else None,
            "target": self.target,
            "names": self.names,
            "provenance": self.provenance,
            "expected": self.expected,
        }
        pq.write_table(
            table.replace_schema_metadata(
                {**(table.schema.metadata or {}), b"probekit": json.dumps(facts).encode()}
            ),
            path,
        )

    def _to_csv(self) -> pd.DataFrame:
        flat = self.table[[c for c in COLUMNS if c != "labels"]].copy()
        labels = list(self.table["labels"])
        if self.target == "single":
            flat["label"] = [row[0] for row in labels]
        elif self.target == "multi":
            flat["labels"] = [json.dumps(list(row), ensure_ascii=False) for row in labels]
        elif self.target == "regression":
            for k, name in enumerate(self.names):
                flat[_VALUE + name] = [row[k] for row in labels]
        return flat


def from_rows(
    name: str,
    rows: Iterable[dict[str, Any]],
    *,
    root: Path | None = None,
    target: Target = "single",
    names: Sequence[str] | None = None,
    provenance: Sequence[str] = (),
    expected: int | None = None,
) -> Manifest:
    """Make a manifest from one dictionary a clip.

    Parameters
    ----------
    name : str
        Name of the dataset or task.
    rows : iterable of dict
        Keys are those of :data:`COLUMNS`; only ``clip_id`` and ``path`` are needed. ``labels`` is
        a sequence; a single string counts as one label.
    root : pathlib.Path, optional
        The folder that paths are relative to.
    target : {"none", "single", "multi", "regression"}
        What ``labels`` holds.
    names : sequence of str, optional
        Classes in their order; by default those that occur, sorted.
    provenance : sequence of str
        What results on these clips must show.
    expected : int, optional
        How many clips the dataset should have.

    Returns
    -------
    Manifest
        With clip ids checked to be unique and paths checked to stay inside ``root``.

    Raises
    ------
    DataError
        If ids repeat, a path leaves the root, or a clip's end does not come after its start.
    """
    rows = list(rows)
    _check_encoding(name, [str(row.get(key, "")) for row in rows for key in ("clip_id", "path")])
    table = pd.DataFrame(rows)
    if table.empty:
        raise DataError(f"{name}: no clips")
    for column in ("split", "fold", "group"):
        if column not in table:
            table[column] = ""
        table[column] = table[column].fillna("").astype(str)
    for column in ("start", "end"):
        if column not in table:
            table[column] = np.nan
        table[column] = table[column].astype(float)
    if "labels" not in table:
        table["labels"] = [()] * len(table)
        target = "none"
    table["labels"] = [(row,) if isinstance(row, str) else tuple(row) for row in table["labels"]]
    table["path"] = [_inside(name, str(path)) for path in table["path"]]
    _check_stretches(name, table)
    if names is None and target in ("single", "multi"):
        names = sorted({label for row in table["labels"] for label in row})
    return Manifest(
        name=name,
        table=table[list(COLUMNS)].reset_index(drop=True),
        root=root,
        target=target,
        names=tuple(names or ()),
        provenance=tuple(provenance),
        expected=expected,
    )


def from_folder(root: Path, name: str | None = None) -> Manifest:
    """Make a manifest from a folder of recordings.

    Sub-folders are labels; recordings may lie deeper inside them. A folder with recordings but
    no sub-folders gives clips without labels, good for extraction. The clip id is the path
    without suffix. Hidden files are left out; links to folders are followed.

    Parameters
    ----------
    root : pathlib.Path
        The folder.
    name : str, optional
        Name of the dataset; the folder's by default.

    Returns
    -------
    Manifest
        Sorted by path.

    Raises
    ------
    DataError
        If the folder is missing, holds no recordings, or holds some beside its label folders.
    """
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")
    files = sorted(path.relative_to(root) for path in _walk(root))
    found = [path for path in files if path.suffix.lower() in SUFFIXES | FOREIGN]
    if not found:
        others = sorted({path.suffix.lower() or path.name for path in files})
        there = f", found {_some(others)}" if others else ""
        raise DataError(
            f"{root}: no recordings in it (looked for {', '.join(sorted(SUFFIXES))} at any "
            f"depth{there})"
        )
    loose = [str(path) for path in found if len(path.parts) == 1]
    if loose and len(loose) < len(found):
        raise DataError(
            f"{root}: sub-folders are labels, but {len(loose)} recordings lie beside them: "
            f"{_some(loose)}. Move them into a label's folder, or describe the clips in a CSV"
        )
    stems = [path.with_suffix("").as_posix() for path in found]
    counts = Counter(stems)
    rows: list[dict[str, Any]] = []
    for path, stem in zip(found, stems, strict=True):
        row: dict[str, Any] = {"path": path.as_posix()}
        row["clip_id"] = path.as_posix() if counts[stem] > 1 else stem
        if not loose:
            row["labels"] = (path.parts[0],)
        rows.append(row)
    return from_rows(name or dataset_name(root.resolve().name), rows, root=root)


def from_csv(
    path: Path,
    *,
    root: Path | None = None,
    name: str | None = None,
    clip_id: str = "clip_id",
    need_path: bool = True,
) -> Manifest:
    """Make a manifest from a CSV file with a header.

    Columns: ``clip_id``, ``path`` (relative to ``root``), and, where known, ``start``, ``end``
    (seconds), ``split`` (train, valid, test), ``fold``, ``group``, and ``label`` (one name; commas
    need quotes), ``labels`` (several, separated by ``;``, or a JSON list) or ``target:NAME``
    (numbers). Other columns are left alone.

    Parameters
    ----------
    path : pathlib.Path
        The CSV; UTF-8, with or without a byte order mark.
    root : pathlib.Path, optional
        What ``path`` is relative to; the CSV's own folder by default.
    name : str, optional
        Name of the dataset; the file's stem by default.
    clip_id : str
        The column of the clip ids; ``COLUMN:stem`` takes a path's file name without suffix.
    need_path : bool
        Whether the column ``path`` must be there (not when embeddings are imported).

    Returns
    -------
    Manifest
        One row a clip, in the file's order.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, has a row with more fields than the header,
        lacks or repeats an id, lacks a path or has one that leaves the root, or has a value that
        is not a number where one belongs.
    """
    table = _read_csv(path)
    column, _, how = clip_id.partition(":")
    needed = [column, *(["path"] if need_path else [])]
    missing = [c for c in needed if c not in table]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(repr(c) for c in missing)}. "
            f"The columns are: {', '.join(map(repr, table.columns))}"
        )
    ids = table[column]
    if how == "stem":
        ids = ids.map(lambda text: PurePosixPath(text).stem)
    elif how:
        raise DataError(f"clip id {clip_id!r}: after the colon only 'stem' is known")
    values = [c for c in table if c.startswith(_VALUE)]
    kinds = [c for c in ("label", "labels") if c in table] + values[:1]
    if len(kinds) > 1:
        raise DataError(f"{path}: columns {' and '.join(map(repr, kinds))}: only one kind of label")
    for c in needed:
        lines = [k + 2 for k, text in enumerate(table[c]) if not text]
        if lines:
            raise DataError(f"{path}: row {lines[0]}, column {c!r} is empty")
    clips: dict[str, Any] = {"clip_id": ids, "path": table.get("path", "")}
    for c in ("start", "end"):
        if c in table:
            clips[c] = _numbers(path, table, c)
    for c in ("split", "fold", "group"):
        if c in table:
            clips[c] = table[c]
    target: Target = "none"
    if "label" in table:
        target, clips["labels"] = "single", [(text,) for text in table["label"]]
        blank = [ids[k] for k, text in enumerate(table["label"]) if not text]
        if blank:
            raise DataError(f"{path}: clips without a label: {_some(blank)}")
    elif "labels" in table:
        target, clips["labels"] = "multi", [_several(path, text) for text in table["labels"]]
    elif values:
        numbers = [_numbers(path, table, c, blank=False) for c in values]
        target, clips["labels"] = "regression", list(zip(*numbers, strict=True))
    rows = pd.DataFrame(clips).to_dict("records")
    name = name or dataset_name(path.stem)
    try:
        return from_rows(
            name,
            [{str(k): v for k, v in row.items()} for row in rows],
            root=root or path.parent,
            target=target,
            names=[c.removeprefix(_VALUE) for c in values] if values else None,
        )
    except DataError as error:
        raise DataError(f"{path}: {str(error).removeprefix(f'{name}: ')}") from None


def read(path: Path) -> Manifest:
    """Read a manifest that :meth:`Manifest.write` wrote as Parquet.

    Parameters
    ----------
    path : pathlib.Path
        The Parquet file.

    Returns
    -------
    Manifest
        As it was written.

    Raises
    ------
    DataError
        If the file is not a manifest of probekit.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(path)
        facts = json.loads((content.schema.metadata or {})[b"probekit"])
    except (OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a manifest of probekit") from error
    table = content.to_pandas()
    table["labels"] = [tuple(row) for row in table["labels"]]
    return Manifest(
        name=facts["name"],
        table=table,
        root=Path(facts["root"]) if facts["root"] else None,
        target=facts["target"],
        names=tuple(facts["names"]),
        provenance=tuple(facts["provenance"]),
        expected=facts["expected"],
    )


def dataset_name(text: str) -> str:
    """Return a name that is safe as a folder's: lower case letters, digits, dots and dashes."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == ".") else "-" for c in text.lower())
    return plain.strip("-.") or "clips"


def _walk(root: Path) -> Iterator[Path]:
    """Yield all files that are not hidden; a folder that links lead to twice is walked once."""
    seen: set[tuple[int, int]] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        stat = Path(folder).stat()
        if (stat.st_dev, stat.st_ino) in seen:
            inner.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
                index_col=False,
                skipinitialspace=True,
            )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason}); save it as such") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path}: not a CSV file that can be read: a row has more fields than the header, or a "
            f"quote is not closed ({error})"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: empty; needed is a header, then one row a clip") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(table.columns) == 1 and any(mark in table.columns[0] for mark in ";\t|"):
        raise DataError(
            f"{path}: columns must be separated by commas; the header is {table.columns[0]!r}"
        )
    if table.empty:
        raise DataError(f"{path}: a header, but no clips")
    table.columns = table.columns.str.strip()
    return table.apply(lambda column: column.str.strip())


def _numbers(path: Path, table: pd.DataFrame, column: str, blank: bool = True) -> list[float]:
    text = table[column].replace("", "nan")
    numbers = pd.to_numeric(text, errors="coerce")
    fine = np.isfinite(numbers) | ((text == "nan") & blank)
    bad = np.flatnonzero(~fine)
    if len(bad):
        raise DataError(
            f"{path}: row {bad[0] + 2}, column {column!r}: "
            f"{table[column][bad[0]]!r} is not a number"
        )
    return [float(number) for number in numbers]


def _several(path: Path, text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: labels {text!r}: not a JSON list") from error
        return tuple(str(label) for label in found)
    return tuple(label.strip() for label in text.split(";") if label.strip())


def _inside(name: str, path: str) -> str:
    """Return a path in normal form; refuse one that leaves its root."""
    normal = posixpath.normpath(path.replace("\\", "/")) if path else ""
    if posixpath.isabs(normal) or normal.split("/")[0] == ".." or normal[1:3] == ":/":
        raise DataError(
            f"{name}: path {path!r} leaves the root folder. Paths in a manifest are relative to "
            "its root: give the folder that holds all recordings as --root"
        )
    return normal


def _check_encoding(name: str, texts: Sequence[str]) -> None:
    """Refuse file names in another encoding, which Python cannot write down again."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{name}: {text!r}: file names must be UTF-8; rename it") from error


def _check_stretches(name: str, table: pd.DataFrame) -> None:
    """Refuse stretches that no recording can have."""
    start, end = table["start"].fillna(0.0), table["end"].fillna(np.inf)
    wrong = np.flatnonzero((start < 0) | np.isinf(start) | (end <= start))
    if len(wrong):
        clip_id, first, last = table.loc[wrong[0], ["clip_id", "start", "end"]]
        raise DataError(
            f"{name}: clip {clip_id!r} starts at {first:g} s and ends at {last:g} s: the start "
            "must be at least 0 and the end after it (both empty: the whole recording)"
        )


def _check(name: str, table: pd.DataFrame) -> None:
    lacking = [c for c in COLUMNS if c not in table]
    if lacking:
        raise DataError(f"{name}: the table lacks the columns {', '.join(lacking)}")
    ids = table["clip_id"]
    if not ids.map(lambda text: isinstance(text, str) and text != "" and "\0" not in text).all():
        raise DataError(f"{name}: every clip needs a clip_id that is text and not empty")
    twice = ids[ids.duplicated()]
    if len(twice):
        raise DataError(f"{name}: clip ids that occur more than once: {_some(sorted(set(twice)))}")


def _some(items: Sequence[str], most: int = 5) -> str:
    """Name a few of many."""
    text = ", ".join(repr(item) for item in items[:most])
    return text + (f" and {len(items) - most} more" if len(items) > most else "")
