"""Options of several commands."""

from typing import Annotated

import typer

from probekit.errors import ProbekitError

Cache = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Embedding cache; else PROBEKIT_CACHE, else ./cache."),
]
Reports = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Results; else PROBEKIT_REPORTS, else ./reports/out."),
]
Root = Annotated[
    str | None, typer.Option(metavar="DIR", help="The dataset's folder, as downloaded.")
]
Embedding = Annotated[
    list[str],
    typer.Option(
        "-e",
        "--embedding",
        metavar="NAME",
        help="Extractor; repeatable. NAME:key=value for parameters, stream= and pool=; "
        "NAME@FINGERPRINT selects one of several in the cache.",
    ),
]

Task = Annotated[str, typer.Option(help="A task's name, card or CSV.")]
RunTask = Annotated[str, typer.Option("--task", help="Task; needed if RUN is an embedding.")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="First digits of a run, or an embedding (with --task): NAME, NAME@FINGERPRINT, or "
        "NAME/PROBE for another probe than the linear one.",
    ),
]
OnlyEmbedding = Annotated[
    list[str] | None,
    typer.Option("-e", "--embedding", metavar="NAME", help="Only this embedding; repeatable."),
]
RunMetric = Annotated[str, typer.Option("--metric", help="Metric; the task's first by default.")]

# class weights and their clustering
C = Annotated[float | None, typer.Option(min=1e-12, help="C of the probe; selected by default.")]
Space = Annotated[
    str, typer.Option(metavar="embedding|standardized", help="Features of the weights.")
]
Center = Annotated[
    str, typer.Option(metavar="rows|classes|none", help="What the weights are centered by.")
]
Metric = Annotated[str, typer.Option(metavar="cosine|euclidean", help="Distance of the weights.")]
Linkage = Annotated[
    str, typer.Option(metavar="average|complete|single|ward", help="Linkage of the clustering.")
]
Clusters = Annotated[
    int | None,
    typer.Option(min=1, help="Colored clusters; by default the square root of the classes."),
]
Probe = Annotated[str, typer.Option(help="linear; other probes have no class weights.")]
Preset = Annotated[
    str, typer.Option(help="A paper's stream, pooling and transforms, such as kumar2021.")
]

# figures
Width = Annotated[
    float | None,
    typer.Option(
        metavar="INCHES",
        min=1.5,
        max=20,
        help="Width, which the file's name then has; by default 3.5 (one column) or 7.16 (two).",
    ),
]
Figures = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--out",
        metavar="FILE|DIR",
        help="File to write (.pdf, .svg, .png, .csv or .json) and nothing else, or folder for all; "
        "by default all in figures/ of the results folder.",
    ),
]
Counts = Annotated[
    bool,
    typer.Option(
        "--counts",
        help="If clips are missing, write their number in the drawing, not only in the caption.",
    ),
]
Style = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Matplotlib style file; its settings override probekit's."),
]


def is_bare_call(context: typer.Context, *values: object) -> bool:
    """Tell whether a command group was called without a command.

    Parameters
    ----------
    context : typer.Context
        Of the group.
    *values : object
        Values of the group's own options; false if not set.

    Raises
    ------
    ProbekitError
        If options of the group precede a command, which would not get them.
    """
    if context.invoked_subcommand is None:
        return True
    if any(values):
        raise ProbekitError(
            f"options must follow the command: {context.command_path} "
            f"{context.invoked_subcommand} …"
        )
    return False


def parse_numbers(option: str, text: str) -> list[float]:
    """Return the numbers of an option, which are separated by commas."""
    try:
        return [float(value) for value in text.split(",")]
    except ValueError as error:
        raise ProbekitError(
            f"{option} must be numbers separated by commas, got {text!r}"
        ) from error
