"""``probekit data``: is a dataset's folder whole, does its split leak, what would it look like."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.tasks.leakage import Leak
    from probekit.tasks.validation import Check

app = typer.Typer(
    no_args_is_help=True, help="A dataset's folder: check it, find leaks, make stand-in data."
)
_SHOWN = 10

TaskName = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="A task's name, card or CSV, a folder, or what was extracted."
    ),
]


@app.command()
def check(
    task: TaskName,
    root: options.Root = None,
    decode: Annotated[bool, typer.Option("--decode", help="Read every recording.")] = False,
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

    with output.progress("clips") as bar:
        line = bar.add_task("reading", total=None, note="", visible=decode)
        found = validation.check(
            task_clips.resolve_task(task, layout.root(cache)),
            root,
            decode=decode,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )
    if json:
        output.as_json(asdict(found))
    else:
        _tell(found)
    if found.faults:
        raise typer.Exit(1)


@app.command()
def leaks(
    task: TaskName,
    root: options.Root = None,
    identical: Annotated[
        bool, typer.Option("--identical", help="Compare all recordings by their hash, too.")
    ] = False,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """List groups, and with --identical recordings, on several sides of a task's split.

    Exit code 1 if there are any that the task's card does not name.

    [bold]Example[/bold]

      probekit data leaks urbansound8k --root ~/data/UrbanSound8K --identical
    """
    from probekit.cache import layout
    from probekit.errors import DataError
    from probekit.probes import task_clips
    from probekit.tasks import leakage as finding

    own = task_clips.resolve_task(task, layout.root(cache))
    clips = own.manifest(root, audio=identical)
    found: dict[str, list[Leak]] = {}
    try:
        found["groups"] = finding.find_shared_groups(own, clips)
    except DataError as error:
        if not identical:
            raise
        output.warn(str(error))
    if identical:
        with output.progress("recordings") as bar:
            line = bar.add_task("hashing", total=None, note="")
            found["identical recordings"] = finding.find_duplicates(
                own, clips, lambda done, total: bar.update(line, completed=done, total=total)
            )
    if json:
        output.as_json({what: [asdict(leak) for leak in every] for what, every in found.items()})
    else:
        for what, every in found.items():
            _tell_leaks(what, own.card.group if what == "groups" else None, every)
    if any(not leak.named for every in found.values() for leak in every):
        raise typer.Exit(1)


@app.command("rehearse")
def make_standin(
    task: TaskName,
    root: Annotated[str, typer.Option(metavar="DIR", help="A new or empty folder.")],
    clips: Annotated[int, typer.Option(min=1, help="About how many.")] = 60,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write stand-in data: the dataset's exact layout with synthetic sounds.

    Whatever is computed from it says "stand-in data".

    [bold]Example[/bold]

      probekit data rehearse urbansound8k --root /tmp/urbansound8k --clips 100
    """
    from probekit.tasks import task as task_module

    own = task_module.load_task(task)
    own.write_standin(Path(root), clips, seed)
    written = len(own.manifest(root))
    more = ""
    if written > 1.5 * clips:
        why = f"this task's list has {written:,}" if own.listed_by_card else "its splits need more"
        more = f" ({clips:,} asked for; {why})"
    output.say(f"{root}: {written:,} stand-in clips of {own.name}{more}")


def _tell(found: "Check") -> None:
    """Print what was found."""
    output.say(f"{found.task}{' (stand-in data)' if found.stand_in else ''}")
    output.table(
        ("", "found", "expected"),
        [
            (side, f"{n['found']:,}", "–" if n["expected"] is None else f"{n['expected']:,}")
            for side, n in found.counts.items()
        ],
        numbers="found|expected",
    )
    if found.labels:
        said = ", ".join(f"{name} {number:,}" for name, number in found.labels.items())
        output.say(f"{len(found.labels)} labels: {said}")
    _tell_some("recordings that are not there", found.missing)
    for command in found.unpack:
        output.say(f"  not unpacked yet? In that folder: {command}")
    _tell_some("known to be faulty", [f"{clip}: {why}" for clip, why in found.known_bad.items()])
    if found.undecodable is not None:
        output.say(f"{output.duration(found.seconds or 0.0)} of audio read")
        _tell_some("cannot be read", [f"{c}: {why}" for c, why in found.undecodable.items()])
    else:
        output.say("recordings were not opened: --decode tells whether all of a clip is there")
    output.say("differs: " + "; ".join(found.faults) if found.faults else "all as it should be")


def _tell_some(what: str, items: list[str]) -> None:
    if items:
        output.say(f"{what} ({len(items):,}):")
        for item in items[:_SHOWN]:
            output.say(f"    {item}")
        if len(items) > _SHOWN:
            output.say(f"    … and {len(items) - _SHOWN:,} more")


def _tell_leaks(what: str, group: str | None, found: "list[Leak]") -> None:
    """Print leaks, and how many clips they concern."""
    meant = f" (a group is {group})" if group else ""
    if not found:
        output.say(f"{what}: none is on two sides{meant}")
        return
    clips = sum(len(ids) for leak in found for ids in leak.sides.values())
    named = sum(leak.named for leak in found)
    output.say(
        f"{what} on several sides: {len(found):,}, with {clips:,} clips"
        f"{f', {named:,} of them named by the card' if named else ''}{meant}"
    )
    output.table(
        (what, "sides", "clips"),
        [
            (leak.what, _sides(leak), _shorten([i for ids in leak.sides.values() for i in ids]))
            for leak in found[:_SHOWN]
        ],
    )
    if len(found) > _SHOWN:
        output.say(f"… and {len(found) - _SHOWN:,} more (--json lists all)")


def _sides(leak: "Leak") -> str:
    return ", ".join(f"{side} ({len(ids)})" for side, ids in leak.sides.items())


def _shorten(items: list[str]) -> str:
    return ", ".join(items[:4]) + (f" and {len(items) - 4} more" if len(items) > 4 else "")
