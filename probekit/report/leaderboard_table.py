"""Leaderboards as tables for papers: embeddings as rows, tasks as columns, published scores below.

The best score of each task is bold, and † marks those that the paired test does not distinguish
from it (see :mod:`probekit.scores.comparison`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from probekit.errors import ProbekitError
from probekit.metrics.metrics import NOT_SHARES
from probekit.report.leaderboard import (
    BEST,
    NOT_DISTINGUISHABLE,
    UNTESTED,
    Leaderboard,
    LeaderboardRow,
    build_leaderboards,
    interval_methods,
)
from probekit.report.table_format import DAGGER, Cell, Footnotes, TextTable, csv_text
from probekit.scores.groups import RunGroup
from probekit.utils.suggest import unknown_name_error

_CSV_COLUMNS = (
    "task",
    "embedding",
    "source",
    "metric",
    "score",
    "low",
    "high",
    "interval",
    "mark",
    "test",
    "provenance",
    "runs",
    "sd",
    "seeds",
)


@dataclass(frozen=True)
class ScoreFormat:
    """How scores are written.

    Attributes
    ----------
    intervals : bool
        Whether 95 % intervals follow in brackets.
    digits : int >= 0, optional
        Decimals; by default 3, and 1 of scores in percent.
    percent : bool
        Whether shares (accuracy, F1, areas under curves) are written in percent; losses, errors,
        R² and d′ never are.
    """

    intervals: bool = True
    digits: int | None = None
    percent: bool = False

    def in_percent(self, metric: str) -> bool:
        """Return whether scores of a metric are written in percent."""
        return self.percent and metric not in NOT_SHARES

    def number(self, value: float, metric: str) -> str:
        """Return a score as text."""
        share = self.in_percent(metric)
        digits = (1 if share else 3) if self.digits is None else self.digits
        return f"{100 * value if share else value:.{digits}f}"

    def score(self, row: LeaderboardRow, metric: str) -> str:
        """Return a row's score: with its standard deviation if over seeds, and its interval."""
        text = self.number(row.score, metric)
        if row.spread is not None:
            text += f" ± {self.number(row.spread, metric)}"
        if self.intervals and _is_finite(row.low) and _is_finite(row.high):
            ends = ", ".join(self.number(end, metric) for end in (row.low, row.high))
            text += f" [{ends}]"
        return text


def build_table(
    groups: Sequence[RunGroup],
    *,
    intervals: bool = True,
    digits: int | None = None,
    percent: bool = False,
    rename: Sequence[str] = (),
) -> TextTable:
    """Return runs of one or several tasks as a table, best first by the first task.

    Parameters
    ----------
    groups : sequence of RunGroup
        Of runs that differ only in their share of the labels, those on most labels are shown; of
        those that differ in their seeds, mean and standard deviation.
    intervals : bool
        Whether 95 % intervals are shown.
    digits : int >= 0, optional
        Decimals; by default 3, and 1 in percent.
    percent : bool
        Whether shares are in percent; see :class:`ScoreFormat`.
    rename : sequence of str
        ``"NAME=TEXT"``: what stands in the row called NAME otherwise.

    Returns
    -------
    Table
        Published scores of the same metric follow, and what must be shown beside a score is in
        footnotes.

    Raises
    ------
    ProbekitError
        If no row has a name that is to be replaced, or two rows would have one name.
    """
    boards = build_leaderboards(groups)
    style = ScoreFormat(intervals, digits, percent)
    footnotes = Footnotes()
    run_rows = _run_rows(boards, footnotes, style)
    rows = [*run_rows, *_published_rows(boards, footnotes, style)]
    names = _parse_names(rename, [row[0].text for row in rows])
    titles = ", ".join(dict.fromkeys(board.title for board in boards))
    return TextTable(
        caption=f"{titles}: scores of probes on embeddings",
        columns=("embedding", *_column_heads(boards, style)),
        rows=tuple((Cell(names[row[0].text]), *row[1:]) for row in rows),
        rules=frozenset({len(run_rows)} if len(run_rows) < len(rows) else ()),
        notes=(*_legend(boards, style), *footnotes.items()),
        label="tab:" + "-".join(dict.fromkeys(board.task for board in boards)),
    )


def records_csv(groups: Sequence[RunGroup], rename: Sequence[str] = ()) -> str:
    """Return a leaderboard as CSV, a line a score.

    Scores have all digits; intervals, tests, provenance and runs stand beside them, and the
    standard deviation over seeds. ``rename`` is as for :func:`build_table`.
    """
    boards = build_leaderboards(groups)
    labels = [row.label for board in boards for row in board.rows]
    labels += [f"{p['method']} (published)" for board in boards for p in board.published]
    names = _parse_names(rename, labels)
    lines: list[list[object]] = []
    for board in boards:
        for row in board.rows:
            runs = " ".join(result["run"] for result in row.group.results)
            ends = (end if _is_finite(end) else None for end in (row.low, row.high))
            method = row.group.missing_interval or row.first_run["interval"]["method"]
            score = (row.score, *ends, method, row.mark, row.explanation)
            provenance = "; ".join(row.provenance)
            seeds = (row.spread, len(row.group.results))
            source = (board.task, names[row.label], "here", board.metric_name)
            lines.append([*source, *score, provenance, runs, *seeds])
        for p in board.published:
            label = f"{p['method']} (published)"
            name = names[label] if names[label] != label else p["method"]
            published = (p["score"], None, None, "", "", "", p.get("differs", ""), "", None, "")
            lines.append([board.task, name, p["where"], board.metric_name, *published])
    return csv_text(_CSV_COLUMNS, lines)


