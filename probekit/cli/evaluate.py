"""``probekit evaluate``: a probe on cached embeddings, scored under the task's protocol."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskID

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.scores.store import Result


def evaluate(
    task: Annotated[
        list[str],
        typer.Option(help="A task's name, card or CSV, or an extracted folder's; repeatable."),
    ],
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    probe: Annotated[
        str,
        typer.Option(
            help="linear, mlp, knn, head (the network's own classifier, nothing fitted), or a "
            "scikit-learn estimator MODULE:CLASS:name=value."
        ),
    ] = "linear",
    preset: Annotated[
        str, typer.Option(help="A paper's recipe for stream, pooling, steps and probe.")
    ] = "",
    fraction: Annotated[
        str, typer.Option(metavar="F,F", help="Shares of the training labels, each a run.")
    ] = "1",
    seeds: Annotated[
        int, typer.Option(min=1, help="Runs with as many seeds, where something is random.")
    ] = 1,
    solver: Annotated[
        str, typer.Option(help="Of linear probes: probekit or scikit-learn.")
    ] = "probekit",
    device: Annotated[str, typer.Option(help="Where probekit's solver runs.")] = "cpu",
    jobs: Annotated[
        int, typer.Option(min=1, help="Processes; runs, or a run's folds, are spread over them.")
    ] = 1,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="Spread runs over a cluster.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Compute also what is kept.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Score probes on cached embeddings under the task's own protocol.

    Standardized on training clips; settings chosen on validation clips or inside the training
    folds; 95 % intervals by a bootstrap. Each run is kept as soon as it is done: a JSON, with
    predictions and weights in HDF5.

    [bold]Examples[/bold]

      probekit evaluate --task fsdd -e melstats -e vggish

      probekit evaluate --task gtzan -e vggish:pool=mean+std -e vggish+melstats --jobs 2

      probekit evaluate --task esc50 -e talnet --preset kumar2021

      probekit evaluate --task gtzan -e vggish --fraction 0.1,0.3,1 --seeds 5

      probekit evaluate --task my-clips.csv -e melstats --probe "sklearn.svm:SVC:C=0.1|1|10"
    """
    from probekit.errors import ProbekitError
    from probekit.probes import evaluate as evaluate_module

    try:
        fractions = [float(value) for value in fraction.split(",")]
    except ValueError as error:
        raise ProbekitError(f"--fraction {fraction}: numbers separated by commas") from error
    with output.progress("folds") as bar:
        lines: dict[str, TaskID] = {}

        def tick(name: str, done: int, total: int) -> None:
            if name not in lines:
                lines[name] = bar.add_task(name, total=total, note="")
            bar.update(lines[name], completed=done)

        found = evaluate_module.evaluate(
            task,
            embedding,
            cache=cache,
            root=root,
            reports=reports,
            probe=probe,
            preset=preset,
            fractions=fractions,
            seeds=seeds,
            solver=solver,
            device=device,
            jobs=jobs,
            dask=dask,
            again=again,
            progress=tick,
        )
    if json:
        output.as_json(found)
        return
    for name in dict.fromkeys(r["task"] for r in found):
        show([r for r in found if r["task"] == name])


