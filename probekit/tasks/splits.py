"""Splits and folds: which clips train, which choose hyper-parameters, which are scored."""

import warnings
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cards import Protocol, TaskCard
from probekit.data.manifest import SPLITS, Manifest, groups_are_recordings
from probekit.errors import DataError

Rows = npt.NDArray[np.int64]
ALL_CLIPS = "clips"  # key of counts: all clips of a task
FIXED_SPLIT = "test"  # name of a fixed split


@dataclass(frozen=True)
class Split:
    """One train / test division, as rows of the manifest.

    Attributes
    ----------
    name : str
        ``test`` for a fixed split, else the name of the fold that is scored.
    train : numpy.ndarray
        Clips to fit on, without the validation clips.
    valid : numpy.ndarray
        Official validation clips; empty where there are none.
    test : numpy.ndarray
        Clips to score, used for nothing else.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows

    def fit_rows(self, protocol: Protocol) -> Rows:
        """Return the clips that the scored probe is fitted on; with a refit, valid's too."""
        return np.concatenate([self.train, self.valid]) if protocol.refit else self.train


def make_splits(
    protocol: Protocol, clips: Manifest, all_clips: Manifest | None = None
) -> list[Split]:
    """Divide a manifest as a protocol says.

    Parameters
    ----------
    protocol : Protocol
        From the task's card.
    clips : Manifest
        The clips to divide.
    all_clips : Manifest, optional
        All clips of the task, where ``clips`` are those with an embedding. Folds are made of these,
        so that a clip is in the same fold whichever others are missing.

    Returns
    -------
    list of Split
        One for a fixed split, else one a fold.

    Raises
    ------
    DataError
        If the manifest lacks the split, the folds or the groups that the protocol needs, or has too
        few clips to make folds.
    """
    if protocol.kind == "split":
        return _divide_by(protocol, clips, clips.column("split"))
    assignments = split_assignments(protocol, clips if all_clips is None else all_clips)
    if all_clips is not None:
        assignments = _of_clips(assignments, clips, all_clips)
    return _divide_by(protocol, clips, assignments)


def make_shuffled_splits(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int = 0
) -> list[Split]:
    """Divide a manifest as a protocol says, with the clips of each class shuffled.

    Each split or fold has as many clips of each class as before, whatever group they are of; for
    several labels a clip, and for numbers, as many clips. Parameters and errors are those of
    :func:`make_splits`.
    """
    assignments, rng = split_assignments(protocol, all_clips).copy(), np.random.RandomState(seed)
    classes = _classes(all_clips)
    assigned = assignments != ""
    for k in [0] if classes is None else np.unique(classes):
        rows = np.flatnonzero(assigned if classes is None else assigned & (classes == k))
        assignments[rows] = assignments[rng.permutation(rows)]
    return _divide_by(protocol, clips, _of_clips(assignments, clips, all_clips))


def _divide_by(
    protocol: Protocol, clips: Manifest, assignments: npt.NDArray[np.str_]
) -> list[Split]:
    """Return the splits of clips whose split or fold is named; errors as of :func:`make_splits`."""
    if "split" in protocol.kind:
        return [_fixed_split(clips, assignments)]
    missing = int((assignments == "").sum())
    if missing:
        raise DataError(f"{clips.name}: {missing} of {len(clips)} clips have no fold")
    names = sort_splits(assignments)
    if len(names) < 2:
        raise DataError(
            f"{clips.name}: cross-validation needs at least two folds, got only {names[0]!s}"
        )
    empty = np.array([], np.int64)
    return [
        Split(name, np.flatnonzero(assignments != name), empty, np.flatnonzero(assignments == name))
        for name in names
    ]


def _of_clips(
    assignments: npt.NDArray[np.str_], clips: Manifest, all_clips: Manifest
) -> npt.NDArray[np.str_]:
    """Return the splits or folds of some of the clips."""
    by_id = dict(zip(all_clips.clip_ids, assignments, strict=True))
    return np.array([by_id[clip_id] for clip_id in clips.clip_ids])


