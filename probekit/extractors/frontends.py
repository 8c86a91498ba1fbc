"""Spectrograms, mel filters, decibels and cosine transforms of the networks' front-ends, in torch.

One algorithm on CPU and GPU. Constants (windows, filters, cosine bases) are computed in float64.

A float32 Fourier transform has an error of about 1e-7 of the loudest bin in every bin, which
decibels make visible in silent bands: there, two machines would differ by whole decibels. So
spectra are best computed with waveform and window in float64, as NumPy does for the originals;
:func:`mel_spectrogram` returns float32 all the same if the filters are float32.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

_BLOCK = 1 << 18  # samples in frames at once on a CPU: stays in the cache

MelScale = Literal["slaney", "htk"]


def hann(length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a periodic Hann window.

    Parameters
    ----------
    length : int >= 2
        Number of samples.
    dtype : torch.dtype
        Type of the values.

    Returns
    -------
    Tensor, shape (length,)
        ``0.5 - 0.5 cos(2 pi k / length)``: one full period, so that the last value is not zero.

    See Also
    --------
    stft_magnitude : Short-time spectra under a window.

    Examples
    --------
    >>> hann(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    phase = torch.arange(length, dtype=torch.float64) * (2 * math.pi / length)
    return (0.5 - 0.5 * torch.cos(phase)).to(dtype)


def stft_magnitude(
    waves: Tensor, *, n_fft: int, hop_length: int, window: Tensor, power: float = 1.0
) -> Tensor:
    """Compute the magnitudes, or powers, of short-time spectra.

    Nothing is padded and an incomplete last frame is dropped: pad the waveform first for centered
    frames. A frame is as long as ``window``; if ``n_fft`` is larger, zeros follow it.

    Parameters
    ----------
    waves : Tensor, shape (batch, samples), samples >= len(window)
        Waveforms of equal length.
    n_fft : int >= len(window)
        Length of the Fourier transform.
    hop_length : int >= 1
        Samples between the starts of neighboring frames.
    window : Tensor, shape (win_length,), win_length <= n_fft
        Factors of each frame's samples, on the device of ``waves``.
    power : {1.0, 2.0}
        1 for magnitudes, 2 for powers.

    Returns
    -------
    Tensor, shape (batch, frames, n_fft // 2 + 1)
        float64 if waveforms or window are; ``frames`` is
        ``1 + (samples - len(window)) // hop_length``.

    Raises
    ------
    ValueError
        If the waveforms are shorter than the window, the window is longer than ``n_fft``, or
        ``power`` is another number.

    See Also
    --------
    mel_spectrogram : The same through mel filters.

    Examples
    --------
    A tone of 1,000 Hz is in bin 1000 / (16000 / 512) = 32:

    >>> time = torch.arange(16000, dtype=torch.float64) / 16000
    >>> tone = torch.sin(2 * torch.pi * 1000 * time)
    >>> spectra = stft_magnitude(
    ...     tone[None], n_fft=512, hop_length=160, window=hann(400, torch.float64)
    ... )
    >>> spectra.shape
    torch.Size([1, 98, 257])
    >>> spectra[0, 0].argmax()
    tensor(32)
    """
    dtype = torch.promote_types(waves.dtype, window.dtype)
    _check(waves, n_fft, window, power)
    frames = waves.unfold(-1, len(window), hop_length)
    return next(_spectra([frames], n_fft, window, power, dtype))


def mel_spectrogram(
    waves: Tensor,
    *,
    n_fft: int,
    hop_length: int,
    window: Tensor,
    filterbank: Tensor,
    power: float = 2.0,
) -> Tensor:
    """Compute mel spectrograms in memory that hardly grows with the length of the waveforms.

    The result is that of :func:`stft_magnitude` times the filters, up to rounding.

    Parameters
    ----------
    waves : Tensor, shape (batch, samples), samples >= len(window)
        Waveforms of equal length.
    n_fft : int >= len(window)
        Length of the Fourier transform.
    hop_length : int >= 1
        Samples between the starts of neighboring frames.
    window : Tensor, shape (win_length,), win_length <= n_fft
        Factors of each frame's samples, on the device of ``waves``.
    filterbank : Tensor, shape (n_fft // 2 + 1, n_mels)
        For example from :func:`mel_filterbank`.
    power : {1.0, 2.0}
        1 for magnitudes, 2 for powers.

    Returns
    -------
    Tensor, shape (batch, frames, n_mels)
        Of the type of ``filterbank``.

    Raises
    ------
    ValueError
        As for :func:`stft_magnitude`.

    See Also
    --------
    log_mel_spectrogram : The same in decibels.

    Examples
    --------
    >>> noise = torch.randn(2, 16000)
    >>> filters = mel_filterbank(sr=16000, n_fft=512, n_mels=64)
    >>> mel_spectrogram(
    ...     noise, n_fft=512, hop_length=160, window=hann(400), filterbank=filters
    ... ).shape
    torch.Size([2, 98, 64])
    """
    _check(waves, n_fft, window, power)
    length, dtype = len(window), torch.promote_types(waves.dtype, window.dtype)
    samples = _BLOCK if waves.device.type == "cpu" else 16 * _BLOCK
    count = max(1, samples // (n_fft * max(1, len(waves))))  # frames of a block
    blocks = (
        waves[:, start : start + (count - 1) * hop_length + length].to(dtype)
        for start in range(0, waves.shape[1] - length + 1, count * hop_length)
    )
    frames = (block.unfold(1, length, hop_length) for block in blocks)
    spectra = _spectra(frames, n_fft, window, power, filterbank.dtype)
    return torch.cat([block @ filterbank for block in spectra], 1)


def mel_filterbank(
    *,
    sr: int,
    n_fft: int,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    mel_scale: MelScale = "slaney",
    norm: Literal["slaney"] | None = "slaney",
    linear_in: Literal["hz", "mel"] = "hz",
) -> Tensor:
    """Create mel filters: a linear map from the bins of a Fourier transform to mel bands.

    The filters are triangles, evenly spaced on a mel scale. With the defaults they are those of
    ``librosa.filters.mel``, transposed.

    Parameters
    ----------
    sr : int > 0
        Sample rate in Hz.
    n_fft : int > 0
        Length of the Fourier transform.
    n_mels : int >= 1
        Number of filters.
    fmin : float, 0 <= fmin < fmax
        Lower edge of the first filter in Hz.
    fmax : float, fmax <= sr / 2, optional
        Upper edge of the last filter in Hz; ``sr / 2`` by default.
    mel_scale : {"slaney", "htk"}
        Slaney: linear up to 1000 Hz, logarithmic above (Auditory Toolbox, 1998). HTK:
        ``2595 log10(1 + f / 700)`` (O'Shaughnessy, 1987).
    norm : {"slaney", None}
        Slaney: each filter has unit area over frequency in Hz. None: each peaks at 1.
    linear_in : {"hz", "mel"}
        The axis along which the sides of the triangles are straight: Hz as in librosa, mel as in
        VGGish.

    Returns
    -------
    Tensor, shape (n_fft // 2 + 1, n_mels), float32
        One filter a column.

    Raises
    ------
    ValueError
        If the edges are out of range.

    Warns
    -----
    UserWarning
        If a filter lies between two bins and is zero everywhere.

    See Also
    --------
    mel_spectrogram : Applies the filters to short-time spectra.

    Examples
    --------
    >>> filters = mel_filterbank(sr=22050, n_fft=2048, n_mels=128)
    >>> filters.shape
    torch.Size([1025, 128])

    Filters that peak at 1, on the HTK scale, from 125 to 7,500 Hz:

    >>> filters = mel_filterbank(
    ...     sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, mel_scale="htk", norm=None
    ... )
    >>> bool(filters.max() <= 1)
    True
    """
    if fmax is None:
        fmax = sr / 2
    if not 0 <= fmin < fmax <= sr / 2:
        raise ValueError(
            f"fmin and fmax must satisfy 0 <= fmin < fmax <= {sr / 2:g} Hz, got fmin={fmin:g} and "
            f"fmax={fmax:g}"
        )
    limits = _hz_to_mel(torch.tensor([fmin, fmax], dtype=torch.float64), mel_scale)
    first, last = limits.tolist()
    edges = torch.linspace(first, last, n_mels + 2, dtype=torch.float64)
    edges_hz = _mel_to_hz(edges, mel_scale)
    bins = torch.linspace(0, sr / 2, n_fft // 2 + 1, dtype=torch.float64)
    if linear_in == "mel":
        bins = _hz_to_mel(bins, mel_scale)
    else:
        edges = edges_hz
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp_min(0)
    empty = int((filters.amax(0) == 0).sum())
    if empty:
        warnings.warn(
            f"{empty} of {n_mels} mel filters are zero everywhere: raise n_fft={n_fft} or lower "
            f"n_mels={n_mels}",
            stacklevel=2,
        )
    if norm == "slaney":
        filters = filters * (2 / (edges_hz[2:] - edges_hz[:-2]))
    return filters.float()


def power_to_db(x: Tensor, amin: float = 1e-10) -> Tensor:
    """Convert powers to decibels, ``10 log10(max(x, amin))``.

    Parameters
    ----------
    x : Tensor
        Powers (or magnitudes, where the original takes those for powers), of any shape.
    amin : float > 0
        Smaller values are raised to this one.

    Returns
    -------
    Tensor
        Decibels relative to 1, of the same shape.

    See Also
    --------
    clip_top_db : Limits the range below the maximum.

    Examples
    --------
    >>> power_to_db(torch.tensor([1.0, 0.001, 0.0]))
    tensor([   0.,  -30., -100.])
    """
    return 10 * torch.log10(x.clamp_min(amin))


def clip_top_db(levels: Tensor, top_db: float = 80.0) -> Tensor:
    """Limit decibels to a range below the maximum of each piece.

    Parameters
    ----------
    levels : Tensor, shape (pieces, …)
        Decibels.
    top_db : float > 0
        Values further below a piece's maximum are raised to ``maximum - top_db``.

    Returns
    -------
    Tensor
        Of the same shape.

    See Also
    --------
    power_to_db : Powers to decibels.

    Examples
    --------
    >>> clip_top_db(torch.tensor([[0.0, -30.0, -100.0]]), top_db=80.0)
    tensor([[  0., -30., -80.]])
    """
    peak = levels.flatten(1).amax(1)
    return torch.maximum(levels, (peak - top_db).reshape(-1, *[1] * (levels.ndim - 1)))


def dct_matrix(n_mels: int, n_mfcc: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Create the matrix of the orthonormal discrete cosine transform, type II.

    Parameters
    ----------
    n_mels : int >= 1
        Length of the axis to transform.
    n_mfcc : int, 1 <= n_mfcc <= n_mels
        Number of coefficients.
    dtype : torch.dtype
        Type of the values.

    Returns
    -------
    Tensor, shape (n_mels, n_mfcc)
        ``levels @ dct_matrix(n_mels, n_mfcc)`` are the coefficients of the last axis.

    See Also
    --------
    LogMel : The log-mel spectrograms that cepstral coefficients come from.

    Examples
    --------
    The matrix of all coefficients is orthogonal:

    >>> basis = dct_matrix(64, 64, torch.float64)
    >>> torch.allclose(basis.T @ basis, torch.eye(64, dtype=torch.float64))
    True
    """
    centers = torch.arange(n_mels, dtype=torch.float64)[:, None] + 0.5
    basis = torch.cos(centers * torch.arange(n_mfcc, dtype=torch.float64) * (math.pi / n_mels))
    basis *= math.sqrt(2 / n_mels)
    basis[:, 0] /= math.sqrt(2)
    return basis.to(dtype)


def log_mel_spectrogram(
    waves: Tensor,
    *,
    n_fft: int,
    hop_length: int,
    window: Tensor,
    filterbank: Tensor,
    pad: int,
    pad_mode: Literal["constant", "reflect"] = "constant",
    power: float = 2.0,
    amin: float = 1e-10,
) -> Tensor:
    """Compute mel spectrograms in decibels, of padded waveforms.

    Parameters
    ----------
    waves : Tensor, shape (batch, samples)
        Waveforms of equal length; computed with in the type of ``window``.
    n_fft : int >= len(window)
        Length of the Fourier transform.
    hop_length : int >= 1
        Samples between the starts of neighboring frames.
    window : Tensor, shape (win_length,), win_length <= n_fft
        Factors of each frame's samples, on the device of ``waves``.
    filterbank : Tensor, shape (n_fft // 2 + 1, n_mels)
        For example from :func:`mel_filterbank`.
    pad : int >= 0
        Samples added before and after the waveform; half a window for centered frames.
    pad_mode : {"constant", "reflect"}
        Zeros, or the waveform mirrored at its ends.
    power : {1.0, 2.0}
        Decibels of powers, or of magnitudes as if they were powers.
    amin : float > 0
        Smaller values are raised to this one.

    Returns
    -------
    Tensor, shape (batch, frames, n_mels)
        Decibels relative to 1, of the type of ``filterbank``.

    Raises
    ------
    ValueError
        As for :func:`stft_magnitude`.

    See Also
    --------
    LogMel : The same as a module with its constants.

    Examples
    --------
    >>> log_mel_spectrogram(
    ...     torch.zeros(1, 16000), n_fft=512, hop_length=160, window=hann(512), pad=256,
    ...     filterbank=mel_filterbank(sr=16000, n_fft=512, n_mels=64),
    ... ).shape
    torch.Size([1, 101, 64])
    """
    padded = nn.functional.pad(waves, (pad, pad), mode=pad_mode)
    mel = mel_spectrogram(
        padded,
        n_fft=n_fft,
        hop_length=hop_length,
        window=window,
        filterbank=filterbank,
        power=power,
    )
    return power_to_db(mel, amin)


class LogMel(nn.Module):
    """Mel spectrograms in decibels, with window and filters as buffers (not in the state dict).

    Parameters
    ----------
    sr : int > 0
        Sample rate in Hz.
    n_fft : int > 0
        Length of the Fourier transform.
    hop_length : int >= 1
        Samples between the starts of neighboring frames.
    n_mels : int >= 1
        Mel bands, with Slaney's scale and norm.
    fmin : float
        Lower edge of the first band in Hz.
    fmax : float, optional
        Upper edge of the last band in Hz; ``sr / 2`` by default.
    win_length : int, optional
        Length of the Hann window; ``n_fft`` by default.
    pad : int, optional
        Zeros before and after the waveform; half a window by default, for centered frames.
    power : {1.0, 2.0}
        Decibels of powers, or of magnitudes as if they were powers.
    amin : float > 0
        Smaller values are raised to this one.
    dtype : torch.dtype
        Type of waveform and window in the Fourier transform.

    See Also
    --------
    log_mel_spectrogram : The same as a function.

    Examples
    --------
    >>> log_mel = LogMel(sr=16000, n_fft=512, hop_length=160, n_mels=64)
    >>> log_mel(torch.zeros(1, 16000)).shape
    torch.Size([1, 101, 64])
    """

    hann: Tensor
    filterbank: Tensor

    def __init__(
        self,
        *,
        sr: int,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        fmin: float = 0.0,
        fmax: float | None = None,
        win_length: int | None = None,
        pad: int | None = None,
        power: float = 2.0,
        amin: float = 1e-10,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.power, self.amin = n_fft, hop_length, power, amin
        window = hann(win_length or n_fft, dtype)
        filterbank = mel_filterbank(sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
        self.pad = len(window) // 2 if pad is None else pad
        self.register_buffer("hann", window, persistent=False)
        self.register_buffer("filterbank", filterbank, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (batch, samples), to decibels, (batch, frames, n_mels)."""
        return log_mel_spectrogram(
            waves,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            window=self.hann,
            filterbank=self.filterbank,
            pad=self.pad,
            power=self.power,
            amin=self.amin,
        )


class AudioSetLogMel(nn.Module):
    """Log-mel spectra of VGGish and YAMNet: ``ln(mel + offset)`` of magnitudes, at 16 kHz.

    64 bands of HTK's scale from 125 to 7,500 Hz, windows of 25 ms, one every 10 ms.

    Parameters
    ----------
    offset : float > 0
        Added before the logarithm.

    Examples
    --------
    >>> AudioSetLogMel(0.01)(torch.zeros(1, 15600)).shape
    torch.Size([1, 1, 96, 64])
    """

    hann: Tensor
    filterbank: Tensor

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset
        filterbank = mel_filterbank(
            sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, mel_scale="htk", norm=None,
            linear_in="mel",
        )  # fmt: skip
        self.register_buffer("hann", hann(400, torch.float64), persistent=False)
        self.register_buffer("filterbank", filterbank, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Transform waveforms, shape (batch, samples), to spectra, (batch, 1, frames, 64)."""
        mel = mel_spectrogram(
            waves,
            n_fft=512,
            hop_length=160,
            window=self.hann,
            filterbank=self.filterbank,
            power=1.0,
        )
        return torch.log(mel + self.offset)[:, None]


def _check(waves: Tensor, n_fft: int, window: Tensor, power: float) -> None:
    """Raise if arguments of a transform are not valid."""
    if power not in (1.0, 2.0):
        raise ValueError(f"power must be 1 (magnitude) or 2 (power), got {power}")
    if len(window) > n_fft:
        raise ValueError(
            f"window must be at most n_fft = {n_fft} samples long, got {len(window)} samples"
        )
    if waves.shape[-1] < len(window):
        raise ValueError(
            f"waves must have at least {len(window)} samples (one window), got "
            f"{waves.shape[-1]}: pad first"
        )


def _spectra(
    blocks: Iterable[Tensor], n_fft: int, window: Tensor, power: float, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Transform blocks of frames, shape (batch, frames, len(window)), to powers of a type."""
    padded = torch.empty(0)
    for block in blocks:
        frames = block * window
        if len(window) < n_fft and not frames.requires_grad:
            if padded.shape[:-1] != frames.shape[:-1]:
                padded = frames.new_zeros(*frames.shape[:-1], n_fft)
            padded[..., : len(window)] = frames  # the zeros are those of the block before
            frames = padded
        spectrum = torch.fft.rfft(frames, n=n_fft)
        if power == 1.0 and spectrum.requires_grad:
            yield spectrum.abs().to(dtype)  # its gradient is 0 at 0, a root's is not
            continue
        # the root of the squares takes half as long as abs(), which guards against overflow
        powers = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag).to(dtype)
        yield powers.sqrt_() if power == 1.0 else powers


_LINEAR = 200 / 3  # Hz per mel below the break, Slaney
_BREAK = 1000.0  # Hz
_LOG_STEP = math.log(6.4) / 27  # per mel above the break


def _hz_to_mel(hz: Tensor, scale: MelScale) -> Tensor:
    """Convert Hz (float64) to mel."""
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    above = _BREAK / _LINEAR + torch.log(hz.clamp_min(1e-9) / _BREAK) / _LOG_STEP
    return torch.where(hz < _BREAK, hz / _LINEAR, above)


def _mel_to_hz(mel: Tensor, scale: MelScale) -> Tensor:
    """Convert mel (float64) to Hz."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    above = _BREAK * torch.exp(_LOG_STEP * (mel - _BREAK / _LINEAR))
    return torch.where(mel < _BREAK / _LINEAR, mel * _LINEAR, above)
