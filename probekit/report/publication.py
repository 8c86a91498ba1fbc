"""Results for others: a folder ready for a dataset repository. Nothing is sent anywhere."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from probekit import cards
from probekit.errors import DataError, ProbekitError, UnknownNameError
from probekit.metrics.intervals import interval_ends
from probekit.report import dataset_card, eval_results
from probekit.scores import store
from probekit.scores.groups import RunGroup, load_groups, no_results_error
from probekit.scores.predictions import Predictions, load_predictions
from probekit.scores.store import Result
from probekit.tasks.task import STAND_IN
from probekit.utils import atomic
from probekit.utils.json_values import replace_nonfinite
from probekit.utils.text import count_of, dataset_name, forbids_commerce, join_names, slug

MARKER = "publication.json"
FORMAT = 1
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Publication:
    """What is in a folder.

    Attributes
    ----------
    folder : pathlib.Path
        The folder.
    tasks : tuple of str
        Tasks whose results it has.
    runs : int
        Number of results.
    files : tuple of str
        Files, relative to the folder.
    is_new : bool
        False if the folder had the same results already.
    notes : tuple of str
        What was left out, and why.
    """

    folder: Path
    tasks: tuple[str, ...]
    runs: int
    files: tuple[str, ...]
    is_new: bool
    notes: tuple[str, ...]


def publish(
    folder: str | Path,
    *,
    tasks: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    benchmark: str = "",
    accept_licence: bool = False,
    reports: str | Path | None = None,
) -> Publication:
    """Write results, predictions, licenses and provenance into a new folder.

    The folder appears under its name only when it is complete. One that holds the same results
    stays as it is.

    Parameters
    ----------
    folder : str or pathlib.Path
        A new or empty folder.
    tasks : sequence of str
        Only these tasks; by default all that have results.
    embeddings : sequence of str
        Only these, as results name them.
    benchmark : str
        Dataset repository, ``ORGANIZATION/NAME``, of the benchmark whose tasks are called like
        these: with it, files for model repositories are written, too.
    accept_licence : bool
        Whether results of weights whose licence forbids commercial use may be published.
    reports : str or pathlib.Path, optional
        The reports folder.

    Returns
    -------
    Publication
        What the folder holds.

    Raises
    ------
    DataError
        If there are no such results, they are of stand-in data, predictions are missing, or the
        folder holds something else or is the current one.
    ProbekitError
        If a licence must be accepted, or ``benchmark`` is no name of a repository.
    """
    folder = Path(folder)
    if folder.resolve() == Path.cwd():
        raise DataError(f"{folder}: is the folder you are in; name a new folder")
    if benchmark and not _REPOSITORY.fullmatch(benchmark):
        raise ProbekitError(f"--benchmark must be ORGANIZATION/NAME, got {benchmark!r}")
    groups = _find_groups(tasks, embeddings, reports)
    _check_data(groups)
    licenses = _find_licenses(groups)
    if not accept_licence:
        _check_licenses(groups, licenses)
    runs = [[r["run"], r["created"]] for group in groups for r in group.results]
    facts = {"format": FORMAT, "benchmark": benchmark, "runs": runs}
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    names = tuple(dict.fromkeys(group.results[0]["task"] for group in groups))
    entries = eval_results.make_files(groups, benchmark) if benchmark else ({}, ())
    existing = _read_existing(folder, digest)
    if existing is not None:
        return Publication(folder, names, len(runs), existing, False, entries[1])
    place = folder.resolve()  # a link stays one
    temporary = _make_temporary(place)
    try:
        files = _write(temporary, groups, licenses, entries[0])
        marker = {**facts, "digest": digest, "files": files}
        (temporary / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        atomic._test_hook("before-rename")
        with suppress(FileNotFoundError):
            place.rmdir()  # it is empty
        temporary.replace(place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    listed = (*files, MARKER)
    return Publication(folder, names, len(runs), listed, True, entries[1])


# ---- what is published


def _find_groups(
    tasks: Sequence[str], embeddings: Sequence[str], reports: str | Path | None
) -> list[RunGroup]:
    """Return the runs that count, by task; DataError if a name has none."""
    names = list(dict.fromkeys(tasks)) or sorted(
        {result["task"] for _, result in store.read_store(reports).results}
    )
    groups = []
    for name in names:
        of_task = load_groups(name, reports)
        if not of_task:
            raise no_results_error(name, reports)
        groups += of_task
    known = {group.results[0]["embedding"] for group in groups}
    for embedding in embeddings:
        if embedding not in known:
            raise UnknownNameError(
                f"-e {embedding}: no results; there are some of {join_names(sorted(known), 8)}"
            )
    if embeddings:
        groups = [group for group in groups if group.results[0]["embedding"] in embeddings]
    if not groups:
        raise no_results_error("", reports)
    return sorted(groups, key=lambda group: (group.results[0]["task"], group.label))


def _check_data(groups: Sequence[RunGroup]) -> None:
    """Raise if results are of stand-in data: they say nothing about the dataset."""
    for group in groups:
        if STAND_IN in group.provenance:
            task = group.results[0]["task"]
            raise DataError(
                f"{group.label} on {task} was scored on stand-in data, which are no results of "
                "the dataset; choose others with --task"
            )


def _find_licenses(groups: Sequence[RunGroup]) -> dict[str, dict[str, str]]:
    """Return the licenses of audio by task, and of weights by extractor."""
    licenses: dict[str, dict[str, str]] = {"tasks": {}, "extractors": {}}
    for group in groups:
        result = group.results[0]
        licenses["tasks"][result["task"]] = _licence_of(result["task"], "tasks")
        for source in result["sources"]:
            name = source["extractor"]
            licence = _licence_of(name, "extractors")
            forbidding = [note for note in group.provenance if forbids_commerce(note)]
            if not licence and len(result["sources"]) == 1:  # of a model without a card here
                licence = "; ".join(forbidding)
            licenses["extractors"][name] = licence or licenses["extractors"].get(name, "")
    return licenses


def _licence_of(name: str, kind: cards.Kind) -> str:
    """Return the licence in a card; empty if there is no card, or it states none."""
    if name not in cards.card_paths(kind):
        return ""
    load = cards.load_task_card if kind == "tasks" else cards.load_extractor_card
    return load(name).licence


def _check_licenses(groups: Sequence[RunGroup], licenses: dict[str, dict[str, str]]) -> None:
    """Raise if weights may not be used commercially, naming them and their licenses."""
    restricted = {
        name: text for name, text in licenses["extractors"].items() if forbids_commerce(text)
    }
    for group in groups:  # of several that are joined, a note may be of any
        for note in group.provenance:
            if forbids_commerce(note) and note not in restricted.values():
                restricted[group.label] = note
    if restricted:
        words = "; ".join(f"{name}: {text}" for name, text in restricted.items())
        raise ProbekitError(
            f"weights whose licence forbids commercial use: {words}. Publish their results with "
            "--accept-licence if your use is allowed, or choose others with -e"
        )


# ---- the folder


def _read_existing(folder: Path, digest: str) -> tuple[str, ...] | None:
    """Return the files of a folder with the same results; None if it is new or empty.

    Raises a DataError if it holds anything else.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; name a new folder")
    if not any(folder.iterdir()):
        return None
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        files, runs = [str(name) for name in marker["files"]], len(marker["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"{folder}: holds other files; name a new or empty folder for the results"
        ) from None
    missing = [name for name in files if not (folder / name).is_file()]
    if marker.get("digest") != digest:
        raise DataError(
            f"{folder}: holds {count_of(runs, 'other result')}, published before. Name a new "
            "folder, or remove this one"
        )
    if missing:
        raise DataError(
            f"{folder}: {missing[0]} is missing, of these results. Remove the folder, and publish "
            "again"
        )
    return (*files, MARKER)


def _make_temporary(folder: Path) -> Path:
    """Return a new folder beside another one; those of processes that were killed are removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for path in folder.parent.glob(f".{folder.name}.*{atomic.TEMPORARY}"):
        if atomic.owner_has_ended(path):
            shutil.rmtree(path, ignore_errors=True)
    temporary = atomic.temp_path(folder)
    temporary.mkdir()
    return temporary


def _write(
    folder: Path,
    groups: Sequence[RunGroup],
    licenses: dict[str, dict[str, str]],
    entries: dict[str, str],
) -> list[str]:
    """Write all files but the marker, and return their names."""
    runs = [
        (path, result)
        for group in groups
        for path, result in zip(group.paths, group.results, strict=True)
    ]
    notes = {r["run"]: group.provenance for group in groups for r in group.results}
    rows = [_result_row(result, licenses, notes[result["run"]]) for _, result in runs]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=_RESULTS), folder / "results.parquet", compression="zstd"
    )
    files = ["results.parquet"]
    by_task: dict[str, list[tuple[Path, Result]]] = {}
    for path, result in runs:
        by_task.setdefault(result["task"], []).append((path, result))
    (folder / "predictions").mkdir()
    for task, of_task in by_task.items():
        name = f"predictions/{dataset_name(task)}.parquet"
        _write_predictions(folder / name, of_task)
        files.append(name)
    texts = {
        f"results/{dataset_name(result['task'])}/{path.name}": _strict_json(result)
        for path, result in runs
    }
    schema = store.result_schema()
    texts[f"result-{store.FORMAT}.schema.json"] = json.dumps(schema, indent=1, ensure_ascii=False)
    texts |= entries
    texts["README.md"] = dataset_card.render(groups, licenses, sorted(by_task), sorted(entries))
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        files.append(name)
    return files


def _strict_json(result: Result) -> str:
    """Return a result as JSON that any reader accepts: numbers that are not finite are null."""
    values = replace_nonfinite(dict(result))
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)


_TEXTS = pa.list_(pa.string())
_RESULTS = pa.schema(
    [
        ("run", pa.string()), ("task", pa.string()), ("embedding", pa.string()),
        ("extractors", _TEXTS), ("fingerprints", _TEXTS), ("probe", pa.string()),
        ("preset", pa.string()), ("fraction", pa.float64()), ("shots", pa.int64()),
        ("seed", pa.int64()), ("protocol", pa.string()), ("target", pa.string()),
        ("probabilities", pa.bool_()), ("metric", pa.string()),
        ("score", pa.float64()), ("low", pa.float64()), ("high", pa.float64()),
        ("interval_method", pa.string()), ("interval_unit", pa.string()),
        ("interval_units", pa.int64()), ("spread", pa.float64()),
        ("folds", _TEXTS), ("fold_scores", pa.list_(pa.float64())), ("classes", _TEXTS),
        ("clips", pa.int64()), ("clips_of_task", pa.int64()), ("pieces", pa.int64()),
        ("notes", _TEXTS), ("licence_audio", pa.string()), ("licence_weights", _TEXTS),
        ("manifest", pa.string()), ("created", pa.string()), ("probekit", pa.string()),
        ("file", pa.string()),
    ]
)  # fmt: skip


def _result_row(
    result: Result, licenses: dict[str, dict[str, str]], notes: Sequence[str]
) -> dict[str, Any]:
    """Return a result as a row of ``results.parquet``."""
    low, high = interval_ends(result["interval"])
    names = [source["extractor"] for source in result["sources"]]
    file = f"{slug(result['embedding'])}-{result['run'][:12]}.json"
    same = (
        "run", "task", "embedding", "probe", "preset", "fraction", "seed", "protocol", "target",
        "probabilities", "metric", "score", "spread", "manifest", "created",
    )  # fmt: skip
    return {
        **{key: result.get(key) for key in same},
        "shots": result.get("shots"),
        "pieces": result.get("pieces"),
        "classes": result["classes"],
        "extractors": names,
        "fingerprints": [source["fingerprint"] for source in result["sources"]],
        "low": low if math.isfinite(low) else None,
        "high": high if math.isfinite(high) else None,
        "interval_method": result["interval"]["method"],
        "interval_unit": result["interval"]["unit"],
        "interval_units": result["interval"]["units"],
        "folds": [fold["fold"] for fold in result["folds"]],
        "fold_scores": [fold["score"] for fold in result["folds"]],
        "clips": result["clips"]["used"],
        "clips_of_task": result["clips"]["of"],
        "notes": list(notes),
        "licence_audio": licenses["tasks"].get(result["task"]) or None,
        "licence_weights": [licenses["extractors"].get(name) or "not stated" for name in names],
        "probekit": result["versions"].get("probekit"),
        "file": f"results/{dataset_name(result['task'])}/{file}",
    }


def _write_predictions(path: Path, runs: Sequence[tuple[Path, Result]]) -> None:
    """Write the predictions of a task's runs, a row a clip and run, run by run."""
    writer = None
    try:
        for json_path, result in runs:
            predictions = load_predictions(json_path, result, by_clip=True)
            table = _predictions_table(result, predictions)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _predictions_table(result: Result, predictions: Predictions) -> pa.Table:
    """Return the predictions of a run; scores have all digits, in the order of the classes."""
    count, names = len(predictions.clip_ids), result["classes"]
    columns: dict[str, pa.Array] = {
        name: pa.array([str(result[name])] * count, pa.string())
        for name in ("run", "embedding", "probe")
    }
    columns["seed"] = pa.array([result["seed"]] * count, pa.int64())
    columns["clip_id"] = pa.array(predictions.clip_ids.tolist(), pa.string())
    columns["fold"] = pa.array([predictions.folds[k] for k in predictions.fold], pa.string())
    pieces = [None] * count if predictions.pieces is None else predictions.pieces.tolist()
    columns["group"] = pa.array([name or None for name in predictions.groups.tolist()], pa.string())
    columns["piece"] = pa.array(pieces, pa.string())
    targets = predictions.targets
    if predictions.target == "single":
        columns["label"] = pa.array([names[k] for k in targets], pa.string())
        columns["predicted"] = pa.array([names[k] for k in predictions.classes], pa.string())
    elif predictions.target == "multi":
        for column, cells in (("labels", targets == 1), ("unknown", targets != targets)):
            values = [[names[k] for k in row.nonzero()[0]] for row in cells]
            columns[column] = pa.array(values, _TEXTS)
    else:
        columns["target"] = pa.array(targets.tolist(), pa.list_(pa.float64()))
    scores = predictions.scores.astype(float).tolist()
    columns["scores"] = pa.array(scores, pa.list_(pa.float64()))
    return pa.table(columns)
