"""``probekit results publish``: a folder for a dataset repository."""

from typing import Annotated

import typer

from probekit.cli import options, output


def publish(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; repeatable; else all.")
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option("-e", "--embedding", metavar="NAME", help="Only this embedding; repeatable."),
    ] = None,
    benchmark: Annotated[
        str,
        typer.Option(
            metavar="ORG/NAME",
            help="Also write .eval_results for model repositories: scores of the tasks of this "
            "benchmark.",
        ),
    ] = "",
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Publish results of weights whose licence forbids commercial use.",
        ),
    ] = False,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Write results for others into a folder that can be uploaded; nothing is sent anywhere.

    Parquet of scores and of predictions clip by clip, the results in full with their JSON schema,
    and a README with tasks, protocols, intervals, fingerprints, and licenses of audio and weights.
    Stale runs are left out. The folder appears when it is complete; the same results again change
    nothing.

    [bold]Examples[/bold]

      probekit results publish our-scores

      probekit results publish our-scores --task esc50 --benchmark our-lab/audio-probes
    """
    from probekit.report import publication

    published = publication.publish(
        folder,
        tasks=task or (),
        embeddings=embedding or (),
        benchmark=benchmark,
        accept_licence=accept_licence,
        reports=reports,
    )
    if json:
        output.print_json({**vars(published), "folder": str(published.folder)})
        return
    runs = f"{published.runs:,} result{'' if published.runs == 1 else 's'}"
    state = "" if published.is_new else "; they were there already"
    output.say(
        f"{published.folder}: {runs} on {', '.join(published.tasks)}, {len(published.files):,} "
        f"files{state}"
    )
    for note in published.notes:
        output.say(f"note: {note}")
    if published.is_new:
        output.say("read README.md, and choose a licence for the repository before you upload it")
