"""A small CNN on mel spectra whose embedding keeps four frames a second: a student for quick runs.

A design of probekit after the short chunks and plain VGG-like network of Won et al. (SMC 2020,
arXiv:2006.00751), who use seven blocks of 128 channels.
"""

from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor, nn

from probekit.extractors import frontends
from probekit.extractors.networks.harmonic_cnn import Convolution

SAMPLE_RATE = 16000
BLOCKS = 4
HOP_LENGTH = 250  # samples between spectra: 16 of them make one frame of exactly 1/4 s
FRAME = HOP_LENGTH * 2**BLOCKS  # samples from one frame of the embedding to the next
N_MELS = 64

_N_FFT = 512
# three spectra in the first block, and one more to each side at every halving after it
WINDOW = (2**BLOCKS + 2 * (2**BLOCKS - 1) - 1) * HOP_LENGTH + _N_FFT
FRAME_SECONDS = Fraction(FRAME, SAMPLE_RATE)


class MelSpectrogram(frontends.LogMel):
    """Mel spectrograms in decibels, 64 frames a second; frame k is centered at sample 250 k + 125.

    Powers under 1e-5 count as silence, which hides the rounding of float32.
    """

    def __init__(self) -> None:
        super().__init__(
            sr=SAMPLE_RATE,
            n_fft=_N_FFT,
            hop_length=HOP_LENGTH,
            n_mels=N_MELS,
            pad=(_N_FFT - HOP_LENGTH) // 2,
            amin=1e-5,
            dtype=torch.float32,
        )

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (clips, samples), to (clips, 1, 64, samples // 250)."""
        return super().forward(waves).transpose(1, 2)[:, None]


class Decoder(nn.Module):
    """Decoder of mean and maximum over time and two linear layers."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(2 * features, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(0.5)
        self.dense2 = nn.Linear(hidden, classes)

    def hidden(self, frames: Tensor) -> Tensor:
        """Return what the last layer reads, (clips, hidden), for frames (clips, time, features)."""
        pooled = torch.cat([frames.mean(1), frames.amax(1)], 1)
        hidden: Tensor = self.bn(self.dense1(pooled)).relu()
        return hidden

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for frames, shape (clips, time, features)."""
        logits: Tensor = self.dense2(self.dropout(self.hidden(frames)))
        return logits


class Network(nn.Module):
    """Mel spectrogram, four blocks, mean over frequency, :class:`Decoder`.

    130,915 parameters with width 16 and one class.

    Parameters
    ----------
    width : int >= 1
        Channels of the first block; each further block doubles them, and the embedding is eight
        times as long.
    classes : int >= 1
        Outputs.
    """

    def __init__(self, width: int = 16, classes: int = 50) -> None:
        super().__init__()
        self.dim = width * 2 ** (BLOCKS - 1)
        self.mel = MelSpectrogram()
        self.bn = nn.BatchNorm2d(1)
        widths = [1, *(width * 2**i for i in range(BLOCKS))]
        self.blocks = nn.Sequential(*(Convolution(*pair) for pair in pairwise(widths)))
        self.decoder = Decoder(self.dim, self.dim, classes)

    def forward(self, waves: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for waveforms, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def encode(self, waves: Tensor) -> Tensor:
        """Embed waveforms (clips, samples >= 4000) at 16,000 Hz.

        Returns one frame every 0.25 s, shape (clips, samples // 4000, 8 · width); frame k is
        centered at 0.125 + 0.25 k seconds.
        """
        return self.encode_spectra(self.mel(waves))

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Embed mel spectra, shape (clips, 1, 64, time), as :meth:`encode` does."""
        maps: Tensor = self.blocks(self.bn(spectra))
        return maps.mean(2).transpose(1, 2)

    def encode_layers(self, spectra: Tensor) -> list[Tensor]:
        """Return the output of each block on mel spectra, averaged over frequency and frames.

        Shapes are (clips, time, width) to (clips, time, 8 · width); the last is the embedding.
        """
        maps, outputs = self.bn(spectra), []
        time = spectra.shape[3] >> BLOCKS
        for number, block in enumerate(self.blocks, start=1):
            maps = block(maps)
            finer = 2 ** (BLOCKS - number)
            steps = maps.mean(2)[..., : finer * time]
            outputs.append(steps.unflatten(2, (time, finer)).mean(3).transpose(1, 2))
        return outputs

    def decode(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for embeddings (clips, time, 8 · width)."""
        logits: Tensor = self.decoder(embedding)
        return logits
