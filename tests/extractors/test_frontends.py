"""Front-ends against librosa, scipy, torchvggish and closed forms."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from probekit.extractors import frontends

torch.set_num_threads(1)
RATE = 16000


def waves(samples=8000, seed=0):
    """Noise, a tone, silence and clicks."""
    rng = np.random.default_rng(seed)
    clicks = np.zeros(samples)
    clicks[:: samples // 7] = 1
    tone = np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)
    rows = [rng.uniform(-1, 1, samples), tone, np.zeros(samples), clicks]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


@pytest.mark.parametrize("length", [2, 400, 1023, 2048])
def test_hann_is_periodic(length):
    expected = scipy.signal.get_window("hann", length, fftbins=True)
    np.testing.assert_allclose(frontends.hann(length), expected, rtol=0, atol=6e-8)  # float32 step


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize(("n_fft", "length", "hop"), [(512, 400, 160), (1024, 1024, 320)])
def test_spectra_are_those_of_scipy(n_fft, length, hop, power):
    x = waves()
    window = frontends.hann(length)
    found = frontends.stft_magnitude(x, n_fft=n_fft, hop_length=hop, window=window, power=power)
    slow = np.lib.stride_tricks.sliding_window_view(x.double().numpy(), length, axis=1)[:, ::hop]
    expected = np.abs(scipy.fft.rfft(slow * window.double().numpy(), n_fft)) ** power
    assert found.dtype == torch.float32
    assert found.shape == (4, 1 + (x.shape[1] - length) // hop, n_fft // 2 + 1)
    # float32 transform: a few units in the last place of the largest bin
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_float64_spectra_have_silent_bands():
    """10 log10 of a float32 transform would say -140 dB where there is nothing."""
    x = torch.sin(2 * torch.pi * torch.arange(4096, dtype=torch.float64) * 8 / 1024)[None]
    window = frontends.hann(1024, torch.float64)
    found = frontends.stft_magnitude(x, n_fft=1024, hop_length=512, window=window, power=2.0)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found[..., 8], torch.full((1, 7), 256.0**2).double())
    assert found[..., 20:].max() < 1e-22


def test_centred_spectra_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    x = waves(5000)
    padded = torch.nn.functional.pad(x, (1024, 1024))
    found = frontends.stft_magnitude(
        padded, n_fft=2048, hop_length=512, window=frontends.hann(2048)
    )
    expected = np.abs(
        librosa.stft(x.double().numpy(), n_fft=2048, hop_length=512, pad_mode="constant")
    ).swapaxes(1, 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_incomplete_tail_is_dropped_and_too_short_is_refused():
    window = frontends.hann(400)
    for samples, count in ((400, 1), (559, 1), (560, 2)):
        found = frontends.stft_magnitude(
            torch.ones(1, samples), n_fft=512, hop_length=160, window=window
        )
        assert found.shape[1] == count
    with pytest.raises(ValueError, match=r"at least 400 samples \(one window\), got 399"):
        frontends.stft_magnitude(torch.ones(1, 399), n_fft=512, hop_length=160, window=window)
    with pytest.raises(ValueError, match="n_fft = 256"):
        frontends.stft_magnitude(torch.ones(1, 999), n_fft=256, hop_length=160, window=window)
    with pytest.raises(ValueError, match="power"):
        frontends.stft_magnitude(
            torch.ones(1, 999), n_fft=512, hop_length=160, window=window, power=3
        )


def test_blocks_change_nothing(monkeypatch):
    x = waves()
    bank = frontends.mel_filterbank(
        sr=RATE, n_fft=512, n_mels=20, fmin=0, fmax=8000, mel_scale="slaney", norm="slaney"
    )
    settings = {"n_fft": 512, "hop_length": 160, "window": frontends.hann(400), "power": 2.0}
    expected = frontends.stft_magnitude(x, **settings) @ bank
    settings["window"] = settings["window"].double()
    for block in (1, 512 * 4 * 7, 1 << 30):
        monkeypatch.setattr(frontends, "_BLOCK", block)
        found = frontends.mel_spectrogram(x, filterbank=bank, **settings)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("rate", "n_fft", "bands", "low", "high"),
    [(22050, 2048, 64, 0, 11025), (16000, 4096, 64, 0, 8000), (32000, 1024, 64, 50, 14000)],
)
def test_filters_are_those_of_librosa(scale, norm, rate, n_fft, bands, low, high):
    librosa = pytest.importorskip("librosa")
    found = frontends.mel_filterbank(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, mel_scale=scale, norm=norm
    )
    expected = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=low, fmax=high, htk=scale == "htk", norm=norm
    ).T
    # librosa rounds to float32 twice when it normalizes
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 * expected.max())


def test_filters_straight_in_mel_are_those_of_torchvggish():
    upstream = pytest.importorskip("torchvggish.mel_features")
    found = frontends.mel_filterbank(
        sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500,
        mel_scale="htk", norm=None, linear_in="mel",
    )  # fmt: skip
    expected = upstream.spectrogram_to_mel_matrix(64, 257, 16000, 125.0, 7500.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert not found[0].any()


def test_slaney_filters_have_unit_area():
    bank = frontends.mel_filterbank(
        sr=16000, n_fft=1 << 15, n_mels=16, fmin=0, fmax=8000, mel_scale="slaney", norm="slaney"
    )
    area = bank.sum(0) * 16000 / (1 << 15)
    torch.testing.assert_close(area, torch.ones(16), rtol=1e-3, atol=0)  # sampled triangles


@pytest.mark.parametrize(("low", "high"), [(-1, 8000), (0, 8001), (500, 500)])
def test_filters_out_of_range_are_refused(low, high):
    with pytest.raises(ValueError, match="0 <= fmin < fmax <= 8000 Hz"):
        frontends.mel_filterbank(
            sr=16000, n_fft=512, n_mels=8, fmin=low, fmax=high, mel_scale="htk", norm=None
        )


def test_decibels():
    found = frontends.power_to_db(torch.tensor([0.0, 1e-10, 1.0, 100.0, 1e-30]))
    torch.testing.assert_close(found, torch.tensor([-100.0, -100.0, 0.0, 20.0, -100.0]))
    assert frontends.power_to_db(torch.zeros(1), amin=1e-3).item() == pytest.approx(-30)


def test_range_is_limited_piece_by_piece():
    levels = torch.tensor([[[0.0, -79.0], [-81.0, -200.0]], [[-50.0, -131.0], [-129.0, -50.0]]])
    expected = torch.tensor([[[0.0, -79.0], [-80.0, -80.0]], [[-50.0, -130.0], [-129.0, -50.0]]])
    torch.testing.assert_close(frontends.clip_top_db(levels), expected)


@pytest.mark.parametrize(("bands", "count"), [(64, 20), (128, 20), (5, 5)])
def test_cosines_are_those_of_scipy(bands, count):
    x = np.random.default_rng(1).standard_normal((3, bands))
    expected = scipy.fft.dct(x, norm="ortho")[:, :count]
    found = x @ frontends.dct_matrix(bands, count).double().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_empty_filters_are_warned_of():
    with pytest.warns(UserWarning, match="2 of 256 mel filters are zero everywhere: raise n_fft"):
        frontends.mel_filterbank(sr=48000, n_fft=2048, n_mels=256, mel_scale="htk")
