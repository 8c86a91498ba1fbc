"""TALNet (Wang, Li and Metze, ICASSP 2019), with the keys of the author's checkpoint."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import Extractor, Head, Outputs
from probekit.extractors.weights.state_dict import load_strict

_HOP = 400  # samples between spectra: 40 a second
_SHORTEST = 4 * _HOP  # one step of the network


class Block(nn.Module):
    """Convolution (with a bias: the author kept it), batch norm, ReLU, and perhaps max pooling."""

    def __init__(self, before: int, after: int, pool: tuple[int, int] | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.bn = nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, maps: Tensor) -> Tensor:
        """Transform maps of shape (pieces, channels, time, bands)."""
        maps = self.bn(self.conv(maps)).relu_()
        return nn.functional.max_pool2d(maps, self.pool) if self.pool else maps


class Network(nn.Module):
    """Ten convolutions, a bidirectional GRU and a linear layer; 9,980,527 parameters."""

    def __init__(self) -> None:
        super().__init__()
        before = 1
        for number in range(1, 11):
            after = 32 * 2 ** ((number - 1) // 2)
            pool = ((2, 2) if number <= 4 else (1, 2)) if number % 2 == 0 else None
            self.add_module(f"conv{number}", Block(before, after, pool))
            before = after
        self.gru = nn.GRU(1024, 512, batch_first=True, bidirectional=True)
        self.fc_prob = nn.Linear(1024, 527)

    def forward(self, features: Tensor) -> Tensor:
        """Run everything before the last layer.

        Parameters
        ----------
        features : Tensor, shape (pieces, frames, 64), frames >= 4
            Normalized log-mel spectra, 40 a second.

        Returns
        -------
        Tensor, shape (pieces, frames // 2 // 2, 1024)
            The GRU's output, 512 numbers forwards and 512 backwards.
        """
        maps = features[:, None]
        for number in range(1, 11):
            maps = self.get_submodule(f"conv{number}")(maps)
        with torch.autocast(maps.device.type, enabled=False):  # rounding would add up over steps
            steps: Tensor = self.gru(maps.permute(0, 2, 1, 3).flatten(2).float())[0]
        return steps

    def probabilities(self, steps: Tensor) -> Tensor:
        """Return the probability of each class at each step, shape (pieces, time, 527)."""
        logits: Tensor = self.fc_prob(steps)
        return logits.float().sigmoid().clamp(1e-7, 1 - 1e-7)


class Normalizer(nn.Module):
    """Mean and standard deviation of each mel band over the training data.

    The values that a new one has (-40 dB and 20 dB for all bands) are a stand-in: they are what the
    choice of random weights gives.
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


class TALNet(Extractor):
    """TALNet on whole clips: the GRU and the floor of the spectra both see all of the clip."""

    network: Network
    hann: Tensor
    filterbank: Tensor
    batch_seconds = 160.0  # steps of the GRU come one after another: the more clips at once

    def __init__(self, card: ExtractorCard, params: Params, wanted: Sequence[str]) -> None:
        super().__init__(card, params, wanted)
        self.network = Network()
        self.normalizer = Normalizer()
        bank = frontends.mel_filterbank(
            rate=16000, n_fft=4096, bands=64, low=0, high=8000, scale="slaney", norm="slaney"
        )
        self.register_buffer("hann", frontends.hann(1024, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def weights_target(self, role: str) -> nn.Module | None:
        """Return the network for ``main``, the band statistics for ``normalizer``."""
        return self.normalizer if role == "normalizer" else super().weights_target(role)

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Take weights and normalizer.

        The author's file holds the state dict under ``model``, and was written before batch norm
        counted its batches; his normalizer is a pair (means, standard deviations).
        """
        missing = {"main", "normalizer"} - set(states)
        if missing:
            raise WeightsError(f"{self.card.name} needs {' and '.join(sorted(missing))} weights")
        main, normalizer = states["main"], states["normalizer"]
        inner: Any = main.get("model")
        if isinstance(inner, dict):
            main = inner
        names = {"0": "mu", "1": "sigma"}
        normalizer = {names.get(key, key): value for key, value in normalizer.items()}
        load_strict(
            self.network, main, f"{self.card.name}: main weights",
            optional=lambda key: key.endswith(".num_batches_tracked"),
        )  # fmt: skip
        load_strict(self.normalizer, normalizer, f"{self.card.name}: normalizer weights")
        if not (self.normalizer.mu.isfinite().all() and (self.normalizer.sigma > 0).all()):
            raise WeightsError(
                f"{self.card.name}: normalizer weights: a mean is not finite, or a standard "
                "deviation is not positive"
            )

    def split(self, wave: Tensor) -> Tensor:
        """Return the whole clip as one piece, of at least 0.1 s."""
        return nn.functional.pad(wave, (0, max(0, _SHORTEST - len(wave))))[None]

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return normalized log-mel spectra, shape (pieces, samples // 400, 64).

        The original centres a window of 1024 samples in transforms of 4096 samples, themselves
        centred at multiples of 400; magnitudes do not depend on where in its transform a window
        lies, so that it is put in front here. Spectra are cropped before the floor is taken.
        """
        padded = nn.functional.pad(pieces.double(), (512, 512))
        mel = frontends.mel_spectrogram(
            padded, n_fft=4096, hop=_HOP, window=self.hann, filterbank=self.filterbank, power=1.0
        )
        levels = frontends.power_to_db(mel[:, : pieces.shape[1] // _HOP])
        normalized: Tensor = self.normalizer(frontends.clip_top_db(levels, 80.0))
        return normalized

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        found = {"gru": self.network(features)}
        if "probabilities" in self.wanted:
            found["probabilities"] = self.network.probabilities(found["gru"])
        return {name: found[name] for name in self.wanted}

    def head(self) -> Head:
        """Return the layer before the sigmoid, with the 527 AudioSet classes."""
        last = self.network.fc_prob
        return Head(self.source_classes(), last.weight, last.bias, "gru", "lin")


build = TALNet
