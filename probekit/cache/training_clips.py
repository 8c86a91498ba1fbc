"""Which clips a trained student has learnt from: ``clips.csv``, beside its card and its embeddings.

So a score on these very clips can say so, with the student's folder or without it.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from probekit.cards.selector import STUDENT, display_name
from probekit.errors import CacheError
from probekit.utils import atomic

NAME = "clips.csv"
GROUP = "heard"  # in a packed file
TRAINED, CHOSE, BEFORE = "trained", "chose", "before"
_SAID = {
    TRAINED: "{name} was trained on {count} test clips",
    CHOSE: "the epoch of {name} was chosen on {count} test clips",
    BEFORE: "what {name} learnt from was trained or chosen on {count} test clips",
}
_COLUMNS = ["dataset", "clip_id", "use"]


@dataclass(frozen=True)
class TrainingClips:
    """Clips that a student has learnt from.

    Attributes
    ----------
    clips : mapping of (str, str) to frozenset of str
        Ids by use and dataset. Uses: ``trained`` (on these), ``chose`` (its epoch), ``before``
        (what other students that it learnt from were trained or chosen on).
    """

    clips: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)

    def as_inherited(self) -> "TrainingClips":
        """Return the same clips as whoever learns from this student has them: ``before``."""
        found: dict[tuple[str, str], frozenset[str]] = {}
        for (_, dataset), ids in self.clips.items():
            key = (BEFORE, dataset)
            found[key] = found.get(key, frozenset()) | ids
        return TrainingClips(found)

    def merged_with(self, other: "TrainingClips") -> "TrainingClips":
        """Return the clips of both."""
        keys = [*self.clips, *other.clips]
        none = frozenset[str]()
        return TrainingClips(
            {key: self.clips.get(key, none) | other.clips.get(key, none) for key in keys}
        )

    def count(self, use: str, dataset: str, clip_ids: Iterable[str]) -> int:
        """Return how many of some clips have that use.

        Parameters
        ----------
        use : {"trained", "chose", "before"}
            Which use.
        dataset : str
            Whose clips; equal ids of another dataset are other clips.
        among : iterable of str
            Ids; one that is there twice counts once.

        Returns
        -------
        int
            How many different ones.
        """
        return len(self.clips.get((use, dataset), frozenset()).intersection(clip_ids))

    def rows(self) -> list[tuple[str, str, str]]:
        """Return dataset, clip and use, sorted."""
        return sorted(
            (dataset, clip_id, use) for (use, dataset), ids in self.clips.items() for clip_id in ids
        )


def from_rows(rows: Iterable[tuple[str, str, str]]) -> TrainingClips:
    """Return what :meth:`Heard.rows` was made of.

    Parameters
    ----------
    rows : iterable of (str, str, str)
        Dataset, clip and use.

    Returns
    -------
    Heard
        The clips.
    """
    found: dict[tuple[str, str], set[str]] = {}
    for dataset, clip_id, use in rows:
        found.setdefault((use, dataset), set()).add(clip_id)
    return TrainingClips({key: frozenset(ids) for key, ids in found.items()})


def save(folder: Path, heard: TrainingClips) -> None:
    """Write the clips into a folder, whole or not at all.

    Parameters
    ----------
    folder : pathlib.Path
        Of a student, or ``<extractor>-<fingerprint>`` of a cache.
    heard : Heard
        The clips.
    """

    def fill(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *heard.rows()])

    atomic.atomic_write(folder / NAME, fill)


def load(folder: Path) -> TrainingClips | None:
    """Read the clips that a student has learnt from.

    Parameters
    ----------
    folder : pathlib.Path
        As for :func:`save`.

    Returns
    -------
    Heard or None
        None where it is not known.

    Raises
    ------
    CacheError
        If the file is not such a table.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if header != _COLUMNS:
            raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
        found = from_rows((dataset, clip_id, use) for dataset, clip_id, use in rows)
        strange = {use for use, _ in found.clips} - set(_SAID)
        if strange:
            raise ValueError(f"unknown use {min(strange)!r}")
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise CacheError(
            f"{path}: not the clips of a trained student ({error}). Delete it; extracting with "
            "that student brings it back"
        ) from error
    return found


def read_packed(path: Path) -> TrainingClips | None:
    """Return the clips in a packed file, or None.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`probekit.cache.pack.pack`.

    Returns
    -------
    Heard or None
        None where it is not known.
    """
    with h5py.File(path, "r", locking=False) as file:
        if GROUP not in file:
            return None
        columns = [[text.decode() for text in file[f"{GROUP}/{name}"][:]] for name in _COLUMNS]
    return from_rows(zip(*columns, strict=True))


def packed_columns(folder: Path) -> dict[str, list[str]]:
    """Return what a packed file shall hold: texts by the names of its arrays.

    Parameters
    ----------
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.

    Returns
    -------
    dict of str to list of str
        Empty where it is not known.
    """
    found = load(folder)
    rows = found.rows() if found is not None else []
    return {f"{GROUP}/{name}": [row[k] for row in rows] for k, name in enumerate(_COLUMNS) if rows}


def copy(source: Path, folder: Path) -> None:
    """Keep in a cache what is kept beside a student's card, where that is.

    Parameters
    ----------
    source : pathlib.Path
        The student's folder.
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.
    """
    if (source / NAME).exists():
        atomic.atomic_copy(source / NAME, folder / NAME)


def digest(extractor: str, folder: Path) -> list[str]:
    """Return what tells two lists apart, to name a run by.

    Parameters
    ----------
    extractor : str
        Whose embeddings.
    folder : pathlib.Path
        ``<extractor>-<fingerprint>`` of a cache.

    Returns
    -------
    list of str
        The file's SHA-256, empty where it is not known; nothing but for a trained student.
    """
    if not extractor.startswith(STUDENT):
        return []
    path = folder / NAME
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""]


def missing_record_notes(extractor: str, folder: Path) -> list[str]:
    """Say that it is not known which clips a trained student has learnt from, where that is so.

    Parameters
    ----------
    extractor : str
        Whose embeddings or weights.
    folder : pathlib.Path
        Where the clips would be kept.

    Returns
    -------
    list of str
        At most one sentence; none but for a trained student.
    """
    if not extractor.startswith(STUDENT) or (folder / NAME).exists():
        return []
    return [f"it is not known which clips {display_name(extractor)} was trained on"]


def contamination_notes(
    extractor: str, folder: Path, dataset: str, tested: Iterable[str]
) -> list[str]:
    """Say which share of some test clips a trained student has learnt from.

    Parameters
    ----------
    extractor : str
        Whose embeddings or weights; of any but trained students there is nothing to say.
    folder : pathlib.Path
        Where its clips are kept.
    dataset : str
        Of the test clips.
    tested : iterable of str
        Their ids, of all folds together.

    Returns
    -------
    list of str
        In words, for each use that concerns some of them.
    """
    found = load(folder) if extractor.startswith(STUDENT) else None
    if found is None:
        return []
    ids = set(tested)
    counts = {use: found.count(use, dataset, ids) for use in _SAID}
    return [
        _SAID[use].format(name=display_name(extractor), count=f"{count:,} of {len(ids):,}")
        for use, count in counts.items()
        if count
    ]
