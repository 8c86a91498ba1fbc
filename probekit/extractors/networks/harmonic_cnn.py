"""Harmonic CNN (Won et al., ICASSP 2020), as in sota-music-tagging-models."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Head, Outputs, WindowedExtractor

SAMPLE_RATE = 16000
N_FFT = 512
HOP_LENGTH = 256
HARMONICS = 6
BANDS = 128  # two a semitone from C1 (MIDI 24) on
SAMPLES = 5 * SAMPLE_RATE


class Spectrogram(nn.Module):
    """Power spectra under a Hann window, which may be in the checkpoint."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        # torch's float32 window, as in the original: its rounding, 1e-7, is the floor of
        # quiet bands, and moves embeddings of speech by 1e-4 of their standard deviation
        self.register_buffer("window", torch.hann_window(N_FFT))

    def forward(self, waves: Tensor) -> Tensor:
        """Return centered power spectra, shape (clips, 1 + samples // 256, 257)."""
        padded = nn.functional.pad(waves, (N_FFT // 2, N_FFT // 2), mode="reflect")
        return frontends.stft_magnitude(
            padded, n_fft=N_FFT, hop_length=HOP_LENGTH, window=self.window, power=2.0
        )


class HarmonicSTFT(nn.Module):
    """Spectra through triangular filters at the multiples of 128 fundamental frequencies.

    The filters' width in Hz is ``(0.1079 f + 24.7) / bw_Q``, an equivalent rectangular bandwidth
    with a learned quality (the paper's section on harmonic filters).
    """

    centers: Tensor
    bins: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.spec = Spectrogram()
        self.bw_Q = nn.Parameter(torch.ones(1))
        midi = 24 + torch.arange(BANDS, dtype=torch.float64) / 2
        lowest = 440 * 2 ** ((midi - 69) / 12)
        centers = (torch.arange(1, HARMONICS + 1)[:, None] * lowest).flatten().float()
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer(
            "bins", torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1), persistent=False
        )

    def filters(self) -> Tensor:
        """Return the filters for the present ``bw_Q``, shape (257, 768), harmonic by harmonic."""
        slope = 2 * self.bw_Q / (0.1079 * self.centers + 24.7)
        return (1 - slope * (self.bins[:, None] - self.centers).abs()).clamp_min(0)

    def forward(self, waves: Tensor) -> Tensor:
        """Return decibels of waveforms (clips, samples > 256) at 16,000 Hz.

        Their axes are clip, harmonic, fundamental frequency and time: shape
        (clips, 6, 128, 1 + samples // 256).
        """
        bands = (self.spec(waves) @ self.filters()).unflatten(2, (HARMONICS, BANDS))
        return frontends.power_to_db(bands).permute(0, 2, 3, 1)


class Convolution(nn.Module):
    """Convolution, normalization, ReLU, max pooling."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Halve both axes of maps (clips, channels, frequency, time)."""
        return nn.functional.max_pool2d(self.bn(self.conv(x)).relu_(), 2)


class Residual(nn.Module):
    """Two convolutions beside the identity, ReLU, max pooling."""

    def __init__(self, width: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(width)
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(width)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Shrink maps (clips, width, frequency, time) by the pool."""
        inner = self.bn_1(self.conv_1(x)).relu_()
        return nn.functional.max_pool2d((self.bn_2(self.conv_2(inner)) + x).relu(), self.pool)


class Network(nn.Module):
    """Harmonic STFT, seven blocks, two dense layers; 3,631,551 parameters.

    ``forward`` is ``decode(encode(waves))``: the two halves of an encoder and a classifier.

    Parameters
    ----------
    classes : int >= 1
        Number of classes of the last layer.
    """

    def __init__(self, classes: int = 50) -> None:
        super().__init__()
        self.hstft = HarmonicSTFT()
        self.hstft_bn = nn.BatchNorm2d(HARMONICS)
        self.layer1 = Convolution(HARMONICS, 128)
        self.layer2 = Residual(128, (2, 2))
        self.layer3 = Residual(128, (2, 2))
        self.layer4 = Residual(128, (2, 2))
        self.layer5 = Convolution(128, 256)
        self.layer6 = Residual(256, (2, 3))
        self.layer7 = Residual(256, (2, 3))
        self.dense1 = nn.Linear(256, 256)
        self.bn = nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.5)
        self.dense2 = nn.Linear(256, classes)

    def forward(self, waves: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for waveforms, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def encode(self, waves: Tensor) -> Tensor:
        """Embed waveforms (clips, samples >= 73,472) at 16,000 Hz; 80,000 samples in training.

        Returns the maximum over time of the seventh block's output, shape (clips, 256).
        """
        return self.encode_spectra(self.hstft(waves))

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Embed harmonic spectra, shape (clips, 6, 128, time), as :meth:`encode` does."""
        x = self.layer1(self.hstft_bn(spectra))
        for layer in (self.layer2, self.layer3, self.layer4, self.layer5, self.layer6):
            x = layer(x)
        last: Tensor = self.layer7(x)
        return last.amax((2, 3))

    def hidden(self, embedding: Tensor) -> Tensor:
        """Return what the last layer reads, shape (clips, 256), for embeddings of that shape."""
        hidden: Tensor = self.bn(self.dense1(embedding)).relu()
        return hidden

    def decode(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), of embeddings, shape (clips, 256)."""
        logits: Tensor = self.dense2(self.dropout(self.hidden(embedding)))
        return logits


class HarmonicCNN(WindowedExtractor):
    """Harmonic CNN on chunks of 5 s, side by side."""

    network: Network
    window = SAMPLES
    hop = SAMPLES
    keep_tail = True
    batch_seconds = 20.0  # the first block's maps take 21 MB a chunk

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; the window may be missing in a checkpoint, and is then the Hann window."""
        window = {"hstft.spec.window": torch.hann_window(N_FFT)}
        super().load_weights({role: {**window, **state} for role, state in states.items()})

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the harmonic STFT in decibels, shape (chunks, 6, 128, 313)."""
        spectra: Tensor = self.network.hstft(pieces)
        return spectra

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        outputs = {"encoder": self.network.encode_spectra(features)}
        if "dense1" in self.stream_names:
            outputs["dense1"] = self.network.hidden(outputs["encoder"])
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return the layer before the sigmoid, with 50 tags of MagnaTagATune."""
        last = self.network.dense2
        names = self.source_classes()
        return Head(names, last.weight.detach(), last.bias.detach(), "dense1", "mean")


build = HarmonicCNN
