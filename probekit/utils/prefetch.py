"""Work done a little ahead of whoever needs it, in threads."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], threads: int
) -> Iterator[tuple[T, R]]:
    """Apply a function to items in threads, a few ahead.

    Parameters
    ----------
    function : callable
        Takes one item.
    items : iterable
        Whatever it takes.
    threads : int >= 1
        How many at once; twice as many results wait at most.

    Yields
    ------
    item, result
        In the order of the items.
    """
    items = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            while True:
                few = islice(items, 2 * threads - len(waiting))
                waiting += [(item, pool.submit(function, item)) for item in few]
                if not waiting:
                    return
                item, future = waiting.popleft()
                yield item, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def prefetch(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Walk over items that a thread of its own makes ahead.

    Parameters
    ----------
    items : iterable
        Walked over in the thread, once.
    depth : int >= 1
        How many may wait.

    Yields
    ------
    object
        The same items in the same order. What goes wrong while one is made is raised here, after
        those before it. The thread ends when the items do, or when this generator is closed.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None, bool]) -> None:
        """Wait for room, but not longer than somebody wants it."""
        while not stop.is_set():
            try:
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        """Make the items."""
        try:
            for item in items:
                put((item, None, False))
                if stop.is_set():
                    return
        except BaseException as error:
            put((None, error, True))
        else:
            put((None, None, True))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
