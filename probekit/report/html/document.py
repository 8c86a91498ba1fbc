"""One HTML file that needs nothing but itself: scores, classes, figures, and what went wrong."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from probekit.errors import DataError
from probekit.report.html import clip_browser, embedded_figures
from probekit.report.html.audio_clips import Sounds
from probekit.report.html.class_scores import classes
from probekit.report.html.efficiency_panels import efficiency
from probekit.report.html.embedded_figures import Picture
from probekit.report.html.leaderboard_view import leaderboard
from probekit.report.html.markup import Markup, capital, join, label, number, tag
from probekit.report.html.run_details import run_details
from probekit.report.leaderboard import Leaderboard, boards
from probekit.scores.groups import RunGroup
from probekit.utils import atomic

AUDIO = 6_000_000  # bytes of audio in the page
_SCRIPTS = ("sort.js", "browser.js")


@dataclass(frozen=True)
class PageSummary:
    """What was written.

    Attributes
    ----------
    path : pathlib.Path
        The page.
    size : int
        Its bytes.
    tasks, runs : int
        What it shows.
    sounds : int
        Clips that it can play.
    problems : list of str
        Recordings that could not be read, figures that were left out.
    """

    path: Path
    size: int
    tasks: int
    runs: int
    sounds: int
    problems: list[str]


def write(
    path: Path,
    entries: Sequence[RunGroup],
    *,
    title: str = "What the embeddings know",
    figures: Path | None = None,
    cache: str | Path | None = None,
    audio: Sequence[Path] = (),
    budget: int = AUDIO,
    notes: Sequence[str] = (),
) -> PageSummary:
    """Write the page of some runs.

    Parameters
    ----------
    path : pathlib.Path
        The HTML file; its folder is made, and an older page replaced at once.
    entries : sequence of Entry, at least one
        What was scored; see :func:`probekit.scores.groups.entries`.
    title : str
        Its heading.
    figures : pathlib.Path, optional
        A folder of figures: those of the page's tasks, and those of no task, are shown.
    cache : str or pathlib.Path, optional
        Where extraction kept the clip tables; see :func:`probekit.evaluate`.
    audio : sequence of pathlib.Path
        Folders with recordings; by default those that the clip tables name, if they are there.
    budget : int >= 0
        Bytes of audio in the page; 0 for none.
    notes : sequence of str
        What has to be known before the numbers are read, for example results that were left out.

    Returns
    -------
    Written
        The file, and what is in it.

    Raises
    ------
    DataError
        If there is nothing to show, or a folder of recordings is not there.
    """
    if not entries:
        raise DataError("no results to show; probekit evaluate makes them")
    for folder in audio:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    found = boards(entries)
    data, heard = clip_browser.build(found, cache=cache, folders=audio, budget=budget)
    drawn = _select_figures(
        embedded_figures.collect_figures(figures), {board.task for board in found}
    )
    runs = sum(len(entry.results) for entry in entries)
    text = _document(title, found, runs, data, heard, drawn, notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write_text(path, text)
    left = [f"{one.name}: too large for the page" for one in drawn if not one.address]
    return PageSummary(
        path=path,
        size=path.stat().st_size,
        tasks=len({board.task for board in found}),
        runs=runs,
        sounds=len(heard.data),
        problems=[*heard.problems.values(), *left],
    )


def _document(
    title: str,
    found: Sequence[Leaderboard],
    runs: int,
    data: Sequence[dict[str, Any]],
    heard: Sounds,
    drawn: Sequence[Picture],
    notes: Sequence[str],
) -> str:
    """Return the whole page."""
    style, script = _read_asset("style.css"), "\n".join(map(_read_asset, _SCRIPTS))
    kept = _as_json({"boards": data, "sounds": heard.data})
    others = [one for one in drawn if not one.task]
    body = join(
        tag("a", "Skip to the results", href="#results", class_="skip"),
        _header(title, found, runs, notes),
        tag(
            "main",
            *(_section(k, b, data[k], drawn) for k, b in enumerate(found)),
            _figures(others, "Figures") if others else "",
            id="results",
        ),
        tag("footer", _footer(), class_="soft"),
        Markup(f'<script type="application/json" id="data">{kept}</script>'),
        Markup(f"<script>{script}</script>"),
    )
    head = join(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Markup(f"<style>{style}</style>"),
    )
    page = tag("html", tag("head", head), "\n", tag("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"


def _read_asset(name: str) -> str:
    """Return a text that comes with the page."""
    return (files("probekit.report.html") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return what a browser may do with the page: run its own script, and load nothing."""

    def digest(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _as_json(value: Any) -> str:
    """Return JSON that cannot end the element that it stands in."""
    try:
        text = _dumped(value)
    except ValueError:  # numbers that JSON does not have are rare: look for them only then
        text = _dumped(_finite(value))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    """Return a value with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def _header(title: str, found: Sequence[Leaderboard], runs: int, notes: Sequence[str]) -> Markup:
    """Return heading, what has to be known first, and the way to each task."""
    tasks = len({board.task for board in found})
    said = f"{tasks} {'task' if tasks == 1 else 'tasks'}, {runs} {'run' if runs == 1 else 'runs'}"
    links = (_link(k, board) for k, board in enumerate(found))
    return tag(
        "header",
        tag("p", "probekit", class_="maker"),
        tag("h1", label(title)),
        tag("p", said, class_="soft"),
        _banner(found, notes),
        tag("nav", tag("ol", *links), aria_label="Tasks") if len(found) > 1 else Markup(""),
    )


def _link(k: int, board: Leaderboard) -> Markup:
    best = board.rows[0]
    return tag(
        "li",
        tag("a", label(board.title), href=f"#board-{k}"),
        tag("span", label(best.label), class_="soft"),
        tag("span", number(best.score), class_="n"),
    )


def _banner(found: Sequence[Leaderboard], notes: Sequence[str]) -> Markup:
    """Return what the numbers rest on, where that is not plainly data and weights, and notes."""
    rows = [row for board in found for row in board.rows]
    counts: dict[str, int] = {}
    for row in rows:
        for text in row.provenance:
            counts[text] = counts.get(text, 0) + 1
    if not counts and not notes:
        return Markup("")
    items = [
        tag(
            "li",
            tag("b", label(capital(text))),
            "" if n == len(rows) else f" ({n} of {len(rows)} rows)",
        )
        for text, n in counts.items()
    ]
    items += [tag("li", label(capital(text))) for text in notes]
    return tag("ul", *items, class_="banner", role="note", aria_label="What these numbers rest on")


def _section(k: int, board: Leaderboard, data: dict[str, Any], drawn: Sequence[Picture]) -> Markup:
    """Return all about one task."""
    own = [one for one in drawn if one.task == board.task]
    return tag(
        "section",
        tag("h2", label(board.title), id=f"title-{k}"),
        tag(
            "p",
            tag("code", board.task),
            " · ",
            f"{capital(board.protocol).rstrip('.')}.",
            class_="soft",
        ),
        leaderboard(board),
        efficiency(board),
        _figures(own) if own else "",
        clip_browser.browser(board, k, data),
        classes(board),
        run_details(board),
        id=f"board-{k}",
        aria_labelledby=f"title-{k}",
    )


def _select_figures(drawn: Sequence[Picture], tasks: set[str]) -> list[Picture]:
    """Return the figures of some tasks, and those of none."""
    return [one for one in drawn if one.task in tasks or not one.task]


def _figures(drawn: Sequence[Picture], title: str = "") -> Markup:
    """Return figures with their captions."""
    items = (
        tag(
            "figure",
            tag("img", alt=one.name, src=one.address)
            if one.address
            else tag("p", f"{one.name} is too large for this page.", class_="soft"),
            tag("figcaption", one.caption),
        )
        for one in drawn
    )
    heading = tag("h2" if title else "h3", title or "Figures")
    return tag("div", heading, tag("div", *items, class_="figures"))


def _footer() -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Made by probekit {version('probekit')} on {now}. It loads nothing from the network."
