"""Verification of stored scores: each is recomputed from the predictions beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probekit.errors import ProbekitError
from probekit.metrics.per_class import FOLD_MEANS
from probekit.scores import scoring, store
from probekit.scores.predictions import load_predictions
from probekit.scores.store import Result


@dataclass(frozen=True)
class Verification:
    """Outcome for one result.

    Attributes
    ----------
    path : pathlib.Path
        The result.
    task, embedding : str
        Empty where the result cannot be read.
    faults : tuple of str
        What differs, or why the result cannot be read; empty if all agrees.
    """

    path: Path
    task: str
    embedding: str
    faults: tuple[str, ...]


def verify(reports: str | Path | None = None) -> list[Verification]:
    """Recompute every score and interval of a store from the predictions; damaged ones, too."""
    outcomes = []
    root = store.reports_root(reports)
    paths = sorted(root.glob("results/*/*.json"))
    paths += sorted(root.glob(f"{store.PROTOCOLS_FOLDER}/*/results/*/*.json"))
    for path in paths:
        task = embedding = ""
        try:
            result = store.load(path)
            task, embedding = result["task"], result["embedding"]
            faults = tuple(_mismatches(path, result))
        except ProbekitError as error:
            faults = (str(error).removeprefix(f"{path}: "),)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            faults = (f"not in the format of a result ({type(error).__name__}: {error})",)
        outcomes.append(Verification(path, task, embedding, faults))
    return outcomes


def _mismatches(path: Path, result: Result) -> Iterator[str]:
    """Yield what differs between a result and its predictions."""
    rule = result.get("class_scores", FOLD_MEANS)  # of earlier versions
    recomputed = scoring.score_predictions(
        load_predictions(path, result),
        result["metric"],
        list(result["also"]),
        result["classes"],
        class_rule=rule,
        percentile="resamples" in result["interval"],  # of earlier versions
    )
    stored = {
        **result,
        "class_scores": rule,
        "folds": [fold["score"] for fold in result["folds"]],
    }
    for name, value in recomputed.items():
        yield from _differences(name, stored[name], value)


def _differences(name: str, stored: Any, recomputed: Any) -> Iterator[str]:
    """Compare two values, entry by entry."""
    if (
        isinstance(recomputed, dict)
        and isinstance(stored, dict)
        and stored.keys() == recomputed.keys()
    ):
        for key in recomputed:
            yield from _differences(f"{name}: {key}", stored[key], recomputed[key])
    elif (
        isinstance(recomputed, list) and isinstance(stored, list) and len(stored) == len(recomputed)
    ):
        for k, pair in enumerate(zip(stored, recomputed, strict=True), 1):
            yield from _differences(f"{name}: number {k}", *pair)
    elif stored != recomputed and not (stored != stored and recomputed != recomputed):  # both NaN
        yield f"{name}: stored {stored!r}, recomputed from the predictions {recomputed!r}"
