"""Index of a folder of parts: which clip is in which part, rebuilt when missing or stale."""

import errno
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from probekit.cache import part
from probekit.cache.layout import Layout, check_fingerprint, load_layout
from probekit.errors import CacheError
from probekit.utils import atomic

if TYPE_CHECKING:  # see probekit.data.manifest
    import pandas as pd

INDEX_FILE = "index.parquet"
COLUMNS = ("clip_id", "part", "row", "failed", "reason", *part.CLIP_FIELDS)
_FILE_FIELDS = ["size", "mtime", "sha256"]
_FEW = 1000  # up to here a dict is faster than a vectorized lookup
_SMALL = 20_000  # clips up to which Arrow is as fast as pandas, which takes time to import
_LONGEST = 65  # letters of an id, and one: longer ids are hashed as strings
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads numbers that are alike


class Index:
    """The clips of one folder of a cache.

    Parameters
    ----------
    clips : pandas.DataFrame or pyarrow.Table
        One row a clip, with :data:`COLUMNS`; ``row`` is -1 for failures. A part's clips are
        contiguous, in the order of its rows. :attr:`table` has them as a DataFrame.
    parts : dict of str to dict
        File name to ``size``, ``mtime``, ``streams`` (its arrays), ``places`` (their offsets in
        the file, see :func:`probekit.cache.part.array_offsets`), and the attributes
        :data:`probekit.cache.part.NOTES` if it has them.
    """

    def __init__(self, clips: "pd.DataFrame | pa.Table", parts: dict[str, dict[str, Any]]) -> None:
        self._clips = clips
        self.parts = parts

    def __len__(self) -> int:
        """Return the number of clips, failures included."""
        return len(self._clips)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The clips as a DataFrame."""
        return self._clips.to_pandas() if isinstance(self._clips, pa.Table) else self._clips

    def column(self, name: str) -> list[Any]:
        """Return a column of the clips; none of a folder without any."""
        if isinstance(self._clips, pa.Table):
            values: list[Any] = self._clips[name].to_pylist()
            return values
        return list(self._clips[name]) if len(self._clips) else []

    def arrays(self, stream: str) -> list[str]:
        """Return the arrays (``mean``, ``frames`` …) of a stream that every part holds.

        Parts of which all clips failed hold no arrays, and do not count.
        """
        arrays = [
            set(facts["streams"].get(stream, ()))
            for facts in self.parts.values()
            if any(facts["streams"].values())
        ]
        return sorted(set.intersection(*arrays)) if arrays else []

    @cached_property
    def notes(self) -> dict[str, list[str]]:
        """What is odd in the recordings of clips, by clip id."""
        notes: dict[str, list[str]] = {}
        for facts in self.parts.values():
            notes |= facts.get(part.NOTES, {})
        return notes

    def find(self, clip_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the positions of clips in the table.

        Parameters
        ----------
        clip_ids : sequence of str
            A list, or a column of a table.

        Returns
        -------
        numpy.ndarray, shape (clips,)
            Row numbers of :attr:`table`; -1 for clips that are not in it.
        """
        if not len(self):
            return np.full(len(clip_ids), -1, np.int64)
        if len(clip_ids) < (_SMALL if len(self) < _SMALL else _FEW):
            if isinstance(clip_ids, pa.Array | pa.ChunkedArray):
                clip_ids = clip_ids.to_pylist()
            positions = (self._positions.get(clip_id, -1) for clip_id in clip_ids)
            return np.fromiter(positions, np.int64, len(clip_ids))
        if self._lookup is not None and (letters := _same_length(clip_ids)) is not None:
            return self._lookup.find(letters)
        import pyarrow.compute as pc

        table, ids = _text(self._clips["clip_id"]), _text(clip_ids)
        matches = pc.index_in(ids, value_set=table).fill_null(-1)
        return np.asarray(matches.to_numpy(zero_copy_only=False), np.int64)

    @cached_property
    def _lookup(self) -> "_Lookup | None":
        letters = _same_length(self._clips["clip_id"])
        if letters is None:
            return None
        lookup = _Lookup(letters)
        return lookup if lookup.is_unique else None

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {clip_id: position for position, clip_id in enumerate(self.column("clip_id"))}

    @cached_property
    def failed(self) -> npt.NDArray[np.bool_]:
        """Whether each clip of the table has no embedding."""
        return np.array(self.column("failed"), bool)

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of each clip of the table in its part."""
        return np.array(self.column("row"), np.int64)

    @property
    def recording_hashes(self) -> dict[str, str]:
        """SHA-256 of each clip's recording by clip id; empty text for imported clips."""
        return dict(zip(self.column("clip_id"), self.column("sha256"), strict=True))

    @cached_property
    def part_codes(self) -> tuple[npt.NDArray[np.int64], list[str]]:
        """The part of each clip of the table, as a position in a list of names, and that list."""
        import pandas as pd

        codes, names = pd.factorize(self.table["part"])
        return codes.astype(np.int64), list(names)


class _Lookup:
    """Positions of ids that have the same length, such as digests, by a sort of 64-bit hashes.

    Four times as fast as a hash table of strings, in which every step waits for the memory.

    Parameters
    ----------
    letters : numpy.ndarray of uint8, shape (ids, length)
        The ids.
    """

    def __init__(self, letters: npt.NDArray[np.uint8]) -> None:
        self._length = letters.shape[1]
        self._words = _pack(letters)
        hashes = _hash(self._words)
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]

    @property
    def is_unique(self) -> bool:
        """Whether no two hashes are the same: of equal ids, or by chance."""
        return bool((self._sorted[1:] != self._sorted[:-1]).all())

    def find(self, letters: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the position of each id, -1 for those that are not among the ids."""
        if letters.shape[1] != self._length:
            return np.full(len(letters), -1, np.int64)
        words = _pack(letters)
        hashes = _hash(words)
        order = np.argsort(hashes)  # sorted keys are looked up much faster
        nearest = np.searchsorted(self._sorted, hashes[order])
        positions = np.empty(len(letters), np.int64)
        positions[order] = self._order[np.minimum(nearest, len(self._order) - 1)]
        for word, sought in zip(self._words, words, strict=True):
            positions[word.take(positions) != sought] = -1
        return positions


def _same_length(ids: Sequence[str]) -> npt.NDArray[np.uint8] | None:
    """Return ids as rows of bytes, shape (ids, length); None if their lengths differ."""
    if isinstance(ids, list | tuple):
        try:
            text = "\n".join(ids) + "\n"
        except TypeError:  # not all are text
            return None
        length, rest = divmod(len(text), len(ids))
        if rest or not 1 < length <= _LONGEST or not text.isascii():
            return None
        rows = np.frombuffer(text.encode("ascii"), np.uint8).reshape(len(ids), length)
        separators = rows == ord("\n")
        regular = separators[:, -1].all() and not separators[:, :-1].any()
        return rows[:, :-1] if regular else None
    column = _text(ids)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count or not len(column):
        return None
    _, offsets, content = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    length = int(bounds[1] - bounds[0])
    if not 0 < length < _LONGEST or (np.diff(bounds) != length).any():
        return None
    return np.frombuffer(content, np.uint8)[bounds[0] : bounds[-1]].reshape(len(column), length)


def _text(ids: Sequence[str]) -> Any:
    """Return ids as a column of Arrow; old versions cannot make a large one of numpy's text."""
    if isinstance(ids, pa.ChunkedArray):
        return ids.cast(pa.large_string())
    if isinstance(ids, np.ndarray):
        return pa.array(ids).cast(pa.large_string())
    return pa.array(ids, pa.large_string())


def _pack(letters: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return rows of bytes as columns of 64-bit words, the last one filled up with zeros."""
    count, length = letters.shape
    padded = np.zeros((count, -(-length // 8) * 8), np.uint8)
    padded[:, :length] = letters
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _hash(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return a hash of each id; of a single word itself."""
    hashes = words[0].copy()
    for word in words[1:]:
        hashes *= _MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
        hashes ^= word
    return hashes


def load_index(folder: Path, *, save: bool = True, skip: Collection[str] = ()) -> Index:
    """Return the up-to-date index of a folder, and save it.

    Parameters
    ----------
    folder : pathlib.Path
        A folder with parts.
    save : bool
        Whether to save the index if it changed.
    skip : collection of str
        File names of damaged parts to leave out; nothing is saved then.

    Returns
    -------
    Index
        Of the parts that exist now.

    Raises
    ------
    CacheError
        If a part cannot be read, or belongs to another fingerprint.
    """
    current = {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.glob("part-*.h5"))
        if path.name not in skip
    }
    saved = load_saved_index(folder)
    unchanged = {
        name
        for name, facts in saved.parts.items()
        if current.get(name) == (facts["size"], facts["mtime"])
    }
    if unchanged == set(current) == set(saved.parts):
        return saved
    import pandas as pd

    layout = load_layout(folder)
    tables = [saved.table[saved.table["part"].isin(unchanged)]]
    parts = {name: saved.parts[name] for name in unchanged}
    for name in sorted(set(current) - unchanged):
        table, facts = _scan(folder / name, layout)
        tables.append(table)
        parts[name] = {"size": current[name][0], "mtime": current[name][1], **facts}
    tables = [table for table in tables if len(table)] or tables[:1]
    index = Index(pd.concat(tables, ignore_index=True), dict(sorted(parts.items())))
    if save and not skip:
        save_index(folder, index)
    return index


def index_file(path: Path, layout: Layout) -> Index:
    """Return the index of a single file: a part, or a packed file.

    Raises
    ------
    CacheError
        If it cannot be read, or belongs to another fingerprint than ``layout``.
    """
    stat = path.stat()
    table, facts = _scan(path, layout)
    return Index(table, {path.name: {"size": stat.st_size, "mtime": stat.st_mtime_ns, **facts}})


def _scan(path: Path, layout: Layout) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Read the clips and the arrays of one part."""
    import pandas as pd

    with part.open_part(path) as file:
        meta = part.read_meta(file)
        check_fingerprint(
            path, meta["fingerprint"], meta["identity"], layout.fingerprint, layout.identity
        )
        ids = part.read_clip_ids(file)
        columns: dict[str, Any] = {
            "clip_id": ids,
            "row": np.arange(len(ids)),
            "failed": False,
            "reason": "",
            **{name: file[name][:] for name in part.CLIP_FIELDS},
        }
        failures = part.read_failures(file)
        facts = {"streams": part.list_arrays(file), "places": part.array_offsets(file)}
        facts |= {key: meta[key] for key in (part.NOTES, part.ALLOWED) if key in meta}
    columns["sha256"] = [raw.decode() for raw in columns["sha256"]]
    embedded = pd.DataFrame(columns)
    failed = pd.DataFrame(
        [
            {"clip_id": i, "row": -1, "failed": True, "duration": 0.0, "sha256": "", **failure}
            for i, failure in failures.items()
        ],
        columns=[c for c in COLUMNS if c != "part"],
    )
    table = pd.concat([t for t in (embedded, failed) if len(t)] or [embedded], ignore_index=True)
    table["part"] = path.name
    return table[list(COLUMNS)].astype(
        {"row": "int64", "size": "int64", "mtime": "int64", "failed": bool}
    ), facts


def load_saved_index(folder: Path) -> Index:
    """Return a folder's index as it was saved, whatever parts exist now; empty if unusable."""
    try:
        with pq.ParquetFile(folder / INDEX_FILE) as file:  # read_table imports pandas
            content = file.read()
        parts = json.loads((content.schema.metadata or {})[b"probekit"])
        current = all("places" in facts for facts in parts.values())
        if current and content.column_names == list(COLUMNS):
            return Index(content, parts)
    except (OSError, KeyError, ValueError, pa.ArrowException):
        pass
    return Index(pa.table({name: [] for name in COLUMNS}), {})


def recording_facts(cache: Path, dataset: str) -> "pd.DataFrame":
    """Return size, modification time and SHA-256 of a dataset's recordings as they were embedded.

    Parameters
    ----------
    cache : pathlib.Path
        The cache root.
    dataset : str
        Name of the dataset.

    Returns
    -------
    pandas.DataFrame
        Columns ``size``, ``mtime``, ``sha256`` by clip id, from the saved indexes of all
        extractors, the newest first. Imported clips are not in it.
    """
    import pandas as pd

    files = cache.glob(f"*/{dataset}/{INDEX_FILE}")
    tables = [pd.DataFrame(columns=["clip_id", *_FILE_FIELDS])]
    for file in sorted(files, key=lambda file: -file.stat().st_mtime_ns):
        with suppress(OSError, ValueError, pa.ArrowException):
            content = pq.read_table(file, columns=["clip_id", *_FILE_FIELDS]).to_pandas()
            tables.append(content[(content["size"] >= 0) & (content["sha256"] != "")])
    table = pd.concat(tables[1:] or tables, ignore_index=True)
    return table.drop_duplicates("clip_id").set_index("clip_id")


def save_index(folder: Path, index: Index) -> None:
    """Save an index; where the cache is read-only, it is rebuilt at each use instead.

    Raises
    ------
    CacheError
        If writing fails for another reason than permissions, such as a full disk.
    """
    path = folder / INDEX_FILE
    table = pa.Table.from_pandas(index.table, preserve_index=False)
    table = table.replace_schema_metadata({b"probekit": json.dumps(index.parts).encode()})
    try:
        atomic.atomic_write(path, lambda temp: pq.write_table(table, temp))
    except PermissionError:
        return
    except OSError as error:
        if error.errno != errno.EROFS:
            raise CacheError(f"{path}: {error.strerror}") from error
