"""Run groups: stored runs over seeds, found by name."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from probekit.errors import DataError
from probekit.metrics.intervals import interval_ends, missing_interval
from probekit.scores import store
from probekit.scores.staleness import find_stale, split_stale
from probekit.scores.store import Result, group_key, shown_notes
from probekit.utils.text import format_date, join_names

_Run = tuple[Path, Result]
_FINGERPRINT = re.compile(r"@([0-9a-f]+)(?=[:+/]|$)")
_MAX_NAMES = 4  # names in parentheses behind a note


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seeds only.

    Attributes
    ----------
    label : str
        Display label.
    results : tuple of Result
        By seed.
    paths : tuple of pathlib.Path
        Their files.
    """

    label: str
    results: tuple[Result, ...]
    paths: tuple[Path, ...]

    @property
    def score(self) -> float:
        """The mean over seeds."""
        return float(np.mean([result["score"] for result in self.results]))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval; of several seeds the mean of their ends, NaN if one has none."""
        ends = [interval_ends(result["interval"]) for result in self.results]
        low, high = np.mean(ends, axis=0)
        return float(low), float(high)

    @property
    def missing_interval(self) -> str:
        """Why there is no interval; empty where there is one."""
        reasons = [missing_interval(result["interval"]) for result in self.results]
        return next(filter(None, reasons), "")

    @cached_property
    def provenance(self) -> list[str]:
        """Notes that must be shown beside the score, each once."""
        return list(dict.fromkeys(note for notes in shown_notes(self.results) for note in notes))


def load_groups(task: str, reports: str | Path | None = None) -> list[RunGroup]:
    """Return the run groups of a task, in no particular order, each with a label of its own.

    Runs that :func:`current_groups` leaves out are said in a warning.
    """
    groups, left_out = current_groups(store.list_results(reports, task))
    for line in left_out:
        warnings.warn(line, stacklevel=1)
    return groups


def current_groups(runs: Sequence[_Run]) -> tuple[list[RunGroup], list[str]]:
    """Return the groups of the runs that count, and a line on each kind of those that do not.

    Stale runs do not count, nor do older runs of the same embeddings and label with other settings.
    """
    runs, line = split_stale(runs)
    lines = [line] if line else []
    by_label: dict[tuple[Any, ...], list[RunGroup]] = {}
    for group in _group(runs):
        first = group.results[0]
        fingerprints = tuple(source["fingerprint"] for source in first["sources"])
        by_label.setdefault((first["task"], group.label, fingerprints), []).append(group)
    groups = []
    for alike in by_label.values():
        newest, others = _newest(alike)
        groups.append(newest)
        if others:
            lines.append(_newest_note(newest, others))
    return disambiguate_labels(groups), lines


def require_groups(task: str, reports: str | Path | None = None) -> list[RunGroup]:
    """Return the run groups of a task; DataError that says how to make some if there are none."""
    groups = load_groups(task, reports)
    if not groups:
        raise no_results_error(task, reports)
    return groups


def resolve_run(name: str, task: str = "", reports: str | Path | None = None) -> RunGroup:
    """Return the run, or the runs over seeds, that a user names.

    Parameters
    ----------
    name : str
        The first six or more digits of a run id; a label as tables print it; or an embedding,
        ``"vggish"`` or ``"vggish@1a2b3c4d"``, with a probe where it is not the linear one,
        ``"vggish/mlp"``. An embedding means its run without a preset on all labels, where there is
        one. Stale runs (see :mod:`probekit.scores.staleness`) are meant by their digits only, and
        of runs with equal labels the newest, with a warning.
    task : str
        Only of this task.
    reports : str or pathlib.Path, optional
        The reports folder.

    Returns
    -------
    RunGroup
        One run, or several that differ in their seeds.

    Raises
    ------
    DataError
        If there are no results at all (says which command makes them), none of that name, stale
        ones only, or several with different labels (lists them).
    """
    return resolve_runs([name], task, reports)[0]


def resolve_runs(
    names: Sequence[str], task: str = "", reports: str | Path | None = None
) -> list[RunGroup]:
    """Return what each of several names means, see :func:`resolve_run`; results are read once."""
    runs = store.list_results(reports, task)
    if not runs:
        raise no_results_error(task, reports)
    stale = find_stale(runs)
    return [_resolve(name, runs, stale, task, reports) for name in names]


def _resolve(
    name: str,
    runs: Sequence[_Run],
    stale: Mapping[Path, str],
    task: str,
    reports: str | Path | None,
) -> RunGroup:
    """Return the group that a name means among the results of a store."""
    folder = store.reports_root(reports)
    matches = _by_digits(name, runs)
    if not matches:
        current = [run for run in runs if run[0] not in stale]
        matches = match_runs(name, current)
        old = [] if matches else match_runs(name, runs)
        if old:
            raise DataError(
                f"{folder}: {name!r} has stale runs only ({stale[old[0][0]]}); evaluate again, or "
                f"name one by its first digits:\n{_list_runs(old)}"
            )
    groups = _group(matches)
    if len(groups) > 1 and len({(g.results[0]["task"], g.label) for g in groups}) == 1:
        newest, others = _newest(groups)
        warnings.warn(_newest_note(newest, others), stacklevel=1)
        groups = [newest]
    if len(groups) == 1:
        _warn_if_stale(groups[0], stale)
        return groups[0]
    if not matches:
        embeddings = ", ".join(sorted({result["embedding"] for _, result in runs}))
        raise DataError(
            f"{folder}: no run {name!r}{f' of {task}' if task else ''}; results exist for "
            f"{embeddings}"
        )
    raise DataError(
        f"{folder}: {name!r} matches several runs; name one by its first digits:\n"
        f"{_list_runs(matches)}"
    )


def _list_runs(runs: Sequence[_Run]) -> str:
    """Return a line for each run, for a message."""
    return "\n".join(
        f"  {r['run'][:12]}  {r['task']}  {run_label(r)}, seed {r['seed']}  {r['score']:.3f}  "
        f"{r['clips']['used']:,} clips  {format_date(r['created'])}"
        for _, r in runs
    )


def _newest(groups: Sequence[RunGroup]) -> tuple[RunGroup, list[RunGroup]]:
    """Return the newest of groups, and the others."""
    *others, newest = sorted(groups, key=lambda g: max(r["created"] for r in g.results))
    return newest, others


def _newest_note(newest: RunGroup, others: Sequence[RunGroup]) -> str:
    """Return a line on groups with equal labels, of which the newest is meant."""
    names = join_names([other.results[0]["run"][:12] for other in others], _MAX_NAMES)
    first = newest.results[0]
    return (
        f"{newest.label}: the newest run is taken, {first['run'][:12]} of "
        f"{format_date(first['created'])}; others by their first digits ({names})"
    )


def _warn_if_stale(group: RunGroup, stale: Mapping[Path, str]) -> None:
    """Warn that a run named by its digits is stale."""
    for path, result in zip(group.paths, group.results, strict=True):
        if path in stale:
            warnings.warn(
                f"{group.label}: run {result['run'][:12]} of {format_date(result['created'])} is "
                f"stale ({stale[path]})",
                stacklevel=1,
            )


def no_results_error(task: str = "", reports: str | Path | None = None) -> DataError:
    """Return the error that there are no results (of a task), and which command makes them."""
    return DataError(
        f"{store.reports_root(reports)}: no results{f' of {task}' if task else ''} yet; make them "
        f"with: probekit evaluate --task {task or 'TASK'} -e NAME"
    )


def group_runs(runs: Sequence[tuple[Path, Result]]) -> list[RunGroup]:
    """Group the runs of one task over their seeds; no two groups have the same label."""
    return disambiguate_labels(_group(runs))


def disambiguate_labels(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Return groups, those of equal labels with the fingerprint or the run in their labels.

    One embedding with published and with random weights is an example of equal labels.
    """
    for extend in (_with_fingerprint, _with_run):
        extended = [extend(group) for group in groups]
        variants: dict[str, set[str]] = {}
        for group, longer in zip(groups, extended, strict=True):
            variants.setdefault(group.label, set()).add(longer.label)
        # only where the longer labels differ
        groups = [
            longer if len(variants[group.label]) > 1 else group
            for group, longer in zip(groups, extended, strict=True)
        ]
    return list(groups)


