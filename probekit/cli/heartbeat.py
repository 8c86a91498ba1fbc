"""Lines on standard error while work goes on, where there is no terminal for a moving bar."""

import sys
from collections.abc import Callable, Iterable
from threading import Event, Thread

INTERVAL = 30.0  # seconds: the log of a night stays readable


class Heartbeat:
    """Prints lines from a thread of its own, so that a single long step is not silent either.

    Parameters
    ----------
    describe : callable
        Returns the lines to print.
    interval : float > 0
        Seconds from one time to the next; nothing is printed before the first have passed.
    """

    def __init__(self, describe: Callable[[], Iterable[str]], interval: float = INTERVAL) -> None:
        self._describe, self._interval = describe, interval
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Start to print."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; nothing is printed afterwards."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            print(*self._describe(), sep="\n", file=sys.stderr, flush=True)  # noqa: T201
