"""Safe reader of TensorFlow checkpoints: the files ``NAME.data-00000-of-00001`` and ``NAME.index``.

The index is a table of LevelDB whose values are protocol buffers: type, shape, place and checksum
of each variable. The graph in ``NAME.meta`` is not read.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probekit.errors import WeightsError

Fields = dict[int, list[Any]]

_DATA = re.compile(r"\.data-00000-of-00001$")
_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes
_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}


def is_data_file(path: Path) -> bool:
    """Tell whether a file is named as the values of a checkpoint of one part."""
    return _DATA.search(path.name) is not None


def read_variables(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the variables of a checkpoint by name, given the file of its values.

    Raises ``WeightsError`` if the index beside it is missing, or either file is damaged.
    """
    index = path.with_name(_DATA.sub(".index", path.name))
    try:
        table, values = index.read_bytes(), path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{error.filename}: {error.strerror}. A checkpoint consists of {path.name} and "
            f"{index.name} in one folder"
        ) from error
    try:
        variables = dict(_variables(table, values))
        if not variables:
            raise ValueError("no variables")
        return variables
    except (IndexError, KeyError, ValueError, OverflowError, struct.error) as error:
        raise WeightsError(
            f"{index}: damaged, or not the index of {path.name} ({error})"
        ) from error


def _variables(table: bytes, values: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the variables that a table describes."""
    if len(table) < _FOOTER or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError("not a table of LevelDB")
    _, place = _handle(table, len(table) - _FOOTER)
    block, _ = _handle(table, place)
    for _, handle in _entries(_block(table, *block)):
        for key, value in _entries(_block(table, *_handle(handle, 0)[0])):
            if not key:
                continue  # the header
            entry = _fields(value)
            dims = [
                _fields(dim).get(1, [0])[0] for dim in _fields(entry.get(2, [b""])[0]).get(2, [])
            ]
            if entry.get(3, [0])[0] or 7 in entry:
                raise ValueError(f"{key.decode()} is in several parts")
            kind = _TYPES.get(entry[1][0])
            if kind is None:
                continue  # text and the like
            start, size = entry.get(4, [0])[0], entry.get(5, [0])[0]
            part = values[start : start + size]
            if len(part) != size:
                raise ValueError(f"{key.decode()} is beyond the end of the values")
            yield key.decode(), np.frombuffer(part, kind).reshape(dims)


def _handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Return offset and size of a block, and the place after them."""
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


def _block(table: bytes, offset: int, size: int) -> bytes:
    """Return the entries of a block, without its list of restarts."""
    if table[offset + size] != 0:
        raise ValueError("compressed")
    block = table[offset : offset + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    return block[: len(block) - 4 * (restarts + 1)]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values; a key shares the beginning of the one before it."""
    place, key = 0, b""
    while place < len(block):
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        size, place = _varint(block, place)
        if place + own + size > len(block):
            raise ValueError("cut short")
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number of variable length, and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")


def _fields(message: bytes) -> Fields:
    """Return the fields of a protocol buffer by number: integers, or bytes."""
    fields: Fields = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        value: int | bytes
        if tag & 7 == 0:
            value, place = _varint(message, place)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, place = _varint(message, place)
            if size is None or place + size > len(message):
                raise ValueError("not a protocol buffer")
            value, place = message[place : place + size], place + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields
