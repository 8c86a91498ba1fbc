"""CF estimator (Lee et al., 2019, "Enhancing Music Features by Knowledge Transfer …").

It predicts a song's 40 factors of collaborative filtering from 30 s of audio. Only a poster is
public, with the layers' output shapes; the card marks our choices.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params, Stream
from probekit.errors import ProbekitError
from probekit.extractors import frontends
from probekit.extractors.base import CroppedExtractor, Outputs

SAMPLE_RATE = 16000
FACTORS = 40
REDUCTION = 8  # of the squeeze-and-excitation layers
HOP_LENGTH = 375
MIN_SAMPLES = 4 * 4 * 4 * 5 * HOP_LENGTH  # one step after all pooling


class MelSpectrogram(frontends.LogMel):
    """Mel spectrograms in decibels, 128 frames for 3 s, 1,280 for 30 s."""

    def __init__(self) -> None:
        super().__init__(sr=SAMPLE_RATE, n_fft=1024, hop_length=HOP_LENGTH, n_mels=96)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (clips, samples), to (clips, 1, 96, samples // 375)."""
        levels = super().forward(waves)[:, : waves.shape[1] // HOP_LENGTH]
        return levels.transpose(1, 2)[:, None]


class SqueezeExcitation(nn.Module):
    """Weights for the channels, from their means (Hu et al., CVPR 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, width // REDUCTION)
        self.excite = nn.Linear(width // REDUCTION, width)

    def forward(self, maps: Tensor) -> Tensor:
        """Scale the channels of maps (clips, width, frequency, time)."""
        scales = self.excite(self.squeeze(maps.mean((2, 3))).relu()).sigmoid()
        return maps * scales[:, :, None, None]


class DoubleConv(nn.Sequential):
    """The poster's block: twice batch norm, ReLU and convolution, then squeeze-and-excitation."""

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.Conv2d(width, width, 3, padding=1)]
        super().__init__(*layers, SqueezeExcitation(width))


class Network(nn.Module):
    """Mel spectrogram, a convolution, three double convolutions, mean, a linear layer.

    ``forward`` is ``decode(encode(waves))``: the two halves of an encoder and a predictor, so that
    the network can also be trained for another task.

    Parameters
    ----------
    width : int >= 8, a multiple of 8
        Channels of all maps: F of the poster.
    outputs : int >= 1
        Numbers predicted: 40 factors, or the classes of a task.
    """

    def __init__(self, width: int = 128, outputs: int = FACTORS) -> None:
        super().__init__()
        self.mel = MelSpectrogram()
        self.bn = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.block1 = DoubleConv(width)
        self.block2 = DoubleConv(width)
        self.block3 = DoubleConv(width)
        self.dense = nn.Linear(width, outputs)

    def forward(self, waves: Tensor) -> Tensor:
        """Return predictions, shape (clips, outputs), for waveforms, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def encode(self, waves: Tensor) -> Tensor:
        """Embed waveforms (clips, samples >= 120,000) at 16,000 Hz.

        Returns the global average of the last maps, shape (clips, width): the linear layer's input.
        """
        return self.encode_spectra(self.mel(waves))

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Embed mel spectra, shape (clips, 1, 96, time >= 320), as :meth:`encode` does."""
        x = nn.functional.max_pool2d(self.conv(self.bn(spectra)), (4, 5))
        x = nn.functional.max_pool2d(self.block1(x), (3, 4))
        x = nn.functional.max_pool2d(self.block2(x), (2, 4))
        x = nn.functional.max_pool2d(self.block3(x), (2, 4))
        return x.mean((2, 3))

    def decode(self, embedding: Tensor) -> Tensor:
        """Return predictions, shape (clips, outputs), for embeddings, shape (clips, width)."""
        predictions: Tensor = self.dense(embedding)
        return predictions


class CFEstimator(CroppedExtractor):
    """The network on the first 30 s of a clip."""

    network: Network
    samples = 30 * SAMPLE_RATE
    batch_seconds = 60.0  # the first maps take 63 MB a clip

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        width = int(params["width"])
        if width < REDUCTION or width % REDUCTION:
            raise ProbekitError(
                f"{card.name}: width must be a multiple of {REDUCTION}, got {width}"
            )
        self.network = Network(width)

    @property
    def streams(self) -> dict[str, Stream]:
        """The streams; ``penultimate`` is as long as the parameter ``width`` says."""
        streams = super().streams
        if "penultimate" in streams:
            width: dict[str, Any] = {"dim": int(self.params["width"])}
            streams["penultimate"] = streams["penultimate"].model_copy(update=width)
        return streams

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return mel spectra in decibels, shape (clips, 1, 96, 1280)."""
        spectra: Tensor = self.network.mel(pieces)
        return spectra

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        outputs = {"penultimate": self.network.encode_spectra(features)}
        if "cf" in self.stream_names:
            outputs["cf"] = self.network.decode(outputs["penultimate"])
        return {name: outputs[name] for name in self.stream_names}


build = CFEstimator
