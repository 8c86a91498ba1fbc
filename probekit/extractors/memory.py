"""Out-of-memory errors, and the memory that torch caches."""

import torch


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
