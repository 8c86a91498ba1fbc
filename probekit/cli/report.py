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
    from probekit.probes import entry, results
    from probekit.report import page

    where = results.root(reports)
    there = sorted({result["task"] for _, result in results.files(reports)})
    if not there:
        raise DataError(f"{where}: no results yet; probekit evaluate makes them")
    strange = [name for name in task or () if name not in there]
    if strange:
        raise DataError(f"{where}: no results of {strange[0]!r}; there are {', '.join(there)}")
    wanted = list(dict.fromkeys(task or there))
    made = page.write(
        Path(out) if out else where / "index.html",
        [one for name in wanted for one in entry.entries(name, reports)],
        title=title,
        figures=where / "figures",
        cache=cache,
        audio=[Path(folder) for folder in audio or ()],
        budget=round(megabytes * 1e6),
    )
    for text in made.problems[:5]:
        output.warn(text)
    if len(made.problems) > 5:
        output.warn(f"and {len(made.problems) - 5} more")
    output.say(
        f"{made.path}: {made.runs} {'run' if made.runs == 1 else 'runs'} of "
        f"{', '.join(wanted)}; {made.sounds} clips with sound; {made.size / 1e6:.1f} MB"
    )
