"""``probekit report``: one HTML page of all results."""

from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options, output


def report(
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Output file; else index.html in the results folder.",
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "What the embeddings know",
    audio: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of recordings that were moved after extraction; repeatable.",
        ),
    ] = None,
    megabytes: Annotated[
        float,
        typer.Option(
            "--audio-megabytes", min=0, help="Megabytes of audio in the page; 0 for none."
        ),
    ] = 6.0,
    cache: options.Cache = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Write one self-contained HTML page of all results.

    Leaderboards with intervals and paired tests, scores of classes, label efficiency, the figures
    made by probekit analyze, and the misclassified clips, some with audio (their first seconds:
    check the rights in the recordings before you share the page).

    [bold]Examples[/bold]

      probekit report

      probekit report --task gtzan --audio ~/data/gtzan -o gtzan.html
    """
    from probekit.errors import DataError
    from probekit.report import html
    from probekit.scores import groups, store

    folder = store.reports_root(reports)
    contents = [store.read_store(reports, name) for name in dict.fromkeys(task or [""])]
    notes = [content.note for content in contents if content.note]
    runs: dict[str, list[tuple[Path, store.Result]]] = {}
    for path, result in (run for content in contents for run in content.results):
        runs.setdefault(result["task"], []).append((path, result))
    unknown = [name for name in task or () if name not in runs]
    if unknown or not runs:
        for note in notes:
            output.warn(f"warning: {note}")
        existing = sorted({result["task"] for _, result in store.read_store(reports).results})
        if not existing:
            raise groups.no_results_error(unknown[0] if unknown else "", reports)
        raise DataError(f"{folder}: no results of {unknown[0]!r}, only of {', '.join(existing)}")
    tasks = list(dict.fromkeys(task or sorted(runs)))
    current = [groups.current_groups(runs[name]) for name in tasks]
    notes += [line for _, lines in current for line in lines]
    for note in notes:
        output.warn(f"warning: {note}")
    page = html.write_page(
        Path(out) if out else folder / "index.html",
        [group for of_task, _ in current for group in of_task],
        title=title,
        figures=folder / "figures",
        cache=cache,
        audio=[Path(root) for root in audio or ()],
        budget=round(megabytes * 1e6),
        notes=notes,
    )
    if json:
        output.print_json({**vars(page), "notes": notes})
        return
    for problem in page.problems[:5]:
        output.warn(problem)
    if len(page.problems) > 5:
        output.warn(f"and {len(page.problems) - 5} more")
    output.say(
        f"{page.path}: {page.runs} {'run' if page.runs == 1 else 'runs'} of "
        f"{', '.join(tasks)}; {page.sounds} clips with sound; {page.size / 1e6:.1f} MB"
    )
