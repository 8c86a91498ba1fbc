"""The leaderboard: scores with their intervals on one scale, what they rest on, what others had."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from probekit.report.html.axis import Axis, nice_axis
from probekit.report.html.markup import Markup, join, label, number, percent, tag
from probekit.report.html.sortable_table import Column, cell, sortable
from probekit.report.leaderboard import BEST, NOT_DISTINGUISHABLE, UNTESTED, WORSE, Leaderboard, Row
from probekit.report.table_format import DAGGER

_MARKS = {BEST: "best", NOT_DISTINGUISHABLE: DAGGER, UNTESTED: "not tested"}
_CLASSES = {NOT_DISTINGUISHABLE: "untold"}  # of style.css, where they are not the mark itself
_LEVEL, _BELOW = "21", "42"  # pixels from a row's top: the interval, and its numbers
_ALSO = 3  # further metrics that get a column


def leaderboard(board: Leaderboard) -> Markup:
    """Return a board as a table with its legend.

    Parameters
    ----------
    board : Board
        What was scored.

    Returns
    -------
    Markup
        Rows of runs and of published scores, best first.
    """
    axis = scale(board)
    best = board.rows[0]
    also = list(dict.fromkeys(name for row in board.rows for name in row.first["also"]))[:_ALSO]
    rows = [(row.score, _run_row(row, board, axis, best.score, also)) for row in board.rows]
    rows += [
        (float(one["score"]), _published_row(one, board, axis, best.score, also))
        for one in board.published
    ]
    rows.sort(key=lambda pair: -pair[0] if board.higher else pair[0])
    order = "descending" if board.higher else "ascending"
    columns = [
        Column("embedding", class_="name"),
        Column("probe", class_="probe"),
        Column(board.metric, "number", board.higher, order, "score"),
        Column("95 % interval", "number", board.higher, class_="chart", under=_ticks(axis)),
        *(Column(name, "number", True, class_="also") for name in also),
        Column("clips", "number", True, class_="clips"),
        Column("notes", class_="notes"),
    ]
    caption = f"{board.title}: runs by {board.metric}"
    return join(
        sortable(columns, [row for _, row in rows], caption, "board"),
        _legend(board),
    )


def scale(board: Leaderboard) -> Axis:
    """Return the scale on which all intervals and published scores of a board have a place."""
    ends = [value for row in board.rows for value in (row.score, row.low, row.high)]
    return nice_axis([*ends, *(float(one["score"]) for one in board.published)], 7)


def warnings(row: Row) -> list[str]:
    """Return what may be wrong with a run's fits, beside what its provenance says.

    Parameters
    ----------
    row : Row
        The run.

    Returns
    -------
    list of str
        Empty where all fits converged, none at an end of its range.
    """
    said = []
    for result in row.entry.results:
        solver = result["solver"]
        if solver["unconverged"]:
            said.append(f"{solver['unconverged']} of {solver['fits']} fits did not converge")
        edge = sum(fold["at_edge"] for fold in result["folds"])
        if edge:
            folds = len(result["folds"])
            where = f" in {edge} of {folds} folds" if folds > 1 else ""
            said.append(f"chosen setting at an end of its range{where}")
    return list(dict.fromkeys(said))


def _run_row(row: Row, board: Leaderboard, axis: Axis, best: float, also: Sequence[str]) -> Markup:
    """Return a run's row."""
    first = row.first
    mark = _MARKS.get(row.mark, "") if len(board.rows) > 1 else ""
    chip = tag("span", mark, class_=f"mark {_class(row)}", title=row.why or None) if mark else ""
    notes = [tag("span", text, class_="fact") for text in row.provenance]
    notes += [tag("span", text, class_="warn") for text in warnings(row)]
    return tag(
        "tr",
        tag(
            "th",
            label(row.label.split(" / ")[0]),
            tag("small", _details(row), class_="soft"),
            scope="row",
            role="rowheader",
            class_="name",
            data_v=row.label,
        ),
        cell(label(first["probe"]), value=first["probe"], class_="probe"),
        cell(tag("b", number(row.score)), chip, value=row.score, class_="n score"),
        cell(
            _whisker(axis, row, best),
            value=row.low,
            class_="chart",
        ),
        *(_also(row, name) for name in also),
        cell(_clips(row), value=first["clips"]["used"], class_="n clips", title="clips"),
        cell(*notes, value="; ".join(row.provenance), class_="notes"),
        role="row",
        class_=_class(row),
    )


def _class(row: Row) -> str:
    """Return the class of style.css that a row's mark has."""
    return _CLASSES.get(row.mark, row.mark)


def _details(row: Row) -> Markup:
    """Return what else tells runs apart, below the name."""
    _, *others = row.label.split(" / ")
    words = [f"{row.first['dim']:,} dimensions", *(w for w in others if w != row.first["probe"])]
    if len(row.entry.results) > 1:
        words.append(f"mean of {len(row.entry.results)} seeds")
    return label(" · ".join(words))


