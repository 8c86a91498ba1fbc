"""Kept runs, as analyses need them: found by name, and what must be said beside several."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from probekit.errors import DataError
from probekit.scores import store
from probekit.scores.store import Result

Kept = tuple[Path, Result]
_FINGERPRINT = re.compile(r"@([0-9a-f]+)(?=[:+/]|$)")


@dataclass(frozen=True)
class RunGroup:
    """Runs that are compared as one: the same but for their seeds.

    Attributes
    ----------
    label : str
        What to call them.
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


def resolve(name: str, task: str = "", reports: str | Path | None = None) -> RunGroup:
    """Return the runs that a user names.

    Parameters
    ----------
    name : str
        The first six or more digits of a run; a label as tables print it; or an embedding,
        ``"vggish"`` or ``"vggish@1a2b3c4d"``, with a probe where it is not the linear one,
        ``"vggish/mlp"``. An embedding means its run without preset on all labels, where there is
        one.
    task : str
        Only of this task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    Entry
        One run, or several that differ in their seeds.

    Raises
    ------
    DataError
        If there is no result at all (says which command makes them), none of that name, or several
        that differ in more than the seed; lists them.
    """
    every = store.files(reports, task)
    if not every:
        raise no_results_error(task, reports)
    own = _by_digits(name, every) or _by_label(name, every) or _by_embedding(name, every)
    gathered = _group_runs(own)
    if len(gathered) == 1:
        return gathered[0]
    where = store.root(reports)
    if not own:
        there = ", ".join(sorted({r["embedding"] for _, r in every}))
        raise DataError(
            f"{where}: no run {name!r}{f' of {task}' if task else ''}; there is {there}"
        )
    listed = "\n".join(
        f"  {r['run'][:12]}  {r['task']}  {label(r)}, seed {r['seed']}  {r['score']:.3f}  "
        f"{r['clips']['used']:,} clips  {r['created']}"
        for _, r in own
    )
    raise DataError(f"{where}: several runs are {name!r}; say which by its first digits:\n{listed}")


def no_results_error(task: str = "", reports: str | Path | None = None) -> DataError:
    """Say that there are no results, and which command makes them.

    Parameters
    ----------
    task : str
        The task that was asked for; empty for any.
    reports : str or pathlib.Path, optional
        Where results would be.

    Returns
    -------
    DataError
        To be raised.
    """
    of = f" of {task}" if task else ""
    return DataError(
        f"{store.root(reports)}: no results{of} yet; make them with: probekit evaluate --task "
        f"{task or 'TASK'} -e NAME"
    )


def entries(task: str, reports: str | Path | None = None) -> list[RunGroup]:
    """Return all runs of a task, those that differ in their seeds alone as one.

    Parameters
    ----------
    task : str
        The task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    list of Entry
        In no particular order, no two of one label.
    """
    return filter_groups(store.files(reports, task))


def filter_groups(every: Sequence[Kept]) -> list[RunGroup]:
    """Return runs as entries: those that differ in their seeds alone as one.

    Parameters
    ----------
    every : sequence of (pathlib.Path, Result)
        Of one task, as :func:`probekit.scores.store.files` has them.

    Returns
    -------
    list of Entry
        In no particular order, no two of one label.
    """
    return disambiguate_labels(_group_runs(every))


def disambiguate_labels(found: Sequence[RunGroup]) -> list[RunGroup]:
    """Give entries of the same label different ones.

    Parameters
    ----------
    found : sequence of Entry
        For example one embedding with published and with random weights.

    Returns
    -------
    list of Entry
        In the same order; a label that occurred twice now names the fingerprint, or the run.
    """
    for more in (_with_fingerprint, _with_run):
        own, new = [one.label for one in found], [more(one) for one in found]
        # only where it tells them apart
        several = {name: len({b.label for a, b in zip(found, new, strict=True) if a.label == name})
                   for name in own}  # fmt: skip
        found = [b if several[a.label] > 1 else a for a, b in zip(found, new, strict=True)]
    return list(found)


def label(result: Result) -> str:
    """Return what to call a run, but for its seed.

    Parameters
    ----------
    result : Result
        Of the run.

    Returns
    -------
    str
        The embedding, and the probe, preset and share of the labels where they are not the usual.
    """
    words = [result["embedding"]]
    if result["probe"] != "linear":
        words.append(result["probe"])
    if result["preset"]:
        words.append(result["preset"])
    if result["fraction"] < 1:
        words.append(f"{100 * result['fraction']:g} % of labels")
    return " / ".join(words)


def _by_digits(name: str, every: list[Kept]) -> list[Kept]:
    if len(name) < 6 or set(name) - set("0123456789abcdef"):
        return []
    return [(p, r) for p, r in every if r["run"].startswith(name)]


def _by_label(name: str, every: list[Kept]) -> list[Kept]:
    """Return the runs that tables call so; one word alone is an embedding."""
    return [(p, r) for p, r in every if " / " in name and label(r) == name]


