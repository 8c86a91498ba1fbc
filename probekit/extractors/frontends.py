"""Waveforms become spectra, mel bands, decibels and cepstra.

Plain torch functions, one algorithm on CPU and GPU. Constants (windows, filterbanks, cosine bases)
are computed in float64; they are made once and kept by the caller.

A float32 transform is wrong by about 1e-7 of the loudest bin in every bin, and decibels make that
visible in bands that are silent: there, two machines would disagree by whole decibels. So spectra
are best computed with waveform and window in float64, as NumPy does for the originals;
:func:`mel_spectrogram` returns float32 all the same if the filterbank is float32.
"""

import math
from typing import Literal

import torch
from torch import Tensor

_BLOCK = 1 << 18  # samples in windows at once on a CPU: stays in the cache

Scale = Literal["slaney", "htk"]


def hann(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a periodic Hann window.

    Parameters
    ----------
    length : int >= 2
        Samples.
    dtype : torch.dtype
        Of the values.

    Returns
    -------
    Tensor, shape (length,)
        ``0.5 - 0.5 cos(2 pi k / length)``: one full period, so that the last value is not zero.
    """
    phase = torch.arange(length, dtype=torch.float64) * (2 * math.pi / length)
    return (0.5 - 0.5 * torch.cos(phase)).to(dtype)


def stft_magnitude(
    waves: Tensor, *, n_fft: int, hop: int, window: Tensor, power: float = 1.0
) -> Tensor:
    """Return the magnitudes, or powers, of short-time spectra.

    Nothing is padded and an incomplete last frame is dropped: pad the waveform where the original
    does. Each window reaches as far as ``window`` is long; if ``n_fft`` is larger, zeros follow it.

    Parameters
    ----------
    waves : Tensor, shape (batch, samples), samples >= len(window)
        Waveforms of equal length.
    n_fft : int >= len(window)
        Length of the Fourier transform.
    hop : int >= 1
        Samples between the starts of neighbouring frames.
    window : Tensor, shape (at most n_fft,)
        What each frame is multiplied by; on the device of ``waves``.
    power : {1.0, 2.0}
        1 for magnitudes, 2 for their squares.

    Returns
    -------
    Tensor, shape (batch, frames, n_fft // 2 + 1)
        float64 if waveforms or window are; ``frames`` is ``1 + (samples - len(window)) // hop``.

    Raises
    ------
    ValueError
        If the waveforms are shorter than the window, the window is longer than ``n_fft``, or
        ``power`` is another number.
    """
    return _spectra(_frames(waves, n_fft, hop, window, power), n_fft, window, power)


def mel_spectrogram(
    waves: Tensor,
    *,
    n_fft: int,
    hop: int,
    window: Tensor,
    filterbank: Tensor,
    power: float = 2.0,
) -> Tensor:
    """Return :func:`stft_magnitude` times a filterbank, in memory that hardly grows with length.

    Parameters
    ----------
    waves : Tensor, shape (batch, samples)
        As for :func:`stft_magnitude`.
    n_fft : int
        As for :func:`stft_magnitude`.
    hop : int
        As for :func:`stft_magnitude`.
    window : Tensor, shape (window length,)
        As for :func:`stft_magnitude`.
    filterbank : Tensor, shape (n_fft // 2 + 1, bands)
        For example from :func:`mel_filterbank`.
    power : float
        As for :func:`stft_magnitude`.

    Returns
    -------
    Tensor, shape (batch, frames, bands)
        Of the filterbank's kind; the same numbers as the product of the whole spectrogram, up to
        rounding.

    Raises
    ------
    ValueError
        As for :func:`stft_magnitude`.
    """
    frames = _frames(waves, n_fft, hop, window, power)
    samples = _BLOCK if waves.device.type == "cpu" else 16 * _BLOCK
    at_once = max(1, samples // (n_fft * max(1, len(waves))))
    blocks = frames.split(at_once, dim=1)
    spectra = (_spectra(block, n_fft, window, power).to(filterbank.dtype) for block in blocks)
    return torch.cat([block @ filterbank for block in spectra], 1)


def mel_filterbank(
    *,
    rate: int,
    n_fft: int,
    bands: int,
    low: float,
    high: float,
    scale: Scale,
    norm: Literal["slaney"] | None,
    linear_in: Literal["hz", "mel"] = "hz",
) -> Tensor:
    """Return triangular filters, evenly spaced on a mel scale.

    Parameters
    ----------
    rate : int > 0
        Samples per second.
    n_fft : int > 0
        Length of the Fourier transform.
    bands : int >= 1
        Number of filters.
    low, high : float, 0 <= low < high <= rate / 2
        Lower edge of the first and upper edge of the last filter, in Hz.
    scale : {"slaney", "htk"}
        Slaney: linear up to 1000 Hz, logarithmic above (Auditory Toolbox, 1998). HTK:
        ``2595 log10(1 + f / 700)`` (O'Shaughnessy, 1987).
    norm : {"slaney", None}
        Slaney: each filter has unit area over frequency in Hz. None: each peaks at 1.
    linear_in : {"hz", "mel"}
        The axis along which the sides of the triangles are straight: Hz as in librosa, mel as in
        VGGish.

    Returns
    -------
    Tensor, shape (n_fft // 2 + 1, bands), float32
        One filter a column.

    Raises
    ------
    ValueError
        If the edges are out of range.
    """
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"mel filters from {low} to {high} Hz: need 0 <= low < high <= {rate / 2}")
    ends = torch.tensor([low, high], dtype=torch.float64)
    first, last = _to_mel(ends, scale).tolist()
    edges = torch.linspace(first, last, bands + 2, dtype=torch.float64)
    edges_hz = _to_hz(edges, scale)
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    if linear_in == "mel":
        bins = _to_mel(bins, scale)
    else:
        edges = edges_hz
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp_min(0)
    if norm == "slaney":
        filters = filters * (2 / (edges_hz[2:] - edges_hz[:-2]))
    return filters.float()


def power_to_db(x: Tensor, floor: float = 1e-10) -> Tensor:
    """Return ``10 log10(max(x, floor))``.

    Parameters
    ----------
    x : Tensor
        Powers (or whatever the original takes for powers), of any shape.
    floor : float > 0
        Smallest value told apart from silence.

    Returns
    -------
    Tensor
        Decibels relative to 1, of the same shape.
    """
    return 10 * torch.log10(x.clamp_min(floor))


def clip_top_db(levels: Tensor, span: float = 80.0) -> Tensor:
    """Raise everything that lies more than ``span`` below the loudest point of its piece.

    Parameters
    ----------
    levels : Tensor, shape (pieces, …)
        Decibels.
    span : float > 0
        Decibels between a piece's maximum and its floor.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    peak = levels.flatten(1).amax(1)
    return torch.maximum(levels, (peak - span).reshape(-1, *[1] * (levels.ndim - 1)))


def dct_matrix(bands: int, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the first vectors of the orthonormal discrete cosine transform, type II.

    Parameters
    ----------
    bands : int >= 1
        Length of what is transformed.
    count : int, 1 <= count <= bands
        Number of coefficients.
    dtype : torch.dtype
        Of the values.

    Returns
    -------
    Tensor, shape (bands, count)
        ``x @ cosine_basis(bands, count)`` gives the coefficients of the last axis of ``x``.
    """
    place = torch.arange(bands, dtype=torch.float64)[:, None] + 0.5
    basis = torch.cos(place * torch.arange(count, dtype=torch.float64) * (math.pi / bands))
    basis *= math.sqrt(2 / bands)
    basis[:, 0] /= math.sqrt(2)
    return basis.to(dtype)


def _frames(waves: Tensor, n_fft: int, hop: int, window: Tensor, power: float) -> Tensor:
    """Check what was given, and cut it into frames without copying."""
    if power not in (1.0, 2.0):
        raise ValueError(f"power is {power}; it is 1 (magnitude) or 2 (power)")
    if len(window) > n_fft:
        raise ValueError(f"a window of {len(window)} samples does not go into n_fft = {n_fft}")
    if waves.shape[-1] < len(window):
        raise ValueError(
            f"{waves.shape[-1]} samples are shorter than one window of {len(window)}: pad first"
        )
    return waves.unfold(-1, len(window), hop)


def _spectra(frames: Tensor, n_fft: int, window: Tensor, power: float) -> Tensor:
    """Transform frames of shape (batch, frames, len(window))."""
    spectrum = torch.fft.rfft(frames * window, n=n_fft)
    if power == 1.0 and spectrum.requires_grad:
        return spectrum.abs()  # its gradient is 0 at 0, a root's is not
    # the root of the squares takes half as long as abs(), which guards against overflow
    powers = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
    return powers.sqrt_() if power == 1.0 else powers


_LINEAR = 200 / 3  # Hz per mel below the break, Slaney
_BREAK = 1000.0  # Hz
_LOG_STEP = math.log(6.4) / 27  # per mel above the break


def _to_mel(hz: Tensor, scale: Scale) -> Tensor:
    """Turn Hz (float64) into mel."""
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    above = _BREAK / _LINEAR + torch.log(hz.clamp_min(1e-9) / _BREAK) / _LOG_STEP
    return torch.where(hz < _BREAK, hz / _LINEAR, above)


def _to_hz(mel: Tensor, scale: Scale) -> Tensor:
    """Turn mel (float64) into Hz."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _BREAK * torch.exp(_LOG_STEP * (mel - _BREAK / _LINEAR))
    return torch.where(mel < _BREAK / _LINEAR, mel * _LINEAR, above)
