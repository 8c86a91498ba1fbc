"""The browser of wrong clips: its frame, and the data that its script shows."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from probekit.report import misclassified
from probekit.report.html import audio_clips
from probekit.report.html.audio_clips import Clips, Sounds
from probekit.report.html.markup import Markup, join, tag
from probekit.report.leaderboard import Leaderboard
from probekit.report.misclassified import Misclassified

_SAID = {
    "single": "A clip is wrong if the class of the highest score is not its label.",
    "multi": "As many classes as a clip has labels, those of the highest scores, count as "
    "predicted; a clip is wrong if one of them is not its label.",
    "regression": "The tenth of the clips with the largest errors, in standard deviations of the "
    "targets.",
}


def build(
    boards: Sequence[Leaderboard],
    *,
    cache: str | Path | None,
    folders: Sequence[Path],
    budget: int,
) -> tuple[list[dict[str, Any]], Sounds]:
    """Return the data of all boards' browsers.

    Parameters
    ----------
    boards : sequence of Board
        What was scored.
    cache : str or pathlib.Path, optional
        Where clip tables are kept.
    folders : sequence of pathlib.Path
        Where audio is; where the clip tables say if there are none.
    budget : int >= 0
        Bytes of audio in the page.

    Returns
    -------
    list of dict
        One a board, for JSON.
    Sounds
        What can be played.
    """
    found = [misclassified.of(board.rows) for board in boards]
    tables = [
        audio_clips.clips_of(
            cache, (r["manifest"] for row in b.rows for r in row.entry.results), folders
        )
        for b in boards
    ]
    heard = Sounds(budget)
    if budget:
        _fill(heard, boards, found, tables)
    data = [
        _data(board, own, table, heard)
        for board, own, table in zip(boards, found, tables, strict=True)
    ]
    return data, heard


def _fill(
    heard: Sounds,
    boards: Sequence[Leaderboard],
    found: Sequence[Sequence[Misclassified]],
    tables: Sequence[Clips],
) -> None:
    """Take the surest mistakes of all runs in turn, until no more are allowed."""
    for k in range(max(len(one.clips) for own in found for one in own)):
        for board, own, table in zip(boards, found, tables, strict=True):
            for one in own:
                place = table.find(one.clips[k]) if k < len(one.clips) else None
                if place and not heard.add(board.task, one.clips[k], *place):
                    return


def _data(
    board: Leaderboard, found: Sequence[Misclassified], table: Clips, heard: Sounds
) -> dict[str, Any]:
    """Return what the script needs for one board."""
    ids = list(dict.fromkeys(clip for one in found for clip in one.clips))
    where = {clip: k for k, clip in enumerate(ids)}
    wrong = Counter(clip for one in found for clip in set(one.every))
    scored = Counter(clip for one in found for clip in set(one.scored))
    return {
        "target": board.rows[0].first["target"],
        "classes": board.rows[0].first["classes"],
        "clips": ids,
        "files": [table.table.get(clip, ("",))[0] for clip in ids],
        "wrongIn": [wrong[clip] for clip in ids],
        "scoredIn": [scored[clip] for clip in ids],
        "sounds": {
            str(where[clip]): k
            for (task, clip), k in heard.places.items()
            if task == board.task and clip in where
        },
        "silence": _silence(ids, table, heard),
        "runs": [
            {
                "label": one.label,
                "wrong": one.wrong,
                "of": one.of,
                "problem": one.problem,
                "pairs": one.pairs,
                "classes": _differing(board, k),
                "items": [[where[c], *item] for c, item in zip(one.clips, one.items, strict=True)],
            }
            for k, one in enumerate(found)
        ],
    }


def _differing(board: Leaderboard, k: int) -> list[str] | None:
    """Return a run's classes where they are not the first run's."""
    own = board.rows[k].first["classes"]
    return None if own == board.rows[0].first["classes"] else own


def _silence(ids: Sequence[str], table: Clips, heard: Sounds) -> str:
    """Say why clips have no sound."""
    if not heard.budget:
        return "This page was made without audio."
    if not any(table.find(clip) for clip in ids):
        return "The audio was not at hand; probekit report --audio DIR puts it into the page."
    return "Not among the clips whose audio is in this page, to keep it small."


def browser(board: Leaderboard, number: int, data: dict[str, Any]) -> Markup:
    """Return the frame of a board's browser, which the script fills.

    Parameters
    ----------
    board : Board
        What was scored.
    number : int
        Which board.
    data : dict
        From :func:`build`.

    Returns
    -------
    Markup
        A list and a panel, with what filters the list.
    """
    name = f"wrong-{number}"
    regression = data["target"] == "regression"
    title = "Largest errors" if regression else "Wrong clips"
    labels = [run["label"] for run in data["runs"]]
    first = next((k for k, run in enumerate(data["runs"]) if run["items"]), 0)
    filters = [_select("run", "run", labels, first)]
    if not regression:
        filters += [
            _select("true", "labelled", ["any class"]),
            _select("said", "predicted", ["any class"]),
        ]
    filters.append(
        _select("order", "first", ["largest error" if regression else "surest", "wrong most often"])
    )
    shown = tag(
        "div",
        tag(
            "ul",
            role="listbox",
            tabindex=0,
            aria_label=title,
            aria_describedby=f"{name}-keys",
            id=f"{name}-list",
        ),
        tag("div", class_="clip", aria_live="polite"),
        class_="pair",
    )
    keys = "Arrow keys move through the list; Enter plays the clip."
    return tag(
        "div",
        tag("h3", title, id=name),
        tag("p", _said(board, data["target"]), class_="soft"),
        tag("noscript", tag("p", "This list needs JavaScript.", class_="soft")),
        tag("div", *filters, class_="filters", role="group", aria_label="Which clips"),
        tag("div", class_="confusions", role="group", aria_label="Most frequent confusions"),
        tag("p", class_="count soft", role="status"),
        shown,
        tag("p", keys, class_="soft keys", id=f"{name}-keys"),
        class_="wrong",
        data_board=number,
        role="group",
        aria_labelledby=name,
    )


def _said(board: Leaderboard, target: str) -> str:
    """Return what counts as wrong, and of which run it is shown."""
    several = any(len(row.entry.results) > 1 for row in board.rows)
    return _SAID[target] + (" Of several seeds the first one is shown." if several else "")


def _select(name: str, said: str, options: Sequence[str], chosen: int = 0) -> Markup:
    own = (tag("option", o, value=k, selected=k == chosen) for k, o in enumerate(options))
    items = join(*own)
    return tag("label", tag("span", said), tag("select", items, data_filter=name))
