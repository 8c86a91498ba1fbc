"""The results store: one JSON a run, with predictions and weights beside it in HDF5.

``<reports>/results/<task>/<embedding>-<run>.json`` holds everything a person reads;
``….h5`` of the same name holds ``predictions`` (clip_id, fold, target, scores, group) and
``probe/<fold>`` (for linear probes coef, intercept, mean, scale).
"""

import hashlib
import json
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import h5py
import numpy as np
import pandas as pd

from probekit.data.manifest import dataset_name
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.scores.scoring import ExtraMetric
from probekit.utils import atomic

FORMAT = 2


class Source(TypedDict):
    """One embedding that went into a run."""

    extractor: str
    fingerprint: str
    identity: dict[str, Any]  # what the fingerprint covers
    stream: str
    pool: list[str]
    dim: int


class Clips(TypedDict):
    """How many clips a run used."""

    used: int  # clips that were trained on or scored
    of: int  # clips that the task has: its card's count, or the manifest's
    missing: dict[str, str]  # clip ids without an embedding, with the reason; at most 50
    missing_count: int


class Fold(TypedDict):
    """One fold, or the fixed split's test clips."""

    fold: str
    train: int  # clips the final probe was fitted on
    test: int
    score: float
    params: dict[str, Any]  # the settings that were chosen; empty where there was no choice
    at_edge: bool  # they are at an end of their range
    curve: list[float]  # the metric on held-out clips, for each of the grid
    selected_on: str
    selected_score: float | None  # that of the chosen settings on those clips, before a refit
    converged: bool  # of the final fit
    gap: float | None  # bound of (objective - minimum) / objective; None where not proven
    iterations: int


class Result(TypedDict):
    """What is kept of one run; every key is always there."""

    format: int
    run: str  # SHA-256 of what went in
    task: str
    title: str
    embedding: str  # what a person calls it: names, streams, poolings
    sources: list[Source]  # the embeddings, side by side
    dim: int
    probe: str
    settings: dict[str, Any]  # what the probe is told, grids included
    steps: list[str]  # what is done to features first
    preset: str  # the paper's recipe; empty for none
    fraction: float  # share of the training labels
    seed: int
    protocol: str
    target: str  # single, multi or regression
    probabilities: bool  # whether the stored scores are
    metric: str
    classes: list[str]
    score: float
    spread: float  # population standard deviation over folds; 0 for a fixed split
    interval: dict[str, Any]  # low, high, unit, method, level, resamples, seed
    also: dict[str, ExtraMetric]  # further metrics of the card
    folds: list[Fold]
    per_class: dict[str, dict[str, float | int | None]]  # score and clips (or positives)
    per_group: dict[str, dict[str, float | int | None]]  # where there are at most 200 groups
    grid: list[dict[str, Any]]  # the settings that were tried
    solver: dict[str, Any]  # name, tolerance of the gap, fits, unconverged, unconverged_final
    clips: Clips
    seconds: dict[str, float]
    provenance: list[str]  # shown wherever the score is: random weights, stand-in data …
    manifest: str  # digest of the clip table
    versions: dict[str, str]
    created: str
    published: list[dict[str, Any]]
    history: list[dict[str, Any]]  # scores of every epoch, of what is trained epoch by epoch


def root(given: str | Path | None = None) -> Path:
    """Return the reports folder: the one given, else ``PROBEKIT_REPORTS``, else ``reports/out``."""
    return Path(given or os.environ.get("PROBEKIT_REPORTS") or "reports/out")


def run_id(facts: dict[str, Any]) -> str:
    """Return the name of a run: SHA-256 (hexadecimal) of what goes into it."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def path_of(reports: Path, task: str, embedding: str, run: str) -> Path:
    """Return where a result is, or will be."""
    name = f"{dataset_name(embedding)}-{run[:12]}.json"
    return reports / "results" / dataset_name(task) / name


def save(path: Path, result: Result, arrays: dict[str, Any]) -> None:
    """Keep a result: the arrays first, the JSON last, so that a result is whole if it is there.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`path_of`; its folder is made.
    result : Result
        What a person reads.
    arrays : dict
        ``predictions/…`` and ``probe/…`` to numpy arrays, or lists of text.
    """

    def fill(aside: Path) -> None:
        with h5py.File(aside, "w") as file:
            for name, values in arrays.items():
                array = np.asarray(values)
                if array.dtype.kind == "U":
                    array = np.char.encode(array, "utf-8")
                file[name] = array

    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write(path.with_suffix(".h5"), fill)
    atomic.atomic_write_text(path, text)


def load(path: Path) -> Result:
    """Read one result.

    Parameters
    ----------
    path : pathlib.Path
        A JSON of the store.

    Returns
    -------
    Result
        As it was saved.

    Raises
    ------
    DataError
        If it is not a result of this version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a result of probekit") from error
    if version != FORMAT:
        raise DataError(f"{path}: a result of format {version}, this probekit reads {FORMAT}")
    result: Result = content
    return result


