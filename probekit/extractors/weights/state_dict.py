"""Weights as tensors: read from a file without running anything in it, or made from a seed.

A file is read as tensors only: ``torch.load(weights_only=True)``, arrays in a pickle through
:mod:`probekit.extractors.weights.safe_pickle`, Keras files by the network's own ``read_weights`` on HDF5.
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
from probekit.extractors.weights import diagnosis, safe_pickle
from probekit.extractors.weights.source import WeightsSource

_HDF5 = (b"\x89HDF\r\n\x1a\n", b"\x1f\x8b")  # as it is, and gzip'ed
Reader = Callable[[Path], dict[str, Tensor]]


def load_state_dict(
    source: WeightsSource, role: str, network: nn.Module | None, hdf5: Reader | None = None
) -> dict[str, Tensor]:
    """Read weights as a state dict, or make them from a seed.

    Parameters
    ----------
    source : Source
        From :func:`probekit.extractors.weights.source.resolve`.
    role : str
        Which file of the card; used in messages.
    network : torch.nn.Module or None
        The network that random weights are made for.
    hdf5 : callable, optional
        Reads the HDF5 files of this network, also gzip'ed ones.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    WeightsError
        If the file is not a file of tensors.
    """
    if source.seed is not None:
        if network is None:
            raise WeightsError(f"the {role} weights cannot be random: there is no network")
        return random_init(network, source.seed)
    assert source.path is not None
    path = source.path
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(
            f"{path}: an HTML or XML page, not weights; the download was probably refused"
        )
    if hdf5 is not None and head.startswith(_HDF5):
        return hdf5(path)
    try:
        content = _content(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds more than tensors, or is damaged; it is not loaded, since such a file "
            f"can run code. ({_reason(error)})"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise WeightsError(
            f"{path}: not a file of weights that torch can read ({_reason(error)})"
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a state dict")
    return content


def _reason(error: Exception) -> str:
    """Return the sentence that says what is wrong; torch puts a page of advice around it."""
    text = " ".join(str(error).split())
    for before in ("trusted source. ", "WeightsUnpickler error: "):
        text = text.rpartition(before)[2]
    for after in (" Please use", " Check the documentation", " This is an internal"):
        text = text.partition(after)[0]
    return text or type(error).__name__


def _content(path: Path) -> Any:
    """Read a file of tensors or arrays without running anything in it."""
    if path.suffix == ".pkl":
        return safe_pickle.read_pickle(path)
    with safe_pickle.allow_arrays(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of pickle protocols: no matter of the user's
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    return safe_pickle.to_tensors(loaded)


def load_strict(
    network: nn.Module,
    state: Mapping[str, Tensor],
    label: str | Path,
    optional: Callable[[str], bool] = lambda key: False,
) -> None:
    """Give a network its weights, if every tensor is there, known, and of the right shape.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place; not changed where something does not fit.
    state : mapping of str to Tensor
        A state dict in the network's keys.
    label : str or pathlib.Path
        What the weights are called in messages: a path, or ``"talnet: main weights"``.
    optional : callable
        Says of a key whether it may be absent; the network then keeps its own value. Nothing may
        be absent by default.

    Raises
    ------
    WeightsError
        Names the missing, unexpected and misshapen tensors, a few of each; says, where the names
        do not fit, whose weights they look like, and what else the names tell.
    """
    own = network.state_dict()
    missing = [
        f"{key} {tuple(value.shape)}"
        for key, value in own.items()
        if key not in state and not optional(key)
    ]
    unexpected = [str(key) for key in state if key not in own]
    misshapen = []
    for key, value in state.items():
        if key not in own:
            continue
        given = tuple(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
        if given != tuple(own[key].shape):
            misshapen.append(f"{key}: {given} given, {tuple(own[key].shape)} needed")
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(faults.values()):
        lines = [f"  {len(f)} {what}: {_some(f)}" for what, f in faults.items() if f]
        if missing or unexpected:
            lines += [f"  {hint}" for hint in diagnosis.diagnose_mismatch(network, state)]
        raise WeightsError(f"{label}: they do not fit the network.\n" + "\n".join(lines))
    network.load_state_dict(dict(state), strict=False)


def _some(names: list[str], most: int = 4) -> str:
    """Join a few names, and say how many more there are."""
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def random_init(network: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return random weights for a network: the same for the same seed on every machine.

    Matrices and kernels are normal with variance 2 / fan-in (He et al., 2015); biases are zero;
    normalization layers, other vectors and buffers keep the values that the network starts with
    where those are constants.

    Parameters
    ----------
    network : torch.nn.Module
        Names and shapes are taken from it.
    seed : int >= 0
        Together with each tensor's name it decides the tensor.

    Returns
    -------
    dict of str to Tensor
        A complete state dict.
    """
    state = network.state_dict()
    trained = dict(network.named_parameters())
    for name, value in state.items():
        if name not in trained:
            continue
        if value.ndim >= 2:
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            fan_in = value[0].numel()
            drawn = rng.standard_normal(tuple(value.shape), dtype=np.float32)
            state[name] = torch.from_numpy(drawn * np.float32(np.sqrt(2.0 / fan_in)))
        elif name.endswith("bias") or "bias_" in name:
            state[name] = torch.zeros_like(value)
    return state
