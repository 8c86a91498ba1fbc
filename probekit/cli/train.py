"""``probekit train``: trains a network on audio, from labels and unlabeled sound."""

from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output
from probekit.cli.distill import show_trainings

if TYPE_CHECKING:
    from probekit.scores.store import Result


def train(
    task: Annotated[str, typer.Option(help="A task's name, card or CSV, with recordings.")],
    network: Annotated[
        str,
        typer.Option(
            help="resnet50v2, short-chunk, harmonic-cnn, artist-net, cf-net, talnet, weanet "
            "(NAME:width=32), or MODULE:CLASS."
        ),
    ],
    objective: Annotated[
        str,
        typer.Option(
            metavar="supervised|contrastive|weak-labels",
            help="What is minimized; contrastive: --unlabeled.",
        ),
    ] = "supervised",
    pooling: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Of weak-labels over time: linear-softmax, attention, max, average, exponential; "
            "else the network's own.",
        ),
    ] = "",
    targets: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Vectors or distributions to learn instead of labels: a target file (.h5), .npz, "
            ".parquet or .csv.",
        ),
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Further targets, learned beside labels or --targets; repeatable. artist-net has "
            "a branch for each.",
        ),
    ] = None,
    draw: Annotated[
        str, typer.Option(metavar="epoch|step", help="How often one of several targets is drawn.")
    ] = "epoch",
    loss: Annotated[
        str,
        typer.Option(
            metavar="mse|cosine|cross-entropy",
            help="Of --targets; else mse, or cross-entropy for distributions.",
        ),
    ] = "",
    unit_length: Annotated[
        bool, typer.Option("--unit-length", help="Divide vectors of --targets by their lengths.")
    ] = False,
    unlabeled: Annotated[
        str,
        typer.Option(
            "--unlabeled",
            "--unlabelled",
            metavar="TASK|DIR",
            help="Clips whose labels are not read: a task, CSV or folder; train for the task's own "
            "training clips.",
        ),
    ] = "",
    unlabeled_root: Annotated[
        str | None,
        typer.Option("--unlabeled-root", metavar="DIR", help="Folder of --unlabeled's recordings."),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Train although test clips are among the unlabeled ones."
        ),
    ] = False,
    weight: Annotated[float, typer.Option(help="Weight of the contrastive loss.")] = 0.05,
    temperature: Annotated[float, typer.Option(help="Temperature of its cosines.")] = 0.01,
    mixing: Annotated[
        bool, typer.Option(help="Mix clips with another one and noise, or shift them only.")
    ] = True,
    cross: Annotated[
        bool, typer.Option("--cross", help="Only augmented clips are negatives.")
    ] = False,
    separate: Annotated[
        bool,
        typer.Option(help="Pass labeled, unlabeled and augmented clips one after the other."),
    ] = True,
    root: options.Root = None,
    cache: options.Cache = None,
    reports: options.Reports = None,
    fraction: Annotated[
        str, typer.Option(metavar="F,F", help="Fractions of the training clips, one run each.")
    ] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, one run each.")] = 1,
    folds: Annotated[
        str, typer.Option(metavar="A,B", help="Folds to train on; by default all.")
    ] = "",
    recipe: Annotated[
        str,
        typer.Option(
            help="default (with --targets: lee2019); lee2021 (with contrastive); "
            "lee2021-supervised; kim2018; won; hung2022; of weak labels: cmu2019, kumar2021, "
            "panns, self-taught."
        ),
    ] = "default",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of epochs; else the recipe's.")
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option("--warm-up", help="Epochs without unlabeled clips; else the recipe's."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Clips per step; else the recipe's.")] = None,
    lr: Annotated[
        float | None, typer.Option(help="Initial learning rate; else the recipe's.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps from one validation to the next, for recipes of weak labels."),
    ] = None,
    stages: Annotated[
        int,
        typer.Option(
            help="Of weak-labels: networks trained one after the other, each taught by the one "
            "before it."
        ),
    ] = 1,
    label_share: Annotated[
        float,
        typer.Option("--label-share", help="Share of labels in what later stages learn."),
    ] = 0.3,
    parts: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="Folder of log-mel parts of talnet and weanet; else in the cache."
        ),
    ] = "",
    crop: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Length of the network's input.")
    ] = None,
    init: Annotated[
        str,
        typer.Option(
            metavar="EXTRACTOR", help="Extractor of the initial weights: resnet50v2, or runs/ID."
        ),
    ] = "",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights of --init; or NAME=random:SEED."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Number of devices that train a network together.")
    ] = 1,
    precision: Annotated[
        str, typer.Option(metavar="32|bf16-mixed|16-mixed", help="Arithmetic of the training.")
    ] = "32",
    name: Annotated[str, typer.Option(help="Label of the runs in tables.")] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Of weak-labels: time 20 steps, and say hours and bytes."),
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Repeat finished runs.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Train a network on a task's recordings, and score it under the task's own protocol.

    Stored beside the results of probes, with losses and scores of every epoch (analyze curve). The
    same command resumes an interrupted run. A trained network is an extractor, -e runs/ID.

    [bold]Examples[/bold]

      probekit train --task synth --root corpus --network short-chunk

      probekit train --task esc10 --root ESC-50 --network resnet50v2 --init resnet50v2
      --objective contrastive --unlabeled esc40 --unlabeled-root ESC-50 --recipe lee2021
      --allow-overlap

      probekit train --task songs.csv --root audio --network cf-net --targets cf.h5

      probekit train --task audioset-balanced --root AudioSet --network talnet --recipe kumar2021

      probekit train --task digits.csv --root audio --network artist-net --also speakers.h5

      probekit train --task birds.csv --network short-chunk --objective contrastive
      --unlabeled field-recordings --fraction 0.1,1 --seeds 3
    """
    from probekit.training.train import train as train_networks

    with output.show_steps() as tick:
        results = train_networks(
            task,
            network,
            objective=objective,
            pooling=pooling,
            targets=targets,
            also=also or (),
            draw=draw,  # type: ignore[arg-type]
            loss=loss,
            unit_length=unit_length,
            unlabeled=unlabeled,
            unlabeled_root=unlabeled_root,
            allow_overlap=allow_overlap,
            weight=weight,
            temperature=temperature,
            mixing=mixing,
            cross=cross,
            separate=separate,
            cache=cache,
            root=root,
            reports=reports,
            recipe=recipe,
            epochs=epochs,
            warm_up=warm_up,
            batch=batch,
            lr=lr,
            steps=steps,
            stages=stages,
            label_share=label_share,
            parts=parts,
            crop=crop,
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
            dry_run=dry_run,
            progress=tick,
            warn=lambda text: output.warn(f"{'estimate' if dry_run else 'warning'}: {text}"),
        )
    if dry_run:
        return
    if json:
        output.print_json(results)
        return
    show_trainings(results, reports)
    for result in results:
        _show_evaluation(result)


def _show_evaluation(result: "Result") -> None:
    """Print the scores of predicted targets, with what bounds them."""
    rows = result["settings"].get("evaluation")
    if not rows:
        return
    heads = {
        "mse": "MSE",
        "cosine": "cosine",
        "r2": "R²",
        "cross_entropy": "cross-entropy",
        "agreement": "agreement",
        "auc": "AUC",
        "map@500": "mAP@500",
        "percentile_rank": "percentile rank",
    }
    names = [name for name in heads if any(name in row for row in rows)]
    users = max(row.get("users", 0) for row in rows)
    ranked = f"; AUC, mAP and rank (0 at the top, chance 50) of {users:,} users" if users else ""
    output.print_table(
        ("", "bound", *(heads[name] for name in names)),
        [
            (
                row["name"],
                row.get("bound", "–"),
                *(f"{row[name]:.4f}" if name in row else "–" for name in names),
            )
            for row in rows
        ],
        title=f"{result['embedding']}, seed {result['seed']}: test clips{ranked}",
        numbers="|".join(heads[name] for name in names),
    )
