"""Contents of a task's section as plain data for the templates.

The section has a leaderboard, label efficiency, learning curves, scores of each class, and how the
runs were made.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from probekit.analysis.learning_curve import curve_of_groups
from probekit.errors import DataError
from probekit.metrics import metrics
from probekit.metrics.intervals import interval_ends
from probekit.metrics.per_class import Scores, class_score_name, class_score_rule
from probekit.report.html.axis import Axis, nice_axis
from probekit.report.leaderboard import (
    BEST,
    NOT_DISTINGUISHABLE,
    UNTESTED,
    WORSE,
    Leaderboard,
    LeaderboardRow,
    interval_methods,
)
from probekit.report.table_format import DAGGER
from probekit.scores.scoring import read_class_scores
from probekit.scores.store import Result, Source

_MARKS = {BEST: "best", NOT_DISTINGUISHABLE: DAGGER, UNTESTED: "not tested"}
_CSS_CLASSES = {NOT_DISTINGUISHABLE: "indistinguishable"}  # where they are not the mark itself
_ALSO_COLUMNS = 3  # further metrics that get a column

# a panel of label efficiency, in SVG units
_WIDTH, _HEIGHT = 240, 160
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 10, 26
_SHARE_GAP, _LAST_SHARE_GAP = 34, 40  # between the names of shares


# ---- leaderboard


def leaderboard_view(board: Leaderboard) -> dict[str, Any]:
    """Return rows of runs and of published scores, best first, with their axis and legend."""
    names = dict.fromkeys(name for row in board.rows for name in row.first_run["also"])
    also = list(names)[:_ALSO_COLUMNS]
    rows = [_run_row(row, also, len(board.rows) > 1) for row in board.rows]
    rows += [_published_row(published) for published in board.published]
    rows.sort(key=lambda row: -row["score"] if board.higher_is_better else row["score"])
    ends = [value for row in board.rows for value in (row.score, row.low, row.high)]
    return {
        "axis": nice_axis([*ends, *(float(p["score"]) for p in board.published)], 7),
        "best_score": board.rows[0].score,
        "also": also,
        "rows": rows,
        "legend": _legend(board),
    }


def fit_warnings(row: LeaderboardRow) -> list[str]:
    """Return what may be wrong with the fits: not converged, or a setting at its range's end."""
    warnings = []
    for result in row.group.results:
        solver = result["solver"]
        if solver["unconverged"]:
            warnings.append(f"{solver['unconverged']} of {solver['fits']} fits did not converge")
        at_edge = sum(fold["at_edge"] for fold in result["folds"])
        if at_edge:
            folds = len(result["folds"])
            which = f" in {at_edge} of {folds} folds" if folds > 1 else ""
            warnings.append(f"chosen setting at an end of its range{which}")
    return list(dict.fromkeys(warnings))


def _run_row(row: LeaderboardRow, also: Sequence[str], tested: bool) -> dict[str, Any]:
    first, seeds = row.first_run, len(row.group.results)
    name, *label_parts = row.label.split(" / ")
    details = [f"{first['dim']:,} dimensions", *(p for p in label_parts if p != first["probe"])]
    if seeds > 1:
        details.append(f"mean of {seeds} seeds")
    used, total = first["clips"]["used"], first["clips"]["of"]
    return {
        "published": False,
        "label": row.label,
        "name": name,
        "details": " · ".join(details),
        "probe": first["probe"],
        "score": row.score,
        "low": row.low,
        "high": row.high,
        "no_interval": row.group.missing_interval,
        "css_class": _CSS_CLASSES.get(row.mark, row.mark),
        "mark": _MARKS.get(row.mark, "") if tested else "",
        "explanation": row.explanation,
        "also": [_mean_of_seeds(row, metric) for metric in also],
        "clips_used": used,
        "clips": f"{used:,}" if used == total else f"{used:,} of {total:,}",
        "provenance": row.provenance,
        "warnings": fit_warnings(row),
    }


