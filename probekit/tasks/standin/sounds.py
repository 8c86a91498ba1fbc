"""Synthetic sounds of twelve classes, from simple physical models.

Pitch, decay, tempo, filtering, level and background noise vary widely within a class, and some
classes are near neighbors, so that a linear probe on plain spectral statistics does well but not
perfectly. To add a class, write one function ``(rng, n, sr) -> (n,)`` and enter it in ``_VOICES``;
with any change to the sounds, raise ``VERSION`` in :mod:`probekit.tasks.standin.corpus`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy  # loads scipy.signal when it is used: training on such sounds need not wait for it
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Signal: TypeAlias = NDArray[np.float64]


def _log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a positive number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _curve(rng: Generator, n: int, sr: int, hertz: float) -> Signal:
    """Draw a slow random curve in [-1, 1] that takes about ``hertz`` new values a second."""
    points = rng.uniform(-1, 1, int(n / sr * hertz) + 3)
    return np.interp(np.arange(n) * hertz / sr + rng.uniform(), np.arange(points.size), points)


def _decay(n: int, sr: int, seconds: float) -> Signal:
    """Exponential decay by 60 dB in ``seconds``."""
    return np.asarray(10.0 ** (np.arange(n) * (-3.0 / (seconds * sr))))


def _sine(hertz: ArrayLike, n: int, sr: int) -> Signal:
    """Sine that follows ``hertz``, a number or n of them."""
    return np.sin(np.cumsum(np.broadcast_to(2 * np.pi / sr * np.asarray(hertz), n)))


def _band(x: Signal, sr: int, low: float | None, high: float | None) -> Signal:
    """Second-order high-pass at ``low`` and low-pass at ``high``, kept below Nyquist."""
    for hertz, kind in ((low, "highpass"), (high, "lowpass")):
        if hertz is not None:
            sos = scipy.signal.butter(2, min(hertz, 0.45 * sr), kind, fs=sr, output="sos")
            x = np.asarray(scipy.signal.sosfilt(sos, x))
    return x


def _ring(x: Signal, sr: int, hertz: Signal, t60: Signal, gain: ArrayLike = 1.0) -> Signal:
    """Sum of two-pole resonators driven by ``x``; modes above Nyquist are left out."""
    out = np.zeros_like(x)
    for f, seconds, level in np.broadcast(hertz, t60, gain):
        if f < 0.47 * sr:
            r, w = 10.0 ** (-3.0 / (seconds * sr)), 2 * np.pi * f / sr
            out += scipy.signal.lfilter([level * np.sin(w)], [1.0, -2 * r * np.cos(w), r * r], x)
    return out


def _onsets(rng: Generator, n: int, sr: int, gap: float, swing: float) -> list[int]:
    """Sample indices of events about ``gap`` seconds apart; there is always at least one."""
    count = int(n / (gap * sr) / (1 - swing)) + 2
    steps = gap * sr * (1 + swing * rng.uniform(-1, 1, count))
    steps[0] = rng.uniform(0, min(0.15 * sr, n / 4))
    return [int(onset) for onset in np.cumsum(steps) if onset < n]


def _unit(x: Signal) -> Signal:
    """Scale to a standard deviation of 1."""
    return np.asarray(x / x.std())


def _add(out: Signal, start: int, event: Signal) -> None:
    """Mix ``event`` into ``out`` from ``start`` on, as far as it fits."""
    out[start : start + event.size] += event[: max(out.size - start, 0)]


def _bell(rng: Generator, n: int, sr: int) -> Signal:
    """Struck bell: inharmonic modes that decay faster the higher they are."""
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.51, 2.74, 3.76, 5.2])
    hertz = _log_uniform(rng, 350, 1400) * ratios * rng.uniform(0.97, 1.03, 9)
    t60 = _log_uniform(rng, 0.8, 4.0) / ratios ** rng.uniform(0.3, 1.0)
    gain = rng.uniform(0.2, 1.0, 9) / ratios ** rng.uniform(0.0, 0.8)
    strikes = np.zeros(n)
    for onset in _onsets(rng, n, sr, _log_uniform(rng, 0.25, 1.1), 0.2):
        strikes[onset] = rng.uniform(0.4, 1.0)
    return _ring(strikes, sr, hertz, t60, gain)


def _bird(rng: Generator, n: int, sr: int) -> Signal:
    """Bird song: phrases of repeated short chirps, each a fast sweep of one sine."""
    out = np.zeros(n)
    center = min(_log_uniform(rng, 1600, 6000), 0.32 * sr)
    for phrase in _onsets(rng, n, sr, rng.uniform(0.5, 1.0), 0.3):
        size = int(sr * _log_uniform(rng, 0.03, 0.2))
        t = np.linspace(0, 1, size)
        sweep = rng.uniform(-0.4, 0.4) * (t - 0.5) + rng.uniform(-0.2, 0.2) * np.sin(np.pi * t)
        sweep += rng.uniform(0, 0.06) * np.sin(2 * np.pi * rng.uniform(2, 8) * t)
        hertz = np.minimum(center * _log_uniform(rng, 0.75, 1.3) * (1 + sweep), 0.4 * sr)
        chirp = rng.uniform(0.3, 1.0) * _sine(hertz, size, sr) * np.sin(np.pi * t)
        step = int(size * rng.uniform(1.05, 2.0))
        for k in range(int(rng.integers(1, 7))):
            _add(out, phrase + k * step, chirp)
    return out


def _engine(rng: Generator, n: int, sr: int) -> Signal:
    """Engine: a pulse for each firing, uneven by cylinder, through the exhaust's modes."""
    speed = 1 + rng.uniform(0.02, 0.35) * _curve(rng, n, sr, rng.uniform(0.3, 1.5))
    turns = np.cumsum(_log_uniform(rng, 22, 90) / sr * speed).astype(int)
    fires = np.flatnonzero(np.diff(turns, prepend=-1))
    cylinders = rng.uniform(0.5, 1.0, int(rng.integers(2, 7)))
    pulses = np.zeros(n)
    pulses[fires] = np.resize(cylinders, fires.size) * rng.uniform(0.8, 1.2, fires.size)
    hertz = np.exp(rng.uniform(np.log(60), np.log(1500), 4))
    tone = _ring(pulses, sr, hertz, rng.uniform(0.02, 0.12, 4), np.sqrt(200 / hertz))
    load = np.asarray(scipy.signal.lfilter([1.0], [1.0, -np.exp(-1 / (0.006 * sr))], pulses))
    intake = _band(rng.standard_normal(n), sr, 150, _log_uniform(rng, 600, 4000)) * load
    return _unit(tone) + rng.uniform(0.2, 0.9) * _unit(intake)


