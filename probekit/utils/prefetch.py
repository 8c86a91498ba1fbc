"""Work done ahead of its consumer, in threads."""

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
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    depth: Callable[[R], int] | None = None,
) -> Iterator[tuple[T, R]]:
    """Apply a function to items in threads, a few items ahead of the consumer.

    Parameters
    ----------
    function : callable
        Takes one item.
    items : iterable
        Its arguments; read lazily.
    threads : int >= 1
        Number of threads.
    depth : callable, optional
        Takes a result and returns how many results may wait behind it; by default so many that,
        with it, there are two per thread.

    Yields
    ------
    item, result
        In the order of the items.
    """
    items = iter(items)
    limit = 2 * threads if depth is None else threads
    with ThreadPoolExecutor(threads, thread_name_prefix="ordered-map") as pool:
        pending: deque[tuple[T, Future[R]]] = deque()

        def submit(limit: int) -> None:
            """Submit items until so many are pending, at least one."""
            count = max(limit - len(pending), 0) or not pending
            pending.extend((item, pool.submit(function, item)) for item in islice(items, count))

        try:
            submit(limit)
            while pending:
                item, future = pending.popleft()
                result = future.result()
                submit(limit - 1 if depth is None else depth(result))
                yield item, result
        finally:
            for _, future in pending:
                future.cancel()


def prefetch(items: Iterable[T], depth: int = 4) -> Iterator[T]:
    """Iterate over items in a thread, some items ahead of the consumer.

    Parameters
    ----------
    items : iterable
        Iterated over once, in the thread.
    depth : int >= 1
        How many items may wait.

    Yields
    ------
    object
        The same items in the same order. An exception of ``items`` is raised here after the items
        before it. The thread ends with the items, or when this generator is closed.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None, bool]) -> None:
        """Wait for room in the queue until the consumer stops."""
        while not stop.is_set():
            try:
                return ready.put(entry, timeout=0.1)
            except queue.Full:
                continue

    def produce() -> None:
        """Put all items, then the end or the exception."""
        try:
            for item in items:
                put((item, None, False))
                if stop.is_set():
                    return
        except BaseException as error:
            put((None, error, True))
        else:
            put((None, None, True))

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
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
