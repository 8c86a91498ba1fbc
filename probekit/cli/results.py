"""``probekit results``: stored results as tables."""

import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output, publication

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probekit.scores.groups import RunGroup
    from probekit.scores.store import Result

app = typer.Typer(invoke_without_command=True)
app.command("publish")(publication.publish)
_Task = Annotated[str | None, typer.Option(help="Only this task.")]


@app.callback()
def group(
    context: typer.Context,
    task: _Task = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Show stored results; without a command, all results are listed.

    [bold]Examples[/bold]

      probekit results

      probekit results best gtzan
    """
    if options.is_bare_call(context, task, reports, json):
        ls(task, reports=reports, json=json)


@app.command("ls")
def ls(
    task: _Task = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only runs of data or code that has changed since.")
    ] = False,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """List all results, by task, best first, stale ones last.

    A run is stale if the dataset or the extractor's code has changed since, or it was repeated.
    Other commands leave stale runs out, and take the newest of runs with equal names. Of a task,
    probekit results best TASK tests which runs are tied for first.

    [bold]Examples[/bold]

      probekit results ls --task fsdd

      probekit results ls --stale
    """
    from probekit.scores import result_table, store
    from probekit.utils.text import format_date

    table = result_table.results(reports, task or "")
    if stale and not table.empty:
        table = table[table["stale"] != ""]
        if table.empty and not json:
            output.say(f"no stale results in {store.reports_root(reports)}")
            return
    if json:
        output.print_json(table.astype(object).where(table.notna(), None).to_dict("records"))
        return
    if table.empty:
        output.say(f"no results in {store.reports_root(reports)}; probekit evaluate makes them")
        return
    seeds = bool(table["seed"].any())
    rows = [
        (
            r.task,
            r.embedding,
            r.probe,
            f"{100 * r.fraction:g} %" + (f", seed {r.seed}" if seeds else ""),
            r.metric,
            f"{r.score:.3f}",
            output.format_interval({"low": r.low, "high": r.high, "method": r.interval_method}),
            f"{r.clips:,} of {r.of:,}",
            "; ".join(filter(None, [r.stale and f"stale: {r.stale}", r.provenance])) or "–",
            format_date(r.created),
            r.run[:12],
        )
        for r in table.itertuples(index=False)
    ]
    output.print_table(
        (
            "task",
            "embedding",
            "probe",
            "labels",
            "metric",
            "score",
            "95 % interval",
            "clips",
            "note",
            "created",
            "run",
        ),
        rows,
        numbers="score|clips",
        keys=4,
        below="run|created|clips|note",
    )


@app.command()
def rm(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN", help="First digits of a run, or an embedding (with --task)."),
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Stale runs: all, or those of the names.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    task: options.RunTask = "",
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Remove runs: result, predictions and, of a student, its trained networks, after asking.

    A student that other runs use is removed only together with them. Without a terminal to ask
    at, and without --yes, runs are only listed. Embeddings in the cache stay (probekit cache gc).

    [bold]Examples[/bold]

      probekit results rm 1a2b3c4d5e6f

      probekit results rm --stale --yes
    """
    from probekit.errors import ProbekitError
    from probekit.scores import removal
    from probekit.scores.groups import run_label
    from probekit.scores.store import reports_root
    from probekit.utils.text import format_date

    if not runs and not stale:
        raise ProbekitError("results rm needs a RUN, or --stale; see probekit results ls")
    items = removal.find_removable(runs or (), stale=stale, task=task, reports=reports)
    for item in items:
        if item.users:
            output.warn(
                f"run {item.result['run'][:12]} stays, others use its network: "
                f"{'; '.join(item.users)}"
            )
    items = [item for item in items if not item.users]
    if not json:
        for item in items:
            result = item.result
            parts = [f"{len(item.files)} files"]
            parts += [f"trained network {folder.name}" for folder in item.students]
            output.say(
                f"{result['run'][:12]}  {result['task']}  {run_label(result)}, seed "
                f"{result['seed']}  {result['score']:.3f}  {format_date(result['created'])}"
                f"{'  stale: ' + item.reason if item.reason else ''} ({', '.join(parts)})"
            )
    total = f"{len(items):,} run{'' if len(items) == 1 else 's'}"
    total += f", {output.format_size(sum(item.size for item in items))}"
    agreed = yes
    if items and not yes and not json and sys.stdin.isatty():
        agreed = typer.confirm(f"Remove {total}?")
    if agreed:
        for item in items:
            removal.remove_run(item)
    if json:
        output.print_json(
            [
                {
                    "run": item.result["run"],
                    "task": item.result["task"],
                    "embedding": item.result["embedding"],
                    "stale": item.reason,
                    "files": [str(path) for path in (item.path, *item.students)],
                    "removed": agreed,
                }
                for item in items
            ]
        )
    elif not items:
        output.say(f"nothing to remove in {reports_root(reports)}")
    else:
        output.say(f"removed: {total}" if agreed else f"nothing was removed; --yes removes {total}")
    if items and not agreed and not json and not sys.stdin.isatty():
        raise typer.Exit(1)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="First digits of a run, or an embedding.")],
    task: options.RunTask = "",
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Show one run in full: scores, intervals, folds, classes, and selected settings.

    [bold]Example[/bold]

      probekit results show vggish --task fsdd
    """
    from probekit.cli.evaluate import show as print_results
    from probekit.scores.groups import resolve_run

    group = resolve_run(run, task, reports)
    results = list(group.results)
    if json:
        output.print_json(results)
        return
    print_results(results)
    for path, result in zip(group.paths, results, strict=True):
        if result["probe"].startswith("student:"):
            _print_student(result)
        _print_folds(result)
        _print_classes(path, result)


@app.command()
def best(
    task: Annotated[str, typer.Argument(help="A task with results.")],
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Show a task's best run, and the runs that are tied for first: not distinguishable from it.

    Each run is tested against the best one (see probekit compare). P-values are adjusted (Holm) for
    all pairs of runs: the best was chosen on the same clips.

    [bold]Example[/bold]

      probekit results best gtzan
    """
    from probekit.scores.comparison import compare_with_best
    from probekit.scores.ties import describe_ties, tied_with_best

    top, comparisons = compare_with_best(_load_groups(task, reports))
    tied = tied_with_best(top.label, comparisons)
    if json:
        tests = [vars(comparison) for comparison in comparisons]
        output.print_json({"best": top.label, "score": top.score, "tied": tied, "tests": tests})
        return
    rows = [
        (
            comparison.second,
            f"{comparison.scores[1]:.3f}",
            f"{comparison.difference:+.3f}",
            f"{comparison.low:+.3f} – {comparison.high:+.3f}",
            output.format_p_value(comparison.adjusted),
            comparison.power,
            "worse" if comparison.verdict != "not distinguishable" else comparison.verdict,
        )
        for comparison in comparisons
    ]
    metric = top.results[0]["metric"]
    output.print_table(
        ("", metric, "best - this", "95 % interval", "p (Holm)", output.POWER_COLUMN, ""),
        [(top.label, f"{top.score:.3f}", "", "", "", "", "best"), *rows],
        title=task,
        numbers=f"{metric}|p (Holm)|best - this|{output.POWER_COLUMN}",
        below=f"{output.POWER_COLUMN}|95 % interval|best - this",
    )
    if comparisons:
        output.say(describe_ties(tied, len(comparisons) + 1))
    for text in output.describe_power(comparisons):
        output.say(text)
    notes = [note for comparison in comparisons for note in comparison.notes]
    for note in dict.fromkeys(notes or top.provenance):
        output.say(f"note: {note}")


