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
    task: options.RunTask = "",
    metric: options.RunMetric = "",
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Test whether runs differ, pair by pair, on the clips that both scored.

    A paired bootstrap over test clips (or groups), and over folds the corrected resampled t-test of
    Nadeau and Bengio (over the seeds of a fixed split the plain one); the more cautious counts.
    With more than two runs p-values are adjusted (Holm). "Not distinguishable" does not mean equal.

    [bold]Examples[/bold]

      probekit compare vggish melstats --task fsdd

      probekit compare 1a2b3c4d5e6f 0f9e8d7c6b5a

      probekit compare vggish vggish/mlp vggish/knn --task gtzan
    """
    from probekit.scores.comparison import compare

    comparisons = compare(*runs, task=task, metric=metric, reports=reports)
    if json:
        output.print_json([vars(comparison) for comparison in comparisons])
    else:
        _print_table(comparisons)


def _print_table(comparisons: "list[Comparison]") -> None:
    first = comparisons[0]
    rows = [
        (
            comparison.first,
            comparison.second,
            f"{comparison.scores[0]:.3f}",
            f"{comparison.scores[1]:.3f}",
            f"{comparison.difference:+.3f}",
            f"{comparison.low:+.3f} – {comparison.high:+.3f}",
            output.format_p_value(comparison.p_bootstrap),
            "–" if comparison.p_t is None else output.format_p_value(comparison.p_t),
            output.format_p_value(comparison.adjusted),
            _format_verdict(comparison),
        )
        for comparison in comparisons
    ]
    holm = "p (Holm)" if len(comparisons) > 1 else "p"
    output.print_table(
        ("A", "B", "A's", "B's", "A - B", "95 % interval", "p bootstrap", "p t-test", holm, ""),
        rows,
        title=f"{first.task}: {first.metric}, {first.clips:,} test clips",
        numbers="A's|B's|A - B|p bootstrap|p t-test|p|p (Holm)",
    )
    for note in dict.fromkeys(note for comparison in comparisons for note in comparison.notes):
        output.say(f"note: {note}")


def _format_verdict(comparison: "Comparison") -> str:
    if comparison.verdict == "not distinguishable":
        return comparison.verdict
    better = comparison.first if comparison.verdict == "first" else comparison.second
    return f"{better} is better"
