"""Augmentations of waveforms and spectra, in batches and on the device.

All draw from torch's own generator, which the training loop seeds for every epoch, so that a
resumed run draws the same. Sources of the numbers: lee2021 (section 3.4) and its fact sheet for the
mixing, python-acoustics for the spectra of noise, Park et al. (2019) for SpecAugment, Zhang et al.
(2018) for mixup.
"""

from functools import lru_cache

import torch
from torch import Tensor

NOISE_COLORS = ("white", "pink", "brown", "blue", "violet", "grey")
NOISE_BAND = (50.0, 10_000.0)
"""Band of the noise in Hz; outside, brown and grey noise would have nearly all of their energy."""


def random_shift(waves: Tensor) -> Tensor:
    """Shift each waveform circularly by a random offset, uniform over its length.

    ``waves`` has shape (batch, samples); no sample is lost.
    """
    batch, samples = waves.shape
    offsets = torch.randint(samples, (batch, 1), device=waves.device)
    if waves.device.type == "cpu":  # copies are faster there; on a GPU they would wait for it
        pairs = zip(waves, offsets.flatten().tolist(), strict=True)
        return torch.stack([wave.roll(offset) for wave, offset in pairs])
    positions = torch.arange(samples, device=waves.device)
    return waves.gather(1, (positions - offsets) % samples)


def mix(waves: Tensor, others: Tensor, snr: Tensor) -> Tensor:
    """Add other waveforms at a signal-to-noise ratio.

    Parameters
    ----------
    waves, others : Tensor, shape (batch, samples)
        Signals, and what is added to them.
    snr : Tensor, shape (batch,)
        Energy of the signal over that of the other in dB, over all samples, zeros included.

    Returns
    -------
    Tensor, shape (batch, samples)
        The sums. Where either is silent, ``others`` is added as it is.
    """
    ratio = waves.square().mean(1).sqrt() / others.square().mean(1).sqrt()
    gain = ratio * 10 ** (-snr / 20)
    gain = torch.where(gain.isfinite() & (gain > 0), gain, 1.0)
    return waves + gain[:, None] * others


def random_snr(batch: int, low: float, high: float, device: torch.device) -> Tensor:
    """Return ratios in dB, shape (batch,), uniform from ``low`` to ``high``."""
    return low + (high - low) * torch.rand(batch, device=device)


def colored_noise(
    colors: Tensor, samples: int, sr: int, band: tuple[float, float] = NOISE_BAND
) -> Tensor:
    """Draw noise of given colors with a root mean square of 1.

    Parameters
    ----------
    colors : Tensor of int, shape (batch,)
        Indices into :data:`NOISE_COLORS`.
    samples : int >= 2
        Length.
    sr : int
        Sample rate in Hz.
    band : tuple of float
        Frequencies in Hz outside of which there is none.

    Returns
    -------
    Tensor, shape (batch, samples), float32
        Power densities per octave: white 0, pink -3, brown -6, blue +3, violet +6 dB; grey is the
        inverse of the A-weighting of IEC 61672-1.
    """
    shapes = noise_spectra(samples, sr, band).to(colors.device)[colors]
    parts = torch.randn(2, *shapes.shape, device=colors.device)
    noise = torch.fft.irfft(torch.complex(*parts) * shapes, n=samples, dim=1)
    return noise / noise.square().mean(1, keepdim=True).sqrt().clamp_min(1e-20)


@lru_cache(maxsize=4)
def noise_spectra(samples: int, sr: int, band: tuple[float, float] = NOISE_BAND) -> Tensor:
    """Return the amplitudes of each color's spectrum, shape (colors, samples // 2 + 1)."""
    frequency = torch.fft.rfftfreq(samples, 1 / sr, dtype=torch.float64)
    inside = (frequency >= band[0]) & (frequency <= band[1])
    f = frequency.clamp_min(band[0])
    amplitudes = [f**0, f**-0.5, 1 / f, f**0.5, f, 10 ** (-a_weighting(f) / 20)]
    spectra = torch.stack(amplitudes) * inside
    return (spectra / spectra.amax(1, keepdim=True).clamp_min(1e-300)).float()


