"""A linear projection of spectra: an extractor with weights, as a module with a function build."""

from collections.abc import Sequence

from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Extractor, Outputs, WholeClipExtractor


class Projection(WholeClipExtractor):
    """Log-mel spectrograms through a linear layer."""

    min_samples = 256

    def __init__(
        self, card: ExtractorCard, params: Params, streams: Sequence[str], dim: int
    ) -> None:
        super().__init__(card, params, streams)
        self.log_mel = frontends.LogMel(sr=8000, n_fft=256, hop_length=80, n_mels=16)
        self.network = nn.Linear(16, dim)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return log-mel spectrograms, shape (clips, time, 16)."""
        levels: Tensor = self.log_mel(pieces)
        return levels

    def embed(self, features: Tensor) -> Outputs:
        """Return projections, shape (clips, time, dim)."""
        assert self.network is not None
        return {"projection": self.network(features)}


def build(card: ExtractorCard, params: Params, streams: Sequence[str]) -> Extractor:
    """Build the extractor with the dimension of its card."""
    return Projection(card, params, streams, card.streams["projection"].dim)
