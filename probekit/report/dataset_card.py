"""README of published results: scores, protocol, fingerprints, licenses, files."""

from collections.abc import Sequence

import yaml

from probekit.metrics.metrics import get_metric
from probekit.report import leaderboard_table, table_format
from probekit.scores import store
from probekit.scores.groups import RunGroup
from probekit.utils.text import dataset_name

NOT_STATED = "not stated"


def render(
    groups: Sequence[RunGroup],
    licenses: dict[str, dict[str, str]],
    tasks: Sequence[str],
    model_files: Sequence[str],
) -> str:
    """Return the README in Markdown, with the front matter of a dataset repository.

    Parameters
    ----------
    groups : sequence of RunGroup
        What is published.
    licenses : dict
        ``tasks`` and ``extractors``: names to licenses; empty where none is stated.
    tasks : sequence of str
        Tasks, each with a file of predictions.
    model_files : sequence of str
        Files for model repositories.
    """
    configs = [{"config_name": "results", "data_files": "results.parquet", "default": True}]
    configs += [
        {
            "config_name": f"predictions-{dataset_name(task)}",
            "data_files": f"predictions/{dataset_name(task)}.parquet",
        }
        for task in tasks
    ]
    front = {
        "pretty_name": "Scores of probes on audio embeddings",
        "tags": ["audio", "embeddings", "evaluation", "probing", "probekit"],
        "configs": configs,
    }
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        "# Scores of probes on audio embeddings",
        "Each score is that of a probe fitted to frozen embeddings, with a 95 % interval, and "
        "follows from the predictions in this folder. Audio, embeddings and weights are not part "
        "of it.",
        *(
            _task_section(task, [g for g in groups if g.results[0]["task"] == task])
            for task in tasks
        ),
        _licence_section(licenses),
        _fingerprint_section(groups),
        _file_section(model_files),
    ]
    return "\n\n".join(sections) + "\n"


def _task_section(task: str, groups: Sequence[RunGroup]) -> str:
    first = groups[0].results[0]
    protocols = dict.fromkeys(r["protocol"] for group in groups for r in group.results)
    table = table_format.render(leaderboard_table.build_table(groups), "markdown")
    lines = [
        f"## {task}",
        *([first["title"]] if first["title"] != task else []),
        f"Protocol: {'; '.join(protocols)}. Metric: {get_metric(first['metric']).title}. "
        f"Classes: {len(first['classes']):,}. Clip table: `{first['manifest']}`.",
        table.partition("\n\n")[2].strip() or table.strip(),
    ]
    return "\n\n".join(lines)


def _licence_section(licenses: dict[str, dict[str, str]]) -> str:
    rows = [("audio of", name, text) for name, text in sorted(licenses["tasks"].items())]
    rows += [("weights of", name, text) for name, text in sorted(licenses["extractors"].items())]
    lines = [f"| {what} {_cell(name)} | {_cell(text or NOT_STATED)} |" for what, name, text in rows]
    return "\n".join(
        [
            "## Licenses",
            "",
            "As the cards of probekit state them. This repository has none yet: choose one before "
            "you upload it.",
            "",
            "| | licence |",
            "| --- | --- |",
            *lines,
        ]
    )


def _fingerprint_section(groups: Sequence[RunGroup]) -> str:
    sources = {
        (s["extractor"], s["stream"], "+".join(s["pool"]), s["dim"], s["fingerprint"])
        for group in groups
        for result in group.results
        for s in result["sources"]
    }
    lines = [
        f"| {_cell(name)} | {_cell(stream)} | {pool or '–'} | {dim:,} | `{fingerprint}` |"
        for name, stream, pool, dim, fingerprint in sorted(sources)
    ]
    return "\n".join(
        [
            "## Fingerprints",
            "",
            "SHA-256 of everything that determines an embedding's values: extractor, version of "
            "its card, parameters, weights, sample rate, resampler, downmix and padding, "
            "precision.",
            "",
            "| extractor | stream | pooling | dimensions | fingerprint |",
            "| --- | --- | --- | ---: | --- |",
            *lines,
        ]
    )


def _file_section(model_files: Sequence[str]) -> str:
    schema = f"result-{store.FORMAT}.schema.json"
    lines = [
        "## Files",
        "",
        "- `results.parquet`: a row a run: score, interval and its method, scores of the folds, "
        "notes, licenses, fingerprints.",
        "- `predictions/<task>.parquet`: a row a run and test clip: `clip_id`, `fold`, `group`, "
        "`piece`, label (`labels` and `unknown` ones, or `target` numbers), the predicted class, "
        "and `scores` of all classes in the order of `classes` in `results.parquet`: "
        "probabilities, logits or numbers, as `probabilities` and `target` say there.",
        f"- `results/<task>/*.json`: the results in full; `{schema}` is their JSON schema.",
    ]
    if model_files:
        lines.append(
            f"- `{model_files[0].partition('/')[0]}/<extractor>/.eval_results/*.yaml`: for the "
            "model repositories of the extractors; not read from here."
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
