"""``probekit results``: what was scored."""

from typing import Annotated

import typer

from probekit.cli import options, output

app = typer.Typer(help="What was scored.", no_args_is_help=True)


@app.command("ls")
def ls(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """List all results, by task, best first.

    [bold]Example[/bold]

      probekit results ls --task fsdd
    """
    from probekit.probes import results

    table = results.frame(reports)
    if task is not None:
        table = table[table["task"] == task]
    if json:
        output.as_json(table.to_dict("records"))
        return
    if table.empty:
        output.say(f"no results in {results.root(reports)}; probekit evaluate makes them")
        return
    rows = [
        (
            r.task,
            r.embedding,
            r.metric,
            f"{r.score:.3f}",
            f"{r.low:.3f} – {r.high:.3f}",
            f"{r.clips:,} of {r.of:,}",
            r.provenance or "–",
            r.run[:12],
        )
        for r in table.itertuples(index=False)
    ]
    output.table(
        ("task", "embedding", "metric", "score", "95 % interval", "clips", "note", "run"),
        rows,
        numbers="score|clips",
    )
