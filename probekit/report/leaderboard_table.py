"""Leaderboards as tables for papers: embeddings as rows, tasks as columns, published scores below.

Of each task the best score is bold, and † marks those that the paired test does not tell from it
(see :mod:`probekit.scores.comparison`).
"""

from collections.abc import Sequence

from probekit.report import leaderboard as leaderboard_module
from probekit.report.leaderboard import Leaderboard
from probekit.report.table_format import DAGGER, Cell, Grid, Notes, csv_text
from probekit.scores.groups import RunGroup

_RECORDS = (
    "task",
    "embedding",
    "source",
    "metric",
    "score",
    "low",
    "high",
    "mark",
    "test",
    "provenance",
    "runs",
)


def leaderboard(entries: Sequence[RunGroup], *, intervals: bool = True, digits: int = 3) -> Grid:
    """Return runs of some tasks beside each other.

    Parameters
    ----------
    entries : sequence of Entry
        Of one or several tasks; of runs that differ in their share of the labels only, those on
        most labels are shown.
    intervals : bool
        Whether 95 % intervals are shown.
    digits : int >= 0
        Decimals.

    Returns
    -------
    Grid
        Best first by the first task; published scores of the same metric follow, and what must
        be said beside a score is in notes.
    """
    boards = leaderboard_module.boards(entries)
    notes = Notes()
    ours = _run_rows(boards, notes, intervals, digits)
    theirs = _published_rows(boards, notes, digits)
    several = len({one.task for one in boards}) > 1
    heads = [_head(one, several) for one in boards]
    marks = {row.mark for one in boards for row in one.rows}
    said = []
    if leaderboard_module.BEST in marks:
        said.append(("", "Bold: the best of those computed here."))
    if leaderboard_module.NOT_DISTINGUISHABLE in marks:
        said.append((DAGGER, "not distinguishable from it (paired test, adjusted, 5 % level)"))
    if intervals:
        said.append(("", "Brackets: 95 % intervals."))
    if any(not one.higher for one in boards):
        said.append(("", "↓: lower is better."))
    tasks = ", ".join(dict.fromkeys(one.title for one in boards))
    return Grid(
        caption=f"{tasks}: scores of probes on embeddings",
        columns=("embedding", *heads),
        rows=(*ours, *theirs),
        rules=frozenset({len(ours)} if theirs else ()),
        notes=(*said, *notes.listed()),
        label="tab:" + "-".join(dict.fromkeys(one.task for one in boards)),
    )


def records(entries: Sequence[RunGroup]) -> str:
    """Return the numbers of a leaderboard as CSV, a line a score.

    Parameters
    ----------
    entries : sequence of Entry
        As for :func:`leaderboard`.

    Returns
    -------
    str
        Scores to the last digit, their intervals and tests, provenance and runs.
    """
    rows: list[list[object]] = []
    for one in leaderboard_module.boards(entries):
        for row in one.rows:
            runs = " ".join(result["run"] for result in row.entry.results)
            said = "; ".join(row.provenance)
            rows.append(
                [
                    *(one.task, row.label, "here", one.name, row.score, row.low, row.high),
                    *(row.mark, row.why, said, runs),
                ]
            )
        rows += [
            [
                *(one.task, p["method"], p["where"], one.name, p["score"], None, None),
                *("", "", p.get("differs", ""), ""),
            ]
            for p in one.published
        ]
    return csv_text(_RECORDS, rows)


def _run_rows(
    boards: Sequence[Leaderboard], notes: Notes, intervals: bool, digits: int
) -> list[tuple[Cell, ...]]:
    """Return a row for each label that any board has."""
    cells: dict[str, dict[int, Cell]] = {}
    for place, one in enumerate(boards):
        for row in one.rows:
            untested = [row.why] if row.mark == leaderboard_module.UNTESTED and row.why else []
            marks = notes.marks([*row.provenance, *untested])
            marks = (
                (DAGGER, *marks) if row.mark == leaderboard_module.NOT_DISTINGUISHABLE else marks
            )
            text = f"{row.score:.{digits}f}"
            if intervals and row.low == row.low and row.high == row.high:
                text += f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
            cell = Cell(text, row.mark == leaderboard_module.BEST, marks)
            cells.setdefault(row.label, {})[place] = cell
    return [_line(label, own, len(boards)) for label, own in cells.items()]


def _published_rows(
    boards: Sequence[Leaderboard], notes: Notes, digits: int
) -> list[tuple[Cell, ...]]:
    """Return a row for each published method; what differs is in notes."""
    cells: dict[str, dict[int, Cell]] = {}
    for place, one in enumerate(boards):
        for p in one.published:
            said = [str(p["where"]) + (f"; differs: {p['differs']}" if p.get("differs") else "")]
            cell = Cell(f"{float(p['score']):.{digits}f}", marks=notes.marks(said))
            # one method may have been published twice for a task
            label = f"{p['method']} (published)"
            while place in cells.get(label, {}):
                label += "\N{NO-BREAK SPACE}"
            cells.setdefault(label, {})[place] = cell
    return [_line(label, own, len(boards)) for label, own in cells.items()]


def _line(label: str, cells: dict[int, Cell], count: int) -> tuple[Cell, ...]:
    return (Cell(label), *(cells.get(place, Cell("–")) for place in range(count)))


def _head(one: Leaderboard, several: bool) -> str:
    """Return the head of a column: the metric, and the task where there are several."""
    arrow = "" if one.higher else " ↓"
    return (f"{one.task}, {one.name}" if several else one.name) + arrow