def _mean_of_seeds(row: LeaderboardRow, metric: str) -> float | None:
    """Return the mean of a further metric over seeds, or None where not all have it."""
    entries = [result["also"].get(metric) for result in row.group.results]
    scores = [e["score"] for e in entries if e is not None and e["score"] is not None]
    return fmean(scores) if len(scores) == len(entries) else None


def _published_row(published: dict[str, Any]) -> dict[str, Any]:
    return {
        "published": True,
        "name": str(published["method"]),
        "score": float(published["score"]),
        "source": str(published["where"]),
        "differs": published.get("differs") or "",
    }


def _legend(board: Leaderboard) -> str:
    """Return what the marks and intervals are."""
    marks = {row.mark for row in board.rows}
    ties = [f"{board.ties[0].upper()}{board.ties[1:]}."] if board.ties else []
    sentences = [*ties, f"95 % intervals: {interval_methods([board])}."]
    if NOT_DISTINGUISHABLE in marks:
        sentences.append(
            f"{DAGGER} not distinguishable from the best at the 5 % level by the paired test "
            "(p-values adjusted, Holm); that does not mean equal. Over folds the test is about "
            "other training sets, too, and so more cautious than the intervals."
        )
    elif len(board.rows) > 1 and marks <= {BEST, WORSE}:
        sentences.append("Tests are paired, at the 5 % level, p-values adjusted (Holm).")
    if any(len(row.group.results) > 1 for row in board.rows):
        sentences.append("Ends of intervals over several seeds are means of theirs.")
    if board.published:
        sentences.append("Diamonds are published scores.")
    untested = (row.explanation for row in board.rows if row.mark == UNTESTED)
    sentences += dict.fromkeys(reason + "." for reason in untested if reason)
    return " ".join(sentences)


# ---- other protocols


