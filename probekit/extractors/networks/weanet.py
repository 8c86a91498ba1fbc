"""WEANet (Kumar and Ithapu, ICML 2020) as outlined by Kumar et al. (Interspeech 2021, section 2.2).

No code and no weights are public. The outline leaves much open; what was filled in here is marked
in the card.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Extractor, Head, Outputs

_N_FFT, _WINDOW, _HOP = 512, 400, 160
_SHORTEST = 15 * _HOP  # 16 spectra, one step of the network
_WIDTHS = (1, 64, 128, 256, 512)  # before B1, then after B1 to B4
_BANDS_LEFT = 4  # of 64, after four times halving


class Layer(nn.Sequential):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int]) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2) if kernel[0] == kernel[1] else 0
        super().__init__(
            nn.Conv2d(before, after, kernel, padding=padding, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class Network(nn.Module):
    """Blocks B1 to B8 and an attention over time for each class.

    Parameters
    ----------
    classes : int >= 1
        Number of classes; 527 for AudioSet.
    """

    def __init__(self, classes: int = 527) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(64)
        for number, (before, after) in enumerate(pairwise(_WIDTHS), start=1):
            layers = (Layer(before, after, (3, 3)), Layer(after, after, (3, 3)))
            self.add_module(f"b{number}", nn.Sequential(*layers, nn.MaxPool2d(2)))
        self.b5 = Layer(512, 2048, (1, _BANDS_LEFT))
        self.b6 = Layer(2048, 1024, (1, 1))
        self.b7 = Layer(1024, 1024, (1, 1))
        self.b8 = nn.Conv2d(1024, classes, 1)
        self.attention = nn.Conv2d(1024, classes, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Run blocks B1 to B5.

        Parameters
        ----------
        levels : Tensor, shape (pieces, frames, 64), frames >= 16
            Log-mel spectra in dB, 100 a second.

        Returns
        -------
        Tensor, shape (pieces, frames // 16, 2048)
            Output of B5, after its ReLU.
        """
        maps = self.bn(levels[:, None].transpose(1, 3)).transpose(1, 3)
        for number in range(1, 6):
            maps = self.get_submodule(f"b{number}")(maps)
        steps: Tensor = maps[..., 0].transpose(1, 2)
        return steps

    def hidden(self, steps: Tensor) -> Tensor:
        """Run blocks B6 and B7, which are linear layers with ReLU at each step.

        Parameters
        ----------
        steps : Tensor, shape (pieces, time, 2048)
            From :meth:`forward`.

        Returns
        -------
        Tensor, shape (pieces, time, 1024)
            Output of B7, after its ReLU: what B8 and the attention read.
        """
        maps: Tensor = self.b7(self.b6(steps.transpose(1, 2)[..., None]))
        return maps[..., 0].transpose(1, 2)

    def segments(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Run blocks B6 to B8 and the attention.

        Parameters
        ----------
        steps : Tensor, shape (pieces, time, 2048)
            From :meth:`forward`.

        Returns
        -------
        probabilities : Tensor, shape (pieces, time, classes)
            Of each class at each step.
        attention : Tensor, shape (pieces, time, classes)
            How much each step counts for each class; the sum over time is 1.
        """
        maps = self.hidden(steps).transpose(1, 2)[..., None]
        logits, weights = (part(maps)[..., 0].mT for part in (self.b8, self.attention))
        return logits.float().sigmoid(), weights.float().softmax(1)

    def decode(self, steps: Tensor) -> Tensor:
        """Return the probability of each class in the recording.

        Parameters
        ----------
        steps : Tensor, shape (pieces, time, 2048)
            From :meth:`forward`.

        Returns
        -------
        Tensor, shape (pieces, classes)
            Probabilities at the steps, averaged with the weights of the class's attention.
        """
        probabilities, attention = self.segments(steps)
        return (probabilities * attention).sum(1)


class WEANet(Extractor):
    """Blocks B1 to B7 on whole clips."""

    network: Network
    hann: Tensor
    filterbank: Tensor
    batch_seconds = 40.0

    def __init__(self, card: ExtractorCard, params: Params, wanted: Sequence[str]) -> None:
        super().__init__(card, params, wanted)
        self.network = Network()
        bank = frontends.mel_filterbank(
            rate=16000, n_fft=_N_FFT, bands=64, low=0, high=8000, scale="slaney", norm="slaney"
        )
        self.register_buffer("hann", frontends.hann(_WINDOW, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def split(self, wave: Tensor) -> Tensor:
        """Return the whole clip as one piece, of at least 0.15 s."""
        return nn.functional.pad(wave, (0, max(0, _SHORTEST - len(wave))))[None]

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return log-mel spectra in dB, shape (pieces, 1 + samples // 160, 64)."""
        padded = nn.functional.pad(pieces.double(), (_WINDOW // 2, _WINDOW // 2))
        power = frontends.mel_spectrogram(
            padded, n_fft=_N_FFT, hop=_HOP, window=self.hann, filterbank=self.filterbank
        )
        return frontends.power_to_db(power)

    def embed(self, features: Tensor) -> Outputs:
        """Run the network up to the last block that is wanted."""
        found = {"b5": self.network(features)}
        if "b7" in self.wanted:
            found["b7"] = self.network.hidden(found["b5"])
        return {name: found[name] for name in self.wanted}

    def head(self) -> Head:
        """Return B8 before its sigmoid: the 527 AudioSet classes at each step."""
        last = self.network.b8
        assert last.bias is not None
        names = self.source_classes()
        return Head(names, last.weight.detach().flatten(1), last.bias.detach(), "b7", "attention")


build = WEANet
