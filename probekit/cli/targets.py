"""``probekit targets``: learning targets made from data other than labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.errors import ProbekitError

if TYPE_CHECKING:
    from probekit.targets.artist_groups import ArtistGroups
    from probekit.targets.song_factors import Factorization

_LISTED_TOPICS = 10

app = typer.Typer(no_args_is_help=True, help="Make targets for networks from other data.")


@app.command()
def cf(
    logs: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Lines of user, item and count (.tsv, .csv, .txt; also .gz, .bz2, .zip), or "
            "playlists as JSON.",
        ),
    ],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.h5", help="New target file.")],
    items: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Table with a header: item and clip, artist, or both; by default items are clips.",
        ),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Items to leave out, one a line; or the Echo Nest's mismatches."
        ),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            metavar="A,B,C", help="Columns of user, item and count, by name or place (1,2,3)."
        ),
    ] = "",
    task: Annotated[
        str, typer.Option(help="Task, CSV or folder of the recordings: items without are counted.")
    ] = "",
    root: options.Root = None,
    cache: options.Cache = None,
    factors: Annotated[int, typer.Option(min=1, help="Numbers a song.")] = 40,
    regularization: Annotated[
        str,
        typer.Option(
            metavar="L,L", help="Lambda; of several, the one of the best held-out nDCG@100."
        ),
    ] = "10",
    confidence: Annotated[
        str,
        typer.Option(
            metavar="auto|log|linear",
            help="1 + alpha log(1 + count / epsilon), or 1 + alpha count; auto: linear if all "
            "counts are equal.",
        ),
    ] = "auto",
    alpha: Annotated[
        float | None, typer.Option(help="Weight of a count; by default 2 for log, 40 for linear.")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Of log.")] = 1e-6,
    sweeps: Annotated[int, typer.Option(min=1, help="Most sweeps over users and items.")] = 30,
    solver: Annotated[
        str,
        typer.Option(
            metavar="exact|implicit",
            help="implicit: all sweeps but the last two by that package, which is faster.",
        ),
    ] = "exact",
    seed: Annotated[int, typer.Option(min=0, help="Seed of factors and split.")] = 0,
    min_items: Annotated[
        int, typer.Option(min=0, help="Users with fewer items are left out.")
    ] = 20,
    min_users: Annotated[
        int, typer.Option(min=0, help="Items with fewer users are left out.")
    ] = 20,
    split: Annotated[
        str,
        typer.Option(
            metavar="A,B,C", help="Percent of training, validation and test; artists undivided."
        ),
    ] = "76.5,8.5,15",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    json: bool = output.AsJson,
) -> None:
    """Make factors of songs from listening logs, as targets of a network that reads audio.

    Exact alternating least squares for implicit feedback. Users are factorized without the
    validation and test songs, so that the trained network is scored on songs never seen. Factors
    are divided by their lengths, which follow popularity and are kept apart. Songs without
    listeners have no target.

    [bold]Examples[/bold]

      probekit targets cf --logs plays.tsv --items songs.csv -o cf.h5

      probekit targets cf --logs train_triplets.txt.zip --exclude sid_mismatches.txt
      --regularization 0.1,1,10,100 -o taste.h5

      probekit targets cf --logs playlists.json --task songs.csv --root audio -o lists.h5
    """
    from probekit.cache.layout import cache_root
    from probekit.parallel.resources import resolve_device
    from probekit.targets.song_factors import FactorConfig, make_targets
    from probekit.targets.target_file import check_output, write_targets
    from probekit.tasks.task_clips import resolve_clips

    check_output(out)
    config = FactorConfig(
        factors=factors,
        regularization=tuple(options.parse_numbers("--regularization", regularization)),
        confidence=confidence,
        alpha=alpha,
        epsilon=epsilon,
        sweeps=sweeps,
        solver=solver,
        seed=seed,
        user_items=min_items,
        item_users=min_users,
        split=_three("--split", split),
    )
    config.check()
    clip_ids = resolve_clips(task, cache_root(cache), root)[1].clip_ids if task else None
    with output.show_steps(latest=True) as tick:
        made = make_targets(
            logs,
            config,
            items=items,
            exclude=exclude,
            columns=[name.strip() for name in columns.split(",")] if columns else (),
            clip_ids=clip_ids,
            device=str(resolve_device(device)),
            progress=tick,
        )
    write_targets(out, made.targets)
    if json:
        output.print_json({**made.targets.provenance, "notes": list(made.notes), "file": out})
    else:
        _print(made, out, task)


@app.command("artist-groups")
def artist_groups(
    task: Annotated[str, typer.Option(help="A task's name, card or CSV.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.h5", help="New target file.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="mfcc|d|essentia|labels[:COLUMN]|EXTRACTOR",
            help="What is counted: MFCC, their differences, Essentia's statistics, labels, or "
            "frames in the cache (vggish:stream=relu).",
        ),
    ] = "mfcc",
    group_column: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What a group is: group, recording, fold, label, or a column of --table.",
        ),
    ] = "group",
    table: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="CSV with a column clip_id, or tracks.csv of FMA (artist.id)."
        ),
    ] = None,
    clips: Annotated[
        str,
        typer.Option(
            metavar="train|all", help="Clips that are counted; all, as published, has test clips."
        ),
    ] = "train",
    fold: Annotated[
        str, typer.Option(help="Fold whose training clips are counted, where there are several.")
    ] = "",
    words: Annotated[int, typer.Option(help="Words of the dictionary; not for labels.")] = 2048,
    topics: Annotated[int, typer.Option(help="Topics, the numbers of a target.")] = 40,
    iterations: Annotated[int, typer.Option(help="Passes of the topic model.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of dictionary and topics.")] = 0,
    figures: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Draw topics by group, and a map of the groups."),
    ] = None,
    root: options.Root = None,
    cache: options.Cache = None,
    json: bool = output.AsJson,
) -> None:
    """Make soft targets from groups of clips, such as artists, speakers, recordings or sites.

    Frames become words of a dictionary (K-means), a group is a bag of words, and latent Dirichlet
    allocation describes it by proportions of topics: the target of all its clips (Kim et al.,
    2018). Only training clips are counted.

    [bold]Examples[/bold]

      probekit targets artist-groups --task fma-medium --root FMA -o m.h5

      probekit targets artist-groups --task fma-medium --root FMA --from labels:track.genres
      --table FMA/fma_metadata/tracks.csv -o s.h5

      probekit targets artist-groups --task digits.csv --group-column speaker --table who.csv
      --from vggish --words 256 --topics 8 -o speakers.h5
    """
    from probekit.cache.layout import cache_root
    from probekit.targets.artist_groups import GroupConfig, make_artist_groups
    from probekit.targets.target_file import check_output, write_targets

    check_output(out)
    config = GroupConfig(
        source=source,
        group_column=group_column,
        clips=clips,  # type: ignore[arg-type]
        words=words,
        topics=topics,
        iterations=iterations,
        seed=seed,
        fold=fold,
    )
    with output.show_steps(latest=True) as tick:
        made = make_artist_groups(
            task, config, table=table, cache=cache_root(cache), root=root, progress=tick
        )
    write_targets(out, made.targets)
    drawn = []
    if figures is not None:
        drawn = [str(path) for path in _draw_groups(made, Path(figures))]
    if json:
        files = {"file": out, "figures": drawn}
        output.print_json({**made.targets.provenance, **files})
    else:
        _print_groups(made, out, task)
        for path in drawn:
            output.say(path)


def _draw_groups(made: "ArtistGroups", folder: Path) -> list[Path]:
    """Draw the map of the groups, and write tables of topics and groups."""
    import pandas as pd

    from probekit.analysis.group_map import map_groups, tabulate_groups, tabulate_topics
    from probekit.figures.files import save_drawing
    from probekit.figures.scatter import draw_projection
    from probekit.utils.atomic import atomic_write_text

    paths = save_drawing(draw_projection, map_groups(made), folder)
    for name, rows in (("topics", tabulate_topics(made)), ("groups", tabulate_groups(made))):
        path = folder / f"{name}.csv"
        atomic_write_text(path, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
        paths.append(path)
    return paths


def _print_groups(made: "ArtistGroups", out: str, task: str) -> None:
    """Print the topics, with their words and groups, and the next command."""
    from probekit.targets.artist_groups import most_likely_words, typical_groups
    from probekit.utils.text import count_of

    shares = made.proportions.mean(0)
    order = [int(k) for k in (-shares).argsort(kind="stable")[:_LISTED_TOPICS]]
    output.print_table(
        ("topic", "share", "words", "groups"),
        [
            (
                str(topic + 1),
                f"{shares[topic]:.3f}",
                ", ".join(
                    word.removeprefix("word ") for word, _ in most_likely_words(made, topic, 5)
                ),
                ", ".join(f"{name} {share:.2f}" for name, share in typical_groups(made, topic, 3)),
            )
            for topic in order
        ],
        title=f"{out}: {count_of(len(made.targets), 'clip')}, "
        f"{count_of(len(made.group_names), 'group')}, {len(shares)} topics; the largest",
        numbers="share",
    )
    for note in made.notes:
        output.say(f"note: {note}")
    output.say(f"Next: probekit train --task {task} --network artist-net --targets {out}")


def _print(made: "Factorization", out: str, task: str) -> None:
    """Print what was made, how λ was chosen, and the next command."""
    import numpy as np

    targets, facts = made.targets, made.targets.provenance
    output.print_table(
        ("", "number"),
        [(name, f"{count:,}") for name, count in made.counts.items()],
        title=f"{out}: {facts['factors']} factors, lambda {facts['regularization']:g}, "
        f"{facts['confidence']} confidence, seed {facts['seed']}",
        numbers="number",
    )
    assert targets.split is not None
    sizes = {name: int((targets.split == name).sum()) for name in ("train", "valid", "test")}
    words = [f"{name} {size:,} ({size / len(targets):.1%})" for name, size in sizes.items() if size]
    artists = len(np.unique(targets.groups)) if targets.groups is not None else 0
    output.say(
        f"split: {', '.join(words)}{f'; {artists:,} artists, none divided' if artists > 1 else ''}"
    )
    if made.ndcg:
        rows = [(f"lambda {value:g}", f"{score:.4f}") for value, score in made.ndcg.items()]
        rows.append(("popularity", f"{made.popularity_ndcg:.4f}"))
        output.print_table(("", "nDCG@100"), rows, title="held-out cells", numbers="nDCG@100")
    sweeps = facts["sweeps"] if "solver" in facts else len(facts["objective"])
    output.say(f"objective after {sweeps} sweeps: {facts['objective'][-1]:.4f} of its start")
    for note in made.notes:
        output.say(f"note: {note}")
    name = task or "TASK --root DIR"
    output.say(f"Next: probekit train --task {name} --network cf-net --targets {out}")


def _three(option: str, text: str) -> tuple[float, float, float]:
    """Parse three numbers."""
    values = options.parse_numbers(option, text)
    if len(values) != 3:
        raise ProbekitError(f"{option} must be three numbers, got {text!r}")
    return values[0], values[1], values[2]