def make_repeated_splits(
    protocol: Protocol, clips: Manifest, all_clips: Manifest | None = None, repeats: int = 1
) -> list[Split]:
    """Make folds several times, of clips in another order each time.

    The first time they are those of :func:`make_splits`. Fold 3 of the second time is called
    ``2.3``; without repeats, folds have the names of :func:`make_splits`.

    Parameters
    ----------
    protocol : Protocol
        From the task's card.
    clips : Manifest
        The clips to divide.
    all_clips : Manifest, optional
        All clips of the task; see :func:`make_splits`.
    repeats : int >= 1
        How often.

    Raises
    ------
    DataError
        As of :func:`make_splits`, and if the protocol's folds are not made.
    """
    if repeats == 1:
        return make_splits(protocol, clips, all_clips)
    check_repeats(protocol, clips.name, repeats)
    return [
        replace(split, name=f"{repeat + 1}.{split.name}")
        for repeat in range(repeats)
        for split in make_splits(
            protocol.model_copy(update={"seed": protocol.seed + repeat}), clips, all_clips
        )
    ]


def check_repeats(protocol: Protocol, name: str, repeats: int) -> None:
    """Raise a DataError if folds cannot be made so often; ``name`` is the task's."""
    if repeats < 1:
        raise DataError(f"repeats must be >= 1, got {repeats}")
    if repeats == 1 or protocol.kind == "made-folds":
        return
    reason = {
        "split": "it has one official split",
        "folds": "its folds are official, and other ones would give scores of another protocol",
        "made-split": "its test clips are drawn once",
    }[protocol.kind]
    raise DataError(f"{name}: {reason}; folds can be repeated only where probekit makes them")


