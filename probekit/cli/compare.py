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
            metavar="RUN",
            help="First digits of a run, or an embedding (with --task): NAME, NAME@FINGERPRINT, or "
            "NAME/PROBE for another probe than the linear one.",
        ),
    ],
    task: options.RunTask = "",
    metric: options.RunMetric = "",
    test: Annotated[
        str,
        typer.Option(
            metavar="components|corrected-t|units",
            help="What the standard error is of: clips or groups, and folds or seeds; folds alone; "
            "clips or groups alone.",
        ),
    ] = "components",
    rope: Annotated[
        float | None,
        typer.Option(
            metavar="SIZE",
            help="Differences up to this size are equivalent in practice: adds their probability.",
        ),
    ] = None,
    reports: options.Reports = None,
    json: bool = output.AsJson,
) -> None:
    """Test whether runs differ, pair by pair, on the clips that both scored.

    The same clips (or groups) are drawn for both runs; what folds or seeds vary by beyond that is
    added, folds corrected for the training clips that they share. With more than two runs p-values
    are adjusted (Holm). "Not distinguishable" does not mean equal: the column before the
    verdict is the smallest true difference that would be found in 80 % of cases.

    [bold]Examples[/bold]

      probekit compare vggish melstats --task fsdd

      probekit compare 1a2b3c4d5e6f 0f9e8d7c6b5a

      probekit compare vggish vggish/mlp vggish/knn --task gtzan

      probekit compare vggish melstats --task fsdd --rope 0.01
    """
    from probekit.scores.comparison import compare

    comparisons = compare(*runs, task=task, metric=metric, test=test, rope=rope, reports=reports)
    if json:
        output.print_json([vars(comparison) for comparison in comparisons])
    else:
        print_comparisons(comparisons)


def print_comparisons(comparisons: "list[Comparison]") -> None:
    """Print a table of comparisons, the test, the power and notes."""
    first = comparisons[0]
    rows = [
        (
            comparison.first,
            comparison.second,
            f"{comparison.scores[0]:.3f}",
            f"{comparison.scores[1]:.3f}",
            f"{comparison.difference:+.3f}",
            f"{comparison.low:+.3f} – {comparison.high:+.3f}",
            output.format_p_value(comparison.adjusted),
            comparison.power,
            _format_verdict(comparison),
        )
        for comparison in comparisons
    ]
    p = "p (Holm)" if len(comparisons) > 1 else "p"
    output.print_table(
        ("A", "B", "A's", "B's", "A - B", "95 % interval", p, output.POWER_COLUMN, ""),
        rows,
        title=f"{first.task}: {first.metric}, {first.clips:,} test clips",
        numbers="A's|B's|A - B|p|p (Holm)|" + output.POWER_COLUMN,
        keys=2,
        below=f"{output.POWER_COLUMN}|A's&B's|95 % interval",
    )
    for comparison in comparisons:
        if comparison.rope is not None and comparison.probabilities is not None:
            a, equal, b = (f"{100 * share:.0f} %" for share in comparison.probabilities)
            output.say(
                f"{comparison.first} and {comparison.second}: within ±{comparison.rope:g} with a "
                f"probability of {equal}; {comparison.first} higher {a}, {comparison.second} "
                f"higher {b} (Bayesian correlated t-test)"
            )
    if len(comparisons) > 1:
        from probekit.scores.ties import describe_ties, tied_of_pairs

        runs = {label for c in comparisons for label in (c.first, c.second)}
        if len(comparisons) == len(runs) * (len(runs) - 1) // 2:
            output.say(describe_ties(tied_of_pairs(comparisons), len(runs)))
    tests = dict.fromkeys(f"{c.test} ({c.degrees_of_freedom:.0f} df)" for c in comparisons)
    output.say(f"standard error: {', '.join(tests)}; {first.units} are drawn")
    for text in output.describe_power(comparisons):
        output.say(text)
    for note in dict.fromkeys(note for comparison in comparisons for note in comparison.notes):
        output.say(f"note: {note}")


def _format_verdict(comparison: "Comparison") -> str:
    if comparison.verdict == "not distinguishable":
        return comparison.verdict
    better = comparison.first if comparison.verdict == "first" else comparison.second
    return f"{better} is better"
