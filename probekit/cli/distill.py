"""``probekit distill``: a small network that learns a task, and inherits from cached embeddings."""

import shlex
import sys
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from probekit.cli import options, output

if TYPE_CHECKING:
    from probekit.scores.store import Result

_PAUSE = 10.0  # seconds between lines where standard error is no terminal


def distill(
    task: Annotated[str, typer.Option(help="A task's name, card or CSV, with recordings.")],
    student: Annotated[
        str,
        typer.Option(help="harmonic-cnn, cf-net, short-chunk (NAME:width=32), or MODULE:CLASS."),
    ],
    teacher: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Embedding in the cache, with frames; repeatable."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="none; con-reg, dis-reg, l1, l2, soft-targets, cf-reg (teacher in training only); "
            "feature-only, concat, film (teacher always); init, fix (with --init)."
        ),
    ] = "none",
    alpha: Annotated[
        float | None, typer.Option(help="Weight of the regularizer; con-reg 5, else 1.")
    ] = None,
    root: options.Root = None,
    cache: options.Cache = None,
    reports: options.Reports = None,
    fraction: Annotated[
        str,
        typer.Option(
            metavar="F,F",
            help="Shares of the training clips, each a run; official validation clips all stay.",
        ),
    ] = "1",
    seeds: Annotated[int, typer.Option(min=1, help="Runs with as many seeds.")] = 1,
    folds: Annotated[
        str, typer.Option(metavar="A,B", help="Some of the task's folds; all by default.")
    ] = "",
    recipe: Annotated[
        str, typer.Option(help="default, or won: the published recipe of the harmonic CNN.")
    ] = "default",
    epochs: Annotated[int | None, typer.Option(min=1, help="At most; else the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Clips a step; else the recipe's.")] = None,
    lr: Annotated[float | None, typer.Option(help="First rate; else the recipe's.")] = None,
    crop: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="What the student hears at once.")
    ] = None,
    alignment: Annotated[
        str, typer.Option(help="time: by the frames' places; paper: as hung2022, which drifts.")
    ] = "time",
    init: Annotated[
        str, typer.Option(metavar="EXTRACTOR", help="Whose weights come first: init and fix.")
    ] = "",
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Of --init; or NAME=random:SEED."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many train a student together.")] = 1,
    precision: Annotated[str, typer.Option(help="32, bf16-mixed or 16-mixed.")] = "32",
    name: Annotated[str, typer.Option(help="What to call the runs in tables.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Train also what is kept.")] = False,
    json: bool = output.AsJson,
) -> None:
    """Train a student on audio; a cached teacher may shape its embedding.

    Scored under the task's own protocol, kept beside the results of probes. The epoch is chosen on
    validation clips. A run that was ended goes on with the same command. What was trained without
    need of a teacher is an extractor at once: -e runs/ID.

    [bold]Examples[/bold]

      probekit distill --task synth --root corpus --student short-chunk

      probekit extract -e vggish --task magnatagatune --root DIR --frames

      probekit distill --task magnatagatune --student harmonic-cnn --teacher vggish --method con-reg

      probekit distill --task gtzan --student short-chunk --teacher vggish --method dis-reg
      --fraction 0.1,0.3 --seeds 5
    """
    from probekit.distillation import distill as distill_module
    from probekit.errors import ProbekitError

    try:
        fractions = [float(value) for value in fraction.split(",")]
    except ValueError as error:
        raise ProbekitError(f"--fraction {fraction}: numbers separated by commas") from error
    with output.progress("") as bar:
        found = distill_module.distill(
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
            fractions=fractions,
            seeds=seeds,
            folds=[one.strip() for one in folds.split(",")] if folds else (),
            device=device,
            devices=devices,
            precision=precision,
            name=name,
            again=again,
            progress=_ProgressLines(bar).tick,
            warn=lambda text: output.warn(f"warning: {text}"),
        )
    if json:
        output.as_json(found)
        return
    show(found, reports)


class _ProgressLines:
    """A bar for each training; a line now and then where there is no terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._lines = bar, dict[str, TaskID]()
        self._last = monotonic()

    def tick(self, name: str, done: int, total: int, note: str) -> None:
        """Show how far one training is."""
        if name not in self._lines:
            self._lines[name] = self._bar.add_task(name, total=total, note="")
        self._bar.update(self._lines[name], completed=done, note=note)
        if not sys.stderr.isatty() and (monotonic() - self._last > _PAUSE):
            self._last = monotonic()
            output.warn(f"{name}: {done} of {total}{f': {note}' if note else ''}")


def show(found: "list[Result]", reports: str | None = None) -> None:
    """Print results as a table."""
    from probekit.training.run_folder import student_id

    first = found[0]
    metric = first["metric"]
    several = any(len(r["folds"]) > 1 for r in found)
    columns = {
        "method": [r["embedding"] for r in found],
        "student": [r["settings"]["student"] for r in found],
        "labels": [f"{100 * r['fraction']:g} %, seed {r['seed']}" for r in found],
        metric: [f"{r['score']:.3f}" for r in found],
        "95 % interval": [output.interval(r["interval"]) for r in found],
        "sd over folds": [f"{r['spread']:.3f}" for r in found],
        **{
            also: ["–" if (v := r["also"][also]["score"]) is None else f"{v:.3f}" for r in found]
            for also in first["also"]
        },
        "on validation": [_validation(r) for r in found],
        "epoch": [", ".join(str(f["params"]["epoch"]) for f in r["folds"]) for r in found],
        "parameters": [f"{r['settings']['parameters']['trained']:,}" for r in found],
        "clips": [f"{r['clips']['used']:,} of {r['clips']['of']:,}" for r in found],
        "run": [r["run"][:12] for r in found],
        "note": ["; ".join(r["provenance"]) or "–" for r in found],
    }
    if not several:
        del columns["sd over folds"]
    output.table(
        list(columns),
        zip(*columns.values(), strict=True),
        title=f"{first['task']}: {first['title']}\n{first['protocol']}",
        numbers="|".join([metric, "sd over folds", "on validation", "parameters", "clips",
                          *first["also"]]),
    )  # fmt: skip
    for r in found:
        edges = [f["fold"] for f in r["folds"] if f["at_edge"]]
        if edges:
            output.warn(
                f"{r['embedding']}, seed {r['seed']}: the last epoch was the best in fold "
                f"{', '.join(edges)}; more --epochs may be better"
            )
    last = found[-1]
    if last["settings"]["method"] not in ("feature-only", "concat", "film"):
        fold = last["folds"][0]["fold"]
        where = f" --reports {shlex.quote(reports)}" if reports else ""
        output.say(
            f"As an extractor: -e runs/{student_id(last['run'], fold, len(last['folds']))}{where}"
        )


def _validation(result: "Result") -> str:
    values = [f["selected_score"] for f in result["folds"]]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "–"
