"""``probekit compare``: paired tests of runs on the same clips."""

from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.scores.comparison import Comparison


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN …",
            help="First digits of a run, or an embedding (with --task): NAME, NAME@FINGERPRINT, or "
            "NAME/PROBE for another probe than the linear one.",
        ),
    ],
    task: Annotated[str, typer.Option(help="The task, where names do not tell.")] = "",
    metric: Annotated[str, typer.Option(help="Which metric; the task's first by default.")] = "",
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Test whether runs differ, each with each, on the clips that both scored.

    A paired bootstrap over test clips (or groups), and over folds the corrected resampled t-test of
    Nadeau and Bengio (over the seeds of a fixed split the plain one); the more cautious counts.
    With more than two runs p-values are adjusted (Holm). "Not distinguishable" does not mean equal.

    [bold]Examples[/bold]

      probekit compare vggish melstats --task fsdd

      probekit compare 1a2b3c4d5e6f 0f9e8d7c6b5a

      probekit compare vggish vggish/mlp vggish/knn --task gtzan
    """
    from probekit.scores import comparison

    found = comparison.compare(*runs, task=task, metric=metric, reports=reports)
    if json:
        output.as_json([vars(one) for one in found])
    else:
        _show(found)


def _show(found: "list[Comparison]") -> None:
    first = found[0]
    rows = [
        (
            one.first,
            one.second,
            f"{one.scores[0]:.3f}",
            f"{one.scores[1]:.3f}",
            f"{one.difference:+.3f}",
            f"{one.low:+.3f} – {one.high:+.3f}",
            p_value(one.p_bootstrap),
            "–" if one.p_t is None else p_value(one.p_t),
            p_value(one.adjusted),
            _format_comparison(one),
        )
        for one in found
    ]
    holm = "p (Holm)" if len(found) > 1 else "p"
    output.table(
        ("A", "B", "A's", "B's", "A - B", "95 % interval", "p bootstrap", "p t-test", holm, ""),
        rows,
        title=f"{first.task}: {first.metric}, {first.clips:,} test clips",
        numbers="A's|B's|A - B|p bootstrap|p t-test|p|p (Holm)",
    )
    for text in dict.fromkeys(note for one in found for note in one.notes):
        output.say(f"note: {text}")


def p_value(value: float) -> str:
    """Return a p-value as papers print it: never zero."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _format_comparison(one: "Comparison") -> str:
    if one.verdict == "not distinguishable":
        return one.verdict
    return f"{one.first if one.verdict == 'first' else one.second} is better"
