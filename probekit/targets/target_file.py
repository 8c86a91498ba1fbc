"""Target files: what a network is trained on that is no label, by clip id, with its provenance.

A target file is HDF5, written by ``probekit targets``; tables of other programs (``.npz``,
Parquet, CSV) are read as well.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pandas as pd
import scipy.sparse

from probekit._typing import Array
from probekit.errors import DataError
from probekit.utils import atomic
from probekit.utils.hashing import sha256
from probekit.utils.text import summarize_ids

FORMAT = "probekit targets 1"
SUFFIXES = (".h5", ".npz", ".parquet", ".csv")
Kind = Literal["vectors", "distributions"]

_IDS = ("clip_id", "clip_ids", "id", "ids")
_DISTRIBUTION_ERROR = 1e-3  # of the sum of a row of probabilities
_TEXT = h5py.string_dtype()


@dataclass(frozen=True)
class Listeners:
    """Users whose factors were fitted without the held-out clips, and what they played of these.

    Attributes
    ----------
    users : numpy.ndarray, shape (users, factors), float32
        Factors in the gauge of the targets.
    counts : scipy.sparse.csr_matrix, shape (clips, users), float32
        Counts of validation and test clips; other rows are empty.
    """

    users: Array
    counts: scipy.sparse.csr_matrix


@dataclass(frozen=True)
class Targets:
    """A vector or a distribution for each clip.

    Attributes
    ----------
    clip_ids : numpy.ndarray of str, shape (clips,)
        Each once.
    values : numpy.ndarray, shape (clips, dim), float32
        Vectors, or probabilities.
    kind : {"vectors", "distributions"}
        What the rows are; those of a distribution are at least 0 and have the sum 1.
    names : tuple of str
        Of the columns.
    lengths : numpy.ndarray, shape (clips,), or None
        Lengths that the vectors had before they were divided by them.
    split, groups : numpy.ndarray of str, shape (clips,), or None
        ``train``, ``valid`` or ``test``; and the artist, or whatever is not to be divided.
    popularity : numpy.ndarray of int, shape (clips,), or None
        Number of listeners.
    listeners : Listeners or None
        For scores by user.
    provenance : dict
        What the targets were made of.
    """

    clip_ids: Array
    values: Array
    kind: Kind = "vectors"
    names: tuple[str, ...] = ()
    lengths: Array | None = None
    split: Array | None = None
    groups: Array | None = None
    popularity: Array | None = None
    listeners: Listeners | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def dim(self) -> int:
        """Numbers a clip."""
        return int(self.values.shape[1])

    def find(self, clip_ids: Sequence[str]) -> Array:
        """Return the row of each clip, -1 for one without a target."""
        rows = {str(clip_id): row for row, clip_id in enumerate(self.clip_ids)}
        return np.array([rows.get(str(clip_id), -1) for clip_id in clip_ids], np.int64)

    def match(self, clip_ids: Sequence[str], dataset: str, origin: str, hint: str = "") -> Array:
        """Return the same as :meth:`find`; DataError if no clip of a dataset has a target.

        ``origin`` names the file in the message, ``hint`` ends it.
        """
        rows = self.find(clip_ids)
        if (rows < 0).all():
            raise DataError(
                f"{origin}: none of its {len(self):,} targets is of the {len(clip_ids):,} clips of "
                f"{dataset}: these are like {summarize_ids(list(clip_ids[:2]), 2)}, its ids like "
                f"{summarize_ids(list(map(str, self.clip_ids[:2])), 2)}{hint}"
            )
        return rows

    def digest(self) -> str:
        """Return the SHA-256 of ids, values and split."""
        sha = hashlib.sha256(json.dumps([self.kind, list(self.names)]).encode())
        sha.update("\0".join(self.clip_ids).encode())
        sha.update(np.ascontiguousarray(self.values, np.float32).tobytes())
        if self.split is not None:
            sha.update("\0".join(self.split).encode())
        return sha.hexdigest()

    def unit_length(self) -> "Targets":
        """Return the vectors divided by their lengths, which are kept apart."""
        lengths = np.linalg.norm(self.values.astype(np.float64), axis=1)
        facts = {**vars(self), "values": (self.values / lengths[:, None]).astype(np.float32)}
        return Targets(**{**facts, "lengths": lengths if self.lengths is None else self.lengths})


def write_targets(path: str | Path, targets: Targets) -> None:
    """Write a target file: complete, or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        Ends in ``.h5``; its folder is created.
    targets : Targets
        Its content.

    Raises
    ------
    DataError
        If the name does not end in ``.h5``, or the targets are not valid.
    """
    path = check_output(path)
    _check(str(path), targets)

    def write(temporary: Path) -> None:
        with h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["kind"] = targets.kind
            file.attrs["provenance"] = json.dumps(targets.provenance, ensure_ascii=False)
            _write_text(file, "clip_id", targets.clip_ids)
            _write_text(file, "name", targets.names)
            file["values"] = targets.values.astype(np.float32)
            for name in ("lengths", "popularity"):
                if getattr(targets, name) is not None:
                    file[name] = getattr(targets, name)
            for name in ("split", "groups"):
                if getattr(targets, name) is not None:
                    _write_text(file, name, getattr(targets, name))
            if targets.listeners is not None:
                counts = targets.listeners.counts
                file["listeners/users"] = targets.listeners.users.astype(np.float32)
                file["listeners/counts"] = counts.data.astype(np.float32)
                file["listeners/columns"] = counts.indices.astype(np.int32)
                file["listeners/edges"] = counts.indptr.astype(np.int64)

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write(path, write)


def check_output(path: str | Path) -> Path:
    """Return the path of a new target file; DataError if its name does not end in ``.h5``."""
    path = Path(path)
    if path.suffix != ".h5":
        raise DataError(f"{path}: the name of a target file must end in .h5")
    return path


def read_targets(path: str | Path) -> Targets:
    """Read targets.

    Parameters
    ----------
    path : str or pathlib.Path
        A target file (``.h5``); or another table: ``.npz`` with ``clip_id`` and one array of
        shape (clips, dim), or ``.parquet`` or ``.csv`` with a column ``clip_id`` and columns of
        numbers, or one column of lists. Columns ``split`` and ``group`` are read, too.

    Returns
    -------
    Targets
        ``distributions`` if all rows are at least 0 and have the sum 1, else ``vectors``.

    Raises
    ------
    DataError
        If the file is missing, damaged or no table of targets; names what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such target file")
    readers: dict[str, Callable[[Path], Targets]] = {
        ".h5": _read_hdf5,
        ".npz": _read_npz,
        ".parquet": _read_table,
        ".csv": _read_table,
    }
    if path.suffix not in readers:
        raise DataError(f"{path}: targets must be {', '.join(SUFFIXES)}, got {path.suffix!r}")
    targets = readers[path.suffix](path)
    _check(str(path), targets)
    return targets


