"""The convolutional recurrent tagging network of Choi et al. (ICASSP 2017), Keras 1 release."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import CroppedExtractor, Head, Outputs
from probekit.extractors.weights import keras
from probekit.extractors.weights import npz as npz_files

SAMPLE_RATE = 12000
N_FFT = 512
HOP_LENGTH = 256
N_MELS = 96
FRAMES = 1366
MARGIN = 37  # frames of zeros at both ends
WIDTHS = (64, 128, 128, 128)
POOLS = (2, 3, 4, 4)
EPSILON = 1e-3
UNITS = 32

_KINDS = {"W": "weight", "b": "bias", "gamma": "weight", "beta": "bias"}
_KINDS |= {"running_mean": "running_mean", "running_std": "running_var"}  # holds variances


class GRU(nn.Module):
    """A gated recurrent unit as in Keras 1: hard sigmoids, and a reset before the product."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        for gate in "zrh":
            self.register_parameter(f"W_{gate}", nn.Parameter(torch.zeros(inputs, units)))
            self.register_parameter(f"U_{gate}", nn.Parameter(torch.zeros(units, units)))
            self.register_parameter(f"bias_{gate}", nn.Parameter(torch.zeros(units)))

    def forward(self, steps: Tensor) -> Tensor:
        """Return the states, shape (clips, time, units), for inputs (clips, time, inputs)."""
        get = self.get_parameter
        z_in, r_in, h_in = (steps @ get(f"W_{gate}") + get(f"bias_{gate}") for gate in "zrh")
        state = z_in.new_zeros(z_in[:, 0].shape)
        states = []
        for k in range(steps.shape[1]):
            update = _hard_sigmoid(z_in[:, k] + state @ get("U_z"))
            reset = _hard_sigmoid(r_in[:, k] + state @ get("U_r"))
            proposed = torch.tanh(h_in[:, k] + (reset * state) @ get("U_h"))
            state = update * state + (1 - update) * proposed
            states.append(state)
        return torch.stack(states, 1)


def _hard_sigmoid(x: Tensor) -> Tensor:
    """Return Keras's approximation of the logistic function, clipped to [0, 1]."""
    return (0.2 * x + 0.5).clamp(0, 1)


class Network(nn.Module):
    """Four convolutions, two recurrent layers and a dense layer; 396,786 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.bn_0_freq = nn.BatchNorm1d(FRAMES + 2 * MARGIN, eps=EPSILON)
        channels = 1
        for i, width in enumerate(WIDTHS, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, width, 3, padding=1))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width, eps=EPSILON))
            channels = width
        self.gru1 = GRU(channels, UNITS)
        self.gru2 = GRU(UNITS, UNITS)
        self.output = nn.Linear(UNITS, 50)

    def forward(self, levels: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Run the layers on mel spectra in decibels, shape (clips, 96, 1366).

        Returns the means over frequency and time of each convolution's output before its pooling,
        shape (clips, width), and the states of both recurrent layers, shape (clips, 15, 32).
        """
        padded = nn.functional.pad(levels, (MARGIN, MARGIN))
        x = self.bn_0_freq(padded.transpose(1, 2)).transpose(1, 2)[:, None]
        means = []
        for i, pool in enumerate(POOLS, start=1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            x = nn.functional.elu_(x)
            means.append(x.mean((2, 3)))
            x = nn.functional.max_pool2d(x, pool)
        first = self.gru1(x[:, :, 0].transpose(1, 2))
        return means, first, self.gru2(first)


class CRNNTagger(CroppedExtractor):
    """The network on the first 29.12 s of a clip."""

    network: Network
    hann: Tensor
    filterbank: Tensor
    samples = 349440
    batch_seconds = 60.0  # the first convolution's maps take 35 MB a clip

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        bank = frontends.mel_filterbank(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
        self.register_buffer("hann", frontends.hann(N_FFT, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return decibels of squared mel powers, at most 80 below the clip's loudest.

        Shape (clips, 96, 1366). The waveform is mirrored at its ends.
        """
        half = N_FFT // 2
        padded = nn.functional.pad(pieces.double(), (half, half), mode="reflect")
        mel = frontends.mel_spectrogram(
            padded,
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            window=self.hann,
            filterbank=self.filterbank,
        )
        levels = frontends.power_to_db(mel.double().square()).float()
        return frontends.clip_top_db(levels).transpose(1, 2)

    def embed(self, features: Tensor) -> Outputs:
        """Run the network; the recurrent layers are float32 at every precision."""
        means, first, second = self.network(features)
        outputs = {f"conv{i}": mean for i, mean in enumerate(means, start=1)}
        outputs |= {"gru1": first.mean(1), "embedding": second[:, -1]}
        if "tags" in self.stream_names:
            outputs["tags"] = self.network.output(second[:, -1]).sigmoid()
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer of 50 tags of the Million Song Dataset."""
        last = self.network.output
        tags = self.source_classes()
        return Head(tags, last.weight.detach(), last.bias.detach(), "embedding")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the official HDF5 file, or an npz file of its arrays, as a state dict."""
    state: dict[str, Tensor] = {}
    for name, array in _arrays(path).items():
        match = re.fullmatch(r"(bn_0_freq|bn[1-4]|conv[1-4]|gru[12]|output)_(\w+)", name)
        layer, kind = match.groups() if match else ("", name)
        if layer.startswith("gru"):
            kind = kind.replace("b_", "bias_")
        elif layer == "output" and kind == "W":
            array = array.T
        key = f"{layer}.{_KINDS.get(kind, kind)}" if layer else name
        state[key] = torch.from_numpy(np.ascontiguousarray(array, np.float32))
        if kind == "running_std":
            state[f"{layer}.num_batches_tracked"] = torch.tensor(0)
    return state


def _arrays(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """Return the arrays by layer and kind: ``conv1_W``, ``bn1_gamma``, ``gru1_U_z``."""
    if npz_files.is_npz(path):
        return npz_files.read_npz(path)
    return {
        name.removesuffix("_1"): array
        for _, arrays in keras.read_layers(path)
        for name, array in arrays.items()
    }


build = CRNNTagger
