"""The page: scores, figures and misclassified clips in one HTML file that loads nothing else."""

import base64
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from probekit.errors import DataError
from probekit.report.html import task_section
from probekit.report.html.axis import format_percent, text_anchor
from probekit.report.html.clip_browser import clip_browser_data, clip_browser_view
from probekit.report.html.figure_images import FigureImage, collect_figures
from probekit.report.leaderboard import Leaderboard, build_leaderboards
from probekit.scores.groups import RunGroup
from probekit.utils import atomic
from probekit.utils.json_values import replace_nonfinite

AUDIO_BYTES = 6_000_000
_SCRIPTS = ("sort.js", "browser.js")


@dataclass(frozen=True)
class PageSummary:
    """What was written.

    Attributes
    ----------
    path : pathlib.Path
        The page.
    size : int
        Bytes.
    tasks, runs : int
        Numbers of tasks and runs.
    sounds : int
        Clips with audio.
    problems : list of str
        Recordings that could not be read, figures that were left out.
    """

    path: Path
    size: int
    tasks: int
    runs: int
    sounds: int
    problems: list[str]


def write_page(
    path: Path,
    groups: Sequence[RunGroup],
    *,
    title: str = "What the embeddings know",
    figures: Path | None = None,
    cache: str | Path | None = None,
    audio: Sequence[Path] = (),
    budget: int = AUDIO_BYTES,
    notes: Sequence[str] = (),
) -> PageSummary:
    """Write the page of some runs.

    Parameters
    ----------
    path : pathlib.Path
        The HTML file; its folder is made, and an older page replaced atomically.
    groups : sequence of RunGroup, at least one
        What was scored.
    title : str
        Heading.
    figures : pathlib.Path, optional
        A folder of figures: those of the page's tasks, and those of no task, are shown.
    cache : str or pathlib.Path, optional
        Cache root, where extraction stored the manifests.
    audio : sequence of pathlib.Path
        Folders with recordings; by default those that the manifests name.
    budget : int >= 0
        Bytes of audio in the page; 0 for none.
    notes : sequence of str
        Notes above the results, for example which results were left out.

    Returns
    -------
    PageSummary
        The file, and what is in it.

    Raises
    ------
    DataError
        If there are no runs, or a folder of recordings does not exist.
    """
    if not groups:
        raise DataError("no results to show; run probekit evaluate first")
    for folder in audio:
        if not folder.is_dir():
            raise DataError(f"--audio {folder}: no such folder")
    boards = build_leaderboards(groups)
    clips, sounds = clip_browser_data(boards, cache=cache, folders=audio, budget=budget)
    tasks = {board.task for board in boards}
    pictures = [f for f in collect_figures(figures) if f.task in tasks or not f.task]
    runs = sum(len(group.results) for group in groups)
    style, script = _read_asset("style.css"), "\n".join(map(_read_asset, _SCRIPTS))
    rows = [row for board in boards for row in board.rows]
    page = template_environment().get_template("page.html")
    text = page.render(
        title=title,
        tasks=len(tasks),
        runs=runs,
        provenance=Counter(text for row in rows for text in row.provenance),
        total_rows=len(rows),
        notes=notes,
        sections=[_section(k, board, clips[k], pictures) for k, board in enumerate(boards)],
        other_figures=[figure for figure in pictures if not figure.task],
        version=version("probekit"),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        policy=_security_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=_script_json({"boards": clips, "sounds": sounds.data}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write_text(path, text)
    omitted = [f"{f.name}: too large for the page" for f in pictures if not f.address]
    return PageSummary(
        path=path,
        size=path.stat().st_size,
        tasks=len(tasks),
        runs=runs,
        sounds=len(sounds.data),
        problems=[*sounds.problems.values(), *omitted],
    )


@functools.cache
def template_environment() -> jinja2.Environment:
    """Return the environment of the templates, which escapes all text."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("probekit.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number=task_section.format_number,
        compact=_compact,
        percent=format_percent,
        text_anchor=text_anchor,
        capital=lambda text: text[:1].upper() + text[1:],
    )
    templates.globals["zip"] = zip
    return templates


def _section(
    number: int, board: Leaderboard, clips: dict[str, Any], figures: Sequence[FigureImage]
) -> dict[str, Any]:
    """Return the contents of a task's section."""
    return {
        "number": number,
        "board": board,
        "leaderboard": task_section.leaderboard_view(board),
        "efficiency": task_section.efficiency_view(board),
        "learning_curves": task_section.learning_curves_view(board),
        "figures": [figure for figure in figures if figure.task == board.task],
        "audits": [
            view
            for figure in figures
            if figure.task == board.task and (view := task_section.audit_view(figure.facts))
        ],
        "clip_browser": clip_browser_view(board, clips),
        "class_scores": task_section.class_scores_view(board),
        "run_details": task_section.run_details_view(board),
    }


def _compact(value: float | str) -> str:
    """Return a number with six significant digits at most."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read_asset(name: str) -> str:
    return (files("probekit.report.html") / name).read_text(encoding="utf-8")


def _security_policy(style: str, script: str) -> str:
    """Return what a browser may do with the page: run its own script, and load nothing."""

    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> Markup:
    """Return JSON that cannot end the script element around it."""
    try:
        text = _dump(value)
    except ValueError:  # NaN and infinity are rare: look for them only then
        text = _dump(replace_nonfinite(value))
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