def _by_embedding(name: str, every: list[Kept]) -> list[Kept]:
    """Return the runs of an embedding; the plain ones, if there are any."""
    text, given = _FINGERPRINT.sub("", name), _FINGERPRINT.findall(name)
    own = [
        (p, r)
        for p, r in every
        if text in (r["embedding"], f"{r['embedding']}/{r['probe']}")
        and all(any(s["fingerprint"].startswith(g) for s in r["sources"]) for g in given)
    ]
    for plain in (
        lambda r: r["probe"] == "linear" or text != r["embedding"],
        lambda r: not r["preset"],
        lambda r: r["fraction"] == 1,
    ):
        own = [(p, r) for p, r in own if plain(r)] or own
    return own


def _group_runs(own: Sequence[Kept]) -> list[RunGroup]:
    """Return one entry for each kind of run.

    Runs of the same kind and the same seed are of other clips (more were extracted in between):
    each of these stands alone.
    """
    kinds: dict[tuple[Any, ...], list[Kept]] = {}
    for path, result in own:
        kinds.setdefault(group_key(result), []).append((path, result))
    found = []
    for same in kinds.values():
        once = len({r["seed"] for _, r in same}) == len(same)
        for some in [same] if once else [[one] for one in same]:
            some = sorted(some, key=lambda pair: pair[1]["seed"])
            found.append(
                RunGroup(label(some[0][1]), tuple(r for _, r in some), tuple(p for p, _ in some))
            )
    return found


def group_key(result: Result) -> tuple[Any, ...]:
    """Return what runs of one entry have in common: all but the seed and when they were made.

    Parameters
    ----------
    result : Result
        Of one of the runs.

    Returns
    -------
    tuple
        Equal for two runs of one entry.
    """
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
    )


def _with_fingerprint(one: RunGroup) -> RunGroup:
    own = one.results[0]
    if len(own["sources"]) != 1:
        return one
    name, colon, rest = own["embedding"].partition(":")
    called = f"{name}@{own['sources'][0]['fingerprint'][:8]}{colon}{rest}"
    return replace(one, label=called + one.label.removeprefix(own["embedding"]))


def _with_run(one: RunGroup) -> RunGroup:
    return replace(one, label=f"{one.label} (run {one.results[0]['run'][:8]})")


_NAMED = 4  # the most runs that are named beside one text


def runs_of_task(task: str, reports: str | Path | None = None) -> list[RunGroup]:
    """Return all runs of a task, those that differ in their seeds alone as one.

    Parameters
    ----------
    task : str
        The task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    list of Entry
        At least one.

    Raises
    ------
    DataError
        If there is none; says which command makes them.
    """
    found = entries(task, reports)
    if not found:
        raise no_results_error(task, reports)
    return found


def resolve_run(name: str, task: str = "", reports: str | Path | None = None) -> RunGroup:
    """Return the run that a user names.

    Parameters
    ----------
    name : str
        As :func:`probekit.scores.groups.resolve` takes it.
    task : str
        Only of this task.
    reports : str or pathlib.Path, optional
        Where results are.

    Returns
    -------
    Entry
        One run, or several that differ in their seeds.

    Raises
    ------
    DataError
        As there.
    """
    return resolve(name, task, reports)


def provenance(found: Sequence[RunGroup]) -> tuple[str, ...]:
    """Return what must be shown beside some runs.

    Parameters
    ----------
    found : sequence of Entry
        Of one analysis.

    Returns
    -------
    tuple of str
        See :func:`merge_provenance`.
    """
    return merge_provenance(
        {one.label: [text for r in one.results for text in r["provenance"]] for one in found}
    )


def merge_provenance(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Join what must be shown of several things.

    Parameters
    ----------
    said : mapping of str to sequence of str
        What a thing is called, to its provenance.

    Returns
    -------
    tuple of str
        Each text once; what does not hold for all names the things that it holds for, the first
        four of many.
    """
    texts = dict.fromkeys(text for own in said.values() for text in own)
    found = []
    for text in texts:
        owners = [name for name, own in said.items() if text in own]
        if len(owners) == len(said):
            found.append(text)
            continue
        more = len(owners) - _NAMED
        listed = ", ".join(owners[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        found.append(f"{text} ({listed})")
    return tuple(found)


def provenance_dict(found: Sequence[RunGroup]) -> dict[str, Any]:
    """Return what names some runs.

    Parameters
    ----------
    found : sequence of Entry
        Of one analysis.

    Returns
    -------
    dict
        For the JSON beside a figure: runs with their labels, seeds and fingerprints.
    """
    return {
        "task": found[0].results[0]["task"],
        "runs": [
            {
                "label": one.label,
                "run": r["run"],
                "seed": r["seed"],
                "fingerprints": [source["fingerprint"] for source in r["sources"]],
                "manifest": r["manifest"],
            }
            for one in found
            for r in one.results
        ],
        "provenance": list(provenance(found)),
    }