def audit_view(facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return a row for each protocol of an audit, from the JSON beside its figure; None for others.

    Protocols that the task cannot have are left out; the figure's caption names them.
    """
    cells, embeddings = facts.get("audit"), facts.get("embeddings")
    if not isinstance(cells, list) or not isinstance(embeddings, list):
        return None
    turned = Counter(reversal["protocol"] for reversal in facts["reversals"])
    rows = [
        {
            "title": protocol["title"],
            "source": _version_of(protocol["title"], protocol["source"]),
            "cells": [cell for cell in cells if cell["protocol"] == protocol["name"]],
            "turned": "–" if k == 0 else turned[protocol["name"]],
            "leaks": "; ".join(protocol["leaks"]) or "–",
        }
        for k, protocol in enumerate(facts["protocols"])
        if not protocol["problem"]
    ]
    return {"embeddings": embeddings, "rows": rows, "compared": facts.get("compared", "")}


def _version_of(title: str, source: str) -> str:
    """Return a protocol's source, without the tool's name if its title begins with it."""
    tool, _, version = source.partition(" ")
    return version if version and re.split("[ ,]", title)[0] == tool else source


# ---- label efficiency


def efficiency_view(board: Leaderboard) -> dict[str, Any] | None:
    """Return a panel for each curve of scores over shares of the labels; None without curves."""
    curves = board.efficiency_curves
    if not curves:
        return None
    rows = [row for curve in curves for row in curve]
    results = [result for row in rows for result in row.group.results]
    intervals = [end for r in results for end in interval_ends(r["interval"])]
    axis = nice_axis([*(r["score"] for r in results), *intervals], 5)
    scale = _PanelScale(axis, sorted({row.first_run["fraction"] for row in rows}))
    lines = [
        " ".join(f"{scale.x(_share(row)):.1f},{scale.y(_mean(row)):.1f}" for row in curve)
        for curve in curves
    ]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "ticks": [(scale.y(tick), axis.format_tick(tick)) for tick in axis.ticks],
        "shares": [
            (min(scale.x(share), _WIDTH - 14), f"{100 * share:g} %")
            for share in scale.spaced_shares()
        ],
        "panels": [
            {
                "title": _panel_title(curve[-1]),
                "description": f"{curve[-1].label}, share of labels and score: "
                + ", ".join(
                    f"{100 * _share(row):g} %: {format_number(_mean(row))}" for row in curve
                ),
                "line": lines[k],
                "other_lines": [*lines[:k], *lines[k + 1 :]],
                "points": [_panel_points(row, scale) for row in curve],
            }
            for k, curve in enumerate(curves)
        ],
    }


class _PanelScale:
    """Positions in a panel: shares of the labels along a logarithmic x axis, scores along y."""

    def __init__(self, axis: Axis, shares: Sequence[float]) -> None:
        self.axis, self.shares = axis, shares

    def x(self, share: float) -> float:
        width = _WIDTH - _LEFT - _RIGHT
        return _LEFT + width * (1 - math.log(share) / math.log(self.shares[0]))

    def y(self, score: float) -> float:
        return _panel_y(self.axis, score)

    def spaced_shares(self) -> list[float]:
        """Return the shares whose names do not touch, always both ends."""
        first, *between, last = self.shares
        spaced = [first]
        for share in between:
            after_last = self.x(share) - self.x(spaced[-1])
            if after_last > _SHARE_GAP and self.x(last) - self.x(share) > _LAST_SHARE_GAP:
                spaced.append(share)
        return [*spaced, last]


def _panel_title(row: LeaderboardRow) -> str:
    probe = row.first_run["probe"]
    return str(row.first_run["embedding"]) + ("" if probe == "linear" else f" / {probe}")


def _panel_points(row: LeaderboardRow, scale: _PanelScale) -> dict[str, Any]:
    """Return the runs of one share: their scores and intervals."""
    intervals = [interval_ends(r["interval"]) for r in row.group.results]
    return {
        "x": scale.x(_share(row)),
        "intervals": [
            (scale.y(low), scale.y(high))
            for low, high in intervals
            if not (math.isnan(low) or math.isnan(high))
        ],
        "scores": [scale.y(r["score"]) for r in row.group.results],
    }


def _share(row: LeaderboardRow) -> float:
    return float(row.first_run["fraction"])


def _mean(row: LeaderboardRow) -> float:
    return fmean(r["score"] for r in row.group.results)


# ---- learning curves

_DASHES = {"train_score": "2 3", "valid_score": "", "test_score": "7 3"}


def learning_curves_view(board: Leaderboard) -> dict[str, Any] | None:
    """Return a panel for each trained network: scores by epoch; None where there are none."""
    curves = [
        (row, [series for series in curve_of_groups([row.group]).series if series.is_score])
        for row in board.rows
        if all(result["history"] for result in row.group.results)
    ]
    curves = [(row, series) for row, series in curves if series]
    if not curves:
        return None
    epochs = max(each.values.shape[1] for _, series in curves for each in series)
    means = {id(each): each.statistics()[0] for _, series in curves for each in series}
    axis = nice_axis([float(value) for mean in means.values() for value in mean], 5)

    def point(epoch: int, score: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * epoch / max(1, epochs - 1)
        return f"{x:.1f},{_panel_y(axis, score):.1f}"

    panels = []
    for row, series in curves:
        shown = [
            (each, [(k, float(v)) for k, v in enumerate(means[id(each)]) if math.isfinite(v)])
            for each in series
        ]
        panels.append(
            {
                "title": row.label,
                "description": f"{row.label}, score of the first and last epoch: "
                + ", ".join(
                    f"{each.title} {format_number(points[0][1])}, {format_number(points[-1][1])}"
                    for each, points in shown
                ),
                "lines": [
                    (
                        _DASHES[each.quantity],
                        " ".join(point(epoch, score) for epoch, score in points),
                    )
                    for each, points in shown
                ],
            }
        )
    titles = dict.fromkeys((each.title, _DASHES[each.quantity]) for _, s in curves for each in s)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "ticks": [(_panel_y(axis, tick), axis.format_tick(tick)) for tick in axis.ticks],
        "epochs": epochs,
        "lines": list(titles),
        "panels": panels,
    }


def _panel_y(axis: Axis, score: float) -> float:
    """Return the height of a score in a panel."""
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - axis.position(score))


# ---- scores of each class


def class_scores_view(board: Leaderboard) -> dict[str, Any] | None:
    """Return the scores of each class in each run; None where no run has any."""
    by_run = [_class_scores(row) for row in board.rows]
    names = list(dict.fromkeys(name for scores in by_run for name in scores))
    if not names:
        return None
    best_of = max if board.higher_is_better else min
    rows: list[dict[str, Any]] = []
    for name in names:
        entries = [scores.get(name) for scores in by_run]
        scores = [None if e is None or e["score"] is None else float(e["score"]) for e in entries]
        values = [score for score in scores if score is not None]
        rows.append(
            {
                "name": name,
                "clips": next(int(e["clips"] or 0) for e in entries if e is not None),
                "scores": scores,
                "best": best_of(values) if len(values) > 1 else None,
            }
        )
    values = [score for row in rows for score in row["scores"] if score is not None]
    shares = all(0 <= value <= 1 for value in values)
    metric = metrics.get_metric(board.metric_name)
    noun = "target" if board.rows[0].first_run["target"] == "regression" else "class"
    has_folds = any(len(row.first_run["folds"]) > 1 for row in board.rows)
    return {
        "title": f"{class_score_name(metric)} of each {noun}"
        + f", {class_score_rule(metric)}" * has_folds,
        "axis": Axis(0.0, 1.0, ()) if shares else nice_axis([0.0, *values]),
        "rows": rows,
    }


def _class_scores(row: LeaderboardRow) -> Scores:
    """Return the class scores of the first seed; none where its predictions are missing."""
    try:
        return read_class_scores(row.group.paths[0], row.first_run)
    except DataError:  # the list of misclassified clips says so
        return {}


# ---- how the runs were made


def run_details_view(board: Leaderboard) -> dict[str, Any]:
    """Return settings, fingerprints, tests and fits of each run."""
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in r["versions"].items())
        for row in board.rows
        for r in row.group.results
    )
    return {"rows": [_details_row(row) for row in board.rows], "versions": "; or ".join(versions)}


def _details_row(row: LeaderboardRow) -> dict[str, Any]:
    first, solver = row.first_run, row.first_run["solver"]
    gaps = [fold["gap"] for fold in first["folds"] if fold["gap"] is not None]
    gap = f"; bound of the gap {max(gaps):.0e}" if gaps else ""
    fits = f"{solver['fits']} fits, {solver['unconverged']} not converged{gap}"
    return {
        "label": row.label,
        "runs": [r["run"][:12] for r in row.group.results],
        "probe": first["probe"],
        "settings": _chosen_settings(first),
        "sources": [
            {
                "stream": f"{s['extractor']}, {s['stream']}, {_pooling(s)} ",
                "fingerprint": s["fingerprint"][:12],
            }
            for s in first["sources"]
        ],
        "steps": ", ".join(first["steps"]) or "none",
        "test": row.explanation or ("the best" if row.mark == BEST else "–"),
        "folds": _fold_scores(first),
        "fits": f"{fits}; {first['seconds']['fit']:.1f} s",
        "manifest": first["manifest"][:12],
        "created": first["created"][:16].replace("T", " "),
    }


def _pooling(source: Source) -> str:
    return "+".join(source["pool"]) or "not pooled"


def _chosen_settings(result: Result) -> list[str]:
    """Return the chosen hyperparameters, with the number of folds where these differ."""
    counts: dict[str, int] = {}
    for fold in result["folds"]:
        text = ", ".join(f"{name} = {_value(value)}" for name, value in fold["params"].items())
        if text:
            counts[text] = counts.get(text, 0) + 1
    if len(counts) < 2:
        return list(counts)
    return [f"{text} ({n} {'folds' if n > 1 else 'fold'})" for text, n in counts.items()]


def _fold_scores(result: Result) -> list[str]:
    """Return range and spread of the folds' scores."""
    scores = [fold["score"] for fold in result["folds"]]
    if len(scores) < 2:
        return ["one split"]
    span = f"{len(scores)} folds, {format_number(min(scores))} to {format_number(max(scores))}"
    return [span, f"sd {format_number(result['spread'])}"]


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a number as text; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
