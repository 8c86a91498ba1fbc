"""Manifests: tables of clips with their segments of recordings, labels, splits and groups."""

import hashlib
import json
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from probekit.errors import DataError
from probekit.utils.arrow import list_array, number_array, text_array
from probekit.utils.text import dataset_name, summarize_ids

if TYPE_CHECKING:  # takes longer to import than commands whose results are stored
    import pandas as pd

__all__ = [
    "COLUMNS",
    "SPLITS",
    "TAG_PREFIX",
    "TARGET_PREFIX",
    "Manifest",
    "Target",
    "dataset_name",
    "from_rows",
    "group_by_recording",
    "groups_are_recordings",
    "match_spelling",
    "missing_recordings",
    "read_manifest",
    "shared_recordings",
]

Target = Literal["none", "single", "multi", "regression"]

COLUMNS = ("clip_id", "path", "start", "end", "split", "fold", "group", "labels")
UNKNOWN = "unknown"  # further column, only where labels of some clips are not known
SPLITS = ("train", "valid", "test")
_LABEL_MARKS = r"^\[|[;|,]"  # in a name: a reader could take it for several labels
TARGET_PREFIX = "target:"  # CSV columns of numbers to predict are called target:NAME
TAG_PREFIX = "tag:"  # CSV columns of one label each are called tag:NAME: 1, 0, or empty if unknown


