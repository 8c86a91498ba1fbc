"""``probekit cache import``, ``merge``, ``pack``, ``export``: embeddings come and go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.cli.cache_care import Dataset, Name

if TYPE_CHECKING:
    from probekit.cache.embeddings import Embeddings


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
    json: bool = output.AsJson,
) -> None:
    """Bring in embeddings that were made elsewhere.

    [bold]Example[/bold]

      probekit cache import mine --manifest clips.csv --clip-id filename:stem
      --array layer1.npy --array layer2.npy --dataset urbansound8k --note "our network, epoch 12"
    """
    from probekit.cache import import_export, layout
    from probekit.cache import manifests as kept
    from probekit.data import readers
    from probekit.tasks.task import tasks_with_same_corpus

    where = layout.root(cache)
    clips = readers.from_csv(Path(manifest), name=dataset, clip_id=clip_id, need_path=False)
    made = import_export.import_arrays(
        name, clips, [Path(path) for path in array], cache=where, dataset=dataset, note=note
    )
    if clips.target != "none" and not tasks_with_same_corpus(
        dataset
    ):  # a task's own clip table comes from it
        kept.save_manifest(where, clips)
    dim = int(made.stream_info["embedding"]["dim"])
    if json:
        output.as_json(
            {
                "extractor": name,
                "fingerprint": made.layout.fingerprint,
                "dataset": dataset,
                "clips": len(made.clip_ids),
                "dim": dim,
                "where": made.where,
            }
        )
    else:
        output.say(
            f"{name}: {len(made.clip_ids):,} clips of {dataset}, {dim} numbers each, "
            f"in {made.where}"
        )


def merge(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="Caches, or files of cache pack.")
    ],
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Copy the embeddings of other caches and packed files into this one.

    Everything is checked first; nothing is written where two clips of one name come from different
    recordings, or two fingerprints would mix.

    [bold]Example[/bold]

      probekit cache merge /mnt/a/cache /mnt/b/cache vggish-fsdd.h5 --cache cache
    """
    from probekit.cache import layout
    from probekit.cache import merge as merge_module

    where = layout.root(cache)
    with output.progress("parts") as bar:
        lines = {"": bar.add_task("", visible=False, note="")}

        def tick(what: str, done: int, total: int) -> None:
            if what not in lines:
                lines[what] = bar.add_task(what, note="")
            bar.update(lines[what], completed=done, total=total)

        done = merge_module.merge([Path(source) for source in sources], where, tick)
    if json:
        output.as_json([vars(one) for one in done])
        return
    for one in done:
        output.say(f"{one.where}: {one.added:,} clips added, {one.known:,} were there")


def pack(
    embedding: Name,
    dataset: Dataset,
    out: Annotated[str, typer.Option("-o", "--output", metavar="FILE.h5", help="Where to.")],
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Write all embeddings of one extractor and dataset to one HDF5 file, to be shared.

    h5py alone reads it (cache/README.md shows how); probekit cache merge brings it into a cache.

    [bold]Example[/bold]

      probekit cache pack vggish fsdd -o vggish-fsdd.h5
    """
    from probekit.cache import embeddings, layout
    from probekit.cache import pack as pack_module

    entry = embeddings.find(layout.root(cache), embedding, dataset)
    with output.progress("arrays") as bar:
        line = bar.add_task("pack", note="")
        path = pack_module.pack(
            entry, Path(out), lambda done, total: bar.update(line, completed=done, total=total)
        )
    _tell(path, len(entry.clip_ids), entry, json)


def export(
    embedding: Name,
    dataset: Dataset,
    out: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Ends in .npz or .parquet.")
    ],
    stream: Annotated[str, typer.Option(help="Which stream; else the default one.")] = "",
    pool: Annotated[str, typer.Option(metavar="A+B", help="mean, std, max, mean+std …")] = "",
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Write one vector a clip for other programs: arrays (.npz) or a table (.parquet).

    Both hold clip_id and embedding, float32.

    [bold]Example[/bold]

      probekit cache export vggish fsdd --pool mean+std -o vggish-fsdd.parquet
    """
    from probekit.cache import embeddings, import_export, layout
    from probekit.cards.selector import parse

    chosen = parse(embedding)
    entry = embeddings.find(layout.root(cache), chosen, dataset)
    count = import_export.export(
        entry,
        Path(out),
        stream=stream or chosen.stream,
        pool=pool.split("+") if pool else chosen.pool,
    )
    _tell(Path(out), count, entry, json)


def _tell(path: Path, clips: int, entry: "Embeddings", json: bool) -> None:
    """Say what was written, what must be shown with these embeddings, and what they lack."""
    size, notes, failures = path.stat().st_size, entry.layout.provenance, len(entry.failures)
    if json:
        output.as_json(
            {"file": path, "clips": clips, "size": size, "failed": failures, "note": notes}
        )
        return
    output.say(f"{path}: {clips:,} clips, {output.size(size)}")
    if notes:
        output.say(f"  {'; '.join(notes)}")
    if failures:
        output.say(f"  {failures:,} clips have no embedding (probekit cache info)")