def run_label(result: Result) -> str:
    """Return a run's label: the embedding, and probe, preset, share of labels if not the usual."""
    words = [result["embedding"]]
    if result["probe"] != "linear":
        words.append(result["probe"])
    if result["preset"]:
        words.append(result["preset"])
    if "evaluation" in result:
        words.append(f"{result['evaluation']['protocol']} protocol")
    if shots := result.get("shots", 0):
        words.append(f"{shots} labels a class")
    elif result["fraction"] < 1:
        words.append(f"{100 * result['fraction']:g} % of labels")
    return " / ".join(words)


def common_metric(groups: Sequence[RunGroup]) -> str:
    """Return the metric of the groups of a task; DataError if there are several."""
    metrics = sorted({group.results[0]["metric"] for group in groups})
    if len(metrics) > 1:
        raise DataError(
            f"{groups[0].results[0]['task']}: results are of different metrics "
            f"({', '.join(metrics)}): evaluate again, and delete the old ones"
        )
    return metrics[0]


def match_runs(name: str, runs: Sequence[_Run]) -> list[_Run]:
    """Return the runs that a name means; see :func:`resolve_run`. There may be none, or several."""
    return _by_digits(name, runs) or _by_label(name, runs) or _by_embedding(name, runs)


def _by_digits(name: str, runs: Sequence[_Run]) -> list[_Run]:
    if len(name) < 6 or set(name) - set("0123456789abcdef"):
        return []
    return [(path, result) for path, result in runs if result["run"].startswith(name)]


