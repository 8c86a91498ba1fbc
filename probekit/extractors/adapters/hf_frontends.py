"""Front-ends of models of transformers, from the settings of ``preprocessor_config.json``.

transformers computes them by whatever is installed: torchaudio, torch or NumPy. Here they are torch
modules, one algorithm on CPU and GPU, in float64; they agree with the NumPy paths of transformers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probekit.extractors import frontends

_EPSILON = 1e-7  # of variances, as in transformers


class Waveform(nn.Module):
    """Waveforms, each piece with zero mean and unit variance if the settings ask for it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.normalize = bool(settings.get("do_normalize", False))

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, samples)."""
        if not self.normalize:
            return pieces
        waves = pieces.double()
        deviation = (waves.var(1, correction=0, keepdim=True) + _EPSILON).sqrt()
        return ((waves - waves.mean(1, keepdim=True)) / deviation).to(pieces.dtype)


class Kaldi(nn.Module):
    """Logarithmic mel filter banks as Kaldi computes them: frames of 25 ms, one every 10 ms.

    Parameters
    ----------
    sr : int
        Sample rate in Hz; frames have 400 samples at every rate, as in transformers.
    n_mels : int
        Mel bands from 20 Hz to half the rate.
    window : {"hann", "povey"}
        Symmetric window of a frame.
    scale : float
        Factor of waveforms: 2¹⁵ where the original reads 16-bit integers.
    """

    window: Tensor
    filterbank: Tensor
    length, hop = 400, 160

    def __init__(self, sr: int, n_mels: int, window: str, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        values = torch.hann_window(self.length, periodic=False, dtype=torch.float64)
        values = values.pow(0.85) if window == "povey" else values
        filters = frontends.mel_filterbank(
            sr=sr, n_fft=512, n_mels=n_mels, fmin=20.0, fmax=float(sr // 2), mel_scale="htk",
            norm=None, linear_in="mel",
        )  # fmt: skip
        self.register_buffer("window", values, persistent=False)
        self.register_buffer("filterbank", filters.double(), persistent=False)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return log-mel filter banks, shape (pieces, frames, n_mels), float64."""
        frames = (pieces.double() * self.scale).unfold(1, self.length, self.hop)
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], 2)  # the first sample is its own
        frames = (frames - 0.97 * before) * self.window
        spectra = torch.fft.rfft(frames, n=512)
        powers = spectra.real.square() + spectra.imag.square()
        return (powers @ self.filterbank).clamp_min(1.192092955078125e-07).log()


class KaldiStacked(nn.Module):
    """Input of w2v-BERT: filter banks, each band normalized over the piece, two frames a vector."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.stride = int(settings.get("stride", 2))
        rate, bands = int(settings["sampling_rate"]), int(settings.get("num_mel_bins", 80))
        self.filters = Kaldi(rate, bands, "povey", 2.0**15)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, frames, stride * bands)."""
        banks = self.filters(pieces)
        deviation = (banks.var(1, keepdim=True) + _EPSILON).sqrt()
        banks = (banks - banks.mean(1, keepdim=True)) / deviation
        count = banks.shape[1] // self.stride
        stacked = banks[:, : count * self.stride].reshape(len(banks), count, -1)
        return stacked.to(pieces.dtype)


class Spectrogram(nn.Module):
    """Input of AST: filter banks of a fixed number of frames, zeros after a shorter piece."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.frames = int(settings.get("max_length", 1024))
        self.normalize = bool(settings.get("do_normalize", True))
        self.mean, self.std = float(settings["mean"]), float(settings["std"])
        self.filters = Kaldi(int(settings["sampling_rate"]), int(settings["num_mel_bins"]), "hann")

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, frames, bands)."""
        banks = self.filters(pieces)[:, : self.frames]
        banks = nn.functional.pad(banks, (0, 0, 0, self.frames - banks.shape[1]))
        if self.normalize:
            banks = (banks - self.mean) / (2 * self.std)
        return banks.to(pieces.dtype)


class WhisperMel(nn.Module):
    """Input of Whisper: log-mel spectrograms of 30 s, zeros after a shorter piece."""

    hann: Tensor
    filterbank: Tensor

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        rate, self.n_fft = int(settings["sampling_rate"]), int(settings["n_fft"])
        self.hop_length = int(settings["hop_length"])
        self.samples = int(settings["chunk_length"]) * rate
        filters = frontends.mel_filterbank(
            sr=rate, n_fft=self.n_fft, n_mels=int(settings["feature_size"]), fmax=8000.0
        )
        window = frontends.hann(self.n_fft, torch.float64)
        self.register_buffer("hann", window, persistent=False)
        self.register_buffer("filterbank", filters.double(), persistent=False)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, bands, frames)."""
        waves = nn.functional.pad(pieces, (0, self.samples - pieces.shape[1])).double()
        margin = self.n_fft // 2
        mel = frontends.mel_spectrogram(
            nn.functional.pad(waves, (margin, margin), mode="reflect"),
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            window=self.hann,
            filterbank=self.filterbank,
        )[:, :-1]
        levels = mel.clamp_min(1e-10).log10()
        levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8.0)
        return ((levels + 4.0) / 4.0).transpose(1, 2).to(pieces.dtype)


class ClapMel(nn.Module):
    """Input of CLAP: log-mel spectrograms of 10 s; a shorter piece is repeated, then zeros follow.

    Its extractor in transformers cuts longer clips at random; here they are cut before.
    """

    hann: Tensor
    filterbank: Tensor

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        rate, self.n_fft = int(settings["sampling_rate"]), int(settings["fft_window_size"])
        self.hop_length = int(settings["hop_length"])
        self.samples = int(settings["max_length_s"]) * rate
        self.padding = str(settings["padding"])
        self.fused = settings["truncation"] == "fusion"
        filters = frontends.mel_filterbank(
            sr=rate,
            n_fft=self.n_fft,
            n_mels=int(settings["feature_size"]),
            fmin=float(settings["frequency_min"]),
            fmax=float(settings["frequency_max"]),
            mel_scale="htk" if self.fused else "slaney",
            norm=None if self.fused else "slaney",
        )
        window = frontends.hann(self.n_fft, torch.float64)
        self.register_buffer("hann", window, persistent=False)
        self.register_buffer("filterbank", filters.double(), persistent=False)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, 1 or 4, frames, bands)."""
        count = pieces.shape[1]
        repeats = self.samples // count
        if self.padding == "repeat" and count < self.samples:
            pieces = pieces.repeat(1, repeats + 1)[:, : self.samples]
        elif self.padding == "repeatpad":
            pieces = pieces.repeat(1, repeats)
        waves = nn.functional.pad(pieces, (0, self.samples - pieces.shape[1])).double()
        levels = frontends.log_mel_spectrogram(
            waves,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            window=self.hann,
            filterbank=self.filterbank,
            pad=self.n_fft // 2,
            pad_mode="reflect",
        )
        return levels[:, None].expand(-1, 4 if self.fused else 1, -1, -1).to(pieces.dtype)


class Samples(nn.Module):
    """Input of codecs: waveforms with zeros up to a whole number of ``hop`` samples."""

    def __init__(self, hop: int = 1) -> None:
        super().__init__()
        self.hop = hop

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the network's input, shape (pieces, 1, samples)."""
        return nn.functional.pad(pieces, (0, -pieces.shape[1] % self.hop))[:, None]