@dataclass(frozen=True, repr=False)
class Manifest:
    """A table of clips, keyed by ``clip_id``.

    Made by a task (:func:`probekit.load_task`), from a folder or CSV
    (:mod:`probekit.data.readers`), or by :func:`from_rows`. Immutable.

    Parameters
    ----------
    name : str
        Name of the dataset or task that the clips belong to.
    columns : pyarrow.Table
        One row per clip, with columns ``clip_id``, ``path`` (relative to ``root``, with ``/``),
        ``start``, ``end`` (seconds; null: start and end of the file), ``split``, ``fold``,
        ``group`` (text, empty if unknown) and ``labels`` (lists: of text, or of numbers for
        regression). For several labels a clip there may be ``unknown``, lists of the labels of
        which it is not known whether the clip has them. :attr:`table` has them as a DataFrame.
    root : pathlib.Path or None
        The folder that ``path`` is relative to; None without audio.
    target : {"none", "single", "multi", "regression"}
        What ``labels`` holds: nothing, one class, any number of classes, or numbers.
    class_names : tuple of str
        The classes in their order; for regression the names of the numbers.
    provenance : tuple of str
        What every result on these clips must show, for example ``"stand-in data"``.
    expected : int or None
        The number of clips that the dataset should have.
    absent : tuple of str
        Names of recordings that were not found, whose clips are therefore not in the table. Not
        written to files.
    source : pathlib.Path or None
        The user's folder or table that the clips were read from; None for a built-in dataset. It
        is not part of :meth:`digest`.
    other_files : tuple of str
        Files in the folder that are not recordings by their names, so that no clip is made of
        them; relative to the root. Not written to files.

    Raises
    ------
    DataError
        If a column is missing, or a ``clip_id`` is empty or repeated.

    See Also
    --------
    from_rows : Make one from dictionaries.
    probekit.data.readers.from_csv : Make one from a CSV file.
    probekit.data.readers.from_folder : Make one from a folder of recordings.

    Examples
    --------
    >>> from probekit.data.manifest import from_rows
    >>> clips = from_rows(
    ...     "birds",
    ...     [
    ...         {"clip_id": "a1", "path": "a.wav", "end": 5.0, "labels": "wren", "split": "train"},
    ...         {"clip_id": "a2", "path": "a.wav", "start": 5.0, "labels": "owl", "split": "train"},
    ...         {"clip_id": "b", "path": "b.wav", "labels": "owl", "split": "test"},
    ...     ],
    ... )
    >>> len(clips), clips.class_names, clips.clip_ids
    (3, ('owl', 'wren'), ['a1', 'a2', 'b'])
    >>> clips.targets()
    array([1, 0, 0])
    >>> clips.subset(range(2)).column("split")
    array(['train', 'train'], dtype='<U5')
    """

    name: str
    columns: pa.Table
    root: Path | None = None
    target: Target = "none"
    class_names: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()
    expected: int | None = None
    absent: tuple[str, ...] = ()
    source: Path | None = None
    other_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.columns, pa.Table):
            raise DataError(
                f"{self.name}: columns must be a pyarrow.Table; make manifests by from_rows, and "
                "change the columns of one by its method with_table"
            )
        _check_columns(self.name, self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, without what is derived from the columns."""
        derived = ("table", "labels")
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __repr__(self) -> str:
        """Return name, numbers of clips and classes, target, and the folder of the recordings."""
        words = [f"{self.name!r}", f"{len(self):,} clips"]
        if self.target != "none":
            unit = "targets" if self.target == "regression" else "classes"
            words += [f"{len(self.class_names):,} {unit}", f"target={self.target!r}"]
        if self.root is not None:
            words.append(f"root={str(self.root)!r}")
        return f"Manifest({', '.join(words)})"

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The columns as a DataFrame: NaN where there is no start or end, labels as tuples.

        It is not to be changed; see :meth:`with_table`.
        """
        table = self.columns.to_pandas().assign(labels=self.labels)
        return table.assign(unknown=self.unknown) if UNKNOWN in table else table

    def with_table(self, table: "pd.DataFrame") -> "Manifest":
        """Return a manifest with other columns.

        Parameters
        ----------
        table : pandas.DataFrame
            As :attr:`table` has them; the index does not count.

        Raises
        ------
        DataError
            If a column is missing, or a ``clip_id`` is empty or repeated.
        """
        _check_table(self.name, list(table), list(table.get("clip_id", ())))
        names = [*COLUMNS, *([UNKNOWN] if UNKNOWN in table else [])]
        columns = {name: list(table[name]) for name in names}
        for name in ("split", "fold", "group"):
            columns[name] = [_as_text(value) for value in columns[name]]
        return replace(self, columns=_to_arrow(self.name, columns))

    @property
    def clip_ids(self) -> list[str]:
        """Clip ids in the order of the table."""
        ids: list[str] = self.columns["clip_id"].to_pylist()
        return ids

    def column(self, name: str) -> npt.NDArray[np.str_]:
        """Return a column of text, one entry per clip; empty text if unknown.

        Parameters
        ----------
        name : {"split", "fold", "group", "path", "clip_id"}
            Name of the column.

        Returns
        -------
        numpy.ndarray, shape (clips,), str
            In the order of the table.
        """
        return np.array(self.columns[name].to_pylist(), dtype=str)

    def times(self, name: str) -> npt.NDArray[np.float64]:
        """Return ``start`` or ``end`` of the clips in seconds, NaN for that of the recording."""
        return np.array(self.columns[name].to_pylist(), np.float64)

    @cached_property
    def labels(self) -> list[tuple[Any, ...]]:
        """Labels of each clip, or numbers, in the order of the table."""
        return self._tuples("labels")

    @property
    def unknown(self) -> list[tuple[str, ...]]:
        """Labels of which it is not known whether each clip has them."""
        if UNKNOWN not in self.columns.column_names:
            return [()] * len(self)
        return self._tuples(UNKNOWN)

    def _tuples(self, name: str) -> list[tuple[Any, ...]]:
        """Return ``labels`` or ``unknown`` as tuples."""
        lists = self.columns[name]
        rows = [tuple(row) for row in lists.to_pylist()]
        if pa.types.is_floating(lists.type.value_type):  # in files, NaN is null
            rows = [tuple(np.nan if v is None else v for v in row) for row in rows]
        return rows

    def subset(self, rows: Sequence[int] | npt.NDArray[Any]) -> "Manifest":
        """Return the manifest of some of the clips.

        Parameters
        ----------
        rows : sequence of int
            Row numbers, in the order of the result.

        Returns
        -------
        Manifest
            A new manifest.
        """
        rows = np.asarray(rows)
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
        return replace(self, columns=self.columns.take(number_array(numbers)))

    def targets(self) -> npt.NDArray[Any]:
        """Return the targets of the clips as numbers.

        Returns
        -------
        numpy.ndarray
            ``single``: class indices, shape (clips,), int64; ``multi``: 0 and 1, shape
            (clips, classes), int8, or float64 with NaN where a label is unknown; ``regression``:
            numbers, shape (clips, targets), float64.

        Raises
        ------
        DataError
            If the clips have no labels, or one has a label that is not in ``class_names``.
        """
        labels = self.labels
        if self.target == "none":
            raise DataError(
                f"{self.name}: the clips have no labels. A CSV needs a column 'label' (one name), "
                f"'labels' (several, separated by ';') or '{TARGET_PREFIX}NAME' (numbers); a "
                "folder needs one sub-folder per label"
            )
        if self.target == "regression":
            return np.array(labels, dtype=np.float64)
        index = {name: k for k, name in enumerate(self.class_names)}
        unknown = sorted({label for row in labels for label in row} - set(index))
        if unknown:
            raise DataError(
                f"{self.name}: labels that are not among the classes: {summarize_ids(unknown)}"
            )
        if self.target == "single":
            return np.array([index[row[0]] for row in labels], dtype=np.int64)
        hot = np.zeros((len(labels), len(self.class_names)), np.int8)
        for i, row in enumerate(labels):
            hot[i, [index[label] for label in row]] = 1
        if not self.has_unknown_labels:
            return hot
        masked = hot.astype(np.float64)
        for i, row in enumerate(self.unknown):
            masked[i, [index[label] for label in row]] = np.nan
        return masked

    @property
    def has_unknown_labels(self) -> bool:
        """Whether it is not known of some clip whether it has one of the labels."""
        return UNKNOWN in self.columns.column_names and any(self.unknown)

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of clips, labels, splits and groups."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        sha = hashlib.sha256(json.dumps([self.target, self.class_names]).encode())
        converted: dict[str, list[Any]] = {"labels": self.labels, UNKNOWN: self.unknown}
        for name in ("start", "end"):
            converted[name] = [None if np.isnan(t) else t for t in self.times(name).tolist()]
        columns = [
            converted[name] if name in converted else self.columns[name].to_pylist()
            for name in self._columns
        ]
        for row in zip(*columns, strict=True):
            sha.update(json.dumps(row, ensure_ascii=False).encode())
        return sha.hexdigest()

    def write(self, path: Path) -> None:
        """Write the manifest to a Parquet or CSV file.

        Parameters
        ----------
        path : pathlib.Path
            Ends in ``.parquet`` or ``.csv``, in an existing folder. Only Parquet stores name,
            root, target, class order and provenance.
        """
        if path.suffix == ".csv":
            path.write_text(self.to_csv(), encoding="utf-8", newline="")
            return
        import pyarrow.parquet as pq

        facts = {
            "name": self.name,
            "root": os.path.abspath(self.root) if self.root else None,  # noqa: PTH100
            "target": self.target,
            "names": self.class_names,
            "provenance": self.provenance,
            "expected": self.expected,
        }
        if self.source is not None:
            facts["source"] = os.path.abspath(self.source)  # noqa: PTH100
        metadata = {b"probekit": json.dumps(facts).encode()}
        pq.write_table(self.columns.select(self._columns).replace_schema_metadata(metadata), path)

    @property
    def _columns(self) -> list[str]:
        """The columns that are stored."""
        return [*COLUMNS, UNKNOWN] if self.has_unknown_labels else list(COLUMNS)

    def to_csv(self) -> str:
        """Return the table as the text of a CSV file, without columns that are empty."""
        flat = self.table[[c for c in COLUMNS if c != "labels"]].copy()
        empty = (flat.isna() | (flat == "")).all()
        flat = flat.loc[:, ~empty | flat.columns.isin(["clip_id", "path"])]
        labels = self.labels
        if self.target == "single":
            flat["label"] = [row[0] for row in labels]
            if flat["label"].str.contains(_LABEL_MARKS).any():  # would be read as several labels
                flat["label"] = [json.dumps(list(row), ensure_ascii=False) for row in labels]
        elif self.target == "multi" and self.has_unknown_labels:
            cells = np.char.mod("%.0f", self.targets())
            cells = np.where(cells == "nan", "", cells)
            for k, name in enumerate(self.class_names):
                flat[TAG_PREFIX + name] = cells[:, k]
        elif self.target == "multi":
            flat["labels"] = [json.dumps(list(row), ensure_ascii=False) for row in labels]
        elif self.target == "regression":
            for k, name in enumerate(self.class_names):
                flat[TARGET_PREFIX + name] = [row[k] for row in labels]
        return flat.to_csv(index=False, lineterminator="\n")


def from_rows(
    name: str,
    rows: Iterable[dict[str, Any]],
    *,
    root: Path | None = None,
    target: Target = "single",
    class_names: Sequence[str] | None = None,
    provenance: Sequence[str] = (),
    expected: int | None = None,
    source: Path | None = None,
) -> Manifest:
    """Make a manifest from one dictionary per clip.

    Parameters
    ----------
    name : str
        Name of the dataset or task.
    rows : iterable of dict
        Keys are those of :data:`COLUMNS`; only ``clip_id`` and ``path`` are required. ``labels``
        is a sequence; a single string counts as one label. ``unknown``, alike, are labels of which
        it is not known whether the clip has them (target ``multi``): they count neither in fits
        nor in scores. A row may lack it.
    root : pathlib.Path, optional
        The folder that paths are relative to.
    target : {"none", "single", "multi", "regression"}
        What ``labels`` holds.
    class_names : sequence of str, optional
        Classes in their order; by default those that occur, sorted.
    provenance : sequence of str
        What results on these clips must show.
    expected : int, optional
        The number of clips that the dataset should have.
    source : pathlib.Path, optional
        The file that the rows come from, for messages.

    Returns
    -------
    Manifest
        In the order of the rows.

    Raises
    ------
    DataError
        If there are no rows, ids repeat, a path leaves the root, a name is not UTF-8, a clip's
        end is not after its start, or a label is unknown for all clips.
    """
    rows = list(rows)
    origin = name if source is None else str(source)
    _check_encoding(origin, [str(row.get(key, "")) for row in rows for key in ("clip_id", "path")])
    if not any(rows):
        raise DataError(f"{origin}: no clips")
    has_labels = any("labels" in row for row in rows)
    if not has_labels:
        target = "none"
    paths = [str(row["path"]) for row in rows]
    normal = {path: _normalize_path(origin, path, root) for path in dict.fromkeys(paths)}
    columns: dict[str, list[Any]] = {
        "clip_id": [row.get("clip_id") for row in rows],
        "path": [normal[path] for path in paths],
        **{name: [_as_seconds(row.get(name)) for row in rows] for name in ("start", "end")},
        **{name: [_as_text(row.get(name)) for row in rows] for name in ("split", "fold", "group")},
        "labels": [_as_tuple(row["labels"]) if has_labels else () for row in rows],
    }
    _check_segments(origin, columns)
    _check_table(origin, COLUMNS, columns["clip_id"])
    if class_names is None and target in ("single", "multi"):
        class_names = sorted({label for row in columns["labels"] for label in row}, key=str)
    if target == "multi" and any(UNKNOWN in row for row in rows):
        unknown = [row.get(UNKNOWN) for row in rows]
        columns[UNKNOWN] = [
            () if row is None or isinstance(row, float) else _as_tuple(row) for row in unknown
        ]
        _check_unknown(origin, columns, class_names or ())
    return Manifest(
        name=name,
        columns=_to_arrow(origin, columns),
        root=root,
        target=target,
        class_names=tuple(class_names or ()),
        provenance=tuple(provenance),
        expected=expected,
    )


def _to_arrow(name: str, columns: dict[str, list[Any]]) -> pa.Table:
    """Return columns of clips as a table of Arrow."""
    makers: dict[str, Callable[[Any], pa.Array]] = {
        **dict.fromkeys(("start", "end"), number_array),
        **dict.fromkeys(("labels", UNKNOWN), list_array),
    }
    types = {isinstance(label, str) for row in columns["labels"] for label in row}
    if len(types) > 1:
        raise DataError(f"{name}: labels must be text, or numbers for regression, not both")
    return pa.table({column: makers.get(column, text_array)(v) for column, v in columns.items()})


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that :meth:`Manifest.write` wrote as Parquet.

    Raises
    ------
    DataError
        If the file is not a manifest of probekit.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # read_table imports pandas
            content = file.read()
        facts = json.loads((content.schema.metadata or {})[b"probekit"])
    except (OSError, KeyError, pa.ArrowInvalid, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a manifest of probekit") from error
    return Manifest(
        name=facts["name"],
        columns=content.replace_schema_metadata(None),
        root=Path(facts["root"]) if facts["root"] else None,
        target=facts["target"],
        class_names=tuple(facts["names"]),
        provenance=tuple(facts["provenance"]),
        expected=facts["expected"],
        source=Path(facts["source"]) if facts.get("source") else None,
    )


def shared_recordings(clips: Manifest) -> npt.NDArray[np.bool_]:
    """Return which clips are segments of a recording that other clips are segments of, too."""
    paths = clips.columns["path"].to_pylist()
    counts = Counter(paths)
    return np.array([path != "" and counts[path] > 1 for path in paths], bool)


def group_by_recording(clips: Manifest) -> Manifest:
    """Return a manifest whose clips without a group have their recording as one.

    Segments of one recording sound alike, so they belong on one side of a split. Clips that are
    alone in their recording stay without a group.
    """
    rows = shared_recordings(clips) & (clips.column("group") == "")
    if not rows.any():
        return clips
    groups = np.where(rows, clips.column("path"), clips.column("group"))
    return with_text(clips, "group", groups.tolist())


def with_text(clips: Manifest, name: str, texts: Sequence[str]) -> Manifest:
    """Return a manifest with another column of text.

    Parameters
    ----------
    clips : Manifest
        The clips.
    name : {"split", "fold", "group", "path", "clip_id"}
        Name of the column.
    texts : sequence of str
        One a clip.
    """
    position = clips.columns.column_names.index(name)
    changed = clips.columns.set_column(position, name, text_array(texts))
    return replace(clips, columns=changed)


def groups_are_recordings(clips: Manifest) -> bool:
    """Tell whether there are groups, and each is a recording: see :func:`group_by_recording`."""
    groups = clips.column("group")
    return bool((groups != "").any() and (groups == clips.column("path"))[groups != ""].all())


def _normalize_path(name: str, path: str, root: Path | None = None) -> str:
    """Return a path in normal form, relative to its root; raise if it leaves the root."""
    normal = posixpath.normpath(path.replace("\\", "/")) if path else ""
    may_be_absolute = path.startswith(("/", "\\")) or path[1:2] == ":"  # Path is slow
    if root is not None and may_be_absolute and Path(path).is_absolute():
        normal = _relative_to_root(path, os.path.abspath(root)) or normal  # noqa: PTH100
    if posixpath.isabs(normal) or normal.split("/")[0] == ".." or normal[1:3] == ":/":
        raise DataError(
            f"{name}: path {path!r} leaves the root folder. Paths in a manifest are relative to "
            "its root: choose the folder that holds all recordings as --root"
        )
    return normal


def _relative_to_root(path: str, root: str) -> str | None:
    """Return an absolute path as one relative to a root, links resolved; None if it is outside."""
    folder, name = os.path.split(os.path.normpath(path))
    relative = _relative_folder(folder, root)
    return None if relative is None else (Path(relative) / name).as_posix()


@lru_cache(maxsize=4096)
def _relative_folder(folder: str, root: str) -> str | None:
    for resolve in (os.path.abspath, os.path.realpath):
        with suppress(ValueError):
            return str(Path(resolve(folder)).relative_to(resolve(root)))
    return None


def missing_recordings(clips: Manifest) -> list[str]:
    """Return the paths of missing recordings, relative to the root, in the manifest's order.

    Raises
    ------
    DataError
        If the manifest has no root.
    """
    if clips.root is None:
        raise DataError(
            f"{clips.name}: no folder for its recordings is known. Give their folder with --root"
        )
    # a folder is listed once: millions of clips may lie in it
    listings: dict[str, set[str]] = {}
    missing = []
    for path in dict.fromkeys(clips.columns["path"].to_pylist()):
        folder, _, name = path.rpartition("/")
        if folder not in listings:
            listings[folder] = _list_files(clips.root / folder)
        if name not in listings[folder]:
            missing.append(path)
    return missing


def _list_files(folder: Path) -> set[str]:
    """Return the names in a folder, without those of links to nothing."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name
                for entry in entries
                if not entry.is_symlink() or (folder / entry.name).exists()
            }
    except OSError:
        return set()


def match_spelling(root: Path, paths: Iterable[str]) -> list[str]:
    """Return the paths of recordings as they are spelled on the disk.

    Letters with accents have two spellings in Unicode: of the names in a folder, the one that is
    the same in normal form is taken. Paths without one stay as they are.
    """
    listings: dict[str, dict[str, str]] = {}

    def spell(path: str) -> str:
        if path.isascii() or (root / path).exists():
            return path
        actual = ""
        for name in path.split("/"):
            if actual not in listings:
                listings[actual] = _names_by_normal_form(root / actual)
            normal = unicodedata.normalize("NFC", name)
            actual = posixpath.join(actual, listings[actual].get(normal, name))
        return actual if (root / actual).exists() else path

    return [spell(path) for path in paths]


def _names_by_normal_form(folder: Path) -> dict[str, str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return {}
    return {unicodedata.normalize("NFC", name): name for name in names}


def _check_encoding(name: str, texts: Sequence[str]) -> None:
    """Raise if a file name is not UTF-8: it could not be stored."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{name}: {text!r}: file names must be UTF-8; rename it") from error


def _check_segments(name: str, columns: dict[str, list[Any]]) -> None:
    """Raise if a segment cannot exist in any recording."""
    first, last = (np.array(columns[key], float) for key in ("start", "end"))
    start, end = np.where(np.isnan(first), 0.0, first), np.where(np.isnan(last), np.inf, last)
    invalid = np.flatnonzero((start < 0) | np.isinf(start) | (end <= start))
    if len(invalid):
        k = invalid[0]
        raise DataError(
            f"{name}: clip {columns['clip_id'][k]!r}: start must be >= 0 s and end after it (both "
            f"empty: the whole recording), got {first[k]:g} s to {last[k]:g} s"
        )


def _as_seconds(value: Any) -> float:
    return np.nan if value is None else float(value)


def _as_text(value: Any) -> str:
    """Return a value as text, empty if it is missing: None, NaN or pandas.NA."""
    try:
        missing = value is None or bool(value != value)
    except TypeError:
        missing = True
    return "" if missing else str(value)


def _as_tuple(labels: Any) -> tuple[Any, ...]:
    """Return the labels of a clip; a single string is one label."""
    return (labels,) if isinstance(labels, str) else tuple(labels)


def _check_unknown(name: str, columns: dict[str, list[Any]], class_names: Sequence[str]) -> None:
    """Raise if a label is both true and unknown, is no class, or is unknown for all clips."""
    counts = Counter(label for row in columns[UNKNOWN] for label in set(row))
    no_class = sorted(set(counts) - set(class_names))
    if no_class:
        raise DataError(f"{name}: unknown labels that are no classes: {summarize_ids(no_class)}")
    total = len(columns[UNKNOWN])
    empty = [label for label in class_names if counts[label] == total]
    if empty:
        raise DataError(
            f"{name}: labels that are unknown for all {total:,} clips: "
            f"{summarize_ids(empty)}. Fill in some of their cells, or leave out the label"
        )
    for clip_id, labels, unknown in zip(
        columns["clip_id"], columns["labels"], columns[UNKNOWN], strict=True
    ):
        both = set(labels) & set(unknown)
        if both:
            raise DataError(f"{name}: clip {clip_id!r}: {min(both)!r} is both a label and unknown")


def _check_columns(name: str, columns: pa.Table) -> None:
    ids = columns["clip_id"].to_pylist() if "clip_id" in columns.column_names else ()
    _check_table(name, columns.column_names, ids)


def _check_table(name: str, columns: Sequence[str], ids: Sequence[Any]) -> None:
    """Raise if a column is missing, or a clip id is empty or repeated."""
    missing = [c for c in COLUMNS if c not in columns]
    if missing:
        raise DataError(f"{name}: columns are missing: {', '.join(missing)}")
    if not all(isinstance(text, str) and text != "" and "\0" not in text for text in ids):
        raise DataError(f"{name}: clip_id must be text and not empty")
    if len(set(ids)) < len(ids):
        repeated = [text for text, count in Counter(ids).items() if count > 1]
        raise DataError(
            f"{name}: clip ids that occur more than once: {summarize_ids(sorted(repeated))}"
        )
