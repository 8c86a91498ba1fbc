"""Output of commands: tables, JSON, numbers, progress."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich import filesize
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

AsJson = typer.Option(False, "--json", help="Print JSON instead of a table.")

POWER_COLUMN = "80 % power at"
"""Head of the column of the smallest true difference that a comparison would find."""


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", numbers: str = ""
) -> None:
    """Print a table.

    Parameters
    ----------
    columns : sequence of str
        Headers.
    rows : iterable of sequence
        Cells; markup in them is not interpreted.
    title : str
        Printed above.
    numbers : str
        Headers of columns to align right, separated by ``|``.
    """
    right = set(numbers.split("|"))
    grid = Table(
        title=escape(title) or None,
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
        title_style="bold",
    )
    for name in columns:
        grid.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in right,
        )
    for row in rows:
        grid.add_row(*(escape(str(cell)) for cell in row))
    _console().print(grid)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))  # noqa: T201


def say(text: str) -> None:
    """Print a line."""
    _console().print(escape(text), highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def make_progress(unit: str) -> Progress:
    """Return a progress display on standard error; silent unless that is a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + " {task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def format_size(count: float) -> str:
    """Format a number of bytes."""
    return filesize.decimal(int(count))


def format_duration(seconds: float) -> str:
    """Format a duration."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def format_interval(interval: Mapping[str, Any]) -> str:
    """Format the interval of a result, with its method unless that is the bootstrap."""
    text = f"{interval['low']:.3f} – {interval['high']:.3f}"
    return text if interval["method"] == "bootstrap" else f"{text} ({interval['method']})"


def format_p_value(value: float) -> str:
    """Return a p-value as papers print it: never zero."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_speed(audio: float, elapsed: float, unit: str = "hours of audio per second") -> str:
    """Format the speed of extraction: times real time, and hours of audio per second.

    Parameters
    ----------
    audio : float >= 0
        Seconds of audio.
    elapsed : float > 0
        Seconds that it took.
    unit : str
        Name of hours of audio per second.
    """
    ratio = audio / elapsed
    times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 0.1 else f"{ratio:.2g}"
    hours = f"{ratio / 3600:,.0f}" if ratio >= 36_000 else f"{ratio / 3600:.2g}"
    return f"{times} times real time = {hours} {unit}"


def _console() -> Console:
    """Return the console of standard output, wide unless it is a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=200)
