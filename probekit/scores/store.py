"""Store of results: one JSON file a run, with predictions and weights in HDF5 beside it.

``<reports>/results/<task>/<embedding>-<run>.json`` holds everything a person reads;
``….h5`` of the same name holds ``predictions`` (clip_id, fold, target, scores, group; class where a
probe predicts others than those of the highest scores, piece where clips of one are scored as one)
and ``probe/<fold>`` (for linear
probes coef, intercept, mean, scale).
"""

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import h5py
import numpy as np

from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.scores.scoring import ExtraMetric
from probekit.utils import atomic
from probekit.utils.text import dataset_name, slug

FORMAT = 2
PROTOCOLS_FOLDER = "protocols"  # one store a protocol, so that scores of several never mix
POOLING_PROBES = ("attention", "prototypes")  # learn how to pool frames
_RANDOM_PROBES = (
    "mlp",
    "mlp-segments",
    *POOLING_PROBES,
    "student",
    "sklearn.ensemble",
    "sklearn.neural_network",
)
ONE_SEED = "one seed (--seeds 5 shows the spread)"


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
    curve: list[float | None]  # the metric on held-out clips, for each entry of the grid
    selected_on: str
    selected_score: float | None  # that of the chosen settings on those clips, before a refit
    converged: bool  # of the final fit
    gap: float | None  # bound of (objective - minimum) / objective; None where not proven
    iterations: int


class Evaluation(TypedDict):
    """Another protocol than the task's own, by which a run was scored."""

    protocol: str  # name, as after --protocol
    title: str
    source: str  # tool and version; empty for a departure from the task's own protocol
    leaks: list[str]  # what test clips influence


class Result(TypedDict):
    """The stored result of one run; every key is always present."""

    format: int
    run: str  # SHA-256 of what went in
    task: str
    title: str
    embedding: str  # display label: names, streams, poolings
    sources: list[Source]  # the embeddings, concatenated in this order
    dim: int
    probe: str
    settings: dict[str, Any]  # of the probe, grids included
    steps: list[str]  # transforms of the features
    preset: str  # paper; empty for none
    fraction: float  # share of the training labels
    shots: NotRequired[int]  # labeled training clips of each class, where so many were drawn
    seed: int
    protocol: str
    target: str  # single, multi or regression
    probabilities: bool  # whether the stored scores are probabilities
    metric: str
    classes: list[str]
    score: float
    spread: float  # population standard deviation over folds; 0 for a fixed split
    interval: dict[str, Any]  # low, high, unit, units, method, level; null ends: method says why
    also: dict[str, ExtraMetric]  # further metrics of the card
    folds: list[Fold]
    class_scores: str  # of per_class over folds: all test clips, or mean over folds
    per_class: dict[str, dict[str, float | int | None]]  # score and clips (or positives)
    per_group: dict[str, dict[str, float | int | None]]  # where there are at most 200 groups
    grid: list[dict[str, Any]]  # the settings that were tried
    solver: dict[str, Any]  # name, tolerance of the gap, fits, unconverged, unconverged_final
    clips: Clips
    pieces: NotRequired[int]  # scored test pieces, where clips of one piece are scored as one
    seconds: dict[str, float]
    provenance: list[str]  # notes to be shown beside the score: random weights, stand-in data …
    manifest: str  # digest of the clip table
    versions: dict[str, str]
    created: str
    published: list[dict[str, Any]]
    history: list[dict[str, Any]]  # scores of every epoch, of what is trained epoch by epoch
    evaluation: NotRequired[Evaluation]  # only where the protocol is not the task's own


def result_schema() -> dict[str, Any]:
    """Return the JSON schema of a result of this version (:data:`FORMAT`)."""
    path = Path(__file__).with_name(f"result-{FORMAT}.schema.json")
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def reports_root(reports: str | Path | None = None) -> Path:
    """Return the reports folder: the argument, else ``PROBEKIT_REPORTS``, else ``reports/out``."""
    return Path(reports or os.environ.get("PROBEKIT_REPORTS") or "reports/out")


def protocol_root(reports: str | Path | None, protocol: str) -> Path:
    """Return the store of the results of another protocol: a reports folder inside the folder."""
    return reports_root(reports) / PROTOCOLS_FOLDER / protocol


def run_id(facts: dict[str, Any]) -> str:
    """Return the id of a run: SHA-256 (hexadecimal) of everything that decides its result."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def result_path(reports: Path, task: str, embedding: str, run: str) -> Path:
    """Return the path of a result's JSON file."""
    name = f"{slug(embedding)}-{run[:12]}.json"
    return reports / "results" / dataset_name(task) / name


