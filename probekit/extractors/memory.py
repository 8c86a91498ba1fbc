"""Memory of large arrays: tuning of malloc, and recognition of out-of-memory errors.

A network's maps take tens of megabytes, live for milliseconds, and are allocated again for every
batch. The C library returns such blocks to the system, which then clears every page again: up to
half of the time of a forward pass on a CPU.
"""

import ctypes
import sys
from functools import cache

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LIMITS = (1 << 30, 1 << 25)  # bytes; before version 2.35 glibc takes at most 32 MiB


@cache
def tune_malloc() -> None:
    """Let this process reuse freed blocks of up to 1 GiB; has an effect with glibc only."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _LIMITS[0])
    for size in _LIMITS:
        if mallopt(_MMAP_THRESHOLD, size):
            return


def is_oom(error: BaseException) -> bool:
    """Tell whether an error of Python, or of torch on any device, means out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    message = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(sign in message for sign in signs)


def empty_cache(device: torch.device) -> None:
    """Release the memory that torch caches on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