@app.command("table")
def paper_table(
    task: Annotated[list[str], typer.Option(help="A task with results; repeatable.")],
    embedding: Annotated[
        list[str] | None,
        typer.Option("-e", "--embedding", metavar="NAME", help="Only this embedding; repeatable."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="latex|markdown|csv",
            help="LaTeX needs booktabs, CSV has a line per score; by default as FILE ends.",
        ),
    ] = "",
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="Output file; else printed.")
    ] = None,
    intervals: Annotated[bool, typer.Option(help="With 95 % intervals.")] = True,
    digits: Annotated[
        int | None,
        typer.Option(min=0, max=6, help="Decimals; by default 3, in percent 1."),
    ] = None,
    percent: Annotated[
        bool, typer.Option("--percent", help="Accuracy, F1 and areas under curves in percent.")
    ] = False,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="Another name for a row; repeatable."),
    ] = None,
    reports: options.Reports = None,
) -> None:
    """Make a table for a paper: embeddings as rows, tasks as columns.

    The best score is bold; a dagger marks scores that the paired test does not distinguish from it.
    Runs over several seeds are one row, mean ± standard deviation. Published scores and notes
    follow.

    [bold]Examples[/bold]

      probekit results table --task fsdd --task gtzan --format latex -o table.tex

      probekit results table --task fsdd --no-intervals --percent --rename "vggish=VGGish"
    """
    from pathlib import Path

    from probekit.errors import ProbekitError
    from probekit.report import leaderboard_table, table_format
    from probekit.utils import atomic

    table_type = table_format.infer_format(format, out)
    groups = [
        group
        for name in dict.fromkeys(task)
        for group in _load_groups(name, reports, embedding or ())
    ]
    if table_type == "csv":
        if percent or digits is not None:
            raise ProbekitError(
                "--format csv writes scores with all digits, from 0 to 1; leave out --percent and "
                "--digits"
            )
        text = leaderboard_table.records_csv(groups, rename or ())
    else:
        table = leaderboard_table.build_table(
            groups, intervals=intervals, digits=digits, percent=percent, rename=rename or ()
        )
        text = table_format.render(table, table_type)
    if out is None:
        print(text, end="")  # noqa: T201
        return
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    atomic.atomic_write_text(Path(out), text)
    output.say(out)