def _by_label(name: str, runs: Sequence[_Run]) -> list[_Run]:
    """Return the runs with this label in tables; one word alone is an embedding."""
    return [(path, result) for path, result in runs if " / " in name and run_label(result) == name]


def _by_embedding(name: str, runs: Sequence[_Run]) -> list[_Run]:
    """Return the runs of an embedding; the plain ones, if there are any."""
    text, digits = _FINGERPRINT.sub("", name), _FINGERPRINT.findall(name)
    matches = [
        (path, result)
        for path, result in runs
        if text in (result["embedding"], f"{result['embedding']}/{result['probe']}")
        and all(any(s["fingerprint"].startswith(d) for s in result["sources"]) for d in digits)
    ]
    for is_plain in (
        lambda result: result["probe"] == "linear" or text != result["embedding"],
        lambda result: not result["preset"],
        lambda result: result["fraction"] == 1,
    ):
        matches = [(path, result) for path, result in matches if is_plain(result)] or matches
    return matches


def _group(runs: Sequence[_Run]) -> list[RunGroup]:
    """Group runs over their seeds.

    Runs of equal keys and seeds are of other clips (more were extracted in between): each of them
    is a group of one.
    """
    by_key: dict[tuple[Any, ...], list[_Run]] = {}
    for path, result in runs:
        by_key.setdefault(group_key(result), []).append((path, result))
    groups = []
    for similar in by_key.values():
        distinct = len({result["seed"] for _, result in similar}) == len(similar)
        for members in [similar] if distinct else [[run] for run in similar]:
            members = sorted(members, key=lambda run: run[1]["seed"])
            paths, results = zip(*members, strict=True)
            groups.append(RunGroup(run_label(results[0]), results, paths))
    return groups


def _with_fingerprint(group: RunGroup) -> RunGroup:
    result = group.results[0]
    if len(result["sources"]) != 1:
        return group
    name, colon, rest = result["embedding"].partition(":")
    embedding = f"{name}@{result['sources'][0]['fingerprint'][:8]}{colon}{rest}"
    return replace(group, label=embedding + group.label.removeprefix(result["embedding"]))


def _with_run(group: RunGroup) -> RunGroup:
    return replace(group, label=f"{group.label} (run {group.results[0]['run'][:8]})")


def collect_provenance(groups: Sequence[RunGroup]) -> tuple[str, ...]:
    """Return what must be shown beside the runs of an analysis; see :func:`merge_provenance`."""
    return merge_provenance({group.label: group.provenance for group in groups})


def merge_provenance(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Join the provenance of several labels, each note once.

    A note that does not hold for all is followed by the labels that it holds for, at most four.
    """
    merged = []
    for note in dict.fromkeys(note for listed in notes.values() for note in listed):
        labels = [label for label, listed in notes.items() if note in listed]
        if len(labels) == len(notes):
            merged.append(note)
            continue
        merged.append(f"{note} ({join_names(labels, _MAX_NAMES)})")
    return tuple(merged)


def provenance_dict(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Return task, runs and provenance for the JSON beside a figure."""
    return {
        "task": groups[0].results[0]["task"],
        "runs": [
            {
                "label": group.label,
                "run": result["run"],
                "seed": result["seed"],
                "fingerprints": [source["fingerprint"] for source in result["sources"]],
                "manifest": result["manifest"],
            }
            for group in groups
            for result in group.results
        ],
        "provenance": list(collect_provenance(groups)),
    }
