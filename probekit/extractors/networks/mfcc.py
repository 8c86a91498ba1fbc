"""Mel-frequency cepstral coefficients over time, as ``librosa.feature.mfcc`` computes them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Outputs, WholeClipExtractor
from probekit.extractors.networks.melstats import log_mel


class Mfcc(WholeClipExtractor):
    """Twenty coefficients from 128 mel bands, every 512 samples at 22,050 Hz."""

    cosines: Tensor

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.log_mel = log_mel(128)
        cosines = frontends.dct_matrix(128, 20, torch.float64)
        self.register_buffer("cosines", cosines, persistent=False)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return coefficients, shape (pieces, frames, 20), over a floor 80 dB below the maximum."""
        levels = frontends.clip_top_db(self.log_mel(pieces), 80.0)
        return (levels.double() @ self.cosines).float()

    def embed(self, features: Tensor) -> Outputs:
        """Return the coefficients unchanged: there is no network."""
        return {"mfcc": features}


build = Mfcc