@app.command()
def verify(reports: options.Reports = None, json: bool = output.AsJson) -> None:
    """Recompute every score and interval from the stored predictions.

    [bold]Example[/bold]

      probekit results verify
    """
    from probekit.scores import verification
    from probekit.scores.store import reports_root

    outcomes = verification.verify(reports)
    failed = [outcome for outcome in outcomes if outcome.faults]
    if json:
        output.print_json([vars(outcome) for outcome in outcomes])
    else:
        for outcome in failed:
            output.say(f"{outcome.path}:")
            for fault in outcome.faults:
                output.say(f"    {fault}")
        output.say(
            f"{len(outcomes) - len(failed):,} of {len(outcomes):,} results in "
            f"{reports_root(reports)} follow from their predictions to the last digit"
        )
    if failed:
        raise typer.Exit(1)


def _load_groups(
    task: str, reports: str | None, embeddings: "Sequence[str]" = ()
) -> "list[RunGroup]":
    """Return the run groups of a task (of some embeddings); DataError if there are none."""
    from probekit.errors import DataError
    from probekit.scores.groups import load_groups
    from probekit.scores.store import reports_root

    groups = load_groups(task, reports)
    if embeddings:
        groups = [group for group in groups if group.results[0]["embedding"] in embeddings]
    if not groups:
        of = f" of {', '.join(embeddings)}" if embeddings else ""
        raise DataError(
            f"{reports_root(reports)}: no results{of} for {task!r}; see probekit results ls"
        )
    return groups


def _print_folds(result: "Result") -> None:
    from probekit.utils.text import format_date

    metric, params = result["metric"], result["folds"][0]["params"]
    output.print_table(
        ("fold", "train", "test", metric, *params, "selected on", "gap", "steps"),
        [
            (
                fold["fold"],
                f"{fold['train']:,}",
                f"{fold['test']:,}",
                f"{fold['score']:.3f}",
                *(_format_value(fold["params"][name]) for name in params),
                fold["selected_on"],
                "–" if fold["gap"] is None else f"{fold['gap']:.0e}",
                fold["iterations"],
            )
            for fold in result["folds"]
        ],
        title=f"run {result['run'][:12]}, {format_date(result['created'])}",
        numbers=f"train|test|{metric}|gap|steps",
        below="gap|steps",
    )


def _print_classes(path: "Path", result: "Result") -> None:
    """Print the score of each class, the best first."""
    import numpy as np

    from probekit.metrics.metrics import get_metric
    from probekit.metrics.per_class import class_score_title
    from probekit.scores.scoring import read_class_scores

    metric = get_metric(result["metric"])
    title = class_score_title(metric, len(result["folds"]))
    sign = -1 if metric.higher_is_better else 1
    ranked = sorted(
        read_class_scores(path, result).items(),
        key=lambda item: np.inf if item[1]["score"] is None else sign * item[1]["score"],
    )
    output.print_table(
        ("class", "clips", title),
        [
            (name, f"{row['clips']:,}", "–" if row["score"] is None else f"{row['score']:.3f}")
            for name, row in ranked
        ],
        numbers=f"clips|{title}",
    )


def _print_student(result: "Result") -> None:
    """Print the settings of a student."""
    settings = result["settings"]
    recipe = settings["recipe"]
    values = {
        "student": settings["student"],
        "method": settings["method"]
        + (f", alpha {settings['alpha']:g}" if settings["alpha"] else ""),
        "teachers": ", ".join(settings["teachers"]),
        "alignment": settings["alignment"],
        "initialized from": settings["init"],
        "recipe": recipe["name"],
        "epochs at most": sum(phase["epochs"] for phase in recipe["phases"]),
        "batch": recipe["batch"],
        "initial learning rate": f"{recipe['phases'][0]['lr']:g}",
        "crop": f"{float(Fraction(settings['crop'])):g} s",
        "precision": settings["precision"],
    }
    rows = [(name, str(value)) for name, value in values.items() if value]
    output.print_table(("setting", ""), rows, title=f"run {result['run'][:12]}")


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
