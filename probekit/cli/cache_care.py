"""``probekit cache verify``, ``repair``, ``gc``: keeping a cache whole and tidy."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options, output

Name = Annotated[str, typer.Argument(metavar="NAME", help="As after -e.")]
Dataset = Annotated[str, typer.Argument(help="The dataset's name.")]


def verify(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """Read every byte of every part and compare with its digest, and find parts that are gone.

    Exit code 1 if something is damaged or missing.

    [bold]Example[/bold]

      probekit cache verify --cache /data/cache
    """
    from probekit.cache import layout
    from probekit.errors import CacheError
    from probekit.extraction import repair as repairing

    where = layout.root(cache)
    if not where.is_dir():
        raise CacheError(f"{where}: no such folder; name the cache with --cache DIR")
    with output.progress("parts") as bar:
        line = bar.add_task("verify", total=len(list(where.glob("*/*/part-*.h5"))), note="")
        found = repairing.verify(where, lambda: bar.advance(line))
    if json:
        output.as_json(vars(found))
    else:
        bad = sum(Path(name).name.startswith("part-") for name in found.damaged)
        output.say(f"{found.parts - bad} of {found.parts} parts in {where} are whole")
        for name, fault in {**found.damaged, **found.missing}.items():
            output.say(f"  {name}: {fault}")
        for text in found.advice:
            output.say(text)
    if found.damaged or found.missing:
        raise typer.Exit(1)


def repair(
    embedding: Name,
    dataset: Dataset,
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The recordings' folder, if it is not where it was."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="If they are not the official ones."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Embed the clips of damaged and missing parts again, and nothing else.

    [bold]Example[/bold]

      probekit cache repair vggish fsdd --root ~/data/free-spoken-digit-dataset
    """
    from probekit.cache import layout
    from probekit.extraction import repair as repairing

    with output.progress("clips") as bar:
        line = bar.add_task("repair", total=None, note="")
        mended = repairing.repair(
            layout.root(cache),
            embedding,
            dataset,
            root=Path(root) if root is not None else None,
            weights=weights or (),
            device=device,
            begin=lambda clips: bar.update(line, total=clips),
            progress=lambda clips, _, failures: bar.update(line, advance=clips + failures),
        )
    if json:
        output.as_json(vars(mended))
    elif not mended.parts:
        output.say(f"{embedding}: every part of {dataset} is there and whole")
    else:
        output.say(
            f"{embedding}: {len(mended.parts)} files of {dataset} made anew, {mended.done:,} clips "
            "embedded"
        )
        for clip_id, reason in sorted(mended.failed.items()):
            output.say(f"    {clip_id}: {reason}")
    if mended.failed:
        raise typer.Exit(1)


def gc(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]", help="Embeddings to remove, too; as after -e."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Remove unfinished files, and embeddings that no card produces any more, after asking.

    Imported embeddings, and those of which the card is not found, go only if they are named. Where
    nobody can be asked, and without --yes, they are only listed.

    [bold]Examples[/bold]

      probekit cache gc

      probekit cache gc my-import@1a2b3c4d --yes
    """
    from probekit.cache import layout
    from probekit.extraction import garbage

    where = layout.root(cache)
    found = garbage.find(where, names or ())
    if not json:
        for one in found:
            clips = f", {one.clips:,} clips" if one.clips else ""
            output.say(f"{one.path} ({output.size(one.bytes)}{clips}): {one.reason}")
    total = output.size(sum(one.bytes for one in found))
    agreed = yes
    if found and not yes and not json and sys.stdin.isatty():
        agreed = typer.confirm(f"Remove {len(found)} of these, {total}?")
    if agreed:
        for one in found:
            garbage.remove(one)
    if json:
        output.as_json([{**vars(one), "removed": agreed} for one in found])
    elif not found:
        output.say(f"nothing to remove in {where}")
    else:
        output.say(f"removed: {total}" if agreed else f"nothing was removed; --yes frees {total}")
