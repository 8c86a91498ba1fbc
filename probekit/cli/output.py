"""Output of commands: tables, JSON, numbers, progress."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer
from rich import filesize
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from probekit.cli.heartbeat import Heartbeat
from probekit.cli.table_layout import Column, arrange, wrap_cell

if TYPE_CHECKING:
    from probekit.scores.comparison import Comparison

AsJson = typer.Option(False, "--json", help="Print JSON instead of a table.")

POWER_COLUMN = "80 % power at"
"""Head of the column of the smallest true difference that a comparison would find."""


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    numbers: str = "",
    keys: int = 1,
    below: str = "",
) -> None:
    """Print a table: as wide as the terminal, columns that do not fit below.

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
    keys : int
        So many columns name the rows, and are repeated where columns follow below.
    below : str
        Headers of the columns that do so first, separated by ``|``; joined with ``&``, together.
    """
    right = set(numbers.split("|")) if numbers else set()
    cells = [[str(cell) for cell in row] for row in rows]
    table = [
        Column(name, tuple(row[k] for row in cells), name in right)
        for k, name in enumerate(columns)
    ]
    width = terminal_width()
    layout = arrange(table, width, keys=keys, below=below.split("|"))
    console = Console(width=width or 1 << 16)
    for line in title.split("\n") if title else ():
        for part in wrap_cell(line, width) if width else [line]:
            console.print(Text(part, style="bold"))
    for number, (block, head) in enumerate(zip(layout.blocks, layout.heads, strict=True)):
        if number:
            console.print()
        for k, line in enumerate(block):
            console.print(Text(line, style="bold" if k < head else ""), soft_wrap=True)
    if layout.common:
        for line in wrap_cell(layout.common, width) if width else [layout.common]:
            console.print(Text(line))


def terminal_width() -> int | None:
    """Return the width that tables may take; None where there is no terminal to say so.

    ``COLUMNS`` overrides that of the terminal, and is that of a pipe or a file.
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    return Console().width if sys.stdout.isatty() else None


def print_json(value: Any) -> None:
    """Print a value as JSON; escaped where the output's encoding may lack characters."""
    encoding = (getattr(sys.stdout, "encoding", "") or "utf-8").lower()
    ascii_only = not encoding.startswith("utf")
    print(json.dumps(value, indent=1, ensure_ascii=ascii_only, default=str))  # noqa: T201


def say(text: str) -> None:
    """Print a line."""
    Console().print(escape(text), highlight=False, soft_wrap=True, emoji=False)


def warn(text: str) -> None:
    """Print a line to standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def make_progress(unit: str) -> Progress:
    """Return a progress display on standard error: bars on a terminal, else lines now and then."""
    return _StepProgress(unit)


@contextmanager
def show_steps(unit: str = "", *, latest: bool = False) -> Iterator[Callable[..., None]]:
    """Show a line of progress for each step; yield what advances it.

    That is called with the name of the step, how much is done, of how much (0: not known) and,
    if it has any, a note. With ``latest`` the lines of earlier steps are hidden.
    """
    with make_progress(unit) as bar:
        lines: dict[str, TaskID] = {}

        def tick(name: str, done: int, total: int, note: str = "") -> None:
            if name not in lines:
                for line in lines.values() if latest else ():
                    bar.update(line, visible=False)
                lines[name] = bar.add_task(name, total=total or None, note="")
            bar.update(lines[name], completed=done, note=note or ("" if total else f"{done:,}"))

        yield tick


class TransientBars(Progress):
    """Bars on standard error that vanish when they end; nothing where that is no terminal.

    Parameters
    ----------
    *columns : rich.progress.ProgressColumn
        What a bar consists of.
    terminal : bool
        Whether standard error is a terminal.
    """

    def __init__(self, *columns: ProgressColumn, terminal: bool) -> None:
        super().__init__(
            *columns, console=Console(stderr=True), disable=not terminal, transient=True
        )

    def stop(self) -> None:
        """End the bars."""
        if not self.disable:  # rich 13 would print an empty line
            super().stop()


class _StepProgress(TransientBars):
    """Bars on a terminal; elsewhere a line on each unfinished step every half minute.

    Parameters
    ----------
    unit : str
        What is counted; nothing if the steps are not counted.
    """

    def __init__(self, unit: str) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit + " {task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            terminal=sys.stderr.isatty(),
        )
        self._unit, self._started = unit, monotonic()
        self._heartbeat = Heartbeat(self._lines) if self.disable else None

    def start(self) -> None:
        super().start()
        if self._heartbeat:
            self._heartbeat.start()

    def stop(self) -> None:
        super().stop()
        if self._heartbeat:
            self._heartbeat.stop()

    def _lines(self) -> list[str]:
        """Return a line for each step that is not finished; how long it took so far if none is."""
        steps = [step for step in self.tasks if step.visible and not step.finished]
        if not steps:
            return [f"at work for {format_duration(monotonic() - self._started)}"]
        return [_format_step(step, self._unit) for step in steps]


def _format_step(step: Task, unit: str) -> str:
    """Return a step's name, what is done, and the time since it began."""
    count = f": {step.completed:,.0f} of {step.total:,.0f} {unit}".rstrip() if step.total else ""
    note = f", {step.fields['note']}" if step.fields.get("note") else ""
    return f"{step.description}{count}{note}, after {format_duration(step.elapsed or 0.0)}"


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
    """Format the interval of a result, with its method if that is special; or why none is given."""
    from probekit.metrics.intervals import interval_ends, missing_interval

    method = interval["method"]
    reason = missing_interval(interval)
    if reason:
        return reason
    text = "{:.3f} – {:.3f}".format(*interval_ends(interval))
    return f"{text} ({method})" if method.startswith(("exact", "bootstrap")) else text


def describe_power(comparisons: "Sequence[Comparison]") -> list[str]:
    """Return what the words of the column of power mean, as far as they occur."""
    texts = []
    if any(comparison.power == "none" for comparison in comparisons):
        texts.append(
            f"{POWER_COLUMN} none: no difference, however large, would be found in 80 % of cases; "
            "too few folds, seeds, or test clips (groups) that the runs score differently"
        )
    if any(comparison.power == "–" for comparison in comparisons):
        texts.append(f"{POWER_COLUMN} –: not known, since nothing varies")
    return texts


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
