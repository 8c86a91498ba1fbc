"""Ours beside the paper's: tables and lists of a reproduction, and the files they go to."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probekit.cards.paper import Cell as PaperCell
from probekit.cards.paper import Table
from probekit.report import table_format
from probekit.report.table_format import Cell, Footnotes, TextTable
from probekit.reproduce.reproduction import (
    COMPUTED,
    FAILED,
    MISSING,
    PENDING,
    PRIOR,
    ReproducedFigure,
    Reproduction,
    Score,
)
from probekit.utils import atomic

STAND_IN = "stand-in data, random weights"
_WARNING = f"{STAND_IN}: numbers from here say nothing about the paper's"
_FIGURE = {"where", "kind", "task", "embedding", "differs"}
_ENDLESS = 1e9  # scores beyond are written short: r2 of a few clips has no lower end
_COLUMNS = (
    "row",
    "column",
    "metric",
    "paper",
    "here",
    "95 % interval",
    "difference",
    "in interval",
)


def comparison_table(found: Reproduction, table: Table, scores: Sequence[Score]) -> TextTable:
    """Return a table of a paper, a line for each of its scores.

    Parameters
    ----------
    found : Reproduction
        Whose table it is.
    table : Table
        As the card has it.
    scores : sequence of Score
        Its scores.

    Returns
    -------
    TextTable
        What differs and what must be shown is in notes.
    """
    notes = Footnotes()
    digits = max((_decimals(v) for s in scores if (v := s.cell.value) is not None), default=3)
    rows, rules = [], set()
    for number, score in enumerate(scores):
        first = number == 0 or scores[number - 1].cell.row != score.cell.row
        if first and number and len(table.columns) > 1:
            rules.add(number)
        rows.append(_line(score, first, digits, notes))
    said = [("", text) for text in table.notes]
    if any(score.status in (MISSING, FAILED) for score in scores):
        said.append(("", f"missing, failed: {found.paper}.md says why, and what to get."))
    if any(score.within_interval is not None for score in scores):
        said.append(("", "In interval: whether the paper's score lies in our 95 % interval."))
    if any(score.cell.value is None for score in scores):
        said.append(("", f"Without a number in the column paper: {found.paper} prints none."))
    warning = f" ({_WARNING})" if found.rehearsed else ""
    return TextTable(
        caption=f"{found.paper}, {table.where}: {table.title}. Published and here{warning}.",
        columns=_COLUMNS,
        rows=tuple(rows),
        rules=frozenset(rules),
        notes=(*said, *notes.items()),
        label=f"tab:{found.paper}-{table.name}",
    )


def _line(score: Score, first: bool, digits: int, notes: Footnotes) -> tuple[Cell, ...]:
    cell = score.cell
    paper = "–" if cell.value is None else _number(cell, cell.value, digits)
    if cell.spread is not None:
        paper += f" ± {_number(cell, cell.spread, digits)}"
    differs = notes.marks([f"differs: {text}" for text in cell.remarks])
    ours = "–" if score.status == PRIOR else score.status
    said: list[str] = [f"pending: {score.why}"] if score.status == PENDING else []
    interval = difference = inside = "–"
    if score.ours is not None:
        own = max(3, digits)
        ours, said = _number(cell, score.ours, own), list(score.provenance)
        if score.low is not None and score.high is not None:
            low, high = (_number(cell, end, own) for end in (score.low, score.high))
            interval = f"{low} – {high}"
        if score.difference is not None:
            difference = f"{score.difference:+,.{0 if cell.count else own}f}"
            if cell.count and ours == paper:  # what the paper's rounding leaves is no difference
                difference = "0"
        if score.within_interval is not None:
            inside = "yes" if score.within_interval else "no"
    return (
        Cell(cell.row if first else ""),
        Cell(cell.column),
        Cell(cell.metric),
        Cell(paper, marks=differs),
        Cell(ours, marks=notes.marks(said)),
        Cell(interval),
        Cell(difference),
        Cell(inside),
    )


def missing(found: Reproduction) -> list[tuple[str, str]]:
    """Return what could not be computed, and what to get for it or why.

    Parameters
    ----------
    found : Reproduction
        Of a paper.

    Returns
    -------
    list of (str, str)
        What is needed with how to get it, or a reason; and the scores and figures that it concerns,
        all with the same together.
    """
    gathered: dict[str, list[str]] = {}
    for name, part in _named(found):
        if part.status not in (COMPUTED, PRIOR):
            for text in part.needs or [f"{part.status}: {part.why}"]:
                gathered.setdefault(text, []).append(name)
    return [(text, _shorten(names)) for text, names in gathered.items()]


def _shorten(names: list[str]) -> str:
    """Name some scores of a long list."""
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return "; ".join(names[:4] if more else names) + more


def _named(found: Reproduction) -> list[tuple[str, Score | ReproducedFigure]]:
    """Return all parts with what to call them."""
    scores = [
        (f"{table.where}, {s.cell.row}, {s.cell.column}", s)
        for table, own in found.tables
        for s in own
    ]
    return [*scores, *((f"{d.figure.where} ({d.figure.name})", d) for d in found.figures)]


def summary_line(found: Reproduction) -> str:
    """Say how much was computed.

    Parameters
    ----------
    found : Reproduction
        Of a paper.

    Returns
    -------
    str
        For example ``16 of 22 scores and 5 of 5 figures``.
    """
    scores = [part for part in found.parts if isinstance(part, Score)]
    done = sum(part.status == COMPUTED for part in scores)
    drawn = sum(part.status == COMPUTED for part in found.figures)
    return f"{done} of {len(scores)} scores and {drawn} of {len(found.figures)} figures"


def markdown(found: Reproduction, folder: Path) -> str:
    """Return all tables, figures and what is missing as one Markdown text.

    Parameters
    ----------
    found : Reproduction
        Of a paper.
    folder : pathlib.Path
        Where it will stand; pictures are linked from there.

    Returns
    -------
    str
        Ends with a line feed.
    """
    lines = [f"# {found.paper}: {table_format.escape_markdown(found.title)}", ""]
    if found.rehearsed:
        lines += [f"**{_WARNING.capitalize()}.**", ""]
    lines += [f"Computed: {summary_line(found)}.", ""]
    for table, scores in found.tables:
        lines += [
            f"## {table.where}",
            "",
            table_format.to_markdown(comparison_table(found, table, scores)),
        ]
    for drawn in found.figures:
        figure = drawn.figure
        lines += [f"## {figure.where}: {table_format.escape_markdown(figure.title)}", ""]
        picture = next((p for p in drawn.files if p.suffix == ".png"), None)
        if picture is not None:
            lines += [f"![{figure.name}]({picture.relative_to(folder).as_posix()})", ""]
        if figure.differs:
            lines += [f"Differs: {table_format.escape_markdown(figure.differs)}.", ""]
        lines += [table_format.escape_markdown(drawn.caption or f"{drawn.status}: {drawn.why}"), ""]
    absent = missing(found)
    if absent:
        lines += ["## What is missing", ""]
    for text, names in absent:
        lines += [
            f"- {table_format.escape_markdown(text)}",
            f"    - for: {table_format.escape_markdown(names)}",
        ]
    return "\n".join([*lines, ""]).rstrip("\n") + "\n"


def facts(found: Reproduction) -> dict[str, Any]:
    """Return everything as plain values, for JSON.

    Parameters
    ----------
    found : Reproduction
        Of a paper.

    Returns
    -------
    dict
        Scores and figures with what made them.
    """
    return {
        "paper": found.paper,
        "title": found.title,
        "provenance": [STAND_IN] if found.rehearsed else [],
        "computed": summary_line(found),
        "whole": found.is_complete,
        "scores": [r for table, scores in found.tables for r in _records(found, table, scores)],
        "figures": [
            {
                "figure": drawn.figure.name,
                **drawn.figure.model_dump(include=_FIGURE),
                "status": drawn.status,
                "caption": drawn.caption,
                "files": [str(path) for path in drawn.files],
                "provenance": list(drawn.provenance),
                "why": drawn.why,
                "needs": list(drawn.needs),
            }
            for drawn in found.figures
        ],
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _records(found: Reproduction, table: Table, scores: Sequence[Score]) -> list[dict[str, Any]]:
    """Return a plain record for each score of a table."""
    keys = {
        "row", "column", "task", "embedding", "preset", "probe", "student", "method", "recipe",
        "fraction", "metric",
    }  # fmt: skip
    return [
        {
            "table": table.name,
            **score.cell.model_dump(include=keys),
            "paper": score.cell.value,
            "paper_spread": score.cell.spread,
            "status": score.status,
            "here": _finite(score.ours),
            "low": _finite(score.low),
            "high": _finite(score.high),
            "difference": _finite(score.difference),
            "in_interval": score.within_interval,
            "differs": score.cell.differs,
            "provenance": "; ".join(score.provenance) or (STAND_IN if found.rehearsed else ""),
            "run": score.run,
            "why": score.why,
            "needs": " ".join(score.needs),
        }
        for score in scores
    ]


def write(found: Reproduction, folder: Path) -> list[Path]:
    """Write each table as Markdown, LaTeX and CSV, all as one Markdown text, and as JSON.

    Parameters
    ----------
    found : Reproduction
        Of a paper.
    folder : pathlib.Path
        Where; it is made.

    Returns
    -------
    list of pathlib.Path
        The text first, then the JSON, then the tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{found.paper}.md": markdown(found, folder),
        f"{found.paper}.json": json.dumps(facts(found), indent=1, ensure_ascii=False) + "\n",
    }
    for table, scores in found.tables:
        made, records = comparison_table(found, table, scores), _records(found, table, scores)
        texts[f"{table.name}.md"] = table_format.to_markdown(made)
        texts[f"{table.name}.tex"] = table_format.to_latex(made)
        texts[f"{table.name}.csv"] = table_format.csv_text(
            list(records[0]), [list(record.values()) for record in records]
        )
    for name, text in texts.items():
        atomic.atomic_write_text(folder / name, text)
    return [folder / name for name in texts]


def _number(cell: PaperCell, value: float, digits: int) -> str:
    """Return a number as the paper's table has it; thousands are set apart."""
    if cell.count:
        from probekit.distillation.parameter_count import format_count  # imports torch

        return format_count(int(value))
    return f"{value:.1e}" if abs(value) >= _ENDLESS else f"{value:,.{digits}f}"


def _decimals(value: float) -> int:
    """Return how many decimals a published number has, at most six."""
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
