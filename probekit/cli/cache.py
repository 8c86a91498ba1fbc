"""``probekit cache``: list, verify, repair and clean the cache; import and export embeddings."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.utils.text import count_of

if TYPE_CHECKING:
    from probekit.cache.embeddings import Embeddings
    from probekit.cache.export import Exported

app = typer.Typer(invoke_without_command=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Extractor, written as after -e.")]
Dataset = Annotated[str, typer.Argument(help="The dataset's name.")]
_NO_TABLE = "no clip table: none is saved in this cache; evaluate needs the dataset's folder"


@app.callback()
def group(context: typer.Context, cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """List, verify and repair the embedding cache; import and export embeddings.

    Without a command, the embeddings are listed.

    [bold]Examples[/bold]

      probekit cache

      probekit cache verify
    """
    if options.is_bare_call(context, cache, json):
        ls(cache, json)


@app.command()
def ls(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """List the embeddings in the cache.

    [bold]Example[/bold]

      probekit cache ls
    """
    from probekit.cache.embeddings import list_embeddings
    from probekit.cache.layout import cache_root

    root = cache_root(cache)
    rows = []
    for entry in list_embeddings(root):
        size = sum(path.stat().st_size for path in entry.folder.glob("part-*.h5"))
        rows.append(
            {
                "extractor": entry.layout.label,
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
        output.print_json(rows)
    elif not rows:
        output.say(f"no embeddings in {root}; compute them with probekit extract")
    else:
        output.print_table(
            list(rows[0]),
            [
                [output.format_size(float(str(v))) if k == "size" else v for k, v in row.items()]
                for row in rows
            ],
            numbers="clips|failed|size",
            keys=3,
            below="streams|size",
        )


@app.command()
def info(
    embedding: Name,
    dataset: Dataset,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Show facts about one extractor's embeddings of one dataset, and its failed clips.

    [bold]Example[/bold]

      probekit cache info vggish fsdd
    """
    from probekit.cache.embeddings import find_embeddings
    from probekit.cache.layout import cache_root

    entry = find_embeddings(cache_root(cache), embedding, dataset)
    facts = {
        "folder": str(entry.folder),
        "fingerprint": entry.layout.fingerprint,
        "identity": entry.layout.identity,
        "clips": len(entry.clip_ids),
        "parts": len(entry.index.parts),
        "size": sum(part["size"] for part in entry.index.parts.values()),
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
        output.print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            output.say(f"{name}:" if value else f"{name}: none")
            for key, inner in value.items():
                output.say(f"    {key}: {_format_fact(inner)}")
        elif name == "size":
            output.say(f"size: {output.format_size(float(str(value)))}")
        else:
            output.say(f"{name}: {_format_fact(value)}")


def _format_fact(value: object) -> str:
    """Format a value of ``cache info``; lists and dictionaries in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_format_fact(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


@app.command()
def verify(cache: options.Cache = None, json: bool = output.AsJson) -> None:
    """Read every byte of every part and compare with its digest; find missing parts.

    Exit code 1 if something is damaged or missing.

    [bold]Example[/bold]

      probekit cache verify --cache /data/cache
    """
    from probekit.cache.layout import cache_root
    from probekit.errors import CacheError
    from probekit.extraction.repair import verify_cache

    root = cache_root(cache)
    if not root.is_dir():
        raise CacheError(f"{root}: no such folder; name the cache with --cache DIR")
    with output.make_progress("parts") as bar:
        line = bar.add_task("verify", total=len(list(root.glob("*/*/part-*.h5"))), note="")
        findings = verify_cache(root, lambda: bar.advance(line))
    if json:
        output.print_json(vars(findings))
    else:
        bad = sum(Path(name).name.startswith("part-") for name in findings.damaged)
        output.say(f"{findings.parts - bad} of {findings.parts} parts in {root} are intact")
        for name, fault in {**findings.damaged, **findings.missing}.items():
            output.say(f"  {name}: {fault}")
        for text in findings.advice:
            output.say(text)
    if findings.damaged or findings.missing:
        raise typer.Exit(1)


@app.command()
def repair(
    embedding: Name,
    dataset: Dataset,
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The recordings' folder, if they were moved."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights, if not the official ones."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Embed the clips of damaged and missing parts again, and nothing else.

    [bold]Example[/bold]

      probekit cache repair vggish fsdd --root ~/data/free-spoken-digit-dataset
    """
    from probekit.cache.layout import cache_root
    from probekit.extraction.repair import repair_embeddings

    with output.make_progress("clips") as bar:
        line = bar.add_task("repair", total=None, note="")
        summary = repair_embeddings(
            cache_root(cache),
            embedding,
            dataset,
            root=Path(root) if root is not None else None,
            weights=weights or (),
            device=device,
            begin=lambda clips: bar.update(line, total=clips),
            progress=lambda clips, _, failures: bar.update(line, advance=clips + failures),
        )
    if json:
        output.print_json(vars(summary))
    elif not summary.parts:
        output.say(f"{embedding}: every part of {dataset} is intact")
    else:
        output.say(
            f"{embedding}: {len(summary.parts)} files of {dataset} written again, "
            f"{summary.done:,} clips embedded"
        )
        for clip_id, reason in sorted(summary.failed.items()):
            output.say(f"    {clip_id}: {reason}")
    if summary.failed:
        raise typer.Exit(1)


@app.command()
def gc(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Embeddings to remove as well, written as after -e."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Remove unfinished files, and embeddings that no card computes any more, after asking.

    Imported embeddings, and those without a card, are removed only if named. Without a terminal
    to ask at, and without --yes, everything is only listed.

    [bold]Examples[/bold]

      probekit cache gc

      probekit cache gc my-import@1a2b3c4d --yes
    """
    from probekit.cache.layout import cache_root
    from probekit.extraction.garbage import find_garbage, remove_garbage

    root = cache_root(cache)
    items = find_garbage(root, names or ())
    if not json:
        for item in items:
            clips = f", {item.clips:,} clips" if item.clips else ""
            output.say(f"{item.path} ({output.format_size(item.bytes)}{clips}): {item.reason}")
    total = output.format_size(sum(item.bytes for item in items))
    agreed = yes
    if items and not yes and not json and sys.stdin.isatty():
        agreed = typer.confirm(f"Remove {len(items)} of these, {total}?")
    if agreed:
        for item in items:
            remove_garbage(item)
    if json:
        output.print_json([{**vars(item), "removed": agreed} for item in items])
    elif not items:
        output.say(f"nothing to remove in {root}")
    else:
        output.say(f"removed: {total}" if agreed else f"nothing was removed; --yes frees {total}")


@app.command()
def merge(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Cache folders, or files made by cache pack."),
    ],
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Copy the embeddings of other caches and packed files into this one.

    Everything is checked first; nothing is written if two clips of one name come from different
    recordings, or two fingerprints would mix.

    [bold]Example[/bold]

      probekit cache merge /mnt/a/cache /mnt/b/cache vggish-fsdd.h5 --cache cache
    """
    from probekit.cache.layout import cache_root
    from probekit.cache.merge import merge_caches

    with output.make_progress("parts") as bar:
        lines = {"": bar.add_task("", visible=False, note="")}

        def tick(description: str, done: int, total: int) -> None:
            if description not in lines:
                lines[description] = bar.add_task(description, note="")
            bar.update(lines[description], completed=done, total=total)

        summaries = merge_caches([Path(source) for source in sources], cache_root(cache), tick)
    if json:
        output.print_json(
            [{"where": s.folder, "added": s.added, "known": s.known} for s in summaries]
        )
        return
    for summary in summaries:
        output.say(
            f"{summary.folder}: {summary.added:,} clips added, {summary.known:,} already present"
        )


@app.command()
def pack(
    embedding: Name,
    dataset: Dataset,
    out: Annotated[str, typer.Option("-o", "--output", metavar="FILE.h5", help="File to write.")],
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Write all embeddings of one extractor and dataset to one HDF5 file, to be shared.

    The clip table goes with them, so that evaluate works where the file is merged into a cache
    (probekit cache merge). h5py alone reads the file (cache/README.md shows how).

    [bold]Example[/bold]

      probekit cache pack vggish fsdd -o vggish-fsdd.h5
    """
    from probekit.cache.embeddings import find_embeddings
    from probekit.cache.layout import cache_root
    from probekit.cache.manifests import saved_name
    from probekit.cache.pack import find_manifests, pack_embeddings

    entry = find_embeddings(cache_root(cache), embedding, dataset)
    with output.make_progress("arrays") as bar:
        line = bar.add_task("pack", note="")
        path = pack_embeddings(
            entry, Path(out), lambda done, total: bar.update(line, completed=done, total=total)
        )
    tables = [saved_name(table) for table in find_manifests(entry)]
    _print_file(path, len(entry.clip_ids), entry, json, clip_tables=tables)
    if not json:
        output.say(f"  clip tables: {', '.join(tables)}" if tables else f"  {_NO_TABLE}")


@app.command()
def export(
    embedding: Name,
    dataset: Dataset,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="File to write: .npz, .parquet, .csv or .safetensors.",
        ),
    ],
    stream: Annotated[str, typer.Option(metavar="NAME", help="Stream; else the default one.")] = "",
    pool: Annotated[
        str, typer.Option(metavar="A+B", help="Pooling of frames: mean, std, max, mean+std …")
    ] = "",
    frames: Annotated[
        bool, typer.Option("--frames", help="Write all frames, with their times, not vectors.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="Write the labels, splits and groups of this task, and only its clips; by default "
            "those of the dataset's own table or only task.",
        ),
    ] = None,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Write embeddings for other programs: arrays (.npz, .safetensors) or a table (.parquet, .csv).

    One vector per clip, or with --frames all frames (stored by probekit extract --frames). Beside
    them clip_id, and label, split, fold and group as far as they are known. All but .csv say where
    they come from: extractor, fingerprint and all that it covers, stream, pooling.

    [bold]Examples[/bold]

      probekit cache export vggish fsdd --pool mean+std -o vggish-fsdd.parquet

      probekit cache export vggish fsdd -o vggish-fsdd.safetensors

      probekit cache export vggish fsdd --task fsdd-speaker --frames -o vggish-fsdd.csv
    """
    from probekit.cache.embeddings import find_embeddings
    from probekit.cache.export import default_clip_table, export_frames, export_vectors
    from probekit.cache.layout import cache_root
    from probekit.cards.selector import parse_selector
    from probekit.errors import CacheError
    from probekit.tasks.task_clips import resolve_clips

    selector = parse_selector(embedding)
    root = cache_root(cache)
    entry = find_embeddings(root, selector, dataset)
    clips = default_clip_table(entry) if task is None else resolve_clips(task, root, None)[1]
    stream = stream or selector.stream
    if frames and pool:
        raise CacheError("frames are not pooled: leave out --pool, or --frames")
    if frames:
        exported = export_frames(entry, Path(out), stream=stream, clips=clips)
    else:
        pooling = pool.split("+") if pool else selector.pool
        exported = export_vectors(entry, Path(out), stream=stream, pool=pooling, clips=clips)
    columns = {"task": exported.task, "columns": exported.columns, "omitted": exported.omitted}
    _print_file(Path(out), exported.clips, entry, json, **columns)
    if not json:
        _print_columns(exported)


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Name for the embedding.")],
    manifest: Annotated[
        str, typer.Option(metavar="FILE", help="CSV; row i is row i of the arrays.")
    ],
    array: Annotated[
        list[str],
        typer.Option(metavar="FILE", help=".npy or .npz; several are concatenated."),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset of the clips, as named in tasks.")],
    clip_id: Annotated[
        str,
        typer.Option(
            help="Column of the clip ids; COLUMN:stem for file names without folder and suffix."
        ),
    ] = "clip_id",
    note: Annotated[str, typer.Option(help="Source of the arrays; shown with every score.")] = "",
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Import embeddings that were computed elsewhere.

    [bold]Example[/bold]

      probekit cache import mine --manifest clips.csv --clip-id filename:stem
      --array layer1.npy --array layer2.npy --dataset urbansound8k --note "our network, epoch 12"
    """
    from probekit.cache.import_export import import_arrays
    from probekit.cache.layout import cache_root
    from probekit.cache.manifests import save_manifest
    from probekit.data import readers
    from probekit.tasks.task import tasks_with_same_corpus

    root = cache_root(cache)
    clips = readers.from_csv(
        Path(manifest), name=dataset, clip_id=clip_id, need_path=False, extra=None
    )
    unused = readers.unused_columns(Path(manifest), clip_id)
    if unused:
        output.warn(f"{manifest}: columns that are not used: {', '.join(unused)}")
    entry = import_arrays(
        name, clips, [Path(path) for path in array], cache=root, dataset=dataset, note=note
    )
    if clips.target != "none" and not tasks_with_same_corpus(dataset):
        save_manifest(root, clips)  # the manifest of a task comes from the task
    dim = int(entry.stream_info["embedding"]["dim"])
    if json:
        output.print_json(
            {
                "extractor": name,
                "fingerprint": entry.layout.fingerprint,
                "dataset": dataset,
                "clips": len(entry.clip_ids),
                "dim": dim,
                "where": entry.folder,
            }
        )
    else:
        output.say(
            f"{name}: {len(entry.clip_ids):,} clips of {dataset}, {dim} numbers each, "
            f"in {entry.folder}"
        )


def _print_columns(exported: "Exported") -> None:
    """Print what an export holds beside embeddings, and which clips it lacks."""
    if exported.columns:
        output.say(f"  with {', '.join(exported.columns)} of {exported.task}")
    elif not exported.task:
        output.say("  without labels: no clip table, or several; choose one with --task TASK")
    if exported.omitted:
        output.say(f"  {exported.omitted:,} clips are not in {exported.task}: left out")


def _print_file(path: Path, clips: int, entry: "Embeddings", json: bool, **facts: object) -> None:
    """Print what was written, the notes of these embeddings, and how many clips they lack."""
    size, notes, failures = path.stat().st_size, entry.layout.provenance, len(entry.failures)
    if json:
        output.print_json(
            {"file": path, "clips": clips, "size": size, "failed": failures, "note": notes, **facts}
        )
        return
    output.say(f"{path}: {count_of(clips, 'clip')}, {output.format_size(size)}")
    if notes:
        output.say(f"  {'; '.join(notes)}")
    if failures:
        output.say(f"  clips without an embedding: {failures:,} (probekit cache info)")
