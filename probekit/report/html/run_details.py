"""How the runs of a board were made: what a reviewer asks for."""

import json
from typing import Any

from probekit.report.html.markup import Markup, label, number, tag
from probekit.report.html.sortable_table import scrollable
from probekit.report.leaderboard import Leaderboard, Row

_HEADS = (
    "run",
    "probe and settings",
    "features",
    "against the best",
    "over folds",
    "fits",
    "clip table",
    "made at",
)


def run_details(board: Leaderboard) -> Markup:
    """Return a table of fingerprints, settings, tests and fits, folded away.

    Parameters
    ----------
    board : Board
        What was scored.

    Returns
    -------
    Markup
        One row a run of the leaderboard.
    """
    title = "How these runs were made"
    heads = (tag("th", name, scope="col") for name in _HEADS)
    table = tag(
        "table",
        tag("caption", title, class_="hidden"),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *map(_row, board.rows)),
        class_="made",
    )
    versions = dict.fromkeys(
        ", ".join(f"{name} {text}" for name, text in r["versions"].items())
        for row in board.rows
        for r in row.entry.results
    )
    with_ = tag("p", f"With {'; or '.join(versions)}.", class_="soft")
    return tag("details", tag("summary", title), scrollable(table, title), with_)


def _row(row: Row) -> Markup:
    first = row.first
    names = (tag("code", r["run"][:12]) for r in row.entry.results)
    features = [
        tag(
            "span",
            label(f"{s['extractor']}, {s['stream']}, {'+'.join(s['pool']) or 'as it is'} "),
            tag("code", s["fingerprint"][:12]),
        )
        for s in first["sources"]
    ]
    solver = first["solver"]
    gaps = [fold["gap"] for fold in first["folds"] if fold["gap"] is not None]
    fits = f"{solver['fits']} fits, {solver['unconverged']} not converged"
    bound = f"; bound of the gap {max(gaps):.0e}" if gaps else ""
    cells = (
        (label(row.label), *names),
        (tag("span", label(first["probe"])), *map(_span, _chosen(first))),
        (*features, tag("span", "steps: ", ", ".join(first["steps"]) or "none")),
        (row.why or ("the best" if row.mark == "best" else "–"),),
        tuple(map(_span, _folds(first))),
        (f"{fits}{bound}; {first['seconds']['fit']:.1f} s",),
        (tag("code", first["manifest"][:12]),),
        (first["created"][:16].replace("T", " "),),
    )
    return tag("tr", *(tag("td", *content) for content in cells))


def _span(text: str) -> Markup:
    return tag("span", text)


def _chosen(result: Any) -> list[str]:
    """Return the settings that were chosen, each with the folds that chose it."""
    found: dict[str, int] = {}
    for fold in result["folds"]:
        words = (f"{name} = {_plain(value)}" for name, value in fold["params"].items())
        text = ", ".join(words)
        if text:
            found[text] = found.get(text, 0) + 1
    if len(found) < 2:
        return list(found)
    return [f"{text} ({n} folds)" if n > 1 else f"{text} (1 fold)" for text, n in found.items()]


def _folds(result: Any) -> list[str]:
    """Return each fold's score where there are several."""
    folds = result["folds"]
    if len(folds) < 2:
        return ["one split"]
    ends = (min(f["score"] for f in folds), max(f["score"] for f in folds))
    return [
        f"{len(folds)} folds, {number(ends[0])} to {number(ends[1])}",
        f"sd {number(result['spread'])}",
    ]


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
