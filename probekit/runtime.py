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
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def map_units(
    function: Callable[[U], R], units: Iterable[U], *, jobs: int = 1, threads: int | None = None
) -> Iterator[R]:
    """Apply a function to every unit, here or in worker processes.

    Parameters
    ----------
    function : callable
        Takes one unit. With ``jobs > 1`` it and the units travel to spawned processes.
    units : iterable
        Independent pieces of work.
    jobs : int >= 1
        Number of processes; 1 runs in this one.
    threads : int >= 1, optional
        Threads of BLAS and OpenMP in each worker; by default the cores are shared out evenly.

    Yields
    ------
    object
        Results in the order of the units, each as soon as it and those before it are ready.
    """
    if jobs == 1:
        yield from map(function, units)
        return
    from joblib import Parallel, delayed, parallel_config

    inner = threads or max(1, cpu_count() // jobs)
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=inner):
        yield from Parallel(return_as="generator")(delayed(function)(unit) for unit in units)
