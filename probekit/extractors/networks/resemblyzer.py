"""Resemblyzer: the speaker encoder of Wan et al. (ICASSP 2018), as trained by Resemble AI."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Outputs, WholeClipExtractor

SAMPLE_RATE = 16000
HOP_LENGTH = 160
FRAMES = 160  # of a partial utterance
STEP = 77  # frames between the starts of partial utterances: 1.3 a second
COVERAGE = 0.75  # of the last one, below which it is left out
LEVEL = 10 ** (-30 / 20)  # root mean square to which quiet clips are amplified
UNITS = 256


class Network(nn.Module):
    """Three LSTM layers and a linear one; 1,423,616 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, UNITS, 3, batch_first=True)
        self.linear = nn.Linear(UNITS, UNITS)

    def forward(self, spectra: Tensor) -> list[Tensor]:
        """Run the layers on mel spectra, shape (partials, 160, 40).

        Returns the last states of the three recurrent layers, and the linear layer's output after
        its ReLU, of length 1; shape (partials, 256) each.
        """
        _, (hidden, _) = self.lstm(spectra)
        raw = self.linear(hidden[-1]).relu()
        return [*hidden, nn.functional.normalize(raw, dim=1)]


class Resemblyzer(WholeClipExtractor):
    """The encoder on partial utterances of 1.6 s, whose mean is the clip's embedding."""

    network: Network
    hann: Tensor
    filterbank: Tensor

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.network = Network()
        bank = frontends.mel_filterbank(sr=SAMPLE_RATE, n_fft=400, n_mels=40)
        self.register_buffer("hann", frontends.hann(400, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def load_weights(self, states: dict[str, dict[str, Tensor]]) -> None:
        """Load weights; of the package's checkpoint, its network without the loss's two numbers."""
        networks = {}
        for role, state in states.items():
            inner = state.get("model_state")
            if isinstance(inner, dict):
                loss = ("similarity_weight", "similarity_bias")
                state = {key: value for key, value in inner.items() if key not in loss}
            networks[role] = state
        super().load_weights(networks)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return mel powers of partial utterances, shape (clips, partials, 160, 40).

        Quiet clips are amplified first; silence stays silence.
        """
        samples = pieces.shape[1]
        waves = pieces.double()
        level = waves.square().mean(1, keepdim=True).sqrt()
        waves = waves * (LEVEL / level.clamp_min(1e-30)).clamp_min(1)
        partials = count_partials(samples)
        end = ((partials - 1) * STEP + FRAMES) * HOP_LENGTH
        padded = nn.functional.pad(waves, (200, 200 + max(0, end - samples)))
        mel = frontends.mel_spectrogram(
            padded,
            n_fft=400,
            hop_length=HOP_LENGTH,
            window=self.hann,
            filterbank=self.filterbank,
        )
        return mel.unfold(1, FRAMES, STEP)[:, :partials].transpose(2, 3)

    def embed(self, features: Tensor) -> Outputs:
        """Run the network."""
        clips, partials = features.shape[:2]
        outputs = {}
        for i, vectors in enumerate(self.network(features.flatten(0, 1)), start=1):
            outputs["partials" if i == 4 else f"lstm{i}"] = vectors.view(clips, partials, UNITS)
        outputs["embedding"] = nn.functional.normalize(outputs["partials"].mean(1), dim=1)
        return {name: outputs[name] for name in self.stream_names}


def count_partials(samples: int) -> int:
    """Return the number of partial utterances of a clip of a length in samples.

    One always, and as many as start in the clip so that the last one is covered by it to three
    quarters.
    """
    frames = samples // HOP_LENGTH + 1
    count = len(range(0, max(1, frames - FRAMES + STEP + 1), STEP))
    covered = (samples - (count - 1) * STEP * HOP_LENGTH) / (FRAMES * HOP_LENGTH)
    return count - 1 if covered < COVERAGE and count > 1 else count


build = Resemblyzer
