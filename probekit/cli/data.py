"""``probekit data``: check a dataset's folder, find leaks between splits, write stand-in data."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.utils.text import join_names

if TYPE_CHECKING:
    from probekit.tasks.leakage import Leak
    from probekit.tasks.validation import FolderCheck

app = typer.Typer(
    no_args_is_help=True, help="Check a dataset's folder, find leaks, make stand-in data."
)
_SHOWN = 10

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="A task's name, card or CSV, a folder, or an extracted dataset."
    ),
]


@app.command()
def check(
    task: TaskName,
    root: options.Root = None,
    decode: Annotated[bool, typer.Option("--decode", help="Decode every recording.")] = False,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Compare a dataset's folder with the task's card; exit code 1 if anything deviates.

    [bold]Examples[/bold]

      probekit data check urbansound8k --root ~/data/UrbanSound8K

      probekit data check gtzan --root ~/data/gtzan --decode
    """
    from probekit.cache import layout
    from probekit.probes import task_clips
    from probekit.tasks import validation

    with output.make_progress("clips") as bar:
        line = bar.add_task("reading", total=None, note="", visible=decode)
        result = validation.check_folder(
            task_clips.resolve_task(task, layout.cache_root(cache)),
            root,
            decode=decode,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    if json:
        output.print_json(asdict(result))
    else:
        _print_check(result)
    if result.faults:
        raise typer.Exit(1)


@app.command()
def leaks(
    task: TaskName,
    root: options.Root = None,
    identical: Annotated[
        bool, typer.Option("--identical", help="Compare all recordings by hash as well.")
    ] = False,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """List groups, and with --identical recordings, that are in several splits or folds.

    Exit code 1 if there are any that the task's card does not name.

    [bold]Example[/bold]

      probekit data leaks urbansound8k --root ~/data/UrbanSound8K --identical
    """
    from probekit.cache import layout
    from probekit.errors import DataError
    from probekit.probes import task_clips
    from probekit.tasks import leakage

    resolved = task_clips.resolve_task(task, layout.cache_root(cache))
    clips = resolved.manifest(root, audio=identical)
    leaks: dict[str, list[Leak]] = {}
    try:
        leaks["groups"] = leakage.find_shared_groups(resolved, clips)
    except DataError as error:
        if not identical:
            raise
        output.warn(str(error))
    if identical:
        with output.make_progress("recordings") as bar:
            line = bar.add_task("hashing", total=None, note="")
            leaks["identical recordings"] = leakage.find_duplicates(
                resolved, clips, lambda done, total: bar.update(line, completed=done, total=total)
            )
    if json:
        output.print_json({kind: [asdict(leak) for leak in items] for kind, items in leaks.items()})
    else:
        for kind, items in leaks.items():
            _print_leaks(kind, resolved.card.group if kind == "groups" else None, items)
    if any(not leak.named for items in leaks.values() for leak in items):
        raise typer.Exit(1)


@app.command("rehearse")
def make_standin(
    task: TaskName,
    root: Annotated[str, typer.Option(metavar="DIR", help="A new or empty folder.")],
    clips: Annotated[int, typer.Option(min=1, help="Approximate number of clips.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic sounds.")] = 0,
) -> None:
    """Write stand-in data: the dataset's exact layout with synthetic sounds.

    All results made from it are marked "stand-in data".

    [bold]Example[/bold]

      probekit data rehearse urbansound8k --root /tmp/urbansound8k --clips 100
    """
    from probekit.tasks.task import load_task

    loaded = load_task(task)
    loaded.write_standin(Path(root), clips, seed)
    written = len(loaded.manifest(root))
    reason = ""
    if written > 1.5 * clips:
        reason = "its splits need more"
        if loaded.listed_by_card:
            reason = f"this task's list has {written:,}"
        reason = f" (requested {clips:,}; {reason})"
    output.say(f"{root}: {written:,} stand-in clips of {loaded.name}{reason}")


def _print_check(result: "FolderCheck") -> None:
    output.say(f"{result.task}{' (stand-in data)' if result.stand_in else ''}")
    output.print_table(
        ("", "found", "expected"),
        [
            (name, f"{n['found']:,}", "–" if n["expected"] is None else f"{n['expected']:,}")
            for name, n in result.counts.items()
        ],
        numbers="found|expected",
    )
    if result.labels:
        labels = ", ".join(f"{name} {number:,}" for name, number in result.labels.items())
        output.say(f"{len(result.labels)} labels: {labels}")
    _print_some("missing recordings", result.missing)
    for command in result.unpack:
        output.say(f"  not unpacked yet? In that folder: {command}")
    _print_some("known to be faulty", [f"{clip}: {why}" for clip, why in result.known_bad.items()])
    if result.undecodable is not None:
        output.say(f"{output.format_duration(result.seconds or 0.0)} of audio read")
        _print_some("cannot be read", [f"{c}: {why}" for c, why in result.undecodable.items()])
    else:
        output.say("recordings were not opened: --decode reads every sample")
    output.say("differs: " + "; ".join(result.faults) if result.faults else "no differences")


def _print_some(title: str, items: list[str]) -> None:
    if items:
        output.say(f"{title} ({len(items):,}):")
        for item in items[:_SHOWN]:
            output.say(f"    {item}")
        if len(items) > _SHOWN:
            output.say(f"    … and {len(items) - _SHOWN:,} more")


def _print_leaks(kind: str, group: str | None, leaks: "list[Leak]") -> None:
    meaning = f" (a group is {group})" if group else ""
    if not leaks:
        output.say(f"{kind}: none is in several splits{meaning}")
        return
    clips = sum(len(ids) for leak in leaks for ids in leak.sides.values())
    named = sum(leak.named for leak in leaks)
    output.say(
        f"{kind} in several splits: {len(leaks):,}, with {clips:,} clips"
        f"{f', {named:,} of them named by the card' if named else ''}{meaning}"
    )
    output.print_table(
        (kind, "splits", "clips"),
        [
            (
                leak.what,
                _sizes(leak),
                join_names([i for ids in leak.sides.values() for i in ids], 4),
            )
            for leak in leaks[:_SHOWN]
        ],
    )
    if len(leaks) > _SHOWN:
        output.say(f"… and {len(leaks) - _SHOWN:,} more (--json lists all)")


def _sizes(leak: "Leak") -> str:
    return ", ".join(f"{name} ({len(ids)})" for name, ids in leak.sides.items())
