"""VGGish (Hershey et al., ICASSP 2017), with the weights and keys of torchvggish."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.errors import WeightsError
from probekit.extractors import frontends
from probekit.extractors.base import Outputs, WindowedExtractor


class Network(nn.Module):
    """Six convolutions and three fully connected layers; 72,141,184 parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0):
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096),
            nn.ReLU(True),
            nn.Linear(4096, 4096),
            nn.ReLU(True),
            nn.Linear(4096, 128),
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Embed log-mel spectrograms, shape (examples, 1, 96 frames, 64 bands).

        Returns the last layer before any ReLU, shape (examples, 128).
        """
        return self.layers(examples)[-1]

    def layers(self, examples: Tensor) -> list[Tensor]:
        """Run all layers on log-mel spectrograms, as :meth:`forward`.

        Returns the four blocks' pooled maps, averaged over time and frequency, 64, 128, 256 and 512
        numbers; twice 4,096 after a dense layer and its ReLU; and the 128 of the last layer.
        """
        outputs, maps = [], examples
        for module in self.features:
            maps = module(maps)
            if isinstance(module, nn.MaxPool2d):
                outputs.append(maps.mean((2, 3)))
        hidden = maps.permute(0, 2, 3, 1).flatten(1)
        for module in self.embeddings:
            hidden = module(hidden)
            if isinstance(module, nn.ReLU):
                outputs.append(hidden)
        return [*outputs, hidden]


class Postprocessor(nn.Module):
    """The published PCA (with whitening) of the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.pca_eigen_vectors = nn.Parameter(torch.eye(128))
        self.pca_means = nn.Parameter(torch.zeros(128))

    def forward(self, embedding: Tensor) -> Tensor:
        """Turn embeddings, shape (examples, 128), into principal components of the same shape."""
        return (embedding - self.pca_means) @ self.pca_eigen_vectors.T


class VGGish(WindowedExtractor):
    """VGGish on windows of 0.975 s, one every 0.96 s."""

    network: Network
    window = 400 + 95 * 160
    hop = 96 * 160
    batch_seconds = 32.0  # the first maps take 1.6 MB a window

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        self.postprocessor = Postprocessor() if {"pca", "pca8"} & set(streams) else None
        self.log_mel = frontends.AudioSetLogMel(0.01)

    def weights_target(self, role: str) -> nn.Module | None:
        """Return the network for ``main``, the PCA for ``pca``; see the base class."""
        return self.postprocessor if role == "pca" else super().weights_target(role)

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; the PCA's mean may be a column, as in the published file."""
        if "pca" in states:
            pca = dict(states["pca"])
            mean = pca.get("pca_means")
            if isinstance(mean, Tensor) and mean.shape == (128, 1):
                pca["pca_means"] = mean[:, 0]
            states = {**states, "pca": pca}
        elif self.postprocessor is not None:
            raise WeightsError(f"{self.card.name}: streams pca and pca8 need the weights file pca")
        super().load_weights(states)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return ln(mel + 0.01) of magnitude spectra, shape (pieces, 1, 96, 64)."""
        spectra: Tensor = self.log_mel(pieces)
        return spectra

    def embed(self, features: Tensor) -> Outputs:
        """Run the network and, if requested, the PCA (always in float32)."""
        *layers, prerelu = self.network.layers(features)
        outputs = {f"layer.{i}": layer for i, layer in enumerate(layers, start=1)}
        outputs |= {"prerelu": prerelu, "relu": prerelu.relu()}
        if self.postprocessor is not None:
            with torch.autocast(features.device.type, enabled=False):
                outputs["pca"] = self.postprocessor(outputs["relu"].float())
            outputs["pca8"] = self._quantized(outputs["pca"])
        return {name: outputs[name] for name in self.stream_names}

    def _quantized(self, pca: Tensor) -> Tensor:
        """Scale [-2, 2] to [0, 255] and round to whole numbers."""
        scaled = (pca.clamp(-2, 2) + 2) * (255 / 4)
        return scaled.round() if self.params["quantize"] == "round" else scaled.trunc()


build = VGGish
