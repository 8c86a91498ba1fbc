"""Browser of misclassified clips: what its template and its script show."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from probekit.report.html.audio_clips import AudioClips, ClipTable, load_clip_table
from probekit.report.leaderboard import Leaderboard
from probekit.report.misclassification import Misclassified, find_misclassified

_EXPLANATIONS = {
    "single": "A clip is wrong if the class of the highest score is not its label.",
    "multi": "As many classes as a clip has labels, those of the highest scores, count as "
    "predicted; a clip is wrong if one of them is not its label.",
    "regression": "The tenth of the clips with the largest errors, in standard deviations of the "
    "targets.",
}


def clip_browser_data(
    boards: Sequence[Leaderboard],
    *,
    cache: str | Path | None,
    folders: Sequence[Path],
    budget: int,
) -> tuple[list[dict[str, Any]], AudioClips]:
    """Return what the script shows for each leaderboard, as JSON, and the audio in the page.

    Parameters
    ----------
    boards : sequence of Leaderboard
        Their runs.
    cache : str or pathlib.Path, optional
        Cache root, where manifests are stored.
    folders : sequence of pathlib.Path
        Folders with recordings; if empty, those that the manifests name.
    budget : int >= 0
        Bytes of audio in the page.
    """
    misclassified = [find_misclassified(board.rows) for board in boards]
    tables = []
    for board in boards:
        results = (r for row in board.rows for r in row.group.results)
        tables.append(load_clip_table(cache, (r["manifest"] for r in results), folders))
    audio = AudioClips(budget)
    if budget:
        _add_audio(audio, boards, misclassified, tables)
    data = [
        _board_data(board, runs, table, audio)
        for board, runs, table in zip(boards, misclassified, tables, strict=True)
    ]
    return data, audio


def _add_audio(
    audio: AudioClips,
    boards: Sequence[Leaderboard],
    misclassified: Sequence[Sequence[Misclassified]],
    tables: Sequence[ClipTable],
) -> None:
    """Add the first listed clips of all runs in turn, until the budget is used up."""
    longest = max(len(run.clip_ids) for runs in misclassified for run in runs)
    for k in range(longest):
        for board, runs, table in zip(boards, misclassified, tables, strict=True):
            for run in runs:
                segment = table.find(run.clip_ids[k]) if k < len(run.clip_ids) else None
                if segment and not audio.add(board.task, run.clip_ids[k], *segment):
                    return


def _board_data(
    board: Leaderboard, runs: Sequence[Misclassified], table: ClipTable, audio: AudioClips
) -> dict[str, Any]:
    clip_ids = list(dict.fromkeys(clip for run in runs for clip in run.clip_ids))
    number = {clip: k for k, clip in enumerate(clip_ids)}
    wrong = Counter(chain.from_iterable(set(run.wrong_ids) for run in runs))
    scored = Counter(chain.from_iterable(set(run.scored_ids) for run in runs))
    classes = board.rows[0].first_run["classes"]
    return {
        "target": board.rows[0].first_run["target"],
        "classes": classes,
        "clips": clip_ids,
        "files": [table.rows.get(clip, ("",))[0] for clip in clip_ids],
        "wrongIn": [wrong[clip] for clip in clip_ids],
        "scoredIn": [scored[clip] for clip in clip_ids],
        "sounds": {
            str(number[clip]): k
            for (task, clip), k in audio.index.items()
            if task == board.task and clip in number
        },
        "silence": _why_silent(clip_ids, table, audio),
        "runs": [
            {
                "label": run.label,
                "wrong": run.wrong,
                "of": run.total,
                "problem": run.problem,
                "pairs": run.pairs,
                "classes": None
                if row.first_run["classes"] == classes
                else row.first_run["classes"],
                "items": [
                    [number[clip], *item]
                    for clip, item in zip(run.clip_ids, run.items, strict=True)
                ],
            }
            for row, run in zip(board.rows, runs, strict=True)
        ],
    }


def _why_silent(clip_ids: Sequence[str], table: ClipTable, audio: AudioClips) -> str:
    """Return why a clip has no audio."""
    if not audio.budget:
        return "This page was made without audio."
    if not any(table.find(clip) for clip in clip_ids):
        return "The audio was not found; add it with probekit report --audio DIR."
    return "Not among the clips whose audio is in this page, to keep it small."


def clip_browser_view(board: Leaderboard, data: dict[str, Any]) -> dict[str, Any]:
    """Return title, explanation and filters of a leaderboard's browser."""
    regression = data["target"] == "regression"
    several_seeds = any(len(row.group.results) > 1 for row in board.rows)
    explanation = _EXPLANATIONS[data["target"]]
    if several_seeds:
        explanation += " Of several seeds the first one is shown."
    with_errors = (k for k, run in enumerate(data["runs"]) if run["items"])
    return {
        "title": "Largest errors" if regression else "Wrong clips",
        "explanation": explanation,
        "regression": regression,
        "runs": [run["label"] for run in data["runs"]],
        "first_run": next(with_errors, 0),
    }
