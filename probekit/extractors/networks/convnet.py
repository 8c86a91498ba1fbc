"""The tagging network of "Transfer learning for music classification" (Choi et al., ISMIR 2017)."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import CroppedExtractor, Head, Outputs
from probekit.extractors.weights import keras

SAMPLE_RATE = 12000
N_FFT = 512
HOP_LENGTH = 256
N_MELS = 96
POOLS = ((2, 4), (3, 4), (2, 5), (2, 4), (4, 4))  # frequency, time
FRAMES = 17  # steps of the stream ``frames``: those of the fourth block

_LAYERS = ["melgram"]
for _i in range(1, 6):
    _LAYERS += [f"conv2d_{_i}", f"batch_normalization_{_i}"]
_LAYERS.append("dense_1")


class Melgram(nn.Module):
    """Mel power spectra, with the transform and the filters of the weights file.

    The initial values are those of the file up to float32 rounding: a discrete Fourier transform
    under a periodic Hann window, and Slaney's mel filters of unit area.
    """

    real_kernels: Tensor
    imag_kernels: Tensor
    Variable: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = torch.arange(N_FFT, dtype=torch.float64)[:, None]
        phase = 2 * math.pi / N_FFT * n * torch.arange(N_FFT // 2 + 1)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi / N_FFT * n)
        for name, wave in (("real_kernels", phase.cos()), ("imag_kernels", phase.sin())):
            self.register_buffer(name, (window * wave).float()[:, None, None])
        bank = frontends.mel_filterbank(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)
        self.register_buffer("Variable", bank)

    def forward(self, waves: Tensor) -> Tensor:
        """Return mel power spectra, shape (clips, 96, ceil(samples / 256)), of waveforms.

        Zeros are added at both ends; of a waveform of 348,000 samples, frame k starts at sample
        256 k - 208.
        """
        samples = waves.shape[1]
        missing = (-(-samples // HOP_LENGTH) - 1) * HOP_LENGTH + N_FFT - samples
        padded = nn.functional.pad(waves, (missing // 2, missing - missing // 2))
        frames = padded.unfold(1, N_FFT, HOP_LENGTH)
        real = frames @ self.real_kernels[:, 0, 0]
        imag = frames @ self.imag_kernels[:, 0, 0]
        return ((real.square() + imag.square()) @ self.Variable).transpose(1, 2)


class Network(nn.Module):
    """Five convolutions of 32 channels and a dense layer of 50 tags; 39,282 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.melgram = Melgram()
        for i in range(1, 6):
            self.add_module(f"conv2d_{i}", nn.Conv2d(1 if i == 1 else 32, 32, 3, padding=1))
            self.add_module(f"batch_normalization_{i}", nn.BatchNorm2d(32, eps=1e-3))
        self.dense_1 = nn.Linear(32, 50)

    def forward(self, spectra: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run the blocks on normalized mel spectra, shape (clips, 1, 96, time >= 1280).

        Returns each block's maps before its pooling, shape (clips, 32, frequency, time), and the
        maximum of the last block's pooled maps, shape (clips, 32): the input of ``dense_1``.
        """
        maps, x = [], spectra
        for i, pool in enumerate(POOLS, start=1):
            x = self.get_submodule(f"conv2d_{i}")(x)
            x = nn.functional.elu_(self.get_submodule(f"batch_normalization_{i}")(x))
            maps.append(x)
            x = nn.functional.max_pool2d(x, pool)
        return maps, x.amax((2, 3))


class Convnet(CroppedExtractor):
    """The network on the first 29 s of a clip."""

    network: Network
    samples = 29 * SAMPLE_RATE
    batch_seconds = 58.0  # the first block's maps take 17 MB a clip

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return normalized mel spectra, shape (clips, 1, 96, 1360).

        They are in decibels, floored 80 dB below the clip's maximum, with mean 0 and standard
        deviation 1 over the clip; zeros for silence.
        """
        levels = frontends.power_to_db(self.network.melgram(pieces))
        # the maximum first: silence is then exactly 0, and not rounding divided by rounding
        levels = (levels - levels.amax((1, 2), keepdim=True)).clamp_min(-80)
        levels = levels - levels.mean((1, 2), keepdim=True)
        spread = levels.square().mean((1, 2), keepdim=True).sqrt()
        return (levels / (spread + 1e-10))[:, None]

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        maps, max5 = self.network(features)
        means = [x.mean((2, 3)) for x in maps]
        outputs = {"max5": max5, "layers": torch.cat(means, 1)}
        outputs |= {f"block{i}": mean for i, mean in enumerate(means, start=1)}
        if "frames" in self.stream_names:
            outputs["frames"] = torch.cat([_steps(x.mean(2)) for x in maps], 1).transpose(1, 2)
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer of 50 tags of the Million Song Dataset."""
        last = self.network.dense_1
        names = self.source_classes()
        return Head(names, last.weight.detach(), last.bias.detach(), "max5")


def _steps(maps: Tensor) -> Tensor:
    """Put maps over time, shape (clips, 32, time), on the 17 steps of the fourth block.

    Finer ones are averaged. Each of the fifth block's four steps is repeated for the four that it
    covers, and the last one once more, since its pooling drops the seventeenth.
    """
    time = maps.shape[2]
    if time >= FRAMES:
        return maps.unflatten(2, (FRAMES, time // FRAMES)).mean(3)
    repeated = maps.repeat_interleave(FRAMES // time, dim=2)
    return torch.cat([repeated, maps[:, :, -1:]], 2)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read ``model_best.hdf5`` as a state dict of :class:`Network`."""
    return keras.to_state_dict(path, keras.read_layers(path), _LAYERS)


build = Convnet
