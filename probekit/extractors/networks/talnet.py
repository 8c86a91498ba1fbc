"""TALNet (Wang, Li and Metze, ICASSP 2019), with the keys of the author's checkpoint."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import Head, Outputs, WholeClipExtractor
from probekit.extractors.weights.state_dict import load_strict

HOP_LENGTH = 400  # 40 frames a second
MIN_SAMPLES = 4 * HOP_LENGTH  # one step of the network


class Block(nn.Module):
    """Convolution (with a bias: the author kept it), batch norm, ReLU, and perhaps max pooling."""

    def __init__(self, in_channels: int, out_channels: int, pool: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps of shape (pieces, channels, time, bands)."""
        maps = self.bn(self.conv(maps)).relu_()
        return nn.functional.max_pool2d(maps, self.pool) if self.pool else maps


class Network(nn.Module):
    """Ten convolutions, a bidirectional GRU and a linear layer; 9,980,527 parameters.

    Parameters
    ----------
    classes : int >= 1
        Number of classes; 527 for AudioSet.
    width : int >= 1
        Channels of the first two convolutions; 32 as published. The embedding has 32 times as
        many numbers.
    """

    def __init__(self, classes: int = 527, width: int = 32) -> None:
        super().__init__()
        channels = 1
        for number in range(1, 11):
            out = width * 2 ** ((number - 1) // 2)
            pool = ((2, 2) if number <= 4 else (1, 2)) if number % 2 == 0 else None
            self.add_module(f"conv{number}", Block(channels, out, pool))
            channels = out
        self.gru = nn.GRU(2 * channels, channels, batch_first=True, bidirectional=True)
        self.fc_prob = nn.Linear(2 * channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """Run all layers but the last on log-mel spectra, shape (pieces, frames >= 4, 64).

        Returns the GRU's output, as published 512 numbers forwards and 512 backwards, shape
        (pieces, frames // 2 // 2, 32 · width).
        """
        maps = features[:, None]
        for number in range(1, 11):
            maps = self.get_submodule(f"conv{number}")(maps)
        with torch.autocast(maps.device.type, enabled=False):  # rounding would add up over steps
            steps: Tensor = self.gru(maps.permute(0, 2, 1, 3).flatten(2).float())[0]
        return steps

    def probabilities(self, steps: Tensor) -> Tensor:
        """Return the probability of each class at each step, shape (pieces, time, classes)."""
        logits: Tensor = self.fc_prob(steps)
        return logits.float().sigmoid().clamp(1e-7, 1 - 1e-7)


class Normalizer(nn.Module):
    """Mean and standard deviation of each mel band over the training data.

    The initial values (-40 dB and 20 dB for all bands) are a stand-in, used with random weights.
    """

    mu: Tensor
    sigma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.full((64,), -40.0))
        self.register_buffer("sigma", torch.full((64,), 20.0))

    def forward(self, levels: Tensor) -> Tensor:
        """Normalize decibels, shape (pieces, frames, 64)."""
        return (levels - self.mu) / self.sigma


class LogMelLevels(frontends.LogMel):
    """Log-mel spectra in dB, shape (pieces, samples // 400, 64), before the floor is taken.

    The original centers a window of 1024 samples in transforms of 4096 samples, themselves centered
    at multiples of 400. Magnitudes do not depend on the place of a window in its transform, so that
    it is at the beginning here. Spectra are cropped before the floor is taken.
    """

    def __init__(self) -> None:
        super().__init__(
            sr=16000, n_fft=4096, hop_length=HOP_LENGTH, n_mels=64, win_length=1024, power=1.0
        )

    def forward(self, waves: Tensor) -> Tensor:
        """Return spectra of waveforms, shape (pieces, samples)."""
        return super().forward(waves)[:, : waves.shape[1] // HOP_LENGTH]


def limit_range(levels: Tensor) -> Tensor:
    """Raise levels that are more than 80 dB below the loudest of a piece."""
    return frontends.clip_top_db(levels, top_db=80.0)


class TALNet(WholeClipExtractor):
    """TALNet on whole clips: the GRU and the floor of the spectra depend on all of the clip."""

    network: Network
    min_samples = MIN_SAMPLES
    batch_seconds = 160.0  # steps of the GRU come one after another: the more clips at once

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        self.normalizer = Normalizer()
        self.log_mel = LogMelLevels()

    def weights_target(self, role: str) -> nn.Module | None:
        """Return the network for ``main``, the band statistics for ``normalizer``."""
        return self.normalizer if role == "normalizer" else super().weights_target(role)

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights and normalizer.

        The author's file has the state dict under ``model``, without the batch counters of batch
        norm; his normalizer is a pair (means, standard deviations). A file of weights that were
        trained here has it under ``normalizer``.
        """
        missing = {"main", "normalizer"} - set(states)
        if missing:
            raise WeightsError(f"{self.card.name} needs {' and '.join(sorted(missing))} weights")
        main, normalizer = states["main"], states["normalizer"]
        inner: Any = main.get("model")
        if isinstance(inner, dict):
            main = inner
        bundled: Any = normalizer.get("normalizer")
        if isinstance(bundled, dict):  # both in one file
            normalizer = bundled
        names = {"0": "mu", "1": "sigma"}
        normalizer = {names.get(key, key): value for key, value in normalizer.items()}
        load_strict(
            self.network,
            main,
            f"{self.card.name}: main weights",
            optional=lambda key: key.endswith(".num_batches_tracked"),
        )
        load_strict(self.normalizer, normalizer, f"{self.card.name}: normalizer weights")
        if not (self.normalizer.mu.isfinite().all() and (self.normalizer.sigma > 0).all()):
            raise WeightsError(
                f"{self.card.name}: normalizer weights: means must be finite and deviations > 0"
            )

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return normalized log-mel spectra, shape (pieces, samples // 400, 64)."""
        normalized: Tensor = self.normalizer(limit_range(self.log_mel(pieces)))
        return normalized

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        outputs = {"gru": self.network(features)}
        if "probabilities" in self.stream_names:
            outputs["probabilities"] = self.network.probabilities(outputs["gru"])
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer before the sigmoid, with the 527 AudioSet classes."""
        last = self.network.fc_prob
        return Head(self.source_classes(), last.weight, last.bias, "gru", "lin")


build = TALNet
