"""WEANet (Kumar and Ithapu, ICML 2020) as outlined by Kumar et al. (Interspeech 2021, section 2.2).

No code and no weights are public. The outline leaves much open; the card marks our choices.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Head, Outputs, WholeClipExtractor

HOP_LENGTH = 160
MIN_SAMPLES = 15 * HOP_LENGTH  # 16 frames, one step of the network
_REMAINING_MELS = 4  # of 64, halved four times


class Layer(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int]) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2) if kernel[0] == kernel[1] else 0
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Network(nn.Module):
    """Blocks B1 to B8 and an attention over time for each class.

    Parameters
    ----------
    classes : int >= 1
        Number of classes; 527 for AudioSet.
    width : int >= 1
        Channels of B1; twice as many in each of B2 to B4, 32 times as many after B5, 16 times after
        B6 and B7. 64 for the 2,048 numbers of the paper.
    """

    def __init__(self, classes: int = 527, width: int = 64) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(64)
        channels = (1, *(width * 2**k for k in range(4)))
        for number, (before, out) in enumerate(pairwise(channels), start=1):
            layers = (Layer(before, out, (3, 3)), Layer(out, out, (3, 3)))
            self.add_module(f"b{number}", nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.b5 = Layer(8 * width, 32 * width, (1, _REMAINING_MELS))
        self.b6 = Layer(32 * width, 16 * width, (1, 1))
        self.b7 = Layer(16 * width, 16 * width, (1, 1))
        self.b8 = nn.Conv2d(16 * width, classes, 1)
        self.attention = nn.Conv2d(16 * width, classes, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Run blocks B1 to B5 on log-mel spectra in dB, shape (pieces, frames >= 16, 64).

        Returns the output of B5 after its ReLU, shape (pieces, frames // 16, 32 · width).
        """
        maps = self.bn(levels[:, None].transpose(1, 3)).transpose(1, 3)
        for number in range(1, 6):
            maps = self.get_submodule(f"b{number}")(maps)
        steps: Tensor = maps[..., 0].transpose(1, 2)
        return steps

    def hidden(self, steps: Tensor) -> Tensor:
        """Run blocks B6 and B7, linear layers with ReLU, on steps from :meth:`forward`.

        Returns the input of B8 and of the attention, shape (pieces, time, 16 · width).
        """
        maps: Tensor = self.b7(self.b6(steps.transpose(1, 2)[..., None]))
        return maps[..., 0].transpose(1, 2)

    def segments(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return each class's probabilities and attention weights at steps from :meth:`forward`.

        Both have the shape (pieces, time, classes); the sum of the weights over time is 1.
        """
        logits, weights = self.segment_logits(steps)
        return logits.float().sigmoid(), weights.float().softmax(1)

    def segment_logits(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as :meth:`segments` before sigmoid and softmax."""
        maps = self.hidden(steps).transpose(1, 2)[..., None]
        logits, weights = (layer(maps)[..., 0].mT for layer in (self.b8, self.attention))
        return logits, weights

    def decode(self, steps: Tensor) -> Tensor:
        """Return the probability of each class in the recording, shape (pieces, classes).

        It is the average over steps from :meth:`forward`, weighted by the class's attention.
        """
        probabilities, attention = self.segments(steps)
        return (probabilities * attention).sum(1)


def log_mel() -> frontends.LogMel:
    """Return the front-end: spectra in dB, shape (pieces, 1 + samples // 160, 64)."""
    return frontends.LogMel(sr=16000, n_fft=512, hop_length=HOP_LENGTH, n_mels=64, win_length=400)


class WEANet(WholeClipExtractor):
    """Blocks B1 to B7 on whole clips."""

    network: Network
    min_samples = MIN_SAMPLES
    batch_seconds = 40.0

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        self.log_mel = log_mel()

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return log-mel spectra in dB, shape (pieces, 1 + samples // 160, 64)."""
        levels: Tensor = self.log_mel(pieces)
        return levels

    def embed(self, features: Tensor) -> Outputs:
        """Run the network, B6 and B7 only if the stream ``b7`` is requested."""
        outputs = {"b5": self.network(features)}
        if "b7" in self.stream_names:
            outputs["b7"] = self.network.hidden(outputs["b5"])
        return {name: outputs[name] for name in self.stream_names}

    def head(self) -> Head:
        """Return B8 before its sigmoid, 527 AudioSet classes at each step, and the attention."""
        (weight, bias), attention = map(_linear, (self.network.b8, self.network.attention))
        return Head(self.source_classes(), weight, bias, "b7", "attention", attention)


def _linear(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return weight, shape (outputs, inputs), and bias of a convolution of kernel 1 x 1."""
    assert layer.bias is not None
    return layer.weight.detach().flatten(1), layer.bias.detach()


build = WEANet
