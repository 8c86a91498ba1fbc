"""Columns of Arrow from Python's values; pyarrow's own functions import pandas for that."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def text_array(texts: Sequence[str]) -> pa.Array:
    """Return texts as ``large_string``."""
    encoded = [text.encode() for text in texts]
    buffers = [None, _offsets(encoded, np.int64), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers)


def number_array(values: npt.ArrayLike) -> pa.Array:
    """Return whole numbers as ``int64``, others as ``double`` with null for NaN."""
    numbers = np.ascontiguousarray(values)
    if numbers.dtype.kind in "iu":
        numbers = numbers.astype(np.int64, copy=False)
        return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
    numbers = numbers.astype(np.float64, copy=False)
    valid = pa.py_buffer(np.packbits(~np.isnan(numbers), bitorder="little"))
    return pa.Array.from_buffers(pa.float64(), len(numbers), [valid, pa.py_buffer(numbers)])


def list_array(rows: Sequence[Sequence[Any]]) -> pa.Array:
    """Return rows of texts, or of numbers, as lists of them."""
    flat = [value for row in rows for value in row]
    if all(isinstance(value, str) for value in flat):
        values = text_array(flat)
    else:
        values = number_array(flat)
    buffers = [None, _offsets(rows, np.int32)]
    return pa.Array.from_buffers(pa.list_(values.type), len(rows), buffers, children=[values])


def _offsets(items: Sequence[Any], dtype: npt.DTypeLike) -> pa.Buffer:
    """Return where each item starts and the last one ends, if they follow each other."""
    return pa.py_buffer(np.cumsum([0, *map(len, items)], dtype=dtype))
