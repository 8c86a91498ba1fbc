"""``probekit cache``: what is in the cache, and whether it is whole."""

from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options, output

app = typer.Typer(
    help="What is in the embedding cache, and whether it is whole.", no_args_is_help=True
)


@app.command("ls")
def ls(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """List the embeddings in the cache.

    [bold]Example[/bold]

      probekit cache ls
    """
    from probekit.cache import layout, store

    where = layout.root(cache)
    rows = []
    for entry in store.entries(where):
        size = sum(path.stat().st_size for path in entry.where.glob("part-*.h5"))
        rows.append(
            {
                "extractor": entry.layout.extractor,
                "fingerprint": entry.layout.fingerprint[:8],
                "dataset": entry.layout.dataset,
                "clips": len(entry.clip_ids),
                "failed": len(entry.failures),
                "streams": ", ".join(entry.grids),
                "size": size,
                "note": "; ".join(entry.layout.provenance),
            }
        )
    if json:
        output.as_json(rows)
    elif not rows:
        output.say(f"no embeddings in {where}; probekit extract makes them")
    else:
        output.table(
            list(rows[0]),
            [
                [output.size(float(str(v))) if k == "size" else v for k, v in row.items()]
                for row in rows
            ],
            numbers="clips|failed|size",
        )


@app.command()
def info(
    embedding: Annotated[str, typer.Argument(metavar="NAME", help="As after -e.")],
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Say what one extractor's embeddings of one dataset are, and which clips failed.

    [bold]Example[/bold]

      probekit cache info vggish fsdd
    """
    from probekit.cache import layout, store

    entry = store.find(layout.root(cache), embedding, dataset)
    facts = {
        "folder": str(entry.where),
        "fingerprint": entry.layout.fingerprint,
        "identity": entry.layout.identity,
        "clips": len(entry.clip_ids),
        "parts": len(entry.index.parts),
        "storage": entry.layout.dtype,
        "streams": {
            name: {
                **{k: v if isinstance(v, str) else int(v) for k, v in grid.items()},
                "kept": entry.index.arrays(name),
            }
            for name, grid in entry.grids.items()
        },
        "written with": entry.meta["provenance"],
        "note": entry.layout.provenance,
        "failures": entry.failures,
    }
    if json:
        output.as_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            output.say(f"{name}:" if value else f"{name}: none")
            for key, inner in value.items():
                output.say(f"    {key}: {inner}")
        else:
            output.say(f"{name}: {value}")


@app.command()
def verify(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """Read every byte of every part and compare with its digest.

    Exit code 1 if something is damaged.

    [bold]Example[/bold]

      probekit cache verify --cache /data/cache
    """
    from probekit.cache import layout, part
    from probekit.errors import CacheError

    where = layout.root(cache)
    if not where.is_dir():
        raise CacheError(f"{where}: no such folder; name the cache with --cache DIR")
    paths = sorted(where.glob("*/*/part-*.h5"))
    damaged: dict[str, str] = {}
    with output.progress("parts") as bar:
        line = bar.add_task("verify", total=len(paths), note="")
        for path in paths:
            fault = part.verify(path)
            if fault is not None:
                damaged[str(path)] = fault
            bar.advance(line)
    if json:
        output.as_json({"parts": len(paths), "damaged": damaged})
    else:
        output.say(f"{len(paths) - len(damaged)} of {len(paths)} parts in {where} are whole")
        for name, fault in damaged.items():
            output.say(f"  {name}: {fault}")
        if damaged:
            output.say("Delete these files and run the extraction again: only they are made anew.")
    if damaged:
        raise typer.Exit(1)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="What to call the embedding.")],
    manifest: Annotated[
        str, typer.Option(metavar="FILE", help="CSV; row i is row i of the arrays.")
    ],
    array: Annotated[
        list[str],
        typer.Option(metavar="FILE", help=".npy or .npz; repeat to put several side by side."),
    ],
    dataset: Annotated[str, typer.Option(help="Whose clips these are, as tasks name it.")],
    clip_id: Annotated[
        str, typer.Option(help="Column of the clip ids; COLUMN:stem takes a path's file name.")
    ] = "clip_id",
    note: Annotated[str, typer.Option(help="Where the arrays come from, in your words.")] = "",
    cache: options.Cache = None,
) -> None:
    """Bring in embeddings that were made elsewhere.

    [bold]Example[/bold]

      probekit cache import mine --manifest clips.csv --clip-id filename:stem
      --array layer1.npy --array layer2.npy --dataset urbansound8k --note "our network, epoch 12"
    """
    from probekit import listing
    from probekit.cache import importing, layout
    from probekit.cache import manifests as kept
    from probekit.tasks.base import siblings

    where = layout.root(cache)
    clips = listing.from_csv(Path(manifest), name=dataset, clip_id=clip_id, need_path=False)
    made = importing.import_arrays(
        name, clips, [Path(path) for path in array], cache=where, dataset=dataset, note=note
    )
    if clips.target != "none" and not siblings(dataset):  # a task's own clip table comes from it
        kept.keep(where, clips)
    output.say(
        f"{name}: {len(made.clip_ids):,} clips of {dataset}, "
        f"{made.grids['embedding']['dim']} numbers each, in {made.where}"
    )
