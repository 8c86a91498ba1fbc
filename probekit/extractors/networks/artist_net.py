"""The network of kim2018 (Kim et al., 2018, "Transfer Learning of Artist Group Factors …").

It follows the authors' code, which agrees with the text of their paper and not with its Table 2:
seven convolutions, of which the first five are pooled. With several targets the first convolution
is shared, and each target has the other layers for itself.
"""

import torch
from torch import Tensor, nn

from probekit.extractors import frontends

SAMPLE_RATE = 44100
N_FFT = 2048
HOP_LENGTH = 1024
N_MELS = 128
FRAMES = 43  # of a segment, 1 s
MIN_FRAMES = 16  # one after all pooling
WIDTH = 256

_CHANNELS = (16, 32, 64, 64, 128, 256, 256)
_EPSILON = 1e-4  # of Lasagne's batch normalization


class MelSpectrogram(frontends.LogMel):
    """Mel spectrograms in decibels, over a floor 80 dB below the maximum of the crop.

    The authors transform whole clips of 30 s, so that their floor is that of the clip.
    """

    def __init__(self) -> None:
        super().__init__(sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=N_MELS)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (clips, samples), to (clips, samples // 1024, 128)."""
        levels = super().forward(waves)[:, : waves.shape[1] // HOP_LENGTH]
        return frontends.clip_top_db(levels, 80.0)


class Branch(nn.Sequential):
    """The layers that a target has for itself, from the second convolution to the embedding."""

    def __init__(self, width: int) -> None:
        c1, c2, c3, c4, c5, c6, c7 = scale_channels(width)
        super().__init__(
            *_convolution(c1, c2, 3, norm=True),
            nn.MaxPool2d(2),
            nn.Dropout(0.1),
            *_convolution(c2, c3, 3),
            nn.MaxPool2d(2),
            *_convolution(c3, c4, 3, norm=True),
            nn.MaxPool2d(2),
            nn.Dropout(0.1),
            *_convolution(c4, c5, 3),
            nn.MaxPool2d(2),
            *_convolution(c5, c6, 3),
            *_convolution(c6, c7, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.BatchNorm1d(c7, _EPSILON),
            nn.Dropout(0.5),
            nn.Linear(c7, width, bias=False),
            nn.BatchNorm1d(width, _EPSILON),
            nn.ELU(),
        )


class Network(nn.Module):
    """Mel spectrogram, a shared convolution, a branch of six more for each target.

    566,064 parameters with one branch and 16 classes.

    Parameters
    ----------
    classes : int >= 1
        Outputs of the linear layer, which reads the embedding of the first branch.
    width : int >= 16
        Numbers in the embedding of a branch; the channels of all layers are scaled with it.
    branches : int >= 1
        Number of targets.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, classes: int, width: int = WIDTH, branches: int = 1) -> None:
        super().__init__()
        self.width = width
        self.mel = MelSpectrogram()
        self.register_buffer("mean", torch.zeros(N_MELS))
        self.register_buffer("scale", torch.ones(N_MELS))
        self.shared = nn.Sequential(
            *_convolution(1, scale_channels(width)[0], 5), nn.MaxPool2d((1, 2)), nn.Dropout(0.1)
        )
        self.branches = nn.ModuleList(Branch(width) for _ in range(branches))
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, waves: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for waveforms, shape (clips, samples)."""
        return self.decode(self.encode(waves))

    def spectra(self, waves: Tensor) -> Tensor:
        """Return standardized mel spectra, shape (clips, 1, time, 128)."""
        levels: Tensor = self.mel(waves)
        return ((levels - self.mean) / self.scale)[:, None]

    def encode(self, waves: Tensor) -> Tensor:
        """Embed waveforms (clips, samples >= 16,384) at 44,100 Hz.

        Returns the embeddings of all branches side by side, shape (clips, branches · width).
        """
        return self.encode_spectra(self.spectra(waves))

    def encode_spectra(self, spectra: Tensor) -> Tensor:
        """Embed standardized mel spectra, shape (clips, 1, time >= 16, 128)."""
        shared = self.shared(spectra)
        return torch.cat([branch(shared) for branch in self.branches], 1)

    def encode_branch(self, spectra: Tensor, branch: int) -> Tensor:
        """Embed standardized mel spectra with one branch, shape (clips, width)."""
        embedding: Tensor = self.branches[branch](self.shared(spectra))
        return embedding

    def decode(self, embedding: Tensor) -> Tensor:
        """Return logits, shape (clips, classes), for embeddings; the first branch is read."""
        logits: Tensor = self.dense(self.dropout(embedding[:, : self.width]))
        return logits


def scale_channels(width: int) -> tuple[int, ...]:
    """Return the channels of the seven convolutions for a width of the embedding."""
    return tuple(max(1, round(channels * width / WIDTH)) for channels in _CHANNELS)


def count_parameters(width: int, outputs: tuple[int, ...]) -> int:
    """Return the number of parameters with one branch and linear layer for each target.

    Parameters
    ----------
    width : int >= 16
        As for :class:`Network`.
    outputs : tuple of int
        Number of outputs of each target.
    """
    c1, c2, c3, c4, c5, c6, c7 = scale_channels(width)
    shared = 25 * c1 + c1
    branch = 9 * c1 * c2 + 2 * c2 + 9 * c2 * c3 + c3 + 9 * c3 * c4 + 2 * c4
    branch += 9 * c4 * c5 + c5 + 9 * c5 * c6 + c6 + c6 * c7 + c7
    branch += 2 * c7 + c7 * width + 2 * width
    return shared + sum(branch + (width + 1) * count for count in outputs)


def match_width(parameters: int, outputs: int) -> int:
    """Return the width of a network of one target whose number of parameters is closest.

    Parameters
    ----------
    parameters : int >= 1
        Number of parameters to match, for example of a network of several targets.
    outputs : int >= 1
        Outputs of the single target.
    """
    widest = 16
    while count_parameters(widest, (outputs,)) < parameters:
        widest *= 2
    candidates = range(max(16, widest // 2), widest + 1)
    return min(candidates, key=lambda w: abs(count_parameters(w, (outputs,)) - parameters))


def _convolution(inputs: int, outputs: int, size: int, *, norm: bool = False) -> list[nn.Module]:
    """Return a convolution that keeps time and bands, batch normalization if any, and ELU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=not norm),
        nn.ELU(),
    ]
    if norm:
        layers.insert(1, nn.BatchNorm2d(outputs, _EPSILON))
    return layers
