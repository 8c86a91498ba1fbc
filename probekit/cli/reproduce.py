"""``probekit reproduce``: a paper's tables and figures beside the published numbers."""

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output, progress

if TYPE_CHECKING:
    from probekit.reproduce.reproduction import Reproduction

_INTERVAL = 30.0  # seconds between lines


def reproduce(
    paper: Annotated[str, typer.Argument(help="A paper's name: kumar2021, hung2022 …")],
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=DIR", help="A dataset's folder; repeatable."),
    ] = None,
    roots: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML file with one line TASK: DIR per dataset."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="Weights file, or NAME=random:SEED."),
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="runs/ID",
            help="lee2019: CF estimator from train --targets, in place of cf; repeatable, one for "
            "each seed of the factors.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="table-1, figure-2 …; repeatable.")
    ] = None,
    rehearse: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Run everything in this folder, on stand-in data with random weights.",
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips per stand-in dataset.")] = 40,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of students; else their recipe's, or few in a rehearsal."),
    ] = None,
    cache: options.Cache = None,
    reports: options.Reports = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Processes for the folds of a run and the networks of kim2018."),
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|local", help="A Dask cluster in place of processes."),
    ] = None,
    json: bool = output.AsJson,
) -> None:
    """Compute a paper's tables and figures, and compare them with the published numbers.

    Cached embeddings are evaluated; if a dataset's folder is given, missing ones are extracted
    first, and students are trained. For everything else it prints what is missing and how to get
    it. Tables (Markdown, LaTeX, CSV, JSON) and figures go to PAPER in the results folder. Exit code
    1 if anything is missing.

    [bold]Examples[/bold]

      probekit reproduce kumar2021

      probekit reproduce kumar2021 --root esc50=~/data/ESC-50-master --weights talnet=TALNet.pt

      probekit reproduce kumar2021 --rehearse /tmp/rehearsal

      probekit reproduce hung2022 --only table-2

      probekit reproduce lee2019 --root gtzan=~/data/gtzan --estimator runs/ID --estimator runs/ID2
    """
    from probekit import cards
    from probekit.cache import layout
    from probekit.errors import ProbekitError
    from probekit.reproduce import (
        arguments,
        estimators,
        paper_tables,
        preconditions,
        reproduction,
        training_cost,
    )
    from probekit.reproduce.assets import Assets
    from probekit.scores import store

    card = arguments.select_parts(cards.load_paper_card(paper), only or ())
    overrides = [*arguments.check_weights(card, weights or ())]
    cache_root, out = layout.cache_root(cache), store.reports_root(reports)
    preconditions.check_settings(card, epochs, device)
    if rehearse is not None:
        if root or roots:
            raise ProbekitError("--rehearse makes its own data: leave out --root and --roots")
        card, folder = arguments.shorten_figures(card), Path(rehearse)
        folders, random_weights = arguments.make_standins(card, folder / "data", clips)
        overrides = [*random_weights, *overrides]
        # stand-ins stay apart from real embeddings and results, unless requested
        cache_root = folder / "cache" if cache is None else cache_root
        out = folder / "reports" if reports is None else out
    else:
        folders = arguments.parse_roots(card, root or (), roots)
    if estimator or (rehearse is not None and estimators.uses_estimator(card)):
        names = estimator or estimators.rehearse_estimators(
            Path(rehearse or ""),
            cache_root,
            out,
            device=device,
            step=output.warn,
            progress=None if json else _StatusLine(),
        )
        card = estimators.with_estimators(card, estimators.open_estimators(names, out))
    with progress.ExtractionProgress() as display:
        assets = Assets(
            cache_root, folders, overrides, device, display.begin, display.tick, reports=out
        )
        preconditions.check_data(card, assets)
        cost = "" if rehearse is not None else training_cost.describe_cost(card, assets, epochs)
        if cost:
            output.warn(cost)
        result = reproduction.reproduce(
            card,
            assets,
            reports=out,
            jobs=jobs,
            dask=dask,
            rehearsed=rehearse is not None,
            epochs=epochs,
            step=None if json else output.warn,
            progress=None if json else _StatusLine(),
        )
    files = paper_tables.write_files(result, out / paper)
    if json:
        output.print_json(paper_tables.to_dict(result))
    else:
        _print(result, files[0])
    if not result.is_complete:
        raise typer.Exit(1)


class _StatusLine:
    """Prints a line on the student in training, every half minute at most."""

    def __init__(self) -> None:
        self._last = monotonic()

    def __call__(self, name: str, done: int, total: int, note: str) -> None:
        if monotonic() - self._last > _INTERVAL:
            self._last = monotonic()
            output.warn(f"  {name}: {done} of {total}{f': {note}' if note else ''}")


def _print(reproduction: "Reproduction", file: Path) -> None:
    """Print tables, figures, what is missing, and the file that holds everything."""
    from probekit.reproduce import paper_tables

    for table, scores in reproduction.tables:
        comparison = paper_tables.comparison_table(reproduction, table, scores)
        output.print_table(
            comparison.columns,
            [[" ".join([cell.text, *cell.marks]) for cell in row] for row in comparison.rows],
            title=comparison.caption,
            numbers="difference",
        )
        for mark, text in comparison.notes:
            output.say(f"  {mark} {text}" if mark else f"  {text}")
    for reproduced in reproduction.figures:
        paths = [str(path) for path in reproduced.files if path.suffix == ".pdf"]
        figure = reproduced.figure
        output.say(f"{figure.where}, {figure.title}: {', '.join(paths) or reproduced.status}")
    for text, names in paper_tables.list_missing(reproduction):
        output.say(text)
        output.say(f"  for {names}")
    note = f" ({paper_tables.STAND_IN})" if reproduction.rehearsed else ""
    output.say(f"{reproduction.paper}{note}: {paper_tables.summary_line(reproduction)}; {file}")
