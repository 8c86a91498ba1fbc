"""The clip table: which stretch of which file is which clip, and what is known about it."""

import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from probekit.errors import DataError
from probekit.utils.text import summarize_ids

Target = Literal["none", "single", "multi", "regression"]

COLUMNS = ("clip_id", "path", "start", "end", "split", "fold", "group", "labels")
VALUE = "target:"  # CSV columns of numbers to predict are called target:NAME


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
    absent : tuple of str
        Names of recordings that were looked for in vain, and whose clips are therefore not in the
        table. They are not written to files.
    """

    name: str
    table: pd.DataFrame
    root: Path | None = None
    target: Target = "none"
    names: tuple[str, ...] = ()
    provenance: tuple[str, ...] = ()
    expected: int | None = None
    absent: tuple[str, ...] = ()

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
                f"'labels' (several, separated by ';') or '{VALUE}NAME' (numbers); a folder needs "
                "one sub-folder for each label"
            )
        if self.target == "regression":
            return np.array(labels, dtype=np.float64)
        where = {name: k for k, name in enumerate(self.names)}
        strange = sorted({label for row in labels for label in row} - set(where))
        if strange:
            raise DataError(
                f"{self.name}: labels that are not in the list of classes: {summarize_ids(strange)}"
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
            "root": os.path.abspath(self.root) if self.root else None,  # noqa: PTH100
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
                flat[VALUE + name] = [row[k] for row in labels]
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
    source: Path | None = None,
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
    source : pathlib.Path, optional
        The file that the rows are from, which messages name instead of the dataset.

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
    said = name if source is None else str(source)
    _check_encoding(said, [str(row.get(key, "")) for row in rows for key in ("clip_id", "path")])
    table = pd.DataFrame(rows)
    if table.empty:
        raise DataError(f"{said}: no clips")
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
    table["path"] = [_inside(said, str(path)) for path in table["path"]]
    _check_stretches(said, table)
    _check(said, table[list(COLUMNS)])
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
        raise DataError(
            f"{name}: clip ids that occur more than once: {summarize_ids(sorted(set(twice)))}"
        )
