"""``probekit data``: check a dataset's folder, find leaks between splits, write stand-in data."""

from collections import Counter
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

    Of your own data it finds as well what evaluate would refuse, files that are left out, and test
    clips that share recordings, seconds or groups with training clips; identical recordings only if
    they were extracted (else: data leaks --identical).

    [bold]Examples[/bold]

      probekit data check urbansound8k --root ~/data/UrbanSound8K

      probekit data check gtzan --root ~/data/gtzan --decode
    """
    from probekit.cache import layout
    from probekit.cache.index import recording_facts
    from probekit.tasks import task_clips, validation

    folder = layout.cache_root(cache)
    resolved = task_clips.resolve_task(task, folder, root)
    facts = recording_facts(folder, resolved.card.dataset)
    with output.make_progress("clips") as bar:
        line = bar.add_task("reading", total=None, note="", visible=decode)
        result = validation.check_folder(
            resolved,
            root,
            decode=decode,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
            hashes=facts["sha256"].to_dict(),
        )
    if json:
        output.print_json(asdict(result))
    else:
        _print_check(result)
    if result.faults:
        raise typer.Exit(1)


@app.command()
def leaks(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="A task's name, card or CSV, a folder, or an extracted dataset.",
        ),
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="TASK TASK", help="Recordings that two tasks share, instead."),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="The dataset's folder, as downloaded; of two tasks in their order."
        ),
    ] = None,
    identical: Annotated[
        bool, typer.Option("--identical", help="Compare all recordings by hash as well.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="List identical recordings within one split or fold as well."),
    ] = False,
    write_groups: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write a table in which clips that belong together are one group.",
        ),
    ] = None,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """List groups and recordings, and with --identical copies, that are in several splits or folds.

    Exit code 1 if there are any that the task's card does not name, and no groups are written.
    --write-groups joins groups, segments of one recording, and identical recordings; evaluate on
    that table divides none of them, and needs no other extraction. --between compares two tasks:
    sources by their cards, Freesound recordings and YouTube videos by names, bytes of extracted
    recordings.

    [bold]Examples[/bold]

      probekit data leaks urbansound8k --root ~/data/UrbanSound8K --identical

      probekit data leaks --between esc50 urbansound8k --root ~/data/ESC-50
      --root ~/data/UrbanSound8K

      probekit data leaks birdsong --all --write-groups birds-grouped.csv
    """
    from probekit.cache import layout
    from probekit.cache.index import recording_facts
    from probekit.data.manifest import groups_are_recordings
    from probekit.errors import DataError
    from probekit.tasks import leakage, task_clips

    roots = root or []
    hashed = identical or everything or write_groups is not None
    if between is not None:
        if task is not None or hashed:
            raise DataError("--between compares two tasks; leave out TASK and the other options")
        _print_overlap(between, roots, cache, json)
        return
    if task is None:
        raise DataError("name a task, or two with --between TASK TASK")
    if len(roots) > 1:
        raise DataError(f"{task}: one --root, got {len(roots)}")
    folder = roots[0] if roots else None
    resolved = task_clips.resolve_task(task, layout.cache_root(cache), folder)
    clips = resolved.manifest(folder, audio=hashed)
    known = recording_facts(layout.cache_root(cache), resolved.card.dataset)
    leaks: dict[str, list[Leak]] = {}
    recordings = leakage.find_shared_recordings(resolved, clips)
    if recordings or groups_are_recordings(clips):
        leaks["recordings"] = recordings
    if not groups_are_recordings(clips):
        try:
            leaks["groups"] = leakage.find_shared_groups(resolved, clips)
        except DataError as error:
            if not hashed and not recordings:
                raise
            output.warn(str(error))
    if hashed:
        with output.make_progress("recordings") as bar:
            line = bar.add_task("hashing", total=None, note="")
            hashes = leakage.hash_recordings(
                resolved,
                clips,
                lambda done, total: bar.update(line, completed=done, total=total),
                known=known,
            )
        leaks["identical recordings"] = leakage.find_duplicates(
            resolved, clips, hashes, undivided=everything
        )
    if write_groups is not None:
        table = leakage.write_groups(clips, hashes, Path(write_groups))
    if json:
        output.print_json({kind: [asdict(leak) for leak in items] for kind, items in leaks.items()})
    else:
        for kind, items in leaks.items():
            _print_leaks(kind, resolved.card.group if kind == "groups" else None, items)
    if write_groups is not None:
        dropped = f"; column {table.dropped} left out, it divides groups" if table.dropped else ""
        (output.warn if json else output.say)(
            f"{write_groups}: {table.clips:,} clips, {table.groups:,} groups of several clips"
            f"{dropped}. Next: probekit evaluate --task {write_groups} -e NAME"
        )
        return
    if any(leak.divided and not leak.named for items in leaks.values() for leak in items):
        raise typer.Exit(1)


def _print_overlap(tasks: tuple[str, str], roots: list[str], cache: str | None, json: bool) -> None:
    """Print what two tasks share; exit code 1 if they have clips of the same recordings."""
    from probekit.cache import layout
    from probekit.cache.index import recording_facts
    from probekit.errors import DataError
    from probekit.tasks import task_clips
    from probekit.tasks.shared_recordings import find_task_overlap

    folder = layout.cache_root(cache)
    if len(roots) > 2:
        raise DataError(f"--between: two --root at most, got {len(roots)}")
    first, second = (
        task_clips.resolve_clips(name, folder, root)
        for name, root in zip(tasks, [*roots, None, None], strict=False)
    )
    hashes = {
        card.dataset: recording_facts(folder, card.dataset)["sha256"].to_dict()
        for card, _ in (first, second)
    }
    overlap = find_task_overlap(first, second, hashes)
    if json:
        output.print_json(asdict(overlap))
    else:
        sources = ", ".join(overlap.sources) or "none known"
        output.say(f"{overlap.first} and {overlap.second}: sources in common: {sources}")
        for name in overlap.unknown:
            output.say(f"{name}: sources of its recordings are not established")
        for shared in overlap.shared:
            output.say(
                f"{shared.kind}: {len(shared.first):,} clips of {overlap.first}, "
                f"{len(shared.second):,} of {overlap.second}; for example "
                f"{join_names(shared.first, 3)} and {join_names(shared.second, 3)}"
            )
        if not overlap.shared:
            output.say("no clips of the same recordings")
        compared = ", ".join(overlap.compared) or "nothing: no names of recordings, no hashes"
        output.say(f"compared: {compared}")
    if overlap.shared:
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
            (
                f"fold {name}" if name.isdigit() else name,
                f"{n['found']:,}",
                "–" if n["expected"] is None else f"{n['expected']:,}",
            )
            for name, n in result.counts.items()
        ],
        numbers="found|expected",
    )
    if result.labels:
        labels = ", ".join(f"{name} {number:,}" for name, number in result.labels.items())
        output.say(f"{len(result.labels)} labels: {labels}")
    if result.groups:
        output.say(f"{result.groups:,} groups")
    _print_some("missing recordings", result.missing)
    for command in result.unpack:
        output.say(f"  not unpacked yet? In that folder: {command}")
    _print_some("known to be faulty", [f"{clip}: {why}" for clip, why in result.known_bad.items()])
    if result.undecodable is not None:
        output.say(f"{output.format_duration(result.seconds or 0.0)} of audio read")
        _print_some("cannot be read", [f"{c}: {why}" for c, why in result.undecodable.items()])
    else:
        output.say("recordings were not opened: --decode reads every sample")
    if result.left_out:
        kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in result.left_out)
        counted = [f"{kind} {count:,}" for kind, count in sorted(kinds.items())]
        _print_some(f"no recordings by their names: {', '.join(counted)}", result.left_out)
    for note in result.leaks:
        output.say(f"leak: {note}")
    if not result.hashed:
        output.say(
            "identical recordings are known after an extraction, or by data leaks --identical"
        )
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
    divided = [leak for leak in leaks if leak.divided]
    if not divided:
        output.say(f"{kind}: none is in several splits{meaning}")
    else:
        clips = sum(len(ids) for leak in divided for ids in leak.sides.values())
        named = sum(leak.named for leak in divided)
        output.say(
            f"{kind} in several splits: {len(divided):,}, with {clips:,} clips"
            f"{f', {named:,} of them named by the card' if named else ''}{meaning}"
        )
    if len(divided) < len(leaks):
        output.say(f"{kind} within one split: {len(leaks) - len(divided):,}")
    if not leaks:
        return
    output.print_table(
        (kind, "splits", "clips"),
        [
            (
                leak.what,
                _sizes(leak),
                join_names([i for ids in leak.sides.values() for i in ids], 4),
            )
            for leak in sorted(leaks, key=lambda leak: not leak.divided)[:_SHOWN]
        ],
    )
    if len(leaks) > _SHOWN:
        output.say(f"… and {len(leaks) - _SHOWN:,} more (--json lists all)")


def _sizes(leak: "Leak") -> str:
    return ", ".join(f"{name or 'none'} ({len(ids)})" for name, ids in leak.sides.items())
