"""The Kaiser-window resampler against resampy, and against closed forms."""

import numpy as np
import pytest
import torch

from probekit.audio import resample as resample_module
from probekit.audio.resample import RESAMPY_0_2, RESAMPY_0_4, resample

torch.set_num_threads(1)
PAIRS = [
    (44100, 16000),
    (44100, 48000),
    (8000, 48000),
    (22050, 16000),
    (48000, 16000),
    (96000, 48000),
]
# float32 sums of up to 400 products of full-scale samples: a few 1e-7 each
EXACT = 5e-6


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, samples)


def resampy_0_2(x, source, target):
    """Run resampy's loop over the table of resampy 0.2, which is this function's."""
    resampy = pytest.importorskip("resampy")
    k = RESAMPY_0_2
    return resampy.resample(
        x,
        source,
        target,
        filter="sinc_window",
        num_zeros=k.zero_crossings,
        precision=9,
        rolloff=k.rolloff,
        window=lambda n: np.kaiser(n, k.beta),
    )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_agrees_with_resampy(source, target):
    x = noise(source // 4 + 13)
    found = resample(torch.from_numpy(x), source, target).numpy()
    expected = resampy_0_2(x, source, target)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_agrees_with_the_filter_of_resampy_0_4(source, target):
    resampy = pytest.importorskip("resampy", minversion="0.4.3")
    x = noise(source // 4 + 13)
    found = resample(torch.from_numpy(x), source, target, RESAMPY_0_4).numpy()
    expected = resampy.resample(x, source, target, filter="kaiser_best")
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_tables_are_those_of_the_releases():
    """Entries of ``kaiser_best.npz`` in resampy 0.2.2, and the whole table of the installed 0.4."""
    table = resample_module._interp_window(RESAMPY_0_2)
    entries = {
        0: 0.9475937167399596,
        255: 0.6363608819253347,
        512: 0.05207910617885589,
        5000: -0.01973830271925152,
        20000: -2.0573706144215317e-05,
        32768: 1.6401183069347287e-08,
    }
    assert len(table) == 32769
    for index, value in entries.items():
        assert table[index] == pytest.approx(value, rel=0, abs=3e-16)  # rounding of float64
    filters = pytest.importorskip("resampy", minversion="0.4.3").filters
    stored, precision, rolloff = filters.get_filter("kaiser_best")
    assert (precision, rolloff) == (RESAMPY_0_4.precision, RESAMPY_0_4.rolloff)
    # resampy documents beta as 12.9846; its table has 12.984585…, another 8e-9 at most
    np.testing.assert_allclose(resample_module._interp_window(RESAMPY_0_4), stored, atol=1e-8)


@pytest.mark.parametrize("kaiser_filter", [RESAMPY_0_2, RESAMPY_0_4])
@pytest.mark.parametrize("source", [22050, 44100])
def test_half_the_amplitude_passes_at_the_cutoff(source, kaiser_filter):
    """A closed form: the window is symmetric, so the response at the sinc's edge is a half."""
    cutoff = kaiser_filter.rolloff * source / 2
    tone = torch.sin(2 * torch.pi * cutoff * torch.arange(source, dtype=torch.float64) / source)
    inner = resample(tone, source, 48000, kaiser_filter)[2000:-2000]
    amplitude = inner.double().square().mean().sqrt() * 2**0.5
    assert amplitude == pytest.approx(0.5, abs=1e-4)  # the last period is not complete


def test_the_two_filters_differ():
    x = torch.from_numpy(noise(8000))
    old, new = resample(x, 44100, 48000), resample(x, 44100, 48000, RESAMPY_0_4)
    assert (old - new).abs().max() > 0.05


@pytest.mark.parametrize(("source", "target"), [(44056, 16000), (16000, 44056), (47999, 48000)])
def test_awkward_ratios_agree_with_resampy(source, target):
    x = noise(6000)
    found = resample(torch.from_numpy(x), source, target).numpy()
    expected = resampy_0_2(x, source, target)
    np.testing.assert_allclose(found, expected, rtol=0, atol=EXACT)


def test_both_ways_to_compute_agree(monkeypatch):
    x = torch.from_numpy(noise(5000)).reshape(2, 2500)
    by_matrix = resample(x, 44100, 16000)
    monkeypatch.setattr(resample_module, "_LARGEST_MATRIX", 0)
    monkeypatch.setattr(resample_module, "_FRAMED_SAMPLES", 50_000)
    np.testing.assert_allclose(resample(x, 44100, 16000), by_matrix, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_stays_that_tone(source, target):
    """Away from the edges a tone well below both Nyquist frequencies is only sampled anew."""

    def tone(rate):
        return np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)

    found = resample(torch.from_numpy(tone(source)), source, target).numpy()
    inner = slice(target // 20, -target // 20)
    # where the rate falls, resampy reads its table in truncated steps: too many, so the gain rises
    step = min(1, target / source) * RESAMPY_0_2.precision
    bound = step / int(step) - 1 + 1e-5
    np.testing.assert_allclose(found[inner], tone(target)[inner], rtol=0, atol=bound)


def test_what_lies_above_the_new_nyquist_frequency_is_removed():
    x = torch.sin(2 * torch.pi * 9500 * torch.arange(48000, dtype=torch.float64) / 48000)
    inner = resample(x, 48000, 16000)[1000:-1000]
    assert inner.abs().max() < 1e-3  # -60 dB


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 100, 177, 441, 442, 4410])
def test_length_and_edges(samples):
    x = noise(samples)
    found = resample(torch.from_numpy(x), 44100, 16000)
    assert found.shape == (max(1, samples * 16000 // 44100),)
    if samples >= 3:
        np.testing.assert_allclose(found, resampy_0_2(x, 44100, 16000), rtol=0, atol=EXACT)


def test_batches_and_companions():
    x = torch.from_numpy(noise(3 * 2 * 3000)).reshape(3, 2, 3000)
    together = resample(x, 22050, 16000)
    assert together.dtype == torch.float32
    assert together.shape == (3, 2, 3000 * 16000 // 22050)
    for i in range(3):
        for j in range(2):
            alone = resample(x[i, j], 22050, 16000)
            np.testing.assert_allclose(together[i, j], alone, rtol=0, atol=1e-6)


def test_long_clips_go_through_in_pieces(monkeypatch):
    x = torch.from_numpy(noise(30_000))
    whole = resample(x, 44100, 16000)
    monkeypatch.setattr(resample_module, "_FRAMED_SAMPLES", 2000)
    np.testing.assert_allclose(resample(x, 44100, 16000), whole, rtol=0, atol=1e-6)


def test_equal_rates_give_a_copy():
    x = torch.ones(5)
    y = resample(x, 16000, 16000)
    y[0] = 2
    assert x[0] == 1


@pytest.mark.parametrize(("source", "target", "samples"), [(0, 1, 5), (1, -1, 5), (2, 1, 0)])
def test_refuses_what_cannot_be(source, target, samples):
    with pytest.raises(ValueError, match=r"must be > 0 Hz|without samples"):
        resample(torch.zeros(samples), source, target)


def test_weights_are_computed_once():
    x = torch.zeros(1000)
    resample(x, 44100, 16000)
    before = resample_module._matrix.cache_info().misses
    resample(x, 44100, 16000)
    assert resample_module._matrix.cache_info().misses == before


def test_gradients_pass():
    resample_module._matrix.cache_clear()
    with torch.inference_mode():
        resample(torch.zeros(1000), 8000, 16000)
    x = torch.zeros(1000, requires_grad=True)
    resample(x, 8000, 16000).sum().backward()
    assert x.grad[500] == pytest.approx(2, abs=1e-3)  # each sample goes into two
