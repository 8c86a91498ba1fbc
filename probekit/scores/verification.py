"""Scores recomputed from the predictions that are stored beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit.errors import ProbekitError
from probekit.scores import predictions, scoring, store
from probekit.scores.store import Result


@dataclass(frozen=True)
class Verified:
    """What recomputing one result came to.

    Attributes
    ----------
    path : pathlib.Path
        The result.
    task, embedding : str
        What it is of; empty where it cannot be read.
    faults : tuple of str
        What does not agree; empty where all does.
    """

    path: Path
    task: str
    embedding: str
    faults: tuple[str, ...]


def verify(reports: str | Path | None = None) -> list[Verified]:
    """Recompute every score and interval of a store from the stored predictions.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`probekit.scores.store.root`.

    Returns
    -------
    list of Verified
        One a result, damaged ones included.
    """
    found = []
    for path in sorted(store.root(reports).glob("results/*/*.json")):
        task = embedding = ""
        try:
            result = store.load(path)
            task, embedding = result["task"], result["embedding"]
            faults = tuple(_mismatches(path, result))
        except ProbekitError as error:
            faults = (str(error).removeprefix(f"{path}: "),)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            faults = (f"not as evaluate writes it ({type(error).__name__}: {error})",)
        found.append(Verified(path, task, embedding, faults))
    return found


def _mismatches(path: Path, result: Result) -> Iterator[str]:
    """Say where a result is not what follows from its predictions."""
    folds = tuple(one["fold"] for one in result["folds"])
    own = predictions.load(
        path.with_suffix(".h5"), folds, result["target"], result["probabilities"]
    )
    again = scoring.score_predictions(
        own, result["metric"], list(result["also"]), result["classes"]
    )
    kept = {**result, "folds": [one["score"] for one in result["folds"]]}
    for name, value in again.items():
        yield from _differences(name, kept[name], value)


def _differences(name: str, kept: Any, again: Any) -> Iterator[str]:
    """Compare two values, entry by entry."""
    if isinstance(again, dict) and isinstance(kept, dict) and kept.keys() == again.keys():
        for key in again:
            yield from _differences(f"{name}: {key}", kept[key], again[key])
    elif isinstance(again, list) and isinstance(kept, list) and len(kept) == len(again):
        for k, pair in enumerate(zip(kept, again, strict=True), 1):
            yield from _differences(f"{name}: number {k}", *pair)
    elif kept != again and not (kept != kept and again != again):  # NaN is NaN
        yield f"{name}: {kept!r} kept, {again!r} from the predictions"
