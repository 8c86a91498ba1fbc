"""Manifests: tables of clips with their segments of recordings, labels, splits and groups."""

import hashlib
import json
import os
import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.errors import DataError
from probekit.utils.text import dataset_name, summarize_ids

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
    table : pandas.DataFrame
        One row per clip, with columns ``clip_id``, ``path`` (relative to ``root``, with ``/``),
        ``start``, ``end`` (seconds; NaN: start and end of the file), ``split``, ``fold``,
        ``group`` (text, empty if unknown) and ``labels`` (tuples: of text, or of numbers for
        regression). For several labels a clip there may be ``unknown``, tuples of the labels of
        which it is not known whether the clip has them.
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
    table: pd.DataFrame
    root: Path | None = None
    target: Target = "none"
    class_names: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()
    expected: int | None = None
    absent: tuple[str, ...] = ()
    source: Path | None = None
    other_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_table(self.name, self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        """Return name, numbers of clips and classes, target, and the folder of the recordings."""
        words = [f"{self.name!r}", f"{len(self):,} clips"]
        if self.target != "none":
            unit = "targets" if self.target == "regression" else "classes"
            words += [f"{len(self.class_names):,} {unit}", f"target={self.target!r}"]
        if self.root is not None:
            words.append(f"root={str(self.root)!r}")
        return f"Manifest({', '.join(words)})"

    @property
    def clip_ids(self) -> list[str]:
        """Clip ids in the order of the table."""
        return list(self.table["clip_id"])

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
        return self.table[name].to_numpy(dtype=str)

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
        return replace(self, table=self.table.iloc[list(rows)].reset_index(drop=True))

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
        labels = list(self.table["labels"])
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
        for i, row in enumerate(self.table[UNKNOWN]):
            masked[i, [index[label] for label in row]] = np.nan
        return masked

    @property
    def has_unknown_labels(self) -> bool:
        """Whether it is not known of some clip whether it has one of the labels."""
        return UNKNOWN in self.table and bool(self.table[UNKNOWN].map(len).any())

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of clips, labels, splits and groups."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        sha = hashlib.sha256(json.dumps([self.target, self.class_names]).encode())
        for row in self.table[self._columns].itertuples(index=False):
            plain = [None if isinstance(v, float) and np.isnan(v) else v for v in row]
            sha.update(json.dumps(plain, ensure_ascii=False, default=list).encode())
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
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.table[self._columns], preserve_index=False)
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
        pq.write_table(
            table.replace_schema_metadata(
                {**(table.schema.metadata or {}), b"probekit": json.dumps(facts).encode()}
            ),
            path,
        )

    @property
    def _columns(self) -> list[str]:
        """The columns that are stored."""
        return [*COLUMNS, UNKNOWN] if self.has_unknown_labels else list(COLUMNS)

    def to_csv(self) -> str:
        """Return the table as the text of a CSV file, without columns that are empty."""
        flat = self.table[[c for c in COLUMNS if c != "labels"]].copy()
        empty = (flat.isna() | (flat == "")).all()
        flat = flat.loc[:, ~empty | flat.columns.isin(["clip_id", "path"])]
        labels = list(self.table["labels"])
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
    table = pd.DataFrame(rows)
    if table.empty:
        raise DataError(f"{origin}: no clips")
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
    table["labels"] = [_as_tuple(row) for row in table["labels"]]
    paths = [str(path) for path in table["path"]]
    normal = {path: _normalize_path(origin, path, root) for path in dict.fromkeys(paths)}
    table["path"] = [normal[path] for path in paths]
    _check_segments(origin, table)
    _check_table(origin, table[list(COLUMNS)])
    if class_names is None and target in ("single", "multi"):
        class_names = sorted({label for row in table["labels"] for label in row})
    columns = list(COLUMNS)
    if UNKNOWN in table and target == "multi":
        table[UNKNOWN] = [
            () if row is None or isinstance(row, float) else _as_tuple(row)
            for row in table[UNKNOWN]
        ]
        _check_unknown(origin, table, class_names or ())
        columns.append(UNKNOWN)
    return Manifest(
        name=name,
        table=table[columns].reset_index(drop=True),
        root=root,
        target=target,
        class_names=tuple(class_names or ()),
        provenance=tuple(provenance),
        expected=expected,
    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that :meth:`Manifest.write` wrote as Parquet.

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
    for column in {"labels", UNKNOWN} & set(table):
        table[column] = [tuple(row) for row in table[column]]
    return Manifest(
        name=facts["name"],
        table=table,
        root=Path(facts["root"]) if facts["root"] else None,
        target=facts["target"],
        class_names=tuple(facts["names"]),
        provenance=tuple(facts["provenance"]),
        expected=facts["expected"],
        source=Path(facts["source"]) if facts.get("source") else None,
    )


def shared_recordings(clips: Manifest) -> npt.NDArray[np.bool_]:
    """Return which clips are segments of a recording that other clips are segments of, too."""
    paths = clips.table["path"]
    return (paths.duplicated(keep=False) & (paths != "")).to_numpy()


def group_by_recording(clips: Manifest) -> Manifest:
    """Return a manifest whose clips without a group have their recording as one.

    Segments of one recording sound alike, so they belong on one side of a split. Clips that are
    alone in their recording stay without a group.
    """
    rows = shared_recordings(clips) & (clips.column("group") == "")
    if not rows.any():
        return clips
    table = clips.table.copy()
    table.loc[rows, "group"] = table.loc[rows, "path"]
    return replace(clips, table=table)


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
    for path in dict.fromkeys(clips.table["path"]):
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


def _check_segments(name: str, table: pd.DataFrame) -> None:
    """Raise if a segment cannot exist in any recording."""
    start, end = table["start"].fillna(0.0), table["end"].fillna(np.inf)
    invalid = np.flatnonzero((start < 0) | np.isinf(start) | (end <= start))
    if len(invalid):
        clip_id, first, last = table.loc[invalid[0], ["clip_id", "start", "end"]]
        raise DataError(
            f"{name}: clip {clip_id!r}: start must be >= 0 s and end after it (both empty: the "
            f"whole recording), got {first:g} s to {last:g} s"
        )


def _as_tuple(labels: Any) -> tuple[Any, ...]:
    """Return the labels of a clip; a single string is one label."""
    return (labels,) if isinstance(labels, str) else tuple(labels)


def _check_unknown(name: str, table: pd.DataFrame, class_names: Sequence[str]) -> None:
    """Raise if a label is both true and unknown, is no class, or is unknown for all clips."""
    counts = Counter(label for row in table[UNKNOWN] for label in set(row))
    no_class = sorted(set(counts) - set(class_names))
    if no_class:
        raise DataError(f"{name}: unknown labels that are no classes: {summarize_ids(no_class)}")
    empty = [label for label in class_names if counts[label] == len(table)]
    if empty:
        raise DataError(
            f"{name}: labels that are unknown for all {len(table):,} clips: "
            f"{summarize_ids(empty)}. Fill in some of their cells, or leave out the label"
        )
    for clip_id, labels, unknown in zip(
        table["clip_id"], table["labels"], table[UNKNOWN], strict=True
    ):
        both = set(labels) & set(unknown)
        if both:
            raise DataError(f"{name}: clip {clip_id!r}: {min(both)!r} is both a label and unknown")


def _check_table(name: str, table: pd.DataFrame) -> None:
    """Raise if a column is missing, or a clip id is empty or repeated."""
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise DataError(f"{name}: columns are missing: {', '.join(missing)}")
    ids = table["clip_id"]
    if not ids.map(lambda text: isinstance(text, str) and text != "" and "\0" not in text).all():
        raise DataError(f"{name}: clip_id must be text and not empty")
    repeated = ids[ids.duplicated()]
    if len(repeated):
        raise DataError(
            f"{name}: clip ids that occur more than once: {summarize_ids(sorted(set(repeated)))}"
        )
