"""``probekit analyze``: what the probe learned."""

from pathlib import Path
from typing import Annotated, Any

import typer

from probekit.cli import options, output

app = typer.Typer(help="What the probe learned.", no_args_is_help=True)

Task = Annotated[str, typer.Option(help="A task's name, card or CSV.")]
C = Annotated[float | None, typer.Option(min=1e-12, help="C of the probe; chosen if not given.")]
Space = Annotated[str, typer.Option(help="Weights on the embedding, or on standardized features.")]
Center = Annotated[str, typer.Option(help="Rows: rows, classes or none.")]
Metric = Annotated[str, typer.Option(help="cosine or euclidean.")]
Linkage = Annotated[str, typer.Option(help="average, complete, single or ward.")]
Clusters = Annotated[
    int | None, typer.Option(min=1, help="Colours; by default the root of the number of classes.")
]
Probe = Annotated[str, typer.Option(help="linear: others have no class weights.")]
Preset = Annotated[
    str, typer.Option(help="A paper's recipe: stream, pooling, steps. For example kumar2021.")
]
Width = Annotated[
    float | None,
    typer.Option(min=1.5, max=20, help="Inches; 3.5 (one column) or 7.16 (two) by default."),
]
Style = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A matplotlib style file that changes probekit's own."),
]


@app.command()
def dendrogram(
    task: Task,
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Probe = "linear",
    preset: Preset = "",
    c: C = None,
    space: Space = "embedding",
    center: Center = "rows",
    metric: Metric = "cosine",
    linkage: Linkage = "average",
    clusters: Clusters = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Cluster the classes by the weights of one probe fitted on all training clips.

    Writes PDF, SVG and PNG (300 dpi) for a paper, the merges as CSV, and the caption as JSON.

    [bold]Example[/bold]

      probekit analyze dendrogram --task synth -e melstats
    """
    from probekit.analysis import dendrogram as analysis
    from probekit.figures.files import save_drawing
    from probekit.figures.tree import draw_dendrogram

    made = []
    for name in embedding:
        tree = analysis.dendrogram(
            task,
            name,
            cache=cache,
            root=root,
            c=c,
            probe=probe,
            preset=preset,
            space=space,
            center=center,
            metric=metric,
            linkage=linkage,
            clusters=clusters,
        )
        files = save_drawing(draw_dendrogram, tree, folder(reports), width, style)
        made.append(result_entry(name, tree, files))
    print_result(made, json)


@app.command()
def correlation(
    task: Task,
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Probe = "linear",
    preset: Preset = "",
    c: C = None,
    normalize: Annotated[
        str,
        typer.Option(help="Mean 0, variance 1 of each dimension (columns), each row (rows), none."),
    ] = "columns",
    linkage: Linkage = "average",
    permutations: Annotated[int, typer.Option(min=1, help="Of the test.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the permutations.")] = 0,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Compare the task's classes with those of the network's own head, by cosine of their weights.

    The probe must read the stream that the head reads. A permutation test says which pairs are
    beyond chance; the CSV has all pairs, the strongest first.

    [bold]Example[/bold]

      probekit analyze correlation --task synth -e convnet:stream=max5
    """
    from probekit.analysis import correlation as analysis
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_correlation

    made = []
    for name in embedding:
        found = analysis.correlation(
            task,
            name,
            cache=cache,
            root=root,
            c=c,
            probe=probe,
            preset=preset,
            normalize=normalize,
            linkage=linkage,
            permutations=permutations,
            seed=seed,
        )
        files = save_drawing(draw_correlation, found, folder(reports), width, style)
        made.append(result_entry(name, found, files) | {"strongest": found.strongest(10)})
    print_result(made, json)
    for one in [] if json else made:
        output.table(
            ["class", "source class", "cosine", "p, all pairs", "beyond chance"],
            [
                (
                    pair["target"],
                    pair["source"],
                    f"{pair['cosine']:+.2f}",
                    f"{pair['p_all_pairs']:.3f}",
                    "yes" if pair["beyond_chance"] else "no",
                )
                for pair in one["strongest"]
            ],
            title=f"{one['embedding']}: strongest pairs",
            numbers="cosine|p, all pairs",
        )


@app.command()
def projection(
    task: Task,
    embedding: options.Embedding,
    of: Annotated[str, typer.Option(help="classes (their weights) or clips.")] = "classes",
    method: Annotated[
        str, typer.Option(help="tsne or pca; tsne by default, pca of fewer than four points.")
    ] = "",
    perplexity: Annotated[float | None, typer.Option(min=1, help="Of t-SNE.")] = None,
    colour: Annotated[
        str, typer.Option(help="Clips: label, cluster, or auto (labels, up to 24 of them).")
    ] = "auto",
    most: Annotated[int, typer.Option(min=4, help="Clips to draw at most.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of t-SNE and of the clips drawn.")] = 0,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Probe = "linear",
    preset: Preset = "",
    c: C = None,
    space: Space = "embedding",
    center: Center = "rows",
    metric: Metric = "cosine",
    linkage: Linkage = "average",
    clusters: Clusters = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Show class weights or clips in a plane.

    [bold]Examples[/bold]

      probekit analyze projection --task synth -e melstats
      probekit analyze projection --task synth -e melstats --of clips --method pca
    """
    from probekit.analysis import dendrogram as trees
    from probekit.analysis import projection as analysis
    from probekit.figures.files import save_drawing
    from probekit.figures.scatter import draw_projection
    from probekit.utils.suggest import unknown_name_error

    if of not in ("classes", "clips"):
        raise unknown_name_error("points", of, ("classes", "clips"))
    made = []
    for name in embedding:
        common: dict[str, Any] = {"method": method, "perplexity": perplexity, "seed": seed}
        places: dict[str, Any] = {"cache": cache, "root": root}
        if of == "clips":
            found = analysis.project_clips(task, name, color=colour, max_clips=most, **places, **common)
        else:
            tree = trees.dendrogram(
                task,
                name,
                c=c,
                probe=probe,
                preset=preset,
                space=space,
                center=center,
                metric=metric,
                linkage=linkage,
                clusters=clusters,
                **places,
            )
            found = analysis.project_classes(tree, **common)
        files = save_drawing(draw_projection, found, folder(reports), width, style)
        made.append(result_entry(name, found, files))
    print_result(made, json)


def folder(reports: str | None) -> Path:
    """Return where figures go."""
    from probekit.scores.store import reports_root

    return reports_root(reports) / "figures"


def result_entry(name: str, found: Any, files: list[Path]) -> dict[str, Any]:
    """Return what was made, for :func:`print_result`."""
    return {"embedding": name, "caption": found.caption, "files": [str(file) for file in files]}


def print_result(made: list[dict[str, Any]], json: bool) -> None:
    """Say what was made: captions and files, or JSON."""
    if json:
        output.as_json(made)
        return
    for one in made:
        output.say(str(one["caption"]))
        for file in one["files"]:
            output.say(f"  {file}")
