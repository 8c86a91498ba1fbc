"""Tables of a reproduction: published beside reproduced scores, and the files they go to."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from probekit.cards.paper import Cell as PaperCell
from probekit.cards.paper import Table as PaperTable
from probekit.report import table_format
from probekit.report.table_format import Cell, Footnotes, TextTable, escape_markdown
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
from probekit.utils.atomic import atomic_write_text

STAND_IN = "stand-in data, random weights"
_WARNING = f"{STAND_IN}: these numbers say nothing about the paper's"
_FIGURE_KEYS = {"where", "kind", "task", "embedding", "differs"}
_EXPONENT_FROM = 1e9  # larger scores are written with exponent: r2 of a few clips has no lower end
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


def comparison_table(
    reproduction: Reproduction, table: PaperTable, scores: Sequence[Score]
) -> TextTable:
    """Return a table of a paper with one line per score; differences and notes as footnotes."""
    notes = Footnotes()
    digits = max((_decimals(v) for s in scores if (v := s.cell.value) is not None), default=3)
    rows, rules = [], set()
    for number, score in enumerate(scores):
        first = number == 0 or scores[number - 1].cell.row != score.cell.row
        if first and number and len(table.columns) > 1:
            rules.add(number)
        rows.append(_line(score, first, digits, notes))
    paper = reproduction.paper
    remarks = [("", text) for text in table.notes]
    if any(score.status in (MISSING, FAILED) for score in scores):
        remarks.append(("", f"missing, failed: {paper}.md gives the reasons and what to get."))
    if any(score.within_interval is not None for score in scores):
        remarks.append(("", "In interval: whether the paper's score lies in our 95 % interval."))
    if any(score.cell.value is None for score in scores):
        remarks.append(("", f"Without a number in the column paper: {paper} prints none."))
    warning = f" ({_WARNING})" if reproduction.rehearsed else ""
    return TextTable(
        caption=f"{paper}, {table.where}: {table.title}. Published and computed scores{warning}.",
        columns=_COLUMNS,
        rows=tuple(rows),
        rules=frozenset(rules),
        notes=(*remarks, *notes.items()),
        label=f"tab:{paper}-{table.name}",
    )


def _line(score: Score, first: bool, digits: int, notes: Footnotes) -> tuple[Cell, ...]:
    """Return the cells of a score; ``first`` names its row."""
    cell = score.cell
    published = "–" if cell.value is None else _number(cell, cell.value, digits)
    if cell.spread is not None:
        published += f" ± {_number(cell, cell.spread, digits)}"
    differs = notes.marks([f"differs: {text}" for text in cell.remarks])
    reproduced = "–" if score.status == PRIOR else score.status
    remarks = [f"pending: {score.reason}"] if score.status == PENDING else []
    interval = difference = inside = "–"
    if score.value is not None:
        digits = max(3, digits)
        reproduced, remarks = _number(cell, score.value, digits), list(score.provenance)
        if score.low is not None and score.high is not None:
            low, high = (_number(cell, end, digits) for end in (score.low, score.high))
            interval = f"{low} – {high}"
        if score.difference is not None:
            difference = f"{score.difference:+,.{0 if cell.count else digits}f}"
            if cell.count and reproduced == published:  # equal after the paper's rounding
                difference = "0"
        if score.within_interval is not None:
            inside = "yes" if score.within_interval else "no"
    return (
        Cell(cell.row if first else ""),
        Cell(cell.column),
        Cell(cell.metric),
        Cell(published, marks=differs),
        Cell(reproduced, marks=notes.marks(remarks)),
        Cell(interval),
        Cell(difference),
        Cell(inside),
    )


def list_missing(reproduction: Reproduction) -> list[tuple[str, str]]:
    """Return needs and reasons, and the scores and figures missing because of them."""
    parts: list[tuple[str, Score | ReproducedFigure]] = [
        (f"{table.where}, {score.cell.row}, {score.cell.column}", score)
        for table, scores in reproduction.tables
        for score in scores
    ]
    parts += [(f"{f.figure.where} ({f.figure.name})", f) for f in reproduction.figures]
    names: dict[str, list[str]] = {}
    for name, part in parts:
        if part.status not in (COMPUTED, PRIOR):
            for text in part.needs or [f"{part.status}: {part.reason}"]:
                names.setdefault(text, []).append(name)
    return [(text, _shorten(affected)) for text, affected in names.items()]


def _shorten(names: list[str]) -> str:
    """Join names; of more than five only the first four."""
    more = f" and {len(names) - 4} more" if len(names) > 5 else ""
    return "; ".join(names[:4] if more else names) + more


def summary_line(reproduction: Reproduction) -> str:
    """Say how much was computed, for example ``16 of 22 scores and 5 of 5 figures``."""
    scores = [part for part in reproduction.parts if isinstance(part, Score)]
    figures = reproduction.figures
    computed, drawn = (sum(p.status == COMPUTED for p in parts) for parts in (scores, figures))
    return f"{computed} of {len(scores)} scores and {drawn} of {len(figures)} figures"


def to_markdown(reproduction: Reproduction, folder: Path) -> str:
    """Return tables, figures and what is missing as Markdown; pictures are linked from a folder."""
    lines = [f"# {reproduction.paper}: {escape_markdown(reproduction.title)}", ""]
    if reproduction.rehearsed:
        lines += [f"**{_WARNING.capitalize()}.**", ""]
    lines += [f"Computed: {summary_line(reproduction)}.", ""]
    for table, scores in reproduction.tables:
        text = table_format.to_markdown(comparison_table(reproduction, table, scores))
        lines += [f"## {table.where}", "", text]
    for reproduced in reproduction.figures:
        figure = reproduced.figure
        lines += [f"## {figure.where}: {escape_markdown(figure.title)}", ""]
        picture = next((path for path in reproduced.files if path.suffix == ".png"), None)
        if picture is not None:
            lines += [f"![{figure.name}]({picture.relative_to(folder).as_posix()})", ""]
        if figure.differs:
            lines += [f"Differs: {escape_markdown(figure.differs)}.", ""]
        caption = reproduced.caption or f"{reproduced.status}: {reproduced.reason}"
        lines += [escape_markdown(caption), ""]
    needs = list_missing(reproduction)
    if needs:
        lines += ["## What is missing", ""]
    for text, names in needs:
        lines += [f"- {escape_markdown(text)}", f"    - for: {escape_markdown(names)}"]
    return "\n".join([*lines, ""]).rstrip("\n") + "\n"


def to_dict(reproduction: Reproduction) -> dict[str, Any]:
    """Return scores and figures as plain values, for JSON."""
    return {
        "paper": reproduction.paper,
        "title": reproduction.title,
        "provenance": [STAND_IN] if reproduction.rehearsed else [],
        "computed": summary_line(reproduction),
        "whole": reproduction.is_complete,
        "scores": [
            record
            for table, scores in reproduction.tables
            for record in _records(reproduction, table, scores)
        ],
        "figures": [
            {
                "figure": reproduced.figure.name,
                **reproduced.figure.model_dump(include=_FIGURE_KEYS),
                "status": reproduced.status,
                "caption": reproduced.caption,
                "files": [str(path) for path in reproduced.files],
                "provenance": list(reproduced.provenance),
                "why": reproduced.reason,
                "needs": list(reproduced.needs),
            }
            for reproduced in reproduction.figures
        ],
        "probekit": version("probekit"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _records(
    reproduction: Reproduction, table: PaperTable, scores: Sequence[Score]
) -> list[dict[str, Any]]:
    """Return a record of plain values per score of a table."""
    keys = {
        "row", "column", "task", "embedding", "preset", "probe", "student", "method", "recipe",
        "fraction", "metric",
    }  # fmt: skip
    stand_in = STAND_IN if reproduction.rehearsed else ""
    return [
        {
            "table": table.name,
            **score.cell.model_dump(include=keys),
            "paper": score.cell.value,
            "paper_spread": score.cell.spread,
            "status": score.status,
            "here": _finite(score.value),
            "low": _finite(score.low),
            "high": _finite(score.high),
            "difference": _finite(score.difference),
            "in_interval": score.within_interval,
            "differs": score.cell.differs,
            "provenance": "; ".join(score.provenance) or stand_in,
            "run": score.run,
            "why": score.reason,
            "needs": " ".join(score.needs),
        }
        for score in scores
    ]


def write_files(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Write each table as Markdown, LaTeX and CSV, and everything as one Markdown and one JSON.

    Parameters
    ----------
    reproduction : Reproduction
        Of a paper.
    folder : pathlib.Path
        Where files go; created if needed.

    Returns
    -------
    list of pathlib.Path
        The Markdown of everything, the JSON, then the tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(to_dict(reproduction), indent=1, ensure_ascii=False)
    texts = {
        f"{reproduction.paper}.md": to_markdown(reproduction, folder),
        f"{reproduction.paper}.json": content + "\n",
    }
    for table, scores in reproduction.tables:
        comparison = comparison_table(reproduction, table, scores)
        records = _records(reproduction, table, scores)
        texts[f"{table.name}.md"] = table_format.to_markdown(comparison)
        texts[f"{table.name}.tex"] = table_format.to_latex(comparison)
        texts[f"{table.name}.csv"] = table_format.csv_text(
            list(records[0]), [list(record.values()) for record in records]
        )
    for name, text in texts.items():
        atomic_write_text(folder / name, text)
    return [folder / name for name in texts]


def _number(cell: PaperCell, value: float, digits: int) -> str:
    """Format a number as in the paper's table, with thousands separators."""
    if cell.count:
        from probekit.distillation.parameter_count import format_count  # imports torch

        return format_count(int(value))
    return f"{value:.1e}" if abs(value) >= _EXPONENT_FROM else f"{value:,.{digits}f}"


def _decimals(value: float) -> int:
    """Return how many decimals a published number has, at most six."""
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def _finite(value: float | None) -> float | None:
    """Return a number, or None if it is not finite: JSON has no such numbers."""
    return value if value is not None and math.isfinite(value) else None
