"""Kept runs, as analyses need them: found by name, and what must be said beside several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probekit.probes import entry
from probekit.probes.entry import Entry

_NAMED = 4  # the most runs that are named beside one text


def of_task(task: str, reports: str | Path | None = None) -> list[Entry]:
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
    found = entry.entries(task, reports)
    if not found:
        raise entry.nothing(task, reports)
    return found


def named(name: str, task: str = "", reports: str | Path | None = None) -> Entry:
    """Return the run that a user names.

    Parameters
    ----------
    name : str
        As :func:`probekit.probes.entry.find` takes it.
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
    return entry.find(name, task, reports)


def provenance(found: Sequence[Entry]) -> tuple[str, ...]:
    """Return what must be shown beside some runs.

    Parameters
    ----------
    found : sequence of Entry
        Of one analysis.

    Returns
    -------
    tuple of str
        See :func:`together`.
    """
    return together(
        {one.label: [text for r in one.results for text in r["provenance"]] for one in found}
    )


def together(said: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
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


def facts(found: Sequence[Entry]) -> dict[str, Any]:
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
