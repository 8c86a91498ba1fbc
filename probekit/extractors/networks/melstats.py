"""Statistics of log-mel bands and MFCC over time: a baseline without weights."""

from collections.abc import Sequence

import torch
from torch import Tensor

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Outputs, WholeClipExtractor

SAMPLE_RATE, N_FFT, HOP_LENGTH = 22050, 2048, 512


def log_mel(n_mels: int) -> frontends.LogMel:
    """Return a module for log-mel spectrograms as in librosa, one frame every 512 samples."""
    return frontends.LogMel(sr=SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, n_mels=n_mels)


class MelStats(WholeClipExtractor):
    """Mean and standard deviation over time of 64 log-mel bands, 20 MFCC, and their differences."""

    cosines: Tensor

    def __init__(self, card: ExtractorCard, params: Params, streams: Sequence[str]) -> None:
        super().__init__(card, params, streams)
        self.log_mel = log_mel(64)
        cosines = frontends.dct_matrix(64, 20, torch.float64)
        self.register_buffer("cosines", cosines, persistent=False)

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the statistics, shape (pieces, 336)."""
        levels = self.log_mel(pieces).double()
        frames = torch.cat([levels, levels @ self.cosines], dim=2)
        changes = frames.diff(dim=1)
        if not changes.shape[1]:
            changes = torch.zeros_like(frames)
        return torch.cat([*_summary(frames), *_summary(changes)], dim=1).float()

    def embed(self, features: Tensor) -> Outputs:
        """Return the statistics unchanged: there is no network."""
        return {"stats": features}


def _summary(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population standard deviation over time, axis 1."""
    std, mean = torch.std_mean(frames, dim=1, correction=0)
    return mean, std


build = MelStats
