"""``probekit distill``: trains a student network, with cached embeddings as teachers."""

import shlex
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.cli.seed_means import LEGEND, Score, add_mean_rows, also_score

if TYPE_CHECKING:
    from probekit.scores.store import Result


def distill(
    task: Annotated[str, typer.Option(help="A task's name, card or CSV, with recordings.")],
    student: Annotated[
        str,
        typer.Option(help="harmonic-cnn, cf-net, short-chunk (NAME:width=32), or MODULE:CLASS."),
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Embedding in the cache, with frames, or file of targets; repeatable.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="none; con-reg, dis-reg, l1, l2, soft-targets, cf-reg (teacher in training only); "
            "feature-only, concat, film (teacher always); init, fix (with --init)."
        ),
    ] = "none",
    alpha: Annotated[
        float | None,
        typer.Option(help="Weight of the regularizer; by default 5 for con-reg, else 1."),
    ] = None,
    root: options.Root = None,
    cache: options.Cache = None,
    reports: options.Reports = None,
    fraction: Annotated[
        str,
        typer.Option(
            metavar="F,F",
            help="Fractions of the training clips, one run each; all validation clips are used.",
        ),
    ] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, one run each.")] = 1,
    folds: Annotated[
        str, typer.Option(metavar="A,B", help="Folds to train on; by default all.")
    ] = "",
    recipe: Annotated[
        str, typer.Option(help="default; won, the harmonic CNN's; hung2022, by the task's metric.")
    ] = "default",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of epochs; else the recipe's.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Clips per step; else the recipe's.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Initial learning rate; else the recipe's.")
    ] = None,
    crop: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Length of the student's input.")
    ] = None,
    alignment: Annotated[
        str,
        typer.Option(
            metavar="time|paper",
            help="time: frames by their exact time; paper: as hung2022, which drifts.",
        ),
    ] = "time",
    init: Annotated[
        str,
        typer.Option(
            metavar="EXTRACTOR", help="Extractor of the initial weights, for init and fix."
        ),
    ] = "",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights of --init; or NAME=random:SEED."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Number of devices that train a student together.")
    ] = 1,
    precision: Annotated[
        str, typer.Option(metavar="32|bf16-mixed|16-mixed", help="Arithmetic of the training.")
    ] = "32",
    name: Annotated[str, typer.Option(help="Label of the runs in tables.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Repeat finished runs.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Train a student on audio; a cached teacher may shape its embedding.

    Scored under the task's own protocol and stored beside the results of probes. The epoch is
    selected on validation clips. The same command resumes an interrupted run. A trained student is
    an extractor, -e runs/ID, unless its method needs the teacher at inference.

    [bold]Examples[/bold]

      probekit distill --task synth --root corpus --student short-chunk

      probekit extract -e vggish --task magnatagatune --root DIR --frames

      probekit distill --task magnatagatune --student harmonic-cnn --teacher vggish --method con-reg

      probekit distill --task gtzan --student short-chunk --teacher vggish --method dis-reg
      --fraction 0.1,0.3 --seeds 5
    """
    from probekit.distillation.distill import distill as train_students

    with output.show_steps() as tick:
        results = train_students(
            task,
            student,
            teacher or (),
            method=method,
            alpha=alpha,
            cache=cache,
            root=root,
            reports=reports,
            recipe=recipe,
            epochs=epochs,
            batch=batch,
            lr=lr,
            crop=crop,
            alignment=alignment,
            init=init,
            weights=weights or (),
            fractions=options.parse_numbers("--fraction", fraction),
            seeds=seeds,
            folds=[fold.strip() for fold in folds.split(",")] if folds else (),
            device=device,
            devices=devices,
            precision=precision,
            name=name,
            again=again,
            progress=tick,
            warn=lambda text: output.warn(f"warning: {text}"),
        )
    if json:
        output.print_json(results)
        return
    show_trainings(results, reports)


def show_trainings(results: "list[Result]", reports: str | None = None) -> None:
    """Print results as a table."""
    from probekit.scores.store import shown_notes
    from probekit.training.run_folder import folder_name

    first = results[0]
    metric = first["metric"]
    several = any(len(r["folds"]) > 1 for r in results)
    columns = {
        "method": [r["embedding"] for r in results],
        "student": [r["settings"]["student"] for r in results],
        "labels": [f"{100 * r['fraction']:g} %, seed {r['seed']}" for r in results],
        metric: [f"{r['score']:.3f}" for r in results],
        "95 % interval": [output.format_interval(r["interval"]) for r in results],
        "sd over folds": [f"{r['spread']:.3f}" for r in results],
        **{
            also: ["–" if (v := also_score(r, also)) is None else f"{v:.3f}" for r in results]
            for also in first["also"]
        },
        "on validation": [_validation(r) for r in results],
        "epoch": [", ".join(str(f["params"]["epoch"]) for f in r["folds"]) for r in results],
        "parameters": [f"{r['settings']['parameters']['trained']:,}" for r in results],
        "clips": [f"{r['clips']['used']:,} of {r['clips']['of']:,}" for r in results],
        "run": [r["run"][:12] for r in results],
        "note": ["; ".join(notes) or "–" for notes in shown_notes(results)],
    }
    if not several:
        del columns["sd over folds"]
    scores: dict[str, Score] = {metric: lambda r: float(r["score"])}
    scores |= {name: partial(also_score, name=name) for name in first["also"]}
    columns, has_means = add_mean_rows(results, columns, scores)
    right = ["sd over folds", "on validation", "parameters", "clips"]
    output.print_table(
        list(columns),
        zip(*columns.values(), strict=True),
        title=f"{first['task']}: {first['title']}\n{first['protocol']}",
        numbers="|".join(right if has_means else [metric, *first["also"], *right]),
        keys=3,
        below="run|epoch|parameters|on validation|clips|sd over folds",
    )
    if has_means:
        output.say(LEGEND)
    for r in results:
        edges = [f["fold"] for f in r["folds"] if f["at_edge"]]
        if edges:
            output.warn(
                f"{r['embedding']}, seed {r['seed']}: the last epoch was the best in fold "
                f"{', '.join(edges)}; more --epochs may be better"
            )
    last = results[-1]
    if last["settings"].get("method") not in ("feature-only", "concat", "film"):
        fold = last["folds"][0]["fold"]
        option = f" --reports {shlex.quote(reports)}" if reports else ""
        output.say(
            f"As an extractor: -e runs/{folder_name(last['run'], fold, len(last['folds']))}{option}"
        )


def _validation(result: "Result") -> str:
    values = [f["selected_score"] for f in result["folds"]]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "–"
