"""Which clips train, which choose hyper-parameters, which are scored."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probekit._typing import Array
from probekit.cards import Protocol
from probekit.data.manifest import Manifest
from probekit.errors import DataError

Rows = npt.NDArray[np.int64]
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """One train / test division; all rows are places in the manifest.

    Attributes
    ----------
    name : str
        ``test`` for a fixed split, else the name of the fold that is scored.
    train : numpy.ndarray
        Clips to fit on, without the validation clips.
    valid : numpy.ndarray
        Official validation clips; empty where there are none.
    test : numpy.ndarray
        Clips to score, seen by nothing else.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows

    def fitted(self, protocol: Protocol) -> Rows:
        """Return the clips that the scored probe is fitted on; with a refit, valid's too."""
        return np.concatenate([self.train, self.valid]) if protocol.refit else self.train


def make(protocol: Protocol, clips: Manifest, whole: Manifest | None = None) -> list[Split]:
    """Divide a manifest as a protocol says.

    Parameters
    ----------
    protocol : Protocol
        From the task's card.
    clips : Manifest
        The clips.
    whole : Manifest, optional
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
        return [_fixed(clips, clips.column("split"))]
    own = split_assignments(protocol, clips if whole is None else whole)
    if whole is not None:
        side = dict(zip(whole.clip_ids, own, strict=True))
        own = np.array([side[clip_id] for clip_id in clips.clip_ids])
    if protocol.kind == "made-split":
        return [_fixed(clips, own)]
    folds = own
    lacking = int((folds == "").sum())
    if lacking:
        raise DataError(f"{clips.name}: {lacking} of {len(clips)} clips have no fold")
    names = in_order(folds)
    if len(names) < 2:
        raise DataError(
            f"{clips.name}: cross-validation needs at least two folds, found only {names[0]!s}"
        )
    none = np.array([], np.int64)
    return [
        Split(str(name), np.flatnonzero(folds != name), none, np.flatnonzero(folds == name))
        for name in names
    ]


def split_assignments(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Return on which side of the evaluation each clip is.

    Parameters
    ----------
    protocol : Protocol
        From the task's card.
    clips : Manifest
        All clips of the task.

    Returns
    -------
    numpy.ndarray of str, shape (clips,)
        Its split (train, valid, test) or its fold, official or made; empty where it has none.

    Raises
    ------
    DataError
        If folds or a split cannot be made of these clips.
    """
    if protocol.kind == "made-folds":
        return _make_folds(protocol, clips)
    if protocol.kind == "made-split":
        return _made_split(protocol, clips)
    return clips.column("split" if protocol.kind == "split" else "fold")


def in_order(names: Iterable[str]) -> list[str]:
    """Return the names of splits or folds, each once, in the order in which people list them.

    Parameters
    ----------
    names : iterable of str
        For example ``10``, ``2``, ``train``.

    Returns
    -------
    list of str
        Splits first (train, valid, test), then numbers, then other names.
    """

    def key(name: str) -> tuple[int, int, str]:
        if name in _SPLITS:
            return 0, _SPLITS.index(name), name
        return (1, len(name), name) if name.isdigit() else (2, 0, name)

    return sorted({str(name) for name in names}, key=key)


def inner_cv(protocol: Protocol, clips: Manifest, rows: Rows) -> list[tuple[Rows, Rows]]:
    """Divide training clips again, to choose hyper-parameters without looking at test clips.

    Official folds stay whole; otherwise groups do, where the manifest has them; classes are kept
    in proportion.

    Parameters
    ----------
    protocol : Protocol
        From the task's card; ``inner_folds`` is the number of divisions.
    clips : Manifest
        The clips.
    rows : numpy.ndarray
        Training clips of one split.

    Returns
    -------
    list of (numpy.ndarray, numpy.ndarray)
        Rows of the manifest to fit on and to score.

    Raises
    ------
    DataError
        If there are not enough clips or groups to divide.
    """
    units = _units(protocol, clips)[rows]
    stratify = _classes(clips)
    classes = None if stratify is None else stratify[rows]
    count = min(protocol.inner_folds, len(set(units)))
    if count < 2:
        raise DataError(
            f"the training clips are all of one {'fold' if protocol.kind == 'folds' else 'group'} "
            f"({str(units[0])!r}): none can be held out to choose hyper-parameters"
        )
    if classes is not None:
        count = min(count, _largest(classes))
        if count < 2:
            raise DataError(
                "no class has two training clips: none can be held out to choose hyper-parameters"
            )
    pairs = _divide(units, count, protocol.seed, classes)
    return [(rows[fit], rows[score]) for fit, score in pairs]


