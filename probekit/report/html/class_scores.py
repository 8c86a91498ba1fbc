"""Scores of each class, in each run."""

from collections.abc import Sequence

from probekit.report.html.axis import Axis, nice_axis
from probekit.report.html.markup import Markup, capital, label, number, percent, tag
from probekit.report.html.sortable_table import Column, cell, scrollable, sortable
from probekit.report.leaderboard import Leaderboard, Row


def classes(board: Leaderboard) -> Markup:
    """Return a board's scores class by class, folded away.

    Parameters
    ----------
    board : Board
        What was scored.

    Returns
    -------
    Markup
        A table with a bar in each cell, the best of each class in bold; nothing where no run has
        scores of classes.
    """
    names = list(dict.fromkeys(name for row in board.rows for name in row.first["per_class"]))
    if not names:
        return Markup("")
    axis = _axis(board)
    columns = [
        Column("class", class_="name"),
        Column("clips", "number", True),
        *(Column(row.label, "number", board.higher, class_="run") for row in board.rows),
    ]
    rows = [_row(name, board, axis) for name in names]
    title = f"{board.metric} of each class"
    what = "target" if board.rows[0].first["target"] == "regression" else "class"
    return tag(
        "details",
        tag(
            "summary",
            f"{capital(board.metric)} of each {what}",
            tag("small", f"{len(names):,}"),
        ),
        scrollable(sortable(columns, rows, title, "classes"), title),
    )


def _axis(board: Leaderboard) -> Axis:
    """Return the bars' scale: from 0 to 1 for shares."""
    found = [
        value for row in board.rows for value in map(_score, row.first["per_class"].values())
        if value is not None
    ]  # fmt: skip
    if all(0 <= value <= 1 for value in found):
        return Axis(0.0, 1.0, ())
    return nice_axis([0.0, *found])


def _score(own: dict[str, float | int | None] | None) -> float | None:
    return None if own is None or own["score"] is None else float(own["score"])


def _row(name: str, board: Leaderboard, axis: Axis) -> Markup:
    """Return a class's row; a dash in runs that do not know it."""
    own = [row.first["per_class"].get(name) for row in board.rows]
    clips = next(int(one["clips"] or 0) for one in own if one is not None)
    scores = list(map(_score, own))
    there = [value for value in scores if value is not None]
    best = (max if board.higher else min)(there) if len(there) > 1 else None
    return tag(
        "tr",
        tag("th", label(name), scope="row", role="rowheader", class_="name", data_v=name),
        cell(f"{clips:,}", value=clips, class_="n"),
        *_cells(board.rows, scores, best, axis),
        role="row",
    )


def _cells(
    rows: Sequence[Row], scores: Sequence[float | None], best: float | None, axis: Axis
) -> list[Markup]:
    return [
        cell(
            tag("b", number(value)) if value is not None and value == best else number(value),
            Markup("") if value is None else _bar(axis.at(value)),
            value=value,
            class_="n run",
        )
        for _, value in zip(rows, scores, strict=True)
    ]


def _bar(share: float) -> Markup:
    bar = tag("rect", width=percent(share), height="100%")
    return tag("svg", bar, class_="bar", aria_hidden="true")
