"""Maps of a function over independent items: in this process, in worker processes, on a cluster."""

import os
import pickle
import re
import shutil
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import numpy as np

from probekit.errors import ProbekitError
from probekit.parallel.resources import (
    divide_cores,
    limit_cores,
    release_memory,
    worker_environment,
)

T = TypeVar("T")
R = TypeVar("R")

_IDLE_SECONDS = 10.0  # an idle process ends after this time
_WATCH_SECONDS = 1.0  # how often a process looks whether its parent was killed
_SHARED_BYTES = 1_000_000  # of an array, from which on processes share it
_SHARED_MEMORY = Path("/dev/shm")  # a file system in memory, on Linux


def parallel_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    jobs: int = 1,
    dask: str | None = None,
) -> Iterator[R]:
    """Apply a function to a few items that share large arrays, such as the folds of a probe.

    This process works, too; the others map the arrays into memory instead of copying them.

    Parameters
    ----------
    function : callable
        Takes one item. With ``jobs > 1`` or ``dask`` it is sent to other processes with the items.
    items : iterable
        Its arguments.
    jobs : int >= 1
        Number of processes, this one included; the cores are divided evenly. With
        ``dask="local"``, the number of its workers. A function must not call this with
        ``jobs > 1`` itself.
    dask : str, optional
        Address of a Dask scheduler, or ``"local"``; replaces the processes of this machine.

    Yields
    ------
    object
        Results in the order of the items.

    Raises
    ------
    ProbekitError
        If a worker process ended, or the cluster cannot be reached.

    See Also
    --------
    imap_unordered : For many items, any of which may crash its process.
    """
    if dask is not None:
        from probekit.parallel.dask import connect, map_ordered

        with connect(dask, jobs) as client:
            yield from map_ordered(client, function, list(items))
        return
    work = list(items)
    jobs = min(jobs, len(work))
    if jobs <= 1:
        yield from map(function, work)
        return
    yield from _share_out(function, work, jobs, divide_cores(jobs))


def _share_out(
    function: Callable[[T], R], items: Sequence[T], jobs: int, cores: int
) -> Iterator[R]:
    """Apply a function to items in this process and in ``jobs - 1`` others."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    results: list[Future[R]] = [Future() for _ in items]
    queue = deque(zip(items, results, strict=True))
    executor = _start_executor(jobs - 1, cores)

    def submit_next(_: Any = None) -> None:
        """Send the next item to a process that is idle."""
        try:
            item, result = queue.popleft()
        except IndexError:
            return
        try:
            future = executor.submit(shared, item)
        except Exception as error:  # a process was killed
            result.set_exception(error)
            return
        future.add_done_callback(lambda done: _settle(result, done.result))
        future.add_done_callback(submit_next)

    try:
        with _share(function) as shared:
            for _ in range(jobs - 1):
                submit_next()
            for result in results:
                while queue and not result.done():
                    with limit_cores(cores), suppress(IndexError):
                        item, taken = queue.popleft()
                        _settle(taken, partial(function, item))
                yield result.result()
    except BaseException as error:
        queue.clear()
        _start_executor.cache_clear()
        executor.shutdown(wait=True, kill_workers=True)
        if isinstance(error, TerminatedWorkerError):
            raise ProbekitError(
                "a worker process was killed, most often because memory ran out. Use fewer than "
                f"--jobs {jobs}"
            ) from error
        raise


@lru_cache(maxsize=1)
def _start_executor(processes: int, cores: int) -> Any:
    """Return worker processes, the same ones in a later call; not joblib's, which it configures."""
    from joblib.externals.loky import ProcessPoolExecutor

    # a process whose later items are larger than its first is replaced, which is no fault
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    return ProcessPoolExecutor(
        processes,
        timeout=_IDLE_SECONDS,
        env=worker_environment(cores),
        initializer=_start_worker,
        initargs=(os.getpid(),),
    )


def _settle(result: Future[R], compute: Callable[[], R]) -> None:
    """Set a result, or the error that computing it raises, in the order of the items."""
    try:
        result.set_result(compute())
    except Exception as error:
        result.set_exception(error)


@contextmanager
def _share(function: Callable[[T], R]) -> Iterator[Callable[[T], R]]:
    """Give a function for other processes, which map its large arrays into memory from files."""
    import cloudpickle

    arrays: list[memoryview] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes >= _SHARED_BYTES:
            arrays.append(view)
        return view.nbytes < _SHARED_BYTES

    pickled = cloudpickle.dumps(function, protocol=5, buffer_callback=is_small)
    size = len(pickled) + sum(view.nbytes for view in arrays)
    memory = _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2 * size
    with scratch_folder(_SHARED_MEMORY if memory else None) as folder:
        for k, content in enumerate((pickled, *arrays)):
            (folder / str(k)).write_bytes(content)
        yield partial(_call_shared, folder, len(arrays))