def save(path: Path, result: Result, arrays: dict[str, Any]) -> None:
    """Write a result: HDF5 first, JSON last, so that a result with a JSON file is complete.

    Parameters
    ----------
    path : pathlib.Path
        From :func:`result_path`; its folder is created.
    result : Result
        Content of the JSON file.
    arrays : dict
        ``predictions/…`` and ``probe/…`` to numpy arrays, or lists of text.
    """

    def write(temp_path: Path) -> None:
        with h5py.File(temp_path, "w") as file:
            for name, values in arrays.items():
                array = np.asarray(values)
                if array.dtype.kind == "U":
                    array = np.char.encode(array, "utf-8")
                file[name] = array

    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write(path.with_suffix(".h5"), write)
    atomic.atomic_write_text(path, text)
    for written in (path, path.with_suffix(".h5")):
        atomic.remove_abandoned(written)


def load(path: Path) -> Result:
    """Read a result; DataError if it is none, or of another format version."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a result of probekit") from error
    if version != FORMAT:
        raise DataError(
            f"{path}: result format must be {FORMAT} for this version of probekit, got {version}"
        )
    result: Result = content
    return result


def load_if_complete(path: Path) -> Result | None:
    """Return a result if it can be read and its predictions are present, else None."""
    if path.exists() and path.with_suffix(".h5").exists():
        with suppress(DataError):
            return load(path)
    return None


@dataclass(frozen=True)
class StoreContent:
    """Results of a store, with what could not be read.

    Attributes
    ----------
    results : list of (pathlib.Path, Result)
        Results with their files.
    note : str
        How many files could not be read, and why; empty if all could.
    """

    results: list[tuple[Path, Result]]
    note: str


def read_store(reports: str | Path | None = None, task: str = "") -> StoreContent:
    """Read the results of a store, or of one task; files that cannot be read are noted.

    :func:`probekit.scores.verification.verify` lists every such file.
    """
    results, faults = [], []
    folder = dataset_name(task) if task else "*"
    for path in sorted(reports_root(reports).glob(f"results/{folder}/*.json")):
        try:
            results.append((path, load(path)))
        except DataError as error:
            faults.append(str(error))
    if task:
        results = [(path, result) for path, result in results if result["task"] == task]
    return StoreContent(results, _note_faults(faults))


def _note_faults(faults: list[str]) -> str:
    """Return the note on files that cannot be read, with the first fault."""
    if not faults:
        return ""
    several = len(faults) > 1
    counted = (
        f"{len(faults):,} results cannot be read; the first"
        if several
        else "1 result cannot be read"
    )
    return (
        f"{counted}: {faults[0]}. Delete {'them' if several else 'it'}, or evaluate again "
        "(probekit results verify lists such files)"
    )


def list_results(reports: str | Path | None = None, task: str = "") -> list[tuple[Path, Result]]:
    """Return the results of a store, or of one task, with their files; warn of unreadable ones."""
    content = read_store(reports, task)
    if content.note:
        warnings.warn(content.note, stacklevel=1)  # from here: shown once for all callers
    return content.results


def load_results(reports: str | Path | None = None, task: str = "") -> list[Result]:
    """Return the results of a store, or of one task, by task, best first."""
    results = [result for _, result in list_results(reports, task)]
    return sorted(
        results, key=lambda r: (r["task"], -(r["score"] if higher_is_better(r) else -r["score"]))
    )


def group_key(result: Result) -> tuple[Any, ...]:
    """Return what the runs of one group have in common: all but the seed and the time."""
    return (
        result["task"],
        result["metric"],
        result["embedding"],
        tuple(source["fingerprint"] for source in result["sources"]),
        result["probe"],
        str(result["settings"]),
        tuple(result["steps"]),
        result["preset"],
        result["fraction"],
        result["manifest"],
        *([result["evaluation"]["protocol"]] if "evaluation" in result else []),
    )


def shown_notes(results: Sequence[Result]) -> list[list[str]]:
    """Return what must be shown beside each of several results.

    This is their provenance, and that a score is of one seed where chance matters and no other seed
    of the same run is among the results.
    """
    seeds: dict[tuple[Any, ...], set[int]] = {}
    for result in results:
        seeds.setdefault(group_key(result), set()).add(result["seed"])
    return [
        [*result["provenance"]]
        + [ONE_SEED] * (_depends_on_seed(result) and len(seeds[group_key(result)]) == 1)
        for result in results
    ]


def _depends_on_seed(result: Result) -> bool:
    """Tell whether another seed gives another score: labels are drawn, or the probe is random.

    Of scikit-learn's estimators many have a seed that hardly any of their settings use.
    """
    return result["fraction"] < 1 or result["probe"].partition(":")[0] in _RANDOM_PROBES


def higher_is_better(result: Result) -> bool:
    """Tell whether a higher score is better under a result's metric."""
    return metrics.get_metric(result["metric"]).higher_is_better
