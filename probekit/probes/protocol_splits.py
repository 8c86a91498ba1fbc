"""Divisions of clips as other tools make them, for :mod:`probekit.probes.evaluation_protocols`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probekit._typing import Array
from probekit.cards import Protocol
from probekit.data.manifest import Manifest
from probekit.errors import ProtocolError
from probekit.tasks.splits import Rows, Split, make_shuffled_splits, make_splits
from probekit.tasks.subsample import draw_shots

SHOTS = 8
"""Labeled clips a class that MTEB draws."""

_ATTEMPTS = 100  # of EVAR, to draw validation clips of all classes
_EMPTY: Rows = np.array([], np.int64)


def task_splits(protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int) -> list[Split]:
    """Return the splits or folds of the task itself."""
    return make_splits(protocol, clips, all_clips)


def ungroup(protocol: Protocol) -> Protocol:
    """Return a protocol whose made folds or split are of single clips: groups are ignored."""
    return protocol.model_copy(update={"grouped": False})


def check_shuffle(protocol: Protocol, clips: Manifest) -> Protocol:
    """Return the task's protocol; a ProtocolError if its folds or split are random clips."""
    if protocol.kind in ("made-folds", "made-split") and not protocol.grouped:
        raise ProtocolError("the task's own folds or split are random clips already")
    return protocol


