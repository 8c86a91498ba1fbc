"""Writer of safetensors files, array by array, so that the largest one need not be in memory.

A file is the length of its header as an unsigned 64-bit little-endian number, the header as JSON
(for each array type, shape and place; text under ``__metadata__``), and the arrays in C order,
little-endian. Arrays start at multiples of eight bytes, as the format's own library writes them.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from probekit._typing import Array
from probekit.errors import DataError

_TYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
_MOST_HEADER = 100_000_000  # bytes that the format's own library reads


def write_safetensors(
    path: Path,
    arrays: Mapping[str, tuple[str, tuple[int, ...], Iterable[Array]]],
    metadata: Mapping[str, str],
) -> None:
    """Write a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    arrays : mapping of str to (str, tuple of int, iterable of numpy.ndarray)
        Type (``float32``, ``float64`` or ``int64``), shape, and blocks of rows.
    metadata : mapping of str to str
        Text.

    Raises
    ------
    DataError
        If the text is longer than readers of the format accept.
    ValueError
        If the blocks of an array have more or fewer numbers than its shape.
    """
    # the widest numbers first: all arrays are aligned
    order = sorted(arrays, key=lambda name: -np.dtype(arrays[name][0]).itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        dtype, shape, _ = arrays[name]
        start, end = end, end + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST_HEADER:
        raise DataError(
            f"ids and labels take {len(text):,} bytes, and readers of .safetensors accept "
            f"{_MOST_HEADER:,} at most; export to .parquet or .npz instead"
        )
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            dtype, shape, blocks = arrays[name]
            little = np.dtype(dtype).newbyteorder("<")
            count = 0
            for block in blocks:
                file.write(np.ascontiguousarray(block, little).data)
                count += block.size
            if count != int(np.prod(shape)):
                raise ValueError(f"{name}: has {count:,} numbers, its shape {shape}")
