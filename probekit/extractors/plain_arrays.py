"""NumPy arrays inside PyTorch files, read without NumPy's own unpickling.

Some official checkpoints (VGGish's PCA, PANNs) hold arrays beside tensors, or instead of them, and
``torch.load(weights_only=True)`` refuses those. The classes here stand in for what such a pickle
names: they take numbers, a shape and raw bytes, check them, and call nothing else.
"""

import math
from contextlib import AbstractContextManager
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBERS = {f"f{size}" for size in (2, 4, 8)} | {f"{k}{s}" for k in "iu" for s in (1, 2, 4, 8)}


def allowed() -> AbstractContextManager[None]:
    """Return a context in which ``torch.load(weights_only=True)`` reads arrays as stand-ins.

    Returns
    -------
    context manager
        To be followed by :func:`tensors` on what was loaded.
    """
    names: list[Any] = [(PlainArray, "numpy.ndarray"), (PlainType, "numpy.dtype")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1 and 2
        names += [(_reconstruct, f"{module}._reconstruct"), (_scalar, f"{module}.scalar")]
    context: AbstractContextManager[None] = torch.serialization.safe_globals(names)
    return context


def tensors(content: Any) -> Any:
    """Turn stand-ins into tensors, also inside dictionaries.

    Parameters
    ----------
    content : object
        What ``torch.load`` returned.

    Returns
    -------
    object
        The same; a dictionary is a new one.
    """
    if isinstance(content, PlainArray):
        return content.tensor()
    if isinstance(content, dict):
        return {key: tensors(value) for key, value in content.items()}
    return content


class PlainType:
    """Stands in for ``numpy.dtype``: numbers of 1 to 8 bytes only.

    Parameters
    ----------
    code : str
        Such as ``"f4"``.
    *_ : object
        What else the pickle says; not used.
    """

    def __init__(self, code: str, *_: object) -> None:
        if code not in _NUMBERS:
            raise UnpicklingError(f"an array of type {str(code)[:20]!r}: only numbers are read")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise UnpicklingError("an array whose byte order is not known")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """Return the type it stands for."""
        return np.dtype(("<" if self.order == "=" else self.order) + self.code)


class PlainArray:
    """Stands in for ``numpy.ndarray``: a shape, a type of numbers, and bytes of that length."""

    values: np.ndarray[Any, np.dtype[Any]] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        try:
            _, shape, kind, fortran, raw = state
            if isinstance(raw, str):  # written by Python 2
                raw = raw.encode("latin-1")
            whole = all(isinstance(side, int) and side >= 0 for side in shape)
            dtype = kind.numpy()
            if not whole or len(raw) != math.prod(shape) * dtype.itemsize:
                raise ValueError("shape and bytes do not agree")
            flat = np.frombuffer(raw, dtype)
        except (TypeError, ValueError, AttributeError) as error:
            raise UnpicklingError(f"a damaged array ({error})") from error
        self.values = flat.reshape(shape, order="F" if fortran else "C")

    def tensor(self) -> Tensor:
        """Return its numbers: float64 and integers keep their type."""
        if self.values is None:
            raise UnpicklingError("an array without content")
        native = self.values.dtype.newbyteorder("=")
        return torch.from_numpy(self.values.astype(native, order="C"))


def _reconstruct(*_: object) -> PlainArray:
    """Stand in for the function with which NumPy's pickles begin an array."""
    return PlainArray()


def _scalar(kind: PlainType, raw: bytes | str) -> int | float:
    """Stand in for the function that makes a NumPy number; returns a Python number."""
    array = PlainArray()
    array.__setstate__((1, (), kind, False, raw))
    assert array.values is not None
    number: int | float = array.values.item()
    return number
