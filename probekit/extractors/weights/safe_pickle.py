"""NumPy arrays inside PyTorch files and pickles, read without NumPy's own unpickling.

Some official files (VGGish's PCA, PANNs, TALNet's normalizer) hold arrays beside tensors, or
instead of them, and ``torch.load(weights_only=True)`` refuses those. The classes here stand in for
what such a pickle names: they take numbers, a shape and raw bytes, check them, and call nothing
else.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NUMBERS = {f"f{size}" for size in (2, 4, 8)} | {f"{k}{s}" for k in "iu" for s in (1, 2, 4, 8)}


def allow_arrays() -> AbstractContextManager[None]:
    """Return a context in which ``torch.load(weights_only=True)`` reads arrays as stand-ins.

    Returns
    -------
    context manager
        To be followed by :func:`to_tensors` on what was loaded.
    """
    names: list[Any] = [(ArrayStub, "numpy.ndarray"), (DTypeStub, "numpy.dtype")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1 and 2
        names += [(_reconstruct, f"{module}._reconstruct"), (_scalar, f"{module}.scalar")]
    context: AbstractContextManager[None] = torch.serialization.safe_globals(names)
    return context


def to_tensors(content: Any) -> Any:
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
    if isinstance(content, ArrayStub):
        return content.tensor()
    if isinstance(content, dict):
        return {key: to_tensors(value) for key, value in content.items()}
    return content


def read_pickle(path: Path) -> Any:
    """Read a pickle of NumPy arrays, as Python 2 or 3 wrote it; it cannot call anything.

    Parameters
    ----------
    path : pathlib.Path
        Holds one array, or a dictionary, list or tuple of arrays and numbers.

    Returns
    -------
    object
        Arrays are tensors; the items of a list or tuple are named ``"0"``, ``"1"`` …

    Raises
    ------
    pickle.UnpicklingError
        If the file asks for anything other than arrays, or is not a pickle.
    """
    with path.open("rb") as stream:
        content = _ArrayUnpickler(stream, encoding="latin-1").load()
    if isinstance(content, list | tuple):
        content = {str(i): item for i, item in enumerate(content)}
    return to_tensors(content)


class _ArrayUnpickler(Unpickler):
    """Knows the names that arrays need, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in that is thrown away afterwards: a pickle may write on what it names."""
        whole = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        known: dict[str, Callable[..., Any]] = {
            "numpy.ndarray": lambda *_: ArrayStub(),
            "numpy.dtype": lambda *rest: DTypeStub(*rest),
            "numpy.core.multiarray._reconstruct": lambda *_: ArrayStub(),
            "numpy.core.multiarray.scalar": lambda *rest: _scalar(*rest),
            "_codecs.encode": lambda *rest: _encode(*rest),
        }
        if whole not in known:
            raise UnpicklingError(f"it asks for {whole[:80]}, which is not an array")
        return known[whole]


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for the way in which pickles of protocol 2 hold bytes."""
    if encoding != "latin1":
        raise UnpicklingError("bytes in an encoding that arrays do not use")
    return text.encode("latin-1")


class DTypeStub:
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


class ArrayStub:
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


def _reconstruct(*_: object) -> ArrayStub:
    """Stand in for the function with which NumPy's pickles begin an array."""
    return ArrayStub()


def _scalar(kind: DTypeStub, raw: bytes | str) -> int | float:
    """Stand in for the function that makes a NumPy number; returns a Python number."""
    array = ArrayStub()
    array.__setstate__((1, (), kind, False, raw))
    assert array.values is not None
    number: int | float = array.values.item()
    return number
