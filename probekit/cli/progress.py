"""How far an extraction is: a moving line on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from probekit.cli import output

_EVERY = 30.0  # seconds between plain lines: the log of a night stays readable


@dataclass
class _State:
    """One extractor's clips so far."""

    total: int
    begin: float
    line: TaskID
    done: int = 0
    failed: int = 0
    audio: float = 0.0

    def text(self, now: float) -> str:
        """Return clips done, speed, time left and failures."""
        said = [f"{self.done + self.failed:,} of {self.total:,} clips"]
        elapsed = now - self.begin
        if self.done and elapsed > 0:
            said.append(output.speed(self.audio, elapsed, "h/s"))
        over = self.done + self.failed
        if over:
            left = elapsed * (self.total - over) / over
            said.append(f"{output.duration(left)} left")
        if self.failed:
            said.append(f"{self.failed:,} failed")
        return ", ".join(said)


class ExtractionProgress:
    """Shows clips done, speed, time left and failures; used as a context.

    Parameters
    ----------
    terminal : bool, optional
        Whether to draw a moving line; by default where standard error is a terminal. Elsewhere a
        line is printed every half minute, none for an extraction shorter than that.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self, terminal: bool | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._clock = clock
        self._said = clock()
        self._states: dict[str, _State] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not self._terminal,
            transient=True,
        )

    def __enter__(self) -> "ExtractionProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, name: str, clips: int) -> None:
        """Start an extractor's line.

        Parameters
        ----------
        name : str
            The extractor.
        clips : int
            Clips to embed.
        """
        line = self._bar.add_task(name, total=clips, note="loading")
        self._states[name] = _State(clips, self._clock(), line)

    def tick(self, name: str, clips: int, seconds: float, failures: int) -> None:
        """Note what was done since the last time.

        Parameters
        ----------
        name : str
            The extractor.
        clips : int
            Clips embedded.
        seconds : float
            Their duration.
        failures : int
            Clips that could not be embedded.
        """
        now, state = self._clock(), self._states[name]
        state.done += clips
        state.failed += failures
        state.audio += seconds
        self._bar.update(state.line, completed=state.done + state.failed, note=state.text(now))
        if not self._terminal and now - self._said >= _EVERY:
            self._said = now
            output.warn(f"{name}: {state.text(now)}")