def shuffled_splits(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return the task's splits or folds with clips shuffled within classes, groups ignored."""
    return make_shuffled_splits(protocol, clips, all_clips)


def select_on_test(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return the task's splits with the test clips as validation clips, too."""
    return [
        replace(split, train=_training_rows(protocol, split), valid=split.test)
        for split in make_splits(protocol, clips, all_clips)
    ]


def without_validation(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return the task's splits with all clips that the scored probe is fitted on as training."""
    return [
        replace(split, train=_training_rows(protocol, split), valid=_EMPTY)
        for split in make_splits(protocol, clips, all_clips)
    ]


def few_labels(protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int) -> list[Split]:
    """Return the task's splits with eight training clips of each class."""
    targets = clips.targets()
    drawn = []
    for split in make_splits(protocol, clips, all_clips):
        _check_shots(clips, split)
        drawn.append(draw_shots(split, SHOTS, targets, clips, 0))
    return drawn


def shots_of_shuffled_folds(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return MTEB's five folds over all clips, shuffled, with eight training clips of each class.

    As ``_evaluate_subset_cross_validation``: ``KFold(5, shuffle=True, random_state=42)``. Clips are
    in the manifest's order, which is not that of MTEB's copy of the dataset.
    """
    from sklearn.model_selection import KFold

    if len(clips) < 5:
        raise ProtocolError(f"{clips.name}: five folds need at least 5 clips, got {len(clips)}")
    order: list[int] | None = None
    folds: list[Split] = []
    for train, test in KFold(5, shuffle=True, random_state=42).split(np.zeros(len(clips))):
        split = Split(str(len(folds) + 1), train, _EMPTY, test)
        _check_shots(clips, split)
        drawn, order = _undersample(clips, train, order)
        folds.append(replace(split, train=drawn))
    return folds


def draw_of_shots(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return one of MTEB's ten draws of eight training clips of each class, scored on test clips.

    As ``_evaluate_subset``, for tasks with one test split; ``seed`` is the number of the draw. Of
    several labels a clip as by ``AbsTaskMultilabelClassification``.
    """
    splits = make_splits(protocol, clips, all_clips)
    if len(splits) > 1:
        raise ProtocolError(
            f"{clips.name}: ten draws need one official test split, but the task has "
            f"{len(splits)} folds; use --protocol mteb"
        )
    [split] = splits
    _check_shots(clips, split)
    if clips.target == "multi":
        drawn = _undersample_tags(clips, split.train, seed)
        return [replace(split, train=drawn, valid=_EMPTY)]
    order: list[int] | None = None
    drawn = split.train
    for _ in range(seed + 1):
        drawn, order = _undersample(clips, split.train, order)
    return [replace(split, train=drawn, valid=_EMPTY)]


def next_fold_validates(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return HEAR's folds: each next one has the validation clips, the others train."""
    splits = make_splits(protocol, clips, all_clips)
    if len(splits) == 1:
        _require_validation("hear", clips, splits)
        return list(splits)
    if len(splits) < 3:
        raise ProtocolError(
            f"{clips.name}: hear needs three folds or more (to train, validate and test), got "
            f"{len(splits)}"
        )
    folds: list[Split] = []
    for split, following in zip(splits, [*splits[1:], splits[0]], strict=True):
        valid = following.test
        folds.append(replace(split, train=np.setdiff1d(split.train, valid), valid=valid))
    return folds


def test_fold_validates(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return X-ARES's splits: of folds, the test clips are the validation clips, too."""
    splits = make_splits(protocol, clips, all_clips)
    if len(splits) == 1:
        _require_validation("xares", clips, splits)
        return list(splits)
    return [replace(split, valid=split.test) for split in splits]


def random_tenth_validates(
    protocol: Protocol, clips: Manifest, all_clips: Manifest, seed: int
) -> list[Split]:
    """Return EVAR's splits: without validation clips, a random tenth of training ones validates.

    All classes must be in it: it is drawn up to a hundred times, as by ``train_test_sure_split``.
    """
    rng = np.random.RandomState(seed)
    splits: list[Split] = []
    for split in make_splits(protocol, clips, all_clips):
        train, valid = split.train, split.valid
        if not len(valid):
            train, valid = _draw_tenth(clips, split, rng)
        splits.append(replace(split, train=train, valid=valid))
    return splits


def _training_rows(protocol: Protocol, split: Split) -> Rows:
    return np.sort(split.fit_rows(protocol))


def _require_validation(name: str, clips: Manifest, splits: Sequence[Split]) -> None:
    if not all(len(split.valid) for split in splits):
        raise ProtocolError(
            f"{clips.name}: {name} chooses on official validation clips or on folds, and the task "
            "has neither"
        )


def _check_shots(clips: Manifest, split: Split) -> None:
    """Raise if a class has fewer training clips than MTEB draws."""
    targets, names = clips.targets(), clips.class_names
    counts = _count_classes(targets[split.train], len(names))
    present = np.flatnonzero(_count_classes(targets, len(names)))
    few = [k for k in present if counts[k] < SHOTS]
    if few:
        raise ProtocolError(
            f"{clips.name}: the protocol draws {SHOTS} labeled clips of each class, but class "
            f"{names[few[0]]!r} has only {counts[few[0]]} training clips (split {split.name!r}); "
            "use another --protocol"
        )


def _count_classes(targets: Array, classes: int) -> Array:
    """Return the number of clips of each class, or with each label."""
    if targets.ndim == 2:
        return np.asarray((targets > 0).sum(axis=0))
    return np.bincount(targets, minlength=classes)


def _undersample_tags(clips: Manifest, train: Rows, draw: int) -> Rows:
    """Return the rows of one draw of clips: each that has a label which fewer than eight have.

    As ``_undersample_data_indices``: one generator for all draws, each of all training clips.
    """
    tags, rng = clips.targets() > 0, np.random.default_rng(42)
    order = np.arange(len(train))
    for _ in range(draw + 1):
        order = np.arange(len(train))
        rng.shuffle(order)
    drawn, counts = [], np.zeros(tags.shape[1], np.int64)
    for row in train[order]:
        if (counts[tags[row]] < SHOTS).any():
            drawn.append(row)
            counts += tags[row]
    return np.array(drawn, np.int64)


def _undersample(clips: Manifest, train: Rows, order: list[int] | None) -> tuple[Rows, list[int]]:
    """Return the rows of eight clips a class, and the order of places to draw from next.

    As ``_undersample_data``: the generator starts anew each time, the order stays shuffled.
    """
    order = list(range(len(train))) if order is None else [k for k in order if k < len(train)]
    np.random.RandomState(42).shuffle(order)
    targets, drawn = clips.targets(), []
    counts: Counter[int] = Counter()
    for place in order:
        label = int(targets[train[place]])
        if counts[label] < SHOTS:
            counts[label] += 1
            drawn.append(train[place])
    return np.array(drawn, np.int64), order


def _draw_tenth(clips: Manifest, split: Split, rng: np.random.RandomState) -> tuple[Rows, Rows]:
    """Return training rows without a random tenth in which all their classes are, and this."""
    targets = clips.targets()

    def classes(rows: Rows) -> int:
        of_rows = targets[rows]
        if of_rows.ndim == 2:
            return int((of_rows > 0).any(axis=0).sum())
        return len(np.unique(of_rows))

    count = -(-len(split.train) // 10)
    for _ in range(_ATTEMPTS):
        order = rng.permutation(split.train)
        valid = order[:count]
        if classes(valid) == classes(split.train):
            return np.sort(order[count:]), np.sort(valid)
    raise ProtocolError(
        f"{clips.name}: evar needs validation clips of all {classes(split.train)} classes, and "
        f"none of {_ATTEMPTS} random tenths of the {len(split.train):,} training clips (split "
        f"{split.name!r}) has them; use another --protocol"
    )
