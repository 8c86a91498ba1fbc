"""``probekit report``: one page of everything that was scored."""

from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options, output


def report(
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; repeat for several.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="FILE", help="Else index.html beside the results."),
    ] = None,
    title: Annotated[str, typer.Option(help="The page's heading.")] = "What the embeddings know",
    audio: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Where recordings are, if not where they were extracted from; repeatable.",
        ),
    ] = None,
    megabytes: Annotated[
        float,
        typer.Option("--audio-megabytes", min=0, help="Of audio in the page; 0 for none."),
    ] = 6.0,
    cache: options.Cache = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Write one HTML page of all results: it needs no network and no other file.

    Leaderboards with intervals and paired tests, scores of classes, label efficiency, the figures
    that probekit analyze made, and the clips that probes got wrong, some with their sound (the
    first seconds: mind whose recordings they are before you pass the page on).

    [bold]Examples[/bold]

      probekit report

      probekit report --task gtzan --audio ~/data/gtzan -o gtzan.html
    """
    from probekit.errors import DataError
    from probekit.report import html
    from probekit.scores import groups, store

    where = store.root(reports)
    read = [store.read(reports, name) for name in dict.fromkeys(task or [""])]
    notes = [one.note for one in read if one.note]
    for text in notes:
        output.warn(f"warning: {text}")
    tasks: dict[str, list[tuple[Path, store.Result]]] = {}
    for path, result in (pair for one in read for pair in one.found):
        tasks.setdefault(result["task"], []).append((path, result))
    strange = [name for name in task or () if name not in tasks]
    if strange or not tasks:
        there = sorted({result["task"] for _, result in store.read(reports).found})
        if not there:
            raise groups.no_results_error(strange[0] if strange else "", reports)
        raise DataError(f"{where}: no results of {strange[0]!r}; there are {', '.join(there)}")
    wanted = list(dict.fromkeys(task or sorted(tasks)))
    made = html.write(
        Path(out) if out else where / "index.html",
        [one for name in wanted for one in groups.filter_groups(tasks[name])],
        title=title,
        figures=where / "figures",
        cache=cache,
        audio=[Path(folder) for folder in audio or ()],
        budget=round(megabytes * 1e6),
        notes=notes,
    )
    if json:
        output.as_json({**vars(made), "notes": notes})
        return
    for text in made.problems[:5]:
        output.warn(text)
    if len(made.problems) > 5:
        output.warn(f"and {len(made.problems) - 5} more")
    output.say(
        f"{made.path}: {made.runs} {'run' if made.runs == 1 else 'runs'} of "
        f"{', '.join(wanted)}; {made.sounds} clips with sound; {made.size / 1e6:.1f} MB"
    )