def _read_hdf5(path: Path) -> Targets:
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(
                    f"{path}: not a target file of this version of probekit (format "
                    f"{file.attrs.get('format')!r}); make it with probekit targets"
                )

            def text(name: str) -> Array | None:
                return file[name].asstr()[:].astype(str) if name in file else None

            def numbers(name: str) -> Array | None:
                return file[name][:] if name in file else None

            ids = text("clip_id")
            listeners = None
            if "listeners" in file:
                group = file["listeners"]
                users = group["users"][:]
                parts = (group["counts"][:], group["columns"][:], group["edges"][:])
                shape = (len(ids), len(users))  # type: ignore[arg-type]
                listeners = Listeners(users, scipy.sparse.csr_matrix(parts, shape))
            return Targets(
                clip_ids=ids,  # type: ignore[arg-type]
                values=file["values"][:],
                kind=str(file.attrs["kind"]),  # type: ignore[arg-type]
                names=tuple(file["name"].asstr()[:]),
                lengths=numbers("lengths"),
                split=text("split"),
                groups=text("groups"),
                popularity=numbers("popularity"),
                listeners=listeners,
                provenance=json.loads(file.attrs["provenance"]),
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: damaged, or not a target file ({error})") from error


def _read_npz(path: Path) -> Targets:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile, pickle and numpy raise errors of many kinds
        raise DataError(f"{path}: damaged, or not an .npz file ({error})") from error
    key = next((name for name in _IDS if name in arrays), "")
    if not key:
        raise DataError(f"{path}: no array clip_id, only {', '.join(arrays) or 'none'}")
    matrices = [name for name, array in arrays.items() if array.ndim == 2 and name != key]
    if len(matrices) != 1:
        raise DataError(
            f"{path}: must hold clip_id and one array of shape (clips, dim), got "
            f"{', '.join(matrices) or 'none of that shape'}"
        )
    optional: dict[str, Any] = {
        field: np.asarray(arrays[name], str)
        for field, name in (("split", "split"), ("groups", "group"))
        if name in arrays
    }
    return _as_targets(path, arrays[key], arrays[matrices[0]], (), **optional)


def _read_table(path: Path) -> Targets:
    try:
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype=dict.fromkeys(_IDS, str))
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # ArrowInvalid and ParserError are ValueErrors
        raise DataError(f"{path}: damaged, or not a table ({error})") from error
    key = next((name for name in _IDS if name in table), "")
    if not key:
        raise DataError(f"{path}: no column clip_id, only {', '.join(map(str, table.columns))}")
    optional: dict[str, Any] = {
        field: table[name].fillna("").to_numpy(str)
        for field, name in (("split", "split"), ("groups", "group"))
        if name in table
    }
    columns = [name for name in table if name not in (key, "split", "group")]
    if (
        len(columns) == 1
        and len(table)
        and isinstance(table[columns[0]].iloc[0], np.ndarray | list)
    ):
        lengths = {len(row) for row in table[columns[0]]}
        if len(lengths) > 1:
            raise DataError(f"{path}: lists of different lengths ({min(lengths)}-{max(lengths)})")
        return _as_targets(path, table[key], np.stack(table[columns[0]].to_numpy()), (), **optional)
    text = [str(name) for name in columns if not pd.api.types.is_numeric_dtype(table[name])]
    if text:
        raise DataError(f"{path}: columns that are not numbers: {', '.join(text)}; remove them")
    return _as_targets(
        path, table[key], table[columns].to_numpy(), tuple(map(str, columns)), **optional
    )