def _footsteps(rng: Generator, n: int, sr: int) -> Signal:
    """Footsteps: heel and toe thud in the floor's low modes and scuff in filtered noise."""
    thuds, scuffs, size = np.zeros(n), np.zeros(n), int(0.3 * sr)
    delay = int(sr * rng.uniform(0.02, 0.14))
    rub = _decay(size, sr, _log_uniform(rng, 0.05, 0.25)) * (1 - _decay(size, sr, 0.02))
    for onset in _onsets(rng, n, sr, rng.uniform(0.3, 0.85), 0.12):
        thuds[onset] = rng.uniform(0.5, 1.0)
        grains = rub * rng.standard_normal(size) * (rng.uniform(size=size) < 0.3)
        _add(scuffs, onset, 0.6 * grains)
        _add(scuffs, onset + delay, rng.uniform(0.3, 1.0) * grains)
    scuffs = _band(scuffs, sr, _log_uniform(rng, 150, 900), _log_uniform(rng, 1200, 7000))
    hertz = np.exp(rng.uniform(np.log(55), np.log(400), 3))
    body = _ring(thuds, sr, hertz, rng.uniform(0.05, 0.2, 3))
    return _unit(body) + rng.uniform(0.3, 1.5) * _unit(scuffs)


def _hihat(rng: Generator, n: int, sr: int) -> Signal:
    """Hi-hat: high-passed noise and a clang of square waves, damped or left open."""
    size = int(0.6 * sr)
    clang = sum(np.sign(_sine(rng.uniform(320, 1400), size, sr)) for _ in range(5))
    source = rng.standard_normal(size) + rng.uniform(0, 0.5) * clang
    source = _band(source, sr, min(_log_uniform(rng, 2500, 7000), 0.3 * sr), None)
    closed = source * _decay(size, sr, _log_uniform(rng, 0.04, 0.18))
    opened = source * _decay(size, sr, _log_uniform(rng, 0.2, 0.9))
    out, often = np.zeros(n), rng.uniform(0, 0.6)
    for onset in _onsets(rng, n, sr, _log_uniform(rng, 0.11, 0.5), 0.05):
        _add(out, onset, rng.uniform(0.3, 1.0) * (opened if rng.uniform() < often else closed))
    return out


def _kick(rng: Generator, n: int, sr: int) -> Signal:
    """Bass drum: a sine that sweeps down as the skin relaxes, with the click of the beater."""
    size = int(0.7 * sr)
    sweep = 1 + rng.uniform(1, 6) * _decay(size, sr, rng.uniform(0.06, 0.35))
    body = _sine(_log_uniform(rng, 38, 110) * sweep, size, sr)
    body *= _decay(size, sr, _log_uniform(rng, 0.15, 0.9))
    click = _band(rng.standard_normal(size), sr, 300, _log_uniform(rng, 1000, 8000))
    body += rng.uniform(0.02, 0.8) * click * _decay(size, sr, rng.uniform(0.01, 0.08))
    out = np.zeros(n)
    for onset in _onsets(rng, n, sr, _log_uniform(rng, 0.25, 0.9), 0.08):
        _add(out, onset, rng.uniform(0.5, 1.0) * body)
    return np.tanh(rng.uniform(0.5, 3.0) * out)


