"""Safe reader of Keras weights in HDF5.

The layout is that of ``Model.save_weights`` and ``Model.save`` up to Keras 2: an attribute
``layer_names``, a group for each layer with an attribute ``weight_names``, and the datasets that
it names; ``Model.save`` has these groups under ``model_weights``. Nothing in the file is run: the
model's description is not read, and links out of the file are refused.
"""

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit.errors import WeightsError
from probekit.utils.text import first_line

LIMIT = 512 * 2**20
"""Maximum size in bytes of an unpacked file, and of its arrays together."""

Array = npt.NDArray[np.floating[Any]]
Layers = list[tuple[str, dict[str, Array]]]

_MAX_LIST_BYTES = 2**20  # of one list of names; HDF5 itself limits them to 64 KiB
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_RENAMED = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_layers(path: Path) -> Layers:
    """Read the layers with weights of an HDF5 file, plain or gzip'ed, in the file's order.

    Weights are named by the last part of their name in the file, without its number: ``kernel``,
    ``moving_mean``. The optimizer's state is left out. Raises ``WeightsError`` if the file is not
    HDF5, is damaged or larger than :data:`LIMIT`, has another layout, or contains links, data
    outside of the file, or anything but floating-point arrays.
    """
    content = io.BytesIO(_content(path))
    try:
        with h5py.File(content, "r") as file:
            return _layers(path, file)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged HDF5 file ({first_line(error)})") from error


def to_state_dict(path: Path, layers: Layers, names: Sequence[str]) -> dict[str, Tensor]:
    """Convert layers from :func:`read_layers` to a state dict of torch, with a name for each.

    Kernels of convolutions go from (height, width, in, out) to (out, in, height, width), those of
    dense layers from (in, out) to (out, in). Batch normalization gets the counter
    ``num_batches_tracked``, which Keras does not have. All else is float32.
    """
    if len(layers) != len(names):
        raise WeightsError(
            f"{path}: must have {len(names)} layers with weights for this network, got "
            f"{len(layers)}: {', '.join(name for name, _ in layers)}"
        )
    state: dict[str, Tensor] = {}
    for name, (_, arrays) in zip(names, layers, strict=True):
        for key, array in arrays.items():
            if key == "kernel" and array.ndim > 1:
                array = np.moveaxis(array, (-1, -2), (0, 1))
            state[f"{name}.{_RENAMED.get(key, key)}"] = torch.from_numpy(
                np.ascontiguousarray(array, np.float32)
            )
        if "moving_variance" in arrays:
            state[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return state


def _content(path: Path) -> bytes:
    """Return the bytes of the HDF5 file, unpacked."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            content = (gzip.GzipFile(fileobj=stream) if packed else stream).read(LIMIT + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise WeightsError(f"{path}: damaged gzip file ({first_line(error)})") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error
    if len(content) > LIMIT:
        raise WeightsError(f"{path}: must be at most {LIMIT >> 20} MB unpacked; not read")
    if content[:512].lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path}: an HTML or XML page, not weights; the download was probably refused"
        )
    if not content.startswith(_SIGNATURE):
        raise WeightsError(f"{path}: not an HDF5 file")
    return content


def _layers(path: Path, file: h5py.File) -> Layers:
    """Read the layers of an open file."""
    root = file
    if "layer_names" not in file.attrs and "model_weights" in file:
        root = _get_object(path, file, "model_weights")
    if "layer_names" not in root.attrs:
        raise WeightsError(f"{path}: no attribute layer_names: not a weights file of Keras 1 or 2")
    layers: Layers = []
    budget = LIMIT
    for layer in _names(path, root, "layer_names"):
        group = _get_object(path, root, layer)
        arrays: dict[str, Array] = {}
        for weight in _names(path, group, "weight_names"):
            array = _read(path, _get_object(path, group, weight), weight, budget)
            budget -= array.nbytes
            short = weight.rpartition("/")[2].partition(":")[0]
            if short in arrays:
                raise WeightsError(f"{path}: layer {layer} has two weights named {short}")
            arrays[short] = array
        if arrays:
            layers.append((layer, arrays))
    if not layers:
        raise WeightsError(f"{path}: no layer has weights")
    return layers


def _names(path: Path, group: h5py.Group, key: str) -> list[str]:
    """Read an attribute that lists names."""
    if key not in group.attrs:
        raise WeightsError(f"{path}: {group.name} has no attribute {key}")
    attribute = group.attrs.get_id(key)
    if math.prod(attribute.shape) == 0:  # Keras writes an empty list as an array of numbers
        return []
    if h5py.check_string_dtype(attribute.dtype) is None:
        raise WeightsError(f"{path}: {group.name}: {key} is not a list of names")
    if math.prod(attribute.shape) * attribute.dtype.itemsize > _MAX_LIST_BYTES:
        raise WeightsError(f"{path}: {group.name}: {key} is too long to be a list of names")
    values = np.atleast_1d(group.attrs[key])
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


def _get_object(path: Path, group: h5py.Group, name: str) -> Any:
    """Return the object of a name; soft and external links are refused."""
    node: Any = group
    for part in name.split("/"):
        if part in ("", ".") or not isinstance(node, h5py.Group):
            raise WeightsError(f"{path}: {group.name}: {name!r} is not a name of an object")
        link = node.get(part, getlink=True)
        if link is None:
            raise WeightsError(f"{path}: {group.name} lacks {name}")
        if not isinstance(link, h5py.HardLink):
            raise WeightsError(
                f"{path}: {name} is a link ({type(link).__name__}), not weights; not followed"
            )
        node = node[part]
    return node


def _read(path: Path, dataset: Any, name: str, budget: int) -> Array:
    """Read one array of at most ``budget`` bytes."""
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(f"{path}: {name} is a {type(dataset).__name__}, not an array")
    if dataset.external or dataset.is_virtual:
        raise WeightsError(f"{path}: the values of {name} are in another file; not read")
    if dataset.dtype.kind != "f" or dataset.shape is None:
        raise WeightsError(f"{path}: {name} must be floating-point numbers, got {dataset.dtype}")
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size > budget:
        raise WeightsError(
            f"{path}: {name} has the shape {dataset.shape}; arrays must take at most "
            f"{LIMIT >> 20} MB together; not read"
        )
    return np.asarray(dataset[()])
