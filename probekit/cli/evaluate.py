"""``probekit evaluate``: a probe on cached embeddings, scored under the task's protocol."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probekit.cli import options, output
from probekit.cli.compare import print_comparisons
from probekit.cli.seed_means import LEGEND, Score, add_mean_rows, also_score, count_labels

if TYPE_CHECKING:
    from probekit.scores.store import Result


def evaluate(
    task: Annotated[
        list[str],
        typer.Option(help="A task's name, card or CSV, or an extracted folder; repeatable."),
    ],
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Annotated[
        str,
        typer.Option(
            help="linear, linear:subsample=CLIPS (C is selected on as many clips first), mlp, "
            "mlp-segments, attention, prototypes, knn, head (the network's own classifier, nothing "
            "fitted), zero-shot (class names as texts), or a scikit-learn "
            "estimator MODULE:CLASS:name=value."
        ),
    ] = "linear",
    preset: Annotated[
        str, typer.Option(help="A paper's stream, pooling, transforms and probe.")
    ] = "",
    fraction: Annotated[
        str, typer.Option(metavar="F,F", help="Fractions of the training labels, one run each.")
    ] = "1",
    shots: Annotated[
        str,
        typer.Option(metavar="K,K", help="Labeled clips a class, one run each, with C = 1."),
    ] = "",
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of seeds, for probes and fractions that are random.")
    ] = 1,
    solver: Annotated[
        str, typer.Option(metavar="probekit|scikit-learn", help="Solver of linear probes.")
    ] = "probekit",
    device: Annotated[str, typer.Option(help="Torch device of probekit's solver.")] = "cpu",
    grid: Annotated[
        str,
        typer.Option(
            metavar="C,C", help="Values of C that linear probes select from, or one value."
        ),
    ] = "",
    repeats: Annotated[
        int, typer.Option(min=1, help="How often folds are made, where probekit makes them.")
    ] = 1,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="hear|mteb|mteb-draws|xares|xares-knn|evar",
            help="Rules of another tool, its probe included; results are stored apart.",
        ),
    ] = "",
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes for runs, or for the folds of a run; by default all cores if it takes "
            "longer.",
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local", help="Distribute runs over a Dask cluster."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Repeat stored runs.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Score probes on cached embeddings under the task's own protocol.

    Features are standardized on training clips; settings are selected on validation clips or
    inside the training folds; 95 % intervals are chosen by metric and design. Each run is saved as
    soon as it is done: a JSON file, with predictions and weights in HDF5.

    [bold]Examples[/bold]

      probekit evaluate --task fsdd -e melstats -e vggish

      probekit evaluate --task gtzan -e vggish:pool=mean+std -e vggish+melstats --jobs 2

      probekit evaluate --task esc50 -e talnet --preset kumar2021

      probekit evaluate --task gtzan -e vggish --fraction 0.1,0.3,1 --seeds 5

      probekit evaluate --task my-clips.csv -e melstats --repeats 10 --grid 0.01,0.1,1

      probekit evaluate --task my-clips.csv -e melstats --probe "sklearn.svm:SVC:C=0.1|1|10"

      probekit evaluate --task esc50 -e vggish --protocol mteb
    """
    from probekit.probes.evaluate import evaluate as evaluate_embeddings
    from probekit.scores.comparison import compare_with_mean

    fractions = _parse_numbers("--fraction", fraction)
    values = _parse_numbers("--grid", grid) if grid else []
    counts = [int(count) for count in _parse_numbers("--shots", shots)] if shots else []
    with output.show_steps("folds") as tick:
        results = evaluate_embeddings(
            task,
            embedding,
            cache=cache,
            root=root,
            reports=reports,
            probe=probe,
            preset=preset,
            fractions=fractions,
            shots=counts,
            seeds=seeds,
            solver=solver,
            device=device,
            grid=values,
            repeats=repeats,
            jobs=jobs,
            dask=dask,
            again=again,
            progress=tick,
            protocol=protocol,
        )
    if json:
        output.print_json(results)
        return
    for name in dict.fromkeys(r["task"] for r in results):
        show([r for r in results if r["task"] == name])
        for comparison in compare_with_mean([r for r in results if r["task"] == name], reports):
            print_comparisons([comparison])
    if protocol:
        from probekit.scores.store import protocol_root

        folder = protocol_root(reports, protocol)
        output.say(
            f"not the task's own protocol: stored apart; other commands read it with --reports "
            f"{folder}"
        )


def _parse_numbers(option: str, text: str) -> list[float]:
    """Return numbers separated by commas."""
    from probekit.errors import ProbekitError

    try:
        return [float(value) for value in text.split(",")]
    except ValueError as error:
        raise ProbekitError(f"{option} must be numbers separated by commas, got {text}") from error


