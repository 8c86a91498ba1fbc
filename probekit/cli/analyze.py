"""``probekit analyze``: what the probe learned."""

from pathlib import Path
from typing import Annotated

import typer

from probekit.cli import options, output

app = typer.Typer(help="What the probe learned.", no_args_is_help=True)


@app.command()
def dendrogram(
    task: Annotated[str, typer.Option(help="A task's name, card or CSV.")],
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    c: Annotated[float | None, typer.Option(help="C of the probe; chosen if not given.")] = None,
    space: Annotated[
        str, typer.Option(help="Weights on the embedding, or on standardized features.")
    ] = "embedding",
    center: Annotated[str, typer.Option(help="rows, classes or none.")] = "rows",
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    linkage: Annotated[str, typer.Option(help="average, complete, single or ward.")] = "average",
    width: Annotated[float, typer.Option(min=1, max=20, help="Inches.")] = 3.5,
    json: bool = output.AsJson,
) -> None:
    """Cluster the classes by the weights of one probe fitted on all training clips.

    Writes PDF, SVG and PNG (300 dpi) for a paper, the merges as CSV, and the caption as JSON.

    [bold]Example[/bold]

      probekit analyze dendrogram --task synth -e melstats
    """
    from probekit.analysis.dendrogram import dendrogram as cluster
    from probekit.probes.results import root as reports_root
    from probekit.report import figures

    made = []
    for name in embedding:
        tree = cluster(
            task,
            name,
            cache=cache,
            root=root,
            c=c,
            space=space,
            center=center,
            metric=metric,
            linkage=linkage,
        )
        folder = reports_root(reports) / "figures"
        files = figures.save_dendrogram(tree, Path(folder), width)
        made.append({"embedding": name, "caption": tree.caption, "files": [str(f) for f in files]})
    if json:
        output.as_json(made)
        return
    for one in made:
        output.say(str(one["caption"]))
        for file in one["files"]:
            output.say(f"  {file}")
