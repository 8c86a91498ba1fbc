"""The compact tagging network of Choi et al. (ISMIR 2017), Keras 1 release, without its tags."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import CroppedExtractor, Outputs
from probekit.extractors.networks.convnet import POOLS, SAMPLE_RATE, Melgram
from probekit.extractors.weights import keras

WIDTH = 32
EPSILON = 1e-6

_MELGRAM = {"Variable": "real_kernels", "Variable_1": "imag_kernels", "Variable_2": "Variable"}


class Network(nn.Module):
    """Five convolutions of 32 channels; 37,632 parameters.

    Batch normalization has the statistics of what is normalized (mode 2 of Keras 1), here of each
    clip by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.melgram = Melgram()
        for i in range(1, 6):
            conv = nn.Conv2d(1 if i == 1 else WIDTH, WIDTH, 3, padding=1)
            self.add_module(f"convolution2d_{i}", conv)
            norm = nn.InstanceNorm2d(WIDTH, eps=EPSILON, affine=True)
            self.add_module(f"batchnormalization_{i}", norm)

    def forward(self, levels: Tensor) -> list[Tensor]:
        """Run the blocks on mel spectra in decibels, shape (clips, 1, 96, time >= 1280).

        Returns each block's means over frequency and time, after its pooling, shape (clips, 32).
        """
        means, x = [], levels
        for i, pool in enumerate(POOLS, start=1):
            x = self.get_submodule(f"convolution2d_{i}")(x)
            x = nn.functional.elu_(self.get_submodule(f"batchnormalization_{i}")(x))
            x = nn.functional.max_pool2d(x, pool)
            means.append(x.mean((2, 3)))
        return means


class CompactCNN(CroppedExtractor):
    """The network on 29 s: the first of a longer clip, repetitions of a shorter one."""

    network: Network
    samples = 29 * SAMPLE_RATE
    batch_seconds = 58.0

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def split(self, wave: Tensor) -> Tensor:
        """Return 29 s of the clip, repeated as often as needed, as one piece."""
        return wave.repeat(-(-self.samples // len(wave)))[None, : self.samples]

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return decibels below the clip's maximum, at most 80; shape (clips, 1, 96, 1360)."""
        levels = frontends.power_to_db(self.network.melgram(pieces))
        return (levels - levels.amax((1, 2), keepdim=True)).clamp_min(-80)[:, None]

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        means = self.network(features)
        outputs = {f"conv{i}": mean for i, mean in enumerate(means, start=1)}
        outputs["layers"] = torch.cat(means, 1)
        return {name: outputs[name] for name in self.stream_names}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the official HDF5 file as a state dict; it must have no running statistics in use."""
    state: dict[str, Tensor] = {}
    for layer, arrays in keras.read_layers(path):
        for name, array in arrays.items():
            match = re.fullmatch(r"(convolution2d_\d|batchnormalization_\d)_(\w+)", name)
            base, kind = match.groups() if match else (layer, name)
            if kind in ("running_mean", "running_std"):
                if np.any(array != (kind == "running_std")):
                    raise WeightsError(
                        f"{path}: {name} must be {'1' if kind == 'running_std' else '0'}, as in "
                        "the published file, whose network does not use it"
                    )
                continue
            kind = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}.get(kind, kind)
            kind = _MELGRAM.get(kind, kind) if layer == "melgram" else kind
            state[f"{base}.{kind}"] = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return state


build = CompactCNN