def load_if_complete(path: Path) -> Result | None:
    """Return a result that is there with its predictions.

    Parameters
    ----------
    path : pathlib.Path
        Where it is, or will be.

    Returns
    -------
    Result or None
        None for none, half of one, or one of another format.
    """
    if path.exists() and path.with_suffix(".h5").exists():
        with suppress(DataError):
            return load(path)
    return None


@dataclass(frozen=True)
class ReadReport:
    """What could be read of a store.

    Attributes
    ----------
    found : list of (pathlib.Path, Result)
        Results with their files.
    note : str
        What was left out, and why; empty where all could be read.
    """

    found: list[tuple[Path, Result]]
    note: str


def read(reports: str | Path | None = None, task: str = "") -> ReadReport:
    """Read all results of a store; what is none of this version is left out, and said.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`root`.
    task : str
        Only of this task; files of others are not opened.

    Returns
    -------
    Read
        One file that is damaged, or of an older version, does not keep the others from being read;
        :func:`probekit.scores.verification.verify` names every such file.
    """
    found, faults = [], []
    for path in sorted(root(reports).glob(f"results/{dataset_name(task) if task else '*'}/*.json")):
        try:
            found.append((path, load(path)))
        except DataError as error:
            faults.append(str(error))
    if task:
        found = [(path, result) for path, result in found if result["task"] == task]
    return ReadReport(found, _left_out(faults))


def _left_out(faults: list[str]) -> str:
    """Say how many results were left out, and why the first one was."""
    if not faults:
        return ""
    many = len(faults) > 1
    counted = f"{len(faults):,} results are left out; the first" if many else "a result is left out"
    return (
        f"{counted}: {faults[0]}. Delete {'them' if many else 'it'}, or evaluate again (probekit "
        "results verify lists such files)"
    )


def files(reports: str | Path | None = None, task: str = "") -> list[tuple[Path, Result]]:
    """Return all results of a store with their files; warn of what is left out.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`root`.
    task : str
        Only of this task.

    Returns
    -------
    list of (pathlib.Path, Result)
        Empty where there is no store yet; see :func:`read`.
    """
    own = read(reports, task)
    if own.note:
        warnings.warn(own.note, stacklevel=1)  # from here: shown once, whoever asks how often
    return own.found


def load_all(reports: str | Path | None = None, task: str = "") -> list[Result]:
    """Return all results of a store, by task, best first.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`root`.
    task : str
        Only of this task.

    Returns
    -------
    list of Result
        Empty where there is no store yet.
    """
    found = [result for _, result in files(reports, task)]
    return sorted(
        found, key=lambda r: (r["task"], -(r["score"] if higher_is_better(r) else -r["score"]))
    )


def higher_is_better(result: Result) -> bool:
    """Tell whether a higher score is better under a result's metric."""
    return metrics.get_metric(result["metric"]).higher


def frame(reports: str | Path | None = None, task: str = "") -> pd.DataFrame:
    """Return all results as a table.

    Parameters
    ----------
    reports : str or pathlib.Path, optional
        The reports folder; see :func:`root`.
    task : str
        Only of this task.

    Returns
    -------
    pandas.DataFrame
        One row a run: task, embedding, probe, metric, score, low, high, clips, of, provenance, run.
    """
    columns = [
        "task",
        "embedding",
        "probe",
        "fraction",
        "seed",
        "metric",
        "score",
        "low",
        "high",
        "spread",
        "clips",
        "of",
        "provenance",
        "created",
        "run",
    ]
    rows = [
        {
            **{key: r.get(key) for key in columns if key in r},
            "low": r["interval"]["low"],
            "high": r["interval"]["high"],
            "clips": r["clips"]["used"],
            "of": r["clips"]["of"],
            "provenance": "; ".join(r["provenance"]),
        }
        for r in load_all(reports, task)
    ]
    return pd.DataFrame(rows, columns=columns)
