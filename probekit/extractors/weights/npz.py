"""Safe reader of NumPy's npz files of weights.

The file is a zip archive of npy files. Arrays of Python objects, which can run code, are refused,
and so are archives that unpack to more than a limit.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probekit.errors import WeightsError
from probekit.utils.text import first_line

LIMIT = 2**31
"""Maximum size in bytes of all arrays of a file together."""

_SUFFIX = ".npy"


def is_npz(path: Path) -> bool:
    """Tell whether a file is a zip archive of npy files and nothing else."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    return bool(names) and all(name.endswith(_SUFFIX) for name in names)


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an npz file by name.

    Raises ``WeightsError`` if the file is damaged, larger than :data:`LIMIT`, or contains anything
    but arrays of numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LIMIT:
            raise WeightsError(f"{path}: must be at most {LIMIT >> 20} MB unpacked; not read")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path}: not arrays of numbers ({first_line(error)})") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise WeightsError(f"{path}: {name} must be an array of numbers, got {array.dtype}")
    return arrays


def to_tensors(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """Convert arrays to tensors of the same names, real numbers to float32."""
    return {
        name: torch.from_numpy(
            np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else None)
        )
        for name, array in arrays.items()
    }


def take(arrays: dict[str, npt.NDArray[Any]], path: Path, name: str) -> npt.NDArray[np.float32]:
    """Remove an array from a file's and return it as float32; raise if there is none.

    An array ``NAME_int8`` is multiplied by ``NAME_scale``, one factor for each output channel or
    one for all; its kernel's last axis, or the one before if the last has length 1, is the
    channels'.
    """
    array = arrays.pop(name, None)
    if array is not None:
        return np.asarray(array, np.float32)
    if f"{name}_int8" not in arrays or f"{name}_scale" not in arrays:
        raise WeightsError(f"{path}: no array {name}; the file is of another network")
    rounded, scale = arrays.pop(f"{name}_int8"), arrays.pop(f"{name}_scale")
    if rounded.ndim > 1 and rounded.shape[-1] == 1:
        scale = scale[:, None]
    try:
        return np.asarray(rounded.astype(np.float32) * scale.astype(np.float32), np.float32)
    except ValueError as error:
        raise WeightsError(
            f"{path}: {name}_scale must have a factor for each channel of {name}_int8, "
            f"{rounded.shape}, got {scale.shape}"
        ) from error
