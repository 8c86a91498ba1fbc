"""``probekit analyze``: figures of class weights, embeddings and stored runs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import typer

from probekit.cli import options, output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from probekit.analysis.class_differences import ClassDifferences

app = typer.Typer(
    help="Analyze embeddings, probes and results; each analysis makes a figure.",
    no_args_is_help=True,
)


@app.command()
def dendrogram(
    task: options.Task,
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: options.Probe = "linear",
    preset: options.Preset = "",
    c: options.C = None,
    space: options.Space = "embedding",
    center: options.Center = "rows",
    metric: options.Metric = "cosine",
    linkage: options.Linkage = "average",
    clusters: options.Clusters = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Cluster the classes by the weights of one probe fitted on all training clips.

    Writes PDF, SVG and PNG (300 dpi) for a paper, the merges as CSV, and the caption as JSON.

    [bold]Example[/bold]

      probekit analyze dendrogram --task synth -e melstats
    """
    from probekit.analysis.dendrogram import dendrogram
    from probekit.figures.files import save_drawing
    from probekit.figures.tree import draw_dendrogram

    target = _target(out, counts, len(embedding))
    entries = []
    for name in embedding:
        tree = dendrogram(
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
        files = save_drawing(draw_dendrogram, tree, _folder(reports), width, style, **target)
        entries.append(_entry(name, tree, files))
    _print_entries(entries, json)


@app.command()
def correlation(
    task: options.Task,
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: options.Probe = "linear",
    preset: options.Preset = "",
    c: options.C = None,
    normalize: Annotated[
        str,
        typer.Option(
            metavar="columns|rows|none",
            help="Mean 0 and variance 1 per dimension (columns) or per class (rows).",
        ),
    ] = "columns",
    linkage: options.Linkage = "average",
    permutations: Annotated[
        int, typer.Option(min=1, help="Permutations of the labels; the probe is fitted to each.")
    ] = 199,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the permutations.")] = 0,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Compare the task's classes with those of the network's own head, by cosine of their weights.

    The probe must read the stream that the head reads. Pairs are beyond chance if they are so for
    permuted labels (of whole groups; the probe is fitted again) and for random signs of the
    probe's principal components. The CSV has all pairs, the strongest first.

    [bold]Example[/bold]

      probekit analyze correlation --task synth -e convnet:stream=max5
    """
    from probekit.analysis.correlation import correlation
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_correlation

    target = _target(out, counts, len(embedding))
    entries = []
    for name in embedding:
        with output.make_progress("permutations") as bar:
            line = bar.add_task(name, total=permutations, note="")
            cosines = correlation(
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
                progress=partial(_advance, bar, line),
            )
        files = save_drawing(draw_correlation, cosines, _folder(reports), width, style, **target)
        entries.append(_entry(name, cosines, files) | {"strongest": cosines.strongest(10)})
    _print_entries(entries, json)
    for entry in [] if json else entries:
        output.print_table(
            ["class", "source class", "cosine", "p, all pairs", "beyond chance"],
            [
                (
                    pair["target"],
                    pair["source"],
                    f"{pair['cosine']:+.2f}",
                    f"{pair['p_all_pairs']:.3f}",
                    "yes" if pair["beyond_chance"] else "no",
                )
                for pair in entry["strongest"]
            ],
            title=f"{entry['embedding']}: strongest pairs",
            numbers="cosine|p, all pairs",
        )


@app.command()
def projection(
    task: options.Task,
    embedding: options.Embedding,
    of: Annotated[
        str, typer.Option(metavar="classes|clips", help="Class weights, or clips.")
    ] = "classes",
    method: Annotated[
        str,
        typer.Option(
            metavar="tsne|pca", help="By default tsne, or pca for fewer than four points."
        ),
    ] = "",
    perplexity: Annotated[
        float | None,
        typer.Option(min=1, help="Perplexity of t-SNE; by default 30 or a third of the points."),
    ] = None,
    color: Annotated[
        str,
        typer.Option(
            "--color",
            "--colour",
            metavar="label|cluster|auto",
            help="Color of clips; auto: label up to 24 labels.",
        ),
    ] = "auto",
    most: Annotated[int, typer.Option(min=4, help="Maximum number of clips.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of t-SNE and of the sample of clips.")] = 0,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: options.Probe = "linear",
    preset: options.Preset = "",
    c: options.C = None,
    space: options.Space = "embedding",
    center: options.Center = "rows",
    metric: options.Metric = "cosine",
    linkage: options.Linkage = "average",
    clusters: options.Clusters = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show class weights or clips in a plane.

    [bold]Examples[/bold]

      probekit analyze projection --task synth -e melstats
      probekit analyze projection --task synth -e melstats --of clips --method pca
    """
    from probekit.analysis.dendrogram import dendrogram
    from probekit.analysis.projection import project_classes, project_clips
    from probekit.figures.files import save_drawing
    from probekit.figures.scatter import draw_projection
    from probekit.utils.suggest import unknown_name_error

    if of not in ("classes", "clips"):
        raise unknown_name_error("points", of, ("classes", "clips"))
    settings: dict[str, Any] = {"method": method, "perplexity": perplexity, "seed": seed}
    folders: dict[str, Any] = {"cache": cache, "root": root}
    target = _target(out, counts, len(embedding))
    entries = []
    for name in embedding:
        if of == "clips":
            points = project_clips(task, name, color=color, max_clips=most, **folders, **settings)
        else:
            tree = dendrogram(
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
                **folders,
            )
            points = project_classes(tree, **settings)
        files = save_drawing(draw_projection, points, _folder(reports), width, style, **target)
        entries.append(_entry(name, points, files))
    _print_entries(entries, json)


@app.command()
def similarity(
    task: options.Task,
    embedding: options.Embedding,
    measure: Annotated[
        list[str] | None, typer.Option(metavar="cka|neighbours", help="By default both.")
    ] = None,
    debiased: Annotated[
        bool, typer.Option("--debiased", help="Unbiased estimate of CKA, for few clips.")
    ] = False,
    k: Annotated[int, typer.Option(min=1, help="Nearest neighbors.")] = 10,
    normalize: Annotated[
        str,
        typer.Option(
            metavar="none|columns", help="Features; columns: mean 0, variance 1 per dimension."
        ),
    ] = "none",
    most: Annotated[int, typer.Option(min=4, help="Maximum number of clips.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample of clips.")] = 0,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Compare embeddings on their common clips: linear CKA, shared nearest neighbors.

    [bold]Example[/bold]

      probekit analyze similarity --task gtzan -e vggish -e openl3 -e melstats
    """
    from probekit.analysis.similarity import MEASURES, similarity
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_similarity

    target = _target(out, counts, len(measure or MEASURES))
    entries = []
    for name in measure or MEASURES:
        matrix = similarity(
            task,
            embedding,
            cache=cache,
            root=root,
            measure=name,
            debiased=debiased,
            k=k,
            normalize=normalize,
            max_clips=most,
            seed=seed,
        )
        files = save_drawing(draw_similarity, matrix, _folder(reports), width, style, **target)
        entries.append(_entry(name, matrix, files) | {"pairs": matrix.rows()})
    _print_entries(entries, json)


@app.command()
def timeline(
    clip: Annotated[list[str], typer.Argument(metavar="CLIP", help="Clip ids; a figure each.")],
    task: options.Task,
    embedding: options.Embedding,
    top: Annotated[int, typer.Option(min=1, help="Classes or dimensions to show.")] = 10,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show a clip over time: its frames, or the scores of the network's own classes.

    Below is the similarity of each time with each. Needs embeddings that were extracted with
    --frames. The CSV has every frame with its time, all dimensions, and all class scores.

    [bold]Example[/bold]

      probekit extract -e vggish:hop=0.48 --audio recordings --frames

      probekit analyze timeline dawn-chorus --task recordings -e vggish:hop=0.48
    """
    from probekit.analysis.timeline import timeline
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_timeline

    target = _target(out, counts, len(embedding) * len(clip))
    entries = []
    for name in embedding:
        for clip_id in clip:
            frames = timeline(task, clip_id, name, cache=cache, root=root, top=top)
            files = save_drawing(draw_timeline, frames, _folder(reports), width, style, **target)
            entries.append(_entry(name, frames, files) | {"clip": clip_id})
    _print_entries(entries, json)


@app.command()
def confusion(
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            show_default=False,
            help="First digits of a run, or an embedding as for -e; one figure each.",
        ),
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            "-e",
            "--embedding",
            metavar="NAME",
            help="Embedding (with --task): NAME, NAME@FINGERPRINT, or NAME/PROBE for another probe "
            "than the linear one; repeat for several.",
        ),
    ] = None,
    task: options.RunTask = "",
    order: Annotated[
        str,
        typer.Option(
            metavar="clusters|labels",
            help="Order of classes; clusters: confused classes side by side.",
        ),
    ] = "clusters",
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show which classes a probe predicts for which.

    [bold]Examples[/bold]

      probekit analyze confusion --task gtzan -e vggish -e melstats

      probekit analyze confusion 1a2b3c4d5e6f
    """
    from probekit.analysis.confusion import confusion
    from probekit.errors import DataError
    from probekit.figures.files import save_drawing
    from probekit.figures.heatmap import draw_confusion

    names = [*(run or ()), *(embedding or ())]
    if not names:
        raise DataError(
            "confusion needs a run: -e NAME with --task TASK, or the first digits of a run; see "
            "probekit results ls"
        )
    target = _target(out, counts, len(dict.fromkeys(names)))
    entries = []
    for name in dict.fromkeys(names):
        matrix = confusion(name, task=task, reports=reports, order=order)
        files = save_drawing(draw_confusion, matrix, _folder(reports), width, style, **target)
        entries.append(_entry(matrix.run.label, matrix, files))
    _print_entries(entries, json)


@app.command()
def differences(
    first: options.Run,
    second: options.Run,
    task: options.RunTask = "",
    metric: options.RunMetric = "",
    correction: Annotated[
        str,
        typer.Option(
            metavar="holm|bh", help="Correction for many classes; bh: Benjamini and Hochberg."
        ),
    ] = "holm",
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show where two runs differ, class by class, with intervals, on the clips that both scored.

    [bold]Example[/bold]

      probekit analyze differences vggish melstats --task gtzan
    """
    from probekit.analysis.class_differences import class_differences
    from probekit.figures.dot_plot import draw_class_differences
    from probekit.figures.files import save_drawing

    by_class = class_differences(
        first, second, task=task, reports=reports, metric=metric, correction=correction
    )
    target = _target(out, counts)
    files = save_drawing(draw_class_differences, by_class, _folder(reports), width, style, **target)
    entry = _entry(f"{by_class.first.label} and {by_class.second.label}", by_class, files)
    _print_entries([entry | {"classes": by_class.rows()}], json)
    if not json:
        _print_differences(by_class)


@app.command()
def efficiency(
    task: options.Task,
    embedding: options.OnlyEmbedding = None,
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show how scores grow with the training labels, from runs with --fraction or --shots.

    Class names as texts (--probe zero-shot) of the same embedding are a dashed line, with the
    number of labels that they are worth and paired tests on the same clips.

    [bold]Examples[/bold]

      probekit evaluate --task gtzan -e vggish --fraction 0.1,0.3,1 --seeds 5

      probekit evaluate --task esc50 -e hf:laion/clap-htsat-unfused --probe zero-shot

      probekit evaluate --task esc50 -e hf:laion/clap-htsat-unfused --shots 1,2,4,8,16 --seeds 5

      probekit analyze efficiency --task gtzan
    """
    from probekit.analysis.label_efficiency import label_efficiency
    from probekit.figures.curves import draw_label_efficiency
    from probekit.figures.files import save_drawing

    curves = label_efficiency(task, reports=reports, embeddings=embedding or ())
    target = _target(out, counts)
    files = save_drawing(draw_label_efficiency, curves, _folder(reports), width, style, **target)
    _print_entries([_entry(task, curves, files)], json)


@app.command()
def layers(
    task: options.Task,
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Annotated[
        str, typer.Option(help="linear, mlp, knn, or a scikit-learn estimator.")
    ] = "linear",
    learned: Annotated[
        bool, typer.Option("--learned", help="Compute learned weights of layers, too.")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of probes that are random.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show the score of every layer of networks, and of a layer chosen without test clips.

    The layer of the best test score looks better than it is, since test clips chose it; the caption
    says by how much. Needs embeddings extracted with layer=all. Stored runs are read, others
    computed.

    [bold]Example[/bold]

      probekit extract -e convnet:layer=all --task esc10 --root ESC-50

      probekit analyze layers --task esc10 -e convnet --learned
    """
    from probekit.analysis.layer_curve import layer_curves
    from probekit.figures.curves import draw_layers
    from probekit.figures.files import save_drawing

    target = _target(out, counts)
    with output.show_steps("folds") as tick:
        curves = layer_curves(
            task,
            embedding,
            cache=cache,
            root=root,
            reports=reports,
            probe=probe,
            learned=learned,
            seeds=seeds,
            jobs=jobs,
            progress=tick,
        )
    files = save_drawing(draw_layers, curves, _folder(reports), width, style, **target)
    entry = _entry(", ".join(embedding), curves, files)
    if json:
        _print_entries([entry | {"layers": curves.rows()}], json)
        return
    output.print_table(
        ["network", "layer", curves.metric, "95 % interval", "selected by folds", "weight"],
        [
            (
                row["network"],
                str(row["layer"]) or row["kind"],
                f"{row['score']:.3f}",
                f"{row['low']:.3f} – {row['high']:.3f}",
                str(row["selected_in_folds"]),
                f"{row['learned_weight']:.2f}" if row["learned_weight"] != "" else "",
            )
            for row in curves.rows()
        ],
        title=f"{curves.task}, {curves.probe} probe",
        numbers=f"{curves.metric}|selected by folds|weight",
    )
    _print_entries([entry], json)


@app.command()
def curve(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Runs of train or distill, as for compare."),
    ],
    task: options.RunTask = "",
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Draw learning curves: losses and scores of every epoch, several runs in one figure.

    [bold]Example[/bold]

      probekit analyze curve none con-reg --task synth
    """
    from probekit.analysis.learning_curve import learning_curve
    from probekit.figures.curves import draw_learning_curve
    from probekit.figures.files import save_drawing

    curves = learning_curve(runs, task=task, reports=reports)
    target = _target(out, counts)
    files = save_drawing(draw_learning_curve, curves, _folder(reports), width, style, **target)
    _print_entries([_entry(curves.task, curves, files)], json)


@app.command()
def cost(
    task: options.Task,
    cache: options.Cache = None,
    reports: options.Reports = None,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    counts: options.Counts = False,
    json: bool = output.AsJson,
) -> None:
    """Show scores against parameters, GFLOP and seconds per second of audio.

    [bold]Example[/bold]

      probekit analyze cost --task gtzan
    """
    from probekit.analysis.cost import cost
    from probekit.figures.files import save_drawing
    from probekit.figures.scatter import draw_cost

    points = cost(task, reports=reports, cache=cache)
    target = _target(out, counts)
    files = save_drawing(draw_cost, points, _folder(reports), width, style, **target)
    _print_entries([_entry(task, points, files)], json)


class _Target(TypedDict):
    """Arguments of ``save_drawing`` for --counts and --out."""

    counts: bool
    out: Path | None


def _folder(reports: str | None) -> Path:
    """Return the folder of figures."""
    from probekit.scores.store import reports_root

    return reports_root(reports) / "figures"


def _target(out: str | None, counts: bool, figures: int = 1) -> _Target:
    """Return where figures go and what they show; an error if several are to be one file."""
    from probekit.errors import DataError
    from probekit.figures.files import is_figure_file

    path = None if out is None else Path(out)
    if path is not None and figures > 1 and is_figure_file(path):
        raise DataError(f"-o {out}: these are {figures} figures; name a folder for them")
    return {"counts": counts, "out": path}


def _entry(name: str, analysis: Any, files: list[Path]) -> dict[str, Any]:
    """Return what ``--json`` prints of a figure."""
    return {"embedding": name, "caption": analysis.caption, "files": [str(file) for file in files]}


def _print_entries(entries: list[dict[str, Any]], json: bool) -> None:
    """Print captions and files, or JSON."""
    if json:
        output.print_json(entries)
        return
    for entry in entries:
        output.say(str(entry["caption"]))
        for file in entry["files"]:
            output.say(f"  {file}")


def _print_differences(differences: "ClassDifferences") -> None:
    """Print the classes that differ beyond chance."""
    rows = [row for row in differences.rows() if row["beyond_chance"]]
    if not rows:
        output.say("No class differs beyond chance.")
        return
    first, second = differences.first.label, differences.second.label
    output.print_table(
        ["class", first, second, "difference", "95 % interval", "p"],
        [
            (
                row["class"],
                f"{row['first']:.3f}",
                f"{row['second']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['low']:+.3f} – {row['high']:+.3f}",
                output.format_p_value(row["p_adjusted"]),
            )
            for row in rows
        ],
        title="Classes that differ beyond chance",
        numbers=f"{first}|{second}|difference|p",
    )


def _advance(bar: "Progress", line: "TaskID", done: int, _: int) -> None:
    """Advance a line of progress."""
    bar.update(line, completed=done)
