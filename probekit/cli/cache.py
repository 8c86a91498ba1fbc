"""``probekit cache``: what is in the cache; its other commands are registered here."""

import typer

from probekit.cli import cache_care, cache_move, options, output
from probekit.cli.cache_care import Dataset, Name

app = typer.Typer(invoke_without_command=True)


@app.callback()
def group(context: typer.Context, cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """Tell what is in the embedding cache, whether it is whole; bring embeddings in and out.

    Without a command, the embeddings are listed.

    [bold]Examples[/bold]

      probekit cache

      probekit cache verify
    """
    if options.is_bare_call(context, cache, json):
        ls(cache, json)


@app.command("ls")
def ls(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """List the embeddings in the cache.

    [bold]Example[/bold]

      probekit cache ls
    """
    from probekit.cache import embeddings, layout

    where = layout.root(cache)
    rows = []
    for entry in embeddings.list_embeddings(where):
        size = sum(path.stat().st_size for path in entry.where.glob("part-*.h5"))
        rows.append(
            {
                "extractor": entry.layout.extractor,
                "fingerprint": entry.layout.fingerprint[:8],
                "dataset": entry.layout.dataset,
                "clips": len(entry.clip_ids),
                "failed": len(entry.failures),
                "streams": ", ".join(entry.stream_info),
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
    embedding: Name,
    dataset: Dataset,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Say what one extractor's embeddings of one dataset are, and which clips failed.

    [bold]Example[/bold]

      probekit cache info vggish fsdd
    """
    from probekit.cache import embeddings, layout

    entry = embeddings.find(layout.root(cache), embedding, dataset)
    facts = {
        "folder": str(entry.where),
        "fingerprint": entry.layout.fingerprint,
        "identity": entry.layout.identity,
        "clips": len(entry.clip_ids),
        "parts": len(entry.index.parts),
        "size": sum(facts["size"] for facts in entry.index.parts.values()),
        "storage": entry.layout.dtype,
        "streams": {
            name: {
                **{k: v if isinstance(v, str) else int(v) for k, v in grid.items()},
                "kept": entry.index.arrays(name),
            }
            for name, grid in entry.stream_info.items()
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
        elif name == "size":
            output.say(f"size: {output.size(float(str(value)))}")
        else:
            output.say(f"{name}: {value}")


app.command("verify")(cache_care.verify)
app.command("repair")(cache_care.repair)
app.command("gc")(cache_care.gc)
app.command("merge")(cache_move.merge)
app.command("pack")(cache_move.pack)
app.command("export")(cache_move.export)
app.command("import")(cache_move.import_)
