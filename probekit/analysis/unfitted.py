"""Classes that a probe has no weights for, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_NAMED = 4  # the most classes that a caption names


def classes(targets: Array, names: Sequence[str], there: Array) -> dict[str, tuple[str, ...]]:
    """Return the classes without weights, by the reason.

    Parameters
    ----------
    targets : numpy.ndarray, shape (clips,) of int, or (clips, classes) of 0 and 1
        Labels of the training clips.
    names : sequence of str
        The classes.
    there : numpy.ndarray, shape (classes,), bool
        Which have weights.

    Returns
    -------
    dict of str to tuple of str
        For example ``{"without training clips": ("bell",)}``; empty where all have weights.
    """
    hot = targets if targets.ndim == 2 else targets[:, None] == np.arange(len(names))
    often = hot.sum(axis=0)
    found: dict[str, tuple[str, ...]] = {}
    for k in np.flatnonzero(~there).tolist():
        why = "without weights"
        if often[k] == 0:
            why = "without training clips"
        elif often[k] == len(hot):
            why = "in every training clip"
        found[why] = (*found.get(why, ()), names[k])
    return found


def listed(left: Mapping[str, Sequence[str]]) -> str:
    """Name classes that were left out.

    Parameters
    ----------
    left : mapping of str to sequence of str
        From :func:`classes`.

    Returns
    -------
    str
        Reasons, each with its classes, the first four of many.
    """
    return "; ".join(
        f"{why}: {', '.join(names[:_NAMED])}"
        + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        for why, names in left.items()
    )