def _organ(rng: Generator, n: int, sr: int) -> Signal:
    """Drawbar organ: held chords of harmonic pipes, with vibrato and a rounded attack."""
    onsets = _onsets(rng, n, sr, _log_uniform(rng, 0.3, 1.3), 0.15)
    note = np.searchsorted(onsets, np.arange(n), side="right")
    vibrato = 1 + rng.uniform(0, 0.008) * _sine(rng.uniform(4, 7.5), n, sr)
    bars = np.array([1, 2, 3, 4, 6, 8, 10, 12, 16])  # pipes, in harmonics of the lowest
    drawn = rng.uniform(0, 1, 9) * (rng.uniform(size=9) < 0.7)
    drawn[1] = 1.0
    root, out = _log_uniform(rng, 55, 165), np.zeros(n)
    for _ in range(int(rng.integers(1, 4))):
        hertz = root * 2.0 ** (rng.choice([0, 2, 4, 5, 7, 9, 12], len(onsets) + 1) / 12)
        audible = drawn * (bars * hertz.max() < 0.47 * sr)
        cycle = audible @ np.sin(2 * np.pi / 4096 * np.outer(bars, np.arange(4096)))
        out += cycle[(np.cumsum(hertz[note] * vibrato) * (4096 / sr)).astype(int) % 4096]
    since = np.arange(n) - np.concatenate([[-sr], onsets])[note]
    attack, fade = rng.uniform(0.005, 0.06), rng.integers(2) * _log_uniform(rng, 0.3, 3.0)
    return np.asarray(out * np.minimum(since / (attack * sr), 1) * np.exp(-fade / sr * since))


def _pluck(rng: Generator, n: int, sr: int) -> Signal:
    """Plucked string (Karplus-Strong): a noise burst in a delay line with a loss filter."""
    root, t60 = _log_uniform(rng, 90, 400), _log_uniform(rng, 0.4, 3.0)
    soft, out = rng.uniform(0.1, 0.5), np.zeros(n)
    for onset in _onsets(rng, n, sr, _log_uniform(rng, 0.2, 1.0), 0.15):
        hertz = root * 2.0 ** (rng.choice([0, 3, 5, 7, 10, 12]) / 12)
        delay = int(sr / hertz - soft)
        pick = np.zeros(min(n - onset, int(1.2 * sr)))
        pick[:delay] = scipy.signal.lfilter([1 - soft], [1, -soft], rng.uniform(-1, 1, delay))[
            : pick.size
        ]
        loop = np.zeros(delay + 2)
        loss = 10.0 ** (-3.0 / (t60 * hertz))
        loop[0], loop[-2], loop[-1] = 1.0, -loss * (1 - soft), -loss * soft
        _add(
            out, onset, rng.uniform(0.4, 1.0) * np.asarray(scipy.signal.lfilter([1.0], loop, pick))
        )
    return out


def _rain(rng: Generator, n: int, sr: int) -> Signal:
    """Rain: drops as a Poisson process, each a short ring, over the hiss of distant drops."""
    count = 1 + int(rng.poisson(n / sr * _log_uniform(rng, 30, 1500)))
    force = rng.choice([-1.0, 1.0], count) * rng.exponential(1.0, count) ** 1.5
    drops = np.zeros(n)
    np.add.at(drops, rng.integers(0, n, count), force)
    hertz = np.exp(rng.uniform(np.log(800), np.log(0.4 * sr), 4))
    near = _ring(drops, sr, hertz, rng.uniform(0.003, 0.03, 4)) + 0.3 * drops
    hiss = _band(rng.standard_normal(n), sr, _log_uniform(rng, 200, 1500), None)
    hiss *= 1 + 0.3 * _curve(rng, n, sr, 2.0)
    return _unit(near) + rng.uniform(0.2, 2.0) * _unit(hiss)


def _siren(rng: Generator, n: int, sr: int) -> Signal:
    """Siren: a harmonic tone whose pitch wails, yelps or alternates between two notes."""
    turn = (np.arange(n) * (_log_uniform(rng, 0.25, 5.0) / sr) + rng.uniform()) % 1.0
    shapes = (0.5 - 0.5 * np.cos(2 * np.pi * turn), 1 - np.abs(2 * turn - 1), turn < 0.5)
    low, ratio = _log_uniform(rng, 350, 900), rng.uniform(1.25, 2.4)
    hertz = low * ratio ** shapes[int(rng.integers(3))]
    out = _sine(hertz, n, sr)
    for k in range(2, 7):
        if k * low * ratio < 0.47 * sr:
            out += rng.uniform(0, 1.0) / k * _sine(k * hertz, n, sr)
    return out * (1 + rng.uniform(0, 0.4) * _curve(rng, n, sr, 1.0))


