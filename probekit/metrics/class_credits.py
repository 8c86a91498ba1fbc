"""Credit of a predicted class for a true one, where classes are related: keys, pitches, counts.

Class numbers stand for what the classes are: keys in the order of :data:`KEYS`, or numbers one
apart, such as MIDI pitches. :func:`check_keys` and :func:`check_numbers` tell whether they do.
"""

from collections.abc import Sequence

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError

_TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for mode in ("major", "minor") for tonic in _TONICS)
"""The 24 major and minor keys."""
_FIFTH, _RELATIVE, _PARALLEL = 0.5, 0.3, 0.2


def _key_credits() -> Array:
    """Return the credit of each predicted key (column) for each true one (row)."""
    true, predicted = np.divmod(np.arange(576), 24)
    (mode, tonic), (other_mode, other_tonic) = np.divmod(true, 12), np.divmod(predicted, 12)
    interval = (other_tonic - tonic) % 12
    relative = np.where(mode == 0, 9, 3)  # semitones up to the relative minor, or major
    same = mode == other_mode
    related = [same & (interval == 0), same & (interval == 7), ~same & (interval == relative)]
    related.append(~same & (interval == 0))
    table = np.select(related, [1.0, _FIFTH, _RELATIVE, _PARALLEL], 0.0)
    return np.asarray(table.reshape(24, 24))


_KEY_CREDITS = _key_credits()


def key_credit(targets: Array, predicted: Array) -> Array:
    """Return MIREX's credit of predicted keys, by class number.

    1 for the key, 0.5 for the key a fifth above it in its mode, 0.3 for the relative major or
    minor, 0.2 for the parallel one, as ``mir_eval.key.weighted_score``.
    """
    return np.asarray(_KEY_CREDITS[targets, predicted])


def chroma_credit(targets: Array, predicted: Array) -> Array:
    """Return 1 where a predicted pitch is the true one in any octave, else 0."""
    return np.asarray((predicted - targets) % 12 == 0, np.float64)


def distance(targets: Array, predicted: Array) -> Array:
    """Return how far predicted numbers are from the true ones."""
    return np.asarray(np.abs(predicted - targets), np.float64)


CREDITS = {"key-score": key_credit, "chroma-accuracy": chroma_credit, "class-mae": distance}
"""Metrics that are the mean over clips of one of these, by name."""


def mean_credit(metric: str, targets: Array, scores: Array) -> float:
    """Return the mean over clips, of scores of shape (clips, classes)."""
    return float(CREDITS[metric](targets, scores.argmax(axis=1)).mean())


def credit_per_class(metric: str, targets: Array, scores: Array) -> Array:
    """Return the mean over the clips of each class, shape (classes,); NaN without clips."""
    credits_of_clips = CREDITS[metric](targets, scores.argmax(axis=1))
    return class_means(targets, credits_of_clips, scores.shape[1])


def class_means(labels: Array, values: Array, classes: int) -> Array:
    """Return the mean value of each class, for one label a value."""
    counts = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        return np.bincount(labels, weights=values, minlength=classes) / counts


def check_keys(class_names: Sequence[str]) -> None:
    """Raise a DataError if classes are not the 24 keys in the order of :data:`KEYS`."""
    if tuple(class_names) != KEYS:
        other = [
            f"{name!r} in place {k + 1}" for k, name in enumerate(class_names) if name not in KEYS
        ]
        problem = other[0] if other else f"{len(class_names)} classes in another order"
        raise DataError(f"the classes must be the 24 keys {', '.join(KEYS)}; got {problem}")


def check_numbers(class_names: Sequence[str]) -> None:
    """Raise a DataError if classes are not whole numbers, each one more than the last."""
    for k, name in enumerate(class_names):
        if not name.isdecimal() or int(name) != int(class_names[0]) + k:
            expected = str(int(class_names[0]) + k) if class_names[0].isdecimal() else "a number"
            raise DataError(
                "the classes must be whole numbers in ascending order without gaps; got "
                f"{name!r} in place {k + 1} instead of {expected}"
            )
