"""YAMNet (Plakal and Ellis, tensorflow/models): MobileNet of 14 layers, trained on AudioSet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import Head, Outputs, WindowedExtractor
from probekit.extractors.weights import keras, npz

SAMPLE_RATE = 16000
CLASSES = 521
EPSILON = 1e-4  # of batch normalization, which has no factors
WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
Array = npt.NDArray[np.floating[Any]]
STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding ``SAME``, and a ReLU.

    With stride 2 and an even size, which all sizes here are, a zero follows and none precedes.
    """

    def __init__(self, channels: int, width: int, size: int, stride: int, groups: int = 1) -> None:
        padding = 0 if stride == 2 else size // 2
        super().__init__(channels, width, size, stride, padding, groups=groups)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply the convolution and the ReLU to maps, shape (patches, channels, time, bands)."""
        if self.stride == (2, 2):
            maps = nn.functional.pad(maps, (0, 1, 0, 1))
        return super().forward(maps).relu_()


class Separable(nn.Module):
    """A convolution of each channel by itself, then one of 1 x 1 over all channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.depthwise_conv = Convolution(channels, channels, 3, stride, groups=channels)
        self.pointwise_conv = Convolution(channels, width, 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Apply both, each with a ReLU."""
        output: Tensor = self.pointwise_conv(self.depthwise_conv(maps))
        return output


class Network(nn.Module):
    """14 convolutions, 13 of them separable, and a dense layer; 3,729,481 parameters.

    Batch normalization is part of the convolutions, whose biases it makes.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 1
        for i, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True), start=1):
            layer = (
                Convolution(1, width, 3, stride) if i == 1 else Separable(channels, width, stride)
            )
            self.add_module(f"layer{i}", layer)
            channels = width
        self.dense = nn.Linear(channels, CLASSES)

    def forward(self, patches: Tensor) -> list[Tensor]:
        """Run the layers on log-mel spectrograms, shape (patches, 1, 96 frames, 64 bands).

        Returns each layer's output averaged over time and frequency, shape (patches, width); the
        last one is the input of ``dense``.
        """
        means, maps = [], patches
        for i in range(1, len(WIDTHS) + 1):
            maps = self.get_submodule(f"layer{i}")(maps)
            means.append(maps.mean((2, 3)))
        return means


class YAMNet(WindowedExtractor):
    """YAMNet on windows of 0.975 s, one every 0.48 s."""

    network: Network
    window = 400 + 95 * 160
    hop = 48 * 160
    keep_tail = True
    batch_seconds = 64.0

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        self.log_mel = frontends.AudioSetLogMel(0.001)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return ln(mel + 0.001) of magnitude spectra, shape (pieces, 1, 96, 64)."""
        spectra: Tensor = self.log_mel(pieces)
        return spectra

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        means = self.network(features)
        outputs = {f"layer.{i}": mean for i, mean in enumerate(means, start=1)}
        outputs["embedding"] = means[-1]
        if "scores" in self.stream_names:
            outputs["scores"] = self.network.dense(means[-1]).sigmoid()
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer of 521 AudioSet classes."""
        last = self.network.dense
        classes = self.source_classes()
        return Head(classes, last.weight.detach(), last.bias.detach(), "embedding", "mean")


def _layer_names() -> list[str]:
    """Return the names of the convolutions, in the network's order, as files have them."""
    names = ["layer1"]
    for i in range(2, len(WIDTHS) + 1):
        names += [f"layer{i}.depthwise_conv", f"layer{i}.pointwise_conv"]
    return names


def _to_weight(kernel: Array) -> Tensor:
    """Convert a kernel from (height, width, in, out), or (…, channels, 1), to (out, in, …)."""
    depthwise = kernel.ndim == 4 and kernel.shape[3] == 1 and kernel.shape[2] > 1
    axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(axes)))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the official ``yamnet.h5``, or an npz file, as a state dict of :class:`Network`.

    The former has batch normalization, which becomes part of the convolutions. The latter has a
    kernel and a bias for each, under the names of the TensorFlow Lite file; kernels may be whole
    numbers of 8 bits with factors.
    """
    return _read_npz(path) if npz.is_npz(path) else _read_keras(path)


def _read_npz(path: Path) -> dict[str, Tensor]:
    """Read an npz file of kernels and biases."""
    arrays = npz.read_npz(path)
    state = {}
    for name in _layer_names():
        key = name.replace(".", "/")
        state[f"{name}.weight"] = _to_weight(_kernel(path, npz.take(arrays, path, f"{key}/kernel")))
        state[f"{name}.bias"] = torch.from_numpy(npz.take(arrays, path, f"{key}/bias"))
    state["dense.weight"] = torch.from_numpy(npz.take(arrays, path, "dense/kernel").T.copy())
    state["dense.bias"] = torch.from_numpy(npz.take(arrays, path, "dense/bias"))
    return {**state, **npz.to_tensors(arrays)}  # what remains is reported as unexpected


def _read_keras(path: Path) -> dict[str, Tensor]:
    """Read the official HDF5 file: a convolution, then its batch normalization, and so on."""
    layers = keras.read_layers(path)
    names = _layer_names()
    if len(layers) != 2 * len(names) + 1:
        raise WeightsError(
            f"{path}: must have {2 * len(names) + 1} layers with weights for this network, got "
            f"{len(layers)}: {', '.join(name for name, _ in layers)}"
        )
    state = {}
    for i, name in enumerate(names):
        (conv, kernels), (norm, statistics) = layers[2 * i], layers[2 * i + 1]
        if len(kernels) != 1 or not {"beta", "moving_mean", "moving_variance"} <= set(statistics):
            raise WeightsError(
                f"{path}: {conv} must be a convolution without bias and {norm} batch normalization"
            )
        kernel = _kernel(path, next(iter(kernels.values())).astype(np.float64))
        gain = np.asarray(statistics.get("gamma", 1.0)) / np.sqrt(
            statistics["moving_variance"].astype(np.float64) + EPSILON
        )
        bias = statistics["beta"] - statistics["moving_mean"] * gain
        weight = _to_weight(kernel)
        if weight.shape[:1] != bias.shape:
            raise WeightsError(f"{path}: {conv} and {norm} have different numbers of channels")
        state[f"{name}.weight"] = (weight * torch.from_numpy(gain)[:, None, None, None]).float()
        state[f"{name}.bias"] = torch.from_numpy(bias).float()
    return {**state, **keras.to_state_dict(path, layers[-1:], ["dense"])}


def _kernel(path: Path, kernel: Array) -> Array:
    """Return a kernel of four axes, or raise."""
    if kernel.ndim != 4:
        raise WeightsError(f"{path}: a kernel must have 4 axes, got the shape {kernel.shape}")
    return kernel


build = YAMNet
