"""``probekit reproduce``: a paper's tables and figures, ours beside the published numbers."""

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from probekit.cli import options, output, progress

if TYPE_CHECKING:
    from probekit.reproduce.reproduction import Reproduction

_PAUSE = 30.0  # seconds between lines


def reproduce(
    paper: Annotated[str, typer.Argument(help="A paper's name: kumar2021, hung2022 …")],
    root: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=DIR", help="A dataset's folder; repeat for several."),
    ] = None,
    roots: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same as YAML, a line TASK: DIR each.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="Or NAME=random:SEED.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="table-1, figure-2 …; repeatable.")
    ] = None,
    rehearse: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Run all of it in this folder on stand-in data with random weights.",
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Of each dataset that is rehearsed.")] = 40,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Of students; else their recipe's; few in a rehearsal."),
    ] = None,
    cache: options.Cache = None,
    reports: options.Reports = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Processes for the folds of a run.")] = 1,
    json: bool = output.AsJson,
) -> None:
    """Compute a paper's tables and figures, and put ours beside the published numbers.

    What is in the cache is evaluated; where a dataset's folder is given, what is missing is
    extracted first, and students are trained. For the rest it is said what is missing and how to
    get it. Tables (Markdown, LaTeX, CSV, JSON) and figures go to PAPER in the results folder. Exit
    code 1 if anything is missing.

    [bold]Examples[/bold]

      probekit reproduce kumar2021

      probekit reproduce kumar2021 --root esc50=~/data/ESC-50-master --weights talnet=TALNet.pt

      probekit reproduce kumar2021 --rehearse /tmp/rehearsal

      probekit reproduce hung2022 --only table-2
    """
    from probekit import cards
    from probekit.cache import layout
    from probekit.errors import ProbekitError
    from probekit.reproduce import arguments, paper_tables
    from probekit.reproduce import reproduction as work
    from probekit.reproduce.assets import Resources
    from probekit.scores import store

    card = arguments.select_parts(cards.load_paper_card(paper), only or ())
    named = [*arguments.check_weights(card, weights or ())]
    where, out = layout.root(cache), store.root(reports)
    if rehearse is not None:
        if root or roots:
            raise ProbekitError("--rehearse makes its own data: leave out --root and --roots")
        base = Path(rehearse)
        folders, random = arguments.make_standins(card, base / "data", clips)
        named = [*random, *named]
        # stand-ins never go where real embeddings and results are, unless asked for
        where = base / "cache" if cache is None else where
        out = base / "reports" if reports is None else out
    else:
        folders = arguments.folders(card, root or (), roots)
    with progress.ExtractionProgress() as shown:
        at_hand = Resources(where, folders, named, device, shown.begin, shown.tick)
        found = work.reproduce(
            card,
            at_hand,
            reports=out,
            jobs=jobs,
            rehearsed=rehearse is not None,
            epochs=epochs,
            step=None if json else output.warn,
            watch=None if json else _StatusLine(),
        )
    written = paper_tables.write(found, out / paper)
    if json:
        output.as_json(paper_tables.facts(found))
    else:
        _tell(found, written)
    if not found.is_complete:
        raise typer.Exit(1)


class _StatusLine:
    """A line about a student that is trained, every half minute at most."""

    def __init__(self) -> None:
        self._last = monotonic()

    def __call__(self, name: str, done: int, of: int, note: str) -> None:
        if monotonic() - self._last > _PAUSE:
            self._last = monotonic()
            output.warn(f"  {name}: {done} of {of}{f': {note}' if note else ''}")


def _tell(found: "Reproduction", written: list[Path]) -> None:
    """Print tables, figures, what is missing, and where everything is."""
    from probekit.reproduce import paper_tables

    for table, scores in found.tables:
        grid = paper_tables.comparison_table(found, table, scores)
        output.table(
            grid.columns,
            [[" ".join([cell.text, *cell.marks]) for cell in row] for row in grid.rows],
            title=grid.caption,
            numbers="difference",
        )
        for mark, text in grid.notes:
            output.say(f"  {mark} {text}" if mark else f"  {text}")
    for drawn in found.figures:
        pictures = [str(path) for path in drawn.files if path.suffix == ".pdf"]
        where = ", ".join(pictures) or drawn.status
        output.say(f"{drawn.figure.where}, {drawn.figure.title}: {where}")
    for text, names in paper_tables.missing(found):
        output.say(text)
        output.say(f"  for {names}")
    said = f" ({paper_tables.STAND_IN})" if found.rehearsed else ""
    output.say(f"{found.paper}{said}: {paper_tables.summary_line(found)}; {written[0]}")
