"""Where work runs: threads, devices, and one way to map a function over units of work."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, TypeVar

from probekit.errors import ProbekitError

if TYPE_CHECKING:
    import torch

U = TypeVar("U")
R = TypeVar("R")


def cpu_count() -> int:
    """Return the number of processor cores that this process may use.

    ``PROBEKIT_THREADS`` sets it; worker processes are given their share of the cores by it.

    Returns
    -------
    int >= 1
        By default the cores that the operating system leaves to this process.

    Raises
    ------
    ProbekitError
        If ``PROBEKIT_THREADS`` is not a number from 1 up.
    """
    given = os.environ.get("PROBEKIT_THREADS")
    if given:
        if not given.isdecimal() or int(given) < 1:
            raise ProbekitError(f"PROBEKIT_THREADS={given}: a number of processor cores, 1 or more")
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_per_worker(processes: int) -> dict[str, str]:
    """Return the environment of each of several processes that share this machine's cores.

    Parameters
    ----------
    processes : int >= 1
        How many there are.

    Returns
    -------
    dict of str to str
        Settings for probekit, OpenMP, MKL and OpenBLAS; each process has at least one core.
    """
    share = max(1, cpu_count() // processes)
    names = ("PROBEKIT_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(share))


def device(name: str = "auto") -> "torch.device":
    """Return the device of a name.

    Parameters
    ----------
    name : str
        ``"auto"`` (CUDA where there is one, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …

    Returns
    -------
    torch.device
        The device; it exists.

    Raises
    ------
    ProbekitError
        If torch does not know the device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError as error:
        raise ProbekitError(
            f"--device {name}: torch does not know this device; for example auto, cpu or cuda:0"
        ) from error
    # float32 means float32: the tensor cores' shorter products would move embeddings by 1e-3
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ProbekitError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    try:
        torch.zeros(1, device=found).item()
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ProbekitError(f"--device {name}: torch cannot use it on this machine") from error
    return found


def single_threaded() -> AbstractContextManager[object]:
    """Return a context in which BLAS and OpenMP use one thread.

    On problems as small as a probe's, waiting for other threads costs more than they save: a path
    of twelve fits took 4.7 s with two threads and 0.18 s with one. Folds run side by side instead.
    """
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits


def parallel_map(
    function: Callable[[U], R],
    units: Iterable[U],
    *,
    jobs: int = 1,
    threads: int | None = None,
    dask: str | None = None,
) -> Iterator[R]:
    """Apply a function to every unit, here, in worker processes or on a cluster.

    For a few units that share large arrays, such as the folds of a probe: workers map the arrays
    into memory instead of copying them. :func:`probekit.parallel.pool.imap_unordered` is for many units of
    which each may end its process.

    Parameters
    ----------
    function : callable
        Takes one unit. With ``jobs > 1`` or ``dask`` it and the units travel to other processes.
    units : iterable
        Independent pieces of work.
    jobs : int >= 1
        Number of processes; 1 runs in this one. With ``dask="local"``, the number of its workers.
    threads : int >= 1, optional
        Threads of BLAS and OpenMP in each process of ``jobs``; by default the cores are shared
        out evenly. Workers of a cluster have what they were started with.
    dask : str, optional
        Address of a Dask scheduler, or ``"local"``; instead of processes of this machine.

    Yields
    ------
    object
        Results in the order of the units, each as soon as it and those before it are ready.

    Raises
    ------
    ProbekitError
        If a worker process ended, or the cluster cannot be reached.
    """
    if dask is not None:
        from probekit.parallel import dask as dask_module

        with dask_module.connect(dask, jobs, threads_per_worker(jobs)) as client:
            yield from dask_module.map_ordered(client, function, list(units))
        return
    if jobs == 1:
        yield from map(function, units)
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    inner = threads or max(1, cpu_count() // jobs)
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=inner):
        try:
            yield from Parallel(return_as="generator")(delayed(function)(unit) for unit in units)
        except TerminatedWorkerError as error:
            raise ProbekitError(
                "a worker process was ended from outside, most often since memory ran out. Use "
                f"fewer than --jobs {jobs}"
            ) from error
