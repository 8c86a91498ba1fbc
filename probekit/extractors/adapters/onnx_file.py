"""What an ONNX file refers to, read from its bytes: files of data outside it, sets of operators.

The fields of the format (``onnx.proto``) are walked without the package onnx; tensors are skipped.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probekit.errors import WeightsError

# field numbers of onnx.proto
_GRAPH, _OPSET, _FUNCTION = 7, 8, 25  # of ModelProto
_MESSAGES = {  # of each message: its fields that hold further messages of interest
    "model": {_GRAPH: "graph", _OPSET: "opset", _FUNCTION: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_STANDARD = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operators of onnxruntime itself
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class References:
    """What a file refers to.

    Attributes
    ----------
    data : tuple of str
        Paths of files of tensors, as written in the file.
    domains : tuple of str
        Sets of operators that do not come with onnxruntime.
    """

    data: tuple[str, ...]
    domains: tuple[str, ...]


def read_references(path: Path) -> References:
    """Return what an ONNX file refers to.

    Raises
    ------
    WeightsError
        If it is cut short, or no ONNX file.
    """
    data: set[str] = set()
    domains: set[str] = set()
    graphs = 0
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            waiting = [("model", 0, len(view))]
            while waiting:
                kind, start, stop = waiting.pop()
                if kind == "opset":
                    texts = _texts(view, start, stop)
                    domains |= {texts.get(1, "")} - _STANDARD
                    continue
                if kind == "entry":
                    texts = _texts(view, start, stop)
                    data |= {texts.get(2, "")} if texts.get(1) == "location" else set()
                    continue
                for field, first, last in _fields(view, start, stop):
                    inner = _MESSAGES[kind].get(field)
                    if inner is not None and first >= 0:
                        waiting.append((inner, first, last))
                        graphs += inner == "graph"
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"{path}: cannot be read ({reason.lower()})") from error
    except (ValueError, IndexError) as error:  # an empty file cannot be mapped
        raise WeightsError(
            f"{path}: cut short, or not an ONNX file ({error}). Download it again"
        ) from error
    if not graphs:
        raise WeightsError(f"{path}: not an ONNX file: it holds no graph")
    return References(tuple(sorted(data)), tuple(sorted(domains)))


def _texts(view: mmap.mmap, start: int, stop: int) -> dict[int, str]:
    """Return the text fields of a message by number."""
    return {
        field: view[first:last].decode("utf-8", "replace")
        for field, first, last in _fields(view, start, stop)
        if first >= 0
    }


def _fields(view: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the fields of a message; start -1 for plain numbers."""
    position = start
    while position < stop:
        key, position = _varint(view, position, stop)
        field, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, position = _varint(view, position, stop)
            if position + length > stop:
                raise ValueError(f"{position + length:,} bytes expected, it has {stop:,}")
            yield field, position, position + length
            position += length
        elif wire == _VARINT:
            _, position = _varint(view, position, stop)
            yield field, -1, -1
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
            yield field, -1, -1
        else:
            raise ValueError(f"byte {position:,} is of no field")


def _varint(view: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """Return a number of variable length, and the position after it."""
    value = shift = 0
    while True:
        if position >= stop or shift > 63:
            raise ValueError(f"byte {position:,} is not the number that it must be")
        byte = view[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
