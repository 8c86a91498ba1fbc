"""Training clips of a student: ``clips.csv``, beside its card and its embeddings.

So a score on clips that a student was trained or selected on can carry a note, with the student's
folder or without it.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from probekit.cards.selector import STUDENT_PREFIX, display_name
from probekit.errors import CacheError
from probekit.utils import atomic

CLIPS_FILE = "clips.csv"
TRAINED, SELECTED, INHERITED = "trained", "chose", "before"
_PACKED_GROUP = "heard"
_NOTES = {
    TRAINED: "{name} was trained on {count} test clips",
    SELECTED: "the epoch of {name} was chosen on {count} test clips",
    INHERITED: "what {name} learnt from was trained or chosen on {count} test clips",
}
_COLUMNS = ["dataset", "clip_id", "use"]


@dataclass(frozen=True)
class TrainingClips:
    """Clips that a student was trained or selected on.

    Attributes
    ----------
    clips : mapping of (str, str) to frozenset of str
        Ids by use and dataset. Uses: ``trained`` (on these), ``chose`` (its epoch was selected on
        these), ``before`` (training clips of the students that it learnt from).
    """

    clip_ids: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def as_inherited(self) -> "TrainingClips":
        """Return the same clips with the use ``before``, for a student of this one."""
        clip_ids: dict[tuple[str, str], frozenset[str]] = {}
        for (_, dataset), ids in self.clip_ids.items():
            key = (INHERITED, dataset)
            clip_ids[key] = clip_ids.get(key, frozenset()) | ids
        return TrainingClips(clip_ids)

    def merged_with(self, other: "TrainingClips") -> "TrainingClips":
        """Return the clips of both."""
        keys = [*self.clip_ids, *other.clip_ids]
        none = frozenset[str]()
        return TrainingClips(
            {key: self.clip_ids.get(key, none) | other.clip_ids.get(key, none) for key in keys}
        )

    def count(self, use: str, dataset: str, clip_ids: Iterable[str]) -> int:
        """Return how many different ones of a dataset's clips have a use."""
        return len(self.clip_ids.get((use, dataset), frozenset()).intersection(clip_ids))

    def rows(self) -> list[tuple[str, str, str]]:
        """Return dataset, clip id and use, sorted."""
        return sorted(
            (dataset, clip_id, use)
            for (use, dataset), ids in self.clip_ids.items()
            for clip_id in ids
        )


def from_rows(rows: Iterable[tuple[str, str, str]]) -> TrainingClips:
    """Return the clips of some rows of dataset, clip id and use."""
    clips: dict[tuple[str, str], set[str]] = {}
    for dataset, clip_id, use in rows:
        clips.setdefault((use, dataset), set()).add(clip_id)
    return TrainingClips({key: frozenset(ids) for key, ids in clips.items()})


def save(folder: Path, clips: TrainingClips) -> None:
    """Write ``clips.csv`` of a student's folder, or of ``<extractor>-<fingerprint>`` of a cache."""

    def write(temp: Path) -> None:
        with temp.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *clips.rows()])

    atomic.atomic_write(folder / CLIPS_FILE, write)


def load(folder: Path) -> TrainingClips | None:
    """Read ``clips.csv`` of a folder; None if there is none.

    Raises
    ------
    CacheError
        If the file is not such a table.
    """
    path = folder / CLIPS_FILE
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if header != _COLUMNS:
            raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
        clips = from_rows((dataset, clip_id, use) for dataset, clip_id, use in rows)
        unknown = {use for use, _ in clips.clip_ids} - set(_NOTES)
        if unknown:
            raise ValueError(f"unknown use {min(unknown)!r}")
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise CacheError(
            f"{path}: not the clips of a trained student ({error}). Delete it; extracting with "
            "that student restores it"
        ) from error
    return clips


def copy_record(source: Path, folder: Path) -> None:
    """Copy a student's ``clips.csv``, if any, to ``<extractor>-<fingerprint>`` of a cache."""
    if (source / CLIPS_FILE).exists():
        atomic.atomic_copy(source / CLIPS_FILE, folder / CLIPS_FILE)


def packed_columns(folder: Path) -> dict[str, list[str]]:
    """Return a folder's clips as arrays of a packed file: name to texts; empty if unknown."""
    clips = load(folder)
    rows = clips.rows() if clips is not None else []
    return {
        f"{_PACKED_GROUP}/{name}": [row[k] for row in rows]
        for k, name in enumerate(_COLUMNS)
        if rows
    }


def read_packed(path: Path) -> TrainingClips | None:
    """Return the clips in a packed file, or None."""
    with h5py.File(path, "r", locking=False) as file:
        if _PACKED_GROUP not in file:
            return None
        columns = [
            [text.decode() for text in file[f"{_PACKED_GROUP}/{name}"][:]] for name in _COLUMNS
        ]
    return from_rows(zip(*columns, strict=True))


def record_digest(extractor: str, folder: Path) -> list[str]:
    """Return the SHA-256 of a student's ``clips.csv``, "" if unknown; it is part of a run's name.

    The list is empty for extractors that are not trained students.
    """
    if not extractor.startswith(STUDENT_PREFIX):
        return []
    path = folder / CLIPS_FILE
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""]


def missing_record_notes(extractor: str, folder: Path) -> list[str]:
    """Return a note if an extractor is a trained student whose training clips are unknown."""
    if not extractor.startswith(STUDENT_PREFIX) or (folder / CLIPS_FILE).exists():
        return []
    return [f"it is not known which clips {display_name(extractor)} was trained on"]


def contamination_notes(
    extractor: str, folder: Path, dataset: str, test_ids: Iterable[str]
) -> list[str]:
    """Return notes on the test clips that a trained student was trained or selected on.

    Parameters
    ----------
    extractor : str
        Whose embeddings or weights; there are no notes unless it is a trained student.
    folder : pathlib.Path
        Where its ``clips.csv`` is.
    dataset : str
        Of the test clips.
    test_ids : iterable of str
        Ids of the test clips, of all folds together.

    Returns
    -------
    list of str
        One for each use that some of them have.
    """
    clips = load(folder) if extractor.startswith(STUDENT_PREFIX) else None
    if clips is None:
        return []
    ids = set(test_ids)
    counts = {use: clips.count(use, dataset, ids) for use in _NOTES}
    return [
        _NOTES[use].format(name=display_name(extractor), count=f"{count:,} of {len(ids):,}")
        for use, count in counts.items()
        if count
    ]