def a_weighting(frequency: Tensor) -> Tensor:
    """Return the A-weighting of frequencies in Hz, in dB (IEC 61672-1); 0 at 1,000 Hz."""
    square = frequency.square()
    gain = 12194**2 * square.square()
    gain = gain / ((square + 20.6**2) * (square + 12194**2))
    gain = gain / ((square + 107.7**2) * (square + 737.9**2)).sqrt()
    return 20 * torch.log10(gain) + 2.0


class BatchSplitMixing:
    """What makes the augmented sample of a pair in lee2021: offset, another source, noise.

    Parameters
    ----------
    sr : int
        Sample rate in Hz, for the band of the noise.
    mixing : bool
        Whether another source and noise are added; else the offset alone is left.
    snr : tuple of float
        Range of the ratio to the other source in dB.
    noise_snr : tuple of float
        Range of the ratio to the noise in dB. The paper says "less than 6 dB"; that it is the
        upper end of a range from -5 dB is a choice.
    """

    def __init__(
        self,
        sr: int,
        *,
        mixing: bool = True,
        snr: tuple[float, float] = (-5.0, 20.0),
        noise_snr: tuple[float, float] = (-5.0, 6.0),
    ) -> None:
        self.sr, self.mixing, self.snr, self.noise_snr = sr, mixing, snr, noise_snr

    def __call__(self, waves: Tensor, others: Tensor) -> Tensor:
        """Augment ``waves``, shape (batch, samples), with ``others``, repeated as needed."""
        shifted = random_shift(waves)
        if not self.mixing:
            return shifted
        batch, samples = waves.shape
        partners = torch.arange(batch, device=waves.device) % len(others)
        sources = random_shift(others[partners])
        mixed = mix(shifted, sources, random_snr(batch, *self.snr, waves.device))
        colors = torch.randint(len(NOISE_COLORS), (batch,), device=waves.device)
        noise = colored_noise(colors, samples, self.sr)
        return mix(mixed, noise, random_snr(batch, *self.noise_snr, waves.device))


def mask_spectra(spectra: Tensor, bands: int, frames: int, value: float = 0.0) -> Tensor:
    """Mask one block of bands and one of frames of each spectrogram (SpecAugment).

    Parameters
    ----------
    spectra : Tensor, shape (batch, …, bands, frames)
        Spectrograms.
    bands, frames : int >= 0
        Greatest height and width; each is uniform from 0 on.
    value : float
        What masked values become.
    """
    batch, device = len(spectra), spectra.device
    for axis, most in ((-2, bands), (-1, frames)):
        size = spectra.shape[axis]
        width = torch.randint(min(most, size) + 1, (batch,), device=device)
        start = (torch.rand(batch, device=device) * (size - width + 1)).long()
        position = torch.arange(size, device=device)
        masked = (position >= start[:, None]) & (position < (start + width)[:, None])
        shape = [batch, *[1] * (spectra.ndim - 1)]
        shape[axis] = size
        spectra = torch.where(masked.reshape(shape), value, spectra)
    return spectra


def mixup(waves: Tensor, targets: Tensor, alpha: float = 0.2) -> tuple[Tensor, Tensor]:
    """Average each example with another one of the batch, in the same proportion as their targets.

    Parameters
    ----------
    waves : Tensor, shape (batch, …)
        Inputs.
    targets : Tensor, shape (batch, classes)
        Probabilities of the classes.
    alpha : float > 0
        Proportions have the distribution Beta(alpha, alpha).
    """
    share = torch.distributions.Beta(alpha, alpha).sample((len(waves),)).to(waves.device)
    partners = torch.randperm(len(waves), device=waves.device)
    mixed = []
    for values in (waves, targets):
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        mixed.append(weight * values + (1 - weight) * values[partners])
    return mixed[0], mixed[1]
