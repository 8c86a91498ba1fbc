"""``probekit extract``: recordings become embeddings in the cache."""

from typing import Annotated

import typer

from probekit.cli import options, output, progress


def extract(
    embedding: options.Embedding,
    task: Annotated[str | None, typer.Option(help="A task's name, card or CSV.")] = None,
    root: options.Root = None,
    audio: Annotated[
        str | None, typer.Option(metavar="DIR", help="Recordings; sub-folders are labels.")
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(metavar="FILE", help="CSV: clip_id, path, start, end, label …")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name for a folder or CSV of your own; else the folder's or file's."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="That many clips only, spread over all.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    cache: options.Cache = None,
    reports: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where runs/ID is looked for; else PROBEKIT_REPORTS."),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Or NAME=random:SEED.")
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Streams to keep; the default one if not given."),
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help="Keep frames, not only pooled.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(help="Worker processes, which survive recordings that crash their decoder."),
    ] = None,
    devices: Annotated[
        str | None, typer.Option(metavar="A,B", help="A worker process for each: cuda:0,cuda:1.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler's, or local.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="One of N independent shares, for job arrays."),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, bf16 or fp16.")] = "float32",
    dtype: Annotated[str, typer.Option(help="Storage: float32 or float16.")] = "float32",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try clips again that failed before.")
    ] = False,
    verify_audio: Annotated[
        bool, typer.Option("--verify-audio", help="Compare recordings by hash.")
    ] = False,
    json: bool = output.AsJson,
) -> None:
    """Embed recordings and keep the embeddings in an HDF5 cache.

    What is there already is not computed again; an interrupted run goes on where it was.

    [bold]Examples[/bold]

      probekit extract -e melstats --task fsdd --root ~/data/free-spoken-digit-dataset

      probekit extract -e vggish -e melstats --audio ~/recordings

      probekit extract -e vggish --manifest clips.csv --weights vggish=random:0 --limit 100

      probekit extract -e vggish --audio /data/recordings --devices cuda:0,cuda:1
    """
    from probekit.extraction import extract as extract_module

    with progress.ExtractionProgress() as shown:
        summaries = extract_module.extract(
            embedding,
            task=task,
            root=root,
            audio=audio,
            manifest=manifest,
            name=name,
            cache=cache,
            reports=reports,
            weights=weights or (),
            streams=streams.split(",") if streams else None,
            frames=frames,
            device=device,
            jobs=jobs,
            devices=devices.split(",") if devices is not None else (),
            dask=dask,
            share=share,
            precision=precision,
            dtype=dtype,
            limit=limit,
            retry_failed=retry_failed,
            verify_audio=verify_audio,
            dry_run=dry_run,
            begin=shown.begin,
            progress=shown.tick,
        )
    if json:
        output.as_json([vars(summary) for summary in summaries])
    else:
        _tell(summaries)
    if any(summary.failed for summary in summaries):
        raise typer.Exit(1)


def _tell(summaries: "list[run.Summary]") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Print what was done, and what failed."""
    for one in summaries:
        share = f" (share {one.share})" if one.share else ""
        if one.dry:
            output.say(
                f"{one.extractor}: {one.todo:,} of {one.total:,} clips to embed{share}, "
                f"{one.cached:,} cached; about {output.size(one.bytes)} in {one.where}"
            )
            if one.todo:
                output.say(f"  {_forecast(one)}")
        elif not one.todo:
            output.say(
                f"{one.extractor}: nothing to do{share}, {one.cached:,} of {one.total:,} clips are "
                f"in {one.where}"
            )
        else:
            speed = output.speed(one.audio_seconds, max(one.seconds, 1e-9))
            output.say(
                f"{one.extractor}: {one.done:,} clips embedded in {output.duration(one.seconds)} "
                f"({output.duration(one.audio_seconds)} of audio, {speed}), "
                f"{one.cached:,} were cached{share}; in {one.where}"
            )
        if one.provenance:
            output.say(f"  {'; '.join(one.provenance)}")
        if one.failed:
            output.say(f"  {len(one.failed):,} of {one.total:,} clips have no embedding:")
            for clip_id, reason in sorted(one.failed.items())[:20]:
                output.say(f"    {clip_id}: {reason}")
            if len(one.failed) > 20:
                output.say(f"    … and {len(one.failed) - 20:,} more (probekit cache info)")


def _forecast(one: "run.Summary") -> str:  # type: ignore[name-defined]  # noqa: F821
    """Say about how much audio there is, and how long it takes where that is known."""
    if one.about_audio_seconds is None:
        return "no recording says how long it is; time: unknown until the first clips are done"
    audio = f"about {output.duration(one.about_audio_seconds)} of audio"
    if one.about_seconds is None:
        return f"{audio}; time: unknown until the first clips are done"
    return f"{audio}; about {output.duration(one.about_seconds)} in one process ({one.like})"