def show(results: "list[Result]") -> None:
    """Print the results of one task as a table, with the published scores below."""
    from probekit.scores.store import shown_notes

    first = results[0]
    metric, also = first["metric"], list(first["also"])
    has_folds = any(len(r["folds"]) > 1 for r in results)
    columns: dict[str, list[str]] = {
        "embedding": [r["embedding"] for r in results],
        "probe": [_probe(r) for r in results],
        "labels": [f"{count_labels(r)}, seed {r['seed']}" for r in results],
        metric: [f"{r['score']:.3f}" for r in results],
        "95 % interval": [output.format_interval(r["interval"]) for r in results],
        "sd over folds": [f"{r['spread']:.3f}" if len(r["folds"]) > 1 else "–" for r in results],
        **{name: [_also(r, name) for r in results] for name in also},
        "on validation": [_validation(r) for r in results],
        "selected": [_selected(r) for r in results],
        "clips": [f"{r['clips']['used']:,} of {r['clips']['of']:,}" for r in results],
        "weights": [_weights(r) for r in results],
        "trained on": [_trained_on(r) for r in results],
        "note": ["; ".join(notes) or "–" for notes in shown_notes(results)],
    }
    if not has_folds:
        del columns["sd over folds"]
    if has_folds or not any(f["selected_on"].endswith("validation clips") for f in first["folds"]):
        del columns["on validation"]
    if all(r["fraction"] == 1 and r["seed"] == 0 for r in results):
        del columns["labels"]
    if all(r["probe"] == "linear" and not r["preset"] for r in results):
        del columns["probe"]
    scores: dict[str, Score] = {metric: lambda r: float(r["score"])}
    scores |= {name: partial(also_score, name=name) for name in also}
    columns, has_means = add_mean_rows(results, columns, scores)
    right = ["sd over folds", "clips", "on validation"]
    output.print_table(
        list(columns),
        zip(*columns.values(), strict=True),
        title=f"{first['task']}: {first['title']}\n{first['protocol']}",
        numbers="|".join(right if has_means else [metric, *also, *right]),
        keys=len(list(columns)[: list(columns).index(metric)]),
        below="weights&trained on|selected|clips|sd over folds|on validation",
    )
    if has_means:
        output.say(LEGEND)
    _warn(results)
    if first["published"]:
        output.print_table(
            ("published", "metric", "score", "where", "differences"),
            [
                (
                    p["method"],
                    p["metric"] or metric,
                    f"{p['score']:.3f}",
                    p["where"],
                    p["differs"] or "–",
                )
                for p in first["published"]
            ],
            numbers="score",
            below="differences",
        )


def _warn(results: "list[Result]") -> None:
    """Warn of fits that did not converge, of settings at an edge, and of missing intervals."""
    from probekit.metrics.intervals import BOOTSTRAP, missing_interval
    from probekit.scores.groups import run_label

    for r in results:
        label = run_label(r) + (f", seed {r['seed']}" if r["seed"] or r["fraction"] < 1 else "")
        if r["solver"]["unconverged_final"]:  # results show lists the others
            output.warn(
                f"{label}: {r['solver']['unconverged']} of {r['solver']['fits']} fits did "
                f"not converge (linear probes: a certified gap of {r['solver']['tolerance']:g}); "
                f"{r['solver']['unconverged_final']} of them belong to scored probes"
            )
        edges = [f["fold"] for f in r["folds"] if f["at_edge"]]
        if edges:
            output.warn(
                f"{label}: the selected setting is at the edge of its grid "
                f"in fold {', '.join(edges)}"
            )
    for reason in dict.fromkeys(missing_interval(r["interval"]) for r in results):
        without = [r for r in results if missing_interval(r["interval"]) == reason]
        if reason:
            units = " or ".join(
                dict.fromkeys(f"{r['interval']['units']} {r['interval']['unit']}" for r in without)
            )
            names = ", ".join(dict.fromkeys(run_label(r) for r in without))
            output.warn(f"{names}: no interval, {reason}: {units}")
    if any(r["interval"]["method"] == BOOTSTRAP for r in results):
        output.warn(
            "intervals of an earlier version (bootstrap) are too narrow where clips, groups or "
            "positives are few; evaluate again for new ones"
        )


def _probe(result: "Result") -> str:
    return result["probe"] + (f" ({result['preset']})" if result["preset"] else "")


def _also(result: "Result", name: str) -> str:
    value = also_score(result, name)
    return "–" if value is None else f"{value:.3f}"


def _validation(result: "Result") -> str:
    value = result["folds"][0]["selected_score"]
    return "–" if value is None else f"{value:.3f}"


def _selected(result: "Result") -> str:
    """Return the settings that the folds selected."""
    names = dict.fromkeys(name for f in result["folds"] for name in f["params"])
    parts = []
    for name in names:
        values: list[Any] = [f["params"].get(name) for f in result["folds"]]
        if all(isinstance(v, (int, float)) for v in values):
            values = [f"{v:.4g}" for v in sorted(values)]
        parts.append(f"{name} " + ", ".join(dict.fromkeys(map(str, values))))
    if weights := result["solver"].get("layer_weights"):
        parts.append("weights of layers " + ", ".join(f"{k}: {w:.2f}" for k, w in weights.items()))
    return "; ".join(parts) or "–"


def _trained_on(result: "Result") -> str:
    """Return the nearest source that each of the embeddings' networks was trained on."""
    from probekit.cards.training_data import describe_training

    texts = [describe_training(s["extractor"], s["identity"]) for s in result["sources"]]
    return ", ".join(dict.fromkeys(texts))


def _weights(result: "Result") -> str:
    """Return the first digits of the hash of each weights file of the embeddings, or its seed."""
    parts = []
    for source in result["sources"]:
        for text in source["identity"].get("weights", {}).values():
            kind, _, value = text.partition(":")
            parts.append(value[:8] if kind == "sha256" else f"random:{value.split()[0]}")
    if result["probe"] == "head":
        parts.append("own head")
    return ", ".join(dict.fromkeys(parts)) or "–"