def _whistle(rng: Generator, n: int, sr: int) -> Signal:
    """Whistle: nearly a pure tone, gliding from note to note, with some breath around it."""
    center = min(_log_uniform(rng, 700, 2800), 0.28 * sr)
    glide = 2.0 ** (rng.uniform(0.05, 0.6) * _curve(rng, n, sr, rng.uniform(0.8, 4.0)))
    vibrato = 1 + rng.uniform(0, 0.03) * _sine(rng.uniform(4, 9), n, sr)
    puffs = np.clip(0.7 + _curve(rng, n, sr, rng.uniform(1.5, 6.0)), 0.05, 1.0)
    breath = _band(rng.standard_normal(n), sr, 0.6 * center, 1.7 * center)
    tone = _sine(center * glide * vibrato, n, sr)
    return (tone + rng.uniform(-0.15, 0.15) * tone**2 + rng.uniform(0.05, 0.4) * breath) * puffs


def _wind(rng: Generator, n: int, sr: int) -> Signal:
    """Wind: bands of noise that swell and fade with the gusts, the higher ones the more."""
    noise, out = rng.standard_normal(n), np.zeros(n)
    gust = np.sin(np.pi / 4 * (1 + _curve(rng, n, sr, rng.uniform(0.5, 2.5)))) ** 2
    low, spread = _log_uniform(rng, 90, 300), _log_uniform(rng, 2.0, 4.0)
    for k in range(3):
        part = _band(noise, sr, low * spread**k / 1.5, low * spread**k * 1.5)
        out += rng.uniform(0.2, 0.6) ** k * _unit(part) * gust ** (1 + k)
    return out + 0.05 * noise


_VOICES: dict[str, Callable[[Generator, int, int], Signal]] = {
    voice.__name__[1:]: voice
    for voice in (
        *(_bell, _bird, _engine, _footsteps, _hihat, _kick),
        *(_organ, _pluck, _rain, _siren, _whistle, _wind),
    )
}

CLASSES: tuple[str, ...] = tuple(sorted(_VOICES))
"""The labels of the corpus, in alphabetical order."""


def _record(rng: Generator, x: Signal, sr: int) -> Signal:
    """Simulate a recording: microphone, background noise 5-40 dB below, distance."""
    x = np.asarray(scipy.signal.lfilter([1.0, rng.uniform(-0.3, 0.3)], [1.0], x))
    if rng.uniform() < 0.2:
        x = _band(x, sr, None, _log_uniform(rng, 2500, 12000))
    x = np.tanh(_unit(x) / rng.uniform(5, 8))  # a recorder's limiter, for rare peaks
    noise = scipy.signal.lfilter([1.0], [1.0, -rng.uniform(0.6, 0.95)], rng.standard_normal(x.size))
    x = _unit(x) + 10.0 ** (-(5 + 35 * rng.beta(4, 1)) / 20) * _unit(noise)
    return np.asarray(x * (0.98 * 10.0 ** (-rng.uniform(0, 12) / 20) / np.abs(x).max()))


def synthesize(label: str, *, seed: int, seconds: float, sr: int) -> NDArray[np.float32]:
    """Synthesize one sound of a class.

    Parameters
    ----------
    label : str
        One of ``CLASSES``.
    seed : int
        At least 0. The same arguments give the same samples.
    seconds : float
        Duration, from 0.1 to 60 s.
    sr : int
        Sample rate, from 8000 to 96000 Hz.

    Returns
    -------
    numpy.ndarray
        float32 of shape ``(round(seconds * sr),)``, mono, with a peak of at most 0.99.

    Raises
    ------
    ValueError
        If the label is not a class, or if a number is out of its range.

    Examples
    --------
    >>> from probekit.tasks.standin.sounds import CLASSES, synthesize
    >>> CLASSES[:3]
    ('bell', 'bird', 'engine')
    >>> synthesize("bell", seed=0, seconds=0.5, sr=16000).shape
    (8000,)
    """
    if label not in _VOICES:
        raise ValueError(f"label must be one of {', '.join(CLASSES)}, got {label!r}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    if not 0.1 <= seconds <= 60:
        raise ValueError(f"seconds must be from 0.1 to 60, got {seconds}")
    if not 8000 <= sr <= 96000:
        raise ValueError(f"sr must be from 8000 to 96000 Hz, got {sr}")
    rng = np.random.default_rng([seed, zlib.crc32(label.encode())])
    return _record(rng, _VOICES[label](rng, round(seconds * sr), sr), sr).astype(np.float32)
