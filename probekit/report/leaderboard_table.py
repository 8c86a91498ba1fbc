"""Leaderboards as tables for papers: embeddings as rows, tasks as columns, published scores below.

The best score of each task is bold, and † marks those that the paired test does not distinguish
from it (see :mod:`probekit.scores.comparison`).
"""

from collections.abc import Sequence

from probekit.report.leaderboard import (
    BEST,
    NOT_DISTINGUISHABLE,
    UNTESTED,
    Leaderboard,
    LeaderboardRow,
    build_leaderboards,
)
from probekit.report.table_format import DAGGER, Cell, Footnotes, TextTable, csv_text
from probekit.scores.groups import RunGroup

_CSV_COLUMNS = (
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


def build_table(
    groups: Sequence[RunGroup], *, intervals: bool = True, digits: int = 3
) -> TextTable:
    """Return runs of one or several tasks as a table, best first by the first task.

    Parameters
    ----------
    groups : sequence of RunGroup
        Of runs that differ only in their share of the labels, those on most labels are shown.
    intervals : bool
        Whether 95 % intervals are shown.
    digits : int >= 0
        Decimals.

    Returns
    -------
    Table
        Published scores of the same metric follow, and what must be shown beside a score is in
        footnotes.
    """
    boards = build_leaderboards(groups)
    footnotes = Footnotes()
    run_rows = _run_rows(boards, footnotes, intervals, digits)
    published_rows = _published_rows(boards, footnotes, digits)
    several_tasks = len({board.task for board in boards}) > 1
    marks = {row.mark for board in boards for row in board.rows}
    legend = []
    if BEST in marks:
        legend.append(("", "Bold: the best of those computed here."))
    if NOT_DISTINGUISHABLE in marks:
        legend.append((DAGGER, "not distinguishable from it (paired test, adjusted, 5 % level)"))
    if intervals:
        legend.append(("", "Brackets: 95 % intervals."))
    if any(not board.higher_is_better for board in boards):
        legend.append(("", "↓: lower is better."))
    titles = ", ".join(dict.fromkeys(board.title for board in boards))
    return TextTable(
        caption=f"{titles}: scores of probes on embeddings",
        columns=("embedding", *(_column_head(board, several_tasks) for board in boards)),
        rows=(*run_rows, *published_rows),
        rules=frozenset({len(run_rows)} if published_rows else ()),
        notes=(*legend, *footnotes.items()),
        label="tab:" + "-".join(dict.fromkeys(board.task for board in boards)),
    )


def records_csv(groups: Sequence[RunGroup]) -> str:
    """Return a leaderboard as CSV, a line a score.

    Scores have all digits; intervals, tests, provenance and runs stand beside them.
    """
    lines: list[list[object]] = []
    for board in build_leaderboards(groups):
        for row in board.rows:
            runs = " ".join(result["run"] for result in row.group.results)
            score = (row.score, row.low, row.high, row.mark, row.explanation)
            provenance = "; ".join(row.provenance)
            lines.append(
                [board.task, row.label, "here", board.metric_name, *score, provenance, runs]
            )
        for p in board.published:
            published = (p["score"], None, None, "", "", p.get("differs", ""), "")
            lines.append([board.task, p["method"], p["where"], board.metric_name, *published])
    return csv_text(_CSV_COLUMNS, lines)


def _run_rows(
    boards: Sequence[Leaderboard], footnotes: Footnotes, intervals: bool, digits: int
) -> list[tuple[Cell, ...]]:
    """Return a row for each label that any leaderboard has."""
    cells: dict[str, dict[int, Cell]] = {}
    for k, board in enumerate(boards):
        for row in board.rows:
            cells.setdefault(row.label, {})[k] = _score_cell(row, footnotes, intervals, digits)
    return [_table_row(label, by_board, len(boards)) for label, by_board in cells.items()]


def _score_cell(row: LeaderboardRow, footnotes: Footnotes, intervals: bool, digits: int) -> Cell:
    untested = [row.explanation] if row.mark == UNTESTED and row.explanation else []
    marks = footnotes.marks([*row.provenance, *untested])
    if row.mark == NOT_DISTINGUISHABLE:
        marks = (DAGGER, *marks)
    text = f"{row.score:.{digits}f}"
    if intervals and row.low == row.low and row.high == row.high:
        text += f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return Cell(text, row.mark == BEST, marks)


def _published_rows(
    boards: Sequence[Leaderboard], footnotes: Footnotes, digits: int
) -> list[tuple[Cell, ...]]:
    """Return a row for each published method; source and differences are in footnotes."""
    cells: dict[str, dict[int, Cell]] = {}
    for k, board in enumerate(boards):
        for p in board.published:
            note = str(p["where"]) + (f"; differs: {p['differs']}" if p.get("differs") else "")
            cell = Cell(f"{float(p['score']):.{digits}f}", marks=footnotes.marks([note]))
            # one method may have been published twice for a task
            label = f"{p['method']} (published)"
            while k in cells.get(label, {}):
                label += "\N{NO-BREAK SPACE}"
            cells.setdefault(label, {})[k] = cell
    return [_table_row(label, by_board, len(boards)) for label, by_board in cells.items()]


def _table_row(label: str, cells: dict[int, Cell], boards: int) -> tuple[Cell, ...]:
    return (Cell(label), *(cells.get(k, Cell("–")) for k in range(boards)))


def _column_head(board: Leaderboard, several_tasks: bool) -> str:
    arrow = "" if board.higher_is_better else " ↓"
    return (f"{board.task}, {board.metric_name}" if several_tasks else board.metric_name) + arrow