def split_assignments(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Return the split (train, valid, test) or the fold of each clip, official or made.

    Parameters
    ----------
    protocol : Protocol
        From the task's card.
    clips : Manifest
        All clips of the task.

    Returns
    -------
    numpy.ndarray of str, shape (clips,)
        Empty for a clip without a split or fold.

    Raises
    ------
    DataError
        If folds or a split cannot be made of these clips.
    """
    if protocol.kind == "made-folds":
        return _make_folds(protocol, clips)
    if protocol.kind == "made-split":
        return _draw_split(protocol, clips)
    return clips.column("split" if protocol.kind == "split" else "fold")


def sort_splits(names: Iterable[str]) -> list[str]:
    """Return the names of splits or folds, each once: train, valid, test; numbers; other names."""

    def key(name: str) -> tuple[int, int, str]:
        if name in SPLITS:
            return 0, SPLITS.index(name), name
        return (1, len(name), name) if name.isdigit() else (2, 0, name)

    return sorted({str(name) for name in names}, key=key)


def count_clips(card: TaskCard, clips: Manifest) -> dict[str, int]:
    """Return the number of all ``clips``, then of each split or fold in its order.

    Splits that the card names and no clip is in are counted, too; clips without a split or fold are
    in the first number only.
    """
    assignments: Iterable[str] = ()
    with suppress(DataError):  # the protocol cannot be carried out on these clips
        assignments = split_assignments(card.protocol, clips)
    counts = Counter(str(name) for name in assignments if name)
    expected = set(card.counts) - {ALL_CLIPS}
    names = sort_splits({*counts, *expected})
    return {ALL_CLIPS: len(clips)} | {name: counts[name] for name in names}


def count_mismatches(card: TaskCard, clips: Manifest) -> list[str]:
    """Return where counts differ from the card's, such as ``"train: 9,000 of 9,185 clips"``."""
    if not card.counts or (
        set(card.counts) == {ALL_CLIPS} and card.counts[ALL_CLIPS] == len(clips)
    ):
        return []
    counts = count_clips(card, clips)
    wrong = {name: n for name, n in card.counts.items() if counts[name] != n}
    if len(wrong) > 1:
        wrong.pop(ALL_CLIPS, None)  # follows from the others
    fold = "fold " if "folds" in card.protocol.kind else ""
    return [
        f"{'' if name == ALL_CLIPS else f'{fold}{name}: '}{counts[name]:,} of {n:,} clips"
        for name, n in wrong.items()
    ]


def inner_cv(
    protocol: Protocol, clips: Manifest, rows: Rows, pieces: Array | None = None
) -> list[tuple[Rows, Rows]]:
    """Divide training clips again, to choose hyper-parameters without looking at test clips.

    Official folds are not divided; otherwise groups are not, where the manifest has them, nor
    pieces. Classes are stratified.

    Parameters
    ----------
    protocol : Protocol
        From the task's card; ``inner_folds`` is the number of divisions.
    clips : Manifest
        All clips of the task.
    rows : numpy.ndarray
        Training clips of one split.
    pieces : numpy.ndarray of str, shape (clips,), optional
        Piece of each clip, where clips of one piece are scored as one.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        Rows of the manifest to fit on and to score.

    Raises
    ------
    DataError
        If there are not enough clips or groups to divide.
    """
    units = _units(protocol, clips, pieces)[rows]
    all_classes = _classes(clips)
    classes = None if all_classes is None else all_classes[rows]
    count = _count_inner_folds(protocol, units, classes, _unit_name(protocol, clips, pieces))
    pairs = _divide(units, count, protocol.seed, classes)
    return [(rows[fit], rows[score]) for fit, score in pairs]


def check_inner_cv(
    protocol: Protocol, clips: Manifest, divisions: Iterable[Split], pieces: Array | None = None
) -> None:
    """Raise a DataError if :func:`inner_cv` would, for a division without validation clips."""
    units, classes = _units(protocol, clips, pieces), _classes(clips)
    unit = _unit_name(protocol, clips, pieces)
    for division in divisions:
        if not len(division.valid):
            rows = division.train
            try:
                of_rows = None if classes is None else classes[rows]
                _count_inner_folds(protocol, units[rows], of_rows, unit)
            except DataError as error:
                raise DataError(f"split {division.name!r}: {error}") from error


def _count_inner_folds(
    protocol: Protocol, units: npt.NDArray[np.str_], classes: Array | None, unit: str
) -> int:
    """Return the number of divisions of training clips, at least two; a DataError if too few."""
    count = min(protocol.inner_folds, len(set(units)))
    if count < 2:
        raise DataError(
            f"the training clips are all of one {unit} ({str(units[0])!r}): none can be held out "
            "to choose hyper-parameters"
        )
    if classes is not None:
        count = min(count, _max_class_size(classes))
        if count < 2:
            raise DataError(
                "no class has two training clips: none can be held out to choose hyper-parameters"
            )
    return count


def _fixed_split(clips: Manifest, assignments: npt.NDArray[np.str_]) -> Split:
    unknown = sorted(set(assignments) - {*SPLITS, ""})
    if unknown:
        raise DataError(
            f"{clips.name}: split must be train, valid or test, got {', '.join(unknown)}"
        )
    rows = {name: np.flatnonzero(assignments == name) for name in SPLITS}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise DataError(f"{clips.name}: no clip has split {name!r}")
    return Split(FIXED_SPLIT, rows["train"], rows["valid"], rows["test"])


def _make_folds(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Make stratified folds with a fixed seed, groups undivided if the protocol says so."""
    assert protocol.folds is not None
    if protocol.grouped and not (clips.column("group") != "").any():
        raise DataError(f"{clips.name}: folds must not divide groups, but no clip has a group")
    units, classes = _units(protocol, clips), _classes(clips)
    most = len(set(units))
    if classes is not None:
        most = min(most, _max_class_size(classes))
    if most < protocol.folds:
        raise DataError(
            f"{clips.name}: {protocol.folds} folds need at least {protocol.folds} "
            f"{_unit_name(protocol, clips)}s, and at least {protocol.folds} clips in the largest "
            f"class, got {most}"
        )
    folds = np.full(len(clips), "", dtype="U12")
    pairs = _divide(units, protocol.folds, protocol.seed, classes)
    if len(pairs) < protocol.folds:
        raise DataError(
            f"{clips.name}: the groups are too unequal in size for {protocol.folds} folds"
        )
    for k, (_, scored) in enumerate(pairs):
        folds[scored] = str(k + 1)
    return folds


def _draw_split(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Draw test clips with a fixed seed, stratified, groups undivided if the protocol says so."""
    from sklearn.model_selection import (  # slow to import, and listing clips needs none of it
        GroupShuffleSplit,
        ShuffleSplit,
        StratifiedShuffleSplit,
    )

    assert protocol.test_share is not None
    share, seed = protocol.test_share, protocol.seed
    count = round(share * len(clips))
    if protocol.grouped and not (clips.column("group") != "").any():
        raise DataError(f"{clips.name}: the split must not divide groups, but no clip has a group")
    units, classes = _units(protocol, clips), _classes(clips)
    grouped = len(set(units)) < len(units)
    features = np.zeros(len(clips))
    generator: int | np.random.RandomState = seed
    if protocol.skip_draws:
        generator = np.random.RandomState(seed)
        generator.bytes(4 * protocol.skip_draws)
    try:
        if grouped and classes is not None:  # the first of as many folds as the share asks for
            [(_, test), *_] = _divide(units, round(1 / share), seed, classes)
        elif grouped:
            splitter = GroupShuffleSplit(1, test_size=share, random_state=generator)
            [(_, test)] = splitter.split(features, groups=units)
        else:
            kind = ShuffleSplit if classes is None else StratifiedShuffleSplit
            [(_, test)] = kind(1, test_size=count, random_state=generator).split(features, classes)
    except ValueError as error:
        raise DataError(f"{clips.name}: {count} test clips cannot be drawn: {error}") from error
    assignments = np.full(len(clips), "train", dtype="U5")
    assignments[test] = "test"
    return assignments


def _divide(
    units: npt.NDArray[np.str_], folds: int, seed: int, classes: Array | None
) -> list[tuple[Rows, Rows]]:
    """Divide clips at random, units undivided; return rows to fit on and to score, fold by fold."""
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    groups = units if len(set(units)) < len(units) else None
    kind = {
        (True, True): StratifiedGroupKFold,
        (True, False): GroupKFold,
        (False, True): StratifiedKFold,
        (False, False): KFold,
    }[groups is not None, classes is not None]
    splitter = kind(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class with fewer clips than folds is not in every fold; the results say so
        warnings.filterwarnings("ignore", message="The least populated class")
        pairs = list(splitter.split(np.zeros(len(units)), classes, groups))
    # where a few groups have nearly all clips, scikit-learn can leave a fold empty
    return [(fit, score) for fit, score in pairs if len(fit) and len(score)]


def _max_class_size(classes: Array) -> int:
    """Return the number of clips of the most frequent class."""
    return int(np.bincount(classes).max())


def name_units(clips: Manifest, pieces: Array | None = None) -> npt.NDArray[np.str_]:
    """Return what must not be divided: the group, the piece, or the clip itself.

    Groups and pieces with common clips are one unit, which has the name of a group.

    Parameters
    ----------
    clips : Manifest
        The clips; those without a group are in none.
    pieces : numpy.ndarray of str, shape (clips,), optional
        Piece of each clip.
    """
    groups = clips.column("group")
    singles = clips.column("clip_id") if pieces is None else pieces
    units = np.where(groups != "", groups, singles)
    return units if pieces is None else _join(units, pieces)


def _join(units: npt.NDArray[np.str_], pieces: Array) -> npt.NDArray[np.str_]:
    """Return units that divide neither these nor pieces, each with the name of one of these."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, first = np.unique(units, return_inverse=True)
    count = len(np.unique(pieces))
    second = len(names) + np.unique(pieces, return_inverse=True)[1]
    shape = (len(names) + count, len(names) + count)
    graph = coo_array((np.ones(len(units), np.int64), (first, second)), shape=shape)
    _, components = connected_components(graph, directed=False)
    _, index = np.unique(components[: len(names)], return_index=True)
    return np.asarray(names[index][components[first]])


def _units(
    protocol: Protocol, clips: Manifest, pieces: Array | None = None
) -> npt.NDArray[np.str_]:
    """Return what a protocol must not divide: the official fold, group, piece, or the clip."""
    if protocol.kind == "folds":
        return clips.column("fold")
    if protocol.grouped or protocol.kind == "split":
        return name_units(clips, pieces)
    return clips.column("clip_id") if pieces is None else pieces


def _unit_name(protocol: Protocol, clips: Manifest, pieces: Array | None = None) -> str:
    """Return what :func:`_units` are: folds, recordings, groups, pieces or clips; the singular."""
    if protocol.kind == "folds":
        return "fold"
    if protocol.grouped or (protocol.kind == "split" and (clips.column("group") != "").any()):
        if groups_are_recordings(clips):
            return "recording"
        return "group" if pieces is None else "group or piece"
    return "clip" if pieces is None else "piece"


def _classes(clips: Manifest) -> npt.NDArray[np.int64] | None:
    """Return class numbers to stratify by; None for several labels a clip, and for numbers."""
    return clips.targets() if clips.target == "single" else None
