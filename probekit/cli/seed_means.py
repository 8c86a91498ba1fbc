"""Rows of tables that hold the means over seeds."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probekit.scores.store import Result

LEGEND = "±: standard deviation over seeds"
Score = Callable[["Result"], float | None]


def add_mean_rows(
    results: "Sequence[Result]",
    columns: Mapping[str, Sequence[str]],
    scores: Mapping[str, Score],
) -> tuple[dict[str, list[str]], bool]:
    """Add a row after runs that differ in their seeds only, with mean and standard deviation.

    Parameters
    ----------
    results : sequence of Result
        A row each; the runs of several seeds follow one another.
    columns : mapping of str to sequence of str
        Cells of each column. The mean's row has the number of seeds in ``labels``, all notes in
        ``note``, and else what all of its seeds have, or ``–``.
    scores : mapping of str to callable
        Columns of scores, and the score of a run; None where there is none.

    Returns
    -------
    columns : dict of str to list of str
        With the rows added.
    added : bool
        Whether there are any.
    """
    from probekit.scores.store import group_key

    groups: dict[object, dict[int, int]] = {}
    for row, result in enumerate(results):
        groups.setdefault(group_key(result), {})[result["seed"]] = row
    last = {max(rows.values()): [*rows.values()] for rows in groups.values() if len(rows) > 1}
    table: dict[str, list[str]] = {name: [] for name in columns}
    for row in range(len(results)):
        for name, cells in columns.items():
            table[name].append(cells[row])
            rows = last.get(row)
            if rows is None:
                continue
            if name in scores:
                table[name].append(_format_mean([scores[name](results[k]) for k in rows]))
            elif name == "labels":
                table[name].append(f"{count_labels(results[row])}, {len(rows)} seeds")
            else:
                table[name].append(_common_cell(name, [cells[k] for k in rows]))
    return table, bool(last)


def also_score(result: "Result", name: str) -> float | None:
    """Return a run's score under one of its further metrics; None if it has none."""
    metric = result["also"].get(name)
    return metric["score"] if metric else None


def _format_mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return "–"
    return f"{fmean(known):.3f} ± {stdev(known):.3f}"


def _common_cell(name: str, cells: Sequence[str]) -> str:
    """Return what is in all cells, else ``–``; of notes, all."""
    if name == "note":
        notes = dict.fromkeys(note for cell in cells for note in cell.split("; ") if note != "–")
        return "; ".join(notes) or "–"
    return cells[0] if len(set(cells)) == 1 else "–"


def count_labels(result: "Result") -> str:
    """Return how many training labels a result is of."""
    shots = result.get("shots", 0)
    return f"{shots} a class" if shots else f"{100 * result['fraction']:g} %"
