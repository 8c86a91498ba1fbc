"""``probekit extract``: embed recordings into the cache."""

from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.cli.progress import ExtractionProgress
from probekit.utils.text import count_of

if TYPE_CHECKING:
    from probekit.extraction.extract import Summary

_MAX_LINES = 20  # clips that are printed: failed ones, and those with notes


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
        typer.Option(help="Name of your own folder or CSV; by default its file name."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many clips, spread over the dataset.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate the work, and do nothing.")
    ] = False,
    cache: options.Cache = None,
    reports: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Results folder of students runs/ID; else PROBEKIT_REPORTS."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights file, or NAME=random:SEED."),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Streams to store; else the default one."),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Store frames as well as pooled vectors.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option(help="Worker processes; recordings that crash one are skipped and listed."),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="One worker process per device: cuda:0,cuda:1."),
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address of a Dask scheduler, or local.")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="One of N independent shares, for job arrays."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="float32|bf16|fp16", help="Arithmetic of the network.")
    ] = "float32",
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16", help="Type of the stored numbers.")
    ] = "float32",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Retry clips that failed before.")
    ] = False,
    allow_truncated: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of a clip, 0 to 1, that a truncated recording may lack.",
        ),
    ] = 0.0,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Sentence with {} for a class, for zero-shot; repeatable."
        ),
    ] = None,
    verify_audio: Annotated[
        bool, typer.Option("--verify-audio", help="Detect changed recordings by hash.")
    ] = False,
    json: bool = output.AsJson,
) -> None:
    """Embed recordings and store the embeddings in an HDF5 cache.

    Clips in the cache are not embedded again; an interrupted extraction resumes where it stopped.

    [bold]Examples[/bold]

      probekit extract -e melstats --task fsdd --root ~/data/free-spoken-digit-dataset

      probekit extract -e vggish -e melstats --audio ~/recordings

      probekit extract -e vggish --manifest clips.csv --weights vggish=random:0 --limit 100

      probekit extract -e vggish --audio /data/recordings --devices cuda:0,cuda:1
    """
    from probekit.extraction.extract import extract as run_extraction

    with ExtractionProgress() as progress:
        summaries = run_extraction(
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
            allow_truncated=allow_truncated,
            verify_audio=verify_audio,
            dry_run=dry_run,
            begin=progress.begin,
            progress=progress.tick,
            note=output.warn,
            templates=template or (),
        )
    if json:
        output.print_json([summary.to_dict() for summary in summaries])
    else:
        for summary in summaries:
            _print_summary(summary)
    if any(summary.failed for summary in summaries):
        raise typer.Exit(1)


def _print_summary(summary: "Summary") -> None:
    """Print what was done, and what failed."""
    share = f" (share {summary.share})" if summary.share else ""
    if summary.dry:
        output.say(
            f"{summary.extractor}: {summary.todo:,} of {summary.total:,} clips to embed{share}, "
            f"{summary.cached:,} cached; about {output.format_size(summary.bytes)} in "
            f"{summary.folder}"
        )
        if summary.todo:
            output.say(f"  {_format_estimate(summary)}")
    elif not summary.todo:
        output.say(
            f"{summary.extractor}: nothing to do{share}, {summary.cached:,} of "
            f"{summary.total:,} clips are in {summary.folder}"
        )
    else:
        speed = output.format_speed(summary.audio_seconds, max(summary.seconds, 1e-9))
        output.say(
            f"{summary.extractor}: {count_of(summary.done, 'clip')} embedded in "
            f"{output.format_duration(summary.seconds)} "
            f"({output.format_duration(summary.audio_seconds)} of audio, {speed}), "
            f"{summary.cached:,} were cached{share}; in {summary.folder}"
        )
    if summary.provenance:
        output.say(f"  {'; '.join(summary.provenance)}")
    if summary.notes:
        output.say(f"  {len(summary.notes):,} of them with a note on their recording:")
        _print_clips({clip_id: "; ".join(texts) for clip_id, texts in summary.notes.items()})
    if summary.failed:
        output.say(f"  {len(summary.failed):,} of {summary.total:,} clips have no embedding:")
        _print_clips(summary.failed)


def _print_clips(texts: dict[str, str]) -> None:
    """Print a line for each of some clips, and how many there are more."""
    for clip_id, text in sorted(texts.items())[:_MAX_LINES]:
        output.say(f"    {clip_id}: {text}")
    if len(texts) > _MAX_LINES:
        output.say(f"    … and {len(texts) - _MAX_LINES:,} more (probekit cache info)")


def _format_estimate(summary: "Summary") -> str:
    """Return about how much audio there is, and how long it takes if that is known."""
    if summary.about_audio_seconds is None:
        return "no recording declares its duration; time: unknown until the first clips are done"
    audio = f"about {output.format_duration(summary.about_audio_seconds)} of audio"
    padded = summary.about_padded_seconds or 0.0
    if padded > 1.1 * summary.about_audio_seconds:
        audio += f", {output.format_duration(padded)} with the zeros that follow short clips"
    if summary.about_seconds is None:
        return f"{audio}; time: unknown until the first clips are done"
    seconds = output.format_duration(summary.about_seconds)
    return f"{audio}; about {seconds} in one process ({summary.like})"