def _clips(row: Row) -> str:
    used, of = row.first["clips"]["used"], row.first["clips"]["of"]
    return f"{used:,}" if used == of else f"{used:,} of {of:,}"


def _also(row: Row, name: str) -> Markup:
    """Return a further metric's cell: the mean over seeds, where all have it."""
    own = [result["also"].get(name) for result in row.entry.results]
    there = [one["score"] for one in own if one is not None and one["score"] is not None]
    mean = fmean(there) if len(there) == len(own) else None
    return cell(number(mean), value=mean, class_="n also", title=name)


def _published_row(
    one: dict[str, Any], board: Leaderboard, axis: Axis, best: float, also: Sequence[str]
) -> Markup:
    """Return a published score's row."""
    score = float(one["score"])
    said = [tag("span", label(str(one["where"])), class_="fact")]
    if one.get("differs"):
        said.append(tag("span", f"differs: {one['differs']}", class_="fact"))
    return tag(
        "tr",
        tag(
            "th",
            label(str(one["method"])),
            tag("small", "published", class_="soft"),
            scope="row",
            role="rowheader",
            class_="name",
            data_v=str(one["method"]),
        ),
        cell("–", value="", class_="probe"),
        cell(number(score), value=score, class_="n score"),
        cell(_diamond(axis, score, best), class_="chart", value=score),
        *(cell("–", class_="n also", title=name) for name in also),
        cell("–", class_="n clips", title="clips"),
        cell(*said, value=str(one["where"]), class_="notes"),
        role="row",
        class_="published",
    )


def _line(x1: float, x2: float, y1: str, y2: str, class_: str) -> Markup:
    return tag("line", x1=percent(x1), x2=percent(x2), y1=y1, y2=y2, class_=class_)


def _ground(axis: Axis, best: float) -> Markup:
    """Return the lines behind each interval; those of all rows meet."""
    grid = [_line(axis.at(t), axis.at(t), "0", "100%", "grid") for t in axis.ticks]
    return join(*grid, _line(axis.at(best), axis.at(best), "0", "100%", "lead"))


def _whisker(axis: Axis, row: Row, best: float) -> Markup:
    """Return a score with its interval, and the interval in numbers below it."""
    parts = [_ground(axis, best)]
    if row.low == row.low and row.high == row.high:
        low, high = axis.at(row.low), axis.at(row.high)
        middle = (low + high) / 2
        said = f"{number(row.low)} – {number(row.high)}"
        parts += [
            _line(low, high, _LEVEL, _LEVEL, "reach"),
            tag("text", said, x=percent(middle), y=_BELOW, text_anchor=_anchor(middle, 0.2)),
        ]
    if row.score == row.score:
        point = percent(axis.at(row.score))
        parts.append(tag("circle", cx=point, cy=_LEVEL, r=4.5, class_=_class(row)))
    return tag("svg", *parts, class_="interval")


def _diamond(axis: Axis, score: float, best: float) -> Markup:
    """Return a published score: others' points have another shape."""
    inner = tag("rect", x=-3.6, y=-3.6, width=7.2, height=7.2, transform="rotate(45)")
    place = tag("svg", inner, x=percent(axis.at(score)), y=_LEVEL, class_="point")
    return tag("svg", _ground(axis, best), place, class_="interval", aria_hidden="true")


def _ticks(axis: Axis) -> Markup:
    """Return the numbers above the intervals."""
    names = (
        tag(
            "text",
            axis.format_tick(t),
            x=percent(axis.at(t)),
            y="80%",
            text_anchor=_anchor(axis.at(t), 0.06),
        )
        for t in axis.ticks
    )
    return tag("svg", *names, class_="ticks", aria_hidden="true")


def _anchor(place: float, room: float) -> str:
    """Return which end of a text stands at a place, so that it stays inside."""
    return "start" if place < room else "end" if place > 1 - room else "middle"


def _legend(board: Leaderboard) -> Markup:
    """Return what the marks and intervals are."""
    seen = {row.mark for row in board.rows}
    ways = dict.fromkeys(
        f"{r['interval']['method']} over {r['interval']['unit']}"
        for row in board.rows
        for r in row.entry.results
    )
    said = [f"95 % intervals: {', or '.join(ways)}."]
    if NOT_DISTINGUISHABLE in seen:
        said.append(
            f"{DAGGER} not distinguishable from the best at the 5 % level by the paired test "
            "(p-values adjusted, Holm); that does not mean equal. Over folds the test is about "
            "other training sets, too, and so more cautious than the intervals."
        )
    elif len(board.rows) > 1 and seen <= {BEST, WORSE}:
        said.append("The best differs from every other at the 5 % level (paired tests, Holm).")
    if any(len(row.entry.results) > 1 for row in board.rows):
        said.append("Ends of intervals over several seeds are means of theirs.")
    if board.published:
        said.append("Diamonds are published scores.")
    said += dict.fromkeys(row.why + "." for row in board.rows if row.mark == UNTESTED and row.why)
    return tag("p", " ".join(said), class_="legend soft")
