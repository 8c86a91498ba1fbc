"""``probekit evaluate``: a probe on cached embeddings, scored under the task's protocol."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TaskID

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.probes.results import Result


def evaluate(
    task: Annotated[
        str, typer.Option(help="A task's name, card or CSV; or an extracted folder's.")
    ],
    embedding: options.Embedding,
    cache: options.Cache = None,
    root: options.Root = None,
    reports: options.Reports = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; folds are spread over them.")] = 1,
    probe: Annotated[
        str, typer.Option(help="linear, or head: the network's own classifier, nothing fitted.")
    ] = "linear",
    solver: Annotated[str, typer.Option(help="probekit or scikit-learn.")] = "probekit",
    again: Annotated[bool, typer.Option("--again", help="Compute also what is kept.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Score linear probes on cached embeddings under the task's own protocol.

    Standardized on training clips; C chosen on validation clips or inside the training folds;
    95 % intervals by a bootstrap. Each run is kept: a JSON, with predictions and weights in HDF5.

    [bold]Examples[/bold]

      probekit evaluate --task fsdd -e melstats -e vggish

      probekit evaluate --task gtzan -e vggish:pool=mean+std --cache /data/cache

      probekit evaluate --task my-clips.csv -e melstats
    """
    from probekit.probes import evaluation

    with output.progress("folds") as bar:
        lines: dict[str, TaskID] = {}

        def tick(name: str, done: int, total: int) -> None:
            if name not in lines:
                lines[name] = bar.add_task(name, total=total, note="")
            bar.update(lines[name], completed=done)

        found = evaluation.evaluate(
            task,
            embedding,
            cache=cache,
            root=root,
            reports=reports,
            probe=probe,
            solver=solver,
            jobs=jobs,
            again=again,
            progress=tick,
        )
    if json:
        output.as_json(found)
    else:
        show(found)


def show(found: "list[Result]") -> None:
    """Print results of one task as a table, with the published scores below."""
    first = found[0]
    folds = len(first["folds"])
    rows = [
        (
            r["embedding"],
            f"{r['score']:.3f}",
            f"{r['interval']['low']:.3f} – {r['interval']['high']:.3f}",
            f"{r['spread']:.3f}" if folds > 1 else "–",
            ", ".join(f"{c:.2g}" for c in sorted({f["c"] for f in r["folds"] if f["c"]})) or "–",
            f"{r['clips']['used']:,} of {r['clips']['of']:,}",
            _weights(r),
            "; ".join(r["provenance"]) or "–",
        )
        for r in found
    ]
    title = f"{first['task']}: {first['title']}\n{first['protocol']}"
    metric = first["metric"]
    columns = (
        "embedding",
        metric,
        "95 % interval",
        "sd over folds",
        "C",
        "clips",
        "weights",
        "note",
    )
    output.table(columns, rows, title=title, numbers=f"{metric}|sd over folds|clips")
    for r in found:
        if r["solver"]["unconverged"]:
            output.warn(
                f"{r['embedding']}: {r['solver']['unconverged']} of {r['solver']['fits']} fits "
                f"did not reach a certified gap of {r['solver']['tolerance']:g}; "
                f"{r['solver']['unconverged_final']} of them are of probes that are scored"
            )
        edges = [f["fold"] for f in r["folds"] if f["at_edge"]]
        if edges:
            output.warn(f"{r['embedding']}: C at the edge of its grid in fold {', '.join(edges)}")
    published = [p for p in first["published"] if p["metric"] in ("", first["metric"])]
    if published:
        output.table(
            ("published", first["metric"], "where", "what differs"),
            [
                (p["method"], f"{p['score']:.3f}", p["where"], p["differs"] or "–")
                for p in published
            ],
            numbers=first["metric"],
        )


def _weights(result: "Result") -> str:
    """Say which weights made an embedding: the first digits of each file's hash, or the seed."""
    said = []
    for text in result["identity"].get("weights", {}).values():
        kind, _, value = text.partition(":")
        said.append(value[:8] if kind == "sha256" else f"random:{value.split()[0]}")
    if result["probe"] == "head":
        said.append("own head")
    return ", ".join(said) or "–"