def show(found: "list[Result]") -> None:
    """Print results of one task as a table, with the published scores below."""
    first = found[0]
    metric = first["metric"]
    several = any(len(r["folds"]) > 1 for r in found)
    also = list(first["also"])
    columns: dict[str, list[str]] = {
        "embedding": [r["embedding"] for r in found],
        "probe": [_probe(r) for r in found],
        "labels": [f"{100 * r['fraction']:g} %, seed {r['seed']}" for r in found],
        metric: [f"{r['score']:.3f}" for r in found],
        "95 % interval": [output.interval(r["interval"]) for r in found],
        "sd over folds": [f"{r['spread']:.3f}" if len(r["folds"]) > 1 else "–" for r in found],
        **{name: [_also(r, name) for r in found] for name in also},
        "on validation": [_validation(r) for r in found],
        "chosen": [_chosen(r) for r in found],
        "clips": [f"{r['clips']['used']:,} of {r['clips']['of']:,}" for r in found],
        "weights": [_weights(r) for r in found],
        "note": ["; ".join(r["provenance"]) or "–" for r in found],
    }
    if not several:
        del columns["sd over folds"]
    if several or not any(f["selected_on"].endswith("validation clips") for f in first["folds"]):
        del columns["on validation"]
    if all(r["fraction"] == 1 and r["seed"] == 0 for r in found):
        del columns["labels"]
    if all(r["probe"] == "linear" and not r["preset"] for r in found):
        del columns["probe"]
    output.table(
        list(columns),
        zip(*columns.values(), strict=True),
        title=f"{first['task']}: {first['title']}\n{first['protocol']}",
        numbers="|".join([metric, "sd over folds", "clips", "on validation", *also]),
    )
    _warn(found)
    if first["published"]:
        output.table(
            ("published", "metric", "score", "where", "what differs"),
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
        )


def _warn(found: "list[Result]") -> None:
    """Say which fits did not converge, where a choice lies at an edge, where groups are few."""
    from probekit.metrics.bootstrap import FEW, LONE
    from probekit.scores.groups import label

    for r in found:
        called = label(r) + (f", seed {r['seed']}" if r["seed"] or r["fraction"] < 1 else "")
        if r["solver"]["unconverged_final"]:  # of the others results show tells
            output.warn(
                f"{called}: {r['solver']['unconverged']} of {r['solver']['fits']} fits did "
                f"not converge (linear probes: a certified gap of {r['solver']['tolerance']:g}); "
                f"{r['solver']['unconverged_final']} of them are of probes that are scored"
            )
        edges = [f["fold"] for f in r["folds"] if f["at_edge"]]
        if edges:
            output.warn(
                f"{called}: the choice is at the edge of what was tried in fold {', '.join(edges)}"
            )
    drawn = [r["interval"] for r in found if r["interval"]["method"] == "bootstrap"]
    few = min(drawn, key=lambda one: int(one["units"]), default=None)
    if few and few["units"] < FEW:
        output.warn(
            f"intervals rest on only {few['units']} {few['unit'].split()[0]} in a fold: they are "
            "too narrow"
        )
    for unit in dict.fromkeys(one["unit"] for one in drawn if LONE in one["unit"]):
        output.warn(
            f"intervals: {unit.partition('; ')[2]}: they say nothing about other groups there"
        )


def _probe(result: "Result") -> str:
    words = [result["probe"]]
    if result["preset"]:
        words.append(f"({result['preset']})")
    return " ".join(words)


def _also(result: "Result", name: str) -> str:
    own = result["also"].get(name)
    value = own["score"] if own else None
    return "–" if value is None else f"{value:.3f}"


def _validation(result: "Result") -> str:
    value = result["folds"][0]["selected_score"]
    return "–" if value is None else f"{value:.3f}"


def _chosen(result: "Result") -> str:
    """Say which settings the folds chose."""
    names = dict.fromkeys(name for f in result["folds"] for name in f["params"])
    said = []
    for name in names:
        values: list[Any] = [f["params"].get(name) for f in result["folds"]]
        if all(isinstance(v, (int, float)) for v in values):
            values = [f"{v:.4g}" for v in sorted(values)]
        said.append(f"{name} " + ", ".join(dict.fromkeys(map(str, values))))
    return "; ".join(said) or "–"


def _weights(result: "Result") -> str:
    """Say which weights made an embedding: the first digits of each file's hash, or the seed."""
    said = []
    for source in result["sources"]:
        for text in source["identity"].get("weights", {}).values():
            kind, _, value = text.partition(":")
            said.append(value[:8] if kind == "sha256" else f"random:{value.split()[0]}")
    if result["probe"] == "head":
        said.append("own head")
    return ", ".join(said) or "–"