def _fixed(clips: Manifest, column: npt.NDArray[np.str_]) -> Split:
    strange = sorted(set(column) - {*_SPLITS, ""})
    if strange:
        raise DataError(
            f"{clips.name}: split must be train, valid or test; found {', '.join(strange)}"
        )
    rows = {name: np.flatnonzero(column == name) for name in _SPLITS}
    for name in ("train", "test"):
        if not len(rows[name]):
            raise DataError(f"{clips.name}: no clip has split {name!r}")
    return Split("test", rows["train"], rows["valid"], rows["test"])


def _make_folds(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Make folds with a fixed seed: stratified, and whole groups together if asked for."""
    assert protocol.folds is not None
    if protocol.grouped and not (clips.column("group") != "").any():
        raise DataError(f"{clips.name}: folds are to keep groups whole, but no clip has a group")
    units, classes = _units(protocol, clips), _classes(clips)
    there = len(set(units)) if classes is None else min(len(set(units)), _largest(classes))
    if there < protocol.folds:
        raise DataError(
            f"{clips.name}: {protocol.folds} folds need as many "
            f"{'groups' if protocol.grouped else 'clips'}, and a class of as many clips; there are "
            f"{there}"
        )
    found = np.full(len(clips), "", dtype="U12")
    pairs = _divide(units, protocol.folds, protocol.seed, classes)
    if len(pairs) < protocol.folds:
        raise DataError(
            f"{clips.name}: the groups are too unlike in size for {protocol.folds} folds"
        )
    for k, (_, held) in enumerate(pairs):
        found[held] = str(k + 1)
    return found


def _made_split(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Draw the test clips with a fixed seed: classes in proportion, whole groups if asked for."""
    from sklearn.model_selection import (  # slow to import, and listing clips needs none of it
        GroupShuffleSplit,
        ShuffleSplit,
        StratifiedShuffleSplit,
    )

    assert protocol.test_share is not None
    count = round(protocol.test_share * len(clips))
    if protocol.grouped and not (clips.column("group") != "").any():
        raise DataError(f"{clips.name}: the split is to keep groups whole, but no clip has a group")
    units, classes = _units(protocol, clips), _classes(clips)
    whole = len(set(units)) < len(units)
    nothing = np.zeros(len(clips))
    try:
        if whole and classes is not None:  # the first of as many folds as the share asks for
            [(_, test), *_] = _divide(units, round(1 / protocol.test_share), protocol.seed, classes)
        elif whole:
            one = GroupShuffleSplit(1, test_size=protocol.test_share, random_state=protocol.seed)
            [(_, test)] = one.split(nothing, groups=units)
        else:
            kind = ShuffleSplit if classes is None else StratifiedShuffleSplit
            drawn = kind(1, test_size=count, random_state=protocol.seed)
            [(_, test)] = drawn.split(nothing, classes)
    except ValueError as error:
        raise DataError(f"{clips.name}: {count} test clips cannot be drawn: {error}") from error
    side = np.full(len(clips), "train", dtype="U5")
    side[test] = "test"
    return side


def _divide(
    units: npt.NDArray[np.str_], folds: int, seed: int, classes: Array | None
) -> list[tuple[Rows, Rows]]:
    """Divide clips at random: units whole, and classes in proportion where they are given."""
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
    divider = kind(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class with fewer clips than folds is not in every fold; the results say so
        warnings.filterwarnings("ignore", message="The least populated class")
        pairs = list(divider.split(np.zeros(len(units)), classes, groups))
    # where a few groups hold nearly all clips, scikit-learn can leave a fold empty
    return [(fit, held) for fit, held in pairs if len(fit) and len(held)]


def _largest(classes: Array) -> int:
    """Return the number of clips of the most frequent class."""
    return int(np.bincount(classes).max())


def _units(protocol: Protocol, clips: Manifest) -> npt.NDArray[np.str_]:
    """Return what must stay together: the official fold, the group, or the clip itself."""
    if protocol.kind == "folds":
        return clips.column("fold")
    groups = clips.column("group")
    together = protocol.grouped or protocol.kind == "split"
    ids = clips.column("clip_id")
    return np.where(groups != "", groups, ids) if together else ids


def _classes(clips: Manifest) -> npt.NDArray[np.int64] | None:
    """Return class numbers to stratify by; None where a clip has several labels or numbers."""
    return clips.targets() if clips.target == "single" else None
