"""Augmentations: energies, spectra, and what must stay."""

import numpy as np
import pytest
import torch

from probekit.training import augmentations
from probekit.training.augmentations import NOISE_COLORS

SR = 22050


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_shift_is_circular_and_uniform():
    waves = torch.arange(1000.0).repeat(400, 1)
    shifted = augmentations.random_shift(waves)
    assert torch.equal(shifted.sort(1).values, waves)
    assert (shifted.diff(dim=1) == 1).sum(1).min() >= 998  # one seam at most
    offsets = shifted.argmin(1).float()
    assert 440 < offsets.mean() < 560 and offsets.std() == pytest.approx(289, rel=0.1)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_mix_has_the_ratio(snr):
    waves, others = torch.randn(3, 5000), 7 * torch.randn(3, 5000)
    added = augmentations.mix(waves, others, torch.full((3,), snr)) - waves
    ratio = 10 * torch.log10(waves.square().mean(1) / added.square().mean(1))
    assert ratio.tolist() == pytest.approx([snr] * 3, abs=1e-3)


def test_silence_is_mixed_as_it_is():
    noise, silence = torch.randn(2, 100), torch.zeros(2, 100)
    snr = torch.zeros(2)
    assert torch.equal(augmentations.mix(silence, noise, snr), noise)
    assert torch.equal(augmentations.mix(noise, silence, snr), noise)


@pytest.mark.parametrize("color", NOISE_COLORS)
def test_noise_has_its_slope_and_is_within_the_band(color):
    index = torch.full((8,), NOISE_COLORS.index(color))
    noise = augmentations.colored_noise(index, 5 * SR, SR)
    assert noise.square().mean(1).tolist() == pytest.approx([1] * 8, rel=1e-5)
    power = torch.fft.rfft(noise.double()).abs().square().mean(0).numpy()
    frequency = np.fft.rfftfreq(5 * SR, 1 / SR)
    inside = (frequency >= 50) & (frequency <= 10_000)
    assert power[~inside].sum() < 1e-6 * power.sum()

    def level(center):
        """The mean density of a third of an octave, in dB."""
        third = (frequency > center / 2 ** (1 / 6)) & (frequency < center * 2 ** (1 / 6))
        return 10 * np.log10(power[third].mean())

    slopes = {"white": 0, "pink": -3.01, "brown": -6.02, "blue": 3.01, "violet": 6.02}
    if color == "grey":  # IEC 61672-1: -19.14 dB at 100 Hz, 0 at 1 kHz, -2.49 at 10 kHz
        assert level(100) - level(1000) == pytest.approx(19.1, abs=0.7)
        return
    # of bins of a third of an octave around 500 Hz the mean has an error of 0.2 dB
    assert (level(4000) - level(500)) / 3 == pytest.approx(slopes[color], abs=0.3)


def test_a_weighting_of_the_standard():
    levels = augmentations.a_weighting(torch.tensor([100.0, 1000.0, 10000.0]).double())
    assert levels.tolist() == pytest.approx([-19.14, 0.0, -2.49], abs=0.01)


def test_batch_split_mixing():
    waves, others = torch.randn(5, 4000), torch.randn(4, 4000)
    augmented = augmentations.BatchSplitMixing(SR)(waves, others)
    assert augmented.shape == waves.shape and torch.isfinite(augmented).all()
    offset = augmentations.BatchSplitMixing(SR, mixing=False)(waves, others)
    assert torch.equal(offset.sort(1).values, waves.sort(1).values)
    torch.manual_seed(1)
    first = augmentations.BatchSplitMixing(SR)(waves, others)
    torch.manual_seed(1)
    assert torch.equal(first, augmentations.BatchSplitMixing(SR)(waves, others))


def test_masks_are_blocks():
    masked = augmentations.mask_spectra(torch.ones(200, 1, 40, 100), 10, 20)
    bands, frames = ((masked[:, 0] == 0).all(axis).sum(1) for axis in (2, 1))
    assert bands.max() == 10 and frames.max() == 20 and bands.min() == frames.min() == 0
    whole = augmentations.mask_spectra(torch.ones(4, 1, 5, 5), 0, 0)
    assert (whole == 1).all()


def test_mixup_keeps_sums():
    waves, targets = torch.randn(50, 30), torch.eye(5)[torch.randint(5, (50,))]
    mixed, soft = augmentations.mixup(waves, targets, 0.4)
    assert soft.sum(1).tolist() == pytest.approx([1] * 50)
    assert mixed.shape == waves.shape and not torch.equal(mixed, waves)
