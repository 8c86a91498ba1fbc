"""Files of scores for model repositories, in the format ``.eval_results/*.yaml`` of a hub.

Followed is the page ``docs/hub/eval-results.md`` of huggingface/hub-docs at commit 064c754, which
calls the feature work in progress, and ``EvalResultEntry`` of huggingface_hub 2.4.0: a list of
entries with ``dataset`` (``id`` of a benchmark's repository, ``task_id``), ``value``, ``date``,
``source`` and ``notes``; scores of one task that differ in their settings are in files of their
own.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from probekit import cards
from probekit.metrics.intervals import interval_ends
from probekit.metrics.metrics import get_metric
from probekit.scores.groups import RunGroup
from probekit.scores.store import Result
from probekit.utils.text import count_of, dataset_name, slug

FOLDER = "model-repositories"
_NO_MODEL = ("random weights", "imported embeddings")  # notes on what is no model of that name


def make_files(
    groups: Sequence[RunGroup], benchmark: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the files for model repositories, by their paths, and what was left out.

    Parameters
    ----------
    groups : sequence of RunGroup
        Results; the mean over seeds is one value.
    benchmark : str
        Repository of the benchmark, ``ORGANIZATION/NAME``.

    Returns
    -------
    dict of str to str
        ``model-repositories/<extractor>/.eval_results/<task>-<probe>-<run>.yaml`` to its text.
    tuple of str
        Notes on results without a file: of joined embeddings, of a fraction of the labels, of
        students, of no or random weights, of imported embeddings.
    """
    files: dict[str, str] = {}
    left_out = 0
    for group in groups:
        result = group.results[0]
        if not _is_of_model(group):
            left_out += 1
            continue
        name = f"{dataset_name(result['task'])}-{slug(result['probe'])}-{result['run'][:8]}.yaml"
        path = f"{FOLDER}/{slug(result['sources'][0]['extractor'])}/.eval_results/{name}"
        files[path] = yaml.safe_dump(
            [_make_entry(group, benchmark)], sort_keys=False, allow_unicode=True
        )
    notes = []
    if left_out:
        notes.append(
            f"no file for a model repository: {count_of(left_out, 'result')} of joined embeddings, "
            "fractions of the labels, students, no or random weights, or imported embeddings"
        )
    return files, tuple(notes)


def _is_of_model(group: RunGroup) -> bool:
    """Tell whether a result is the score of a single pretrained model on all labels."""
    result = group.results[0]
    name = result["sources"][0]["extractor"]
    if name in cards.card_paths("extractors") and not cards.load_extractor_card(name).weights:
        return False
    return (
        len(result["sources"]) == 1
        and result["fraction"] == 1
        and not result["probe"].startswith("student:")
        and not name.startswith("student")
        and not any(note.startswith(_NO_MODEL) for note in group.provenance)
    )


def _make_entry(group: RunGroup, benchmark: str) -> dict[str, Any]:
    result = group.results[0]
    return {
        "dataset": {"id": benchmark, "task_id": result["task"]},
        "value": group.score,
        "date": max(each["created"] for each in group.results),
        "source": {
            "url": f"https://huggingface.co/datasets/{benchmark}",
            "name": "probekit: predictions and provenance",
        },
        "notes": _describe(result, group),
    }


def _describe(result: Result, group: RunGroup) -> str:
    """Return metric, interval, probe and what must be said beside the score."""
    metric = get_metric(result["metric"])
    better = "" if metric.higher_is_better else ", lower is better"
    low, high = interval_ends(result["interval"])
    interval = f", 95 % interval {low:.4f} to {high:.4f}" if low == low else ""
    seeds = len(group.results)
    parts = [
        f"{metric.title}{better}{interval if seeds == 1 else f', mean of {seeds} seeds'}",
        f"{result['probe']} probe on {result['embedding']} "
        f"({result['sources'][0]['fingerprint'][:8]})",
        result["protocol"],
        f"run {result['run'][:12]}",
        *group.provenance,
    ]
    return "; ".join(parts)
