"""State dicts: read from files without running code in them, loaded strictly, or drawn at random.

Files of torch are read with ``torch.load(weights_only=True)``, arrays in a pickle by
:mod:`probekit.extractors.weights.safe_pickle`; HDF5, npz and TensorFlow's checkpoints by the
network's ``read_weights``. An npz file with the names of the state dict needs no such function.
"""

import pickle
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probekit.errors import WeightsError
from probekit.extractors.weights import npz, safe_pickle, tensor_bundle
from probekit.extractors.weights.source import WeightsSource

_HDF5 = (b"\x89HDF\r\n\x1a\n", b"\x1f\x8b")  # plain and gzip'ed
Reader = Callable[[Path], dict[str, Tensor]]


class MismatchError(WeightsError):
    """A state dict has other names than the network: ``network`` and ``state`` are kept."""

    def __init__(self, message: str, network: nn.Module, state: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.network, self.state = network, state


def load_state_dict(
    source: WeightsSource, role: str, network: nn.Module | None, reader: Reader | None = None
) -> dict[str, Tensor]:
    """Read weights as a state dict on the CPU, or draw random ones.

    Parameters
    ----------
    source : WeightsSource
        The file or the seed.
    role : str
        Name of the weights file in the card, for messages.
    network : torch.nn.Module or None
        The network of random weights.
    reader : callable, optional
        Reader of this network's HDF5 files, plain or gzip'ed, npz files and checkpoints.

    Raises
    ------
    WeightsError
        If the file is not a file of tensors.
    """
    if source.seed is not None:
        if network is None:
            raise WeightsError(f"{role} weights must not be random: they belong to no network")
        return random_init(network, source.seed)
    assert source.path is not None
    path = source.path
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path}: an HTML or XML page, not weights; the download was probably refused"
        )
    if npz.is_npz(path):
        return reader(path) if reader else npz.to_tensors(npz.read_npz(path))
    if reader is not None and (head.startswith(_HDF5) or tensor_bundle.is_data_file(path)):
        return reader(path)
    try:
        content = _content(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: contains more than tensors, or is damaged; not loaded, since such a file can "
            f"run code ({_reason(error)})"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(
            f"{path}: not a file of weights that torch can read ({_reason(error)})"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: must contain a state dict, got {type(content).__name__}")
    return content


def _reason(error: Exception) -> str:
    """Return the sentence with the cause, without the page of advice that torch puts around it."""
    text = " ".join(str(error).split())
    for before in ("trusted source. ", "WeightsUnpickler error: "):
        text = text.rpartition(before)[2]
    for after in (" Please use", " Check the documentation", " This is an internal"):
        text = text.partition(after)[0]
    return text or type(error).__name__


def _content(path: Path) -> Any:
    """Read a file of tensors or arrays without running code in it."""
    if path.suffix == ".pkl":
        return safe_pickle.read_pickle(path)
    with safe_pickle.allow_arrays(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about pickle protocols
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    return safe_pickle.to_tensors(loaded)


def load_strict(
    network: nn.Module,
    state: Mapping[str, Tensor],
    label: str | Path,
    optional: Callable[[str], bool] = lambda key: False,
) -> None:
    """Load a state dict into a network if all keys and shapes match; else change nothing.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    state : mapping of str to Tensor
        The state dict.
    label : str or pathlib.Path
        Name of the weights in messages: a path, or ``"talnet: main weights"``.
    optional : callable
        Tells whether a key may be missing; the network then keeps its value.

    Raises
    ------
    WeightsError
        With a few of the missing, unexpected and misshapen tensors; a :class:`MismatchError` where
        names differ.
    """
    expected = network.state_dict()
    missing = [
        f"{key} {tuple(value.shape)}"
        for key, value in expected.items()
        if key not in state and not optional(key)
    ]
    unexpected = [str(key) for key in state if key not in expected]
    misshapen = []
    for key, value in state.items():
        if key not in expected:
            continue
        shape = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        if shape != tuple(expected[key].shape):
            misshapen.append(f"{key}: must be {tuple(expected[key].shape)}, got {shape}")
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(faults.values()):
        lines = [f"  {len(f)} {what}: {_summarize(f)}" for what, f in faults.items() if f]
        text = f"{label}: does not fit the network.\n" + "\n".join(lines)
        raise MismatchError(text, network, state) if missing or unexpected else WeightsError(text)
    network.load_state_dict(dict(state), strict=False)


def _summarize(names: list[str], limit: int = 4) -> str:
    """Return the first names, and how many more there are."""
    more = f"; and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def random_init(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Draw a network's weights at random, the same for a seed on every machine.

    Matrices and kernels are normal with variance 2 / fan-in (He et al., 2015), drawn from the seed
    and the tensor's name; biases are zero; all others keep the values of the network.

    Returns
    -------
    dict of str to torch.Tensor
        The network's state dict. The network has these weights too: they are drawn in place, as a
        copy of a large network takes as much memory again.
    """
    state = network.state_dict()
    trained = dict(network.named_parameters())
    for name, value in state.items():
        if name not in trained:
            continue
        if value.ndim >= 2:
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            drawn = value if value.is_contiguous() else torch.empty(value.shape)
            numbers = drawn.numpy()  # shares the memory
            rng.standard_normal(out=numbers, dtype=np.float32)
            numbers *= np.float32(np.sqrt(2.0 / value[0].numel()))
            if drawn is not value:
                value.copy_(drawn)
        elif name.endswith("bias") or "bias_" in name:
            value.zero_()
    return state
