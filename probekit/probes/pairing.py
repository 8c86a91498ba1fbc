"""Predictions of two runs, clip by clip."""

from dataclasses import replace

import numpy as np

from probekit.errors import DataError
from probekit.manifest import some
from probekit.probes import predictions
from probekit.probes.entry import Entry
from probekit.probes.predictions import Predictions

Pair = tuple[Predictions, Predictions]


def aligned(first: Entry, second: Entry) -> list[Pair]:
    """Return the predictions of two entries on the same clips, seed by seed.

    Parameters
    ----------
    first, second : Entry
        Of one task. Where one has a single run, it goes with every seed of the other.

    Returns
    -------
    list of (Predictions, Predictions)
        Row for row the same clips, scored in the same folds.

    Raises
    ------
    DataError
        If they were scored in other folds, share no clip, or their labels differ.
    """
    names = f"{first.label} and {second.label}"
    counts = len(first.results), len(second.results)
    repeats = max(counts) if 1 in counts else min(counts)
    return [_common(_load(first, k), _load(second, k), names) for k in range(repeats)]


def _common(one: Predictions, other: Predictions, names: str) -> Pair:
    """Keep the clips that both scored."""
    keys = [
        {(i, p.folds[f]): row for row, (i, f) in enumerate(zip(p.clip_ids, p.fold, strict=True))}
        for p in (one, other)
    ]
    shared = set(one.clip_ids) & set(other.clip_ids)
    if not shared:
        raise DataError(f"{names} have no test clip in common")
    moved = sorted({i for i, _ in keys[0].keys() ^ keys[1].keys() if i in shared})
    if moved:
        raise DataError(
            f"{names} were scored in other folds: {len(moved):,} of the {len(shared):,} clips that "
            f"both scored, for example {some(moved, 1)}; evaluate both under one protocol"
        )
    both = [key for key in keys[0] if key in keys[1]]
    rows = [np.array([own[key] for key in both]) for own in keys]
    left, right = one.subset(rows[0]), other.subset(rows[1])
    if not np.array_equal(left.targets, right.targets):
        raise DataError(f"{names}: the labels of some clips differ; evaluate again")
    # clip by clip in the same fold, though the two may list their folds in another order
    return left, replace(right, fold=left.fold, folds=left.folds)


def _load(entry: Entry, k: int) -> Predictions:
    """Read the predictions of an entry's run; the only one is that of every seed."""
    k = min(k, len(entry.results) - 1)
    result = entry.results[k]
    folds = tuple(one["fold"] for one in result["folds"])
    return predictions.load(
        entry.paths[k].with_suffix(".h5"), folds, result["target"], result["probabilities"]
    )
