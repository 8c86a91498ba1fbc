"""``probekit audit``: embeddings under the task's own protocol and those of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.analysis.audit import Audit
    from probekit.scores.comparison import Comparison


def audit(
    task: options.Task,
    embedding: options.Embedding,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this protocol or departure, besides the task's own; repeatable.",
        ),
    ] = None,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default all cores if it takes longer.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Repeat stored runs.")] = False,
    width: options.Width = None,
    style: options.Style = None,
    out: options.Figures = None,
    json: bool = output.AsJson,
) -> None:
    """Score embeddings under the task's own protocol and under those of other tools.

    Protocols, our own code after the versions named: hear, mteb, mteb-draws, xares, xares-knn,
    evar. Departures, the task's own protocol with one thing changed: shuffled-folds,
    raw-features, test-selection, fixed-c, eight-labels. For each: score, interval, rank, the
    difference to the task's own on the same test clips, what leaks, seconds; and which pairs of
    embeddings change places, with paired tests. Writes a figure, CSV and JSON.

    [bold]Examples[/bold]

      probekit audit --task urbansound8k -e vggish -e openl3

      probekit audit --task gtzan -e vggish -e melstats --protocol mteb --protocol shuffled-folds

      probekit evaluate --task esc50 -e vggish --protocol xares
    """
    from probekit.analysis.audit import audit as audit_task
    from probekit.figures.files import save_drawing
    from probekit.figures.protocol_plot import draw_audit
    from probekit.scores import store

    with output.show_steps("folds", latest=True) as tick:
        result = audit_task(
            task,
            embedding,
            protocols=protocol or (),
            cache=cache,
            root=root,
            reports=reports,
            jobs=jobs,
            again=again,
            progress=tick,
        )
    folder = store.reports_root(reports) / "figures"
    target = Path(out) if out else None
    files = save_drawing(draw_audit, result, folder, width, style, out=target)
    if json:
        output.print_json({**result.facts(), "files": [str(file) for file in files]})
        return
    _print_audit(result)
    output.say(result.caption)
    for file in files:
        output.say(str(file))


def _print_audit(result: "Audit") -> None:
    """Print the table, the pairs that change places, and what is not possible."""
    rows = [
        (
            row["title"],
            row["embedding"],
            f"{row['score']:.3f}",
            _ends(row["low"], row["high"]),
            f"{row['rank']}" if row["rank"] == row["task_rank"] else f"{row['rank']} *",
            "" if row["shift"] is None else f"{100 * row['shift']:+.1f}",
            "" if row["shift"] is None else _ends(row["shift_low"], row["shift_high"], True),
            "" if row["shift_p"] is None else output.format_p_value(row["shift_p"]),
            f"{row['seconds']:.1f}",
            row["leaks"] or "–",
        )
        for row in result.rows()
    ]
    output.print_table(
        (
            "protocol",
            "embedding",
            result.metric,
            "95 % interval",
            "rank",
            "points more",
            "95 % of these",
            "p",
            "seconds",
            "leaks",
        ),
        rows,
        title=f"{result.task}: {result.title}\n{result.baseline.description}",
        numbers=f"{result.metric}|rank|points more|p|seconds",
        keys=2,
        below="leaks|seconds|95 % of these&p",
    )
    output.say(
        f"points more: than under the task's own protocol{result.compared} (100 times the "
        "metric), over groups of test clips, for probes as trained; rank *: another than there"
    )
    _print_reversals(result)
    for protocol in result.protocols:
        if protocol.problem:
            output.warn(f"{protocol.name} is not possible: {protocol.problem}")


def _print_reversals(result: "Audit") -> None:
    """Print which pairs of embeddings change places, those that a test tells apart one by one."""
    if result.pairs and not result.reversals:
        output.say("no pair of embeddings changes places")
    for protocol in result.scored[1:]:
        turned = [r for r in result.reversals if r.protocol == protocol.name]
        if not turned:
            continue
        certain = [r for r in turned if r.strength != "neither test"]
        output.say(
            f"{protocol.name} turns round {len(turned)} of {result.pairs} pairs; told apart by a "
            f"test at the 5 % level: {len(certain)}"
        )
        for r in certain:
            before = f"{r.baseline.difference:+.3f} (p {_p(r.baseline)})"
            after = f"{r.other.difference:+.3f} (p {_p(r.other)})"
            output.say(
                f"    {r.first} over {r.second}: {before} becomes {after}; told apart by "
                f"{r.strength}"
            )


def _p(comparison: "Comparison") -> str:
    return output.format_p_value(comparison.adjusted)


def _ends(low: float | None, high: float | None, in_points: bool = False) -> str:
    if low is None or high is None:
        return "–"
    return f"{100 * low:+.1f} – {100 * high:+.1f}" if in_points else f"{low:.3f} – {high:.3f}"
