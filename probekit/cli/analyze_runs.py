"""``probekit analyze`` for embeddings and kept runs: similarity, confusion, costs and more."""

from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.cli.analyze import Style, Task, Width, folder, print_result, result_entry

if TYPE_CHECKING:
    from probekit.analysis.class_differences import ClassDifferences

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="First digits of a run, or an embedding (with --task): NAME, NAME@FINGERPRINT, or "
        "NAME/PROBE for another probe than the linear one.",
    ),
]
OfTask = Annotated[str, typer.Option("--task", help="The task, where the name does not tell.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (similarity, confusion, differences, efficiency, cost):
        app.command()(command)


def similarity(
    task: Task,
    embedding: options.Embedding,
    measure: Annotated[
        list[str] | None, typer.Option(help="cka or neighbours; both if not given.")
    ] = None,
    debiased: Annotated[
        bool, typer.Option("--debiased", help="CKA with the unbiased estimate; for few clips.")
    ] = False,
    k: Annotated[int, typer.Option(min=1, help="Nearest neighbours.")] = 10,
    normalize: Annotated[
        str, typer.Option(help="Features: none, or columns (mean 0, variance 1 of each).")
    ] = "none",
    most: Annotated[int, typer.Option(min=4, help="Clips to compare at most.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the clips drawn.")] = 0,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Compare embeddings over the clips that all have: linear CKA, nearest neighbours in common.

    [bold]Example[/bold]

      probekit analyze similarity --task gtzan -e vggish -e openl3 -e melstats
    """
    from probekit.analysis import similarity as analysis
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_similarity

    made = []
    for one in measure or analysis.MEASURES:
        found = analysis.similarity(
            task,
            embedding,
            cache=cache,
            root=root,
            measure=one,
            debiased=debiased,
            k=k,
            normalize=normalize,
            max_clips=most,
            seed=seed,
        )
        files = save_drawing(draw_similarity, found, folder(reports), width, style)
        made.append(result_entry(one, found, files) | {"pairs": found.rows()})
    print_result(made, json)


def confusion(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="First digits of a run, or what -e takes; several make several figures.",
        ),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            "-e",
            "--embedding",
            metavar="NAME",
            help="Its run (with --task): NAME, NAME@FINGERPRINT, or NAME/PROBE for another probe "
            "than the linear one; repeat for several.",
        ),
    ] = None,
    task: OfTask = "",
    order: Annotated[
        str, typer.Option(help="clusters (confused classes side by side) or labels.")
    ] = "clusters",
    reports: options.Reports = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Show which classes a probe takes for which.

    [bold]Examples[/bold]

      probekit analyze confusion --task gtzan -e vggish -e melstats

      probekit analyze confusion 1a2b3c4d5e6f
    """
    from probekit.analysis import confusion as analysis
    from probekit.errors import DataError
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_confusion

    names = [*(run or ()), *(embedding or ())]
    if not names:
        raise DataError(
            "confusion of which run? Give -e NAME with --task TASK, or the first digits of a run; "
            "see probekit results ls"
        )
    made = []
    for name in dict.fromkeys(names):
        found = analysis.confusion(name, task=task, reports=reports, order=order)
        files = save_drawing(draw_confusion, found, folder(reports), width, style)
        made.append(result_entry(found.run.label, found, files))
    print_result(made, json)


def differences(
    first: Run,
    second: Run,
    task: OfTask = "",
    metric: Annotated[str, typer.Option(help="Which; the task's first by default.")] = "",
    correction: Annotated[
        str, typer.Option(help="For many classes: holm, or bh (Benjamini and Hochberg).")
    ] = "holm",
    reports: options.Reports = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Show where two runs differ, class by class, with intervals, on the clips that both scored.

    [bold]Example[/bold]

      probekit analyze differences vggish melstats --task gtzan
    """
    from probekit.analysis import class_differences as analysis
    from probekit.figures.dot_plot import draw_class_differences
    from probekit.figures.files import save_drawing

    found = analysis.class_differences(
        first, second, task=task, reports=reports, metric=metric, correction=correction
    )
    files = save_drawing(draw_class_differences, found, folder(reports), width, style)
    made = result_entry(f"{found.first.label} and {found.second.label}", found, files)
    print_result([made | {"classes": found.rows()}], json)
    if not json:
        _table(found)


def efficiency(
    task: Task,
    embedding: Annotated[
        list[str] | None,
        typer.Option("-e", "--embedding", metavar="NAME", help="Only these; repeat for several."),
    ] = None,
    reports: options.Reports = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Show how scores grow with the training labels, from runs with --fraction.

    [bold]Example[/bold]

      probekit evaluate --task gtzan -e vggish --fraction 0.1,0.3,1 --seeds 5

      probekit analyze efficiency --task gtzan
    """
    from probekit.analysis import label_efficiency as analysis
    from probekit.figures.curves import draw_label_efficiency
    from probekit.figures.files import save_drawing

    found = analysis.label_efficiency(task, reports=reports, embeddings=embedding or ())
    files = save_drawing(draw_label_efficiency, found, folder(reports), width, style)
    print_result([result_entry(task, found, files)], json)


def cost(
    task: Task,
    cache: options.Cache = None,
    reports: options.Reports = None,
    width: Width = None,
    style: Style = None,
    json: bool = output.AsJson,
) -> None:
    """Show scores against parameters, GFLOP and seconds for a second of audio.

    [bold]Example[/bold]

      probekit analyze cost --task gtzan
    """
    from probekit.analysis import cost as analysis
    from probekit.figures.files import save_drawing
    from probekit.figures.scatter import draw_cost

    found = analysis.cost(task, reports=reports, cache=cache)
    files = save_drawing(draw_cost, found, folder(reports), width, style)
    print_result([result_entry(task, found, files)], json)


def _table(found: "ClassDifferences") -> None:
    """Print the classes that differ beyond chance."""
    beyond = [row for row in found.rows() if row["beyond_chance"]]
    if not beyond:
        output.say("No class differs beyond chance.")
        return
    output.table(
        ["class", found.first.label, found.second.label, "difference", "95 % interval", "p"],
        [
            (
                row["class"],
                f"{row['first']:.3f}",
                f"{row['second']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['low']:+.3f} – {row['high']:+.3f}",
                "<0.001" if row["p_adjusted"] < 0.001 else f"{row['p_adjusted']:.3f}",
            )
            for row in beyond
        ],
        title="Classes that differ beyond chance",
        numbers=f"{found.first.label}|{found.second.label}|difference|p",
    )
