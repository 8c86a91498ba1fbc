"""Memory of large arrays: keep what was freed, and tell that there is no more.

A network's maps take tens of megabytes, live for milliseconds, and come again in every batch. The C
library gives such blocks back to the system, which then clears every page again: up to half of the
time of a forward pass on a CPU.
"""

import ctypes
import sys
from functools import cache

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGEST = (1 << 30, 1 << 25)  # bytes; before version 2.35 glibc takes no more than 32 MiB


@cache
def tune_malloc() -> None:
    """Let this process keep freed blocks of up to 1 GiB, to use them again.

    It lasts as long as the process. Only glibc, the C library of most Linux systems, is told; on
    others nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _LARGEST[0])
    for size in _LARGEST:
        if mallopt(_MMAP_THRESHOLD, size):
            return


def is_oom(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice.

    Parameters
    ----------
    error : BaseException
        Of torch or Python.

    Returns
    -------
    bool
        True for ``torch.OutOfMemoryError``, ``MemoryError``, and what torch raises on a CPU.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(sign in said for sign in signs)


def empty_cache(device: torch.device) -> None:
    """Give memory back that torch keeps for later on a device.

    Parameters
    ----------
    device : torch.device
        Nothing happens where it is the CPU.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