def _as_targets(
    path: Path, ids: Any, values: Array, names: tuple[str, ...], **optional: Any
) -> Targets:
    """Return the targets of a table."""
    array = np.asarray(ids)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.dtype.kind == "f":
        raise DataError(f"{path}: clip ids are decimal numbers ({array[0]:g}); store them as text")
    if values.dtype.kind not in "fiub":
        raise DataError(f"{path}: targets must be numbers, got {values.dtype}")
    values = values.astype(np.float32)
    kind: Kind = "distributions" if _are_distributions(values) else "vectors"
    provenance = {"file": path.name, "sha256": sha256(path)}
    return Targets(array.astype(str), values, kind, names, provenance=provenance, **optional)


def _are_distributions(values: Array) -> bool:
    return bool(
        values.ndim == 2
        and values.shape[1] > 1
        and len(values)
        and (values >= 0).all()
        and np.abs(values.sum(1, dtype=np.float64) - 1).max() < _DISTRIBUTION_ERROR
    )


def _check(origin: str, targets: Targets) -> None:
    """Raise a DataError if targets contradict themselves."""
    ids, values = targets.clip_ids, targets.values
    if values.ndim != 2 or not values.size:
        raise DataError(f"{origin}: must hold at least one clip and one number a clip")
    if len(ids) != len(values):
        raise DataError(f"{origin}: {len(ids):,} clip ids for {len(values):,} rows of targets")
    if (ids == "").any():
        raise DataError(f"{origin}: clip {int(np.flatnonzero(ids == '')[0]) + 1:,} has no id")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        repeated = list(unique[counts > 1])
        raise DataError(f"{origin}: clip ids that occur more than once: {summarize_ids(repeated)}")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise DataError(
            f"{origin}: {len(bad):,} of {len(ids):,} targets are NaN or infinite, such as that of "
            f"{str(ids[bad[0]])!r}; leave these clips out"
        )
    if targets.kind == "vectors" and targets.dim > 1:
        zero = np.flatnonzero(~values.any(1))
        if len(zero):
            raise DataError(
                f"{origin}: {len(zero):,} of {len(ids):,} vectors are 0, which is no direction, "
                f"such as that of {str(ids[zero[0]])!r}. A clip without a target must have no row"
            )
    if targets.kind == "distributions" and not _are_distributions(values):
        raise DataError(f"{origin}: rows of a distribution must be at least 0 and have the sum 1")
    if targets.split is not None:
        unknown = sorted(set(targets.split) - {"train", "valid", "test"})
        if unknown:
            raise DataError(f"{origin}: split must be train, valid or test, got {unknown[0]!r}")


def _write_text(file: h5py.File, name: str, texts: Any) -> None:
    file.create_dataset(name, data=np.asarray([str(t) for t in texts], object), dtype=_TEXT)
