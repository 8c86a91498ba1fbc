"""Scores over the share of labels that were trained on: small multiples, one an embedding."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from probekit.report.html.axis import Axis, nice_axis
from probekit.report.html.markup import Markup, capital, label, number, tag
from probekit.report.leaderboard import Leaderboard, Row

Scale = Callable[[float], float]

_WIDTH, _HEIGHT = 240, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 10, 26


def efficiency(board: Leaderboard) -> Markup:
    """Return a board's curves.

    Parameters
    ----------
    board : Board
        What was scored.

    Returns
    -------
    Markup
        Nothing where no embedding was scored on several shares of the labels.
    """
    curves = board.efficiency
    if not curves:
        return Markup("")
    every = [row for curve in curves for row in curve]
    scores = [
        value
        for row in every
        for r in row.entry.results
        for value in (r["score"], r["interval"]["low"], r["interval"]["high"])
    ]
    axis = nice_axis(scores, 5)
    least = min(row.first["fraction"] for row in every)
    shares = sorted({row.first["fraction"] for row in every})
    panels = [_panel(curve, curves, axis, least, shares) for curve in curves]
    said = (
        f"{capital(board.metric)} over the share of training labels. Points are runs, one a seed, "
        "with their 95 % intervals; lines join the means over seeds"
        + (", and the others' stand behind." if len(curves) > 1 else ".")
    )
    return tag(
        "div",
        tag("h3", "Label efficiency"),
        tag("p", said, class_="soft"),
        tag("div", *panels, class_="panels"),
        class_="efficiency",
    )


def _panel(
    curve: Sequence[Row],
    curves: Sequence[Sequence[Row]],
    axis: Axis,
    least: float,
    shares: Sequence[float],
) -> Markup:
    """Return one embedding's curve before those of the others."""

    def x(share: float) -> float:
        whole = _WIDTH - _LEFT - _RIGHT
        return _LEFT + whole * (1 - math.log(share) / math.log(least))

    def y(score: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - axis.at(score))

    parts = [
        part
        for tick in axis.ticks
        for part in (
            tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(tick), y2=y(tick), class_="grid"),
            tag("text", axis.format_tick(tick), x=_LEFT - 6, y=y(tick) + 3.5, text_anchor="end"),
        )
    ]
    for share in _apart(shares, x):
        text = f"{100 * share:g} %"
        at = min(x(share), _WIDTH - 14)
        parts.append(tag("text", text, x=at, y=_HEIGHT - 8, text_anchor="middle"))
    parts += [_line(other, x, y, "other") for other in curves if other is not curve]
    for row in curve:
        at = x(row.first["fraction"])
        for r in row.entry.results:
            low, high = r["interval"]["low"], r["interval"]["high"]
            if low == low and high == high:
                parts.append(tag("line", x1=at, x2=at, y1=y(low), y2=y(high), class_="reach"))
        parts += [
            tag("circle", cx=at, cy=y(r["score"]), r=2.6)
            for r in row.entry.results
        ]  # fmt: skip
    parts.append(_line(curve, x, y, "own"))
    first = curve[-1].first
    said = ", ".join(f"{100 * row.first['fraction']:g} %: {number(_mean(row))}" for row in curve)
    svg = tag(
        "svg",
        *parts,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{curve[-1].label}, share of labels and score: {said}",
    )
    probe = "" if first["probe"] == "linear" else f" / {first['probe']}"
    return tag("figure", tag("figcaption", label(first["embedding"] + probe)), svg)


def _line(curve: Sequence[Row], x: Scale, y: Scale, class_: str) -> Markup:
    points = " ".join(f"{x(row.first['fraction']):.1f},{y(_mean(row)):.1f}" for row in curve)
    return tag("polyline", points=points, class_=class_)


def _mean(row: Row) -> float:
    return fmean(r["score"] for r in row.entry.results)


def _apart(shares: Sequence[float], x: Scale) -> list[float]:
    """Return the shares whose names do not touch; the ends are always among them."""
    kept = [shares[0]]
    for share in shares[1:-1]:
        if x(share) - x(kept[-1]) > 34 and x(shares[-1]) - x(share) > 40:
            kept.append(share)
    return [*kept, shares[-1]] if len(shares) > 1 else kept
