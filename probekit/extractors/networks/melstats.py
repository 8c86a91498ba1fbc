"""Log-mel bands and MFCC summed up over time: a baseline without weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probekit.cards import ExtractorCard, Params
from probekit.extractors import frontends
from probekit.extractors.base import Extractor, Outputs

RATE, N_FFT, HOP = 22050, 2048, 512


class LogMel(nn.Module):
    """Mel power spectra in decibels, as librosa's ``melspectrogram`` and ``power_to_db``.

    Frames are centred at multiples of 512 samples; 1024 zeros go in front of the clip and behind.

    Parameters
    ----------
    bands : int >= 1
        Mel bands from 0 to 11,025 Hz.
    """

    hann: Tensor
    filterbank: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        bank = frontends.mel_filterbank(
            rate=RATE, n_fft=N_FFT, bands=bands, low=0, high=RATE / 2, scale="slaney", norm="slaney"
        )
        self.register_buffer("hann", frontends.hann(N_FFT, torch.float64), persistent=False)
        self.register_buffer("filterbank", bank, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (batch, samples), to (batch, 1 + samples // 512, bands)."""
        padded = nn.functional.pad(waves.double(), (N_FFT // 2, N_FFT // 2))
        power = frontends.mel_spectrogram(
            padded, n_fft=N_FFT, hop=HOP, window=self.hann, filterbank=self.filterbank
        )
        return frontends.power_to_db(power)


class MelStats(Extractor):
    """Mean and standard deviation over time of 64 log-mel bands, 20 MFCC, and their differences."""

    cosines: Tensor

    def __init__(self, card: ExtractorCard, params: Params, wanted: Sequence[str]) -> None:
        super().__init__(card, params, wanted)
        self.log_mel = LogMel(64)
        cosines = frontends.dct_matrix(64, 20, torch.float64)
        self.register_buffer("cosines", cosines, persistent=False)

    def split(self, wave: Tensor) -> Tensor:
        """Return the whole clip as one piece."""
        return wave[None]

    def frontend(self, pieces: Tensor) -> Tensor:
        """Return the statistics, shape (pieces, 336)."""
        levels = self.log_mel(pieces).double()
        frames = torch.cat([levels, levels @ self.cosines], dim=2)
        changes = frames.diff(dim=1)
        if not changes.shape[1]:
            changes = torch.zeros_like(frames)
        return torch.cat([*_summary(frames), *_summary(changes)], dim=1).float()

    def embed(self, features: Tensor) -> Outputs:
        """Return the statistics as they are: there is no network."""
        return {"stats": features}


def _summary(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population standard deviation over time, axis 1."""
    std, mean = torch.std_mean(frames, dim=1, correction=0)
    return mean, std


build = MelStats
