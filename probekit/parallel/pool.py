"""Units of work in processes of this machine, any of which may die.

Each process is an executor of its own, so that the death of one says which unit it was at, and
disturbs no other; joblib's shared pool ends all of them and does not say.
"""

import os
import re
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Generic, TypeVar

from probekit.parallel import resources

U = TypeVar("U")
R = TypeVar("R")

_IDLE = 10.0  # seconds after which a process without work leaves: so none outlives a killed parent


def imap_unordered(
    functions: Sequence[Callable[[U], R]], units: Iterable[U], instead: Callable[[U, str], U]
) -> Iterator[R]:
    """Apply functions to units in worker processes, and survive their deaths.

    Parameters
    ----------
    functions : sequence of callable
        One process runs each of them, on one unit after another; they differ in the device they
        use, if at all. Any of them may do any unit. The cores are shared out evenly.
    units : iterable
        Independent pieces of work.
    instead : callable
        Called with a unit whose process died and how it ended (``"SIGSEGV"``); returns what to do
        next in its place, which may be the same again, or raises.

    Yields
    ------
    object
        Results in the order in which they are ready.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    environment = resources.threads_per_worker(len(functions))
    # or loky prints the stack of every crash; who wants to see them sets it to 1
    environment["PYTHONFAULTHANDLER"] = os.environ.get("PYTHONFAULTHANDLER", "")
    workers = [_Worker(function, environment) for function in functions]
    idle = deque(workers)
    queue = deque(units)
    running: dict[Future[R], tuple[_Worker[U, R], U]] = {}
    try:
        while queue or running:
            while queue and idle:
                worker, unit = idle.popleft(), queue.popleft()
                running[worker.submit(unit)] = (worker, unit)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, unit = running.pop(future)
                idle.append(worker)
                try:
                    result = future.result()
                except TerminatedWorkerError as error:
                    worker.end()
                    queue.appendleft(instead(unit, _exit_reason(error)))
                else:
                    yield result
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[U, R]):
    """One process, started when it has something to do, and again after its death."""

    def __init__(self, function: Callable[[U], R], environment: dict[str, str]) -> None:
        self.function = function
        self.environment = environment
        self.pool: Any = None

    def submit(self, unit: U) -> Future[R]:
        """Give it a unit."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1, timeout=_IDLE, env=self.environment, initializer=_begin
            )
        future: Future[R] = self.pool.submit(self.function, unit)
        return future

    def end(self) -> None:
        """End the process, whatever it is at."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, kill_workers=True)
            self.pool = None


def _begin() -> None:
    """Prepare a worker process: Control-C is its parent's matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _exit_reason(error: Exception) -> str:
    """Return how a process ended, from loky's message."""
    found = re.search(r"\{(SIG\w+|EXIT)\((-?\d+)\)", str(error))
    if found is None:
        return "for an unknown reason"
    return found[1] if found[1] != "EXIT" else f"exit code {found[2]}"
