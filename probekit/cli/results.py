"""``probekit results``: what was scored."""

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.scores.store import Result

app = typer.Typer(invoke_without_command=True)
_Task = Annotated[str | None, typer.Option(help="Only this task.")]


@app.callback()
def group(
    context: typer.Context,
    task: _Task = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Tell what was scored; without a command, all results are listed.

    [bold]Examples[/bold]

      probekit results

      probekit results best gtzan
    """
    if options.is_bare_call(context, task, reports, json):
        ls(task, reports, json)


@app.command("ls")
def ls(task: _Task = None, reports: options.Reports = None, json: bool = output.AsJson) -> None:
    """List all results, by task, best first.

    [bold]Example[/bold]

      probekit results ls --task fsdd
    """
    from probekit.scores import store

    table = store.results(reports, task or "")
    if json:
        output.as_json(table.to_dict("records"))
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
            f"{r.low:.3f} – {r.high:.3f}",
            f"{r.clips:,} of {r.of:,}",
            r.provenance or "–",
            r.run[:12],
        )
        for r in table.itertuples(index=False)
    ]
    output.table(
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
            "run",
        ),
        rows,
        numbers="score|clips",
    )


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="First digits of a run, or an embedding.")],
    task: Annotated[str, typer.Option(help="The task, where the name does not tell.")] = "",
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Tell all about one run: scores, folds, classes, what was chosen and how sure it is.

    [bold]Example[/bold]

      probekit results show vggish --task fsdd
    """
    import numpy as np

    from probekit.cli.evaluate import show as table
    from probekit.scores import groups, store

    found = list(groups.resolve_run(run, task, reports).results)
    if json:
        output.as_json(found)
        return
    table(found)
    for r in found:
        if r["probe"].startswith("student:"):
            _student(r)
        names = r["folds"][0]["params"]
        output.table(
            ("fold", "train", "test", r["metric"], *names, "chosen on", "gap", "steps"),
            [
                (
                    f["fold"],
                    f"{f['train']:,}",
                    f"{f['test']:,}",
                    f"{f['score']:.3f}",
                    *(_plain(f["params"][name]) for name in names),
                    f["selected_on"],
                    "–" if f["gap"] is None else f"{f['gap']:.0e}",
                    f["iterations"],
                )
                for f in r["folds"]
            ],
            title=f"run {r['run'][:12]}, {r['created']}",
            numbers=f"train|test|{r['metric']}|gap|steps",
        )
        sign = -1 if store.higher_is_better(r) else 1
        ranked = sorted(
            r["per_class"].items(),
            key=lambda pair: np.inf if pair[1]["score"] is None else sign * pair[1]["score"],
        )
        output.table(
            ("class", "clips", r["metric"]),
            [
                (
                    name,
                    f"{own['clips']:,}",
                    "–" if own["score"] is None else f"{own['score']:.3f}",
                )
                for name, own in ranked
            ],
            numbers=f"clips|{r['metric']}",
        )


@app.command()
def best(
    task: Annotated[str, typer.Argument(help="A task with results.")],
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Show a task's best run, and which others cannot be told from it.

    Each run is tested against the best one (see probekit compare), p-values adjusted (Holm).

    [bold]Example[/bold]

      probekit results best gtzan
    """
    from probekit.cli.compare import p_value
    from probekit.errors import DataError
    from probekit.scores import comparison, groups, store

    entries = groups.load_groups(task, reports)
    if not entries:
        raise DataError(f"{store.reports_root(reports)}: no results of {task!r}; see probekit results ls")
    top, tests = comparison.compare_with_best(entries)
    if json:
        output.as_json({"best": top.label, "score": top.score, "tests": [vars(t) for t in tests]})
        return
    rows = [
        (
            one.second,
            f"{one.scores[1]:.3f}",
            f"{one.difference:+.3f}",
            f"{one.low:+.3f} – {one.high:+.3f}",
            p_value(one.adjusted),
            one.verdict if one.verdict == "not distinguishable" else "worse",
        )
        for one in tests
    ]
    metric = top.results[0]["metric"]
    output.table(
        ("", metric, "best - this", "95 % interval", "p (Holm)", ""),
        [(top.label, f"{top.score:.3f}", "", "", "", "best"), *rows],
        title=task,
        numbers=f"{metric}|p (Holm)|best - this",
    )
    notes = [text for one in tests for text in one.notes] or top.results[0]["provenance"]
    for text in dict.fromkeys(notes):
        output.say(f"note: {text}")


@app.command("table")
def paper_table(
    task: Annotated[list[str], typer.Option(help="A task with results; repeat for several.")],
    embedding: Annotated[
        list[str] | None,
        typer.Option("-e", "--embedding", metavar="NAME", help="Only these; repeatable."),
    ] = None,
    format: Annotated[
        str, typer.Option(help="latex (booktabs), markdown or csv (a line a score).")
    ] = "",
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="FILE", help="Else it is printed.")
    ] = None,
    intervals: Annotated[bool, typer.Option(help="With 95 % intervals.")] = True,
    digits: Annotated[int, typer.Option(min=0, max=6, help="Decimals.")] = 3,
    reports: options.Reports = None,
) -> None:
    """Make a table for a paper: embeddings as rows, tasks as columns.

    The best is bold; those that the paired test does not tell from it have a dagger; published
    scores stand below, and what must be said beside a score is in notes.

    [bold]Examples[/bold]

      probekit results table --task fsdd --task gtzan --format latex -o table.tex

      probekit results table --task fsdd --no-intervals
    """
    from pathlib import Path

    from probekit.errors import DataError
    from probekit.report import leaderboard_table, table_format
    from probekit.scores import groups, store
    from probekit.utils import atomic

    form = table_format.infer_format(format, out)
    found = []
    for name in dict.fromkeys(task):
        own = groups.load_groups(name, reports)
        if embedding:
            own = [one for one in own if one.results[0]["embedding"] in embedding]
        if not own:
            of = f" of {', '.join(embedding)}" if embedding else ""
            raise DataError(
                f"{store.reports_root(reports)}: no results{of} for {name!r}; see probekit results ls"
            )
        found += own
    if form == "csv":
        text = leaderboard_table.records(found)
    else:
        text = table_format.render(
            leaderboard_table.leaderboard(found, intervals=intervals, digits=digits), form
        )
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
    from probekit.scores import store, verification

    found = verification.verify(reports)
    bad = [one for one in found if one.faults]
    if json:
        output.as_json([vars(one) for one in found])
    else:
        for one in bad:
            output.say(f"{one.path}:")
            for text in one.faults:
                output.say(f"    {text}")
        output.say(
            f"{len(found) - len(bad):,} of {len(found):,} results in {store.reports_root(reports)} "
            "follow from their predictions to the last digit"
        )
    if bad:
        raise typer.Exit(1)


def _student(result: "Result") -> None:
    """Print how a student was made."""
    own = result["settings"]
    recipe = own["recipe"]
    whole = sum(phase["epochs"] for phase in recipe["phases"])
    said = {
        "student": own["student"],
        "method": own["method"] + (f", alpha {own['alpha']:g}" if own["alpha"] else ""),
        "teachers": ", ".join(own["teachers"]),
        "alignment": own["alignment"],
        "begun with": own["init"],
        "recipe": recipe["name"],
        "epochs at most": whole,
        "batch": recipe["batch"],
        "first rate": f"{recipe['phases'][0]['lr']:g}",
        "crop": f"{float(Fraction(own['crop'])):g} s",
        "precision": own["precision"],
    }
    rows = [(name, str(value)) for name, value in said.items() if value]
    output.table(("setting", ""), rows, title=f"run {result['run'][:12]}")


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
