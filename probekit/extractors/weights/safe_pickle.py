"""Safe reader of NumPy arrays in PyTorch files and pickles.

Some official files (VGGish's PCA, PANNs, TALNet's normalizer) have arrays beside tensors, or
instead of them, which ``torch.load(weights_only=True)`` refuses. The stubs here replace the
classes that such a pickle names: they take a type, a shape and raw bytes, check them, and call
nothing else.
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
    """Return a context in which ``torch.load(weights_only=True)`` reads arrays as stubs.

    Call :func:`to_tensors` on the result.
    """
    names: list[Any] = [(ArrayStub, "numpy.ndarray"), (DTypeStub, "numpy.dtype")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1 and 2
        names += [(_reconstruct, f"{module}._reconstruct"), (_scalar, f"{module}.scalar")]
    context: AbstractContextManager[None] = torch.serialization.safe_globals(names)
    return context


def to_tensors(content: Any) -> Any:
    """Convert stubs to tensors, also inside of dictionaries, which are copied."""
    if isinstance(content, ArrayStub):
        return content.tensor()
    if isinstance(content, dict):
        return {key: to_tensors(value) for key, value in content.items()}
    return content


def read_pickle(path: Path) -> Any:
    """Read a pickle of NumPy arrays from Python 2 or 3, without calling anything else.

    The file contains one array, or a dictionary, list or tuple of arrays and numbers; the items of
    a list or tuple are named ``"0"``, ``"1"`` … Raises ``pickle.UnpicklingError`` if it names
    anything else or is not a pickle.
    """
    with path.open("rb") as stream:
        content = _ArrayUnpickler(stream, encoding="latin-1").load()
    if isinstance(content, list | tuple):
        content = {str(i): item for i, item in enumerate(content)}
    return to_tensors(content)


class _ArrayUnpickler(Unpickler):
    """An unpickler that knows only the names in pickles of arrays."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a new stub each time: a pickle can set attributes of what it names."""
        path = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        known: dict[str, Callable[..., Any]] = {
            "numpy.ndarray": lambda *_: ArrayStub(),
            "numpy.dtype": lambda *rest: DTypeStub(*rest),
            "numpy.core.multiarray._reconstruct": lambda *_: ArrayStub(),
            "numpy.core.multiarray.scalar": lambda *rest: _scalar(*rest),
            "_codecs.encode": lambda *rest: _encode(*rest),
        }
        if path not in known:
            raise UnpicklingError(f"it names {path[:80]}, which is not an array")
        return known[path]


def _encode(text: str, encoding: str) -> bytes:
    """Decode bytes as in pickles of protocol 2."""
    if encoding != "latin1":
        raise UnpicklingError(f"encoding of bytes must be latin1, got {str(encoding)[:20]}")
    return text.encode("latin-1")


class DTypeStub:
    """Stub of ``numpy.dtype`` for numbers of 1 to 8 bytes, such as ``"f4"``."""

    def __init__(self, code: str, *_: object) -> None:
        if code not in _NUMBERS:
            raise UnpicklingError(f"type of an array must be a number, got {str(code)[:20]!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise UnpicklingError("byte order of an array is not known")
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """Return the NumPy type."""
        return np.dtype(("<" if self.order == "=" else self.order) + self.code)


class ArrayStub:
    """Stub of ``numpy.ndarray``: a shape, a type, and bytes of that length."""

    values: np.ndarray[Any, np.dtype[Any]] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        try:
            _, shape, kind, fortran, raw = state
            if isinstance(raw, str):  # written by Python 2
                raw = raw.encode("latin-1")
            valid = all(isinstance(size, int) and size >= 0 for size in shape)
            dtype = kind.numpy()
            if not valid or len(raw) != math.prod(shape) * dtype.itemsize:
                raise ValueError("shape and number of bytes differ")
            flat = np.frombuffer(raw, dtype)
        except (TypeError, ValueError, AttributeError) as error:
            raise UnpicklingError(f"damaged array ({error})") from error
        self.values = flat.reshape(shape, order="F" if fortran else "C")

    def tensor(self) -> Tensor:
        """Return the numbers as a tensor of their type."""
        if self.values is None:
            raise UnpicklingError("array without content")
        native = self.values.dtype.newbyteorder("=")
        return torch.from_numpy(self.values.astype(native, order="C"))


def _reconstruct(*_: object) -> ArrayStub:
    """Stub of the function that creates an array."""
    return ArrayStub()


def _scalar(kind: DTypeStub, raw: bytes | str) -> int | float:
    """Stub of the function that creates a NumPy number; returns a Python number."""
    array = ArrayStub()
    array.__setstate__((1, (), kind, False, raw))
    assert array.values is not None
    number: int | float = array.values.item()
    return number