@lru_cache(maxsize=1)
def _load_shared(folder: Path, arrays: int) -> Callable[[Any], Any]:
    mapped = [np.memmap(folder / str(k), mode="r") for k in range(1, arrays + 1)]
    function: Callable[[Any], Any] = pickle.loads(  # noqa: S301 - of the parent, only it can write
        (folder / "0").read_bytes(), buffers=mapped
    )
    return function


def _call_shared(folder: Path, arrays: int, item: T) -> Any:
    """Apply a function that the parent of this worker process shares."""
    try:
        return _load_shared(folder, arrays)(item)
    finally:
        release_memory()  # or loky takes it for a leak and starts another process


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Give a private folder, removed at the end, or soon after this process was killed.

    Parameters
    ----------
    parent : pathlib.Path, optional
        Where to make it; by default in the system's folder of temporary files.

    Yields
    ------
    pathlib.Path
        The folder, empty.
    """
    from joblib.externals.loky.backend import resource_tracker

    with TemporaryDirectory(prefix="probekit-", dir=parent, ignore_cleanup_errors=True) as folder:
        resource_tracker.register(folder, "folder")  # by a process that outlives this one
        try:
            yield Path(folder)
        finally:
            resource_tracker.unregister(folder, "folder")


def imap_unordered(
    functions: Sequence[Callable[[T], R]], items: Iterable[T], on_crash: Callable[[T, str], T]
) -> Iterator[R]:
    """Apply functions to items in worker processes, any of which may crash.

    Each process has an executor of its own, so that a crash names its item and disturbs no other
    process; joblib's shared pool would end all of them, without naming it.

    Parameters
    ----------
    functions : sequence of callable
        One process runs each of them, on one item after another. They may differ in the device
        they use; any of them may get any item. The cores are divided evenly.
    items : iterable
        Their arguments.
    on_crash : callable
        Called with an item whose process crashed and with the reason (``"SIGSEGV"``); returns the
        item to do next instead, possibly the same, or raises.

    Yields
    ------
    object
        Results in the order in which they are ready.
    """
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    environment = worker_environment(divide_cores(len(functions)))
    # or loky prints the stack of every crash; users who want to see them set it to 1
    environment["PYTHONFAULTHANDLER"] = os.environ.get("PYTHONFAULTHANDLER", "")
    workers = [_Worker(function, environment) for function in functions]
    idle = deque(workers)
    queue = deque(items)
    running: dict[Future[R], tuple[_Worker[T, R], T]] = {}
    try:
        while queue or running:
            while queue and idle:
                worker, item = idle.popleft(), queue.popleft()
                running[worker.submit(item)] = (worker, item)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, item = running.pop(future)
                idle.append(worker)
                try:
                    result = future.result()
                except TerminatedWorkerError as error:
                    worker.stop()
                    queue.appendleft(on_crash(item, _exit_reason(error)))
                else:
                    yield result
    finally:
        for worker in workers:
            worker.stop()


class _Worker(Generic[T, R]):
    """A process that starts with its first item, and again after a crash."""

    def __init__(self, function: Callable[[T], R], environment: dict[str, str]) -> None:
        self.function = function
        self.environment = environment
        self.pool: Any = None

    def submit(self, item: T) -> Future[R]:
        """Start to apply the function to an item."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1,
                timeout=_IDLE_SECONDS,
                env=self.environment,
                initializer=_start_worker,
                initargs=(os.getpid(),),
            )
        future: Future[R] = self.pool.submit(self.function, item)
        return future

    def stop(self) -> None:
        """Kill the process."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, kill_workers=True)
            self.pool = None


def _start_worker(parent: int) -> None:
    """Ignore Control-C in a worker process, which the parent handles, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(parent)


@cache
def _end_with(parent: int) -> None:
    """Watch the parent of this worker process: if it was killed, nobody takes the results."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    if os.name != "nt" and os.getppid() == parent:  # on Windows a parent keeps its number
        threading.Thread(target=watch, daemon=True).start()


def _exit_reason(error: Exception) -> str:
    """Return the signal or exit code of a process, from loky's message."""
    match = re.search(r"\{(SIG\w+|EXIT)\((-?\d+)\)", str(error))
    if match is None:
        return "for an unknown reason"
    return match[1] if match[1] != "EXIT" else f"exit code {match[2]}"