def _parse_names(rename: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Return the name of each row, from texts such as ``"vggish=VGGish"``; names may hold ``=``."""
    names = {label: label for label in labels}
    for text in rename:
        matches = [label for label in names if text.startswith(f"{label}=")]
        if not matches:
            label = text.rpartition("=")[0] or text
            raise unknown_name_error(
                "row", label, names, "--rename takes NAME=TEXT, NAME as the table prints it."
            )
        label = max(matches, key=len)
        names[label] = text.removeprefix(f"{label}=").strip()
        if not names[label]:
            raise ProbekitError(f"--rename {text}: a row must have a name")
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        raise ProbekitError(f"--rename: two rows would be called {repeated[0]!r}")
    return names


def _legend(boards: Sequence[Leaderboard], style: ScoreFormat) -> list[tuple[str, str]]:
    """Return what signs in the table mean, each a mark (or nothing) and a text."""
    rows = [row for board in boards for row in board.rows]
    marks = {row.mark for row in rows}
    legend = []
    if BEST in marks:
        legend.append(("", "Bold: the best of those computed here."))
    if NOT_DISTINGUISHABLE in marks:
        text = "tied for first: not distinguishable from it (paired test, adjusted, 5 % level)"
        legend.append((DAGGER, text))
    counts = sorted({len(row.group.results) for row in rows if row.spread is not None})
    if counts:
        seeds = " or ".join(map(str, counts)) if len(counts) < 3 else f"{counts[0]} to {counts[-1]}"
        legend.append(("", f"±: standard deviation over {seeds} seeds."))
    if style.intervals:
        legend.append(("", f"Brackets: 95 % intervals ({interval_methods(boards)})."))
    if any(not board.higher_is_better for board in boards):
        legend.append(("", "↓: lower is better."))
    return legend


def _run_rows(
    boards: Sequence[Leaderboard], footnotes: Footnotes, style: ScoreFormat
) -> list[tuple[Cell, ...]]:
    """Return a row for each label that any leaderboard has."""
    cells: dict[str, dict[int, Cell]] = {}
    for k, board in enumerate(boards):
        for row in board.rows:
            cell = _score_cell(row, footnotes, style, board.metric_name)
            cells.setdefault(row.label, {})[k] = cell
    return [_table_row(label, by_board, len(boards)) for label, by_board in cells.items()]


def _score_cell(row: LeaderboardRow, footnotes: Footnotes, style: ScoreFormat, metric: str) -> Cell:
    untested = [row.explanation] if row.mark == UNTESTED and row.explanation else []
    missing = row.group.missing_interval if style.intervals else ""
    without = [f"no interval: {missing}"] if missing else []
    marks = footnotes.marks([*row.provenance, *without, *untested])
    if row.mark == NOT_DISTINGUISHABLE:
        marks = (DAGGER, *marks)
    return Cell(style.score(row, metric), row.mark == BEST, marks)


def _published_rows(
    boards: Sequence[Leaderboard], footnotes: Footnotes, style: ScoreFormat
) -> list[tuple[Cell, ...]]:
    """Return a row for each published method; source and differences are in footnotes."""
    cells: dict[str, dict[int, Cell]] = {}
    for k, board in enumerate(boards):
        for p in board.published:
            note = str(p["where"]) + (f"; differs: {p['differs']}" if p.get("differs") else "")
            score = style.number(float(p["score"]), board.metric_name)
            cell = Cell(score, marks=footnotes.marks([note]))
            # one method may have been published twice for a task
            label = f"{p['method']} (published)"
            while k in cells.get(label, {}):
                label += "\N{NO-BREAK SPACE}"
            cells.setdefault(label, {})[k] = cell
    return [_table_row(label, by_board, len(boards)) for label, by_board in cells.items()]


def _table_row(label: str, cells: dict[int, Cell], boards: int) -> tuple[Cell, ...]:
    return (Cell(label), *(cells.get(k, Cell("–")) for k in range(boards)))


def _column_heads(boards: Sequence[Leaderboard], style: ScoreFormat) -> list[str]:
    """Return the metric of each leaderboard, with the task if there are several."""
    several_tasks = len({board.task for board in boards}) > 1
    heads = []
    for board in boards:
        unit = " (%)" if style.in_percent(board.metric_name) else ""
        arrow = "" if board.higher_is_better else " ↓"
        task = f"{board.task}, " if several_tasks else ""
        heads.append(f"{task}{board.metric_name}{unit}{arrow}")
    return heads


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
