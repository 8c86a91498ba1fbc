"""Progress of an extraction: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from rich.progress import BarColumn, TaskID, TextColumn

from probekit.cli import output
from probekit.cli.heartbeat import INTERVAL


@dataclass
class _State:
    """One extractor's clips so far."""

    total: int
    start: float
    line: TaskID
    done: int = 0
    failed: int = 0
    audio: float = 0.0

    def format(self, now: float) -> str:
        """Return clips done, speed, time left and failures."""
        finished = self.done + self.failed
        words = [f"{finished:,} of {self.total:,} clips"]
        elapsed = now - self.start
        if self.audio > 0 and not self.done:  # within a long recording
            words.append(f"{output.format_duration(self.audio)} of audio")
        if (self.done or self.audio > 0) and elapsed > 0:
            words.append(output.format_speed(self.audio, elapsed, "h/s"))
        if finished:
            left = elapsed * (self.total - finished) / finished
            words.append(f"{output.format_duration(left)} left")
        if self.failed:
            words.append(f"{self.failed:,} failed")
        return ", ".join(words)


class ExtractionProgress:
    """Context manager that shows clips done, speed, time left and failures.

    Parameters
    ----------
    terminal : bool, optional
        Whether to draw a bar; by default if standard error is a terminal. Otherwise a line is
        printed every half minute.
    clock : callable
        Returns monotonic seconds.
    """

    def __init__(
        self, terminal: bool | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._clock = clock
        self._last_line = clock()
        self._states: dict[str, _State] = {}
        self._bar = output.TransientBars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            terminal=self._terminal,
        )

    def __enter__(self) -> "ExtractionProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, name: str, clips: int) -> None:
        """Start the line of an extractor with ``clips`` to embed."""
        line = self._bar.add_task(name, total=clips, note="loading")
        self._states[name] = _State(clips, self._clock(), line)

    def tick(self, name: str, clips: int, seconds: float, failures: int) -> None:
        """Add clips embedded since the last call, their duration, and failures."""
        now, state = self._clock(), self._states[name]
        state.done += clips
        state.failed += failures
        state.audio += seconds
        text = state.format(now)
        self._bar.update(state.line, completed=state.done + state.failed, note=text)
        if not self._terminal and now - self._last_line >= INTERVAL:
            self._last_line = now
            output.warn(f"{name}: {text}")
