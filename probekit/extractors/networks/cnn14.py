"""CNN14 of PANNs (Kong et al., IEEE/ACM TASLP 28, 2020), with the keys of its checkpoint."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import Head, Outputs, WholeClipExtractor

_N_FFT, _HOP_LENGTH = 1024, 320


class Kernel(nn.Module):
    """A constant kernel with the key ``weight``."""

    weight: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", values)


class Transform(nn.Module):
    """The windowed Fourier kernels that the checkpoint carries; they are checked, not used."""

    def __init__(self) -> None:
        super().__init__()
        bins = torch.arange(_N_FFT // 2 + 1)[:, None]
        turns = bins * torch.arange(_N_FFT) % _N_FFT  # whole numbers: exact phases
        phase = turns.double() * (2 * math.pi / _N_FFT)
        window = frontends.hann(_N_FFT, torch.float64)
        self.conv_real = Kernel((phase.cos() * window).float()[:, None])
        self.conv_imag = Kernel((-phase.sin() * window).float()[:, None])


class Spectrogram(nn.Module):
    """Adds the level ``stft`` to the keys of :class:`Transform`."""

    def __init__(self) -> None:
        super().__init__()
        self.stft = Transform()


class LogMel(nn.Module):
    """The mel filterbank, shape (513, 64), under the checkpoint's key."""

    melW: Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = frontends.mel_filterbank(
            sr=32000,
            n_fft=_N_FFT,
            n_mels=64,
            fmin=50,
            fmax=14000,
            mel_scale="slaney",
            norm="slaney",
        )
        self.register_buffer("melW", bank)


class Block(nn.Module):
    """Two convolutions, each with batch norm and ReLU, and average pooling."""

    def __init__(self, in_channels: int, out_channels: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps of shape (pieces, channels, time, bands)."""
        maps = self.bn1(self.conv1(maps)).relu_()
        maps = self.bn2(self.conv2(maps)).relu_()
        return nn.functional.avg_pool2d(maps, self.pool) if self.pool > 1 else maps


class Network(nn.Module):
    """Twelve convolutions and two linear layers; 80,753,615 parameters, and constant kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram_extractor = Spectrogram()
        self.logmel_extractor = LogMel()
        self.bn0 = nn.BatchNorm2d(64)
        widths = (1, 64, 128, 256, 512, 1024, 2048)
        for number, pair in enumerate(pairwise(widths), start=1):
            self.add_module(f"conv_block{number}", Block(*pair, pool=2 if number < 6 else 1))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, 527)

    def forward(self, levels: Tensor) -> Tensor:
        """Run the convolutions on log-mel spectra in dB, shape (pieces, frames >= 32, 64).

        Returns the last maps, averaged over mel bands, shape (pieces, frames // 32, 2048).
        """
        return self.layers(levels)[-1]

    def layers(self, levels: Tensor) -> list[Tensor]:
        """Run the convolutions on log-mel spectra in dB, as :meth:`forward`.

        Returns the pooled maps of each of the six blocks, averaged over mel bands and over the
        spectra of a step, shape (pieces, frames // 32, 64) to (pieces, frames // 32, 2048).
        """
        maps = self.bn0(levels[:, None].transpose(1, 3)).transpose(1, 3)
        steps, outputs = levels.shape[1] // 32, []
        for number in range(1, 7):
            maps = self.get_submodule(f"conv_block{number}")(maps)
            means = maps.mean(3).transpose(1, 2)
            if number < 5:  # finer than a step
                finer = 2 ** (5 - number)
                means = means[:, : finer * steps].unflatten(1, (steps, finer)).mean(2)
            outputs.append(means)
        return outputs

    def embedding(self, steps: Tensor) -> Tensor:
        """Pool steps (pieces, time, 2048) by maximum plus mean and apply the first linear layer.

        Returns the last layer's input, shape (pieces, 2048).
        """
        embedding: Tensor = self.fc1(steps.amax(1) + steps.mean(1))
        return embedding.relu()


class CNN14(WholeClipExtractor):
    """CNN14 on whole clips, as in training and for tagging."""

    network: Network
    hann: Tensor
    min_samples = 31 * _HOP_LENGTH  # 32 frames, one step of the network
    batch_seconds = 80.0  # the last kernels take 150 MB: the more clips share them

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        self.register_buffer("hann", frontends.hann(_N_FFT, torch.float64), persistent=False)

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; the published file has the state dict under ``model``.

        Its Fourier kernels must be those of a Hann window of 1024 samples, since a fast transform
        replaces them; its mel filters are used.
        """
        inner: Any = states["main"].get("model")
        main = inner if isinstance(inner, dict) else states["main"]
        super().load_weights({**states, "main": main})
        kernels = self.network.spectrogram_extractor.stft.state_dict()
        for name, expected in Transform().state_dict().items():
            if not torch.allclose(kernels[name].cpu(), expected, rtol=0, atol=1e-4):
                raise WeightsError(
                    f"{self.card.name}: main weights: spectrogram_extractor.stft.{name} is not the "
                    "Fourier transform of 1024 samples under a Hann window"
                )

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return log-mel spectra in dB, shape (pieces, 1 + samples // 320, 64)."""
        return frontends.log_mel_spectrogram(
            pieces,
            n_fft=_N_FFT,
            hop_length=_HOP_LENGTH,
            window=self.hann,
            filterbank=self.network.logmel_extractor.melW,
            pad=_N_FFT // 2,
            pad_mode="reflect",
        )

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        layers = self.network.layers(features)
        outputs = {f"layer.{i}": layer for i, layer in enumerate(layers, start=1)}
        outputs["frames"] = layers[-1]
        if "embedding" in self.stream_names:
            outputs["embedding"] = self.network.embedding(outputs["frames"])
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer before the sigmoid, with the 527 AudioSet classes."""
        last = self.network.fc_audioset
        return Head(self.source_classes(), last.weight, last.bias, "embedding")


build = CNN14
