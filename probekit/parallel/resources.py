"""Processor cores, devices, thread limits, and memory of large arrays."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from probekit.errors import ProbekitError

if TYPE_CHECKING:
    import torch
    from threadpoolctl import ThreadpoolController


_THREADS = "PROBEKIT_THREADS"
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LIMITS = (1 << 30, 1 << 25)  # bytes; before version 2.35 glibc takes at most 32 MiB


def cpu_count() -> int:
    """Return the number of processor cores that this process may use.

    ``PROBEKIT_THREADS`` if set (worker processes get their share of the cores by it), else what the
    operating system grants this process.

    Raises
    ------
    ProbekitError
        If ``PROBEKIT_THREADS`` is not an integer >= 1.
    """
    threads = os.environ.get(_THREADS)
    if threads:
        if not threads.isdecimal() or int(threads) < 1:
            raise ProbekitError(f"PROBEKIT_THREADS must be an integer >= 1, got {threads!r}")
        return int(threads)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_environment(cores: int) -> dict[str, str]:
    """Return the environment of a process that may use ``cores`` cores.

    It limits the threads of probekit, OpenMP, MKL and OpenBLAS.
    """
    names = (_THREADS, "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(cores))


def divide_cores(processes: int) -> int:
    """Return the cores of each of ``processes`` that share those of this one; at least 1."""
    return max(1, cpu_count() // processes)


def resolve_device(name: str = "auto") -> "torch.device":
    """Return the torch device of a name, after checking that it can be used.

    Also turns TF32 off, so that float32 means float32.

    Parameters
    ----------
    name : str
        ``"auto"`` (CUDA if available, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"`` …

    Raises
    ------
    ProbekitError
        If torch does not know the device, or this machine does not have it.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ProbekitError(
            f"--device must be auto, cpu or a torch device such as cuda:0, got {name!r}"
        ) from error
    # TF32's shorter products would move embeddings by 1e-3
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ProbekitError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
        )
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ProbekitError(f"--device {name}: torch cannot use it on this machine") from error
    return device


def single_threaded() -> AbstractContextManager[object]:
    """Return a context in which BLAS and OpenMP use one thread.

    On problems as small as a probe's, synchronizing threads costs more than they save: a path of
    twelve fits took 4.7 s with two threads and 0.18 s with one. Folds run in parallel instead.
    """
    return limit_threads(1)


def limit_threads(count: int) -> AbstractContextManager[object]:
    """Return a context in which BLAS and OpenMP use at most ``count`` threads."""
    limits: AbstractContextManager[object] = _find_libraries(len(sys.modules)).limit(limits=count)
    return limits


@contextmanager
def limit_cores(count: int) -> Iterator[None]:
    """Let this process use at most ``count`` cores, as if it were a worker process.

    Libraries that are loaded meanwhile keep to it afterwards, but for torch.
    """
    limits = worker_environment(count)
    previous = {name: os.environ.get(name) for name in limits}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    os.environ.update(limits)
    if torch:
        torch.set_num_threads(count)
    try:
        with limit_threads(count):
            yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        torch = sys.modules.get("torch")
        if torch:
            torch.set_num_threads(threads or cpu_count())


@contextmanager
def torch_threads(*, single: bool) -> Iterator[None]:
    """Let torch, BLAS and OpenMP use one thread, or as many as torch and this process may use."""
    import torch

    previous = torch.get_num_threads()
    count = 1 if single else min(previous, cpu_count())
    with limit_threads(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(previous)


@cache
def tune_malloc() -> None:
    """Let this process reuse freed blocks of up to 1 GiB; has an effect with glibc only.

    A network's maps, or the products of a solver, take tens of megabytes, live for milliseconds,
    and are allocated again and again. The C library returns such blocks to the system, which then
    clears every page again: up to half of the time of a network, or of its training, on a CPU, and
    a fifth of a solver's.
    """
    mallopt = _c_function("mallopt")
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _LIMITS[0])
    for size in _LIMITS:
        if mallopt(_MMAP_THRESHOLD, size):
            return


def release_memory() -> None:
    """Return freed blocks, which :func:`tune_malloc` keeps, to the system."""
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library that only Linux has, or None."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function


@lru_cache(maxsize=1)
def _find_libraries(modules: int) -> "ThreadpoolController":
    """Return the loaded libraries with threads; they are looked for again after imports."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
